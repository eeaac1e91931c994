//! What `train` prints before and after training.

use crate::checkpoint::Metadata;
use crate::progress::duration;
use crate::recipe::{self, Decision, ExportedEpoch, Recipe};
use crate::report;
use crate::run::Run;
use crate::source::Classes;
use crate::trainer::{RunEnd, Trainer};
use deploy::backend::Device;
use deploy::text;
use indicatif::ProgressBar;
use models::card::{Content, Origin};
use std::fmt::Write;
use std::io::Write as _;

/// The message that a run has ended and how to train it further.
pub(super) fn nothing_to_do(run: &Run, metadata: &Metadata, outcome: RunEnd) -> String {
    let (folder, recipe, done) = (run.folder().display(), &metadata.recipe, metadata.progress.epochs);
    let how = match outcome {
        RunEnd::StoppedEarly => format!(
            "stopped early after {} of {}: no better held-out accuracy in {}",
            done,
            text::counted(recipe.epochs, "epoch"),
            text::counted(recipe.patience, "epoch")
        ),
        _ => format!("is finished: {} done", text::counted(done, "epoch")),
    };
    let more = recipe.epochs.max(done + 1).max(done + recipe.epochs.div_ceil(2));
    format!(
        "{folder} {how}\nto train it further, for example to a total of {more} epochs:\n  train --resume {folder} --epochs {more}\n"
    )
}

/// A summary of the run, printed before training. `own_threads` says whether the user chose the number of threads.
pub(super) fn introduction(
    trainer: &Trainer,
    run: &Run,
    decisions: &[Decision],
    asked: Device,
    device: tch::Device,
    own_threads: bool,
) -> String {
    let (facts, recipe, progress) = (trainer.facts(), trainer.recipe(), trainer.progress());
    let on = if asked == Device::Auto && device == tch::Device::Cpu {
        format!("{} (no CUDA: see `train devices`)", trainer.trained_with())
    } else {
        trainer.trained_with().to_owned()
    };
    let purpose = match recipe.exported_epoch {
        ExportedEpoch::Best => "choose the best epoch",
        ExportedEpoch::Last => "calibrate the last epoch",
    };
    let held_out = match facts.held_out {
        0 => ", none held out: the last epoch is exported".to_owned(),
        count if facts.validation => {
            format!(" and {} of the validation split to {purpose}", text::grouped(count as u64))
        }
        count => format!(" and {} held out to {purpose}", text::grouped(count as u64)),
    };
    let mut fields = vec![
        (
            "recipe",
            format!(
                "{}, {}, batch size {}, seed {}",
                recipe.name,
                text::counted(recipe.epochs, "epoch"),
                recipe.batch_size,
                recipe.seed
            ),
        ),
        ("chosen", chosen(decisions)),
        ("network", format!("{}, {} parameters", trainer.architecture(), text::grouped(trainer.parameters() as u64))),
        ("starts from", starts_from(trainer)),
        (
            "data",
            format!(
                "{}\n{} training images{held_out}\n{} test images, all images {}x{} px in {}\n{}",
                facts.folder.display(),
                text::grouped(facts.fitted as u64),
                text::grouped(trainer.test().len() as u64),
                facts.input.width,
                facts.input.height,
                if facts.input.channels == 1 { "grey" } else { "colour" },
                match facts.input.content {
                    Content::Digit { .. } => "prepared as digits, as MNIST's authors did (--content image: resized)",
                    // IDX files, whose images have no names: class folders are not prepared as digits.
                    Content::Image
                        if trainer.test().files.is_empty() && facts.labels.iter().all(|label| label.len() == 1) =>
                    {
                        "resized and centre-cropped (--content digit: prepared as digits)"
                    }
                    Content::Image => "resized and centre-cropped",
                }
            ),
        ),
        ("classes", text::class_list(&facts.labels)),
        ("augmentation", augmentation(recipe, facts.input.content)),
        ("runs on", on),
        ("run", run.folder().display().to_string()),
    ];
    fields.retain(|(_, text)| !text.is_empty());
    if progress.outcome(recipe).is_some() {
        fields.push(("continues", "with its report: every epoch is done".to_owned()));
    } else if progress.total_steps > 0 {
        let (epoch, steps) = (progress.epochs + 1, trainer.steps_per_epoch());
        let mut from = format!("at epoch {epoch} of {}, step {} of {steps}", recipe.epochs, progress.step);
        if let (tch::Device::Cpu, false) = (device, own_threads) {
            let _ = write!(from, ", {} as before", text::counted(tch::get_num_threads() as usize, "thread"));
        }
        if let Some(extension) = progress.extensions.last().filter(|extension| extension.from != recipe.epochs) {
            let _ = write!(
                from,
                "\n{} planned before; since epoch {}, the learning rate is\nthat of a run of {} (recipe.toml is updated)",
                text::counted(extension.from, "epoch"),
                extension.after + 1,
                text::counted(recipe.epochs, "epoch"),
            );
        }
        fields.push(("continues", from));
    }
    text::fields(&fields)
}

