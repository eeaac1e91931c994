//! `deploy`: runs an exported image classifier and says what really runs.

mod command;

use clap::{Parser, Subcommand};
use command::{backends, bench, doctor, eval, inspect, parity, predict};
#[cfg(feature = "manual")]
use command::{completions, man};
use deploy::text;
use std::process::ExitCode;

/// Runs an exported image classifier (ONNX) through tract or ONNX Runtime, and says what really runs.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "Example:\n  deploy predict seven.png --model model.onnx"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Predict(predict::Arguments),
    Eval(eval::Arguments),
    Parity(parity::Arguments),
    Bench(bench::Arguments),
    Inspect(inspect::Arguments),
    Backends(backends::Arguments),
    Doctor(doctor::Arguments),
    #[cfg(feature = "manual")]
    Completions(completions::Arguments),
    #[cfg(feature = "manual")]
    Man(man::Arguments),
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Predict(arguments) => predict::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Parity(arguments) => parity::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Backends(arguments) => backends::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        #[cfg(feature = "manual")]
        Command::Completions(arguments) => completions::run(&arguments),
        #[cfg(feature = "manual")]
        Command::Man(arguments) => man::run(&arguments),
    }
}

fn main() -> ExitCode {
    run(Cli::parse().command).map_or_else(text::failure, |()| ExitCode::SUCCESS)
}
