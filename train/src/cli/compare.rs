//! `train compare`.

use super::Format;
use crate::compare::{Comparison, Difference, Side};
use crate::report::compare;
use crate::run::Epoch;
use anyhow::Result;
use clap::Args;
use deploy::text;
use models::files;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Default name of the page; `--html` overrides it.
const PAGE: &str = "compare.html";

/// Compare runs: differences in recipe, data and results, and a page with their curves in shared charts
#[derive(Args)]
#[command(after_help = "Example:\n  train compare runs/quick runs/quick-2 --html both.html")]
pub(super) struct Arguments {
    /// Folders of two or more runs
    #[arg(value_name = "RUN", required = true, num_args = 2..)]
    runs: Vec<PathBuf>,
    /// Where to write the page [default: compare.html beside the first run]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// A run in the document. `best` holds the results of the best epoch; accuracies are 0 to 1.
#[derive(Serialize)]
struct Entry<'a> {
    run: &'a str,
    folder: &'a Path,
    epochs: usize,
    best: Option<&'a Epoch>,
    seconds: &'a [f64],
}

/// The document that `--format json` prints.
#[derive(Serialize)]
struct Document<'a> {
    runs: Vec<Entry<'a>>,
    same_data: bool,
    differences: &'a [Difference],
    page: &'a Path,
}

fn entry(side: &Side) -> Entry<'_> {
    Entry {
        run: &side.name,
        folder: &side.folder,
        epochs: side.metadata.progress.epochs,
        best: side.best(),
        seconds: &side.seconds,
    }
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let comparison = Comparison::read(&self.runs)?;
        let page = match self.html {
            Some(page) => page,
            // A folder given as `.` or `..` must be resolved to find its parent.
            None if self.runs[0].file_name().is_none() => self.runs[0].canonicalize()?.with_file_name(PAGE),
            None => self.runs[0].with_file_name(PAGE),
        };
        files::write_whole(&page, compare::to_html(&comparison).as_bytes())?;
        match self.format {
            Format::Text => text::print(&format!("{}\npage: {}\n", comparison.to_text(), page.display()))?,
            Format::Json => text::print_json(&Document {
                runs: comparison.sides.iter().map(entry).collect(),
                same_data: comparison.same_data,
                differences: &comparison.differences,
                page: &page,
            })?,
        };
        Ok(ExitCode::SUCCESS)
    }
}
