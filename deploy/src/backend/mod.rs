//! What runs a model: one small trait, one file per runtime.
//!
//! `tract` is pure Rust; `ort` loads the shared library of ONNX Runtime, which `library` finds, and `cuda` registers its
//! CUDA execution provider, for which `nvidia` loads NVIDIA's libraries and `binding` keeps memory at hand. Each is there
//! if its feature is compiled in. [`Options`] say which of them the user wants, [`Engine`] names one where a command runs
//! several, [`status`] tells what there is.

#[cfg(feature = "ort")]
mod binding;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(feature = "ort")]
mod elf;
mod engine;
pub mod intermediate;
#[cfg(feature = "ort")]
pub mod library;
#[cfg(feature = "cuda")]
pub mod nvidia;
#[cfg(feature = "ort")]
pub mod ort;
pub(crate) mod panic;
pub mod prepared;
pub mod status;
#[cfg(feature = "tract")]
pub mod tract;

pub use engine::Engine;

use crate::interface::Interface;
use anyhow::{Result, bail, ensure};
use models::onnx::proto::ModelProto;
use ndarray::{Array2, Array4, ArrayView4, CowArray, Ix4, s};
use prepared::Prepared;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A model that is ready to run.
pub trait Backend: Send {
    /// What really runs.
    fn runtime(&self) -> &Runtime;

    /// Runs pictures, any number N of them, and yields the scores of the model's output, `[N, classes]`. The backend
    /// divides the pictures into batches as suits it best, or as the file demands.
    ///
    /// The pictures' kind and shape must be the model's; [`crate::model::Model::logits`] sees to it.
    fn run(&mut self, pictures: Pictures) -> Result<Array2<f32>>;

    /// For each of the backend's threads one that runs pictures on that thread alone, all of them sharing the model, if
    /// it runs pictures one by one anyway: whoever has pictures to decode and answers to write then does it there too,
    /// and no thread waits for another.
    fn workers(&self) -> Vec<Box<dyn Backend>> {
        Vec::new()
    }

    /// The runtime's own call on these pictures, made ready for it here and now, and nothing around it: no checks, no
    /// scores. It tells what [`Backend::run`] and [`crate::model::Model::logits`] add.
    fn prepared(&mut self, pictures: Pictures) -> Result<Prepared<'_>>;
}

/// Pictures as a graph takes them ([`models::card::Takes`]).
#[derive(Clone, Copy)]
pub enum Pictures<'a> {
    /// As they are, `[N, C, H, W]`, values 0 to 255.
    Bytes(ArrayView4<'a, u8>),
    /// Normalised, `[N, C, resolution, resolution]`.
    Normalised(ArrayView4<'a, f32>),
}

/// The pictures of a batch; if the file fixes the batch to more, empty ones follow.
fn filled<T: Copy + Default>(pictures: ArrayView4<T>, batch: Option<usize>) -> CowArray<T, Ix4> {
    let (count, channels, height, width) = pictures.dim();
    match batch {
        Some(batch) if batch > count => {
            let mut filled = Array4::from_elem((batch, channels, height, width), T::default());
            filled.slice_mut(s![..count, .., .., ..]).assign(&pictures);
            filled.into()
        }
        _ if pictures.is_standard_layout() => pictures.into(),
        _ => pictures.as_standard_layout().into_owned().into(),
    }
}

/// What really runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// `tract`, `stock tract` ([`Options::stock_tract`]) or `onnxruntime`.
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

/// Which runtime the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// ONNX Runtime if its library is found and good, otherwise tract, with a note that says why.
    #[default]
    Auto,
    /// tract.
    Tract,
    /// ONNX Runtime.
    Ort,
}

impl Choice {
    /// What a user can type.
    pub const NAMES: [&str; 3] = ["auto", "tract", "ort"];
    /// Those of them that name one runtime.
    pub const RUNTIMES: [&str; 2] = ["tract", "ort"];
}

impl FromStr for Choice {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "tract" => Ok(Self::Tract),
            "ort" => Ok(Self::Ort),
            _ => bail!("expected auto, tract or ort"),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Tract => "tract",
            Self::Ort => "ort",
        })
    }
}

/// Which device the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// CUDA if it is compiled in and works, otherwise the processor, with a note that says why.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The CUDA device of this number; if it cannot be had, that is an error.
    Cuda(usize),
}

impl Device {
    /// What a user can type, besides `cuda:N`.
    pub const NAMES: [&str; 3] = ["auto", "cpu", "cuda"];
}

