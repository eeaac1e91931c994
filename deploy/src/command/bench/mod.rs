//! `deploy bench`: how fast is this file here?

mod figures;
mod markdown;

use super::text::{counted, fields, print, print_json, table};
use super::{CudaArguments, ModelOperand, ModelSource, listed, names, progress, usage};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum, ValueHint};
use deploy::arguments::{number, whole};
use deploy::backend::{Device, Engine, Options, Selection};
use deploy::bench::cold::{self, Start};
use deploy::bench::compare::{Comparison, Verdict, compare, same_model};
use deploy::bench::conditions::Conditions;
use deploy::bench::measure::measure;
use deploy::bench::turn::{FEWEST_ROUNDS, Length};
use deploy::bench::{BenchReport, Subject};
use deploy::model::Model;
use deploy::named::Named;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Cold starts per engine.
const COLD_STARTS: usize = 5;

/// Measures how fast a model file runs here: latency, throughput, cold start, and what this program adds to the runtime
#[derive(Args)]
#[command(after_help = "\
The engines take turns, so a disturbance of the machine affects all of them. A round is a turn of 25 ms for each \
engine, number of threads and batch size, and one for the engine's own call on the same images. Times are medians of \
all calls; the 95 % interval comes from the medians of the turns. A cold start is a new process with one engine and \
one prediction; the files are in the system's cache.

With --compare the exit code is 1 if a figure got worse by more than 5 % and by more than three times its own noise. \
A result for another model is refused; one from another machine is shown without a verdict.

Examples:
  deploy bench model.onnx                             the everyday engines, on one and on all threads
  deploy bench model.onnx --format markdown           tables to paste into an issue
  deploy bench --runtimes tract,tract-stock           our operators against tract as released
  deploy bench --backend tract --threads 1 --batch-sizes 1 --time 5
  deploy bench -o before.json                         the embedded model; then, after a change:
  deploy bench --compare before.json")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelOperand,

    #[arg(
        long,
        value_name = "NAME",
        value_parser = Named::new::<Engine>(names([])),
        hide_possible_values = true,
        help = format!("Only this engine: {} [default: those for everyday use]", Engine::names())
    )]
    backend: Option<Engine>,

    /// Several engines: all that are available, or a list such as tract,tract-stock
    #[arg(
        long,
        value_name = "LIST",
        conflicts_with_all = ["backend", "device"],
        value_parser = Named::new::<String>(names(["all"])),
        hide_possible_values = true
    )]
    runtimes: Option<String>,

    /// Only engines on this device: auto (any), cpu, cuda or cuda:N; with --backend ort, the device it runs on
    #[arg(
        long,
        value_name = "NAME",
        default_value_t = Device::Auto,
        value_parser = Named::new::<Device>(&Device::NAMES),
        hide_possible_values = true
    )]
    device: Device,

    #[command(flatten)]
    cuda: CudaArguments,

    /// Numbers of CPU threads [default: 1, and one per hardware thread]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = whole::<u16>(1..=1024))]
    threads: Vec<u16>,

    /// Images per call
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "1,8,32",
        value_parser = whole::<u16>(1..=1024)
    )]
    batch_sizes: Vec<u16>,

    /// How long to measure, without warm-up and cold starts; at least six rounds are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0, value_parser = number::<f64>(SECONDS), conflicts_with = "rounds")]
    time: f64,

    /// Measure this many rounds instead
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=1_000_000_000))]
    rounds: Option<u32>,

    /// An earlier result (JSON) to compare with
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    compare: Option<PathBuf>,

    /// Also write the result into this file as JSON, for --compare
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Text for people, one JSON document for programs, or tables to paste
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Cold start: only load the model, predict once, and print the times
    #[arg(long, hide = true)]
    cold_start: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
// Help on single values would spread every flag of `--help` over several lines.
#[allow(missing_docs)]
enum Format {
    Text,
    Json,
    Markdown,
}

/// Seconds that a measurement may take.
pub const SECONDS: RangeInclusive<f64> = 0.1..=86_400.0;

pub fn run(arguments: &Arguments) -> Result<()> {
    let threads = arguments.threads();
    if arguments.cold_start {
        return cold_start(arguments, &threads);
    }
    let (engines, mut notes) = arguments.engines()?;
    let (name, bytes) = arguments.model.read()?;
    let subject = Subject::new(&name, &bytes);
    // Check that the results can be compared before measuring, not after.
    let before = arguments.compare.as_deref().map(BenchReport::read).transpose()?;
    if let Some(before) = &before {
        same_model(&subject, before)?;
    }
    let conditions = Conditions::now();
    let most = threads.last().copied().unwrap_or(1);
    let mut commands = engines.iter().map(|&engine| arguments.command(engine, most)).collect::<Result<Vec<_>>>()?;
    let cold_starts = cold::starts(&mut commands, COLD_STARTS)?;

    let mut models = Vec::new();
    for &threads in &threads {
        for &engine in &engines {
            let model = Model::from_bytes(&name, &bytes, &arguments.cuda.on(engine, Some(threads)))?;
            notes.extend(model.notes().iter().filter(|note| !notes.contains(note)).cloned().collect::<Vec<_>>());
            models.push(model);
        }
    }
    let batches: BTreeSet<_> = arguments.batch_sizes.iter().map(|&batch| usize::from(batch)).collect();
    let batches: Vec<_> = batches.into_iter().collect();
    let bar = progress(1000);
    let length = arguments.length();
    let measurement = measure(&mut models, &batches, length, |rounds, seconds| {
        let done = match length {
            Length::Time(time) => f64::min(seconds / time.as_secs_f64(), rounds as f64 / FEWEST_ROUNDS as f64),
            Length::Rounds(wanted) => rounds as f64 / wanted as f64,
        };
        bar.set_position((1000.0 * done) as u64);
    })?;
    bar.finish_and_clear();

    let report = BenchReport::new(subject, conditions, measurement, cold_starts, notes);
    let comparison = before.map(|before| compare(&report, &before)).transpose()?;
    // Write the file last: if that fails, the result has at least been printed.
    show(arguments.format, &report, comparison.as_ref())?;
    if let Some(path) = &arguments.output {
        models::files::write_whole(path, (serde_json::to_string_pretty(&report)? + "\n").as_bytes())?;
    }
    match comparison.map(|comparison| comparison.count(Verdict::Worse)) {
        None | Some(0) => Ok(()),
        Some(worse) => bail!("{} got worse by more than noise", counted(worse, "figure")),
    }
}

