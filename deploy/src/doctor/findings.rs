//! What is wrong, in plain words, each with what to do about it.

use super::benchmark::Benchmark;
use super::board::Board;
use super::processor;
use super::state::State;
use crate::backend::Engine;
use crate::backend::status::Status;
use serde::Serialize;

/// Memory that should be left at least, in bytes.
const LITTLE_MEMORY: u64 = 64 << 20;

/// The share of its highest frequency that a processor under load should reach.
const FULL_SPEED: f64 = 0.9;

/// Degrees Celsius from which on a Raspberry Pi slows down; of boards that do not tell their own.
const HOT: f64 = 80.0;

/// Noise of a series beyond which its figures say little.
const NOISY: f64 = 0.15;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A model cannot be run.
    Error,
    /// It runs, but slower than this board could, or the figures are not this board's.
    Warning,
    /// Nothing that must be changed.
    Note,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// All findings, the gravest first.
#[must_use]
pub fn of(board: &Board, state: &State, runtimes: &[Status; 3], benchmark: Option<&Benchmark>) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(benchmark.iter().flat_map(|benchmark| failures(benchmark)));
    findings.extend(program(board));
    findings.extend(cores(board));
    findings.extend(memory(board, benchmark));
    findings.extend(power(state, benchmark));
    findings.extend(heat(state, benchmark));
    findings.extend(clock(state, benchmark));
    findings.extend(measurement(board, state, benchmark));
    findings.extend(libraries(runtimes));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn finding(severity: Severity, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { severity, what: what.into(), remedy: remedy.into() }
}

fn warning(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    finding(Severity::Warning, what, remedy)
}

fn note(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    finding(Severity::Note, what, remedy)
}

/// Models that could not be run.
fn failures(benchmark: &Benchmark) -> Vec<Finding> {
    let remedy = |engine| match engine {
        Engine::Tract => "take ONNX Runtime (--backend ort), or an fp32 file of train export, which is proven in both",
        _ => "take tract (--backend tract), or an fp32 file of train export, which is proven in both",
    };
    let failure = |failure: &super::benchmark::Failure| {
        let what = format!("{} does not run {}: {}", failure.engine, failure.model, failure.reason);
        finding(Severity::Error, what, remedy(failure.engine))
    };
    benchmark.failures.iter().map(failure).collect()
}

/// The program does not fit the board.
fn program(board: &Board) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(sign) = &board.emulator {
        findings.push(warning(
            format!(
                "an emulator runs this program ({sign}): its times are not those of a board, and nothing was measured"
            ),
            "run deploy doctor on the board itself",
        ));
    }
    if board.debug_build {
        findings.push(warning("this program was built without optimisation", "build it with cargo build --release"));
    }
    if board.is_32_bit_on_64_bit() && board.emulator.is_none() {
        let what = "this is the 32-bit program (armv7) on a 64-bit kernel";
        findings.push(if board.runs_64_bit {
            warning(what, "install the 64-bit program (aarch64): this system runs it")
        } else {
            let remedy =
                "install the system's 64-bit edition and the 64-bit program (aarch64); the processor can do it";
            warning(format!("{what}: the system's other programs are 32-bit too"), remedy)
        });
    }
    let lacks =
        |name| board.features.iter().any(|feature| feature.name == name) && !processor::has(&board.features, name);
    if lacks("neon") {
        findings.push(warning(
            "the processor has no NEON: networks run number by number",
            "take a narrow network at a low resolution, or a board with NEON (Raspberry Pi 2 and later)",
        ));
    }
    if lacks("avx2") || lacks("fma") {
        findings.push(warning(
            "the processor, or the virtual machine, has no AVX2 or FMA: the runtimes' fast kernels cannot be used",
            "on a virtual machine let the processor through (qemu: -cpu host)",
        ));
    }
    findings
}

