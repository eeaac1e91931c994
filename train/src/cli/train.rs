//! `train` itself.

use super::data;
use super::folds::cross_validate;
use crate::checkpoint::{Checkpoint, Metadata};
use crate::device;
use crate::interrupt;
use crate::progress::{ProgressDisplay, duration};
use crate::recipe::{self, ClassWeights, Decision, ExportedEpoch, Overrides, Recipe, keys};
use crate::report;
use crate::run::{self, Run};
use crate::source::{Choices, ContentChoice, DataSource};
use crate::tensorboard::TensorBoard;
use crate::trainer::{RunEnd, Trainer, TrainingObserver};
use anyhow::{Context, Result};
use clap::Args;
use clap::ValueEnum;
use clap::builder::StringValueParser;
use deploy::arguments::whole;
use deploy::backend::Device;
use deploy::named::Named;
use deploy::text;
use indicatif::ProgressBar;
use models::architecture::Kind;
use models::card::Content;
use models::{dataset, files};
use std::fmt::Write;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Args)]
#[command(next_help_heading = "Training")]
pub(super) struct Arguments {
    /// Built-in recipe (quick, best, photos, tutorial) or a TOML file; the flags below override it [default: photos for
    /// a sub-folder of images per class, otherwise quick]
    #[arg(
        long,
        value_name = "NAME|FILE",
        value_parser = Named::with(recipe::NAMES.clone(), StringValueParser::new()),
        hide_possible_values = true
    )]
    recipe: Option<String>,
    /// Folder with the data set: IDX files, or a sub-folder of images per class [default: MNIST, fetched by
    /// scripts/setup]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// File with the class names in order, one per line [default: the folder's labels.txt, or its sub-folders]
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// What the images show: digit (prepared as MNIST's authors did) or image (resized) [default: digit for MNIST
    /// itself, otherwise image]
    #[arg(long, value_name = "KIND")]
    content: Option<Shows>,
    /// The run's folder [default: the recipe's name in runs/, numbered if it exists]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Resume an interrupted run bit for bit; with --epochs N, train it (even if finished) up to N epochs
    #[arg(long, value_name = "RUN", conflicts_with_all = ["recipe", "labels", "content", "out", "arch", "width", "resolution", "stem_stride", "batch_size", "lr", "momentum", "weight_decay", "seed", "hold_out", "class_weights"])]
    resume: Option<PathBuf>,
    /// auto (CUDA if it works, otherwise the CPU), cpu, cuda or cuda:N
    #[arg(long, value_name = "NAME", default_value_t = Device::Auto, value_parser = super::devices(), hide_possible_values = true)]
    device: Device,
    /// Threads on the CPU [default: one per core; with --resume, as many as the run had]
    #[arg(long, value_name = "N", value_parser = whole::<i32>(1..=1024))]
    threads: Option<i32>,
    #[arg(long, value_name = "NAME", help = keys::help("network.arch"), value_parser = super::architectures(), hide_possible_values = true)]
    arch: Option<Kind>,
    #[arg(long, value_name = "ALPHA", help = keys::help("network.width"), value_parser = keys::number("network.width"))]
    width: Option<f64>,
    #[arg(long, value_name = "PIXELS", help = keys::help("network.resolution"), value_parser = keys::whole::<usize>("network.resolution"))]
    resolution: Option<usize>,
    #[arg(long, value_name = "N", help = keys::help("network.stem_stride"), value_parser = keys::whole::<usize>("network.stem_stride"))]
    stem_stride: Option<usize>,
    #[arg(long, value_name = "N", help = keys::help("epochs"), value_parser = keys::whole::<usize>("epochs"))]
    epochs: Option<usize>,
    #[arg(long, value_name = "N", help = keys::help("batch_size"), value_parser = keys::whole::<usize>("batch_size"))]
    batch_size: Option<usize>,
    #[arg(long, value_name = "RATE", help = keys::help("optimizer.lr"), value_parser = keys::number("optimizer.lr"))]
    lr: Option<f64>,
    #[arg(long, value_name = "SHARE", help = keys::help("optimizer.momentum"), value_parser = keys::number("optimizer.momentum"))]
    momentum: Option<f64>,
    #[arg(long, value_name = "RATE", help = keys::help("optimizer.weight_decay"), value_parser = keys::number("optimizer.weight_decay"))]
    weight_decay: Option<f64>,
    #[arg(long, value_name = "N", help = keys::help("seed"), value_parser = keys::whole::<u64>("seed"))]
    seed: Option<u64>,
    #[arg(long, value_name = "N", help = keys::help("hold_out"), value_parser = keys::whole::<usize>("hold_out"))]
    hold_out: Option<usize>,
    #[arg(long, value_name = "KIND", help = keys::help("class_weights"))]
    class_weights: Option<ClassWeights>,
    /// Cross-validation: train K times, test each network on another K-th of every class, and print the mean accuracy
    /// and its spread. No network is kept
    #[arg(long, value_name = "K", value_parser = whole::<usize>(2..=100), conflicts_with_all = ["out", "resume", "tensorboard"])]
    folds: Option<usize>,
    /// Write an event file for TensorBoard into the run's folder
    #[arg(long)]
    tensorboard: bool,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let device = device::choose(self.device)?;
        if let Some(threads) = self.threads {
            tch::set_num_threads(threads);
        }
        let (mut trainer, run, decisions) = if let Some(folder) = &self.resume {
            let Some((trainer, run)) = self.resumed(folder, device)? else { return Ok(ExitCode::SUCCESS) };
            (trainer, run, Vec::new())
        } else {
            let (recipe, source, decisions) = self.prepared()?;
            if let Some(folds) = self.folds {
                return cross_validate(&recipe, &source, folds, device);
            }
            let (trainer, run) = self.started(recipe, &source, device)?;
            (trainer, run, decisions)
        };
        text::print(&introduction(&trainer, &run, &decisions, self.device, device, self.threads.is_some()))?;

        let began = Instant::now();
        let mut observers: Vec<Box<dyn TrainingObserver>> = vec![Box::new(ProgressDisplay::default())];
        if self.tensorboard {
            observers.push(Box::new(TensorBoard::create(run.folder(), trainer.progress().total_steps)?));
        }
        interrupt::defer();
        let outcome = trainer.run(&run, &mut observers, &interrupt::STOP);
        interrupt::undefer();
        // Removes the progress bar before anything else is written to the terminal.
        drop(observers);
        let outcome = outcome?;
        let seconds = began.elapsed().as_secs_f64();
        if outcome == RunEnd::Interrupted {
            let folder = run.folder().display();
            text::print(&format!(
                "interrupted after {}; to continue:\n  train --resume {folder}\n",
                duration(seconds)
            ))?;
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
        text::print(&conclusion(&trainer, &run, outcome, seconds))?;
        text::print(&results(&trainer, &run))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Reads the data and adapts the recipe to it.
    fn prepared(&self) -> Result<(Recipe, DataSource, Vec<Decision>)> {
        let flags = Overrides {
            arch: self.arch,
            width: self.width,
            resolution: self.resolution,
            stem_stride: self.stem_stride,
            epochs: self.epochs,
            batch_size: self.batch_size,
            lr: self.lr,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            seed: self.seed,
            hold_out: self.hold_out,
            class_weights: self.class_weights,
        };
        let folder = match &self.data {
            // Checkpoints store the path, so it must not depend on the working directory.
            Some(folder) => std::path::absolute(folder)?,
            None => files::fetched("mnist")
                .context("MNIST was not found: run scripts/setup, or give another data set's folder with --data")?,
        };
        if let Some(out) = &self.out {
            run::check_vacant(out)?;
        }
        let labels = self.labels.as_deref().map(dataset::read_labels).transpose()?;
        let content = match self.content {
            None => ContentChoice::FromData,
            Some(Shows::Digit) => ContentChoice::Digits,
            Some(Shows::Image) => ContentChoice::Given(Content::Image),
        };
        let ignore_validation = self.hold_out.is_some();
        let choices = Choices { labels: labels.as_deref(), content, ignore_validation, ..Choices::default() };
        let form = DataSource::form(&folder, choices)?;
        let name = match (&self.recipe, &form.overview) {
            (Some(name), _) => name,
            (None, Some(_)) => recipe::PHOTOS,
            (None, None) => recipe::DEFAULT,
        };
        let (recipe, decisions) = Recipe::for_data(name, &flags, &form)?;
        let source = data::source(&folder, recipe.network.resolution, choices)?;
        Ok((recipe, source, decisions))
    }

    /// Starts a new run. Everything that can fail does so before the run's folder is created.
    fn started(&self, recipe: Recipe, source: &DataSource, device: tch::Device) -> Result<(Trainer, Run)> {
        let toml = recipe.to_toml()?;
        let name = recipe.name.clone();
        let trainer = Trainer::new(recipe, source, device)?;
        let run = Run::create(self.out.as_deref(), &name)?;
        run.write_recipe(&toml)?;
        Ok((trainer, run))
    }

    /// Opens a run to train it further. Prints a message and returns `None` if there is nothing to do.
    fn resumed(&self, folder: &Path, device: tch::Device) -> Result<Option<(Trainer, Run)>> {
        let run = Run::resume(folder)?;
        let checkpoint = Checkpoint::read(&run.last())?;
        let Metadata { recipe, progress, data, trained_with, history, .. } = &checkpoint.metadata;
        run.check_recipe(recipe, self.epochs)?;
        if let (Some(outcome), None) = (progress.outcome(recipe), self.epochs) {
            // Otherwise the run was killed before it wrote its history or report, so it continues.
            if run.seconds().len() == history.len() && run.has_report() {
                text::print(&nothing_to_do(&run, &checkpoint.metadata, outcome))?;
                self.note_unused();
                return Ok(None);
            }
        }
        if let Some(epochs) = self.epochs {
            progress.check_total(epochs)?;
        }
        if let (tch::Device::Cpu, None, Some(threads)) = (device, self.threads, checkpoint.metadata.threads()) {
            tch::set_num_threads(threads);
            let cores = std::thread::available_parallelism().map_or(threads, |cores| cores.get() as i32);
            if threads > cores {
                let _ = writeln!(
                    std::io::stderr(),
                    "note: the run resumes with its {threads} threads, but this machine has {cores} cores:\n      --threads {cores} is faster, but changes the last digits of the result"
                );
            }
        }
        let folder = self.data.as_deref().unwrap_or(&data.folder);
        let source = data::source(folder, recipe.network.resolution, Choices::from_facts(data))?;
        let mut trainer = Trainer::resume(&checkpoint, &source, device)?;
        if let Some(epochs) = self.epochs {
            trainer.extend(&run, epochs)?;
        }
        if trainer.trained_with() != trained_with {
            // Ignores a closed standard error instead of panicking.
            let _ = writeln!(
                std::io::stderr(),
                "note: trained so far with {trained_with},\n      now with {}:\n      the result will differ in the last digits",
                trainer.trained_with()
            );
        }
        Ok(Some((trainer, run)))
    }

    /// Notes which options had no effect because nothing was left to train.
    fn note_unused(&self) {
        let given = [
            ("--data", self.data.is_some()),
            ("--device", self.device != Device::Auto),
            ("--threads", self.threads.is_some()),
            ("--tensorboard", self.tensorboard),
        ];
        let unused: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        if !unused.is_empty() {
            // Ignores a closed standard error instead of panicking.
            let _ = writeln!(std::io::stderr(), "note: nothing was trained, so {} had no effect", unused.join(", "));
        }
    }
}

