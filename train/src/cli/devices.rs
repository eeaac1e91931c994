//! `train devices`.

use super::Format;
use crate::device;
use anyhow::Result;
use clap::Args;
use deploy::text;
use std::process::ExitCode;

/// Show the devices of this machine, and why CUDA cannot be used if it cannot
#[derive(Args)]
pub(super) struct Arguments {
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let devices = device::survey();
        if self.format == Format::Json {
            text::print_json(&devices)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut fields = vec![
            ("libtorch", format!("{}, {} set", devices.libtorch, devices.installed)),
            ("cpu", text::counted(devices.threads, "thread")),
        ];
        for cuda in &devices.cuda {
            let gib = cuda.memory as f64 / f64::from(1 << 30);
            fields.push(("cuda", format!("cuda:{}  {}, {gib:.1} GiB", cuda.index, cuda.name)));
        }
        if let Some(version) = &devices.cudnn {
            fields.push(("cudnn", version.clone()));
        }
        if let Some(reason) = &devices.why_no_cuda {
            fields.push(("cuda", format!("unavailable: {reason}")));
        }
        text::print(&text::fields(&fields))?;
        Ok(ExitCode::SUCCESS)
    }
}