/// Cores that cannot be used.
fn cores(board: &Board) -> Vec<Finding> {
    let mut findings = Vec::new();
    let cores = board.cores;
    if let (Some(present), Some(online)) = (cores.present, cores.online)
        && online < present
    {
        findings.push(warning(
            format!("{online} of {present} cores are switched on"),
            "on a Jetson choose another power mode (sudo nvpmodel -q, then -m 0); elsewhere write 1 to \
             /sys/devices/system/cpu/cpu*/online",
        ));
    }
    if let Some(online) = cores.online
        && cores.usable < online
    {
        let usable = cores.usable;
        findings.push(match board.limits.processors {
            Some(quota) if quota < online as f64 => warning(
                format!(
                    "the control group allows {quota:.1} processors' worth of time: {usable} of {online} cores are used"
                ),
                "raise the limit of the container or service (docker --cpus, systemd CPUQuota=) if more is wanted",
            ),
            _ => note(
                format!("this process may use {usable} of {online} cores (its affinity)"),
                "start it without taskset, cpuset or CPUAffinity= if more is wanted",
            ),
        });
    }
    findings
}

/// Memory that may not do.
fn memory(board: &Board, benchmark: Option<&Benchmark>) -> Option<Finding> {
    let left = board.memory_left()?;
    let peak = benchmark.and_then(|benchmark| benchmark.peak_memory);
    let needed = peak.unwrap_or(0).max(LITTLE_MEMORY);
    (left < needed).then(|| {
        let took = peak.map_or_else(String::new, |peak| format!("; the benchmark took up to {}", mebibytes(peak)));
        let of_group = board.limits.memory.is_some_and(|limit| board.memory.is_none_or(|all| limit < all));
        let remedy = if of_group {
            "raise the limit of the container or service (docker --memory, systemd MemoryMax=), or take a smaller model"
        } else {
            "stop other programs, or take a smaller model: a system that swaps is many times slower"
        };
        warning(format!("little memory is left: {}{took}", mebibytes(left)), remedy)
    })
}

