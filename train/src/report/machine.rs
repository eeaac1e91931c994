//! The machine and the versions a page was made with.

use crate::device;
use serde::Serialize;

/// What is told where the system does not say.
const UNKNOWN: &str = "unknown";

/// A machine, and the versions of what ran on it.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's maker and model.
    pub processor: String,
    /// Threads this process may use at once.
    pub threads: Option<usize>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Every CUDA device that libtorch can use.
    pub gpus: Vec<String>,
    /// The operating system.
    pub system: String,
    /// Version of libtorch.
    pub libtorch: &'static str,
    /// Version of this program.
    pub train: &'static str,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        // Boards name themselves in the device tree; their processors have no name in /proc.
        let processor = processor(&read("/proc/cpuinfo"))
            .or_else(|| named(&read("/proc/device-tree/model")))
            .unwrap_or_else(|| UNKNOWN.to_owned());
        Self {
            processor,
            threads: std::thread::available_parallelism().ok().map(std::num::NonZero::get),
            memory: memory(&read("/proc/meminfo")),
            gpus: device::survey().cuda.into_iter().map(|cuda| cuda.name).collect(),
            system: system(&read("/etc/os-release"), &read("/proc/sys/kernel/osrelease")),
            libtorch: device::LIBTORCH,
            train: env!("CARGO_PKG_VERSION"),
        }
    }

    /// Names and values for people.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let unknown = || UNKNOWN.to_owned();
        let mut facts = vec![
            ("processor", self.processor.clone()),
            ("threads", self.threads.map_or_else(unknown, |threads| threads.to_string())),
            (
                "memory",
                self.memory.map_or_else(unknown, |bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))),
            ),
        ];
        facts.extend(self.gpus.iter().map(|gpu| ("GPU", gpu.clone())));
        facts.extend([
            ("system", self.system.clone()),
            ("libtorch", self.libtorch.to_owned()),
            ("train", self.train.to_owned()),
        ]);
        facts
    }
}

/// The value of the first line `key : value` whose key is one of these.
fn value<'a>(text: &'a str, separator: char, keys: &[&str]) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(separator));
    pairs.find(|(key, _)| keys.contains(&key.trim())).map(|(_, value)| value.trim())
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
    let kib: u64 = value(meminfo, ':', &["MemTotal"])?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
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
    fn where_nothing_is_told_it_is_unknown() {
        assert_eq!(
            (processor(""), memory("MemTotal: lots\n"), memory("MemTotal: 99999999999999999999 kB")),
            (None, None, None)
        );
        assert_eq!(system("", ""), format!("{}, {}", std::env::consts::OS, std::env::consts::ARCH));
        let machine =
            Machine { processor: UNKNOWN.into(), threads: None, memory: None, gpus: vec![], ..Machine::here() };
        assert_eq!(machine.facts()[..3].iter().filter(|(_, value)| value == UNKNOWN).count(), 3);
    }
}
