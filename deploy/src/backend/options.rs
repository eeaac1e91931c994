//! How the user wants a model to be run: `--backend`, `--device`, `--threads` and the options of CUDA.

use super::Engine;
use super::engine::Absent;
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::fmt;
use std::str::FromStr;

/// Which engine the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// The best one for everyday use that can be used here, with notes that say why it is not a better one.
    #[default]
    Auto,
    /// The best of them that runs on the CPU.
    AutoOnCpu,
    /// This one; if it cannot be used, that is an error.
    Engine(Engine),
}

impl Selection {
    /// Applies `--device` to what `--backend` selects.
    pub fn on(self, device: Device) -> Result<Self> {
        // The engine that `auto` takes on CUDA.
        let best = Engine::everyday().rfind(|engine| engine.registration.cuda).map(|engine| engine.registration);
        let (on_cuda, number) = match (self, device) {
            (_, Device::Auto) => return Ok(self),
            (Self::Engine(engine), _) if engine.registration.cuda => {
                bail!("--device has no effect with --backend {engine}, which already names the device")
            }
            (Self::Engine(_), Device::Cpu) => return Ok(self),
            (Self::Auto | Self::AutoOnCpu, Device::Cpu) => return Ok(Self::AutoOnCpu),
            (Self::Engine(engine), Device::Cuda(number)) => (engine.registration.on_cuda, number),
            (Self::Auto | Self::AutoOnCpu, Device::Cuda(number)) => (best, number),
        };
        let registration = on_cuda.with_context(|| {
            let best = best.map_or("auto", |best| best.name);
            format!("{self} runs on the processor only: for --device {device} use --backend {best}")
        })?;
        Ok(Self::Engine(Engine { registration, device: number }))
    }

    /// Chooses the engine, and says in notes why it is not a better one.
    ///
    /// Only an engine that cannot be used is a reason to take another one. A model that an engine cannot run is an
    /// error: it would mean that the two disagree on it. Errors if no engine can be used.
    pub fn settle(self) -> Result<(Engine, Vec<String>)> {
        let wanted = |engine: &Engine| engine.code().is_ok() && (self == Self::Auto || !engine.registration.cuda);
        if let Self::Engine(engine) = self {
            return Ok((engine, Vec::new()));
        }
        let mut absent = Vec::new();
        for engine in Engine::everyday().rev().filter(wanted) {
            match engine.check() {
                Ok(()) => {
                    let note = |absent: &Absent| {
                        format!("{} cannot be used, so {engine} runs: {}", absent.engines, absent.reason)
                    };
                    return Ok((engine, absent.iter().map(note).collect()));
                }
                Err(error) => Absent::add(&mut absent, engine, &error),
            }
        }
        let last = absent.pop().map(|absent| absent.reason);
        Err(anyhow!(last.unwrap_or_else(|| "this program was built without any engine".to_owned())))
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::AutoOnCpu => f.write_str("auto on the CPU"),
            Self::Engine(engine) => engine.fmt(f),
        }
    }
}

impl FromStr for Selection {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        if name == "auto" {
            return Ok(Self::Auto);
        }
        name.parse().map(Self::Engine).map_err(|error| anyhow!("{error} or auto"))
    }
}

/// Which device the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// What the selected engine runs on; if none is selected, CUDA if it is compiled in and works.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The CUDA device of this number; if it cannot be had, that is an error.
    Cuda(u16),
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
                Ok(number) => Ok(Self::Cuda(number)),
                Err(_) => bail!("'{number}' is not a device number: expected a device such as cuda:0"),
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
    /// Which engine.
    pub engine: Selection,
    /// Threads on the processor; by default as many as it runs at once.
    pub threads: Option<usize>,
    /// How CUDA runs it.
    #[cfg(feature = "cuda")]
    pub cuda: super::cuda::Tuning,
}

impl Options {
    /// This engine on this many threads, otherwise as usual.
    #[must_use]
    pub fn new(engine: Selection, threads: Option<usize>) -> Self {
        Self {
            engine,
            threads,
            #[cfg(feature = "cuda")]
            cuda: super::cuda::Tuning::default(),
        }
    }

    /// Refuses what has no effect.
    pub fn validate(&self) -> Result<()> {
        #[cfg(feature = "cuda")]
        {
            let on_cuda = match self.engine {
                Selection::Auto => true,
                Selection::AutoOnCpu => false,
                Selection::Engine(engine) => engine.registration.cuda,
            };
            ensure!(
                on_cuda || self.cuda == super::cuda::Tuning::default(),
                "--cudnn-search and --cuda-memory have no effect without CUDA: use --backend ort-cuda"
            );
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
            ("cuda:", "not a device number"),
            ("cuda:-1", "'-1' is not a device number"),
            ("cuda:x", "'x' is not a device number"),
            ("cpu:0", "expected auto"),
            ("", "expected auto"),
        ] {
            let message = text.parse::<Device>().unwrap_err().to_string();
            assert!(message.contains(word), "{text}: {message}");
        }
    }

    #[test]
    fn a_device_and_a_backend_select_one_engine() {
        for (backend, device, selected) in [
            ("auto", "auto", "auto"),
            ("auto", "cpu", "auto on the CPU"),
            ("auto", "cuda", "ort-cuda"),
            ("auto", "cuda:2", "ort-cuda:2"),
            ("ort", "auto", "ort"),
            ("ort", "cpu", "ort"),
            ("ort", "cuda:1", "ort-cuda:1"),
            ("ort-cuda:1", "auto", "ort-cuda:1"),
            ("tract", "auto", "tract"),
            ("tract-stock", "cpu", "tract-stock"),
            ("tract", "cuda", "tract runs on the processor only: for --device cuda:0 use --backend ort-cuda"),
            ("ort-as-written", "cuda:1", "ort-as-written runs on the processor only"),
            ("ort-cuda", "cpu", "--device has no effect with --backend ort-cuda"),
            ("ort-cuda", "cuda:1", "--device has no effect with --backend ort-cuda"),
        ] {
            let backend: Selection = backend.parse().unwrap();
            let found = backend.on(device.parse().unwrap());
            let found = found.map_or_else(|error| error.to_string(), |selection| selection.to_string());
            assert!(found.starts_with(selected), "{backend:?} on {device}: {found}");
        }
        let message = "onnx".parse::<Selection>().unwrap_err().to_string();
        assert!(message.contains("expected tract, ") && message.ends_with(" or auto"), "{message}");
    }

    #[test]
    fn auto_takes_the_last_of_the_table_that_is_here() {
        for (selection, on_cpu) in [(Selection::Auto, false), (Selection::AutoOnCpu, true)] {
            let candidates = Engine::everyday().filter(|engine| !on_cpu || !engine.registration.cuda);
            let (here, _) = Engine::available(candidates);
            let Some(best) = here.last() else { continue };
            let (engine, notes) = selection.settle().unwrap();
            assert_eq!(engine, *best);
            assert!(notes.iter().all(|note| note.contains(&format!(" cannot be used, so {best} runs: "))), "{notes:?}");
        }
    }

    #[test]
    fn no_threads_are_refused() {
        let options = Options { threads: Some(0), ..Options::default() };
        assert!(options.validate().unwrap_err().to_string().contains("at least 1"));
        assert!(Options::default().threads() >= 1);
    }
}
