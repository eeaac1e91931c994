//! `deploy predict`: what do these images show?
//!
//! `arguments` turns the command line into settings of [`deploy::predict`]. The results are printed in one of the
//! [`Format`]s, each in a file of its own that implements [`Printer`].

mod arguments;
mod csv;
mod json;
mod jsonl;
mod stream;
mod text;

pub use arguments::Arguments;

use super::text::{counted, printable};
use super::{progress, say};
use anyhow::{Result, ensure};
use clap::ValueEnum;
use deploy::document::Document;
use deploy::inputs::{ImageSource, Inputs};
use deploy::model::Model;
use deploy::predict::{PredictionResult, Settings, predict};
use indicatif::{ProgressBar, ProgressFinish};
use models::files;
use models::image_file::{self, Reader};
use std::io::IsTerminal;
use std::path::Path;

/// From this many images on, a progress bar is shown.
const MANY: usize = 16;

/// Most images that are checked for being photographs.
const LOOKED_AT: usize = 16;

/// The output formats. The help of `--format` shows the comments.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// for people
    Text,
    /// one document
    Json,
    /// a JSON object per line and image, as soon as it is known
    Jsonl,
    /// a table with a header
    Csv,
}

impl Format {
    /// Lists formats for `--help`.
    pub fn help(is_listed: impl Fn(Self) -> bool) -> String {
        let listed = Self::value_variants().iter().filter(|format| is_listed(**format));
        let described = listed.filter_map(Self::to_possible_value).map(|value| match value.get_help() {
            Some(about) => format!("{} ({about})", value.get_name()),
            None => value.get_name().to_owned(),
        });
        described.collect::<Vec<_>>().join(", ")
    }

    /// A printer in this format, for images with these names as far as they are known.
    pub fn printer(self, model: &Model, settings: &Settings, inputs: &Inputs, threshold: bool) -> Box<dyn Printer> {
        match self {
            Self::Text => {
                let names = inputs.sources.iter().map(ImageSource::name);
                let unknown = threshold || (settings.rejects && model.energies().is_some());
                Box::new(text::Text::new(names, model.labels(), unknown))
            }
            Self::Json => Box::new(Document::new(model, &inputs.notes)),
            Self::Jsonl => Box::new(jsonl::Lines),
            Self::Csv => {
                Box::new(csv::Table::new(settings.top, settings.saved.is_some(), settings.explained.is_some()))
            }
        }
    }
}

/// Prints results in one format.
pub trait Printer {
    /// Prints the next outcomes. Returns false if the reader has closed the output.
    fn add(&mut self, outcomes: Vec<PredictionResult>) -> Result<bool>;

    /// Whether the results are one document, printed at the end, that itself names the model and what runs it.
    fn is_document(&self) -> bool {
        false
    }

    /// Prints what can only be printed at the end.
    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    arguments.validate()?;
    if let Some(source) = &arguments.stream {
        return stream::run(arguments, source);
    }
    let inputs = Inputs::from_arguments(&arguments.images)?;
    for note in &inputs.notes {
        say(&format!("note: {}", printable(note)));
    }
    let (mut model, explainer) = match arguments.explain {
        Some(_) => arguments.model.open_explained().map(|(model, explainer)| (model, Some(explainer)))?,
        None => (arguments.model.open()?, None),
    };
    let settings = arguments.settings(&model, explainer, &inputs.sources)?;
    let mut printer = arguments.format().printer(&model, &settings, &inputs, arguments.answers.has_threshold());
    if !printer.is_document() {
        say(&format!("{}: {}", model.name(), model.runtime()));
    }
    let bar = bar(printer.as_ref(), inputs.sources.len());
    let mut failed = 0;
    predict(&mut model, &inputs.sources, &settings, |outcomes| {
        for failure in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            failed += 1;
            bar.suspend(|| say(&format!("error: {}", printable(&failure.error))));
        }
        let count = outcomes.len() as u64;
        let goes_on = printer.add(outcomes)?;
        bar.inc(count);
        Ok(goes_on)
    })?;
    bar.finish_and_clear();
    printer.finish()?;
    suggest_model(arguments, &model, &inputs);
    ensure!(failed == 0, "{failed} of {} could not be used", counted(inputs.sources.len(), "image"));
    Ok(())
}

/// Tells the user that the embedded model reads only digits, if an image looks like a photograph of something else.
fn suggest_model(arguments: &Arguments, model: &Model, inputs: &Inputs) {
    if arguments.model.is_named() || Reader::digit_polarity(model.input()).is_none() {
        return;
    }
    // Only regular files: a pipe cannot be read a second time.
    let is_photograph = |path: &&Path| path.is_file() && image_file::has_many_colours(path).unwrap_or(false);
    let paths = inputs.sources.iter().filter_map(ImageSource::path).take(LOOKED_AT);
    if let Some(path) = paths.into_iter().find(is_photograph) {
        say(&format!(
            "note: {} looks like a photograph, but the embedded model reads only digits: name another with --model FILE",
            printable(&files::name(path))
        ));
    }
}

/// A progress bar for many images, unless the results themselves appear on the terminal one by one.
fn bar(printer: &dyn Printer, images: usize) -> ProgressBar {
    if images < MANY || (!printer.is_document() && std::io::stdout().is_terminal()) {
        return ProgressBar::hidden();
    }
    // Cleared even if an error ends the work.
    progress(images).with_finish(ProgressFinish::AndClear)
}
