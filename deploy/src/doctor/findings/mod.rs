//! What is wrong, and what to do about it: what does not suit the board (`board`), what slows it down (`speed`),
//! and here what the benchmark and the engines show.

mod board;
mod speed;

pub use speed::gigahertz;

use crate::backend::status::Status;
use crate::doctor::benchmark::{Benchmark, Failure};
use crate::doctor::board::Board;
use crate::doctor::state::State;
use serde::Serialize;

/// Noise above which a series says little.
const NOISY: f64 = 0.15;

/// How severe a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A model cannot run.
    Error,
    /// It runs, but slower than it could, or the times are not this board's.
    Warning,
    /// Nothing has to be changed.
    Note,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How severe it is.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// All findings, the most severe first.
#[must_use]
pub fn find(board: &Board, state: &State, runtimes: &[Status], benchmark: Option<&Benchmark>) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(benchmark.iter().flat_map(|benchmark| failures(benchmark, runtimes)));
    findings.extend(board::program(board));
    findings.extend(board::cores(board));
    findings.extend(board::memory(board, benchmark));
    findings.extend(speed::power(state, benchmark));
    findings.extend(speed::heat(state, benchmark));
    findings.extend(speed::clock(state, benchmark));
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
fn failures(benchmark: &Benchmark, runtimes: &[Status]) -> Vec<Finding> {
    let failed = |model: &str, status: &Status| {
        benchmark.failures.iter().any(|failure| failure.model == model && failure.engine == status.engine)
    };
    let found = |Failure { model, engine, reason }: &Failure| {
        let mut usable = runtimes.iter().filter(|status| status.available && status.engine.registration.everyday);
        let other = usable.find(|status| !failed(model, status));
        let other = other.map_or_else(String::new, |status| format!("--backend {}, or ", status.engine));
        let remedy = format!("use {other}an fp32 file written by train export, which is checked in all engines");
        finding(Severity::Error, format!("{engine} cannot run {model}: {reason}"), remedy)
    };
    benchmark.failures.iter().map(found).collect()
}

/// What makes the times doubtful.
fn measurement(board: &Board, state: &State, benchmark: Option<&Benchmark>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(benchmark) = benchmark.filter(|benchmark| !benchmark.entries.is_empty()) else { return findings };
    if let Some(load) = state.load_average.filter(|&load| load >= 0.5) {
        findings.push(note(
            format!("other programs were running before the benchmark (load average {load:.1})"),
            "stop them and measure again, unless this board always runs them",
        ));
    }
    let noise = benchmark.entries.iter().filter_map(|entry| entry.seconds.noise).fold(0.0, f64::max);
    if noise > NOISY {
        findings.push(note(
            format!("the times vary by up to {:.0} %, so smaller differences mean nothing", 100.0 * noise),
            "measure longer (--seconds 30), with no other program running",
        ));
    }
    if board.virtual_machine {
        findings.push(note(
            "this is a virtual machine, which shares its processor with others",
            "measure again at another time before you rely on a time",
        ));
    }
    findings
}

