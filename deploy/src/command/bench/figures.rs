//! Turns a result into tables, which are then printed as text or Markdown.

use super::super::text::{counted, grouped, printable};
use deploy::backend::Runtime;
use deploy::bench::BenchReport;
use deploy::bench::compare::{Change, Comparison, Verdict};
use deploy::bench::statistics::Summary;
use serde::Serialize;
use std::collections::BTreeSet;

/// A table with its title; the first row is the heading.
pub struct Section {
    pub title: &'static str,
    pub rows: Vec<Vec<String>>,
}

/// The document that `--format json` prints with `--compare`.
#[derive(Serialize)]
pub struct Compared<'a> {
    #[serde(flatten)]
    pub report: &'a BenchReport,
    pub comparison: &'a Comparison,
}

/// What was measured, where and how.
pub fn summary(report: &BenchReport) -> Vec<(&'static str, String)> {
    let mut runtimes: Vec<_> = report.series.iter().map(|series| described(&series.runtime)).collect();
    let mut seen = BTreeSet::new();
    runtimes.retain(|runtime| seen.insert(runtime.clone()));
    let machine = &report.machine;
    let processors = machine.threads.map_or_else(String::new, |threads| format!(", {}", counted(threads, "thread")));
    let mut state: Vec<_> =
        report.conditions.load_average.map(|load| format!("load average {load:.2}")).into_iter().collect();
    state.extend(report.conditions.governor.as_ref().map(|governor| format!("governor {governor}")));
    let mut fields = vec![
        ("model", format!("{}, {} bytes", printable(&report.model.name), grouped(report.model.bytes as u64))),
        ("runtimes", runtimes.join("\n")),
        ("processor", format!("{}{processors}: {}", machine.processor, report.conditions.features.join(" "))),
        ("system", machine.system.clone()),
        ("measured", format!("{}, {} in {:.1} s", report.date, counted(report.rounds, "round"), report.seconds)),
    ];
    if !state.is_empty() {
        fields.push(("state", state.join(", ")));
    }
    fields
}

/// Describes a runtime without its number of threads, since several are measured.
fn described(runtime: &Runtime) -> String {
    let Runtime { name, version, provider, device, .. } = runtime;
    format!("{name} {version}, {provider} on {device}")
}

/// Remarks that the tables do not contain.
pub fn notes(report: &BenchReport, comparison: Option<&Comparison>) -> Vec<String> {
    let mut notes: Vec<_> = report.notes.clone();
    if let Some(comparison) = comparison {
        notes.extend(comparison.notes.iter().cloned());
        let count = |verdict| comparison.count(verdict);
        notes.push(format!(
            "against the result of {}: {} worse, {} better, {} within the noise, {} unknown",
            comparison.before,
            count(Verdict::Worse),
            count(Verdict::Better),
            count(Verdict::Same),
            count(Verdict::Unknown)
        ));
    }
    notes
}

/// All tables.
pub fn sections(report: &BenchReport, comparison: Option<&Comparison>) -> Vec<Section> {
    let mut sections = vec![times(report), added(report), cold(report)];
    sections.extend(comparison.map(changes));
    sections
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// A runtime with its device, and its number of threads.
fn place(runtime: &Runtime) -> [String; 2] {
    let name =
        if runtime.device == "cpu" { runtime.name.clone() } else { format!("{} {}", runtime.name, runtime.device) };
    [name, runtime.threads.to_string()]
}

fn times(report: &BenchReport) -> Section {
    let mut rows =
        vec![row(["runtime", "threads", "batch", "p50 ms", "95 % interval", "p90", "p99", "min", "mean", "images/s"])];
    for series in &report.series {
        let times = &series.seconds;
        let milliseconds = |seconds: f64| in_milliseconds(seconds, times);
        let interval = times
            .interval
            .map_or_else(|| "-".to_owned(), |[low, high]| format!("{} to {}", milliseconds(low), milliseconds(high)));
        let mut cells = place(&series.runtime).to_vec();
        cells.extend([series.batch.to_string(), milliseconds(times.p50), interval]);
        cells.extend([times.p90, times.p99, times.min, times.mean].map(milliseconds));
        cells.push(grouped(series.images_per_second.round() as u64));
        rows.push(cells);
    }
    Section { title: "Time per call, in milliseconds", rows }
}

/// Formats a time. The row's median gets four digits, and the other times as many decimals as the median.
fn in_milliseconds(seconds: f64, times: &Summary) -> String {
    let digits = 3 - (1e3 * times.p50).max(1e-4).log10().floor() as i32;
    format!("{:.*}", digits.clamp(0, 4) as usize, 1e3 * seconds)
}

fn added(report: &BenchReport) -> Section {
    let mut rows =
        vec![row(["runtime", "threads", "batch", "runtime's own call, ms", "added, µs", "95 % interval", "added"])];
    for series in &report.series {
        let microseconds = |seconds: f64| format!("{:.1}", 1e6 * seconds);
        let interval = series
            .added
            .interval
            .map_or_else(|| "-".to_owned(), |[low, high]| format!("{} to {}", microseconds(low), microseconds(high)));
        let mut cells = place(&series.runtime).to_vec();
        cells.extend([
            series.batch.to_string(),
            in_milliseconds(series.raw_seconds.p50, &series.raw_seconds),
            microseconds(series.added.seconds),
            interval,
            format!("{:+.1} %", 100.0 * series.added.share),
        ]);
        rows.push(cells);
    }
    Section { title: "What this program adds to the runtime's own call", rows }
}

fn cold(report: &BenchReport) -> Section {
    let mut rows =
        vec![row(["runtime", "threads", "load ms", "first prediction ms", "whole process ms", "peak memory MB"])];
    for start in &report.cold_starts {
        let milliseconds = |times: &Summary| format!("{:.1}", 1e3 * times.p50);
        let mut cells = place(&start.runtime).to_vec();
        cells.extend([&start.load_seconds, &start.first_seconds, &start.process_seconds].map(milliseconds));
        cells
            .push(start.peak_memory.map_or_else(|| "unknown".to_owned(), |bytes| format!("{:.1}", bytes as f64 / 1e6)));
        rows.push(cells);
    }
    Section { title: "Cold start: a process with one prediction, medians; memory of the whole process", rows }
}

fn changes(comparison: &Comparison) -> Section {
    let mut rows = vec![row(["runtime", "threads", "figure", "before", "now", "change", "noise up to", "verdict"])];
    for change in &comparison.changes {
        let Change { runtime, figure, before, now, threshold, verdict, .. } = change;
        let value = |value: f64| {
            if figure == "peak memory" { format!("{:.1} MB", value / 1e6) } else { format!("{:.3} ms", 1e3 * value) }
        };
        let mut cells = place(runtime).to_vec();
        cells.extend([
            figure.clone(),
            value(*before),
            value(*now),
            format!("{:+.1} %", 100.0 * change.change),
            threshold.map_or_else(|| "unknown".to_owned(), |threshold| format!("{:.1} %", 100.0 * threshold)),
            match verdict {
                Verdict::Better => "better",
                Verdict::Same => "same",
                Verdict::Worse => "WORSE",
                Verdict::Unknown => "unknown",
            }
            .to_owned(),
        ]);
        rows.push(cells);
    }
    Section { title: "Against the earlier result", rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_four_digits() {
        for (seconds, text) in [(12.345e-6, "0.0123"), (0.514_62e-3, "0.5146"), (13.8e-3, "13.80"), (1.636, "1636")] {
            let times = Summary::from_turns(&[vec![seconds]]).unwrap();
            assert_eq!(in_milliseconds(seconds, &times), text);
        }
    }
}
