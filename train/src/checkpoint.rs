//! A checkpoint: one safetensors file with everything a run needs to resume bit for bit, or to be exported.
//!
//! Tensors: `model.<name>` (the weights and batch-norm statistics being trained), `average.<name>` (their moving
//! average, if the recipe has one) and `optimizer.<name>` (the optimizer's state, as flat tensors). Everything else is
//! one JSON document under the metadata key `checkpoint`. Nothing in the file depends on the clock, so equal runs write
//! equal bytes.

use crate::flat::Flat;
use crate::network::Network;
use crate::recipe::Recipe;
use crate::run::Epoch;
use crate::trainer::RunEnd;
use anyhow::{Context, Result, bail, ensure};
use deploy::text;
use models::architecture::Architecture;
use models::card::{
    Confidence, FORMAT as CARD_FORMAT, GraphInput, Input, ModelCard, Precision, Preprocessing, Training,
};
use models::files;
use safetensors::tensor::{self, Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// Key of the JSON text in the file's metadata.
const METADATA_KEY: &str = "checkpoint";

/// Version of the layout that this code writes and reads.
pub const FORMAT: u32 = 1;

/// Longest header to read: the limit of safetensors itself.
const LARGEST_HEADER: u64 = 100_000_000;

/// Prefixes of the tensors' names.
const MODEL: &str = "model";
const AVERAGE: &str = "average";
const OPTIMIZER: &str = "optimizer";

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

/// A checkpoint in memory.
pub struct Checkpoint {
    /// What it says besides its tensors.
    pub metadata: Metadata,
    tensors: HashMap<String, Tensor>,
    /// Set for an export; a checkpoint's file has none.
    confidence: Option<Confidence>,
    /// The file it was read from, for error messages.
    path: PathBuf,
}

/// The part of the metadata common to all versions.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Writes a checkpoint atomically.
pub fn write(
    path: &Path,
    metadata: &Metadata,
    network: &Network,
    average: Option<&Network>,
    optimizer: &[(&'static str, Tensor)],
) -> Result<()> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (prefix, network) in std::iter::once((MODEL, network)).chain(average.map(|average| (AVERAGE, average))) {
        for flat in [network.parameters(), network.statistics()] {
            for (spec, view) in flat.specs().iter().zip(flat.views(false)?) {
                tensors.push(named_bytes(&format!("{prefix}.{}", spec.name), &view)?);
            }
        }
    }
    for (name, state) in optimizer {
        tensors.push(named_bytes(&format!("{OPTIMIZER}.{name}"), state)?);
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    let text = HashMap::from([(METADATA_KEY.to_owned(), serde_json::to_string(metadata)?)]);
    files::write_whole(path, &safetensors::serialize(views, Some(text))?)
}

/// A float tensor's name, shape and bytes (little-endian, row-major).
fn named_bytes(name: &str, tensor: &Tensor) -> Result<(String, Vec<usize>, Vec<u8>)> {
    let values = Vec::<f32>::try_from(tensor.f_to(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?.f_view([-1])?)?;
    let shape = tensor.size().into_iter().map(|extent| extent as usize).collect();
    Ok((name.to_owned(), shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
}

/// Error message for a file whose header is broken or does not match its length.
const INCOMPLETE: &str = "it is not a complete safetensors file: is it truncated?";

/// The metadata in a file's header.
fn describe(header: &tensor::Metadata) -> Result<Metadata> {
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
    let text = text.context("it is a safetensors file, but train did not write it (no 'checkpoint' metadata)")?;
    let version: Version = serde_json::from_str(text).context("its metadata is broken")?;
    ensure!(version.format == FORMAT, "its format version is {}: this train reads version {FORMAT}", version.format);
    let metadata: Metadata = serde_json::from_str(text).context("its metadata is broken")?;
    metadata.architecture.validate()?;
    Ok(metadata)
}

impl Checkpoint {
    /// Reads a checkpoint. Errors if the file is incomplete, was not written by `train`, or has another format version.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::from_bytes(path, &bytes)
    }

    /// Reads only a checkpoint's metadata, without its tensors. Errors if the file's length does not match its header.
    pub fn metadata(path: &Path) -> Result<Metadata> {
        let read = || {
            let mut file = File::open(path)?;
            let mut length = [0; 8];
            file.read_exact(&mut length)?;
            let header = u64::from_le_bytes(length);
            let mut text = Vec::new();
            file.by_ref().take(header.min(LARGEST_HEADER)).read_to_end(&mut text)?;
            Ok::<_, std::io::Error>((8 + header, text, file.metadata()?.len()))
        };
        let (start, text, length) = match read() {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => bail!("{} is truncated", path.display()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let parse = || {
            let header: tensor::Metadata = serde_json::from_slice(&text).context(INCOMPLETE)?;
            ensure!(Some(length) == start.checked_add(header.data_len() as u64), INCOMPLETE);
            describe(&header)
        };
        parse().with_context(|| format!("{} is not a checkpoint that can be used", path.display()))
    }

    /// Reads a checkpoint from memory. `path` is used only in error messages.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        Self::parse(path, bytes).with_context(|| format!("{} is not a checkpoint that can be used", path.display()))
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes).context(INCOMPLETE)?;
        let metadata = describe(&header)?;
        let file = SafeTensors::deserialize(bytes).context(INCOMPLETE)?;
        let mut tensors = HashMap::new();
        for (name, view) in file.iter() {
            ensure!(view.dtype() == Dtype::F32, "tensor {name} has type {:?}: expected F32", view.dtype());
            let chunks = view.data().chunks_exact(4);
            let values: Vec<f32> =
                chunks.map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect();
            let shape: Vec<i64> = view.shape().iter().map(|&extent| extent as i64).collect();
            tensors.insert(name.to_owned(), Tensor::f_from_slice(&values)?.f_view(shape.as_slice())?);
        }
        Ok(Self { metadata, tensors, confidence: None, path: path.to_owned() })
    }

    /// The network being trained.
    pub fn network(&self, device: Device) -> Result<Network> {
        self.build(MODEL, device)
    }

    /// The moving average of the weights, if the run keeps one.
    pub fn average(&self, device: Device) -> Result<Option<Network>> {
        (self.metadata.recipe.ema > 0.0).then(|| self.build(AVERAGE, device)).transpose()
    }

    /// The network that is tested and exported: the moving average if there is one. Its logits are divided by the
    /// temperature that [`Self::set_confidence`] was given.
    pub fn shipped(&self, device: Device) -> Result<Network> {
        let mut network = match self.average(device)? {
            Some(average) => average,
            None => self.network(device)?,
        };
        if let Some(Confidence { temperature, .. }) = self.confidence {
            network.divide_logits(temperature)?;
        }
        Ok(network)
    }

    /// Stores what [`crate::export::confidence::measure`] found out about the network. From then on, the logits of
    /// [`Self::shipped`] are divided by the temperature, and [`Self::card`] contains the measurement.
    pub fn set_confidence(&mut self, confidence: Confidence) {
        self.confidence = Some(confidence);
    }

    /// A tensor of the optimizer's state, `[total]`. Errors if the checkpoint does not have it.
    pub fn optimizer(&self, name: &str) -> Result<&Tensor> {
        let name = format!("{OPTIMIZER}.{name}");
        self.tensors.get(&name).with_context(|| format!("{} has no tensor {name}", self.path.display()))
    }

    /// The model card of the network that [`Self::shipped`] returns.
    #[must_use]
    pub fn card(&self) -> ModelCard {
        let Metadata { recipe, data, history, .. } = &self.metadata;
        let last = history.last();
        ModelCard {
            format: CARD_FORMAT,
            architecture: self.metadata.architecture.clone(),
            labels: data.labels.clone(),
            input: data.input.clone(),
            preprocessing: data.preprocessing.clone(),
            takes: GraphInput::default(),
            precision: Precision::default(),
            calibration: None,
            confidence: self.confidence,
            training: Training {
                data_set: data.name.clone(),
                images: data.fitted,
                sample: data.sample.clone(),
                recipe: recipe.name.clone(),
                seed: recipe.seed,
                epochs: history.len(),
                held_out_accuracy: last.and_then(|epoch| epoch.held_out_accuracy),
                test_accuracy: last.map(|epoch| epoch.test_accuracy),
                trained_with: self.metadata.trained_with.clone(),
            },
        }
    }

    fn build(&self, prefix: &str, device: Device) -> Result<Network> {
        let mut network = Network::zeros(&self.metadata.architecture, device)?;
        let (parameters, statistics) = network.state_mut();
        for flat in [parameters, statistics] {
            let values = self.gather(prefix, flat)?;
            flat.copy_from(&values.f_to(device)?)?;
        }
        Ok(network)
    }

    /// Concatenates the tensors of a flat buffer.
    fn gather(&self, prefix: &str, flat: &Flat) -> Result<Tensor> {
        let mut parts = Vec::new();
        for spec in flat.specs() {
            let name = format!("{prefix}.{}", spec.name);
            let path = self.path.display();
            let Some(tensor) = self.tensors.get(&name) else { bail!("{path} has no tensor {name}") };
            ensure!(
                tensor.size() == spec.shape,
                "{path}: tensor {name} has shape {:?}: expected {:?}",
                tensor.size(),
                spec.shape
            );
            parts.push(tensor.f_view([-1])?);
        }
        Ok(Tensor::f_cat(&parts, 0)?)
    }
}

#[cfg(test)]
mod tests {
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
