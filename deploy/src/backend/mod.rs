//! What runs a model: one small trait, and a table of the engines that implement it.
//!
//! [`ENGINES`] lists the engines. Each has a file in `engines` that describes it ([`engine::Registration`]); [`Engine`]
//! is a handle to one of them. [`Options`] say which one the user wants, and [`status`] which can be used here.
//!
//! `tract` is pure Rust. `ort` loads the shared library of ONNX Runtime, which `library` finds, and `cuda` registers its
//! CUDA execution provider, for which `nvidia` loads NVIDIA's libraries and `binding` keeps memory at hand.

#[cfg(feature = "ort")]
mod binding;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(feature = "ort")]
mod elf;
pub mod engine;
mod engines;
pub mod intermediate;
#[cfg(feature = "ort")]
pub mod library;
#[cfg(feature = "cuda")]
pub mod nvidia;
pub mod options;
#[cfg(feature = "ort")]
pub mod ort;
pub(crate) mod panic;
pub mod prepared;
pub mod status;
#[cfg(feature = "tract")]
pub mod tract;

pub use engine::Engine;
pub use engines::ENGINES;
pub use options::{Device, Options, Selection};

use crate::interface::Interface;
use anyhow::Result;
use models::onnx::proto::ModelProto;
use ndarray::{Array2, Array4, ArrayView4, CowArray, Ix4, s};
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::fmt;

/// A model that is ready to run.
pub trait Backend: Any + Send {
    /// What really runs.
    fn runtime(&self) -> &Runtime;

    /// Runs any number N of images and returns the scores of the model's output, `[N, classes]`. The backend divides the
    /// images into the batches that suit it best, or that the file fixes.
    ///
    /// The images must have the model's element type and shape. [`crate::model::Model::logits`] checks this.
    fn run(&mut self, images: ImageBatch) -> Result<Array2<f32>>;

    /// Returns one worker per thread, all sharing the model. Empty if the backend runs batches instead. A caller can
    /// then decode, run and answer an image on one thread, and no thread waits for another.
    fn workers(&self) -> Vec<Box<dyn Backend>> {
        Vec::new()
    }
}

/// Images in the form that a graph takes ([`models::card::GraphInput`]).
#[derive(Clone, Copy)]
pub enum ImageBatch<'a> {
    /// Raw images, `[N, C, H, W]`, values 0 to 255.
    Bytes(ArrayView4<'a, u8>),
    /// Normalised, `[N, C, resolution, resolution]`.
    Normalised(ArrayView4<'a, f32>),
}

/// The images of a batch, padded with empty ones if the file fixes a larger batch.
fn filled<T: Copy + Default>(images: ArrayView4<T>, batch: Option<usize>) -> CowArray<T, Ix4> {
    let (count, channels, height, width) = images.dim();
    match batch {
        Some(batch) if batch > count => {
            let mut filled = Array4::from_elem((batch, channels, height, width), T::default());
            filled.slice_mut(s![..count, .., .., ..]).assign(&images);
            filled.into()
        }
        _ if images.is_standard_layout() => images.into(),
        _ => images.as_standard_layout().into_owned().into(),
    }
}

/// What really runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// `tract`, `tract as released`, `onnxruntime` or `onnxruntime as written`: one name for each way to run a model.
    pub name: String,
    /// The runtime's own version.
    pub version: String,
    /// What computes: `own convolutions` with the instruction set, `tract-linalg`, or ONNX Runtime's execution provider,
    /// such as `CPUExecutionProvider`.
    pub provider: String,
    /// `cpu`, `cuda:0` and so on.
    pub device: String,
    /// Threads on the processor.
    pub threads: usize,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { name, version, provider, device, threads } = self;
        let plural = if *threads == 1 { "" } else { "s" };
        write!(f, "{name} {version}, {provider} on {device}, {threads} thread{plural}")
    }
}

/// A model to be opened.
#[derive(Clone, Copy)]
pub struct ModelFile<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// The ONNX file.
    pub bytes: &'a [u8],
    /// The same, decoded.
    pub model: &'a ModelProto,
    /// What it takes and returns.
    pub interface: &'a Interface,
}

/// Makes a model ready to run in the engine that the options select. Says which one that is, and in notes why it is not
/// a better one.
pub(crate) fn open(source: ModelFile, options: &Options) -> Result<(Box<dyn Backend>, Engine, Vec<String>)> {
    options.validate()?;
    let (engine, notes) = options.engine.settle()?;
    let backend = (engine.code()?.open)(source, engine.device, options)?;
    Ok((backend, engine, notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_reads_as_a_sentence() {
        let mut runtime = Runtime {
            name: "onnxruntime".into(),
            version: "1.32.0".into(),
            provider: "CPUExecutionProvider".into(),
            device: "cpu".into(),
            threads: 2,
        };
        assert_eq!(runtime.to_string(), "onnxruntime 1.32.0, CPUExecutionProvider on cpu, 2 threads");
        runtime.threads = 1;
        assert!(runtime.to_string().ends_with("1 thread"));
    }
}
