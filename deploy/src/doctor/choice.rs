//! Which engine, number of threads and precision to use, from the measured times alone.

use super::benchmark::Entry;
use crate::backend::Engine;
use crate::bench::compare::{FLOOR, threshold};
use crate::text::counted;
use models::card::Precision;
use serde::Serialize;
use std::borrow::Cow;

/// Times that differ by more than this share never count as equal, even if they are noisier.
const MOST: f64 = 0.5;

/// What to use for one batch size.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    /// Images at once.
    pub batch: usize,
    /// The model's name in messages.
    pub model: String,
    /// Its number format, from its card.
    pub precision: Option<Precision>,
    /// The engine and its device.
    pub engine: Engine,
    /// Threads on the processor.
    pub threads: usize,
    /// The flags that make `deploy` use this.
    pub flags: String,
    /// Seconds per call, the median.
    pub seconds: f64,
    /// Why, in words: a comparison with the best alternatives.
    pub reasons: Vec<String>,
}

/// What to use at each batch size that was measured.
#[must_use]
pub fn recommend(entries: &[Entry]) -> Vec<Choice> {
    entries.chunk_by(|a, b| a.batch == b.batch).filter_map(choose).collect()
}

/// Among the entries that are as fast as the fastest, the one with the least loss of precision, then with the fewest
/// threads, then one that needs no library.
fn choose(entries: &[Entry]) -> Option<Choice> {
    let fastest = entries.iter().min_by(|a, b| a.seconds.p50.total_cmp(&b.seconds.p50))?;
    let as_fast = entries.iter().filter(|entry| !is_faster(fastest, entry));
    let chosen =
        as_fast.min_by(|a, b| preference(a).cmp(&preference(b)).then(a.seconds.p50.total_cmp(&b.seconds.p50)))?;
    Some(Choice {
        batch: chosen.batch,
        model: chosen.model.clone(),
        precision: chosen.precision,
        engine: chosen.engine,
        threads: chosen.runtime.threads,
        flags: flags(chosen),
        seconds: chosen.seconds.p50,
        reasons: reasons(chosen, entries),
    })
}

fn preference(entry: &Entry) -> (usize, usize, bool) {
    // A file without a card does not say its number format: treat it as fp32.
    let precision = entry.precision.unwrap_or_default();
    let loss = Precision::ALL.iter().position(|&known| known == precision).unwrap_or(0);
    (loss, entry.runtime.threads, entry.engine.registration.library.is_some())
}

/// Whether `a` is faster than `b` by more than noise.
fn is_faster(a: &Entry, b: &Entry) -> bool {
    let tolerance = threshold(&a.seconds, &b.seconds).unwrap_or(FLOOR).min(MOST);
    a.seconds.p50 * (1.0 + tolerance) < b.seconds.p50
}

fn flags(entry: &Entry) -> String {
    let model = entry.path.as_ref().map_or_else(String::new, |path| format!("--model {} ", quoted(path)));
    format!("{model}--backend {} --threads {}", entry.engine, entry.runtime.threads)
}

/// Quotes a path so that a shell reads it as one word.
fn quoted(path: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        return path.into();
    }
    format!("'{}'", path.replace('\'', r"'\''")).into()
}

/// Compares the chosen entry with the best one of each other number of threads, engine and model.
fn reasons(chosen: &Entry, entries: &[Entry]) -> Vec<String> {
    let mut best: Vec<(u8, String, &Entry)> = Vec::new();
    for entry in entries {
        let Entry { model, engine, runtime, .. } = entry;
        let (kind, name) = if *model != chosen.model {
            let precision = entry.precision.map_or_else(String::new, |precision| format!(" ({precision})"));
            (2, format!("{model}{precision} at its best"))
        } else if *engine != chosen.engine {
            (1, format!("{engine} at its best"))
        } else if runtime.threads != chosen.runtime.threads {
            (0, format!("{engine} on {}", counted(runtime.threads, "thread")))
        } else {
            continue;
        };
        match best.iter_mut().find(|(_, known, _)| *known == name) {
            Some((.., known)) if entry.seconds.p50 < known.seconds.p50 => *known = entry,
            Some(_) => {}
            None => best.push((kind, name, entry)),
        }
    }
    best.sort_by_key(|&(kind, ..)| kind);
    best.iter().map(|(_, name, other)| format!("{} {name}", compared(chosen, other))).collect()
}

