//! `deploy parity`: do two engines give the same answers, and if not, where do they differ?
//!
//! `images` reads the images, `answers` compares the answers to them (`text` prints that), and `layers` compares the
//! graph node by node.

mod answers;
mod images;
mod layers;
mod text;

use super::text::{counted, fields, table};
use super::{
    Format, ModelOperand, ModelSource, listed, names, open_in, print, print_json, progress, say, say_notes, usage,
};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueHint};
use deploy::arguments::{number, whole};
use deploy::backend::{Engine, Runtime};
use deploy::named::Named;
use serde::Serialize;
use std::ops::Bound;
use std::path::PathBuf;

/// Compares engines on the same images; --layers shows where in the graph two of them first differ
#[derive(Args)]
#[command(
    after_help = "deploy backends lists and describes the engines: tract runs with our operators, tract-stock is \
    tract as released.\n\n\
    The table shows how far logits and probabilities differ, and how many answers changed: in all, and beyond a near \
    tie, where rounding cannot be the reason. The exit code is 1 if logits differ by more than rounding, or an answer \
    beyond a near tie; with --layers, if any tensor differs by more than rounding.\n\n\
    Examples:\n  \
    deploy parity model.onnx                     every engine against ONNX Runtime, on the whole test set\n  \
    deploy parity model.onnx --layers            node by node, on 4 images\n  \
    deploy parity --pictures photos --save-worst worst\n  \
    deploy parity model.onnx --compared tract-stock\n  \
    deploy parity int8.onnx --compared ort-as-written\n  \
    deploy parity model.onnx --compared ort-cuda"
)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelOperand,

    #[arg(
        long,
        value_name = "ENGINE",
        default_value = "ort",
        value_parser = Named::new::<Engine>(names([])),
        hide_possible_values = true,
        help = format!("The engine whose answers are the reference: {}", Engine::names())
    )]
    reference: Engine,

    /// The engines that are compared with it, such as tract,tract-stock [default: all that are available; with --layers,
    /// which compares one: tract]
    #[arg(long, value_name = "LIST", value_parser = Named::new::<String>(names(["all"])), hide_possible_values = true)]
    compared: Option<String>,

    #[command(flatten)]
    images: images::Arguments,

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

    /// Text for people, or one JSON document for programs
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
    let reference = arguments.reference;
    let default = if arguments.layers { "tract" } else { "all" };
    let list = arguments.compared.as_deref().unwrap_or(default);
    let (mut compared, notes) = listed("--compared", list)?;
    if list == "all" {
        compared.retain(|&engine| engine != reference);
    }
    ensure!(
        !compared.contains(&reference),
        usage(format!("--reference and --compared are both {reference}: name two engines"))
    );
    let first = *compared.first().with_context(|| format!("only {reference} is available: see deploy backends"))?;
    say_notes(&notes);
    if !arguments.layers {
        return answers::run(arguments, reference, &compared);
    }
    ensure!(compared.len() == 1, usage("--layers compares one engine with the reference: name it with --compared"));
    let shown = reference.for_layers();
    ensure!(
        shown != first.for_layers(),
        usage(format!("with --layers, {reference} and {first} both run as {shown}: name other engines"))
    );
    layers::run(arguments, [reference, first])
}
