//! `train`: trains MobileNetV1 and exports it to ONNX.

use clap::Parser;
use std::process::ExitCode;
use train::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run().unwrap_or_else(deploy::text::failure)
}
