//! Prints a report for people: facts in columns, times as a table, then recommendations and problems.

use super::super::text::{counted, fields, grouped, printable, table};
use deploy::backend::status;
use deploy::doctor::Diagnosis;
use deploy::doctor::benchmark::{Benchmark, Entry, MANY};
use deploy::doctor::board::Board;
use deploy::doctor::choice::Choice;
use deploy::doctor::findings::{Finding, Severity, gigahertz};
use deploy::doctor::processor::Feature;
use deploy::doctor::state::State;
use models::card::Precision;

/// The whole report.
pub fn text(report: &Diagnosis) -> String {
    let measured = report.benchmark.as_ref().filter(|benchmark| !benchmark.entries.is_empty());
    let build = if report.board.debug_build { "without optimisation" } else { "optimised" };
    let mut facts = board(&report.board);
    facts.extend(state(&report.state, measured));
    facts.push(("program", format!("deploy {} for {}, {build}", report.deploy, report.board.architecture)));
    let mut parts = vec![fields(&facts), format!("Engines\n{}", fields(&status::lines(&report.runtimes)))];
    parts.extend(measured.map(times));
    parts.push(format!("Recommendation\n{}", fields(&choices(report))));
    parts.push(findings(report));
    parts.join("\n")
}

/// Formats a fact that the system may not report.
fn known<T>(fact: Option<T>, format: impl Fn(T) -> String) -> String {
    fact.map_or_else(|| "unknown".to_owned(), format)
}

/// Formats a detail that is left out if it is missing.
fn detail<T>(detail: Option<T>, format: impl Fn(T) -> String) -> String {
    detail.map_or_else(String::new, format)
}

fn board(board: &Board) -> Vec<(&'static str, String)> {
    let mebibytes = |bytes: u64| format!("{} MiB", grouped(bytes >> 20));
    let (present, absent): (Vec<&Feature>, Vec<&Feature>) = board.features.iter().partition(|feature| feature.present);
    let mut features: Vec<_> = present.iter().map(|feature| feature.name.to_owned()).collect();
    features.extend(absent.iter().map(|feature| format!("no {}", feature.name)));
    let usable = board.cores.usable;
    let cores = match board.cores.online {
        Some(online) if online != usable => format!("{usable} of {online} cores usable"),
        _ => counted(usable, "core"),
    };
    let available = detail(board.memory_left(), |bytes| format!(", {} available", mebibytes(bytes)));
    let limit = detail(board.limits.memory, |bytes| format!(", control group's limit {}", mebibytes(bytes)));
    vec![
        ("board", known(board.model.as_deref(), printable)),
        ("processor", format!("{}, {}", printable(&board.processor), printable(&board.kernel_architecture))),
        ("features", known(Some(features.join(", ")).filter(|names| !names.is_empty()), |names| names)),
        ("cores", cores),
        ("memory", format!("{}{available}{limit}", known(board.memory, mebibytes))),
        ("system", format!("{}, {}", printable(&board.system), board.libc)),
    ]
}

/// Temperatures and clock rates, as far as the system reports them.
fn state(state: &State, measured: Option<&Benchmark>) -> Vec<(&'static str, String)> {
    let load = measured.map(|benchmark| &benchmark.under_load);
    let heat = detail(load.and_then(|load| load.hottest), |at| format!(", {at:.0} °C under load"));
    let slowest = load.and_then(|load| load.lowest);
    let slowest = detail(slowest, |hertz| format!(", under load at least {} GHz", gigahertz(hertz)));
    let mut lines = vec![
        ("heat", known(state.hottest(), |zone| format!("{:.0} °C ({}){heat}", zone.celsius, printable(&zone.name)))),
        (
            "clock",
            known(state.fastest_clock(), |clock| {
                let highest = detail(clock.highest, |hertz| format!("up to {} GHz, ", gigahertz(hertz)));
                format!("{highest}governor {}{slowest}", printable(&clock.governor))
            }),
        ),
    ];
    lines.extend(state.firmware.map(|firmware| {
        let words = |words: Vec<&str>| if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
        let (now, before) = (words(firmware.now()), words(firmware.since_start()));
        ("throttling", format!("now {now}; since the start {before} ({:#x})", firmware.flags))
    }));
    lines
}

