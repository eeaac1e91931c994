//! What changes from moment to moment: temperatures, clock rates, and whether something slows the processor down.
//!
//! sysinfo is not enough: it reads thermal zones only where there is no `hwmon` sensor, and never the temperatures at
//! which they act. It does not know highest clock rates, governors, cooling devices or the firmware.

use super::files::Files;
use serde::Serialize;

/// In the names of thermal zones that measure the processor: `cpu-thermal` (Raspberry Pi, Jetson Orin), `CPU-therm`
/// (Jetson Nano), `x86_pkg_temp`, `soc-thermal` (Rockchip).
const PROCESSOR_ZONES: [&str; 3] = ["cpu", "pkg", "soc"];

/// A thermal zone of the kernel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Zone {
    /// Its type, such as `cpu-thermal`.
    pub name: String,
    /// Degrees Celsius.
    pub celsius: f64,
    /// Degrees Celsius at which the kernel starts to slow the processor down, if it says so.
    pub passive: Option<f64>,
}

/// Processors that share a clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Clock {
    /// The kernel's driver, such as `cpufreq-dt` or `intel_pstate`.
    pub driver: String,
    /// The rule that chooses the frequency, such as `ondemand`.
    pub governor: String,
    /// Frequency now, in Hz.
    pub now: Option<u64>,
    /// Highest frequency allowed now, in Hz.
    pub allowed: Option<u64>,
    /// Highest frequency of the hardware, in Hz.
    pub highest: Option<u64>,
}

/// What the firmware of a Raspberry Pi reports about throttling, as `vcgencmd get_throttled` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Firmware {
    /// Bits 0 to 3: now; bits 16 to 19: since the start.
    pub flags: u32,
}

impl Firmware {
    /// What the bits mean, from the documentation of `vcgencmd get_throttled`.
    const MEANINGS: [&str; 4] = ["under-voltage", "frequency capped", "throttled", "soft temperature limit active"];

    /// From the kernel's file, a hexadecimal number such as `50005`.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_start_matches("throttled=").trim_start_matches("0x");
        u32::from_str_radix(digits, 16).ok().map(|flags| Self { flags })
    }

    /// What either of them reports.
    #[must_use]
    pub fn both(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        a.into_iter().chain(b).reduce(|a, b| Self { flags: a.flags | b.flags })
    }

    /// What is the case now.
    #[must_use]
    pub fn now(self) -> Vec<&'static str> {
        let set = |bit: usize| self.flags >> bit & 1 == 1;
        Self::MEANINGS.iter().enumerate().filter(|&(bit, _)| set(bit)).map(|(_, &meaning)| meaning).collect()
    }

    /// What was the case at some time since the start.
    #[must_use]
    pub fn since_start(self) -> Vec<&'static str> {
        Self { flags: self.flags >> 16 }.now()
    }

    /// Whether the voltage is too low, or was at some time since the start.
    #[must_use]
    pub fn under_voltage(self) -> bool {
        self.flags & (1 | 1 << 16) != 0
    }
}

/// The state of the board at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct State {
    /// Thermal zones that can be read.
    pub zones: Vec<Zone>,
    /// Clocks of the processor, where the kernel controls them.
    pub clocks: Vec<Clock>,
    /// Cooling devices by which the kernel slows the processor down now.
    pub cooling: Vec<String>,
    /// Only on a Raspberry Pi.
    pub firmware: Option<Firmware>,
    /// Programs that wanted to run over the last minute, on average.
    pub load_average: Option<f64>,
}

impl State {
    /// The state now.
    #[must_use]
    pub fn now(files: &Files) -> Self {
        let zones = files.entries("/sys/class/thermal", "thermal_zone");
        let clocks = files.entries("/sys/devices/system/cpu/cpufreq", "policy");
        Self {
            zones: zones.iter().filter_map(|zone| read_zone(files, zone)).collect(),
            clocks: clocks.iter().map(|policy| read_clock(files, policy)).collect(),
            cooling: cooling(files),
            firmware: firmware(files),
            load_average: files.read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()),
        }
    }

    /// The hottest zone of the processor, or of all if no name says that it is the processor's.
    #[must_use]
    pub fn hottest(&self) -> Option<&Zone> {
        let named = |zone: &Zone, parts: &[&str]| parts.iter().any(|part| zone.name.to_lowercase().contains(part));
        let of_processor = self.zones.iter().filter(|zone| named(zone, &PROCESSOR_ZONES));
        // `PMIC-Die` of a Jetson Nano always says 100 °C.
        let others = self.zones.iter().filter(|zone| !named(zone, &["pmic"]));
        let by_heat = |a: &&Zone, b: &&Zone| a.celsius.total_cmp(&b.celsius);
        of_processor.max_by(by_heat).or_else(|| others.max_by(by_heat))
    }

    /// The clock of the fastest cores, which count on boards with two kinds.
    #[must_use]
    pub fn fastest_clock(&self) -> Option<&Clock> {
        self.clocks.iter().max_by_key(|clock| clock.highest)
    }
}

