//! `deploy doctor`: what this board is, what to run on it, and what is wrong.

mod text;

use super::{Format, ModelSource, print, print_json, progress};
use anyhow::{Result, bail};
use clap::{Args, ValueHint};
use deploy::arguments::number;
use deploy::backend::{Engine, status};
use deploy::doctor::Diagnosis;
use deploy::doctor::benchmark::{Candidate, Ready};
use deploy::doctor::board::Board;
use deploy::doctor::files::Files;
use deploy::doctor::findings::Severity;
use deploy::doctor::state::State;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names the embedded model, which was chosen when the program was built.
const MODELS_HELP: &str = concat!(
    "The models to measure, such as one network in several precisions [default: ",
    env!("DEPLOY_MODEL_NAME"),
    ", embedded in this program]"
);

/// Describes this board, recommends engine, threads and precision, and reports problems
#[derive(Args)]
#[command(after_help = "\
The everyday engines found here run the model on one thread and on all threads, in turns as in deploy bench: at least \
six turns each, even if that takes longer. Clock rates and temperatures are read meanwhile. Under an emulator each \
engine runs one image and nothing is measured. The recommendation follows from the times alone: among the settings as \
fast as the fastest, the one with the least loss of precision and the fewest threads.

The exit code is 1 if a model cannot run, and 0 otherwise, even if something slows the board down.

Examples:
  deploy doctor                                         this board, with the embedded model
  deploy doctor fp32.onnx int8.onnx                     which precision is faster here
  deploy doctor --no-bench --format json                for programs that monitor boards")]
pub struct Arguments {
    #[arg(value_name = "MODEL", help = MODELS_HELP, value_hint = ValueHint::FilePath, conflicts_with = "flags")]
    operands: Vec<PathBuf>,

    /// The same as a flag, once per model
    #[arg(long = "model", value_name = "FILE", value_hint = ValueHint::FilePath)]
    flags: Vec<PathBuf>,

    /// How long to measure, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = number::<f64>(super::bench::SECONDS))]
    seconds: f64,

    /// Only describe the board, without measuring
    #[arg(long, conflicts_with_all = ["operands", "flags", "seconds"])]
    no_bench: bool,

    /// Text for people, or one JSON document for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let files = Files::system();
    let candidates = if arguments.no_bench { Vec::new() } else { arguments.candidates()? };
    let (board, state, runtimes) = (Board::here(&files), State::now(&files), status::all());
    let benchmark = if arguments.no_bench {
        None
    } else {
        let ready = Ready::make(&candidates, &Engine::available(Engine::everyday()).0)?;
        Some(if board.emulator.is_some() {
            ready.unmeasured()
        } else {
            let bar = progress(1000);
            let time = Duration::from_secs_f64(arguments.seconds);
            let measured = ready.measured(&files, time, |done| bar.set_position((1000.0 * done) as u64))?;
            bar.finish_and_clear();
            measured
        })
    };
    let report = Diagnosis::new(board, state, runtimes, benchmark);
    match arguments.format {
        Format::Text => print(&text::text(&report))?,
        Format::Json => print_json(&report)?,
    };
    match report.findings.iter().find(|finding| finding.severity == Severity::Error) {
        None => Ok(()),
        Some(error) => bail!("{}", error.what),
    }
}

impl Arguments {
    /// Reads the models.
    fn candidates(&self) -> Result<Vec<Candidate>> {
        let read = |path: Option<&Path>| {
            let (name, bytes) = path.read()?;
            Ok(Candidate { name, path: path.map(|path| path.display().to_string()), bytes })
        };
        let models = [&self.operands[..], &self.flags].concat();
        if models.is_empty() {
            return Ok(vec![read(None)?]);
        }
        models.iter().map(|path| read(Some(path))).collect()
    }
}
