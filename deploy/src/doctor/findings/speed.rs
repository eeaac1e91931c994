//! What keeps the processor from its full speed: power, heat, and the rules of its clock.

use super::{Finding, note, warning};
use crate::doctor::benchmark::Benchmark;
use crate::doctor::state::{Firmware, State};

/// The share of its highest frequency that a processor under load should reach.
const FULL_SPEED: f64 = 0.9;

/// Degrees Celsius from which on a Raspberry Pi slows down; of boards that do not tell their own.
const HOT: f64 = 80.0;

/// What the firmware of a Raspberry Pi tells.
pub(super) fn power(state: &State, benchmark: Option<&Benchmark>) -> Option<Finding> {
    let under_load = benchmark.and_then(|benchmark| benchmark.under_load.firmware);
    let flags = state.firmware.into_iter().chain(under_load).map(|firmware| firmware.flags).reduce(|a, b| a | b)?;
    let firmware = Firmware { flags };
    let remedy = if firmware.under_voltage() {
        "use the power supply and cable made for this board (Raspberry Pi 3: 5 V 2.5 A, 4: 5 V 3 A, 5: 5 V 5 A), and \
         unplug what it does not need"
    } else {
        "give it a heat sink or a fan, and air"
    };
    match (firmware.now().as_slice(), firmware.since_start().as_slice()) {
        ([], []) => None,
        ([], before) => Some(note(
            format!("the firmware slowed the board down since it was started: {}", before.join(", ")),
            remedy,
        )),
        (now, _) => Some(warning(format!("the firmware slows the board down now: {}", now.join(", ")), remedy)),
    }
}

/// A processor that is too hot, or nearly.
pub(super) fn heat(state: &State, benchmark: Option<&Benchmark>) -> Option<Finding> {
    let remedy = "give it a heat sink or a fan, and air";
    let load = benchmark.map(|benchmark| &benchmark.under_load);
    let cooling: Vec<_> = state.cooling.iter().chain(load.iter().flat_map(|load| &load.cooling)).collect();
    if let Some(device) = cooling.first() {
        return Some(warning(
            format!("the kernel slows the processor down because it is too hot ({device} is at work)"),
            remedy,
        ));
    }
    let zone = state.hottest()?;
    let hottest = load.and_then(|load| load.hottest).map_or(zone.celsius, |under_load| under_load.max(zone.celsius));
    let limit = zone.passive.unwrap_or(HOT);
    let slows = if zone.passive.is_some() { "the kernel slows it down" } else { "many boards slow down" };
    (hottest >= limit)
        .then(|| warning(format!("the processor is at {hottest:.0} °C: from {limit:.0} °C on {slows}"), remedy))
}

/// A processor that does not run as fast as it could.
pub(super) fn clock(state: &State, benchmark: Option<&Benchmark>) -> Vec<Finding> {
    let Some(clock) = state.fastest_clock() else { return Vec::new() };
    // These choose the frequency by themselves; their governor "powersave" is a balance.
    let by_itself = ["intel_pstate", "amd-pstate", "amd-pstate-epp"].contains(&clock.driver.as_str());
    if clock.governor == "powersave" && !by_itself {
        return vec![warning(
            "the processor stays at its lowest frequency (governor powersave)",
            "echo performance | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
        )];
    }
    let Some(highest) = clock.highest.filter(|&highest| highest > 0) else { return Vec::new() };
    let below = |frequency: u64| (frequency as f64) < FULL_SPEED * highest as f64;
    if let Some(allowed) = clock.allowed.filter(|&allowed| below(allowed)) {
        return vec![warning(
            format!("the processor is held at {} GHz of {} GHz", gigahertz(allowed), gigahertz(highest)),
            "if it is not the heat, someone limited it: see scaling_max_freq in /sys/devices/system/cpu/cpufreq/policy*, \
             on a Jetson the power mode (sudo nvpmodel -q)",
        )];
    }
    let reached = benchmark.and_then(|benchmark| benchmark.under_load.lowest).filter(|&lowest| below(lowest));
    let slow = reached.map(|lowest| {
        note(
            format!(
                "under load the processor ran at {} GHz at times, of {} GHz",
                gigahertz(lowest),
                gigahertz(highest)
            ),
            format!(
                "for even times: echo performance | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor \
                 (now {}); otherwise look at heat and power supply",
                clock.governor
            ),
        )
    });
    slow.into_iter().collect()
}

/// A frequency in GHz.
#[must_use]
pub fn gigahertz(hertz: u64) -> String {
    format!("{:.2}", hertz as f64 / 1e9)
}
