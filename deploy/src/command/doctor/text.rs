//! Prints a report for people: facts in columns, times as a table, then recommendations and problems.

use super::super::text::{counted, fields, grouped, printable, table};
use deploy::backend::status;
use deploy::doctor::Diagnosis;
use deploy::doctor::benchmark::{Benchmark, Entry, MANY};
use deploy::doctor::board::Board;
use deploy::doctor::choice::Choice;
use deploy::doctor::findings::{Severity, gigahertz};
use deploy::doctor::state::State;
use models::card::Precision;

/// The whole report.
pub fn text(report: &Diagnosis) -> String {
    let mut lines = board(&report.board);
    lines.extend(state(&report.state, report.benchmark.as_ref()));
    lines.push(("program", program(report)));
    let mut parts = vec![fields(&lines), format!("Runtimes\n{}", fields(&status::lines(&report.runtimes)))];
    parts.extend(report.benchmark.iter().filter(|benchmark| !benchmark.entries.is_empty()).map(times));
    parts.push(format!("What to take\n{}", fields(&choices(report))));
    parts.push(findings(report));
    parts.join("\n")
}

fn board(board: &Board) -> Vec<(&'static str, String)> {
    let unknown = || "not told".to_owned();
    let mebibytes = |bytes: u64| format!("{} MiB", grouped(bytes >> 20));
    let with: Vec<_> = board.features.iter().filter(|feature| feature.present).map(|feature| feature.name).collect();
    let without: Vec<_> =
        board.features.iter().filter(|feature| !feature.present).map(|feature| feature.name).collect();
    let features = match (with.is_empty(), without.is_empty()) {
        (true, true) => "none known".to_owned(),
        (true, false) => format!("without {}", without.join(", ")),
        (false, true) => with.join(", "),
        (false, false) => format!("{}; without {}", with.join(", "), without.join(", ")),
    };
    let usable = counted(board.cores.usable, "core");
    vec![
        ("board", board.model.as_deref().map_or_else(unknown, printable)),
        ("processor", format!("{}, {}", printable(&board.processor), kernel(board))),
        ("features", features),
        (
            "cores",
            board
                .cores
                .online
                .filter(|&online| online != board.cores.usable)
                .map_or_else(|| usable.clone(), |online| format!("{usable} to be used of {online}")),
        ),
        ("memory", {
            let available =
                board.memory_left().map_or_else(String::new, |bytes| format!(", {} to be had", mebibytes(bytes)));
            let limit = board
                .limits
                .memory
                .map_or_else(String::new, |bytes| format!(", control group's limit {}", mebibytes(bytes)));
            format!("{}{available}{limit}", board.memory.map_or_else(unknown, mebibytes))
        }),
        ("system", format!("{}, {}", printable(&board.system), board.libc)),
    ]
}

fn kernel(board: &Board) -> &str {
    board.kernel_architecture.as_deref().unwrap_or("architecture not told")
}

/// Temperatures and clock rates, as far as the system reports them.
fn state(state: &State, benchmark: Option<&Benchmark>) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let load = benchmark.filter(|benchmark| !benchmark.entries.is_empty()).map(|benchmark| &benchmark.under_load);
    lines.push((
        "heat",
        match state.hottest() {
            Some(zone) => {
                let under_load = load
                    .and_then(|load| load.hottest)
                    .map_or_else(String::new, |at| format!(", {at:.0} °C under load"));
                format!("{:.0} °C ({}){under_load}", zone.celsius, printable(&zone.name))
            }
            None => "not told".to_owned(),
        },
    ));
    lines.push((
        "clock",
        match state.fastest_clock() {
            Some(clock) => {
                let highest =
                    clock.highest.map_or_else(String::new, |hertz| format!("up to {} GHz, ", gigahertz(hertz)));
                let under_load = load.and_then(|load| load.lowest);
                let under_load = under_load
                    .map_or_else(String::new, |hertz| format!(", under load at least {} GHz", gigahertz(hertz)));
                format!("{highest}governor {}{under_load}", printable(&clock.governor))
            }
            None => "not told".to_owned(),
        },
    ));
    if let Some(firmware) = state.firmware {
        let said = |words: Vec<&str>| if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
        let (now, before) = (said(firmware.now()), said(firmware.since_start()));
        lines.push(("throttling", format!("now {now}; since the start {before} ({:#x})", firmware.flags)));
    }
    lines
}

