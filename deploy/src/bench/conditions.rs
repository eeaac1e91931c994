//! What affects speed besides the model, and so why a series may be noisy.

use crate::machine::{read, value};
use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};

/// Instruction sets that matter for a network's speed, with the kernel's names.
const FEATURES: [&str; 13] = [
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_fp16",
    "amx_int8",
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "sve",
];

/// The state of the machine just before a measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Instruction sets of the processor by which runtimes choose their kernels.
    pub features: Vec<String>,
    /// The system's load average over the minute before the measurement.
    pub load_average: Option<f64>,
    /// The kernel's frequency governor.
    pub governor: Option<String>,
    /// Whether this is a virtual machine, which may share its processor with others unseen.
    pub virtual_machine: bool,
}

impl Conditions {
    /// The conditions now.
    #[must_use]
    pub fn now() -> Self {
        let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").trim().to_owned();
        let governor = Some(governor).filter(|governor| !governor.is_empty());
        Self { governor, ..Self::parse(&read("/proc/cpuinfo"), &read("/proc/loadavg")) }
    }

    fn parse(cpuinfo: &str, loadavg: &str) -> Self {
        let flags: Vec<_> = value(cpuinfo, ':', &["flags", "Features"]).unwrap_or_default().split(' ').collect();
        Self {
            features: FEATURES.iter().filter(|name| flags.contains(*name)).map(|&name| name.to_owned()).collect(),
            load_average: loadavg.split(' ').next().and_then(|load| load.parse().ok()),
            governor: None,
            virtual_machine: flags.contains(&"hypervisor"),
        }
    }

    /// What may disturb a measurement on this many processors, and what to do about it.
    #[must_use]
    pub fn causes(&self, processors: usize) -> Vec<String> {
        let mut causes = Vec::new();
        // A load of 1 is one program that always runs, which costs a processor.
        if let Some(load) = self.load_average.filter(|&load| load >= 0.5) {
            causes.push(format!(
                "other programs were running (load average {load:.1} on {processors} processors): stop them"
            ));
        }
        if let Some(governor) = self.governor.as_ref().filter(|&governor| governor != "performance") {
            causes.push(format!(
                "the processor's frequency follows its load (governor {governor}): cpupower frequency-set -g performance"
            ));
        }
        if self.virtual_machine {
            causes.push("this virtual machine may share its processor with others: measure again later".into());
        }
        causes
    }
}

/// The current time in UTC in ISO 8601, to the second: `2026-01-31T23:59:59Z`.
#[must_use]
pub fn date() -> String {
    iso(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Formats seconds since 1970 as a date of the Gregorian calendar.
fn iso(seconds: u64) -> String {
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_becomes_causes_one_can_act_on() {
        let cpuinfo = "processor\t: 0\nflags\t\t: fpu avx avx2 fma hypervisor avx512_vnni\n";
        let busy = Conditions::parse(cpuinfo, "2.63 3.15 2.94 1/200 4711\n");
        assert_eq!(busy.features, ["avx", "avx2", "fma", "avx512_vnni"]);
        assert_eq!((busy.load_average, busy.virtual_machine), (Some(2.63), true));
        let causes = Conditions { governor: Some("powersave".into()), ..busy }.causes(2).join("\n");
        for words in ["load average 2.6 on 2 processors", "governor powersave", "virtual machine"] {
            assert!(causes.contains(words), "{causes}");
        }
        let idle = Conditions::parse("Features\t: fp asimd asimddp\n", "0.03 0.1 0.2 1/200 4711\n");
        assert_eq!(idle.features, ["asimd", "asimddp"]);
        assert!(Conditions { governor: Some("performance".into()), ..idle }.causes(4).is_empty());
        assert_eq!(Conditions::parse("", ""), Conditions::default());
    }

    /// Expected values from GNU coreutils: `date --utc --date=@SECONDS +%FT%TZ`.
    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(iso(seconds), date);
        }
    }
}
