//! What a checkpoint says besides its tensors: the run's recipe, data, progress and history.

use crate::recipe::Recipe;
use crate::run::Epoch;
use crate::source::Classes;
use crate::trainer::RunEnd;
use anyhow::{Result, ensure};
use deploy::text;
use models::architecture::Architecture;
use models::card::{Input, Origin, Preprocessing};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything in a checkpoint except its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Version of the layout.
    pub format: u32,
    /// The run's resolved recipe.
    pub recipe: Recipe,
    /// The network.
    pub architecture: Architecture,
    /// What it is trained on.
    pub data: DataFacts,
    /// How far the run has progressed.
    pub progress: RunProgress,
    /// The completed epochs.
    pub history: Vec<Epoch>,
    /// The library, device and threads, such as `libtorch 2.13.0 on cpu, 2 threads`. Results are bit-identical only if
    /// these are the same.
    pub trained_with: String,
    /// CPU threads; `None` on other devices and in older files. See [`Metadata::threads()`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<i32>,
    /// The file that the first weights came from; `None` if they were drawn at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_from: Option<Origin>,
}

impl Metadata {
    /// CPU threads that the run was trained with. Older files record them only in `trained_with`.
    #[must_use]
    pub fn threads(&self) -> Option<i32> {
        let told = || {
            let words: Vec<&str> = self.trained_with.split([' ', ',']).collect();
            let at = words.iter().position(|word| word.starts_with("thread"))?;
            words.get(at.checked_sub(1)?)?.parse().ok()
        };
        self.threads.or_else(told)
    }

    /// Whether the weights were imported, so that nothing is known about the images they were trained on.
    #[must_use]
    pub fn is_imported(&self) -> bool {
        self.history.is_empty() && self.data.fitted == 0
    }

    /// Steps per epoch.
    #[must_use]
    pub fn steps_per_epoch(&self) -> usize {
        self.recipe.steps_per_epoch(self.data.fitted)
    }
}

/// What a run is trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataFacts {
    /// Name of the data set.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Class names, in order.
    pub labels: Vec<String>,
    /// Shape and content of the input images.
    pub input: Input,
    /// Mean and standard deviation of the pixels.
    pub preprocessing: Preprocessing,
    /// Images the weights are fitted to.
    pub fitted: usize,
    /// Images held out to choose the best epoch and to calibrate the probabilities.
    pub held_out: usize,
    /// Fingerprint of the training images and their labels, fitted and held out.
    pub fingerprint: String,
    /// Fingerprint of the test images and their labels; `None` in older checkpoints.
    #[serde(default)]
    pub test_fingerprint: Option<String>,
    /// A few of the training images ([`models::dataset::sample()`]); empty in older checkpoints.
    #[serde(default)]
    pub sample: Vec<String>,
    /// Whether the held-out images are the data set's validation split.
    #[serde(default)]
    pub validation: bool,
    /// Whether images were held out class by class ([`crate::source::DataSource::held_out_by_class`]). `false` in
    /// checkpoints of earlier versions, which drew them at random.
    #[serde(default)]
    pub held_out_by_class: bool,
    /// Whether near-duplicates stay on one side of every split. `false` in checkpoints of earlier versions.
    #[serde(default)]
    pub near_duplicates_together: bool,
    /// What the classes are.
    #[serde(default)]
    pub classes: Classes,
}

/// How far a run has progressed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunProgress {
    /// Completed epochs.
    pub epochs: usize,
    /// Steps done in the current epoch.
    pub step: usize,
    /// Steps done since the start of the run.
    pub total_steps: u64,
    /// Sum of the step losses of the current epoch.
    pub loss_sum: f64,
    /// The best epoch so far, judged on the held-out images; `None` without held-out images.
    pub best: Option<Best>,
    /// Changes of the number of epochs, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<Extension>,
}

impl RunProgress {
    /// The epoch that is exported, counted from 1: the best, or the last one done if none was chosen.
    #[must_use]
    pub fn exported(&self) -> usize {
        self.best.map_or(self.epochs, |best| best.epoch)
    }

    /// How the run ended: all epochs are done, or its patience ran out. `None` if it has not ended.
    #[must_use]
    pub fn outcome(&self, recipe: &Recipe) -> Option<RunEnd> {
        if self.epochs >= recipe.epochs {
            return Some(RunEnd::Finished);
        }
        // Extending a run restarts its patience, so that a run that stopped early can train further.
        let extended = self.extensions.last().map_or(0, |extension| extension.after);
        let best = self.best?.epoch.max(extended);
        (recipe.patience > 0 && self.epochs >= best + recipe.patience).then_some(RunEnd::StoppedEarly)
    }

