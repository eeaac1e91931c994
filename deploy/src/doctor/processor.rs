//! The processor: its name, the instruction sets that matter to networks, and its cores.

use super::files::Files;
use crate::machine::value;
use serde::Serialize;

/// Cores of ARM processors by implementer and part number, as util-linux's `sys-utils/lscpu-arm.c` has them: those on
/// boards that a person may have.
const ARM_CORES: [(u32, u32, &str); 31] = [
    (0x41, 0xb76, "ARM1176"),
    (0x41, 0xc05, "Cortex-A5"),
    (0x41, 0xc07, "Cortex-A7"),
    (0x41, 0xc08, "Cortex-A8"),
    (0x41, 0xc09, "Cortex-A9"),
    (0x41, 0xc0e, "Cortex-A17"),
    (0x41, 0xc0f, "Cortex-A15"),
    (0x41, 0xd01, "Cortex-A32"),
    (0x41, 0xd03, "Cortex-A53"),
    (0x41, 0xd04, "Cortex-A35"),
    (0x41, 0xd05, "Cortex-A55"),
    (0x41, 0xd07, "Cortex-A57"),
    (0x41, 0xd08, "Cortex-A72"),
    (0x41, 0xd09, "Cortex-A73"),
    (0x41, 0xd0a, "Cortex-A75"),
    (0x41, 0xd0b, "Cortex-A76"),
    (0x41, 0xd0c, "Neoverse-N1"),
    (0x41, 0xd0d, "Cortex-A77"),
    (0x41, 0xd0e, "Cortex-A76AE"),
    (0x41, 0xd40, "Neoverse-V1"),
    (0x41, 0xd41, "Cortex-A78"),
    (0x41, 0xd42, "Cortex-A78AE"),
    (0x41, 0xd44, "Cortex-X1"),
    (0x41, 0xd46, "Cortex-A510"),
    (0x41, 0xd47, "Cortex-A710"),
    (0x41, 0xd49, "Neoverse-N2"),
    (0x41, 0xd4b, "Cortex-A78C"),
    (0x41, 0xd4f, "Neoverse-V2"),
    (0x41, 0xd80, "Cortex-A520"),
    (0x4e, 0x003, "Denver 2"),
    (0x4e, 0x004, "Carmel"),
];

/// The processor's name from `/proc/cpuinfo`: `model name` on x86; on ARM the kinds of cores and how many of each, such
/// as `4 × Cortex-A72`, since what the kernel calls the model there (`ARMv8 Processor rev 3`) tells nothing.
#[must_use]
pub fn name(cpuinfo: &str) -> Option<String> {
    let mut kinds: Vec<((u32, u32), usize)> = Vec::new();
    for core in cpuinfo.split("\n\n") {
        let number = |key| u32::from_str_radix(value(core, ':', &[key])?.strip_prefix("0x")?, 16).ok();
        let Some(kind) = number("CPU implementer").zip(number("CPU part")) else { continue };
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    if kinds.is_empty() {
        let name = value(cpuinfo, ':', &["model name", "uarch"]).filter(|name| !name.is_empty());
        return name.map(str::to_owned);
    }
    let names = kinds.iter().map(|&((implementer, part), count)| {
        let known = ARM_CORES.iter().find(|core| (core.0, core.1) == (implementer, part));
        let name = known.map_or_else(
            || format!("core of implementer {implementer:#04x}, part {part:#05x}"),
            |core| core.2.to_owned(),
        );
        format!("{count} × {name}")
    });
    Some(names.collect::<Vec<_>>().join(" + "))
}

/// An instruction set that runtimes choose their kernels by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// Its name in Rust and LLVM, such as `dotprod`.
    pub name: &'static str,
    /// Whether this processor has it and the kernel allows it.
    pub present: bool,
}

/// Whether one of these is known to be there.
#[must_use]
pub fn has(features: &[Feature], name: &str) -> bool {
    features.iter().any(|feature| feature.name == name && feature.present)
}

