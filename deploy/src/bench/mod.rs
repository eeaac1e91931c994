//! Measures how fast a model file runs here: `deploy bench`.
//!
//! [`cold`] measures starts in separate processes, and [`measure`](mod@measure) the warm times of all runtimes in
//! [`turn`]s. [`statistics`] summarises them, and [`conditions`] records what may have disturbed them. A [`BenchReport`]
//! holds it all, and [`compare`](mod@compare) compares it with an earlier one.

pub mod cold;
pub mod compare;
pub mod conditions;
pub mod measure;
pub mod statistics;
pub mod turn;

use crate::machine::Machine;
use anyhow::{Context, Result, ensure};
use cold::ColdStart;
use conditions::Conditions;
use measure::{Measurement, Series};
use models::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of the JSON document. Documents of other versions are rejected.
const FORMAT: u32 = 1;

/// Above this noise, a series is called noisy. Quieter series can show a change of 15 %.
const NOISY: f64 = 0.05;

/// The model that was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its path.
    pub name: String,
    /// Size of the file in bytes.
    pub bytes: usize,
    /// Identifies the file ([`Fingerprint`]).
    pub fingerprint: String,
}

impl Subject {
    /// Describes the model in a file with these bytes.
    #[must_use]
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        let fingerprint = format!("{:016x}", Fingerprint::new(bytes).value());
        Self { name: name.to_owned(), bytes: bytes.len(), fingerprint }
    }
}

/// The document that `--format json` prints and `--compare` reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    format: u32,
    /// When it was measured, in UTC.
    pub date: String,
    /// Version of `deploy`.
    pub deploy: String,
    /// The model that was measured.
    pub model: Subject,
    /// The machine that it was measured on.
    pub machine: Machine,
    /// The machine's state before the measurement.
    pub conditions: Conditions,
    /// Turns per series.
    pub rounds: usize,
    /// Duration of the rounds in seconds.
    pub seconds: f64,
    /// Warm times.
    pub series: Vec<Series>,
    /// Cold starts.
    pub cold_starts: Vec<ColdStart>,
    /// Remarks for the reader: which series are noisy, and the likely cause.
    pub notes: Vec<String>,
}

impl BenchReport {
    /// Assembles a report. `notes` are remarks about the models.
    #[must_use]
    pub fn new(
        model: Subject,
        conditions: Conditions,
        measurement: Measurement,
        cold_starts: Vec<ColdStart>,
        mut notes: Vec<String>,
    ) -> Self {
        let machine = Machine::here();
        let Measurement { series, rounds, seconds } = measurement;
        notes.extend(warnings(&series, &conditions, machine.threads.unwrap_or(1)));
        let (date, deploy) = (conditions::date(), env!("CARGO_PKG_VERSION").to_owned());
        let format = FORMAT;
        Self { format, date, deploy, model, machine, conditions, rounds, seconds, series, cold_starts, notes }
    }

    /// Reads a report that was written as JSON. Errors if it is not a report of this version.
    pub fn read(path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let foreign = || format!("{} is not a result of deploy bench --format json", path.display());
        let Version { format } = serde_json::from_slice(&text).with_context(foreign)?;
        ensure!(format == FORMAT, "{} has result format {format}: expected {FORMAT}; measure again", path.display());
        serde_json::from_slice(&text).with_context(foreign)
    }
}

/// What may be wrong with the figures, in words.
fn warnings(series: &[Series], conditions: &Conditions, processors: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    let noise = |series: &Series| series.seconds.noise.unwrap_or(0.0);
    let noisy = series.iter().filter(|series| noise(series) > NOISY).count();
    if let Some(worst) = series.iter().max_by(|a, b| noise(a).total_cmp(&noise(b))).filter(|_| noisy > 0) {
        let causes = conditions.causes(processors);
        let causes = if causes.is_empty() { "no cause found".to_owned() } else { causes.join("; ") };
        warnings.push(format!(
            "{noisy} of {} series are noisy: turns differ by up to {:.0} % ({}, batch {}). Likely: {causes}",
            series.len(),
            100.0 * noise(worst),
            worst.runtime,
            worst.batch
        ));
    }
    if series.iter().any(|series| series.seconds.interval.is_none()) {
        let fewest = turn::FEWEST_ROUNDS;
        warnings.push(format!("a 95 % interval of a median needs at least {fewest} rounds"));
    }
    if let Some(threads) = series.iter().map(|series| series.runtime.threads).max().filter(|&most| most > processors) {
        warnings.push(format!("{threads} threads share {processors} processors"));
    }
    warnings
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::backend::Runtime;
    use measure::Added;
    use statistics::Summary;

    /// A series of turns around `seconds`, which differ by about `noise`.
    pub(crate) fn series(name: &str, batch: usize, seconds: f64, noise: f64) -> Series {
        let runtime = Runtime {
            name: name.to_owned(),
            version: "1.2.3".to_owned(),
            provider: "p".to_owned(),
            device: "cpu".to_owned(),
            threads: 1,
        };
        let step = noise / statistics::noise(&[0.9, 0.9, 0.95, 1.0, 1.05, 1.1, 1.1]).unwrap();
        let turns = [-2.0, -1.0, 0.0, 1.0, 2.0, 2.0, -2.0].map(|n| vec![seconds * (1.0 + n * 0.05 * step)]);
        let summary = Summary::from_turns(&turns).unwrap();
        let added = Added { seconds: 0.0, share: 0.0, interval: None };
        let images_per_second = batch as f64 / seconds;
        Series { runtime, batch, images_per_second, seconds: summary.clone(), raw_seconds: summary, added }
    }

    pub(crate) fn report(series: Vec<Series>) -> BenchReport {
        let measurement = Measurement { series, rounds: 7, seconds: 1.0 };
        let subject = Subject::new("a.onnx", b"bytes");
        BenchReport::new(subject, Conditions::default(), measurement, Vec::new(), Vec::new())
    }

    #[test]
    fn a_noisy_series_is_named_with_its_likely_cause() {
        let quiet = report(vec![series("tract", 1, 1e-3, 0.02), series("tract", 8, 8e-3, 0.01)]);
        assert!(quiet.notes.is_empty(), "{:?}", quiet.notes);
        let noisy = vec![series("tract", 1, 1e-3, 0.02), series("onnxruntime", 8, 8e-3, 0.12)];
        let busy = Conditions { load_average: Some(2.6), ..Conditions::default() };
        let note = warnings(&noisy, &busy, 2).join("\n");
        assert!(note.starts_with("1 of 2 series are noisy: turns differ by up to 12 % (onnxruntime"), "{note}");
        assert!(note.contains("batch 8") && note.contains("load average 2.6"), "{note}");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        let report = report(vec![series("tract", 1, 1e-3, 0.02)]);
        std::fs::write(&path, serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(BenchReport::read(&path).unwrap(), report);
        let message = |text: &str| {
            std::fs::write(&path, text).unwrap();
            format!("{:#}", BenchReport::read(&path).unwrap_err())
        };
        assert!(message("{}").contains("is not a result of deploy bench --format json"));
        assert!(message(r#"{"format": 1}"#).contains("missing field"));
        assert!(message(r#"{"format": 2, "new": 1}"#).contains("expected 1; measure again"));
        assert!(message("hello").contains("is not a result"));
        let missing = format!("{:#}", BenchReport::read(&folder.path().join("none.json")).unwrap_err());
        assert!(missing.contains("cannot read") && missing.contains("none.json"), "{missing}");
    }
}