/// `--content`.
#[derive(Clone, Copy, ValueEnum)]
// Doc comments on the values would spread the flag's `--help` over several lines.
#[allow(missing_docs)]
enum Shows {
    Digit,
    #[value(alias = "picture")] // Its name in earlier versions, and in the model card.
    Image,
}

/// The message that a run has ended and how to train it further.
fn nothing_to_do(run: &Run, metadata: &Metadata, outcome: RunEnd) -> String {
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
fn introduction(
    trainer: &Trainer,
    run: &Run,
    decisions: &[Decision],
    asked: Device,
    device: tch::Device,
    own_threads: bool,
) -> String {
    let (facts, recipe, progress) = (trainer.facts(), trainer.recipe(), trainer.progress());
    let on = if asked == Device::Auto && device == tch::Device::Cpu && device::cuda_count() == 0 {
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
                    Content::Image
                        if facts.input.channels == 1 && facts.labels.iter().all(|label| label.len() == 1) =>
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
fn conclusion(trainer: &Trainer, run: &Run, outcome: RunEnd, seconds: f64) -> String {
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
            "{} checkpoint: epoch {best}, test accuracy {:.2} %\n  {}",
            if trainer.progress().best.is_some() { "best" } else { "last" },
            epoch.test_accuracy * 100.0,
            run.best().display()
        );
    }
    text
}

/// Writes `report.html` and returns the closing message: the weakest class, the report's path and the next command. If
/// the report cannot be written, it prints a note; the run itself is not affected.
fn results(trainer: &Trainer, run: &Run) -> String {
    let mut text = String::new();
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
    let _ = writeln!(text, "next:   train export {}", run.folder().display());
    text
}
