//! Compares a result with an earlier one and flags only changes beyond the noise of both.

use super::BenchReport;
use super::measure::Series;
use super::statistics::Summary;
use crate::backend::Runtime;
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Smaller changes are ignored, however quiet the series is. Two runs of the same program differ by a few per cent for
/// reasons that a single run cannot reveal, such as where its memory happens to lie.
pub const FLOOR: f64 = 0.05;

/// A change must exceed this many times the noise to count.
const NOISES: f64 = 3.0;

/// How a figure has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Better than before, beyond the noise.
    Better,
    /// Within the noise.
    Same,
    /// Worse than before, beyond the noise.
    Worse,
    /// Cannot be judged: too few turns to know the noise, or another machine.
    Unknown,
}

/// One figure, now and before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// What was measured.
    pub runtime: Runtime,
    /// `batch 1`, `load`, `first prediction` or `peak memory`.
    pub figure: String,
    /// The earlier value, in seconds (memory: bytes).
    pub before: f64,
    /// The value now.
    pub now: f64,
    /// `now / before - 1`: above 0 means slower, or more memory.
    pub change: f64,
    /// Changes beyond this count; `None` if the noise is unknown.
    pub threshold: Option<f64>,
    /// Whether it has changed beyond the noise.
    pub verdict: Verdict,
}

/// All figures that both results contain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// When the earlier result was measured.
    pub before: String,
    /// The figures, one by one.
    pub changes: Vec<Change>,
    /// What else differs, for people.
    pub notes: Vec<String>,
}

impl Comparison {
    /// Number of figures with this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.changes.iter().filter(|change| change.verdict == verdict).count()
    }
}

/// Errors if two results are of different files: then their figures cannot be compared.
pub fn same_model(now: &super::Subject, before: &BenchReport) -> Result<()> {
    ensure!(
        now.fingerprint == before.model.fingerprint,
        "the earlier result is for another model ({}, {} bytes): compare it only with results for that file",
        before.model.name,
        before.model.bytes
    );
    Ok(())
}

/// Compares two results of the same file ([`same_model`]). Errors if they have no series in common.
pub fn compare(now: &BenchReport, before: &BenchReport) -> Result<Comparison> {
    same_model(&now.model, before)?;
    let mut notes = Vec::new();
    let other_machine =
        now.machine.processor != before.machine.processor || now.machine.threads != before.machine.threads;
    if other_machine {
        let threads = before.machine.threads.map_or_else(String::new, |threads| format!(", {threads} threads"));
        notes.push(format!(
            "the earlier result is from another machine ({}{threads}): no verdict on any figure",
            before.machine.processor
        ));
    }
    let mut changes = Vec::new();
    let mut matched = 0;
    let mut versions = Vec::new();
    for new in &now.series {
        let same = |old: &&Series| old.batch == new.batch && alike(&old.runtime, &new.runtime);
        let Some(old) = before.series.iter().find(same) else { continue };
        matched += 1;
        if old.runtime.version != new.runtime.version {
            versions
                .push(format!("{} was {} then, {} now", new.runtime.name, old.runtime.version, new.runtime.version));
        }
        changes.push(change(&new.runtime, format!("batch {}", new.batch), &old.seconds, &new.seconds));
    }
    versions.dedup();
    notes.extend(versions);
    for new in &now.cold_starts {
        let Some(old) = before.cold_starts.iter().find(|old| alike(&old.runtime, &new.runtime)) else { continue };
        changes.push(change(&new.runtime, "load".to_owned(), &old.load_seconds, &new.load_seconds));
        changes.push(change(&new.runtime, "first prediction".to_owned(), &old.first_seconds, &new.first_seconds));
        if let (Some(old), Some(memory)) = (old.peak_memory, new.peak_memory) {
            // Memory use hardly varies, so it counts as free of noise.
            changes.push(judged(&new.runtime, "peak memory".to_owned(), [old as f64, memory as f64], Some(FLOOR)));
        }
    }
    ensure!(!changes.is_empty(), "the two results have no series in common (runtime, device, threads, batch)");
    if other_machine {
        for change in &mut changes {
            (change.verdict, change.threshold) = (Verdict::Unknown, None);
        }
    }
    let (new, old) = (now.series.len() - matched, before.series.len().saturating_sub(matched));
    if new + old > 0 {
        notes.push(format!("not compared: {new} series only in this result, {old} only in the earlier one"));
    }
    Ok(Comparison { before: before.date.clone(), changes, notes })
}

/// Whether two series measure the same thing. Versions may differ: comparing them is often the point.
fn alike(old: &Runtime, new: &Runtime) -> bool {
    (&old.name, &old.device, old.threads) == (&new.name, &new.device, new.threads)
}