fn times(benchmark: &Benchmark) -> String {
    let heads = ["model", "engine", "threads", "batch", "p50 ms", "95 % interval", "images/s"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(benchmark.entries.iter().map(|entry| {
        let Entry { model, precision, engine, runtime, batch, seconds, images_per_second, .. } = entry;
        let interval = seconds.interval.map(|[low, high]| format!("{} to {}", milliseconds(low), milliseconds(high)));
        vec![
            format!("{}{}", printable(model), detail(*precision, |precision| format!(", {precision}"))),
            engine.to_string(),
            runtime.threads.to_string(),
            batch.to_string(),
            milliseconds(seconds.p50),
            interval.unwrap_or_else(|| "-".to_owned()),
            grouped(images_per_second.round() as u64),
        ]
    }));
    let rounds = counted(benchmark.rounds, "round");
    format!("Benchmark, {rounds} in {:.1} s\n{}", benchmark.seconds, table(&rows))
}

/// Three significant digits.
fn milliseconds(seconds: f64) -> String {
    let digits = 2 - (1e3 * seconds).max(1e-4).log10().floor() as i32;
    format!("{:.*}", digits.clamp(0, 4) as usize, 1e3 * seconds)
}

fn choices(report: &Diagnosis) -> Vec<(&'static str, String)> {
    let Diagnosis { board, benchmark, choices, .. } = report;
    let Some(benchmark) = benchmark else {
        return vec![("not measured", "run deploy doctor without --no-bench".to_owned())];
    };
    if choices.is_empty() {
        let emulated = "times under an emulator say nothing about a board";
        let why = if board.emulator.is_some() { emulated } else { "no model could run" };
        return vec![("not measured", why.to_owned())];
    }
    let mut lines: Vec<_> = choices.iter().map(choice).collect();
    if benchmark.only_single {
        lines.push(("many images", "not measured, because it takes long: deploy bench --batch-sizes 8".to_owned()));
    }
    let mut precisions: Vec<_> = benchmark.entries.iter().map(|entry| entry.precision).collect();
    precisions.dedup();
    let int8 = choices.iter().any(|choice| choice.precision == Some(Precision::Int8));
    if let [only] = precisions[..] {
        let only = only.map_or_else(|| "one model".to_owned(), |precision| precision.to_string());
        lines.push((
            "precision",
            format!("only {only} was measured: give the exports to compare (--model FILE --model FILE)"),
        ));
    } else if int8 {
        let remedy = "int8 costs accuracy: compare the files with deploy eval --model FILE";
        lines.push(("precision", remedy.to_owned()));
    }
    lines
}

fn choice(choice: &Choice) -> (&'static str, String) {
    let title = if choice.batch == MANY { "many images" } else { "one image" };
    let images = if choice.batch == 1 { String::new() } else { format!(" for {} images", choice.batch) };
    let taken = format!("{}: {} ms{images}", printable(&choice.flags), milliseconds(choice.seconds));
    let reasons = choice.reasons.iter().map(|reason| format!("\n{}", printable(reason)));
    (title, std::iter::once(taken).chain(reasons).collect())
}

fn findings(report: &Diagnosis) -> String {
    if report.findings.is_empty() {
        return "No problems found.\n".to_owned();
    }
    let safe = |text: &str| text.lines().map(printable).collect::<Vec<_>>().join("\n");
    let line = |finding: &Finding| {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        (severity, format!("{}\n→ {}", safe(&finding.what), safe(&finding.remedy)))
    };
    format!("Problems\n{}", fields(&report.findings.iter().map(line).collect::<Vec<_>>()))
}
