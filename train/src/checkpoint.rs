//! A checkpoint: one safetensors file that holds everything a run needs to resume bit for bit, or to be exported.
//!
//! Tensors: `model.<name>` (the weights and batch-norm statistics being trained), `average.<name>` (their moving
//! average, if the recipe has one) and `optimizer.<name>` (its state, flat). The rest is one JSON text under the
//! metadata key `checkpoint`. Nothing in it depends on the clock, so equal runs write equal bytes.

use crate::flat::Flat;
use crate::network::Network;
use crate::recipe::Recipe;
use crate::run::Epoch;
use crate::trainer::Outcome;
use anyhow::{Context, Result, bail, ensure};
use deploy::text;
use models::architecture::Architecture;
use models::card::{FORMAT as CARD_FORMAT, Input, ModelCard, Precision, Preprocessing, Takes, Training};
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

/// Longest header that is read: safetensors' own limit.
const LARGEST_HEADER: u64 = 100_000_000;

/// Prefixes of the tensors' names.
const MODEL: &str = "model";
const AVERAGE: &str = "average";
const OPTIMIZER: &str = "optimizer";

/// What a checkpoint says besides its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Version of the layout.
    pub format: u32,
    /// The run's recipe, resolved.
    pub recipe: Recipe,
    /// The network.
    pub architecture: Architecture,
    /// What it is trained on.
    pub data: DataFacts,
    /// How far the run is.
    pub progress: Progress,
    /// The epochs that are done.
    pub history: Vec<Epoch>,
    /// What trains it, such as `libtorch 2.13.0 on cpu, 2 threads`: the same bits come only from the same.
    pub trained_with: String,
    /// Threads on the CPU; none on other devices, and in older files. See [`Metadata::threads`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<i32>,
}

impl Metadata {
    /// Threads that the run was trained with on the CPU. Older files say so only in `trained_with`.
    #[must_use]
    pub fn threads(&self) -> Option<i32> {
        let told = || {
            let words: Vec<&str> = self.trained_with.split([' ', ',']).collect();
            let at = words.iter().position(|word| word.starts_with("thread"))?;
            words.get(at.checked_sub(1)?)?.parse().ok()
        };
        self.threads.or_else(told)
    }

    /// Steps of an epoch.
    #[must_use]
    pub fn steps_per_epoch(&self) -> usize {
        self.data.fitted / self.recipe.batch_size.max(1)
    }
}

/// What a run is trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataFacts {
    /// Name of the data set.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Name of each class.
    pub labels: Vec<String>,
    /// Form of an image.
    pub input: Input,
    /// Mean and standard deviation of the pixels.
    pub preprocessing: Preprocessing,
    /// Images the weights are fitted to.
    pub fitted: usize,
    /// Images held out.
    pub held_out: usize,
    /// Fingerprint of the training images and their labels, fitted and held out.
    pub fingerprint: String,
    /// A few of the training images ([`models::dataset::sample()`]); none in checkpoints written before they were kept.
    #[serde(default)]
    pub sample: Vec<String>,
    /// Whether the images held out are the validation split of the data set.
    #[serde(default)]
    pub validation: bool,
}

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs that are done.
    pub epochs: usize,
    /// Steps done in the epoch under way.
    pub step: usize,
    /// Steps done since the start.
    pub total_steps: u64,
    /// Sum of the losses of the epoch under way.
    pub loss_sum: f64,
    /// The best epoch so far by its held-out images, counted from 1.
    pub best: Option<Best>,
    /// When the number of epochs was changed, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<Extension>,
}

impl Progress {
    /// How the run ended, if it did: all epochs are done, or its patience is used up.
    #[must_use]
    pub fn outcome(&self, recipe: &Recipe) -> Option<Outcome> {
        if self.epochs >= recipe.epochs {
            return Some(Outcome::Finished);
        }
        // A run that stopped early and is extended trains on: patience starts anew.
        let extended = self.extensions.last().map_or(0, |extension| extension.after);
        let best = self.best?.epoch.max(extended);
        (recipe.patience > 0 && self.epochs >= best + recipe.patience).then_some(Outcome::StoppedEarly)
    }

    /// Checks that a new total of epochs leaves some to do.
    pub fn check_total(&self, epochs: usize) -> Result<()> {
        let done = self.epochs;
        ensure!(
            epochs > done,
            "--epochs {epochs}: the run has {} done already, expected more than {done}",
            text::counted(done, "epoch")
        );
        Ok(())
    }

    /// The epochs that were planned when a step, counted from 0, was done: the learning rate depends on them.
    #[must_use]
    pub fn planned(&self, recipe: &Recipe, step: u64) -> usize {
        self.extensions
            .iter()
            .find(|extension| step < extension.steps)
            .map_or(recipe.epochs, |extension| extension.from)
    }
}

/// A change of a run's number of epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Epochs that were done then.
    pub after: usize,
    /// Steps that were done then, since the start.
    pub steps: u64,
    /// Epochs that were planned before.
    pub from: usize,
}

/// The best epoch so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Counted from 1.
    pub epoch: usize,
    /// Its held-out accuracy.
    pub accuracy: f64,
    /// Its held-out loss, which decides between equal accuracies.
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
    /// Where it was read from, for messages.
    path: PathBuf,
}

