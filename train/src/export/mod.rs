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

pub mod check;
pub mod fold;
pub mod graph;

use crate::checkpoint::Checkpoint;
use crate::export::check::Report;
use anyhow::{Result, ensure};
use models::dataset::Dataset;
use models::files;
use prost::Message;
use std::path::Path;
use tch::Device;

/// The bytes of a checkpoint's ONNX file. The same checkpoint yields the same bytes.
pub fn to_bytes(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    let network = checkpoint.shipped(Device::Cpu)?;
    let card = checkpoint.card();
    let mut model = graph::write(&card, &fold::fold(&network)?)?;
    card.embed(&mut model)?;
    Ok(model.encode_to_vec())
}

/// Writes a checkpoint's ONNX file to `output` after it was checked on `images`. On failure nothing is left behind.
pub fn export(checkpoint: &Checkpoint, images: &Dataset, output: &Path, overwrite: bool) -> Result<Report> {
    ensure!(
        overwrite || !output.exists(),
        "{} exists already: give another name with -o, or --overwrite",
        output.display()
    );
    let bytes = to_bytes(checkpoint)?;
    files::write_checked(output, &bytes, |temporary| {
        let report = check::check(checkpoint, temporary, images)?;
        report.verdict()?;
        Ok(report)
    })
}