fn read_zone(files: &Files, zone: &str) -> Option<Zone> {
    // Thousandths of a degree; a sensor that is off reports nothing, or nonsense.
    let degrees = |path: &str| {
        files.number::<i64>(path).map(|millis| millis as f64 / 1e3).filter(|at| (-50.0..200.0).contains(at))
    };
    let trips = files.entries(zone, "trip_point_");
    let trips = trips.iter().filter_map(|path| path.strip_suffix("_type"));
    let mut passive = trips.filter(|trip| files.read(&format!("{trip}_type")) == "passive");
    Some(Zone {
        name: files.read(&format!("{zone}/type")),
        celsius: degrees(&format!("{zone}/temp"))?,
        passive: passive.find_map(|trip| degrees(&format!("{trip}_temp"))).filter(|&at| at > 0.0),
    })
}

fn read_clock(files: &Files, policy: &str) -> Clock {
    let text = |name: &str| files.read(&format!("{policy}/{name}"));
    // In kHz.
    let hertz = |name: &str| text(name).parse::<u64>().ok().and_then(|khz| khz.checked_mul(1000));
    Clock {
        driver: text("scaling_driver"),
        governor: text("scaling_governor"),
        now: hertz("scaling_cur_freq"),
        allowed: hertz("scaling_max_freq"),
        highest: hertz("cpuinfo_max_freq"),
    }
}

/// Names of the kernel's cooling devices that slow the processor down now.
fn cooling(files: &Files) -> Vec<String> {
    let devices = files.entries("/sys/class/thermal", "cooling_device");
    let active = devices.iter().filter(|device| files.number::<u64>(&format!("{device}/cur_state")).unwrap_or(0) > 0);
    let names = active.map(|device| files.read(&format!("{device}/type")));
    names.filter(|name| ["thermal-cpufreq", "cpufreq", "Processor"].iter().any(|kind| name.starts_with(kind))).collect()
}

fn firmware(files: &Files) -> Option<Firmware> {
    // The device is called soc:firmware up to the Raspberry Pi 4. The driver's folder links to it on all of them.
    let mut devices = files.entries("/sys/bus/platform/drivers/raspberrypi-firmware", "");
    devices.push("/sys/devices/platform/soc/soc:firmware".to_owned());
    devices.iter().find_map(|device| Firmware::parse(&files.read(&format!("{device}/get_throttled"))))
}

/// What was seen while the benchmark ran, once after each of its rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UnderLoad {
    /// The lowest frequency of the fastest cores, in Hz.
    pub lowest: Option<u64>,
    /// The highest temperature of the processor, in degrees Celsius.
    pub hottest: Option<f64>,
    /// All that the firmware of a Raspberry Pi reported.
    pub firmware: Option<Firmware>,
    /// Cooling devices that were active.
    pub cooling: Vec<String>,
}

