//! Prints CSV (RFC 4180): a header, then a record per image as soon as it is known.

use super::Printer;
use crate::command::print;
use anyhow::Result;
use csv::Writer;
use deploy::predict::{Failure, Prediction, PredictionResult};
use std::iter::repeat_n;

/// Columns: `file`, `label`, `probability` and `class`; then `label_1`, `probability_1` and so on, best first; then
/// `input` if inputs are saved, and `explanation` if answers are explained; then `error`. Fields that do not apply are
/// empty.
pub struct Table {
    top: usize,
    saved: bool,
    explained: bool,
    headed: bool,
}

impl Table {
    /// Creates a table with columns for the `top` most probable answers and, if there are any, for saved inputs and for
    /// explanations.
    pub fn new(top: usize, saved: bool, explained: bool) -> Self {
        Self { top, saved, explained, headed: false }
    }

    /// The columns for files, of which some may be left out.
    fn files<T>(&self, input: T, explanation: T) -> impl Iterator<Item = T> {
        self.saved.then_some(input).into_iter().chain(self.explained.then_some(explanation))
    }

    fn header(&self) -> Vec<String> {
        let first = ["file", "label", "probability", "class"].map(str::to_owned);
        let top = (1..=self.top).flat_map(|place| [format!("label_{place}"), format!("probability_{place}")]);
        let files = self.files("input".to_owned(), "explanation".to_owned());
        first.into_iter().chain(top).chain(files).chain(["error".to_owned()]).collect()
    }

    fn record(&self, outcome: PredictionResult) -> Vec<String> {
        match outcome {
            Ok(Prediction { file, label, class, probability, top, input, explanation, .. }) => {
                let class = class.map_or_else(String::new, |class| class.to_string());
                let top = top.into_iter().flat_map(|answer| [answer.label, answer.probability.to_string()]);
                let files = self.files(input.unwrap_or_default(), explanation.unwrap_or_default());
                let first = [file, label, probability.to_string(), class];
                first.into_iter().chain(top).chain(files).chain([String::new()]).collect()
            }
            Err(Failure { file, error }) => {
                let empty = repeat_n(String::new(), 3 + 2 * self.top + self.files((), ()).count());
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
