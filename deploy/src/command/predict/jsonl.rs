//! Prints JSON Lines: one object per image, as soon as it is known.

use super::Printer;
use crate::command::print;
use anyhow::Result;
use deploy::predict::PredictionResult;

/// `{"file": …, "label": …, …}`, or `{"file": …, "error": …}`.
pub struct Lines;

impl Printer for Lines {
    fn add(&mut self, outcomes: Vec<PredictionResult>) -> Result<bool> {
        let mut lines = String::new();
        for outcome in outcomes {
            lines += &match outcome {
                Ok(prediction) => serde_json::to_string(&prediction)?,
                Err(failure) => serde_json::to_string(&failure)?,
            };
            lines.push('\n');
        }
        print(&lines)
    }
}
