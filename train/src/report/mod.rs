//! `report.html`: a self-contained page that shows the results of a run.
//!
//! [`RunReport`] gathers the contents: the run's checkpoints and history, and the [`Figures`] measured on the test set.
//! Each part of the page has its own file: `headline`, `curves`, `classes`, `reliability`, `worst` and `setup`. They
//! draw with `chart` and `axis` and write with `html`. The same run gives the same page on the same machine.

pub mod axis;
pub mod calibrated;
pub mod chart;
mod classes;
pub mod compare;
mod curves;
pub mod figures;
mod headline;
pub mod html;
pub mod machine;
mod reliability;
mod setup;
mod worst;

pub use calibrated::Calibrated;
pub use figures::Figures;
pub use machine::Machine;

use crate::checkpoint::{Checkpoint, Metadata};
use crate::data::Images;
use crate::run::{Epoch, Run};
use crate::trainer::RunEnd;
use anyhow::{Context, Result, ensure};
use models::files;
use std::path::PathBuf;

/// Colours, fonts and layout of the page.
const STYLE: &str = include_str!("style.css");

/// The contents of a report.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The run's name: the name of its folder.
    pub name: String,
    /// Metadata of the best checkpoint, with the recipe and the extensions of the last one.
    pub metadata: Metadata,
    /// How the run ended; `None` if it has not.
    pub outcome: Option<RunEnd>,
    /// All epochs of the run, including those after the best one.
    pub history: Vec<Epoch>,
    /// Training time of each epoch in seconds; 0 if unknown.
    pub seconds: Vec<f64>,
    /// Results of the best checkpoint on the test set.
    pub figures: Figures,
    /// The machine that the page is made on.
    pub machine: Machine,
}

impl RunReport {
    /// Reads a run and evaluates its best checkpoint on test images, on the device of the images. `evaluated` describes
    /// the images. With the run's held-out images, the page shows the calibration after temperature scaling too. Errors
    /// if the run has not finished an epoch.
    pub fn measure(run: &Run, test: &Images, held_out: Option<&Images>, evaluated: &str) -> Result<Self> {
        let folder = run.folder();
        ensure!(
            run.best().is_file(),
            "{} has no finished epoch yet: continue it with train --resume {}",
            folder.display(),
            folder.display()
        );
        let checkpoint = Checkpoint::read(&run.best())?;
        let last = Checkpoint::metadata(&run.last())?;
        let figures = Figures::measure(&checkpoint, test, held_out, evaluated, &|_, _| ())
            .with_context(|| format!("cannot evaluate {}", run.best().display()))?;
        // Resolves the folder's real name, in case it is given as `.`.
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let mut seconds = run.seconds();
        seconds.resize(last.history.len(), 0.0);
        // The best checkpoint may predate the last change of the number of epochs.
        let outcome = last.progress.outcome(&last.recipe);
        let mut metadata = checkpoint.metadata;
        metadata.recipe = last.recipe;
        metadata.progress.extensions = last.progress.extensions;
        Ok(Self {
            name: folder.file_name().map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned()),
            metadata,
            outcome,
            history: last.history,
            seconds,
            figures,
            machine: Machine::here(),
        })
    }

    /// The epoch of the best checkpoint, counted from 1.
    #[must_use]
    pub fn shipped(&self) -> usize {
        self.metadata.progress.epochs
    }

    /// How the run ended, in words.
    #[must_use]
    pub fn ending(&self) -> String {
        let planned = self.metadata.recipe.epochs;
        match self.outcome {
            Some(RunEnd::Finished) => "all done".to_owned(),
            Some(RunEnd::StoppedEarly) => format!("stopped early, {planned} planned"),
            _ => format!("{planned} planned"),
        }
    }

    /// Writes the page into a run's folder atomically and returns its path.
    pub fn write(&self, run: &Run) -> Result<PathBuf> {
        let path = run.report();
        files::write_whole(&path, self.to_html()?.as_bytes())?;
        Ok(path)
    }

    /// The page as HTML.
    pub fn to_html(&self) -> Result<String> {
        let title = format!("{}: {} on the test set", self.name, figures::percent(Some(self.figures.metrics.accuracy)));
        let body = [
            headline::header(self),
            curves::section(self),
            classes::section(&self.figures),
            reliability::section(&self.figures),
            worst::section(&self.figures)?,
            setup::sections(self)?,
        ];
        let footer = "Made by <code>train report</code>, which can write it again from the run's folder.";
        Ok(page(&title, "", &body.concat(), footer))
    }
}

/// Builds a page from a title (plain text), additional CSS, and a body and footer (HTML).
fn page(title: &str, style: &str, body: &str, footer: &str) -> String {
    // The content security policy enforces that the page loads nothing and runs no scripts.
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{STYLE}{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         <footer>{footer}</footer>\n</body>\n</html>\n",
        html::escape(title),
    )
}

/// Writes `report.html` into a run's folder atomically and returns its path. See [`RunReport::measure`].
pub fn write(run: &Run, test: &Images, held_out: Option<&Images>, evaluated: &str) -> Result<PathBuf> {
    RunReport::measure(run, test, held_out, evaluated)?.write(run)
}