fn program(report: &Diagnosis) -> String {
    let build = if report.board.debug_build { "without optimisation" } else { "optimised" };
    format!("deploy {} for {}, {build}", report.deploy, report.board.architecture)
}

fn times(benchmark: &Benchmark) -> String {
    let mut rows = vec![
        ["model", "runtime", "threads", "batch", "p50 ms", "95 % interval", "pictures/s"].map(str::to_owned).to_vec(),
    ];
    rows.extend(benchmark.entries.iter().map(|entry| {
        let interval = entry
            .seconds
            .interval
            .map_or_else(|| "-".to_owned(), |[low, high]| format!("{} to {}", milliseconds(low), milliseconds(high)));
        let cells = [
            named(entry),
            entry.engine.to_string(),
            entry.runtime.threads.to_string(),
            entry.batch.to_string(),
            milliseconds(entry.seconds.p50),
            interval,
            grouped(entry.images_per_second.round() as u64),
        ];
        cells.to_vec()
    }));
    let rounds = counted(benchmark.rounds, "round");
    format!("Benchmark, {rounds} in {:.1} s\n{}", benchmark.seconds, table(&rows))
}

/// A model's name and precision.
fn named(entry: &Entry) -> String {
    let precision = entry.precision.map_or_else(String::new, |precision| format!(", {precision}"));
    format!("{}{precision}", printable(&entry.model))
}

fn milliseconds(seconds: f64) -> String {
    let digits = 2 - (1e3 * seconds).max(1e-4).log10().floor() as i32;
    format!("{:.*}", digits.clamp(0, 4) as usize, 1e3 * seconds)
}

fn choices(report: &Diagnosis) -> Vec<(&'static str, String)> {
    let Some(benchmark) = &report.benchmark else {
        return vec![("not measured", "run deploy doctor without --no-bench".to_owned())];
    };
    let mut lines: Vec<_> = report.choices.iter().map(choice).collect();
    if lines.is_empty() {
        let emulated = report.board.emulator.is_some();
        let why = if emulated { "an emulator's times are no board's" } else { "no model could be run" };
        return vec![("not measured", why.to_owned())];
    }
    if benchmark.only_single {
        lines.push((
            "many pictures",
            "not measured, it would have taken too long: deploy bench --batch-sizes 8".to_owned(),
        ));
    }
    let mut precisions: Vec<_> = benchmark.entries.iter().map(|entry| entry.precision).collect();
    precisions.dedup();
    if let [only] = precisions[..] {
        let only = only.map_or_else(|| "one model".to_owned(), |precision| precision.to_string());
        lines.push((
            "precision",
            format!("only {only} was measured: give exports of several (--model FILE --model FILE)"),
        ));
    } else if report.choices.iter().any(|choice| choice.precision == Some(Precision::Int8)) {
        lines.push((
            "precision",
            "int8 costs accuracy: hold the files against each other with deploy eval --model FILE".to_owned(),
        ));
    }
    lines
}

fn choice(choice: &Choice) -> (&'static str, String) {
    let title = if choice.batch == MANY { "many pictures" } else { "one picture" };
    let images = if choice.batch == 1 { String::new() } else { format!(" for {} pictures", choice.batch) };
    let taken = format!("{}: {} ms{images}", printable(&choice.flags), milliseconds(choice.seconds));
    let lines: Vec<_> = std::iter::once(&taken).chain(&choice.reasons).map(String::as_str).collect();
    (
        title,
        lines.join(
            "
",
        ),
    )
}

fn findings(report: &Diagnosis) -> String {
    if report.findings.is_empty() {
        return "Nothing is wrong.\n".to_owned();
    }
    let lines: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            let safe = |text: &str| text.lines().map(printable).collect::<Vec<_>>().join("\n");
            (severity, format!("{}\n→ {}", safe(&finding.what), safe(&finding.remedy)))
        })
        .collect();
    format!("What is wrong\n{}", fields(&lines))
}
