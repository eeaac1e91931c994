//! The command line: one file per command, each a thin user of the library.

mod compare;
mod data;
mod devices;
mod eval;
mod export;
mod list;
mod report;
mod summary;
mod train;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use std::process::ExitCode;

/// Trains MobileNetV1 and exports it to ONNX.
///
/// Without a command it trains, by default the recipe `quick` on MNIST.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  train                          train `quick` on MNIST into runs/quick\n  train --width 0.5 --epochs 10  the same with changes\n  train export -o model.onnx     export the newest run, checked in every runtime\n  deploy predict seven.png --model model.onnx"
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
    Summary(summary::Arguments),
    Devices(devices::Arguments),
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One document, for programs
    Json,
}

impl Cli {
    /// Does what the command line says.
    pub fn run(self) -> Result<ExitCode> {
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
            Some(Command::Summary(arguments)) => arguments.run(),
            Some(Command::Devices(arguments)) => arguments.run(),
        }
    }
}
