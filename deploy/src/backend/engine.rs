//! A runtime on a device under one name, for commands that run a model in several of them.

use super::{Choice, Device, Options};
use anyhow::{Context, Result, ensure};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A runtime on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// tract, on the CPU.
    Tract,
    /// ONNX Runtime, on the CPU.
    OrtCpu,
    /// ONNX Runtime, on the CPU, without graph optimisations: node by node, as the file is written
    /// ([`Options::as_written`]).
    OrtCpuAsWritten,
    /// ONNX Runtime, on the CUDA device of this number.
    OrtCuda(u16),
}

impl Engine {
    /// The names, for messages.
    pub const NAMES: &str = "tract, ort-cpu, ort-cpu-as-written, ort-cuda or ort-cuda:N";

    /// Names that a user can type, besides `ort-cuda:N`.
    pub const NAMED: [&str; 4] = ["tract", "ort-cpu", "ort-cpu-as-written", "ort-cuda"];

    /// Names that a user can type in a list of engines.
    pub const LISTED: [&str; 5] = ["all", "tract", "ort-cpu", "ort-cpu-as-written", "ort-cuda"];

    /// The options that open a model on this engine.
    #[must_use]
    pub fn options(self, threads: Option<usize>) -> Options {
        let (backend, device) = match self {
            Self::Tract => (Choice::Tract, Device::Cpu),
            Self::OrtCpu | Self::OrtCpuAsWritten => (Choice::Ort, Device::Cpu),
            Self::OrtCuda(number) => (Choice::Ort, Device::Cuda(usize::from(number))),
        };
        Options { backend, device, threads, as_written: self == Self::OrtCpuAsWritten, ..Options::default() }
    }

    /// The engines available here, and for each of the others the reason why it is not.
    #[must_use]
    pub fn available() -> (Vec<Self>, Vec<String>) {
        let (mut here, mut missing) = (Vec::new(), Vec::new());
        for engine in [Self::Tract, Self::OrtCpu, Self::OrtCuda(0)] {
            match engine.check() {
                Ok(()) => here.push(engine),
                Err(reason) => missing.push(format!("{engine} is left out: {reason:#}")),
            }
        }
        (here, missing)
    }

    /// Checks that the engine is available here. The error says what to do.
    pub fn check(self) -> Result<()> {
        match self {
            Self::Tract => {
                ensure!(
                    cfg!(feature = "tract"),
                    "this program was built without tract: rebuild it with --features tract"
                );
                Ok(())
            }
            Self::OrtCpu | Self::OrtCpuAsWritten => onnxruntime(),
            Self::OrtCuda(number) => cuda(usize::from(number)),
        }
    }
}

#[cfg(feature = "ort")]
fn onnxruntime() -> Result<()> {
    super::library::load()?;
    Ok(())
}

#[cfg(not(feature = "ort"))]
fn onnxruntime() -> Result<()> {
    anyhow::bail!("this program was built without ONNX Runtime: rebuild it with --features ort")
}

#[cfg(feature = "cuda")]
fn cuda(number: usize) -> Result<()> {
    super::cuda::probe(super::library::load()?, number)
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<()> {
    anyhow::bail!("this program was built without CUDA: rebuild it with --features cuda")
}

impl FromStr for Engine {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "tract" => Self::Tract,
            "ort-cpu" => Self::OrtCpu,
            "ort-cpu-as-written" => Self::OrtCpuAsWritten,
            "ort-cuda" => Self::OrtCuda(0),
            _ => {
                let number = name.strip_prefix("ort-cuda:");
                let number = number.with_context(|| format!("expected {}", Self::NAMES))?;
                Self::OrtCuda(number.parse().with_context(|| format!("'{number}' is not the number of a device"))?)
            }
        })
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Tract => f.write_str("tract"),
            Self::OrtCpu => f.write_str("ort-cpu"),
            Self::OrtCpuAsWritten => f.write_str("ort-cpu-as-written"),
            Self::OrtCuda(0) => f.write_str("ort-cuda"),
            Self::OrtCuda(number) => write!(f, "ort-cuda:{number}"),
        }
    }
}

/// Serialized as its name.
impl Serialize for Engine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_read_as_they_are_written() {
        for engine in [Engine::Tract, Engine::OrtCpu, Engine::OrtCpuAsWritten, Engine::OrtCuda(0), Engine::OrtCuda(3)] {
            assert_eq!(engine.to_string().parse::<Engine>().unwrap(), engine);
            engine.options(None).validate().unwrap();
        }
        assert_eq!("ort-cuda:0".parse::<Engine>().unwrap(), Engine::OrtCuda(0), "one engine has one name");
        for (text, word) in
            [("ort", "ort-cpu"), ("cuda", "expected tract"), ("ort-cuda:x", "not the number of a device")]
        {
            let message = text.parse::<Engine>().unwrap_err().to_string();
            assert!(message.contains(word), "{text}: {message}");
        }
    }

    #[test]
    fn what_is_not_here_says_what_to_do() {
        let (here, missing) = Engine::available();
        assert_eq!(here.len() + missing.len(), 3);
        if cfg!(not(feature = "cuda")) {
            let message = Engine::OrtCuda(0).check().unwrap_err().to_string();
            assert!(message.contains("--features cuda"), "{message}");
            assert!(missing.iter().any(|note| note.starts_with("ort-cuda is left out: ")), "{missing:?}");
        }
    }
}
