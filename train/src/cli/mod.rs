//! The command line: one file per command, each a thin layer over the library.

mod compare;
mod data;
mod devices;
mod eval;
mod export;
mod folds;
mod import;
mod list;
mod recipe;
mod report;
mod summary;
mod train;

use anyhow::Result;
use clap::builder::TypedValueParser;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use deploy::arguments::one_of;
use deploy::backend::Device;
use deploy::manual;
use deploy::named::Named;
use models::architecture::Kind;
use std::process::ExitCode;

/// Trains MobileNetV1 and exports it to ONNX.
///
/// Without a command it trains: the recipe `quick` on MNIST unless flags say otherwise.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  train                          train `quick` on MNIST into runs/quick
  train --data photos            your own images: a sub-folder per class
  train --width 0.5 --epochs 10  `quick` on MNIST with changes
  train --recipe mine.toml       your own recipe: see train recipe --help
  train export -o model.onnx     export the newest run, checked in every runtime
  deploy predict seven.png --model model.onnx"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: train::Arguments,
}

#[derive(Subcommand)]
enum Command {
    Eval(eval::Arguments),
    Report(report::Arguments),
    List(list::Arguments),
    Compare(compare::Arguments),
    Export(export::Arguments),
    Import(import::Arguments),
    Summary(summary::Arguments),
    Recipe(recipe::Arguments),
    Devices(devices::Arguments),
    /// Print a script that makes a shell complete commands, flags and values
    #[command(after_help = manual::completions_examples("train"))]
    Completions(manual::Completions),
    /// Write the manual: one page per command into a folder, or the first page to standard output
    #[command(after_help = manual::pages_examples("train", "export"))]
    Man(manual::Pages),
}

/// How a result is printed: for people, or as one document for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
// Doc comments on the values would spread the flag's `--help` over several lines.
#[allow(missing_docs)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Parser of `--device`.
fn devices() -> impl TypedValueParser<Value = Device> {
    Named::with(Device::NAMES, |name: &str| name.parse::<Device>())
}

/// Parser of `--arch`.
fn architectures() -> impl TypedValueParser<Value = Kind> {
    one_of::<Kind>(Kind::ALL.map(Kind::name))
}

impl Cli {
    /// Runs the chosen command.
    pub fn run(self) -> Result<ExitCode> {
        crate::device::forbid_tf32();
        crate::memory::keep_freed_memory();
        crate::interrupt::listen()?;
        crate::device::register_cuda();
        match self.command {
            None => self.train.run(),
            Some(Command::Eval(arguments)) => arguments.run(),
            Some(Command::Report(arguments)) => arguments.run(),
            Some(Command::List(arguments)) => arguments.run(),
            Some(Command::Compare(arguments)) => arguments.run(),
            Some(Command::Export(arguments)) => arguments.run(),
            Some(Command::Import(arguments)) => arguments.run(),
            Some(Command::Summary(arguments)) => arguments.run(),
            Some(Command::Devices(arguments)) => arguments.run(),
            Some(Command::Recipe(arguments)) => arguments.run(),
            Some(Command::Completions(arguments)) => arguments.run(Self::command()).map(|()| ExitCode::SUCCESS),
            Some(Command::Man(arguments)) => arguments.run(Self::command()).map(|()| ExitCode::SUCCESS),
        }
    }
}
