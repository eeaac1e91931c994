//! The machine on which something was measured.

use serde::{Deserialize, Serialize};
use std::fs;

/// Shown for a fact that the system does not report.
pub const UNKNOWN: &str = "unknown";

/// The properties of a machine that matter for speed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's maker and model.
    pub processor: String,
    /// Threads that this process may run at once.
    pub threads: Option<usize>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// The operating system.
    pub system: String,
}

impl Machine {
    /// Describes this machine.
    #[must_use]
    pub fn here() -> Self {
        // Boards are named in the device tree; their processors have no name in /proc/cpuinfo.
        let processor = processor(&read("/proc/cpuinfo"))
            .or_else(|| named(&read("/proc/device-tree/model")))
            .unwrap_or_else(|| UNKNOWN.to_owned());
        Self {
            processor,
            threads: std::thread::available_parallelism().ok().map(std::num::NonZero::get),
            memory: memory(&read("/proc/meminfo")),
            system: system(&read("/etc/os-release"), &read("/proc/sys/kernel/osrelease")),
        }
    }

    /// Names and values, for people.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let unknown = || UNKNOWN.to_owned();
        let gibibytes = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
        vec![
            ("processor", self.processor.clone()),
            ("threads", self.threads.map_or_else(unknown, |threads| threads.to_string())),
            ("memory", self.memory.map_or_else(unknown, gibibytes)),
            ("system", self.system.clone()),
        ]
    }
}

/// Lets all threads share one heap if the process may use a limited address space (`ulimit -v`). Otherwise glibc reserves
/// 64 MiB of it for each thread, and several threads fail where one would not. Call it before the first thread starts.
pub fn save_address_space() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the first writes into `limit`, which lives longer; the second sets a parameter of the allocator.
        unsafe {
            if libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) == 0 && limit.rlim_cur != libc::RLIM_INFINITY {
                libc::mallopt(libc::M_ARENA_MAX, 1);
            }
        }
    }
}

/// Reads a file of `/proc` or `/sys`; empty if it cannot be read.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first line `key<separator>value` whose key is one of `keys`.
pub(crate) fn value<'a>(text: &'a str, separator: char, keys: &[&str]) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(separator));
    pairs.find(|(key, _)| keys.contains(&key.trim())).map(|(_, value)| value.trim())
}

/// The bytes that a line `key: 123 kB` of `/proc` states.
pub(crate) fn bytes(text: &str, key: &str) -> Option<u64> {
    let kib: u64 = value(text, ':', &[key])?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn named(text: &str) -> Option<String> {
    let name = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!name.is_empty()).then(|| name.to_owned())
}

/// From `/proc/cpuinfo`: `model name` on x86, `Model` (of the board) on ARM, `uarch` on RISC-V.
fn processor(cpuinfo: &str) -> Option<String> {
    value(cpuinfo, ':', &["model name", "Model", "uarch"]).and_then(named)
}

/// From `/proc/meminfo`, in bytes.
fn memory(meminfo: &str) -> Option<u64> {
    bytes(meminfo, "MemTotal")
}

/// From `/etc/os-release` and the kernel's release: `Debian GNU/Linux 12 (bookworm), linux 6.1.0, x86_64`.
fn system(os_release: &str, kernel: &str) -> String {
    let name = value(os_release, '=', &["PRETTY_NAME"]).map(|name| name.trim_matches('"')).and_then(named);
    let kernel = named(kernel).map(|release| format!("{} {release}", std::env::consts::OS));
    let mut parts: Vec<String> = name.into_iter().chain(kernel).collect();
    if parts.is_empty() {
        parts.push(std::env::consts::OS.to_owned());
    }
    parts.push(std::env::consts::ARCH.to_owned());
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_read() {
        let x86 = "processor\t: 0\nmodel name\t: AMD EPYC 7B13\nmodel\t\t: 1\n";
        assert_eq!(processor(x86).unwrap(), "AMD EPYC 7B13");
        let arm =
            "processor\t: 0\nBogoMIPS\t: 108.00\n\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n";
        assert_eq!(processor(arm).unwrap(), "Raspberry Pi 4 Model B Rev 1.4");
        assert_eq!(memory("MemTotal:       24576000 kB\nMemFree: 1 kB\n"), Some(24_576_000 * 1024));
        let system = system("NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", "6.1.0-13\n");
        assert!(system.starts_with("Debian GNU/Linux 12 (bookworm), linux 6.1.0-13, "), "{system}");
    }

    #[test]
    fn what_the_system_does_not_say_is_unknown() {
        assert_eq!(
            (processor(""), memory("MemTotal: lots\n"), memory("MemTotal: 99999999999999999999 kB")),
            (None, None, None)
        );
        assert_eq!(system("", ""), format!("{}, {}", std::env::consts::OS, std::env::consts::ARCH));
        let machine = Machine { processor: UNKNOWN.into(), threads: None, memory: None, ..Machine::here() };
        assert_eq!(machine.facts().iter().filter(|(_, value)| value == UNKNOWN).count(), 3);
    }
}
