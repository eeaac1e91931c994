//! `train eval`.

use super::{Format, data};
use crate::checkpoint::Checkpoint;
use crate::data::Images;
use crate::report::Figures;
use crate::{device, run};
use anyhow::{Context, Result};
use clap::Args;
use deploy::backend::Device;
use deploy::text;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measure a checkpoint on the test set: accuracy, confusion, precision and recall, calibration, worst mistakes
#[derive(Args)]
#[command(
    after_help = "Examples:\n  train eval                              the newest run\n  train eval runs/quick/last.safetensors  its last epoch instead of the best"
)]
pub(super) struct Arguments {
    /// A run's folder or a checkpoint [default: the newest run in runs/]
    #[arg(value_name = "RUN")]
    run: Option<PathBuf>,
    /// Folder of the data set whose test images are used [default: the run's]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// auto (CUDA if it works, otherwise the CPU), cpu, cuda or cuda:N
    #[arg(long, value_name = "NAME", default_value_t = Device::Auto, value_parser = super::devices(), hide_possible_values = true)]
    device: Device,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// The document that `--format json` prints.
#[derive(Serialize)]
struct Document {
    checkpoint: PathBuf,
    #[serde(flatten)]
    figures: Figures,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let device = device::choose(self.device)?;
        let path = run::checkpoint_path(self.run.as_deref())?;
        let checkpoint = Checkpoint::read(&path)?;
        let test = Images::on_device(&data::test_set(&checkpoint, self.data.as_deref())?, device)?;
        let figures =
            Figures::measure(&checkpoint, &test).with_context(|| format!("cannot measure {}", path.display()))?;
        match self.format {
            Format::Text => text::print(&format!("{}\n\n{}", path.display(), figures.to_text()))?,
            Format::Json => text::print_json(&Document { checkpoint: path, figures })?,
        };
        Ok(ExitCode::SUCCESS)
    }
}
