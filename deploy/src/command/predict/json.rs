//! Prints one JSON document at the end, for programs.

use super::Printer;
use crate::command::print_json;
use anyhow::Result;
use deploy::backend::Runtime;
use deploy::model::Model;
use deploy::predict::{Failure, Prediction, PredictionResult};
use serde::Serialize;

/// The whole result.
#[derive(Serialize)]
pub struct Document {
    model: String,
    runtime: Runtime,
    notes: Vec<String>,
    predictions: Vec<Prediction>,
    errors: Vec<Failure>,
}

impl Document {
    /// Starts a document with the facts about the model, and notes on the images.
    pub fn new(model: &Model, notes: &[String]) -> Self {
        Self {
            model: model.name().to_owned(),
            runtime: model.runtime().clone(),
            notes: [model.notes(), notes].concat(),
            predictions: Vec::new(),
            errors: Vec::new(),
        }
    }
}

impl Printer for Document {
    fn add(&mut self, outcomes: Vec<PredictionResult>) -> Result<bool> {
        for outcome in outcomes {
            match outcome {
                Ok(prediction) => self.predictions.push(prediction),
                Err(failure) => self.errors.push(failure),
            }
        }
        Ok(true)
    }

    fn is_document(&self) -> bool {
        true
    }

    fn finish(self: Box<Self>) -> Result<()> {
        print_json(&self).map(|_| ())
    }
}
