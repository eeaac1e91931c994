//! `train summary`.

use super::Format;
use crate::recipe::keys;
use crate::summary::Summary;
use anyhow::Result;
use clap::Args;
use deploy::arguments::whole;
use deploy::text;
use models::architecture::{Architecture, Kind, MAX_CHANNELS, MAX_CLASSES};
use std::process::ExitCode;

/// Show a network's layers: shapes, parameters, multiply-adds, and what depthwise convolutions save
#[derive(Args)]
#[command(after_help = "Example, the paper's network:\n  train summary --channels 3 --classes 1000 --resolution 224")]
pub(super) struct Arguments {
    #[arg(long, value_name = "NAME", default_value_t = Kind::MobilenetV1, help = keys::description("network.arch"), value_parser = super::architectures(), hide_possible_values = true)]
    arch: Kind,
    #[arg(long, value_name = "ALPHA", default_value_t = 1.0, help = keys::description("network.width"), value_parser = keys::number("network.width"))]
    width: f64,
    #[arg(long, value_name = "PIXELS", default_value_t = 224, help = keys::description("network.resolution"), value_parser = keys::whole::<usize>("network.resolution"))]
    resolution: usize,
    #[arg(long, value_name = "N", default_value_t = 2, help = keys::description("network.stem_stride"), value_parser = keys::whole::<usize>("network.stem_stride"))]
    stem_stride: usize,
    /// Channels of the input: 1 for grey images, 3 for colour
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<usize>(1..=MAX_CHANNELS as u64))]
    channels: usize,
    /// Number of classes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = whole::<usize>(2..=MAX_CLASSES as u64))]
    classes: usize,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let Self { arch: kind, width, resolution, channels, classes, stem_stride, format } = self;
        let architecture = Architecture { kind, width, resolution, channels, classes, stem_stride };
        architecture.validate()?;
        let summary = Summary::new(&architecture);
        match format {
            Format::Text => text::print(&summary.to_text())?,
            Format::Json => text::print_json(&summary)?,
        };
        Ok(ExitCode::SUCCESS)
    }
}
