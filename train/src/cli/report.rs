//! `train report`.

use super::data;
use crate::checkpoint::Checkpoint;
use crate::data::Images;
use crate::run::Run;
use crate::{device, report};
use anyhow::Result;
use clap::Args;
use deploy::backend::Device;
use deploy::text;
use std::path::PathBuf;
use std::process::ExitCode;

/// Write a run's report.html again: curves, confusion matrix, calibration and the worst mistakes on one page
#[derive(Args)]
pub(super) struct Arguments {
    /// A run's folder [default: the newest run in runs/]
    #[arg(value_name = "RUN")]
    run: Option<PathBuf>,
    /// Folder with labelled images: IDX files, or a sub-folder of images per class [default: the run's]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// auto (CUDA if it works, otherwise the CPU), cpu, cuda or cuda:N
    #[arg(long, value_name = "NAME", default_value_t = Device::Auto, value_parser = super::devices(), hide_possible_values = true)]
    device: Device,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let device = device::choose(self.device)?;
        let run = match &self.run {
            Some(folder) => Run::open(folder)?,
            None => Run::newest()?,
        };
        let checkpoint = Checkpoint::read(&run.last())?;
        let tests = data::test_set(&checkpoint, self.data.as_deref())?;
        let (test, line) = (Images::on_device(&tests.set, device)?, tests.line(tests.set.len()));
        let path = report::write(&run, &test, held_out(&checkpoint, device).as_ref(), &line)?;
        text::print(&format!("{}\n", path.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The run's held-out images, if there are any and they are still where they were. A note says why not.
fn held_out(checkpoint: &Checkpoint, device: tch::Device) -> Option<Images> {
    if checkpoint.metadata.data.held_out == 0 {
        return None;
    }
    match data::training(checkpoint, None, device) {
        Ok(data) => data.held_out,
        Err(error) => {
            data::say_line(&format!("note: the page does not show the calibration of an exported file: {error:#}"));
            None
        }
    }
}