/// The first engine whose library was not found. CUDA's is left out, since few boards have it; the list of engines says
/// what it lacks.
fn libraries(runtimes: &[Status]) -> Option<Finding> {
    let mut everyday = runtimes.iter().filter(|status| status.engine.registration.everyday);
    let other = everyday.clone().find(|status| status.available);
    everyday.find_map(|Status { engine, compiled_in, available, about, .. }| {
        let lacks = *compiled_in && !available && !engine.registration.cuda;
        let remedy = engine.registration.library.filter(|_| lacks)?;
        let what = format!("the library of {engine} ({about}) was not found");
        Some(match other {
            Some(other) => note(
                format!("{what}; models run with {}", other.engine),
                format!("nothing has to be done; to use {engine} too, {remedy}"),
            ),
            None => finding(Severity::Error, format!("{what}, so no model can run"), remedy),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Engine;
    use crate::backend::status::Found;
    use crate::doctor::benchmark::Failure;
    use crate::doctor::board::tests::pi_4;
    use crate::doctor::cgroup::Limits;
    use crate::doctor::choice::tests::entry;
    use crate::doctor::processor::{Cores, Feature};
    use crate::doctor::state::{Clock, Firmware, UnderLoad, Zone};

    /// All engines; those that need a library are available only `with_library`.
    fn runtimes(with_library: bool) -> Vec<Status> {
        let status = |engine: Engine| Status {
            engine,
            about: engine.registration.about,
            compiled_in: true,
            available: with_library || engine.registration.library.is_none(),
            found: Found::default(),
            reason: None,
        };
        Engine::all().map(status).collect()
    }

    /// The severity and the words of the only finding.
    fn only(board: &Board, state: &State, benchmark: Option<&Benchmark>) -> (Severity, String) {
        let findings = find(board, state, &runtimes(true), benchmark);
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
            entries: vec![entry("tract", 1, 1, 1e-3)],
            peak_memory: Some(40 << 20),
            under_load: UnderLoad { lowest: Some(1_800_000_000), hottest: Some(61.0), ..UnderLoad::default() },
            ..Benchmark::default()
        }
    }

    #[test]
    fn a_healthy_board_has_no_findings() {
        assert_eq!(find(&pi_4(), &state(), &runtimes(true), Some(&benchmark())), []);
        assert_eq!(find(&pi_4(), &State::default(), &runtimes(true), None), []);
    }

    #[test]
    fn what_does_not_suit_the_board_is_reported() {
        let state = state();
        let says = |board: Board, words: &str| {
            let (severity, said) = only(&board, &state, None);
            assert!(severity == Severity::Warning && said.contains(words), "{said}");
        };
        says(Board { emulator: Some("sign".into()), ..pi_4() }, "under an emulator (sign)");
        says(Board { debug_build: true, ..pi_4() }, "cargo build --release");
        let armv7 = Board { architecture: "arm", ..pi_4() };
        says(armv7.clone(), "the 64-bit edition of the system");
        says(Board { runs_64_bit: true, ..armv7 }, "install the 64-bit program (aarch64): this system can run it");
        says(Board { features: vec![Feature { name: "neon", present: false }], ..pi_4() }, "no NEON");
        says(Board { features: vec![Feature { name: "avx2", present: false }], ..pi_4() }, "no AVX2");
        let cores = Cores { present: Some(6), online: Some(4), usable: 4 };
        says(Board { cores, ..pi_4() }, "4 of 6 cores are switched on: on a Jetson");
        let limits = Limits { processors: Some(1.5), ..Limits::default() };
        says(
            Board { cores: Cores { usable: 1, ..pi_4().cores }, limits, ..pi_4() },
            "the time of 1.5 processors, so this process uses 1 of 4 cores",
        );
        says(Board { memory_available: Some(30 << 20), ..pi_4() }, "left: 30 MiB: stop other programs");
        let limits = Limits { memory: Some(50 << 20), ..Limits::default() };
        says(Board { limits, ..pi_4() }, "left: 50 MiB: raise the limit of the container");
    }

    #[test]
    fn fewer_cores_by_affinity_are_only_a_note() {
        let board = Board { cores: Cores { usable: 2, ..pi_4().cores }, ..pi_4() };
        let (severity, said) = only(&board, &state(), None);
        assert!(severity == Severity::Note && said.contains("2 of 4 cores (its affinity)"), "{said}");
    }

    #[test]
    fn what_slows_the_board_down_is_reported() {
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
        says(with(&|clock| clock.allowed = Some(1_200_000_000)), Severity::Warning, "limited to 1.20 GHz of 1.80 GHz");
        let firmware = |flags| State { firmware: Some(Firmware { flags }), ..state() };
        says(firmware(0x5_0005), Severity::Warning, "now: under-voltage, throttled: use the power supply");
        says(firmware(0x8_0008), Severity::Warning, "now: soft temperature limit active: improve the cooling");
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
        assert_eq!(find(&pi_4(), &intel, &runtimes(true), None), []);
    }

    #[test]
    fn what_the_benchmark_shows_is_reported() {
        let says = |benchmark: Benchmark, severity: Severity, words: &str| {
            let (found, said) = only(&pi_4(), &state(), Some(&benchmark));
            assert!(found == severity && said.contains(words), "{said}");
        };
        let load = |load: UnderLoad| Benchmark { under_load: load, ..benchmark() };
        let at = |lowest| UnderLoad { lowest: Some(lowest), ..UnderLoad::default() };
        says(load(at(1_000_000_000)), Severity::Note, "slowed to 1.00 GHz at times, of 1.80 GHz");
        let firmware = Some(Firmware { flags: 4 });
        says(
            load(UnderLoad { firmware, ..at(1_800_000_000) }),
            Severity::Warning,
            "slows the board down now: throttled",
        );
        says(load(UnderLoad { hottest: Some(85.0), ..at(1_800_000_000) }), Severity::Warning, "at 85 °C");
        let failure =
            |engine: &str| Failure { model: "a.onnx".into(), engine: engine.parse().unwrap(), reason: "why".into() };
        let failures = |engines: &[&str]| {
            let failures = engines.iter().map(|engine| failure(engine)).collect();
            find(&pi_4(), &state(), &runtimes(true), Some(&Benchmark { failures, ..benchmark() }))
        };
        let one = &failures(&["tract"])[0];
        assert_eq!((one.severity, one.what.as_str()), (Severity::Error, "tract cannot run a.onnx: why"));
        assert!(one.remedy.starts_with("use --backend ort, or an fp32 file"), "{}", one.remedy);
        let all = failures(&["tract", "ort", "ort-cuda"]);
        assert!(all.len() == 3 && all[0].remedy.starts_with("use an fp32 file"), "{all:?}");
        says(
            Benchmark { peak_memory: Some(4 << 30), ..benchmark() },
            Severity::Warning,
            "the benchmark used up to 4096 MiB",
        );
        let mut noisy = benchmark();
        noisy.entries[0].seconds.noise = Some(0.2);
        says(noisy, Severity::Note, "the times vary by up to 20 %");
        let (severity, said) = only(&Board { virtual_machine: true, ..pi_4() }, &state(), Some(&benchmark()));
        assert!(severity == Severity::Note && said.contains("a virtual machine"), "{said}");
        let (severity, said) = only(&pi_4(), &State { load_average: Some(2.0), ..state() }, Some(&benchmark()));
        assert!(severity == Severity::Note && said.contains("load average 2.0"), "{said}");
    }

    #[test]
    fn a_missing_library_is_only_a_note() {
        let findings = find(&pi_4(), &state(), &runtimes(false), None);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].severity == Severity::Note && findings[0].remedy.starts_with("nothing has to be done"));
        let mut none = runtimes(false);
        for status in &mut none {
            status.available = false;
        }
        assert_eq!(find(&pi_4(), &state(), &none, None)[0].severity, Severity::Error);
    }
}
