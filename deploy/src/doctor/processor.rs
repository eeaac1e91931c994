//! The processor: the instruction sets that matter to networks, and its cores.

use super::files::Files;
use serde::Serialize;

/// An instruction set by which runtimes choose their kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// Its name in Rust and LLVM, such as `dotprod`.
    pub name: &'static str,
    /// Whether this processor has it and the kernel allows it.
    pub present: bool,
}

/// The instruction sets with these names, detected by a macro of the standard library.
#[cfg(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64"))]
macro_rules! detect {
    ($detected:ident: $($name:tt)+) => { vec![$(Feature { name: $name, present: std::arch::$detected!($name) }),+] };
}

/// The instruction sets of the processor that runs this program, detected as the runtimes do it. Under an emulator they
/// are the emulator's.
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
#[must_use]
pub fn features() -> Vec<Feature> {
    detect!(is_x86_feature_detected: "avx2" "fma" "avx512f" "avx512vnni" "avxvnni")
}

/// The instruction sets of the processor that runs this program, detected as the runtimes do it. Under an emulator they
/// are the emulator's.
#[cfg(target_arch = "aarch64")]
#[must_use]
pub fn features() -> Vec<Feature> {
    detect!(is_aarch64_feature_detected: "neon" "dotprod" "fp16" "i8mm")
}

/// The instruction sets of the processor, as the kernel or an emulator reports them to its programs. (Rust's macro for
/// 32-bit ARM is not stable.) Empty on architectures that this program does not know.
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
#[must_use]
pub fn features() -> Vec<Feature> {
    #[cfg(all(target_arch = "arm", target_os = "linux"))]
    {
        // `HWCAP_NEON` and `HWCAP_VFPv4` of the kernel's arch/arm/include/uapi/asm/hwcap.h.
        let bits = [("neon", 12), ("vfpv4", 16)];
        // SAFETY: reads a number that the kernel passed to this process; 0 if there is none.
        let capabilities = unsafe { libc::getauxval(libc::AT_HWCAP) };
        bits.map(|(name, bit)| Feature { name, present: capabilities >> bit & 1 == 1 }).to_vec()
    }
    #[cfg(not(all(target_arch = "arm", target_os = "linux")))]
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
    /// The cores of this system. sysinfo counts only those that are switched on.
    #[must_use]
    pub fn read(files: &Files) -> Self {
        let count = |path| count(&files.read(path));
        Self {
            present: count("/sys/devices/system/cpu/present"),
            online: count("/sys/devices/system/cpu/online"),
            usable: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }
}

/// How many numbers a list such as `0-3,6` contains, the kernel's notation for sets of processors.
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
    use super::super::files::tests::tree;
    use super::*;

    #[test]
    fn cores_are_counted_from_the_kernels_lists() {
        for (list, cores) in [("0-3", 4), ("0", 1), ("0-1,4-5,7", 5)] {
            assert_eq!(count(list), Some(cores));
        }
        for list in ["", "x", "3-1", "0-", "0-18446744073709551615"] {
            assert_eq!(count(list), None, "{list}");
        }
        let lists = [("/sys/devices/system/cpu/present", "0-3\n"), ("/sys/devices/system/cpu/online", "0-1\n")];
        let cores = Cores::read(&tree(&lists).1);
        assert!((cores.present, cores.online) == (Some(4), Some(2)) && cores.usable >= 1, "{cores:?}");
    }

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn the_processors_features_agree_with_the_kernel() {
        // The kernel's names for the same; under an emulator the file may describe another processor.
        let flags = crate::machine::read("/proc/cpuinfo");
        let names = [("avx2", "avx2"), ("avx512vnni", "avx512_vnni"), ("dotprod", "asimddp"), ("i8mm", "i8mm")];
        let Some(flags) = crate::machine::value(&flags, ':', &["flags", "Features"]) else { return };
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
