//! Prints one JSON document at the end, for programs.

use super::Printer;
use crate::command::print_json;
use anyhow::Result;
use deploy::document::Document;
use deploy::predict::PredictionResult;

impl Printer for Document {
    fn add(&mut self, outcomes: Vec<PredictionResult>) -> Result<bool> {
        Document::add(self, outcomes);
        Ok(true)
    }

    fn is_document(&self) -> bool {
        true
    }

    fn finish(self: Box<Self>) -> Result<()> {
        print_json(&self).map(|_| ())
    }
}