    /// Errors unless the new total of epochs exceeds the number already done.
    pub fn check_total(&self, epochs: usize) -> Result<()> {
        let done = self.epochs;
        ensure!(
            epochs > done,
            "--epochs {epochs}: expected more than {done}, because the run has already done {}",
            text::counted(done, "epoch")
        );
        Ok(())
    }

    /// The number of epochs planned when `step` (counted from 0) was taken; the learning rate depends on it.
    #[must_use]
    pub fn planned(&self, recipe: &Recipe, step: u64) -> usize {
        self.extensions
            .iter()
            .find(|extension| step < extension.steps)
            .map_or(recipe.epochs, |extension| extension.from)
    }
}

/// A change to a run's number of epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Epochs done at the time of the change.
    pub after: usize,
    /// Steps done at the time, since the start of the run.
    pub steps: u64,
    /// Epochs planned before the change.
    pub from: usize,
}

/// The best epoch so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Counted from 1.
    pub epoch: usize,
    /// Its held-out accuracy.
    pub accuracy: f64,
    /// Its held-out loss, the tie-breaker between equal accuracies.
    pub loss: f64,
}

impl Best {
    /// Whether an epoch with this held-out accuracy and loss is better.
    #[must_use]
    pub fn is_beaten_by(&self, accuracy: f64, loss: f64) -> bool {
        accuracy > self.accuracy || (accuracy >= self.accuracy && loss < self.loss)
    }
}

#[cfg(test)]
mod tests {
    use super::super::FORMAT;
    use super::*;
    use crate::recipe::BUILT_IN;

    fn recipe(epochs: usize, patience: usize) -> Recipe {
        Recipe { epochs, patience, ..Recipe::parse(BUILT_IN[0].1).unwrap() }
    }

    /// 10 epochs were planned; after 4 epochs (40 steps), the plan was raised to 20.
    #[test]
    fn an_extension_counts_from_where_it_was_made() {
        let extensions = vec![Extension { after: 4, steps: 40, from: 10 }];
        let progress = RunProgress { epochs: 4, total_steps: 40, extensions, ..RunProgress::default() };
        let recipe = recipe(20, 0);
        assert_eq!((progress.planned(&recipe, 39), progress.planned(&recipe, 40)), (10, 20));
        assert_eq!(RunProgress::default().planned(&recipe, 0), 20);
        assert!(progress.check_total(4).is_err() && progress.check_total(5).is_ok());
    }

    #[test]
    fn patience_starts_anew_with_an_extension() {
        let best = Some(Best { epoch: 2, accuracy: 0.9, loss: 0.1 });
        let mut progress = RunProgress { epochs: 5, best, ..RunProgress::default() };
        assert_eq!(progress.outcome(&recipe(10, 3)), Some(RunEnd::StoppedEarly));
        assert_eq!(progress.outcome(&recipe(10, 4)), None);
        progress.extensions.push(Extension { after: 5, steps: 50, from: 10 });
        assert_eq!(progress.outcome(&recipe(10, 3)), None);
        progress.epochs = 8;
        assert_eq!(progress.outcome(&recipe(10, 3)), Some(RunEnd::StoppedEarly));
        assert_eq!(progress.outcome(&recipe(8, 3)), Some(RunEnd::Finished));
    }

    /// Older checkpoints have neither `threads` nor `extensions`.
    #[test]
    fn older_metadata_is_read_and_tells_its_threads() {
        let read = |trained_with: &str| -> Option<i32> {
            let recipe = recipe(1, 0);
            let metadata = serde_json::json!({
                "format": FORMAT,
                "architecture": recipe.architecture(1, 2).unwrap(),
                "recipe": recipe,
                "data": {
                    "name": "made", "folder": "made", "labels": ["cat", "ox"],
                    "input": Input::new(1, 28, 28, models::card::Content::Image),
                    "preprocessing": { "mean": [0.5], "std": [0.25] },
                    "fitted": 90, "held_out": 10, "fingerprint": "0"
                },
                "progress": { "epochs": 1, "step": 0, "total_steps": 9, "loss_sum": 0.0, "best": null },
                "history": [],
                "trained_with": trained_with,
            });
            serde_json::from_value::<Metadata>(metadata).unwrap().threads()
        };
        assert_eq!(read("libtorch 2.13.0 on cpu, 1 thread"), Some(1));
        assert_eq!(read("libtorch 2.13.0 on cpu, 16 threads, bfloat16"), Some(16));
        assert_eq!(read("libtorch 2.13.0 on cuda:0, bfloat16"), None);
    }
}
