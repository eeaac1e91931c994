//! `deploy`: runs an exported image classifier and says what really runs.

mod command;

use clap::{Parser, Subcommand};
use command::{backends, bench, completions, doctor, eval, inspect, man, parity, predict};
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
    Completions(completions::Arguments),
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
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}

fn main() -> ExitCode {
    run(Cli::parse().command).map_or_else(text::failure, |()| ExitCode::SUCCESS)
}
