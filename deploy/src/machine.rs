//! The machine on which something was measured.

use serde::{Deserialize, Serialize};
use std::fs;
use sysinfo::{Cpu, CpuRefreshKind, MemoryRefreshKind, Product, RefreshKind, System};

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
        let seen = seen();
        // A board's name says more than its cores, which other boards have at another clock rate.
        let board = Product::name().filter(|_| !cfg!(any(target_arch = "x86", target_arch = "x86_64")));
        Self {
            processor: board.or_else(|| processor(&seen)).unwrap_or_else(|| UNKNOWN.to_owned()),
            threads: std::thread::available_parallelism().ok().map(std::num::NonZero::get),
            memory: known(seen.total_memory()),
            system: system(),
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

/// Lets all threads share one heap if the process may use a limited address space (`ulimit -v`). Otherwise glibc
/// reserves 64 MiB of it for each thread, and several threads fail where one would not. Call it before the first thread
/// starts.
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

/// The processors and the memory of this machine.
pub(crate) fn seen() -> System {
    let memory = MemoryRefreshKind::nothing().with_ram();
    System::new_with_specifics(RefreshKind::nothing().with_memory(memory).with_cpu(CpuRefreshKind::nothing()))
}

/// What [`System`] counts, which is 0 if it could not find out.
pub(crate) fn known(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

/// The processor's name; on ARM the kinds of cores and how many of each, such as `4 × Cortex-A72`.
pub(crate) fn processor(seen: &System) -> Option<String> {
    let cores: Vec<_> = seen.cpus().iter().map(Cpu::brand).collect();
    let counted = cfg!(any(target_arch = "arm", target_arch = "aarch64"));
    if counted { kinds(&cores) } else { cores.first().map(|&name| name.to_owned()).filter(|name| !name.is_empty()) }
}

fn kinds(cores: &[&str]) -> Option<String> {
    let mut kinds: Vec<&str> = Vec::new();
    for core in cores {
        if !kinds.contains(core) {
            kinds.push(core);
        }
    }
    let counted = |kind: &&str| {
        let count = cores.iter().filter(|core| *core == kind).count();
        format!("{count} × {}", if kind.is_empty() { UNKNOWN } else { kind })
    };
    let known = kinds.iter().any(|kind| !kind.is_empty());
    known.then(|| kinds.iter().map(counted).collect::<Vec<_>>().join(" + "))
}

/// The operating system and its kernel: `Linux (Debian GNU/Linux 12), kernel 6.1.0, x86_64`.
pub(crate) fn system() -> String {
    let name = System::long_os_version().unwrap_or_else(|| std::env::consts::OS.to_owned());
    let kernel = System::kernel_version().unwrap_or_else(|| UNKNOWN.to_owned());
    format!("{name}, kernel {kernel}, {}", std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Under an emulator the files may be those of the machine that it runs on.
    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn the_machine_is_what_the_kernel_says() {
        let machine = Machine::here();
        assert_eq!(machine.memory, bytes(&read("/proc/meminfo"), "MemTotal"));
        let name = value(&read("/proc/cpuinfo"), ':', &["model name"]).unwrap_or(UNKNOWN).to_owned();
        assert_eq!(machine.processor, name);
        let kernel = format!(", kernel {}, x86_64", read("/proc/sys/kernel/osrelease").trim());
        assert!(machine.system.ends_with(&kernel), "{}", machine.system);
    }

    #[test]
    fn cores_of_arm_are_counted_by_kind() {
        assert_eq!(kinds(&["Cortex-A72"; 4]).unwrap(), "4 × Cortex-A72");
        let jetson = ["Cortex-A57", "Denver 2", "Denver 2", "Cortex-A57"];
        assert_eq!(kinds(&jetson).unwrap(), "2 × Cortex-A57 + 2 × Denver 2");
        assert_eq!(kinds(&["Cortex-A53", ""]).unwrap(), "1 × Cortex-A53 + 1 × unknown");
        assert_eq!((kinds(&[]), kinds(&["", ""])), (None, None));
    }

    #[test]
    fn what_the_system_does_not_say_is_unknown() {
        assert_eq!((known(0), known(1)), (None, Some(1)));
        let broken = ["", "MemTotal: lots\n", "MemTotal: 99999999999999999999 kB"];
        assert!(broken.iter().all(|text| bytes(text, "MemTotal").is_none()));
        let machine = Machine { processor: UNKNOWN.into(), threads: None, memory: None, ..Machine::here() };
        assert_eq!(machine.facts().iter().filter(|(_, value)| value == UNKNOWN).count(), 3);
    }
}
