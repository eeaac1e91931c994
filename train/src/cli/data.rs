//! How every command opens a data folder: with a bar on a terminal, and what there is to say on standard error.

use crate::checkpoint::Checkpoint;
use crate::data::Source;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use models::dataset::{self, Dataset};
use std::io::{Write, stderr};
use std::path::Path;

/// Reads a data set for training; see [`Source::read`].
pub(super) fn source(folder: &Path, resolution: usize, labels: Option<&[String]>) -> Result<Source> {
    let source = with_bar(|progress| Source::read(folder, resolution, labels, progress))?;
    say(&source.notes);
    Ok(source)
}

/// Reads the test set that a checkpoint's network is judged on: that of its own data set, or of another in `folder`.
pub(super) fn test_set(checkpoint: &Checkpoint, folder: Option<&Path>) -> Result<Dataset> {
    let data = &checkpoint.metadata.data;
    let folder = folder.unwrap_or(&data.folder);
    let reading = with_bar(|progress| dataset::test_set(folder, &data.labels, &data.input, progress))?;
    say(&reading.notes);
    Ok(reading.set)
}

/// Shows how many pictures are read.
fn with_bar<T>(read: impl FnOnce(dataset::Progress) -> T) -> T {
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("reading images  {wide_bar}  {pos}/{len}") {
        bar.set_style(style);
    }
    let result = read(&|done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    result
}

/// A closed standard error is no reason to panic.
fn say(notes: &[String]) {
    for note in notes {
        let _ = writeln!(stderr(), "note: {note}");
    }
}
