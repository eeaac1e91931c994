//! `deploy parity`: do two engines give the same answers, and if not, where do they differ?
//!
//! `pictures` reads the images, `answers` compares the answers to them, and `layers` compares the graph node by node.

mod answers;
mod layers;
mod pictures;

use super::text::{counted, fields, table};
use super::{Format, ModelOperand, ModelSource, names, open_in, print, print_json, progress, say, usage};
use anyhow::{Result, ensure};
use clap::{Args, ValueHint};
use deploy::arguments::{number, whole};
use deploy::backend::{Engine, Runtime};
use deploy::named::Named;
use serde::Serialize;
use std::ops::Bound;
use std::path::PathBuf;

/// Compares two engines on the same images; --layers shows where in the graph they first differ
#[derive(Args)]
#[command(after_help = "deploy backends lists and describes the engines. tract runs with our operators, so compare \
    tract-stock too.\n\n\
    The exit code is 1 if logits differ by more than rounding, or an answer beyond a near tie; with --layers, if any \
    tensor differs by more than rounding.\n\n\
    Examples:\n  \
    deploy parity model.onnx                     tract against ONNX Runtime, on the whole test set\n  \
    deploy parity model.onnx --layers            node by node, on 4 images\n  \
    deploy parity --pictures photos --save-worst worst\n  \
    deploy parity model.onnx --compared tract-stock\n  \
    deploy parity int8.onnx --compared ort-as-written\n  \
    deploy parity model.onnx --compared ort-cuda")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelOperand,

    #[arg(
        long,
        value_name = "ENGINE",
        default_value = "ort",
        value_parser = Named::of::<Engine>(names([])),
        hide_possible_values = true,
        help = format!("The engine whose answers are the reference: {}", Engine::names())
    )]
    reference: Engine,

    /// The engine that is compared with it
    #[arg(
        long,
        value_name = "ENGINE",
        default_value = "tract",
        value_parser = Named::of::<Engine>(names([])),
        hide_possible_values = true
    )]
    compared: Engine,

    #[command(flatten)]
    pictures: pictures::Arguments,

    /// Largest difference that counts as rounding, and a tenth of it on average: between logits [default: 1e-3 and
    /// 1e-4; int8: 0.3 and 0.02]; with --layers, within a tensor as a share of its range [default: 1e-4 and 1e-5; int8:
    /// 0.25 and 0.005]
    #[arg(long, value_name = "T", value_parser = number::<f32>((Bound::Excluded(0.0), Bound::Unbounded)))]
    tolerance: Option<f32>,

    /// List the K images whose logits differ most [default: 5]
    #[arg(long, value_name = "K", value_parser = whole::<u16>(1..=10_000), conflicts_with = "layers")]
    worst: Option<u16>,

    /// Write these images as PNG files into a folder, as the network saw them
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "layers")]
    save_worst: Option<PathBuf>,

    /// Compare every tensor of the graph, in order, and show where the engines first differ; ONNX Runtime then runs the
    /// graph as written
    #[arg(long)]
    layers: bool,

    /// For people, or one document for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// An engine and the runtime that really ran.
#[derive(Serialize)]
struct Ran {
    engine: Engine,
    #[serde(flatten)]
    runtime: Runtime,
}

impl Ran {
    fn line(&self) -> String {
        format!("{}: {}", self.engine, self.runtime)
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let (reference, compared) = (arguments.reference, arguments.compared);
    ensure!(reference != compared, usage(format!("--reference and --compared are both {reference}: name two engines")));
    if arguments.layers {
        let shown = reference.for_layers();
        ensure!(
            shown != compared.for_layers(),
            usage(format!("with --layers, {reference} and {compared} both run as {shown}: name other engines"))
        );
        layers::run(arguments)
    } else {
        answers::run(arguments)
    }
}
