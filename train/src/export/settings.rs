//! What a file is to be like.

use super::graph::{OPSET, check_opset};
use anyhow::{Result, bail, ensure};
use models::card::{Calibration, LOGITS, ModelCard, Observer, PROBABILITIES, Precision, Takes};
use std::fmt;
use std::str::FromStr;

/// Largest batch that can be fixed.
const MAX_BATCH: usize = 1024;

/// What a file is to be like. The default is for everybody: fp32, any batch, pictures in, logits and probabilities out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Number format.
    pub precision: Precision,
    /// How the ranges of an int8 file are chosen from what is seen in calibration; other precisions ignore it.
    pub observer: Observer,
    /// Version of the operators.
    pub opset: i64,
    /// Number of pictures the graph takes at once; `None` leaves it open.
    pub batch: Option<usize>,
    /// What the graph takes.
    pub takes: Takes,
    /// What it yields.
    pub outputs: Outputs,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            precision: Precision::Fp32,
            observer: Observer::MinMax,
            opset: OPSET,
            batch: None,
            takes: Takes::Pictures,
            outputs: Outputs::Both,
        }
    }
}

impl Settings {
    /// Refuses what cannot be written.
    pub fn validate(&self) -> Result<()> {
        check_opset(self.opset)?;
        let batch = self.batch.unwrap_or(1);
        ensure!((1..=MAX_BATCH).contains(&batch), "batch {batch}: expected 1 to {MAX_BATCH}, or dynamic");
        Ok(())
    }

    /// The card of the file that is written of a network with this card. `calibrated` is the number of images that an
    /// int8 file's ranges are taken from.
    #[must_use]
    pub fn card(&self, network: ModelCard, calibrated: usize) -> ModelCard {
        let calibration = Calibration { images: calibrated, observer: self.observer };
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
    /// Logits only: a softmax less.
    Logits,
    /// Probabilities only.
    Probabilities,
}

impl Outputs {
    /// The graph's outputs in order.
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