/// Such as `3.6 times as fast as`.
fn compared(chosen: &Entry, other: &Entry) -> String {
    let ratio = other.seconds.p50 / chosen.seconds.p50;
    if is_faster(chosen, other) {
        format!("{ratio:.*} times as fast as", usize::from(ratio < 9.95) + usize::from(ratio < 1.95))
    } else {
        "as fast (within noise) as".to_owned()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::backend::Runtime;
    use crate::bench::statistics::Summary;

    /// An entry with this median, measured six times with a typical deviation of 1 %.
    pub(crate) fn entry(engine: &str, threads: usize, batch: usize, seconds: f64) -> Entry {
        let turns = [0.985, 0.99, 0.995, 1.005, 1.01, 1.015].map(|factor| vec![factor * seconds]);
        let runtime = Runtime {
            name: engine.to_string(),
            version: "1".to_owned(),
            provider: "p".to_owned(),
            device: "cpu".to_owned(),
            threads,
        };
        Entry {
            model: "mnist-quick (embedded)".to_owned(),
            path: None,
            precision: Some(Precision::Fp32),
            engine: engine.parse().unwrap(),
            runtime,
            batch,
            seconds: Summary::from_turns(&turns).unwrap(),
            images_per_second: batch as f64 / seconds,
        }
    }

    #[test]
    fn the_fastest_is_chosen_and_compared_with_the_others() {
        let entries = [
            entry("tract", 1, 1, 0.50e-3),
            entry("tract", 2, 1, 0.62e-3),
            entry("ort", 1, 1, 0.14e-3),
            entry("ort", 2, 1, 0.10e-3),
        ];
        let choices = recommend(&entries);
        assert_eq!(choices.len(), 1);
        assert_eq!((choices[0].engine.to_string(), choices[0].threads, choices[0].batch), ("ort".to_owned(), 2, 1));
        assert_eq!(choices[0].flags, "--backend ort --threads 2");
        assert_eq!(
            choices[0].reasons,
            ["1.40 times as fast as ort on 1 thread", "5.0 times as fast as tract at its best"]
        );
    }

    #[test]
    fn among_times_equal_within_noise_the_cheaper_setting_is_chosen() {
        let entries = [entry("ort", 4, 1, 1.00), entry("ort", 1, 1, 1.03), entry("tract", 1, 1, 1.04)];
        let choice = &recommend(&entries)[0];
        assert_eq!((choice.threads, choice.flags.as_str()), (1, "--backend tract --threads 1"));
        assert_eq!(choice.reasons, ["as fast (within noise) as ort at its best"]);
    }

    #[test]
    fn int8_is_chosen_only_where_it_is_faster() {
        let int8 = |seconds| Entry {
            model: "int8.onnx".to_owned(),
            path: Some("int8.onnx".to_owned()),
            precision: Some(Precision::Int8),
            ..entry("ort", 1, 1, seconds)
        };
        let fp32 = entry("ort", 1, 1, 1.0);
        assert_eq!(recommend(&[fp32.clone(), int8(0.98)])[0].precision, Some(Precision::Fp32));
        let choice = &recommend(&[fp32, int8(0.4)])[0];
        assert_eq!(choice.precision, Some(Precision::Int8));
        assert!(choice.flags.starts_with("--model int8.onnx --backend ort"), "{}", choice.flags);
        assert_eq!(choice.reasons, ["2.5 times as fast as mnist-quick (embedded) (fp32) at its best"]);
    }

    #[test]
    fn flags_can_be_pasted_into_a_shell() {
        for (path, word) in [("a/b-1.onnx", "a/b-1.onnx"), ("my model.onnx", "'my model.onnx'"), ("a'b", r"'a'\''b'")] {
            assert_eq!(quoted(path), word);
        }
    }

    #[test]
    fn each_batch_size_has_its_choice() {
        let entries = [
            entry("tract", 1, 1, 0.5),
            entry("tract", 4, 1, 0.5),
            entry("tract", 1, 8, 4.0),
            entry("tract", 4, 8, 1.1),
        ];
        let choices: Vec<_> = recommend(&entries).iter().map(|choice| (choice.batch, choice.threads)).collect();
        assert_eq!(choices, [(1, 1), (8, 4)]);
        assert!(recommend(&[]).is_empty());
    }
}
