//! Export settings.

use super::graph::{OPSET, check_opset};
use anyhow::{Result, bail, ensure};
use models::card::{GraphInput, LOGITS, ModelCard, PROBABILITIES, Precision, RangeCalibration, RangeObserver};
use std::fmt;
use std::str::FromStr;

/// Largest fixed batch size.
const MAX_BATCH: usize = 1024;

/// Export settings. The defaults suit most users: fp32, any batch size, raw images in, logits and probabilities out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Number format.
    pub precision: Precision,
    /// The calibration observer of an int8 file; other precisions ignore it.
    pub observer: RangeObserver,
    /// ONNX operator-set version.
    pub opset: i64,
    /// Fixed batch size of the graph; `None` makes it dynamic.
    pub batch: Option<usize>,
    /// The input that the graph takes.
    pub takes: GraphInput,
    /// The outputs that it returns.
    pub outputs: Outputs,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            precision: Precision::Fp32,
            observer: RangeObserver::MinMax,
            opset: OPSET,
            batch: None,
            takes: GraphInput::Images,
            outputs: Outputs::Both,
        }
    }
}

impl Settings {
    /// Errors if the opset or the batch size is not supported.
    pub fn validate(&self) -> Result<()> {
        check_opset(self.opset)?;
        let batch = self.batch.unwrap_or(1);
        ensure!((1..=MAX_BATCH).contains(&batch), "batch {batch}: expected 1 to {MAX_BATCH}, or dynamic");
        Ok(())
    }

    /// The model card of the exported file, derived from the network's card. `calibrated` is the number of calibration
    /// images, recorded only for int8.
    #[must_use]
    pub fn card(&self, network: ModelCard, calibrated: usize) -> ModelCard {
        let calibration = RangeCalibration { images: calibrated, observer: self.observer };
        ModelCard {
            takes: self.takes,
            precision: self.precision,
            calibration: (self.precision == Precision::Int8).then_some(calibration),
            ..network
        }
    }
}

/// Which outputs a graph has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// Logits and probabilities.
    Both,
    /// Logits only, without a softmax.
    Logits,
    /// Probabilities only.
    Probabilities,
}

impl Outputs {
    /// Names of the graph's outputs, in order.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Both => &[LOGITS, PROBABILITIES],
            Self::Logits => &[LOGITS],
            Self::Probabilities => &[PROBABILITIES],
        }
    }

    /// Whether the logits are among them.
    #[must_use]
    pub fn logits(self) -> bool {
        self != Self::Probabilities
    }

    /// Whether the probabilities are among them.
    #[must_use]
    pub fn probabilities(self) -> bool {
        self != Self::Logits
    }
}

impl fmt::Display for Outputs {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "both",
            Self::Logits => "logits",
            Self::Probabilities => "probabilities",
        })
    }
}

impl FromStr for Outputs {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let all = [Self::Both, Self::Logits, Self::Probabilities];
        match all.into_iter().find(|outputs| outputs.to_string() == name) {
            Some(outputs) => Ok(outputs),
            None => bail!("expected logits, probabilities or both"),
        }
    }
}