impl FromStr for Device {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name.split_once(':') {
            None if name == "auto" => Ok(Self::Auto),
            None if name == "cpu" => Ok(Self::Cpu),
            None if name == "cuda" => Ok(Self::Cuda(0)),
            // A device number is an i32 in CUDA.
            Some(("cuda", number)) => match number.parse::<u16>() {
                Ok(number) => Ok(Self::Cuda(usize::from(number))),
                Err(_) => bail!("'{number}' is not the number of a device: expected a name such as cuda:0"),
            },
            _ => bail!("expected auto, cpu, cuda or cuda:N"),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// How the user wants a model to be run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which runtime.
    pub backend: Choice,
    /// Which device.
    pub device: Device,
    /// Threads on the processor; by default as many as it runs at once.
    pub threads: Option<usize>,
    /// Run the graph node by node as it is written, without ONNX Runtime's own rewrites, which change the last digits
    /// of an int8 network: for comparisons. tract always rewrites, and keeps the digits.
    pub as_written: bool,
    /// Run tract as it is, without this program's own reader and operators: for comparisons.
    pub stock_tract: bool,
    /// How CUDA runs it.
    #[cfg(feature = "cuda")]
    pub cuda: cuda::Tuning,
}

impl Options {
    /// Refuses what contradicts itself.
    pub fn validate(&self) -> Result<()> {
        if let (Choice::Tract, Device::Cuda(_)) = (self.backend, self.device) {
            bail!("tract runs on the processor only: for --device {} use --backend ort", self.device);
        }
        ensure!(
            !self.stock_tract || self.backend == Choice::Tract,
            "--stock-tract has no effect but with --backend tract"
        );
        #[cfg(feature = "cuda")]
        if self.cuda != cuda::Tuning::default() && (self.backend == Choice::Tract || self.device == Device::Cpu) {
            bail!("--cudnn-search and --cuda-memory have no effect without CUDA: use --backend ort --device cuda");
        }
        ensure!(self.threads != Some(0), "0 threads: expected at least 1");
        Ok(())
    }

    /// The number of threads to use, at least 1.
    #[must_use]
    pub fn threads(&self) -> usize {
        let available = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.threads.unwrap_or_else(available)
    }
}

/// A model that is to be made ready.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// The ONNX file.
    pub bytes: &'a [u8],
    /// The same, decoded.
    pub model: &'a ModelProto,
    /// What it takes and yields.
    pub interface: &'a Interface,
}

/// Makes a model ready to run, and says in notes why it is not run as well as it might be.
///
/// Only a runtime that is not there is a reason to take another one. A model that a runtime cannot run is an error: it
/// would mean that the two disagree on it.
pub(crate) fn open(source: Source, options: &Options) -> Result<(Box<dyn Backend>, Vec<String>)> {
    options.validate()?;
    if let Device::Cuda(_) = options.device {
        ensure!(
            cfg!(feature = "cuda"),
            "--device {}: this program was built without CUDA: rebuild it with --features cuda",
            options.device
        );
    }
    match options.backend {
        Choice::Tract => Ok((open_tract(source, options)?, Vec::new())),
        Choice::Ort => open_ort(source, options),
        Choice::Auto => open_best(source, options),
    }
}

#[cfg(feature = "ort")]
fn open_best(source: Source, options: &Options) -> Result<(Box<dyn Backend>, Vec<String>)> {
    match library::load() {
        Err(missing) if cfg!(feature = "tract") && !matches!(options.device, Device::Cuda(_)) => {
            let note = format!("ONNX Runtime cannot be used, so tract runs: {missing}");
            Ok((open_tract(source, options)?, vec![note]))
        }
        // Without a library this yields its error.
        _ => open_ort(source, options),
    }
}

#[cfg(not(feature = "ort"))]
fn open_best(source: Source, options: &Options) -> Result<(Box<dyn Backend>, Vec<String>)> {
    Ok((open_tract(source, options)?, Vec::new()))
}

#[cfg(feature = "ort")]
fn open_ort(source: Source, options: &Options) -> Result<(Box<dyn Backend>, Vec<String>)> {
    let (session, notes) = ort::Session::open(source, options)?;
    Ok((Box::new(session), notes))
}

#[cfg(not(feature = "ort"))]
fn open_ort(_: Source, _: &Options) -> Result<(Box<dyn Backend>, Vec<String>)> {
    bail!("this program was built without ONNX Runtime: rebuild it with --features ort");
}

#[cfg(feature = "tract")]
fn open_tract(source: Source, options: &Options) -> Result<Box<dyn Backend>> {
    Ok(Box::new(tract::Plan::open(source, options)?))
}

#[cfg(not(feature = "tract"))]
fn open_tract(_: Source, _: &Options) -> Result<Box<dyn Backend>> {
    bail!("this program was built without tract: rebuild it with --features tract");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for (text, device) in
            [("auto", Device::Auto), ("cpu", Device::Cpu), ("cuda:0", Device::Cuda(0)), ("cuda:12", Device::Cuda(12))]
        {
            assert_eq!(text.parse::<Device>().unwrap(), device);
            assert_eq!(device.to_string(), text);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for (text, word) in [
            ("gpu", "expected auto, cpu, cuda"),
            ("cuda:", "not the number of a device"),
            ("cuda:-1", "'-1' is not the number"),
            ("cuda:x", "'x' is not the number"),
            ("cpu:0", "expected auto"),
            ("", "expected auto"),
        ] {
            let message = text.parse::<Device>().unwrap_err().to_string();
            assert!(message.contains(word), "{text}: {message}");
        }
    }

    #[test]
    fn backends_are_read_as_they_are_written() {
        for choice in [Choice::Auto, Choice::Tract, Choice::Ort] {
            assert_eq!(choice.to_string().parse::<Choice>().unwrap(), choice);
        }
        assert!("onnx".parse::<Choice>().unwrap_err().to_string().contains("auto, tract or ort"));
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let options = Options { backend: Choice::Tract, device: Device::Cuda(0), ..Options::default() };
        assert!(options.validate().unwrap_err().to_string().contains("--backend ort"));
        let options = Options { stock_tract: true, ..Options::default() };
        assert!(options.validate().unwrap_err().to_string().contains("--backend tract"));
        let options = Options { threads: Some(0), ..Options::default() };
        assert!(options.validate().unwrap_err().to_string().contains("at least 1"));
        assert!(Options::default().threads() >= 1);
    }

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