/// The part of the metadata that every version has.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Writes a checkpoint whole or not at all.
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

/// What is said of a file that does not hold what its header promises.
const INCOMPLETE: &str = "it is not a complete safetensors file: is it truncated?";

/// The metadata in a file's header.
fn describe(header: &tensor::Metadata) -> Result<Metadata> {
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
    let text = text.context("it is a safetensors file, but not one that train wrote (no 'checkpoint' metadata)")?;
    let version: Version = serde_json::from_str(text).context("its metadata is broken")?;
    ensure!(version.format == FORMAT, "its format is {}: this train reads {FORMAT}", version.format);
    let metadata: Metadata = serde_json::from_str(text).context("its metadata is broken")?;
    metadata.architecture.validate()?;
    Ok(metadata)
}

impl Checkpoint {
    /// Reads a checkpoint and checks that it is one of ours, whole, and fits its own description.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::from_bytes(path, &bytes)
    }

    /// Reads what a checkpoint says besides its tensors, and checks that the file has the length it should have.
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

    /// Reads a checkpoint from memory; `path` is what messages call it.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        Self::parse(path, bytes).with_context(|| format!("{} is not a checkpoint that can be used", path.display()))
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes).context(INCOMPLETE)?;
        let metadata = describe(&header)?;
        let file = SafeTensors::deserialize(bytes).context(INCOMPLETE)?;
        let mut tensors = HashMap::new();
        for (name, view) in file.iter() {
            ensure!(view.dtype() == Dtype::F32, "tensor {name} is {:?}: expected F32", view.dtype());
            let chunks = view.data().chunks_exact(4);
            let values: Vec<f32> =
                chunks.map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect();
            let shape: Vec<i64> = view.shape().iter().map(|&extent| extent as i64).collect();
            tensors.insert(name.to_owned(), Tensor::f_from_slice(&values)?.f_view(shape.as_slice())?);
        }
        Ok(Self { metadata, tensors, path: path.to_owned() })
    }

    /// The network being trained.
    pub fn network(&self, device: Device) -> Result<Network> {
        self.build(MODEL, device)
    }

    /// The moving average, if the run keeps one.
    pub fn average(&self, device: Device) -> Result<Option<Network>> {
        (self.metadata.recipe.ema > 0.0).then(|| self.build(AVERAGE, device)).transpose()
    }

    /// The network that is tested and exported: the moving average if there is one.
    pub fn shipped(&self, device: Device) -> Result<Network> {
        match self.average(device)? {
            Some(average) => Ok(average),
            None => self.network(device),
        }
    }

    /// A tensor of the optimizer's state.
    pub fn optimizer(&self, name: &str) -> Result<&Tensor> {
        let name = format!("{OPTIMIZER}.{name}");
        self.tensors.get(&name).with_context(|| format!("{} has no tensor {name}", self.path.display()))
    }

    /// The card of the model that [`Self::shipped`] is.
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
            takes: Takes::default(),
            precision: Precision::default(),
            calibration: None,
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

    /// The tensors of a buffer, one after the other.
    fn gather(&self, prefix: &str, flat: &Flat) -> Result<Tensor> {
        let mut parts = Vec::new();
        for spec in flat.specs() {
            let name = format!("{prefix}.{}", spec.name);
            let path = self.path.display();
            let Some(tensor) = self.tensors.get(&name) else { bail!("{path} has no tensor {name}") };
            ensure!(
                tensor.size() == spec.shape,
                "{path}: tensor {name} is {:?}, its network wants {:?}",
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

    /// 10 epochs were planned and 4 done in 40 steps, then 20 were planned.
    #[test]
    fn an_extension_counts_from_where_it_was_made() {
        let extensions = vec![Extension { after: 4, steps: 40, from: 10 }];
        let progress = Progress { epochs: 4, total_steps: 40, extensions, ..Progress::default() };
        let recipe = recipe(20, 0);
        assert_eq!((progress.planned(&recipe, 39), progress.planned(&recipe, 40)), (10, 20));
        assert_eq!(Progress::default().planned(&recipe, 0), 20);
        assert!(progress.check_total(4).is_err() && progress.check_total(5).is_ok());
    }

    #[test]
    fn patience_starts_anew_with_an_extension() {
        let best = Some(Best { epoch: 2, accuracy: 0.9, loss: 0.1 });
        let mut progress = Progress { epochs: 5, best, ..Progress::default() };
        assert_eq!(progress.outcome(&recipe(10, 3)), Some(Outcome::StoppedEarly));
        assert_eq!(progress.outcome(&recipe(10, 4)), None);
        progress.extensions.push(Extension { after: 5, steps: 50, from: 10 });
        assert_eq!(progress.outcome(&recipe(10, 3)), None);
        progress.epochs = 8;
        assert_eq!(progress.outcome(&recipe(10, 3)), Some(Outcome::StoppedEarly));
        assert_eq!(progress.outcome(&recipe(8, 3)), Some(Outcome::Finished));
    }

    /// Checkpoints of before have neither threads nor extensions.
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
                    "input": Input::new(1, 28, 28, models::card::Content::Picture),
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
