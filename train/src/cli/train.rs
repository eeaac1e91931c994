//! `train` itself.

use super::data;
use crate::checkpoint::{Checkpoint, Metadata};
use crate::device;
use crate::progress::{Progress, duration};
use crate::recipe::{self, Overrides, Recipe, keys};
use crate::report;
use crate::run::Run;
use crate::source::{Choices, ContentChoice};
use crate::tensorboard::TensorBoard;
use crate::trainer::{Observer, Outcome, Trainer};
use anyhow::{Context, Result};
use clap::Args;
use clap::builder::StringValueParser;
use clap::ValueEnum;
use deploy::arguments::whole;
use deploy::backend::Device;
use deploy::named::Named;
use deploy::text;
use models::architecture::Kind;
use models::card::Content;
use models::{dataset, files};
use std::fmt::Write;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Exit code of a run that Ctrl-C stopped: 128 + SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

#[derive(Args)]
#[command(next_help_heading = "Training")]
pub(super) struct Arguments {
    /// Built-in recipe (quick, best, tutorial) or a TOML file; the flags below change it
    #[arg(
        long,
        value_name = "NAME|FILE",
        default_value = recipe::DEFAULT,
        value_parser = Named::with(&recipe::NAMES, StringValueParser::new()),
        hide_possible_values = true
    )]
    recipe: String,
    /// Folder with the data set: IDX files, or a sub-folder of pictures per class [default: MNIST, as scripts/setup
    /// fetched it]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Names of the classes in order, one a line [default: the folder's labels.txt, or its sub-folders]
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// What the images show: digit (any image is prepared as MNIST's authors did) or picture (it is resized) [default:
    /// digit for the images of MNIST itself, picture for all others]
    #[arg(long, value_name = "KIND")]
    content: Option<Shows>,
    /// The run's folder [default: runs/NAME of the recipe, numbered if taken]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with an interrupted run, to the bit
    #[arg(long, value_name = "RUN", conflicts_with_all = ["recipe", "labels", "content", "out", "arch", "width", "resolution", "stem_stride", "epochs", "batch_size", "lr", "momentum", "weight_decay", "seed", "hold_out"])]
    resume: Option<PathBuf>,
    /// auto (CUDA if it works, otherwise the CPU), cpu, cuda or cuda:N
    #[arg(long, value_name = "NAME", default_value_t = Device::Auto, value_parser = super::devices(), hide_possible_values = true)]
    device: Device,
    /// Threads on the CPU [default: one per core]
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
        let (mut trainer, run) = match &self.resume {
            Some(folder) => self.resumed(folder, device)?,
            None => self.started(device)?,
        };
        text::print(&introduction(&trainer, &run, self.device, device))?;

        let stop = Arc::new(AtomicBool::new(false));
        stop_on_signal(&stop)?;
        let began = Instant::now();
        let mut observers: Vec<Box<dyn Observer>> = vec![Box::new(Progress::default())];
        if self.tensorboard {
            observers.push(Box::new(TensorBoard::create(run.folder(), trainer.progress().total_steps)?));
        }
        let outcome = trainer.run(&run, &mut observers, &stop);
        // Takes the progress bar off the terminal before anything else is written there.
        drop(observers);
        let outcome = outcome?;
        let seconds = began.elapsed().as_secs_f64();
        let page = if outcome == Outcome::Interrupted { None } else { write_report(&trainer, &run) };
        text::print(&conclusion(&trainer, &run, page.as_deref(), outcome, seconds))?;
        Ok(if outcome == Outcome::Interrupted { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
    }

    fn started(&self, device: tch::Device) -> Result<(Trainer, Run)> {
        let recipe = Recipe::find(&self.recipe)?.with(&Overrides {
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
        })?;
        let folder = match &self.data {
            // Checkpoints name it: it must mean the same from any folder.
            Some(folder) => std::path::absolute(folder)?,
            None => files::fetched("mnist")
                .context("MNIST is not here: run scripts/setup, or name another data set's folder with --data")?,
        };
        let labels = self.labels.as_deref().map(dataset::read_labels).transpose()?;
        let content = match self.content {
            None => ContentChoice::FromData,
            Some(Shows::Digit) => ContentChoice::Digits,
            Some(Shows::Picture) => ContentChoice::Given(Content::Picture),
        };
        let choices = Choices { labels: labels.as_deref(), content, ignore_validation: self.hold_out.is_some() };
        let source = data::source(&folder, recipe.network.resolution, choices)?;
        // Everything that can be refused is, before the run's folder is made.
        let toml = recipe.to_toml()?;
        let name = recipe.name.clone();
        let trainer = Trainer::new(recipe, &source, device)?;
        let run = Run::create(self.out.as_deref(), &name)?;
        run.write_recipe(&toml)?;
        Ok((trainer, run))
    }

    fn resumed(&self, folder: &Path, device: tch::Device) -> Result<(Trainer, Run)> {
        let run = Run::open(folder)?;
        // Whoever wrote here before is gone. Commands that only look at a run must not do this: it may be under way.
        files::sweep(run.folder());
        let checkpoint = Checkpoint::read(&run.last())?;
        run.check_recipe(&checkpoint.metadata.recipe)?;
        let Metadata { recipe, data, .. } = &checkpoint.metadata;
        let folder = self.data.as_deref().unwrap_or(&data.folder);
        let source = data::source(folder, recipe.network.resolution, Choices::of(data))?;
        let trainer = Trainer::resume(&checkpoint, &source, device)?;
        Ok((trainer, run))
    }
}

