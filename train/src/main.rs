//! `train`: trains MobileNetV1 and exports it to ONNX.

use deploy::arguments;
use std::process::ExitCode;
use train::cli::Cli;

fn main() -> ExitCode {
    arguments::parse::<Cli>().run().unwrap_or_else(deploy::text::failure)
}
