//! Whether this program runs under an emulator: then its times are not this machine's.

use super::files::Files;
use crate::machine::value;

/// Which processors run each other's programs, by an architecture's name in Rust or in the kernel.
fn family(architecture: &str) -> Option<&'static str> {
    match architecture {
        "x86_64" | "x86" | "i386" | "i586" | "i686" => Some("x86"),
        _ if architecture.starts_with("arm") || architecture.starts_with("aarch64") => Some("arm"),
        _ if architecture.starts_with("riscv") => Some("riscv"),
        _ => None,
    }
}

/// The same by `/proc/cpuinfo`, whose lines differ between families.
fn family_of(cpuinfo: &str) -> Option<&'static str> {
    let has = |key| value(cpuinfo, ':', &[key]).is_some();
    match () {
        () if has("vendor_id") && has("flags") => Some("x86"),
        () if has("CPU implementer") => Some("arm"),
        () if has("isa") => Some("riscv"),
        () => None,
    }
}

/// How an emulator was recognised. `None` does not prove that there is none: a virtual machine that emulates the whole
/// processor looks like a board.
#[must_use]
pub fn sign(files: &Files, program: &str) -> Option<String> {
    // qemu-user shows its programs an altered /proc, but not these.
    let status = files.read("/proc/self/status");
    if let Some(name) = value(&status, ':', &["Name"]).filter(|name| name.starts_with("qemu-")) {
        return Some(format!("the kernel runs {name} in this process"));
    }
    let expected = family(program)?;
    let kernel = files.read("/proc/sys/kernel/arch");
    if family(&kernel).is_some_and(|family| family != expected) {
        return Some(format!("the kernel is {kernel}, this program is {program}"));
    }
    let cpuinfo = files.read("/proc/cpuinfo");
    if family_of(&cpuinfo).is_some_and(|family| family != expected) {
        return Some(format!("/proc/cpuinfo describes another kind of processor, and this program is for {program}"));
    }
    // Apple's Rosetta gives the processor this name.
    (value(&cpuinfo, ':', &["vendor_id"]) == Some("VirtualApple"))
        .then(|| "the processor calls itself VirtualApple".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::tree;
    use super::*;

    const X86: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu sse2\n";
    const ARM: &str = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n";

    fn seen(program: &str, files: &[(&str, &str)]) -> Option<String> {
        sign(&tree(files).1, program)
    }

    #[test]
    fn an_emulator_is_recognised_by_what_it_cannot_hide() {
        let status = ("/proc/self/status", "Name:\tqemu-aarch64-st\nUmask:\t0022\n");
        assert!(seen("aarch64", &[status]).unwrap().contains("qemu-aarch64-st"));
        assert!(seen("arm", &[("/proc/sys/kernel/arch", "x86_64\n")]).unwrap().contains("the kernel is x86_64"));
        assert!(seen("aarch64", &[("/proc/cpuinfo", X86)]).unwrap().contains("another kind of processor"));
        assert!(seen("x86_64", &[("/proc/cpuinfo", &X86.replace("GenuineIntel", "VirtualApple"))]).is_some());
    }

    #[test]
    fn a_real_board_has_no_sign() {
        let status = ("/proc/self/status", "Name:\tdeploy\n");
        let board = [status, ("/proc/cpuinfo", ARM), ("/proc/sys/kernel/arch", "aarch64\n")];
        assert_eq!(seen("aarch64", &board), None);
        assert_eq!(seen("arm", &board), None, "a 32-bit program on a 64-bit kernel");
        assert_eq!(seen("x86_64", &[status, ("/proc/cpuinfo", X86)]), None);
        assert_eq!(seen("x86_64", &[]), None);
        assert_eq!(seen("s390x", &[("/proc/cpuinfo", X86)]), None, "an unknown architecture");
    }
}
