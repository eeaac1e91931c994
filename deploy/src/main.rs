//! `deploy`: runs an exported image classifier and says what really runs.

mod command;

#[cfg(feature = "manual")]
use clap::CommandFactory;
use clap::{Parser, Subcommand};
#[cfg(feature = "adopt")]
use command::adopt;
#[cfg(feature = "serve")]
use command::serve;
#[cfg(feature = "watch")]
use command::watch;
use command::{backends, bench, doctor, eval, inspect, parity, predict};
#[cfg(feature = "manual")]
use deploy::manual;
use deploy::{arguments, machine, text};
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
    #[cfg(feature = "watch")]
    Watch(watch::Arguments),
    #[cfg(feature = "serve")]
    Serve(serve::Arguments),
    Eval(eval::Arguments),
    Parity(parity::Arguments),
    Bench(bench::Arguments),
    Inspect(inspect::Arguments),
    #[cfg(feature = "adopt")]
    Adopt(Box<adopt::Arguments>),
    Backends(backends::Arguments),
    Doctor(doctor::Arguments),
    /// Prints a script that makes a shell complete commands, flags and values
    #[cfg(feature = "manual")]
    #[command(after_help = format!("{}\n\nThe Debian package installs those of bash, zsh and fish.", manual::completions_examples("deploy")))]
    Completions(manual::Completions),
    /// Writes the manual: one page per command into a folder, or the first page to standard output
    #[cfg(feature = "manual")]
    #[command(after_help = manual::pages_examples("deploy", "predict"))]
    Man(manual::Pages),
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Predict(arguments) => predict::run(&arguments),
        #[cfg(feature = "watch")]
        Command::Watch(arguments) => watch::run(&arguments),
        #[cfg(feature = "serve")]
        Command::Serve(arguments) => serve::run(arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Parity(arguments) => parity::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        #[cfg(feature = "adopt")]
        Command::Adopt(arguments) => adopt::run(&arguments),
        Command::Backends(arguments) => backends::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        #[cfg(feature = "manual")]
        Command::Completions(arguments) => arguments.run(Cli::command()),
        #[cfg(feature = "manual")]
        Command::Man(arguments) => arguments.run(Cli::command()),
    }
}

fn main() -> ExitCode {
    machine::save_address_space();
    run(arguments::parse::<Cli>().command).map_or_else(text::failure, |()| ExitCode::SUCCESS)
}