/// The file that the first weights came from, how they were adapted, and what is frozen.
fn starts_from(trainer: &Trainer) -> String {
    let Some(Origin { file, sha256 }) = trainer.started_from() else { return String::new() };
    let mut lines = vec![format!("{file}, SHA-256 {}…", sha256.get(..12).unwrap_or(sha256))];
    lines.extend(trainer.start_notes().iter().cloned());
    match trainer.recipe().freeze {
        0 => {}
        1 => lines.push("only the classifier is trained in the first epoch".to_owned()),
        epochs => lines.push(format!("only the classifier is trained in the first {epochs} epochs")),
    }
    lines.join("\n")
}

/// The values that follow from the data, one per line, with the reasons.
fn chosen(decisions: &[Decision]) -> String {
    let line = |Decision { key, value, reason, .. }: &Decision| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{} {value}: {reason}", key.replace('_', " "))
    };
    decisions.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What changes the training images at random, and the outliers in each batch.
fn augmentation(recipe: &Recipe, content: Content) -> String {
    let table = toml::Table::try_from(recipe).unwrap_or_default();
    let on: Vec<_> = recipe::keys::KEYS
        .iter()
        .filter(|key| ["augmentation", "color_jitter"].contains(&key.table.as_str()))
        .filter_map(|key| Some((key, table.get(&key.table)?.get(&key.name)?.as_float()?)))
        .filter(|(_, value)| *value > 0.0)
        .map(|(key, value)| format!("{} {value}", key.name.replace('_', " ")))
        .collect();
    let mut text = if on.is_empty() { "none".to_owned() } else { on.join(", ") };
    match (recipe.outliers.count(recipe.batch_size), content) {
        (0, Content::Image) if !recipe.augmentation.draws() => {
            text.push_str("\nno drawing augmentations or outliers: these images are not digits");
        }
        (0, _) => text.push_str("\nno outliers"),
        (count, _) => {
            let _ = write!(text, "\n{} per step, weight {}", text::counted(count, "outlier"), recipe.outliers.weight);
        }
    }
    text
}

/// A message about how the run ended, and the best checkpoint.
pub(super) fn conclusion(trainer: &Trainer, run: &Run, outcome: RunEnd, seconds: f64) -> String {
    let mut text = match outcome {
        RunEnd::StoppedEarly => {
            format!("stopped early after {}: the held-out accuracy no longer improves\n", duration(seconds))
        }
        _ => format!("done in {}\n", duration(seconds)),
    };
    let best = trainer.progress().exported();
    if let Some(epoch) = trainer.history().iter().find(|epoch| epoch.epoch == best) {
        let _ = writeln!(
            text,
            "{}, test accuracy {:.2} %\n  {}",
            // The file that is exported is called `best` in either case.
            if trainer.progress().best.is_some() {
                format!("best checkpoint: epoch {best}")
            } else {
                format!("exported checkpoint: epoch {best}, the last")
            },
            epoch.test_accuracy * 100.0,
            run.best().display()
        );
    }
    text
}

/// Writes `report.html`, unless each image is a class, and returns the closing message: the weakest class, the report's
/// path and the next command. If the report cannot be written, it prints a note; the run itself is not affected.
pub(super) fn results(trainer: &Trainer, run: &Run) -> String {
    let mut text = String::new();
    let folder = run.folder().display();
    if trainer.facts().classes == Classes::EachImage {
        // The report is about classes, and here every image is one.
        return format!("next:   train --data LABELLED --from {folder}\n");
    }
    // Hidden where standard error is not a terminal.
    let bar = ProgressBar::new_spinner().with_message("writing the report");
    bar.tick();
    let evaluated = format!(
        "the test split of {}, {}",
        trainer.facts().folder.display(),
        text::counted(trainer.test().len(), "image")
    );
    let written = report::RunReport::measure(run, trainer.test(), trainer.held_out(), &evaluated)
        .and_then(|report| Ok((report.write(run)?, report)));
    bar.finish_and_clear();
    match written {
        Ok((page, report)) => {
            let figures = &report.figures;
            let lines = text::headline(&figures.metrics);
            let accuracies = lines.iter().filter(|(name, _)| ["accuracy", "balanced"].contains(name));
            for (name, line) in accuracies {
                let name = if *name == "accuracy" { "test accuracy" } else { "balanced accuracy" };
                let _ = writeln!(text, "{name}: {line}");
            }
            text.push_str(&text::weakest(&figures.metrics, &figures.labels));
            text.push_str(&text::warnings(&figures.metrics, &figures.labels));
            let _ = writeln!(text, "report: {}", page.display());
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "note: the report was not written: {error:#}");
        }
    }
    let _ = writeln!(text, "next:   train export {folder}");
    text
}
