//! What keeps the processor from its full speed: power, heat, and limits of its clock.

use super::{Finding, note, warning};
use crate::doctor::benchmark::Benchmark;
use crate::doctor::state::{Firmware, State};

/// The share of its highest frequency that a processor under load should reach.
const FULL_SPEED: f64 = 0.9;

/// Degrees Celsius at which a Raspberry Pi slows down, for boards that do not say at which they do.
const HOT: f64 = 80.0;

const COOL: &str = "improve the cooling: a heat sink, a fan, or more air";

/// What the firmware of a Raspberry Pi reports.
pub(super) fn power(state: &State, benchmark: Option<&Benchmark>) -> Option<Finding> {
    let under_load = benchmark.and_then(|benchmark| benchmark.under_load.firmware);
    let firmware = Firmware::both(state.firmware, under_load)?;
    let remedy = if firmware.under_voltage() {
        "use the power supply and cable made for this board (Raspberry Pi 3: 5 V 2.5 A, 4: 5 V 3 A, 5: 5 V 5 A), and \
         unplug what it does not need"
    } else {
        COOL
    };
    match (firmware.now().join(", "), firmware.since_start().join(", ")) {
        (now, before) if now.is_empty() && before.is_empty() => None,
        (now, before) if now.is_empty() => {
            Some(note(format!("the firmware has slowed the board down since it was started: {before}"), remedy))
        }
        (now, _) => Some(warning(format!("the firmware slows the board down now: {now}"), remedy)),
    }
}

/// A processor that is too hot, or nearly.
pub(super) fn heat(state: &State, benchmark: Option<&Benchmark>) -> Option<Finding> {
    let load = benchmark.map(|benchmark| &benchmark.under_load);
    if let Some(device) = state.cooling.iter().chain(load.iter().flat_map(|load| &load.cooling)).next() {
        let what = format!("the kernel slows the processor down because it is too hot ({device} is active)");
        return Some(warning(what, COOL));
    }
    let zone = state.hottest()?;
    let hottest = load.and_then(|load| load.hottest).map_or(zone.celsius, |under_load| under_load.max(zone.celsius));
    let (limit, who) = zone.passive.map_or((HOT, "many boards slow"), |limit| (limit, "the kernel slows it"));
    (hottest >= limit)
        .then(|| warning(format!("the processor is at {hottest:.0} °C: from {limit:.0} °C on {who} down"), COOL))
}

/// A processor that does not run as fast as it could.
pub(super) fn clock(state: &State, benchmark: Option<&Benchmark>) -> Option<Finding> {
    let clock = state.fastest_clock()?;
    // These drivers choose the frequency themselves; their governor "powersave" is a balance.
    let by_itself = ["intel_pstate", "amd-pstate", "amd-pstate-epp"].contains(&clock.driver.as_str());
    if clock.governor == "powersave" && !by_itself {
        return Some(warning(
            "the processor stays at its lowest frequency (governor powersave)",
            "echo performance | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
        ));
    }
    let highest = clock.highest.filter(|&highest| highest > 0)?;
    let below = |frequency: &u64| (*frequency as f64) < FULL_SPEED * highest as f64;
    if let Some(allowed) = clock.allowed.filter(below) {
        return Some(warning(
            format!("the processor is limited to {} GHz of {} GHz", gigahertz(allowed), gigahertz(highest)),
            "unless heat is the cause, see scaling_max_freq in /sys/devices/system/cpu/cpufreq/policy*, or on a Jetson \
             the power mode (sudo nvpmodel -q)",
        ));
    }
    let lowest = benchmark.and_then(|benchmark| benchmark.under_load.lowest).filter(below)?;
    Some(note(
        format!("under load the processor slowed to {} GHz at times, of {} GHz", gigahertz(lowest), gigahertz(highest)),
        format!(
            "for steady times: echo performance | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor \
             (now {}); otherwise check heat and power supply",
            clock.governor
        ),
    ))
}

/// A frequency in GHz.
#[must_use]
pub fn gigahertz(hertz: u64) -> String {
    format!("{:.2}", hertz as f64 / 1e9)
}
