//! `train summary`.

use super::Format;
use crate::summary::Summary;
use anyhow::Result;
use clap::Args;
use deploy::text;
use models::architecture::{Architecture, Kind};
use std::process::ExitCode;

/// Show a network's layers: shapes, parameters, multiply-adds, and what standard convolutions would cost
#[derive(Args)]
#[command(after_help = "Example, the paper's network:\n  train summary --channels 3 --classes 1000 --resolution 224")]
pub(super) struct Arguments {
    /// Body: mobilenet-v1 (the paper's) or tutorial
    #[arg(long, value_name = "NAME", default_value_t = Kind::MobilenetV1)]
    arch: Kind,
    /// Width multiplier, above 0 and at most 1
    #[arg(long, value_name = "ALPHA", default_value_t = 1.0)]
    width: f64,
    /// Height and width of the network's input in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 224)]
    resolution: usize,
    /// Channels of the input
    #[arg(long, value_name = "N", default_value_t = 1)]
    channels: usize,
    /// Classes
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// Stride of the first convolution: 2 as in the paper, or 1 for tiny pictures
    #[arg(long, value_name = "N", default_value_t = 2)]
    stem_stride: usize,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let Self { arch: kind, width, resolution, channels, classes, stem_stride, format } = self;
        let architecture = Architecture { kind, width, resolution, channels, classes, stem_stride };
        architecture.validate()?;
        let summary = Summary::of(&architecture);
        match format {
            Format::Text => text::print(&summary.to_text())?,
            Format::Json => text::print_json(&summary)?,
        };
        Ok(ExitCode::SUCCESS)
    }
}