/// What the firmware of a Raspberry Pi tells.
fn power(state: &State, benchmark: Option<&Benchmark>) -> Option<Finding> {
    let under_load = benchmark.and_then(|benchmark| benchmark.under_load.firmware);
    let flags = state.firmware.into_iter().chain(under_load).map(|firmware| firmware.flags).reduce(|a, b| a | b)?;
    let firmware = super::state::Firmware { flags };
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
fn heat(state: &State, benchmark: Option<&Benchmark>) -> Option<Finding> {
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
fn clock(state: &State, benchmark: Option<&Benchmark>) -> Vec<Finding> {
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

/// What makes the figures doubtful.
fn measurement(board: &Board, state: &State, benchmark: Option<&Benchmark>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(benchmark) = benchmark.filter(|benchmark| !benchmark.entries.is_empty()) else { return findings };
    if let Some(load) = state.load_average.filter(|&load| load >= 0.5) {
        findings.push(note(
            format!("other programs were at work before the benchmark (load average {load:.1})"),
            "stop them and measure again, unless they belong to what this board has to do",
        ));
    }
    let noise = benchmark.entries.iter().filter_map(|entry| entry.seconds.noise).fold(0.0, f64::max);
    if noise > NOISY {
        findings.push(note(
            format!("the times vary by up to {:.0} %: what differs by less cannot be told apart", 100.0 * noise),
            "measure longer (--seconds 30), with nothing else at work",
        ));
    }
    if board.virtual_machine {
        findings.push(note(
            "this is a virtual machine, whose neighbours share its processor",
            "measure again at another time before relying on a figure",
        ));
    }
    findings
}

/// ONNX Runtime's library.
fn libraries(runtimes: &[Status; 3]) -> Vec<Finding> {
    let [tract, onnxruntime, _] = runtimes;
    if onnxruntime.available || !onnxruntime.compiled_in {
        return Vec::new();
    }
    let what = "ONNX Runtime's library was not found";
    let remedy = "put its libonnxruntime.so (64-bit systems only) where deploy backends says it looked, or set \
                  ORT_DYLIB_PATH to it";
    vec![if tract.available {
        note(format!("{what}: tract runs the models"), format!("nothing has to be done; to have both, {remedy}"))
    } else {
        finding(Severity::Error, format!("{what}, and tract is not compiled in: nothing can be run"), remedy)
    }]
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// A frequency in GHz.
#[must_use]
pub fn gigahertz(hertz: u64) -> String {
    format!("{:.2}", hertz as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::super::benchmark::Failure;
    use super::super::board::tests::pi_4;
    use super::super::cgroup::Limits;
    use super::super::choice::tests::entry;
    use super::super::processor::{Cores, Feature};
    use super::super::state::{Clock, Firmware, UnderLoad, Zone};
    use super::*;

    fn runtimes(onnxruntime: bool) -> [Status; 3] {
        let status = |name, available| Status {
            name,
            compiled_in: true,
            available,
            version: None,
            library: None,
            providers: Vec::new(),
            reason: None,
        };
        [status("tract", true), status("onnxruntime", onnxruntime), status("cuda", true)]
    }

    /// The only finding's severity and words.
    fn only(board: &Board, state: &State, benchmark: Option<&Benchmark>) -> (Severity, String) {
        let findings = of(board, state, &runtimes(true), benchmark);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(!findings[0].remedy.is_empty());
        (findings[0].severity, format!("{}: {}", findings[0].what, findings[0].remedy))
    }

    fn state() -> State {
        let clock = Clock {
            driver: "cpufreq-dt".to_owned(),
            governor: "ondemand".to_owned(),
            now: Some(600_000_000),
            allowed: Some(1_800_000_000),
            highest: Some(1_800_000_000),
        };
        State {
            zones: vec![Zone { name: "cpu-thermal".to_owned(), celsius: 52.1, passive: None }],
            clocks: vec![clock],
            cooling: Vec::new(),
            firmware: Some(Firmware { flags: 0 }),
            load_average: Some(0.1),
        }
    }

    fn benchmark() -> Benchmark {
        Benchmark {
            entries: vec![entry(Engine::Tract, 1, 1, 1e-3)],
            peak_memory: Some(40 << 20),
            under_load: UnderLoad { lowest: Some(1_800_000_000), hottest: Some(61.0), ..UnderLoad::default() },
            ..Benchmark::default()
        }
    }

    #[test]
    fn a_healthy_board_has_none() {
        assert_eq!(of(&pi_4(), &state(), &runtimes(true), Some(&benchmark())), []);
        assert_eq!(of(&pi_4(), &State::default(), &runtimes(true), None), []);
    }

    #[test]
    fn what_does_not_fit_the_board_is_told() {
        let state = state();
        let says = |board: Board, words: &str| {
            let (severity, said) = only(&board, &state, None);
            assert!(severity == Severity::Warning && said.contains(words), "{said}");
        };
        says(Board { emulator: Some("sign".into()), ..pi_4() }, "an emulator runs this program (sign)");
        says(Board { debug_build: true, ..pi_4() }, "cargo build --release");
        let armv7 = Board { architecture: "arm", ..pi_4() };
        says(armv7.clone(), "the system's 64-bit edition");
        says(Board { runs_64_bit: true, ..armv7 }, "install the 64-bit program (aarch64): this system runs it");
        says(Board { features: vec![Feature { name: "neon", present: false }], ..pi_4() }, "no NEON");
        says(Board { features: vec![Feature { name: "avx2", present: false }], ..pi_4() }, "no AVX2");
        let cores = Cores { present: Some(6), online: Some(4), usable: 4 };
        says(Board { cores, ..pi_4() }, "4 of 6 cores are switched on: on a Jetson");
        let limits = Limits { processors: Some(1.5), ..Limits::default() };
        says(Board { cores: Cores { usable: 1, ..pi_4().cores }, limits, ..pi_4() }, "allows 1.5 processors' worth");
        says(Board { memory_available: Some(30 << 20), ..pi_4() }, "left: 30 MiB: stop other programs");
        let limits = Limits { memory: Some(50 << 20), ..Limits::default() };
        says(Board { limits, ..pi_4() }, "left: 50 MiB: raise the limit of the container");
    }

    #[test]
    fn fewer_cores_by_affinity_are_someones_wish() {
        let board = Board { cores: Cores { usable: 2, ..pi_4().cores }, ..pi_4() };
        let (severity, said) = only(&board, &state(), None);
        assert!(severity == Severity::Note && said.contains("2 of 4 cores (its affinity)"), "{said}");
    }

    #[test]
    fn what_slows_the_board_down_is_told() {
        let says = |state: State, severity: Severity, words: &str| {
            let (found, said) = only(&pi_4(), &state, None);
            assert!(found == severity && said.contains(words), "{said}");
        };
        let with = |change: &dyn Fn(&mut Clock)| {
            let mut state = state();
            change(&mut state.clocks[0]);
            state
        };
        says(with(&|clock| clock.governor = "powersave".into()), Severity::Warning, "governor powersave");
        says(with(&|clock| clock.allowed = Some(1_200_000_000)), Severity::Warning, "held at 1.20 GHz of 1.80 GHz");
        let firmware = |flags| State { firmware: Some(Firmware { flags }), ..state() };
        says(firmware(0x5_0005), Severity::Warning, "now: under-voltage, throttled: use the power supply");
        says(firmware(0x8_0008), Severity::Warning, "now: soft temperature limit active: give it a heat sink");
        says(
            firmware(0x5_0000),
            Severity::Note,
            "since it was started: under-voltage, throttled: use the power supply",
        );
        let hot = |celsius, passive| State { zones: vec![Zone { name: "cpu".into(), celsius, passive }], ..state() };
        says(hot(84.2, None), Severity::Warning, "at 84 °C: from 80 °C on many boards slow down");
        says(hot(97.0, Some(95.0)), Severity::Warning, "from 95 °C on the kernel slows it down");
        says(
            State { cooling: vec!["thermal-cpufreq-0".into()], ..state() },
            Severity::Warning,
            "too hot (thermal-cpufreq-0",
        );
        let intel = with(&|clock| (clock.driver, clock.governor) = ("intel_pstate".into(), "powersave".into()));
        assert_eq!(of(&pi_4(), &intel, &runtimes(true), None), []);
    }

    #[test]
    fn what_the_benchmark_shows_is_told() {
        let says = |benchmark: Benchmark, severity: Severity, words: &str| {
            let (found, said) = only(&pi_4(), &state(), Some(&benchmark));
            assert!(found == severity && said.contains(words), "{said}");
        };
        let load = |load: UnderLoad| Benchmark { under_load: load, ..benchmark() };
        let at = |lowest| UnderLoad { lowest: Some(lowest), ..UnderLoad::default() };
        says(load(at(1_000_000_000)), Severity::Note, "ran at 1.00 GHz at times, of 1.80 GHz");
        let firmware = Some(Firmware { flags: 4 });
        says(
            load(UnderLoad { firmware, ..at(1_800_000_000) }),
            Severity::Warning,
            "slows the board down now: throttled",
        );
        says(load(UnderLoad { hottest: Some(85.0), ..at(1_800_000_000) }), Severity::Warning, "at 85 °C");
        let failure = Failure { model: "a.onnx".into(), engine: Engine::Tract, reason: "why".into() };
        says(Benchmark { failures: vec![failure], ..benchmark() }, Severity::Error, "tract does not run a.onnx: why");
        says(
            Benchmark { peak_memory: Some(4 << 30), ..benchmark() },
            Severity::Warning,
            "the benchmark took up to 4096 MiB",
        );
        let (severity, said) = only(&pi_4(), &State { load_average: Some(2.0), ..state() }, Some(&benchmark()));
        assert!(severity == Severity::Note && said.contains("load average 2.0"), "{said}");
    }

    #[test]
    fn a_missing_library_is_only_a_note() {
        let findings = of(&pi_4(), &state(), &runtimes(false), None);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].severity == Severity::Note && findings[0].remedy.starts_with("nothing has to be done"));
        let [mut tract, ort, cuda] = runtimes(false);
        tract.available = false;
        assert_eq!(of(&pi_4(), &state(), &[tract, ort, cuda], None)[0].severity, Severity::Error);
    }
}
