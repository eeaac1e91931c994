//! Compares runs: differences in recipe, data and results.

use crate::checkpoint::{Checkpoint, Metadata};
use crate::progress::duration;
use crate::run::{Epoch, Run};
use anyhow::{Context, Result, ensure};
use deploy::text::{self, grouped, percent, printable};
use models::cost;
use serde::Serialize;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;

/// Maximum width of the text output in columns, and of a cell in characters.
const COLUMNS: usize = 80;
const LONGEST: usize = 24;

/// Results whose key ends with this are shown even if they are equal.
const ACCURACY: &str = "accuracy";

/// A run in a comparison.
#[derive(Clone, Debug)]
pub struct Side {
    /// Its folder's name, or the path if several runs have the same name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Metadata of its last checkpoint.
    pub metadata: Metadata,
    /// Training time of each epoch in seconds; 0 if unknown.
    pub seconds: Vec<f64>,
}

impl Side {
    /// Results of the best checkpoint's epoch; `None` if no epoch is done.
    #[must_use]
    pub fn best(&self) -> Option<&Epoch> {
        let progress = &self.metadata.progress;
        let best = progress.exported();
        self.metadata.history.iter().find(|epoch| epoch.epoch == best)
    }
}

/// A key and its value in each run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The part it belongs to: `recipe`, `data` or `results`.
    pub part: &'static str,
    /// The key, such as `network.width`.
    pub key: String,
    /// The values in the order of the runs; `None` where a run has none.
    pub values: Vec<Option<String>>,
}

/// Runs side by side.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The runs, in the order they were named.
    pub sides: Vec<Side>,
    /// Everything that differs, and always the accuracies.
    pub differences: Vec<Difference>,
    /// Whether all runs were trained and tested on the same images. If not, their accuracies are not comparable.
    pub same_data: bool,
}

impl Comparison {
    /// Reads two or more runs. Errors if a folder is given twice or contains no run.
    pub fn read(folders: &[PathBuf]) -> Result<Self> {
        let mut seen = BTreeSet::new();
        let mut sides = Vec::new();
        for folder in folders {
            let run = Run::open(folder)?;
            let own = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
            let name =
                own.file_name().map_or_else(|| own.display().to_string(), |name| name.to_string_lossy().into_owned());
            ensure!(seen.insert(own), "{} is given twice: expected different runs", folder.display());
            let metadata = Checkpoint::metadata(&run.last())?;
            let mut seconds = run.seconds();
            seconds.resize(metadata.history.len(), 0.0);
            sides.push(Side { name, folder: folder.clone(), metadata, seconds });
        }
        let names: Vec<String> = sides.iter().map(|side| side.name.clone()).collect();
        for side in &mut sides {
            if names.iter().filter(|name| **name == side.name).count() > 1 {
                side.name = side.folder.display().to_string();
            }
        }
        let differences = differences(&sides)?;
        let same_data = sides.windows(2).all(|pair| pair[0].metadata.data.has_the_images_of(&pair[1].metadata.data));
        Ok(Self { sides, differences, same_data })
    }

    /// The table for people, at most 80 columns wide. Many runs are split into several tables, with at least one run
    /// each.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut blocks = Vec::new();
        let mut rest = 0..self.sides.len();
        while !rest.is_empty() {
            let fits = |end: &usize| width(&self.table(rest.start..*end)) <= COLUMNS;
            let end = (rest.start + 2..=rest.end).take_while(fits).last().unwrap_or(rest.start + 1);
            blocks.push(self.table(rest.start..end));
            rest.start = end;
        }
        let mut text = blocks.join("\n");
        if !self.same_data {
            text.push_str("The runs were trained or tested on different images: do not compare their accuracies.\n");
        }
        text
    }

    /// The table of differences for some of the runs.
    fn table(&self, runs: Range<usize>) -> String {
        let names = self.sides[runs.clone()].iter().map(|side| cell(&side.name));
        let mut rows = vec![std::iter::once(String::new()).chain(names).collect::<Vec<_>>()];
        for Difference { key, values, .. } in &self.differences {
            let values = values[runs.clone()].iter().map(|value| value.as_deref().map_or_else(|| "–".to_owned(), cell));
            rows.push(std::iter::once(cell(key)).chain(values).collect());
        }
        text::table(&rows)
    }
}

/// Width of the widest line in columns.
fn width(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

/// Makes a text printable and short enough for a table cell.
fn cell(text: &str) -> String {
    text::shortened(&printable(text), LONGEST)
}

/// The rows of the table: everything that differs in recipe, data and results, and always the accuracies.
fn differences(sides: &[Side]) -> Result<Vec<Difference>> {
    let recipes = sides.iter().map(recipe).collect::<Result<Vec<_>>>()?;
    let data = sides.iter().map(data).collect();
    let results = sides.iter().map(results).collect();
    let mut rows = Vec::new();
    for (part, sides) in [("recipe", recipes), ("data", data), ("results", results)] {
        let sides: Vec<Vec<(String, String)>> = sides;
        let mut keys: Vec<&String> = Vec::new();
        for (key, _) in sides.iter().flatten() {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        for key in keys {
            let value =
                |side: &Vec<(String, String)>| side.iter().find(|(own, _)| own == key).map(|(_, value)| value.clone());
            let values: Vec<_> = sides.iter().map(value).collect();
            if values.windows(2).any(|pair| pair[0] != pair[1]) || key.ends_with(ACCURACY) {
                rows.push(Difference { part, key: key.clone(), values });
            }
        }
    }
    Ok(rows)
}

/// The recipe's keys and values; keys in tables are written `table.key`.
fn recipe(side: &Side) -> Result<Vec<(String, String)>> {
    fn flatten(prefix: &str, value: &toml::Value, keys: &mut Vec<(String, String)>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let prefix = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    flatten(&prefix, value, keys);
                }
            }
            toml::Value::String(text) => keys.push((prefix.to_owned(), text.clone())),
            other => keys.push((prefix.to_owned(), other.to_string())),
        }
    }
    let mut keys = Vec::new();
    flatten("", &toml::Value::try_from(&side.metadata.recipe)?, &mut keys);
    Ok(keys)
}

