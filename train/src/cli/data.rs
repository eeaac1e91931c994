//! How every command opens a data folder: it shows a progress bar on a terminal and prints notes to standard error.

use crate::checkpoint::{Checkpoint, DataFacts};
use crate::data::{DataSource, TrainingData};
use crate::source::{Choices, Classes};
use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use models::dataset::{self, Dataset, TestSet, Trained};
use std::io::{Write, stderr};
use std::path::Path;
use tch::Device;

/// Reads a data set for training; see [`DataSource::read`].
pub(super) fn source(folder: &Path, resolution: usize, choices: Choices) -> Result<DataSource> {
    let source = with_bar("reading", |progress| DataSource::read(folder, resolution, choices, progress))?;
    say(&source.notes);
    Ok(source)
}

/// Reads the training images of a checkpoint's run, split as in training, from the run's own data set or another
/// `folder`. Errors if they are not the images that the run was trained on.
pub(super) fn training(checkpoint: &Checkpoint, folder: Option<&Path>, device: Device) -> Result<TrainingData> {
    let metadata = &checkpoint.metadata;
    let folder = folder.unwrap_or(&metadata.data.folder);
    let source = source(folder, metadata.architecture.resolution, Choices::from_facts(&metadata.data))?;
    let data = TrainingData::new(&source, &metadata.recipe, device)?;
    if let Some(difference) = metadata.data.difference(&DataFacts::new(&source, &data)) {
        bail!("{} is not the data the run was trained on: {difference}", folder.display());
    }
    Ok(data)
}

/// Reads the test images for a checkpoint: the test split of the run's own data set, or the images that
/// [`dataset::test_set`] chooses from another `folder`.
pub(super) fn test_set(checkpoint: &Checkpoint, folder: Option<&Path>) -> Result<TestSet> {
    let data = &checkpoint.metadata.data;
    if folder.is_none() && checkpoint.metadata.is_imported() {
        bail!("the weights were imported, so the run has no data set: name a folder with --data");
    }
    if folder.is_none() && data.classes == Classes::EachImage {
        bail!(
            "the run's images have no labels, so there is nothing to evaluate or to classify: train --from RUN --data \
             FOLDER starts a run with labels from its weights, train export RUN --body FILE writes them"
        );
    }
    let folder = folder.unwrap_or(&data.folder);
    let real = |folder: &Path| folder.canonicalize().ok();
    let trained = Trained {
        name: &data.name,
        sample: &data.sample,
        fingerprint: Some(&data.fingerprint),
        own: folder == data.folder || (real(folder).is_some() && real(folder) == real(&data.folder)),
        near_duplicates_together: data.near_duplicates_together,
    };
    let set =
        with_bar("reading", |progress| dataset::test_set(folder, &data.labels, &data.input, Some(trained), progress))?;
    say(&set.notes);
    Ok(set)
}

/// Most images that are read for a network whose own images are unknown.
const MOST_IMAGES: usize = 1000;

/// Reads images for a checkpoint whose weights were imported, from any folder. Also returns whether they are labelled:
/// whether the folder has sub-folders named after the network's classes.
pub(super) fn any_images(checkpoint: &Checkpoint, folder: &Path) -> Result<(Dataset, bool)> {
    let data = &checkpoint.metadata.data;
    let labelled = with_bar("reading", |progress| dataset::test_set(folder, &data.labels, &data.input, None, progress));
    let error = match labelled {
        Ok(labelled) => {
            say(&labelled.notes);
            return Ok((labelled.set, true));
        }
        Err(error) => error,
    };
    let reading = with_bar("reading", |progress| dataset::unlabelled(folder, &data.input, MOST_IMAGES, progress))?;
    say(&reading.notes);
    say_line(&format!(
        "note: the images in {} are used without labels, so the probabilities are not calibrated, and the accuracy that \
         a precision costs is not measured ({error:#})",
        folder.display()
    ));
    Ok((reading.set, false))
}

/// Runs `read` with a progress bar that counts images.
pub(super) fn with_bar<T>(what: &'static str, read: impl FnOnce(dataset::ReadProgress) -> T) -> T {
    let bar = ProgressBar::no_length().with_prefix(what);
    if let Ok(style) = ProgressStyle::with_template("{prefix} images  {wide_bar}  {pos}/{len}") {
        bar.set_style(style);
    }
    let result = read(&|done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    result
}

/// Prints notes to standard error, ignoring a closed one.
fn say(notes: &[String]) {
    for note in notes {
        say_line(&format!("note: {note}"));
    }
}

/// Prints a line to standard error, ignoring a closed one.
pub(super) fn say_line(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}
