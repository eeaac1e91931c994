//! Exports a checkpoint to a self-contained ONNX file, which is verified before it is renamed into place.
//!
//! [`confidence`] finds the temperature that calibrates the probabilities. The checkpoint then returns a network with
//! divided logits, so the later steps need not handle the temperature. [`fold`] merges each batch norm into its
//! convolution; [`graph`] writes the nodes; [`check`] runs the new file in every available runtime and compares it with
//! the network in libtorch; [`paired`] judges the accuracy cost of fp16 or int8. For fp16, [`fold`] also rounds the
//! weights; for int8, [`quantize`] finds the range of every activation and quantizes the weights. [`triton`] lays the
//! file out for a serving engine.
//!
//! # The graph, node by node
//!
//! For a network with 28×28 input images at a resolution of 64 px (`mnist-quick`), N images at once:
//!
//! ```text
//!  image  uint8 [N, 1, 28, 28]           raw images, as in the data set
//!    │ Cast                              to float                                 ┐
//!    │ Mul input.scale                   1 / (255 · std), per channel             │ left out by
//!    │ Add input.shift                   −mean / std                              │ --preprocess none
//!    │ Resize input.factors              bilinear, half-pixel centres, [N,1,64,64]┘
//!    │
//!    │ Conv stem.weight, stem.bias       3×3, stride 2, batch norm folded in
//!    │ Clip 0, 6                         ReLU6; [N, 8, 32, 32]
//!    │ ┌ Conv block1.depthwise.…         3×3, one filter per channel
//!    │ │ Clip
//!    │ │ Conv block1.pointwise.…         1×1, mixes the channels
//!    │ └ Clip                            and so on for 13 blocks, to [N, 256, 2, 2]
//!    ⋮
//!    │ GlobalAveragePool                 [N, 256, 1, 1]
//!    │ Flatten                           [N, 256]
//!    │ Gemm classifier.weight, .bias     y = x · Wᵀ + b
//!  logits  float [N, 10]
//!    │ Softmax                           left out by --outputs logits
//!  probabilities  float [N, 10]
//! ```
//!
//! The initialisers of a layer carry the layer's name. The graph has no batch norm, constant nodes, shape arithmetic or
//! `value_info`, so a runtime has nothing to fold.
//!
//! **fp16** stores every weight in 16 bits and widens it with a `Cast`; the arithmetic stays in 32 bits. Runtimes widen
//! the weights once, when they load the file, so it runs as fast as fp32 everywhere. A graph that computes in 16 bits
//! would not: on a CPU, ONNX Runtime inserts conversions around every node, and tract is about ten times slower.
//!
//! **int8** uses the QDQ format, which ONNX Runtime, `OpenVINO` and `TensorRT` convert to integer arithmetic:
//!
//! ```text
//!  block1.depthwise.weight  int8 [8, 1, 3, 3]        x  uint8, scale and zero point of the tensor
//!    │ DequantizeLinear, a scale per channel         │ DequantizeLinear
//!    └──────────────────────────┐                    │
//!  block1.depthwise.bias  int32 │                    │
//!    │ DequantizeLinear         │                    │
//!    └───────────────────────── Conv ────────────────┘
//!                                │ QuantizeLinear     clips to 0 … 6: no Clip is needed
//!                               uint8
//! ```
//!
//! The pixels are quantized after the resize. The classifier computes in floats; only its weights are stored in 8 bits.

mod body;
pub mod check;
pub mod confidence;
pub mod fold;
pub mod graph;
mod numbers;
mod observer;
pub mod paired;
pub mod quantize;
mod settings;
pub mod triton;

pub use graph::OPSET;
pub use settings::{Outputs, Settings};

use crate::checkpoint::Checkpoint;
use crate::export::check::{CheckReport, Material};
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

/// An ONNX file in memory, with the settings and weights it was written from.
pub struct Written {
    /// The encoded ONNX model.
    pub bytes: Vec<u8>,
    /// The model card embedded in it.
    pub card: ModelCard,
    /// The export settings.
    pub settings: Settings,
    folded: BTreeMap<String, Weights>,
    quantized: Option<Quantized>,
}

impl Written {
    /// Encodes a checkpoint as an ONNX file in memory. `calibration` is u8 `[N, C, H, W]`; int8 needs it and errors
    /// without it.
    ///
    /// The same checkpoint, settings and images give the same bytes.
    pub fn new(checkpoint: &Checkpoint, settings: &Settings, calibration: Option<&Tensor>) -> Result<Self> {
        settings.validate()?;
        let folded = fold::fold(&checkpoint.shipped(Device::Cpu)?)?;
        let calibrated = calibration.map_or(0, |images| images.size()[0] as usize);
        let card = settings.card(checkpoint.card(), calibrated);
        let quantized = match settings.precision {
            Precision::Int8 => {
                let images = calibration.context("int8 needs training images to calibrate with")?;
                Some(quantize::quantize(&card, &folded, images, settings.observer)?)
            }
            Precision::Fp32 | Precision::Fp16 => None,
        };
        let mut written = Self { bytes: Vec::new(), card, settings: settings.clone(), folded, quantized };
        let mut model = graph::write(&written.card, written.numbers(), settings)?;
        written.card.embed(&mut model)?;
        written.bytes = model.encode_to_vec();
        Ok(written)
    }

    /// The weights in the file, in its number format.
    #[must_use]
    pub fn numbers(&self) -> Numbers<'_> {
        match (&self.quantized, self.card.precision) {
            (Some(quantized), _) => Numbers::Int8(quantized),
            (None, Precision::Fp16) => Numbers::Fp16(&self.folded),
            (None, _) => Numbers::Fp32(&self.folded),
        }
    }

    /// Checks the file and writes it to `output`. On failure nothing is left behind. Errors if `output` exists and
    /// `overwrite` is false, or if the check fails.
    pub fn save(
        &self,
        checkpoint: &Checkpoint,
        material: &Material,
        output: &Path,
        overwrite: bool,
    ) -> Result<CheckReport> {
        ensure!(
            overwrite || !output.exists(),
            "{} already exists: give another name with -o, or --overwrite",
            output.display()
        );
        files::write_checked(output, &self.bytes, |temporary| self.check(checkpoint, material, temporary))
    }

    /// Checks the file in a temporary folder, for a caller that stores the bytes itself.
    pub fn prove(&self, checkpoint: &Checkpoint, material: &Material) -> Result<CheckReport> {
        let folder = tempfile::tempdir()?;
        files::write_checked(&folder.path().join("model.onnx"), &self.bytes, |path| {
            self.check(checkpoint, material, path)
        })
    }

    fn check(&self, checkpoint: &Checkpoint, material: &Material, file: &Path) -> Result<CheckReport> {
        let report = check::check(checkpoint, self, file, material)?;
        report.verdict()?;
        Ok(report)
    }
}

/// Encodes a checkpoint as an fp32 file with the default settings, unchecked.
pub fn to_bytes(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    Ok(Written::new(checkpoint, &Settings::default(), None)?.bytes)
}