fn show(format: Format, report: &BenchReport, comparison: Option<&Comparison>) -> Result<()> {
    let sections = figures::sections(report, comparison);
    match format {
        Format::Text => {
            let tables = sections.iter().map(|section| format!("\n{}\n{}", section.title, table(&section.rows)));
            let notes = figures::notes(report, comparison).into_iter().map(|note| format!("\nnote: {note}"));
            let end = if report.notes.is_empty() && comparison.is_none() { "" } else { "\n" };
            let parts: Vec<_> = std::iter::once(fields(&figures::summary(report))).chain(tables).chain(notes).collect();
            print(&format!("{}{end}", parts.concat()))?;
        }
        Format::Markdown => {
            print(&markdown::document(report, &sections, &figures::notes(report, comparison)))?;
        }
        Format::Json => match comparison {
            None => print_json(report).map(drop)?,
            Some(comparison) => print_json(&figures::Compared { report, comparison }).map(drop)?,
        },
    }
    Ok(())
}

/// Runs in the child processes: loads the model, predicts once and prints a [`Start`].
fn cold_start(arguments: &Arguments, threads: &[usize]) -> Result<()> {
    let engine = arguments.backend.context("a cold start needs --backend")?;
    let options = arguments.cuda.on(engine, threads.last().copied());
    let start = Start::here(|| {
        let (name, bytes) = arguments.model.read()?;
        Model::from_bytes(&name, &bytes, &options)
    })?;
    print_json(&start).map(drop)
}

impl Arguments {
    /// Numbers of threads in ascending order, without duplicates.
    fn threads(&self) -> Vec<usize> {
        let threads: BTreeSet<usize> = if self.threads.is_empty() {
            [1, Options::default().threads()].into()
        } else {
            self.threads.iter().map(|&threads| usize::from(threads)).collect()
        };
        threads.into_iter().collect()
    }

    fn length(&self) -> Length {
        match self.rounds {
            Some(rounds) => Length::Rounds(rounds as usize),
            None => Length::Time(Duration::from_secs_f64(self.time)),
        }
    }

    /// The engines to measure, and notes on those that are left out.
    fn engines(&self) -> Result<(Vec<Engine>, Vec<String>)> {
        if let Some(list) = &self.runtimes {
            let (engines, notes) = listed("--runtimes", list)?;
            self.cuda.validate(&engines)?;
            return Ok((engines, notes));
        }
        let asked = self.backend.map_or(Selection::Auto, Selection::Engine);
        let selected = asked.on(self.device).map_err(usage)?;
        self.cuda.applied(Options::new(selected, None)).validate().map_err(usage)?;
        match (self.backend, selected) {
            (Some(backend), _) if self.device != Device::Auto && backend.registration.on_cuda.is_none() => {
                Err(usage(format!("--device has no effect with --backend {backend}")))
            }
            (Some(_), Selection::Engine(engine)) => Ok((vec![engine], Vec::new())),
            _ => self.everyday(),
        }
    }

    /// The engines for everyday use, on the device that the user asks for.
    fn everyday(&self) -> Result<(Vec<Engine>, Vec<String>)> {
        let engines = Engine::everyday().filter_map(|engine| match self.device {
            Device::Auto => engine.code().is_ok().then_some(engine),
            Device::Cpu => (engine.code().is_ok() && !engine.registration.cuda).then_some(engine),
            Device::Cuda(device) => engine.registration.cuda.then_some(Engine { device, ..engine }),
        });
        let (here, absent) = Engine::available(engines);
        let notes = absent.iter().map(|absent| format!("left out: {absent}")).collect();
        ensure!(!here.is_empty(), absent.into_iter().next().map_or_else(String::new, |absent| absent.reason));
        Ok((here, notes))
    }

    /// The command that starts one engine cold.
    fn command(&self, engine: Engine, threads: usize) -> Result<Command> {
        let program = std::env::current_exe().context("cannot find this program's own file to start it cold")?;
        let mut command = Command::new(program);
        command.args(["bench", "--cold-start", "--backend", &engine.to_string(), "--threads", &threads.to_string()]);
        if engine.registration.cuda {
            command.args(self.cuda.flags());
        }
        if let Some(path) = self.model.path() {
            command.args([OsString::from("--model"), path.into()]);
        }
        Ok(command)
    }
}
