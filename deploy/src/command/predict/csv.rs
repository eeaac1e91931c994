//! Prints CSV (RFC 4180): a header, then a record per image as soon as it is known.

use super::Printer;
use crate::command::print;
use anyhow::Result;
use csv::Writer;
use deploy::predict::{Failure, Prediction, PredictionResult};
use std::iter::repeat_n;

/// Columns: `file`, `label`, `probability` and `class`; then `label_1`, `probability_1` and so on, best first; then
/// `input` if inputs are saved; then `error`. Fields that do not apply are empty.
pub struct Table {
    top: usize,
    saved: bool,
    headed: bool,
}

impl Table {
    /// Creates a table with columns for the `top` most probable answers and, if `saved`, for saved inputs.
    pub fn new(top: usize, saved: bool) -> Self {
        Self { top, saved, headed: false }
    }

    fn header(&self) -> Vec<String> {
        let first = ["file", "label", "probability", "class"].map(str::to_owned);
        let top = (1..=self.top).flat_map(|place| [format!("label_{place}"), format!("probability_{place}")]);
        let input = self.saved.then(|| "input".to_owned());
        first.into_iter().chain(top).chain(input).chain(["error".to_owned()]).collect()
    }

    fn record(&self, outcome: PredictionResult) -> Vec<String> {
        match outcome {
            Ok(Prediction { file, label, class, probability, top, input, .. }) => {
                let class = class.map_or_else(String::new, |class| class.to_string());
                let top = top.into_iter().flat_map(|answer| [answer.label, answer.probability.to_string()]);
                let input = self.saved.then(|| input.unwrap_or_default());
                let first = [file, label, probability.to_string(), class];
                first.into_iter().chain(top).chain(input).chain([String::new()]).collect()
            }
            Err(Failure { file, error }) => {
                let empty = repeat_n(String::new(), 3 + 2 * self.top + usize::from(self.saved));
                [file].into_iter().chain(empty).chain([error]).collect()
            }
        }
    }
}

impl Printer for Table {
    fn add(&mut self, outcomes: Vec<PredictionResult>) -> Result<bool> {
        let mut writer = Writer::from_writer(Vec::new());
        if !self.headed {
            writer.write_record(self.header())?;
            self.headed = true;
        }
        for outcome in outcomes {
            writer.write_record(self.record(outcome))?;
        }
        print(&String::from_utf8(writer.into_inner()?)?)
    }
}