/// Those of the processor that runs this program, asked for as the runtimes do: under an emulator, those that it has.
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
#[must_use]
pub fn features() -> Vec<Feature> {
    vec![
        Feature { name: "avx2", present: is_x86_feature_detected!("avx2") },
        Feature { name: "fma", present: is_x86_feature_detected!("fma") },
        Feature { name: "avx512f", present: is_x86_feature_detected!("avx512f") },
        Feature { name: "avx512vnni", present: is_x86_feature_detected!("avx512vnni") },
        Feature { name: "avxvnni", present: is_x86_feature_detected!("avxvnni") },
    ]
}

/// Those of the processor that runs this program, asked for as the runtimes do: under an emulator, those that it has.
#[cfg(target_arch = "aarch64")]
#[must_use]
pub fn features() -> Vec<Feature> {
    use std::arch::is_aarch64_feature_detected;
    vec![
        Feature { name: "neon", present: is_aarch64_feature_detected!("neon") },
        Feature { name: "dotprod", present: is_aarch64_feature_detected!("dotprod") },
        Feature { name: "fp16", present: is_aarch64_feature_detected!("fp16") },
        Feature { name: "i8mm", present: is_aarch64_feature_detected!("i8mm") },
    ]
}

/// Those of the processor that runs this program, as the kernel or an emulator tells its programs. (The macro for this
/// architecture is not stable in Rust.)
#[cfg(all(target_arch = "arm", target_os = "linux"))]
#[must_use]
pub fn features() -> Vec<Feature> {
    // `HWCAP_NEON` and `HWCAP_VFPv4` of the kernel's arch/arm/include/uapi/asm/hwcap.h.
    const NEON: libc::c_ulong = 1 << 12;
    const VFPV4: libc::c_ulong = 1 << 16;
    // SAFETY: reads a number from what the kernel handed to this process; 0 if there is none.
    let capabilities = unsafe { libc::getauxval(libc::AT_HWCAP) };
    vec![
        Feature { name: "neon", present: capabilities & NEON != 0 },
        Feature { name: "vfpv4", present: capabilities & VFPV4 != 0 },
    ]
}

/// Of this architecture none is known.
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "x86",
    target_arch = "aarch64",
    all(target_arch = "arm", target_os = "linux")
)))]
#[must_use]
pub fn features() -> Vec<Feature> {
    Vec::new()
}

/// The processor's cores, or hardware threads where a core has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cores {
    /// Built in.
    pub present: Option<usize>,
    /// Switched on.
    pub online: Option<usize>,
    /// That this process may use at once, by its affinity and its control group's quota.
    pub usable: usize,
}