fn data(side: &Side) -> Vec<(String, String)> {
    let Metadata { data, trained_with, .. } = &side.metadata;
    let form = format!("{}x{}x{}", data.input.channels, data.input.height, data.input.width);
    let facts = [
        ("data", data.name.clone()),
        ("folder", data.folder.display().to_string()),
        ("training images", grouped(data.fitted as u64)),
        ("held-out images", grouped(data.held_out as u64)),
        ("fingerprint", data.fingerprint.clone()),
        ("classes", data.labels.len().to_string()),
        ("labels", data.labels.join(" ")),
        ("image shape", form),
        ("trained with", trained_with.clone()),
    ];
    facts.map(|(key, value)| (key.to_owned(), value)).to_vec()
}

fn results(side: &Side) -> Vec<(String, String)> {
    let cost = cost::count(&side.metadata.architecture.layers());
    let mut results = vec![("epochs done", side.metadata.progress.epochs.to_string())];
    if let Some(best) = side.best() {
        results.push(("best epoch", best.epoch.to_string()));
        if let Some(accuracy) = best.held_out_accuracy {
            results.push(("held-out accuracy", percent(Some(accuracy))));
        }
        results.push(("test accuracy", percent(Some(best.test_accuracy))));
        if let Some(loss) = best.held_out_loss {
            results.push(("held-out loss", format!("{loss:.4}")));
        }
        results.push(("test loss", format!("{:.4}", best.test_loss)));
        results.push(("train loss", format!("{:.4}", best.train_loss)));
    }
    if side.seconds.iter().all(|&seconds| seconds > 0.0) && !side.seconds.is_empty() {
        results.push(("training time", duration(side.seconds.iter().sum())));
    }
    results.push(("parameters", grouped(cost.parameters)));
    results.push(("multiply-adds", grouped(cost.multiply_adds)));
    results.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{DataFacts, FORMAT, RunProgress};
    use crate::recipe::{BUILT_IN, Recipe};
    use crate::source::Classes;
    use models::card::{Content, Input, Preprocessing};

    fn side(name: &str, width: f64, test_accuracy: f64) -> Side {
        let mut recipe = Recipe::parse(BUILT_IN[0].1).unwrap();
        recipe.network.width = width;
        let epoch = Epoch {
            epoch: 1,
            learning_rate: 0.1,
            train_loss: 0.5,
            held_out_loss: None,
            held_out_accuracy: None,
            test_loss: 0.4,
            test_accuracy,
        };
        let data = DataFacts {
            name: "made".into(),
            folder: "made".into(),
            labels: vec!["cat".into(), "ox".into()],
            input: Input::new(1, 28, 28, Content::Image),
            preprocessing: Preprocessing { mean: vec![0.5], std: vec![0.25] },
            fitted: 90,
            held_out: 0,
            fingerprint: "0".into(),
            test_fingerprint: None,
            sample: Vec::new(),
            validation: false,
            held_out_by_class: false,
            near_duplicates_together: true,
            classes: Classes::Labels,
        };
        let metadata = Metadata {
            format: FORMAT,
            architecture: recipe.architecture(1, 2).unwrap(),
            recipe,
            data,
            progress: RunProgress { epochs: 1, ..RunProgress::default() },
            history: vec![epoch],
            trained_with: "libtorch on cpu, 1 thread".into(),
            threads: Some(1),
            started_from: None,
        };
        Side { name: name.into(), folder: name.into(), metadata, seconds: vec![0.0] }
    }

    fn compared(sides: Vec<Side>) -> Comparison {
        Comparison { differences: differences(&sides).unwrap(), sides, same_data: true }
    }

    #[test]
    fn only_what_differs_is_listed_but_always_the_accuracy() {
        let keys = |comparison: &Comparison| -> Vec<String> {
            comparison.differences.iter().map(|difference| difference.key.clone()).collect()
        };
        let equal = compared(vec![side("a", 0.25, 0.9), side("b", 0.25, 0.9)]);
        assert_eq!(keys(&equal), ["test accuracy"]);
        let wider = compared(vec![side("a", 0.25, 0.9), side("b", 0.5, 0.95)]);
        assert_eq!(keys(&wider), ["network.width", "test accuracy", "parameters", "multiply-adds"]);
        let text = wider.to_text();
        assert!(text.contains("0.25") && text.contains("95.00 %") && !text.contains("seed"), "{text}");
    }

    #[test]
    fn many_runs_are_shown_in_blocks_that_fit() {
        let sides = (1..=12).map(|run| side(&format!("a-long-name-of-a-run-{run}"), f64::from(run) / 16.0, 0.5));
        let text = compared(sides.collect()).to_text();
        assert!(width(&text) <= COLUMNS, "{text}");
        assert_eq!(text.matches("network.width").count(), 6, "{text}");
        assert_eq!(text.matches("a-long-name").count(), 12, "{text}");
    }
}
