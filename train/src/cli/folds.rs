//! `train --folds`: cross-validation of small data sets.

use crate::interrupt;
use crate::pretrained::Pretrained;
use crate::progress::{ProgressDisplay, duration};
use crate::recipe::Recipe;
use crate::run::Run;
use crate::source::DataSource;
use crate::trainer::{RunEnd, Trainer};
use anyhow::{Context, Result, ensure};
use deploy::text;
use models::evaluation::interval;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Instant;

/// The result of one fold.
struct Fold {
    images: usize,
    correct: usize,
}

impl Fold {
    fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images.max(1) as f64
    }
}

/// Trains a network for each of `count` folds and prints their accuracies. The networks are not kept.
pub(super) fn cross_validate(
    recipe: &Recipe,
    source: &DataSource,
    count: usize,
    device: tch::Device,
) -> Result<ExitCode> {
    let architecture = recipe.architecture(source.input().channels, source.labels.len())?;
    let start = Pretrained::find(&recipe.from, &architecture)?;
    ensure!(
        !start.is_some_and(|start| start.is_of(&source.folder) || start.trained_on(&source.train).is_some()),
        "{} was trained on images that the folds would test, so their accuracy would be too high: start from weights that \
         have not learnt the labels of this folder",
        recipe.from
    );
    let began = Instant::now();
    let temporary = tempfile::tempdir().context("cannot make a temporary folder for the folds")?;
    let mut folds = Vec::new();
    for (index, source) in source.folds(count)?.enumerate() {
        let number = index + 1;
        let source = source?;
        let mut trainer = Trainer::new(recipe.clone(), &source, device)?;
        let run = Run::create(Some(&temporary.path().join(number.to_string())), &recipe.name)?;
        text::print(&format!(
            "fold {number} of {count}: {} to train on, {} to test on\n",
            text::counted(source.train.len(), "image"),
            text::grouped(source.test.len() as u64)
        ))?;
        interrupt::defer();
        let outcome = trainer.run(&run, &mut ProgressDisplay::default(), &interrupt::STOP);
        interrupt::undefer();
        if outcome? == RunEnd::Interrupted {
            text::print("interrupted: nothing was kept\n")?;
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
        let exported = trainer.progress().exported();
        let accuracy =
            trainer.history().iter().find(|epoch| epoch.epoch == exported).map_or(0.0, |epoch| epoch.test_accuracy);
        let images = source.test.len();
        folds.push(Fold { images, correct: (accuracy * images as f64).round() as usize });
    }
    text::print(&format!("done in {}\n\n{}", duration(began.elapsed().as_secs_f64()), summary(&folds)))?;
    Ok(ExitCode::SUCCESS)
}

/// The accuracy of each fold, their mean and spread, and the accuracy on all images.
fn summary(folds: &[Fold]) -> String {
    let mut rows = vec![["fold", "images", "accuracy"].map(str::to_owned).to_vec()];
    for (index, fold) in folds.iter().enumerate() {
        rows.push(vec![(index + 1).to_string(), fold.images.to_string(), text::percent(Some(fold.accuracy()))]);
    }
    let mut table = text::table(&rows);
    let count = folds.len() as f64;
    let mean = folds.iter().map(Fold::accuracy).sum::<f64>() / count;
    let squares: f64 = folds.iter().map(|fold| (fold.accuracy() - mean).powi(2)).sum();
    // Of a sample: there could be other folds.
    let deviation = (squares / (count - 1.0)).sqrt();
    let (images, correct) = folds.iter().fold((0, 0), |sum, fold| (sum.0 + fold.images, sum.1 + fold.correct));
    let _ = writeln!(
        table,
        "\nmean {:.2} %, standard deviation {:.2} points\nall images: {correct} of {images} are right",
        mean * 100.0,
        deviation * 100.0
    );
    if let Some((low, high)) = interval(correct as u64, images as u64) {
        table.truncate(table.trim_end().len());
        let _ = writeln!(table, " (95 % interval {:.2} to {:.2} %)", low * 100.0, high * 100.0);
    }
    table + "No network was kept: train without --folds to get one from all training images.\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and sample deviation of 0.9, 0.8 and 1 are 0.9 and 0.1.
    #[test]
    fn folds_are_summed_up() {
        let folds = [9, 8, 10].map(|correct| Fold { images: 10, correct });
        let text = summary(&folds);
        assert!(text.contains("mean 90.00 %, standard deviation 10.00 points"), "{text}");
        assert!(text.contains("all images: 27 of 30 are right (95 % interval 74.38 to 96.54 %)"), "{text}");
    }
}
