//! The results for several images as one document, as `predict --format json` prints and `serve` returns it.

use crate::backend::Runtime;
use crate::model::Model;
use crate::predict::{Failure, Prediction, PredictionResult};
use serde::Serialize;

/// The whole result.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// Name of the model.
    pub model: String,
    /// What ran it.
    pub runtime: Runtime,
    /// What the user should know about the model and the images.
    pub notes: Vec<String>,
    /// The answers.
    pub predictions: Vec<Prediction>,
    /// The images that have no answer.
    pub errors: Vec<Failure>,
}

impl Document {
    /// Starts a document with the facts about the model, and notes on the images.
    #[must_use]
    pub fn new(model: &Model, notes: &[String]) -> Self {
        Self {
            model: model.name().to_owned(),
            runtime: model.runtime().clone(),
            notes: [model.notes(), notes].concat(),
            predictions: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Adds the results for the next images.
    pub fn add(&mut self, results: Vec<PredictionResult>) {
        for result in results {
            match result {
                Ok(prediction) => self.predictions.push(prediction),
                Err(failure) => self.errors.push(failure),
            }
        }
    }
}
