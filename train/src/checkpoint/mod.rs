//! A checkpoint: one safetensors file with everything a run needs to resume bit for bit, or to be exported.
//!
//! Tensors: `model.<name>` (the weights and batch-norm statistics being trained), `average.<name>` (their moving
//! average, if the recipe has one) and `optimizer.<name>` (the optimizer's state, as flat tensors). Everything else is
//! one JSON document under the metadata key `checkpoint`. Nothing in the file depends on the clock, so equal runs write
//! equal bytes.

mod metadata;

pub use metadata::{Best, DataFacts, Extension, Metadata, RunProgress};

use crate::flat::Flat;
use crate::network::Network;
use anyhow::{Context, Result, bail, ensure};
use half::{bf16, f16};
use models::card::{Confidence, GraphInput, ModelCard, Precision, TRAINED, Training};
use models::files;
use safetensors::tensor::{self, Dtype, SafeTensors, TensorView};
use serde::Deserialize;
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
pub(crate) fn named_bytes(name: &str, tensor: &Tensor) -> Result<(String, Vec<usize>, Vec<u8>)> {
    let values = Vec::<f32>::try_from(tensor.f_to(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?.f_view([-1])?)?;
    let shape = tensor.size().into_iter().map(|extent| extent as usize).collect();
    Ok((name.to_owned(), shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
}

/// A float tensor of a file. Errors if its numbers are not fp32, fp16 or bf16.
pub(crate) fn tensor(view: &TensorView) -> Result<Tensor> {
    let pairs = || view.data().chunks_exact(2).map(|bytes| [bytes[0], bytes[1]]);
    let values: Vec<f32> = match view.dtype() {
        Dtype::F32 => {
            let chunks = view.data().chunks_exact(4);
            chunks.map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
        }
        Dtype::F16 => pairs().map(|bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
        Dtype::BF16 => pairs().map(|bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
        other => bail!("its type is {other:?}: expected F32, F16 or BF16"),
    };
    let shape: Vec<i64> = view.shape().iter().map(|&extent| extent as i64).collect();
    Ok(Tensor::f_from_slice(&values)?.f_view(shape.as_slice())?)
}

/// Error message for a file whose header is broken or does not match its length.
pub(crate) const INCOMPLETE: &str = "it is not a complete safetensors file: is it truncated?";

/// Whether a safetensors file is a checkpoint, of any version.
pub(crate) fn is_checkpoint(bytes: &[u8]) -> bool {
    SafeTensors::read_metadata(bytes)
        .is_ok_and(|(_, header)| header.metadata().as_ref().is_some_and(|metadata| metadata.contains_key(METADATA_KEY)))
}

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
            tensors.insert(name.to_owned(), tensor(&view)?);
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

    /// The weights and statistics of the network that [`Self::shipped`] returns, by the names of the layers. The
    /// temperature is not applied.
    #[must_use]
    pub fn shipped_tensors(&self) -> HashMap<String, Tensor> {
        let prefix = if self.metadata.recipe.ema > 0.0 { AVERAGE } else { MODEL };
        let own = |name: &str| Some(name.strip_prefix(prefix)?.strip_prefix('.')?.to_owned());
        self.tensors.iter().filter_map(|(name, tensor)| Some((own(name)?, tensor.shallow_clone()))).collect()
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
            format: TRAINED,
            architecture: Some(self.metadata.architecture.clone()),
            labels: data.labels.clone(),
            input: data.input.clone(),
            preprocessing: data.preprocessing.clone(),
            takes: GraphInput::default(),
            precision: Precision::default(),
            calibration: None,
            confidence: self.confidence,
            training: Some(Training {
                data_set: data.name.clone(),
                images: data.fitted,
                sample: data.sample.clone(),
                recipe: recipe.name.clone(),
                seed: recipe.seed,
                epochs: history.len(),
                held_out_accuracy: last.and_then(|epoch| epoch.held_out_accuracy),
                test_accuracy: last.map(|epoch| epoch.test_accuracy),
                trained_with: self.metadata.trained_with.clone(),
                started_from: self.metadata.started_from.clone(),
            }),
            adopted: None,
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
