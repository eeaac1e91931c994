//! `train export`.

use super::{Format, data};
use crate::checkpoint::Checkpoint;
use crate::{export, run};
use anyhow::Result;
use clap::Args;
use deploy::text;
use std::path::PathBuf;
use std::process::ExitCode;

/// Write a checkpoint as a self-contained ONNX file, proven in every runtime before it has its name
#[derive(Args)]
pub(super) struct Arguments {
    /// A run's folder or a checkpoint [default: the newest run in runs/]
    #[arg(value_name = "RUN")]
    run: Option<PathBuf>,
    /// Where to write [default: model.onnx beside the checkpoint]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    overwrite: bool,
    /// Folder of the data set whose test images the check uses [default: the run's]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let path = run::checkpoint_path(self.run.as_deref())?;
        let checkpoint = Checkpoint::read(&path)?;
        let test = data::test_set(&checkpoint, self.data.as_deref())?;
        let output = self.output.unwrap_or_else(|| path.with_file_name("model.onnx"));
        let report = export::export(&checkpoint, &test, &output, self.overwrite)?;
        if self.format == Format::Json {
            let document = serde_json::json!({ "checkpoint": path, "output": output, "check": report });
            text::print_json(&document)?;
            return Ok(ExitCode::SUCCESS);
        }
        let bytes = std::fs::metadata(&output).map_or(0, |metadata| metadata.len());
        text::print(&format!(
            "{} ({}, epoch {}) to {} ({} bytes)\n\n{}",
            path.display(),
            checkpoint.metadata.architecture,
            checkpoint.metadata.history.len(),
            output.display(),
            text::grouped(bytes),
            report.to_text()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
