//! From a checkpoint to a self-contained ONNX file that is proven before it has its name.
//!
//! [`fold`] merges each batch norm into its convolution; [`graph`] writes the nodes; [`check`] runs the new file in
//! every runtime at hand and compares it with the network in libtorch. What the graph does, for one picture of 28×28:
//!
//! ```text
//!  image  uint8 [N, 1, 28, 28]      the data set's own pictures, untouched
//!    │ Cast                         to float
//!    │ Mul, Add                     (x / 255 − mean) / std, as scale and shift per channel
//!    │ Resize                       bilinear, half-pixel centres, to the network's resolution
//!    │ Conv, Clip(0, 6)             stem; then a depthwise and a pointwise pair for every block
//!    ⋮
//!    │ GlobalAveragePool, Flatten
//!    │ Gemm                         classifier
//!  logits  float [N, classes]
//!    │ Softmax
//!  probabilities  float [N, classes]
//! ```

mod body;
pub mod check;
pub mod fold;
pub mod graph;
mod nodes;
mod observer;
pub mod quantize;
mod settings;

pub use graph::OPSET;
pub use settings::{CALIBRATION, Outputs, Settings};

use crate::checkpoint::Checkpoint;
use crate::export::check::{Material, Report};
use crate::export::fold::Weights;
use crate::export::graph::Numbers;
use crate::export::quantize::Quantized;
use anyhow::{Context, Result, ensure};
use models::card::{ModelCard, Precision};
use models::files;
use prost::Message;
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Tensor};

/// A file in memory, with what it was written from.
pub struct Written {
    /// The file.
    pub bytes: Vec<u8>,
    /// The card in it.
    pub card: ModelCard,
    /// What it was to be like.
    pub settings: Settings,
    folded: BTreeMap<String, Weights>,
    quantized: Option<Quantized>,
}

impl Written {
    /// Writes a checkpoint's file. An int8 file needs images to calibrate with, u8 `[N, C, H, W]`.
    ///
    /// The same checkpoint, settings and images yield the same bytes.
    pub fn new(checkpoint: &Checkpoint, settings: &Settings, calibration: Option<&Tensor>) -> Result<Self> {
        settings.validate()?;
        let folded = fold::fold(&checkpoint.shipped(Device::Cpu)?)?;
        let card = settings.card(checkpoint.card());
        let quantized = match settings.precision {
            Precision::Int8 => {
                let images = calibration.context("int8 needs training images to calibrate with")?;
                Some(quantize::quantize(&card, &folded, images, settings.calibration.observer)?)
            }
            Precision::Fp32 | Precision::Fp16 => None,
        };
        let mut written = Self { bytes: Vec::new(), card, settings: settings.clone(), folded, quantized };
        let mut model = graph::write(&written.card, written.numbers(), settings)?;
        written.card.embed(&mut model)?;
        written.bytes = model.encode_to_vec();
        Ok(written)
    }

    /// The numbers in the file.
    #[must_use]
    pub fn numbers(&self) -> Numbers<'_> {
        match (&self.quantized, self.card.precision) {
            (Some(quantized), _) => Numbers::Int8(quantized),
            (None, Precision::Fp16) => Numbers::Fp16(&self.folded),
            (None, _) => Numbers::Fp32(&self.folded),
        }
    }

    /// Writes the file to `output` after it was checked. On failure nothing is left behind.
    pub fn save(&self, checkpoint: &Checkpoint, material: &Material, output: &Path, overwrite: bool) -> Result<Report> {
        ensure!(
            overwrite || !output.exists(),
            "{} exists already: give another name with -o, or --overwrite",
            output.display()
        );
        files::write_checked(output, &self.bytes, |temporary| self.check(checkpoint, material, temporary))
    }

    /// Checks the file in a place of its own, for a caller who does something else with the bytes.
    pub fn prove(&self, checkpoint: &Checkpoint, material: &Material) -> Result<Report> {
        let folder = tempfile::tempdir()?;
        files::write_checked(&folder.path().join("model.onnx"), &self.bytes, |path| {
            self.check(checkpoint, material, path)
        })
    }

    fn check(&self, checkpoint: &Checkpoint, material: &Material, file: &Path) -> Result<Report> {
        let report = check::check(checkpoint, self, file, material)?;
        report.verdict()?;
        Ok(report)
    }
}

/// The bytes of a checkpoint's fp32 file.
pub fn to_bytes(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    Ok(Written::new(checkpoint, &Settings::default(), None)?.bytes)
}
