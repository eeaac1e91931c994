//! `train`: trains MobileNetV1 and exports it to ONNX.

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use train::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run().unwrap_or_else(|error| {
        // A closed standard error is no reason to panic.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}