impl UnderLoad {
    /// Adds a moment.
    pub fn add(&mut self, state: &State) {
        let clock = state.fastest_clock().and_then(|clock| clock.now);
        self.lowest = self.lowest.into_iter().chain(clock).min();
        let heat = state.hottest().map(|zone| zone.celsius);
        self.hottest = self.hottest.into_iter().chain(heat).reduce(f64::max);
        self.firmware = Firmware::both(self.firmware, state.firmware);
        let new = state.cooling.iter().filter(|name| !self.cooling.contains(name)).cloned().collect::<Vec<_>>();
        self.cooling.extend(new);
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::tree;
    use super::*;

    #[test]
    fn a_raspberry_pi_is_too_hot_and_its_voltage_too_low() {
        let policy = "/sys/devices/system/cpu/cpufreq/policy0";
        let file = |name: &str| format!("{policy}/{name}");
        let (_folder, files) = tree(&[
            ("/sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("/sys/class/thermal/thermal_zone0/temp", "82774\n"),
            ("/sys/class/thermal/thermal_zone0/trip_point_0_type", "critical\n"),
            ("/sys/class/thermal/thermal_zone0/trip_point_0_temp", "110000\n"),
            ("/sys/class/thermal/cooling_device0/type", "rpi-poe-fan\n"),
            ("/sys/class/thermal/cooling_device0/cur_state", "2\n"),
            (&file("scaling_driver"), "cpufreq-dt\n"),
            (&file("scaling_governor"), "ondemand\n"),
            (&file("scaling_cur_freq"), "1200000\n"),
            (&file("scaling_max_freq"), "1800000\n"),
            (&file("cpuinfo_max_freq"), "1800000\n"),
            ("/sys/bus/platform/drivers/raspberrypi-firmware/soc:firmware/get_throttled", "50005\n"),
            ("/sys/bus/platform/drivers/raspberrypi-firmware/uevent", ""),
            ("/proc/loadavg", "4.05 2.10 0.98 5/212 1234\n"),
        ]);
        let state = State::now(&files);
        assert_eq!(state.hottest().unwrap(), &Zone { name: "cpu-thermal".into(), celsius: 82.774, passive: None });
        let clock = state.fastest_clock().unwrap();
        assert_eq!(
            (clock.governor.as_str(), clock.now, clock.highest),
            ("ondemand", Some(1_200_000_000), Some(1_800_000_000))
        );
        let firmware = state.firmware.unwrap();
        assert_eq!(firmware.now(), ["under-voltage", "throttled"]);
        assert_eq!((firmware.since_start(), firmware.under_voltage()), (vec!["under-voltage", "throttled"], true));
        assert_eq!((state.load_average, state.cooling.len()), (Some(4.05), 0));
    }

    /// The zones of a Jetson Nano with `JetPack` 4: one always says 100 °C.
    #[test]
    fn a_jetson_has_many_zones() {
        let zones = [("AO-therm", "44500"), ("CPU-therm", "37000"), ("GPU-therm", "36500"), ("PMIC-Die", "100000")];
        let mut all = vec![];
        for (n, (name, temperature)) in zones.iter().enumerate() {
            all.push((format!("/sys/class/thermal/thermal_zone{n}/type"), format!("{name}\n")));
            all.push((format!("/sys/class/thermal/thermal_zone{n}/temp"), format!("{temperature}\n")));
        }
        all.push(("/sys/class/thermal/thermal_zone1/trip_point_3_type".into(), "passive\n".into()));
        all.push(("/sys/class/thermal/thermal_zone1/trip_point_3_temp".into(), "97000\n".into()));
        // On an Orin, zones of engines that are off cannot be read.
        all.push(("/sys/class/thermal/thermal_zone9/type".into(), "cv0-thermal\n".into()));
        all.push(("/sys/class/thermal/cooling_device1/type".into(), "thermal-cpufreq-0\n".into()));
        all.push(("/sys/class/thermal/cooling_device1/cur_state".into(), "3\n".into()));
        let all: Vec<_> = all.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let state = State::now(&tree(&all).1);
        assert_eq!(state.zones.len(), 4);
        assert_eq!(state.hottest().unwrap(), &Zone { name: "CPU-therm".into(), celsius: 37.0, passive: Some(97.0) });
        assert_eq!(state.cooling, ["thermal-cpufreq-0"]);
        let others = State {
            zones: state.zones.into_iter().filter(|zone| zone.name != "CPU-therm").collect(),
            ..State::default()
        };
        assert_eq!(others.hottest().unwrap().name, "AO-therm");
    }

    #[test]
    fn the_firmwares_number_is_read_in_each_of_its_forms() {
        for text in ["80008", "0x80008", "throttled=0x80008"] {
            assert_eq!(Firmware::parse(text).unwrap().now(), ["soft temperature limit active"]);
        }
        assert_eq!(Firmware::parse("0").unwrap(), Firmware::default());
        assert!(["", "x", "0x", "fffffffff"].iter().all(|text| Firmware::parse(text).is_none()));
    }

    #[test]
    fn the_worst_moments_under_load_are_kept() {
        let moment = |now, celsius, flags| State {
            zones: vec![Zone { name: "cpu-thermal".into(), celsius, passive: None }],
            clocks: vec![
                Clock { now: Some(now), highest: Some(1800), ..Clock::default() },
                Clock { now: Some(1), highest: Some(900), ..Clock::default() },
            ],
            firmware: Some(Firmware { flags }),
            cooling: vec!["thermal-cpufreq-0".to_owned()],
            load_average: None,
        };
        let mut load = UnderLoad::default();
        load.add(&State::default());
        assert_eq!(load, UnderLoad::default());
        load.add(&moment(1800, 60.0, 0));
        load.add(&moment(1200, 59.0, 4));
        assert_eq!((load.lowest, load.hottest, load.cooling.len()), (Some(1200), Some(60.0), 1));
        assert_eq!(load.firmware.unwrap().now(), ["throttled"]);
    }
}