impl Cores {
    /// Those of this system.
    #[must_use]
    pub fn of(files: &Files) -> Self {
        let count = |path| count(&files.read(path));
        Self {
            present: count("/sys/devices/system/cpu/present"),
            online: count("/sys/devices/system/cpu/online"),
            usable: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }
}

/// How many numbers a list such as `0-3,6` holds, as the kernel writes sets of processors.
fn count(list: &str) -> Option<usize> {
    let mut count: usize = 0;
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?)?.checked_add(1)?;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/proc/cpuinfo` of boards, a processor each. Numbers as reported in the issues of github.com/hrw/arm-socs-table:
    /// Raspberry Pi 3 (#6, #29), 4 (#31), 5 (#96), Jetson Nano (#91), TX2 (#25), Xavier (#63).
    pub const PI_3: &str = "processor\t: 0\nBogoMIPS\t: 38.40\nFeatures\t: fp asimd evtstrm crc32 cpuid\n\
        CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd03\nCPU revision\t: 4\n\n";
    const PI_4_32_BIT: &str = "processor\t: 0\nmodel name\t: ARMv7 Processor rev 3 (v7l)\nBogoMIPS\t: 108.00\n\
        Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32 \n\
        CPU implementer\t: 0x41\nCPU architecture: 7\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n";
    const PI_5: &str = "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 \
        atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\nCPU implementer\t: 0x41\nCPU architecture: 8\n\
        CPU variant\t: 0x4\nCPU part\t: 0xd0b\nCPU revision\t: 1\n\n";
    const JETSON_NANO: &str = "processor\t: 0\nBogoMIPS\t: 38.40\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 \
        crc32 cpuid\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0xd07\n\
        CPU revision\t: 1\n\n";
    const JETSON_DENVER: &str = "processor\t: 1\nmodel name\t: ARMv8 Processor rev 0 (v8l)\nBogoMIPS\t: 62.50\n\
        Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32\nCPU implementer\t: 0x4e\nCPU architecture: 8\n\
        CPU variant\t: 0x0\nCPU part\t: 0x003\nCPU revision\t: 0\nMTS version\t: 37620520\n\n";
    const JETSON_XAVIER: &str = "processor\t: 0\nmodel name\t: ARMv8 Processor rev 0 (v8l)\nBogoMIPS\t: 62.50\n\
        Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm dcpop\n\
        CPU implementer\t: 0x4e\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0x004\nCPU revision\t: 0\n\
        MTS version\t: 55637613\n\n";

    #[test]
    fn boards_are_called_by_their_cores() {
        let pi = |core: &str, model: &str| {
            format!("{}Hardware\t: BCM2835\nRevision\t: a02082\nModel\t\t: {model}\n", core.repeat(4))
        };
        for (cpuinfo, name) in [
            (pi(PI_3, "Raspberry Pi 3 Model B Rev 1.2"), "4 × Cortex-A53"),
            (pi(PI_4_32_BIT, "Raspberry Pi 4 Model B Rev 1.2"), "4 × Cortex-A72"),
            (pi(PI_5, "Raspberry Pi 5 Model B Rev 1.0"), "4 × Cortex-A76"),
            (JETSON_NANO.repeat(4), "4 × Cortex-A57"),
            ([JETSON_NANO, JETSON_DENVER, JETSON_DENVER, JETSON_NANO].concat(), "2 × Cortex-A57 + 2 × Denver 2"),
            (JETSON_XAVIER.repeat(8), "8 × Carmel"),
            (JETSON_XAVIER.replace("0x4e", "0x7f"), "1 × core of implementer 0x7f, part 0x004"),
        ] {
            assert_eq!(super::name(&cpuinfo).unwrap(), name);
        }
    }

    #[test]
    fn other_processors_have_a_name() {
        let x86 =
            "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 207\nmodel name\t: Intel(R) Xeon(R) Processor\n";
        assert_eq!(name(x86).unwrap(), "Intel(R) Xeon(R) Processor");
        for broken in ["", "garbage", "model name\t: \n", "CPU implementer\t: x\nCPU part\t: 0xzz\n"] {
            assert_eq!(name(broken), None, "{broken}");
        }
    }

    #[test]
    fn sets_of_processors_are_counted() {
        for (list, cores) in [("0-3", 4), ("0", 1), ("0-1,4-5,7", 5)] {
            assert_eq!(count(list), Some(cores));
        }
        for list in ["", "x", "3-1", "0-", "0-18446744073709551615"] {
            assert_eq!(count(list), None, "{list}");
        }
    }

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn what_this_processor_has_agrees_with_the_kernel() {
        // The kernel's names for the same; under an emulator the file may be of another processor.
        let flags = crate::machine::read("/proc/cpuinfo");
        let names = [("avx2", "avx2"), ("avx512vnni", "avx512_vnni"), ("dotprod", "asimddp"), ("i8mm", "i8mm")];
        let Some(flags) = value(&flags, ':', &["flags", "Features"]) else { return };
        if cfg!(target_arch = "x86_64") != flags.split(' ').any(|flag| flag == "sse2") {
            return;
        }
        for feature in features() {
            if let Some((_, kernel)) = names.iter().find(|(name, _)| *name == feature.name) {
                assert_eq!(feature.present, flags.split(' ').any(|flag| flag == *kernel), "{}", feature.name);
            }
        }
    }
}