fn change(runtime: &Runtime, figure: String, before: &Summary, now: &Summary) -> Change {
    judged(runtime, figure, [before.p50, now.p50], threshold(before, now))
}

/// The largest difference between two times, as a share of the lower one, that may be noise. `None` if the noise of one
/// is unknown.
#[must_use]
pub fn threshold(one: &Summary, other: &Summary) -> Option<f64> {
    // The difference may come from the noisier of the two.
    Some(FLOOR.max(NOISES * one.noise?.max(other.noise?)))
}

fn judged(runtime: &Runtime, figure: String, [before, now]: [f64; 2], threshold: Option<f64>) -> Change {
    let change = now / before.max(f64::MIN_POSITIVE) - 1.0;
    let verdict = match threshold {
        None => Verdict::Unknown,
        Some(threshold) if change > threshold => Verdict::Worse,
        // A factor of 2 and a factor of 1/2 are equally far from 1: compare factors, not differences.
        Some(threshold) if (1.0 + change) * (1.0 + threshold) < 1.0 => Verdict::Better,
        Some(_) => Verdict::Same,
    };
    Change { runtime: runtime.clone(), figure, before, now, change, threshold, verdict }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{report, series};
    use super::*;

    fn verdict(before: (f64, f64), now: (f64, f64)) -> Verdict {
        let old = report(vec![series("tract", 1, before.0, before.1)]);
        let new = report(vec![series("tract", 1, now.0, now.1)]);
        compare(&new, &old).unwrap().changes[0].verdict
    }

    #[test]
    fn only_what_exceeds_floor_and_noise_is_flagged() {
        // A quiet series: the floor of 5 % decides.
        assert_eq!(verdict((1.0, 0.001), (1.04, 0.001)), Verdict::Same);
        assert_eq!(verdict((1.0, 0.001), (1.06, 0.001)), Verdict::Worse);
        assert_eq!(verdict((1.06, 0.001), (1.0, 0.001)), Verdict::Better);
        assert_eq!(verdict((1.04, 0.001), (1.0, 0.001)), Verdict::Same);
        // A noisy series, before or now: three times its noise decides.
        for noise in [(0.04, 0.001), (0.001, 0.04)] {
            assert_eq!(verdict((1.0, noise.0), (1.11, noise.1)), Verdict::Same);
            assert_eq!(verdict((1.0, noise.0), (1.13, noise.1)), Verdict::Worse);
        }
    }

    #[test]
    fn without_known_noise_there_is_no_verdict() {
        let mut old = report(vec![series("tract", 1, 1.0, 0.01)]);
        old.series[0].seconds.noise = None;
        let comparison = compare(&report(vec![series("tract", 1, 9.0, 0.01)]), &old).unwrap();
        assert_eq!((comparison.count(Verdict::Unknown), comparison.changes.len()), (1, 1));
    }

    #[test]
    fn another_model_is_refused_and_another_machine_gets_no_verdict() {
        let now = report(vec![series("tract", 1, 1.0, 0.01)]);
        let mut other = now.clone();
        other.model.fingerprint = "0".into();
        assert!(compare(&now, &other).unwrap_err().to_string().contains("another model (a.onnx, 5 bytes)"));
        let mut elsewhere = report(vec![series("tract", 1, 9.0, 0.01)]);
        elsewhere.machine.processor = "Z80".into();
        let comparison = compare(&now, &elsewhere).unwrap();
        assert_eq!(comparison.count(Verdict::Unknown), 1);
        assert!(comparison.notes[0].contains("another machine (Z80"), "{:?}", comparison.notes);
    }

    #[test]
    fn what_only_one_result_holds_is_counted() {
        let now = report(vec![series("tract", 1, 1.0, 0.01), series("tract", 8, 8.0, 0.01)]);
        let mut old = report(vec![series("tract", 1, 1.0, 0.01), series("onnxruntime", 1, 1.0, 0.01)]);
        old.series[0].runtime.version = "0.9".into();
        let comparison = compare(&now, &old).unwrap();
        assert_eq!(comparison.changes.len(), 1);
        let notes = comparison.notes.join("\n");
        assert!(notes.contains("1 series only in this result, 1 only in the earlier one"), "{notes}");
        assert!(notes.contains("tract was 0.9 then, 1.2.3 now"), "{notes}");
        let strange = report(vec![series("rten", 1, 1.0, 0.01)]);
        assert!(compare(&now, &strange).unwrap_err().to_string().contains("no series in common"));
    }
}