/// `--content`.
#[derive(Clone, Copy, ValueEnum)]
// Help on single values would spread every flag of `--help` over several lines.
#[allow(missing_docs)]
enum Shows {
    Digit,
    Picture,
}

/// What is about to run, and on what.
fn introduction(trainer: &Trainer, run: &Run, asked: Device, device: tch::Device) -> String {
    let facts = trainer.facts();
    let recipe = trainer.recipe();
    let on = match device::why_no_cuda() {
        Some(reason) if asked == Device::Auto && device == tch::Device::Cpu => {
            format!("{}; no CUDA: {reason}", trainer.trained_with())
        }
        _ => trainer.trained_with().to_owned(),
    };
    let held_out = match facts.held_out {
        0 => "none held out: the last epoch ships".to_owned(),
        count if facts.validation => {
            format!("{} of the validation split to choose the epoch that ships", text::grouped(count as u64))
        }
        count => format!("{} held out to choose the epoch that ships", text::grouped(count as u64)),
    };
    text::fields(&[
        (
            "recipe",
            format!(
                "{}, {} epochs of {} images a step, seed {}",
                recipe.name, recipe.epochs, recipe.batch_size, recipe.seed
            ),
        ),
        ("network", format!("{}, {} parameters", trainer.architecture(), text::grouped(trainer.parameters() as u64))),
        (
            "data",
            format!(
                "{}\n{} images to learn from, {held_out}\n{} to test on, each {}x{} px in {}\n{}",
                facts.folder.display(),
                text::grouped(facts.fitted as u64),
                text::grouped(trainer.test().len() as u64),
                facts.input.width,
                facts.input.height,
                if facts.input.channels == 1 { "grey" } else { "colour" },
                match facts.input.content {
                    Content::Digit { .. } => "prepared as digits, as MNIST's authors did (--content picture: resized)",
                    Content::Picture
                        if facts.input.channels == 1 && facts.labels.iter().all(|label| label.len() == 1) =>
                    {
                        "prepared as pictures: resized, and their centre cut out (--content digit: as digits)"
                    }
                    Content::Picture => "prepared as pictures: resized, and their centre cut out",
                }
            ),
        ),
        ("classes", text::class_list(&facts.labels)),
        ("runs on", on),
        ("run", run.folder().display().to_string()),
    ])
}

/// Writes `report.html`. A run is not lost because its picture could not be drawn.
fn write_report(trainer: &Trainer, run: &Run) -> Option<PathBuf> {
    let data = format!(
        "the test split of {}, {}",
        trainer.facts().folder.display(),
        text::counted(trainer.test().len(), "image")
    );
    match report::write(run, trainer.test(), &data) {
        Ok(page) => Some(page),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "note: the run has no report: {error:#}");
            None
        }
    }
}

/// How it ended, and what to type next.
fn conclusion(trainer: &Trainer, run: &Run, page: Option<&Path>, outcome: Outcome, seconds: f64) -> String {
    let folder = run.folder().display();
    let mut text = match outcome {
        Outcome::Finished => format!("done in {}\n", duration(seconds)),
        Outcome::StoppedEarly => {
            format!("stopped early after {}: the held-out accuracy no longer rises\n", duration(seconds))
        }
        Outcome::Interrupted => {
            return format!("interrupted after {}; to go on:\n  train --resume {folder}\n", duration(seconds));
        }
    };
    let best = trainer.progress().best.map_or(trainer.progress().epochs, |best| best.epoch);
    if let Some(epoch) = trainer.history().iter().find(|epoch| epoch.epoch == best) {
        let _ = writeln!(
            text,
            "ships: epoch {best}, test accuracy {:.2} % ({})",
            epoch.test_accuracy * 100.0,
            run.best().display()
        );
    }
    if let Some(page) = page {
        let _ = writeln!(text, "shows: {}", page.display());
    }
    let _ = writeln!(text, "next:  train export {folder}");
    text
}

/// Ctrl-C, SIGTERM and SIGHUP finish the step under way; a second one ends the process at once.
fn stop_on_signal(stop: &Arc<AtomicBool>) -> Result<()> {
    let stop = Arc::clone(stop);
    ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
    })
    .context("cannot listen for Ctrl-C")
}
