//! The machine and versions that a page was made with.

use crate::device;
use serde::Serialize;

/// A machine and the versions of the software on it.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// CPU, memory and operating system.
    #[serde(flatten)]
    pub host: deploy::machine::Machine,
    /// Names of the CUDA devices that libtorch can use.
    pub gpus: Vec<String>,
    /// Version of libtorch.
    pub libtorch: &'static str,
    /// Version of this program.
    pub train: &'static str,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        Self {
            host: deploy::machine::Machine::here(),
            gpus: device::survey().cuda.into_iter().map(|cuda| cuda.name).collect(),
            libtorch: device::LIBTORCH,
            train: env!("CARGO_PKG_VERSION"),
        }
    }

    /// Names and values for people.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = self.host.facts();
        facts.extend(self.gpus.iter().map(|gpu| ("GPU", gpu.clone())));
        facts.extend([("libtorch", self.libtorch.to_owned()), ("train", self.train.to_owned())]);
        facts
    }
}
