//! `deploy inspect`: what is in this file?

use super::text::{counted, fields, grouped, printable};
use super::{Format, ModelFile, print, print_json};
use anyhow::{Context, Result};
use clap::Args;
use models::card::{Calibration, Content, ModelCard, Polarity, Takes};
use models::cost;
use models::onnx::proto::ModelProto;
use models::onnx::{self, Signature, TensorInfo};
use serde::Serialize;
use std::collections::BTreeMap;

/// Most labels shown as text.
const LABELS: usize = 20;

/// Shows what is in a model file, without running it
#[derive(Args)]
#[command(after_help = "Example:\n  deploy inspect --model model.onnx")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelFile,

    /// Also show what ONNX Runtime makes of the graph on this processor: the operators that really run
    #[cfg(feature = "ort")]
    #[arg(long)]
    rewritten: bool,

    /// For people, or one document for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The document that `--format json` prints.
#[derive(Serialize)]
struct Document {
    model: String,
    /// Size of the file.
    bytes: usize,
    producer: String,
    ir_version: i64,
    opset: Option<i64>,
    /// Numbers in the initialisers.
    parameters: u64,
    /// Multiply-adds for one picture, of the network that the card describes.
    multiply_adds: Option<u64>,
    #[serde(flatten)]
    signature: Signature,
    nodes: usize,
    /// How many nodes of each operator.
    operators: BTreeMap<String, usize>,
    /// The same after ONNX Runtime's rewrites, if asked for.
    rewritten: Option<BTreeMap<String, usize>>,
    card: Option<ModelCard>,
    /// Why the file's card cannot be used.
    card_error: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let (name, bytes) = arguments.model.read()?;
    let model = onnx::parse(&bytes).with_context(|| format!("{name} cannot be used"))?;
    let document = inspect(name, bytes.len(), &model)?;
    #[cfg(feature = "ort")]
    let document = if arguments.rewritten {
        let rewritten = deploy::backend::ort::rewritten(&document.model, &bytes)?;
        Document { rewritten: Some(operators(&rewritten)), ..document }
    } else {
        document
    };
    match arguments.format {
        Format::Text => print(&text(&document))?,
        Format::Json => print_json(&document)?,
    };
    Ok(())
}

fn inspect(name: String, bytes: usize, model: &ModelProto) -> Result<Document> {
    let operators = operators(model);
    // To look at a file whose card is broken is what this command is for.
    let (card, card_error) = match ModelCard::of(model) {
        Ok(card) => (card, None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    Ok(Document {
        model: name,
        bytes,
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().to_owned(),
        ir_version: model.ir_version,
        opset: onnx::opset(model),
        parameters: onnx::parameters(model),
        multiply_adds: card.as_ref().map(|card| cost::of(&card.architecture.layers()).multiply_adds),
        signature: onnx::signature(model)?,
        nodes: operators.values().sum(),
        operators,
        rewritten: None,
        card,
        card_error,
    })
}

/// How many nodes of each operator a graph has.
fn operators(model: &ModelProto) -> BTreeMap<String, usize> {
    let mut operators = BTreeMap::new();
    for node in model.graph.iter().flat_map(|graph| &graph.node) {
        *operators.entry(node.op_type.clone()).or_default() += 1;
    }
    operators
}

/// Such as `60: Conv 27, Clip 27, …`, the most frequent first.
fn counts(operators: &BTreeMap<String, usize>) -> String {
    let mut sorted: Vec<_> = operators.iter().collect();
    sorted.sort_by_key(|&(name, &count)| (std::cmp::Reverse(count), name));
    let counts: Vec<_> = sorted.iter().map(|(name, count)| format!("{} {count}", printable(name))).collect();
    format!("{}: {}", operators.values().sum::<usize>(), counts.join(", "))
}

fn text(document: &Document) -> String {
    let tensors = |tensors: &[TensorInfo]| {
        tensors.iter().map(|tensor| printable(&tensor.to_string())).collect::<Vec<_>>().join("\n")
    };
    let unknown = || "not told".to_owned();
    let mut graph = vec![
        ("model", document.model.clone()),
        ("size", format!("{} bytes", grouped(document.bytes as u64))),
        ("producer", if document.producer.is_empty() { unknown() } else { printable(&document.producer) }),
        ("ONNX", {
            let opset = document.opset.map_or_else(unknown, |opset| opset.to_string());
            format!("opset {opset}, IR version {}", document.ir_version)
        }),
        ("inputs", tensors(&document.signature.inputs)),
        ("outputs", tensors(&document.signature.outputs)),
        ("parameters", grouped(document.parameters)),
        ("nodes", counts(&document.operators)),
    ];
    if let Some(rewritten) = &document.rewritten {
        graph.push(("in ort", counts(rewritten)));
    }
    let graph = fields(&graph);
    let card = match (&document.card, &document.card_error) {
        (Some(card), _) => format!("Model card\n{}", card_fields(card)),
        (None, Some(error)) => format!("Model card: {error}\n"),
        (None, None) => "Model card: none\n".to_owned(),
    };
    format!("{graph}\n{card}")
}

fn card_fields(card: &ModelCard) -> String {
    let (architecture, input, training) = (&card.architecture, &card.input, &card.training);
    let mut labels: Vec<_> = card.labels.iter().take(LABELS).map(|label| printable(label)).collect();
    if card.labels.len() > LABELS {
        labels.push(format!("… ({} in all)", card.labels.len()));
    }
    let content = match input.content {
        Content::Digit { polarity: Polarity::LightOnDark } => "one digit, light on dark",
        Content::Digit { polarity: Polarity::DarkOnLight } => "one digit, dark on light",
        Content::Picture => "any picture",
    };
    let numbers = |numbers: &[f32]| numbers.iter().map(f32::to_string).collect::<Vec<_>>().join(" ");
    let percent = |share: Option<f64>| share.map_or("not told".to_owned(), |share| format!("{:.2} %", share * 100.0));
    fields(&[
        ("architecture", {
            let (kind, width, resolution) = (architecture.kind, architecture.width, architecture.resolution);
            let cost = grouped(cost::of(&architecture.layers()).multiply_adds);
            let stride = architecture.stem_stride;
            format!("{kind}, width {width}, {resolution} px, first stride {stride}: {cost} multiply-adds a picture")
        }),
        ("labels", labels.join(", ")),
        ("input", {
            let (channels, height, width) = (input.channels, input.height, input.width);
            format!("{} {} {} [{channels}, {height}, {width}]: {content}", input.name, input.element, input.layout)
        }),
        (
            "graph takes",
            match card.takes {
                Takes::Pictures => "the pictures as they are".to_owned(),
                Takes::Normalised => "floats, normalised and resized by the caller (deploy does)".to_owned(),
            },
        ),
        ("precision", {
            let ranges = card.calibration.map(|Calibration { images, observer }| {
                format!(", ranges from {} ({observer})", counted(images, "training image"))
            });
            format!("{}{}: {}", card.precision, ranges.unwrap_or_default(), card.precision.purpose())
        }),
        ("mean, std", format!("{}, {}", numbers(&card.preprocessing.mean), numbers(&card.preprocessing.std))),
        ("trained on", format!("{}, {}", printable(&training.data_set), counted(training.images, "image"))),
        ("recipe", {
            let epochs = counted(training.epochs, "epoch");
            format!("{}, {epochs}, seed {}", printable(&training.recipe), training.seed)
        }),
        ("trained with", printable(&training.trained_with)),
        ("accuracy", {
            let (held_out, test) = (percent(training.held_out_accuracy), percent(training.test_accuracy));
            format!("held out {held_out}, test {test}")
        }),
    ])
}
