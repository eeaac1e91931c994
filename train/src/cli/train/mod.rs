//! `train` itself; `messages` has what it prints.

mod messages;

use super::data;
use super::folds::cross_validate;
use crate::checkpoint::{Checkpoint, Metadata};
use crate::device;
use crate::interrupt;
use crate::progress::{ProgressDisplay, duration};
use crate::recipe::{self, ClassWeights, Decision, Overrides, Recipe, keys};
use crate::run::{self, Run};
use crate::source::{Choices, Classes, ContentChoice, DataSource};
use crate::tensorboard::TensorBoard;
use crate::trainer::{RunEnd, Trainer, TrainingObserver};
use anyhow::{Context, Result, ensure};
use clap::Args;
use clap::ValueEnum;
use clap::builder::StringValueParser;
use deploy::arguments::whole;
use deploy::backend::Device;
use deploy::named::Named;
use deploy::text;
use messages::{conclusion, introduction, nothing_to_do, results};
use models::architecture::Kind;
use models::card::Content;
use models::dataset::{self, Catalogue};
use models::files;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Args)]
#[command(next_help_heading = "Training")]
pub(super) struct Arguments {
    /// Built-in recipe (quick, best, photos, body, tutorial) or a TOML file; the flags below override it [default: photos
    /// for a sub-folder of images per class, body for --unlabelled, otherwise quick]
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
    /// Learn from images without labels: each image in and below the folder is a class of its own. Other runs can start
    /// from the result with --from
    #[arg(long, requires = "data", conflicts_with_all = ["labels", "content", "folds"])]
    unlabelled: bool,
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
    #[arg(long, value_name = "RUN", conflicts_with_all = ["recipe", "unlabelled", "labels", "content", "out", "from", "freeze", "arch", "width", "resolution", "stem_stride", "batch_size", "lr", "momentum", "weight_decay", "seed", "hold_out", "class_weights"])]
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
    #[arg(long, value_name = "FILE", help = format!(
        "Weights to start from: body (the shipped ones), none (drawn at random), or a file: a run's folder, a \
        checkpoint, or a MobileNetV1 that timm saved as safetensors {}", keys::defaults("from")
    ))]
    from: Option<String>,
    #[arg(long, value_name = "EPOCHS", help = keys::help("freeze"), value_parser = keys::whole::<usize>("freeze"))]
    freeze: Option<usize>,
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
            from: self.from.clone(),
            freeze: self.freeze,
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
        let choices = Choices {
            labels: labels.as_deref(),
            content,
            ignore_validation,
            classes: if self.unlabelled { Classes::EachImage } else { Classes::Labels },
            ..Choices::default()
        };
        let form = DataSource::form(&folder, choices)?;
        let run = self.out.as_deref().unwrap_or(Path::new(run::RUNS));
        if self.folds.is_none() && form.are_files && files::is_within(run, &folder)? {
            // A folder beside splits is not a class.
            let has_splits = !self.unlabelled && Catalogue::open(&folder)?.test_folder().is_some();
            ensure!(
                has_splits,
                "the run's folder, {}, would be inside the data, {}, and become one of its classes: name another \
                 folder with --out",
                run.display(),
                folder.display()
            );
        }
        let name = match &self.recipe {
            Some(name) => name,
            None if self.unlabelled => recipe::BODY,
            None if form.are_files => recipe::PHOTOS,
            None => recipe::DEFAULT,
        };
        let (mut recipe, mut decisions) = Recipe::for_data(name, &flags, &form)?;
        let source = data::source(&folder, recipe.network.resolution, choices)?;
        if let Some(decision) = decisions.iter_mut().find(|decision| decision.key == "batch_size") {
            // Near-duplicates and unreadable files are missing, and so is the part that a fold tests.
            let fitted = match (self.folds, &source.validation) {
                (Some(count), _) => source.smallest_fold(count)?.saturating_sub(recipe.hold_out),
                (None, None) => source.train.len().saturating_sub(recipe.hold_out),
                // The validation split replaces the images that would be held out.
                (None, Some(_)) => source.train.len(),
            };
            if (2..recipe.batch_size).contains(&fitted) {
                recipe.batch_size = fitted;
                decision.value = (fitted as i64).into();
                decision.reason = format!("for {}", text::counted(fitted, "image"));
            }
        }
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
        ensure!(
            !checkpoint.metadata.is_imported(),
            "{0} was imported and has no training data: train --from {0} --data FOLDER starts a new run from its weights",
            run.folder().display()
        );
        let Metadata { recipe, progress, data, trained_with, history, .. } = &checkpoint.metadata;
        run.check_recipe(recipe, self.epochs)?;
        if let (Some(outcome), None) = (progress.outcome(recipe), self.epochs) {
            // Otherwise the run was killed before it wrote its history or report, so it continues.
            let is_complete = run.has_report() || data.classes == Classes::EachImage;
            if run.seconds().len() == history.len() && is_complete {
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
        if !trainer.facts().has_the_test_of(data) {
            let _ = writeln!(
                std::io::stderr(),
                "note: the test images have changed since the run's last epoch: do not compare the accuracies before \
                 and after"
            );
        }
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
