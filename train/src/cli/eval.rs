//! `train eval`.

use super::{Format, data};
use crate::checkpoint::Checkpoint;
use crate::data::Images;
use crate::report::Figures;
use crate::{device, run};
use anyhow::{Context, Result};
use clap::Args;
use deploy::backend::Device;
use deploy::{mistakes, text};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Evaluate a checkpoint on the test set: accuracy, confusion, precision and recall, calibration, worst mistakes
#[derive(Args)]
#[command(
    after_help = "If the folder has splits (train and test, by their usual names), the test split is evaluated. Otherwise all its \
    images are, or, if the run was trained on this folder, only the fifth that was kept for the test. Classes are \
    matched by name.\n\nExamples:\n  train eval                              the newest run\n  train eval runs/quick/last.safetensors  its last epoch instead of the best\n  train eval --data photos --save-mistakes wrong"
)]
pub(super) struct Arguments {
    /// A run's folder or a checkpoint [default: the newest run in runs/]
    #[arg(value_name = "RUN")]
    run: Option<PathBuf>,
    /// Folder with labelled images: IDX files, or a sub-folder of images per class [default: the run's]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// auto (CUDA if it works, otherwise the CPU), cpu, cuda or cuda:N
    #[arg(long, value_name = "NAME", default_value_t = Device::Auto, value_parser = super::devices(), hide_possible_values = true)]
    device: Device,
    /// Copy the misclassified images into this new folder, as TRUE-CLASS/ANSWER-NAME
    #[arg(long, value_name = "DIR")]
    save_mistakes: Option<PathBuf>,
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
        let folder = self.data.as_deref().unwrap_or(&checkpoint.metadata.data.folder);
        if let Some(target) = &self.save_mistakes {
            mistakes::check_target(target, folder)?;
        }
        let tests = data::test_set(&checkpoint, self.data.as_deref())?;
        let (test, line) = (Images::on_device(&tests.set, device)?, tests.line(tests.set.len()));
        let figures =
            data::with_bar("evaluating", |progress| Figures::measure(&checkpoint, &test, None, &line, progress))
                .with_context(|| format!("cannot evaluate {}", path.display()))?;
        if let Some(target) = &self.save_mistakes {
            data::say_line(&mistakes::save_all(&figures.mistakes, &tests.set, target)?);
        }
        match self.format {
            Format::Text => text::print(&format!("{}\n\n{}", path.display(), figures.to_text()))?,
            Format::Json => text::print_json(&Document { checkpoint: path, figures })?,
        };
        Ok(ExitCode::SUCCESS)
    }
}
