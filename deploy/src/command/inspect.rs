//! `deploy inspect`: what is in this file?

use super::text::{self, counted, fields, grouped, printable, printable_lines};
use super::{Format, ModelOperand, ModelSource, print, print_json};
use anyhow::{Context, Result};
use clap::Args;
use deploy::model::Scored;
use models::card::{Adopted, Content, GraphInput, METADATA_KEY, ModelCard, Polarity, RangeCalibration};
use models::cost;
use models::onnx::proto::{FunctionProto, ModelProto, NodeProto};
use models::onnx::{self, Signature, TensorInfo, external};
use serde::Serialize;
use std::collections::BTreeMap;

/// Most labels in the text output.
const LABELS: usize = 20;

/// Most entries of metadata in the text output, and most characters of each.
const METADATA: (usize, usize) = (10, 60);

/// Shows what a model file contains and, if it cannot run, why
#[derive(Args)]
#[command(after_help = "\
Works for any ONNX file. A file without a model card is run on two images to find out whether its scores are logits \
or probabilities.

Example:
  deploy inspect model.onnx")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelOperand,

    /// Also show the operators that ONNX Runtime really runs on this processor, after its optimisations
    #[cfg(feature = "ort")]
    #[arg(long)]
    rewritten: bool,

    /// Text for people, or one JSON document for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The document that `--format json` prints.
#[derive(Serialize)]
struct Document {
    model: String,
    /// Size of the file in bytes.
    bytes: usize,
    /// Other files in which it keeps tensors.
    external: Vec<String>,
    producer: String,
    ir_version: i64,
    /// Version of the standard opset.
    opset: Option<i64>,
    /// Versions of all operator sets by domain; the standard one is `ai.onnx`.
    opsets: BTreeMap<String, i64>,
    /// Number of values in the initialisers.
    parameters: u64,
    /// Multiply-adds per image of the network that the card describes.
    multiply_adds: Option<u64>,
    #[serde(flatten)]
    signature: Signature,
    nodes: usize,
    /// Number of nodes per operator. Non-standard operators are named with their domain.
    operators: BTreeMap<String, usize>,
    /// Functions defined in the file.
    functions: Vec<String>,
    /// Number of nodes per operator after ONNX Runtime's optimisations, if asked for.
    rewritten: Option<BTreeMap<String, usize>>,
    /// The file's metadata, without the card.
    metadata: BTreeMap<String, String>,
    card: Option<ModelCard>,
    /// Why the card cannot be used.
    card_error: Option<String>,
    /// What the scores are, if this program can run the model.
    scores: Option<Scored>,
    /// Why this program cannot run the model.
    problem: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let (name, bytes) = arguments.model.read_file()?;
    let model = onnx::parse(&bytes).with_context(|| format!("{name} cannot be used"))?;
    let document = inspect(name, bytes.len(), &model)?;
    let whole = arguments.model.complete(bytes);
    #[cfg(feature = "ort")]
    let document = match &whole {
        Ok(whole) if arguments.rewritten => {
            let rewritten = deploy::backend::ort::rewritten(&document.model, whole)?;
            Document { rewritten: Some(operators(&rewritten)), ..document }
        }
        _ => document,
    };
    let scores = whole.and_then(|whole| Scored::new(&document.model, &whole));
    let document = match scores {
        Ok(scores) => Document { scores: Some(scores), ..document },
        Err(error) => Document { problem: Some(format!("{error:#}")), ..document },
    };
    match arguments.format {
        Format::Text => print(&text(&document))?,
        Format::Json => print_json(&document)?,
    };
    Ok(())
}

fn inspect(name: String, bytes: usize, model: &ModelProto) -> Result<Document> {
    let operators = operators(model);
    // This command must show files with a broken card too.
    let (card, card_error) = match ModelCard::from_model(model) {
        Ok(card) => (card, None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let standard = |domain: &str| if domain.is_empty() { "ai.onnx".to_owned() } else { domain.to_owned() };
    let metadata = model.metadata_props.iter().filter(|entry| entry.key != METADATA_KEY);
    let function = |function: &FunctionProto| qualified(&function.domain, &function.name);
    Ok(Document {
        model: name,
        bytes,
        external: external::files(model),
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().to_owned(),
        ir_version: model.ir_version,
        opset: onnx::opset(model),
        opsets: model.opset_import.iter().map(|opset| (standard(&opset.domain), opset.version)).collect(),
        parameters: onnx::parameters(model),
        multiply_adds: card.as_ref().and_then(|card| Some(cost::count(&card.network().ok()?.layers()).multiply_adds)),
        signature: onnx::signature(model)?,
        nodes: operators.values().sum(),
        operators,
        functions: model.functions.iter().map(function).collect(),
        rewritten: None,
        metadata: metadata.map(|entry| (entry.key.clone(), entry.value.clone())).collect(),
        card,
        card_error,
        scores: None,
        problem: None,
    })
}

/// An operator's name, with its domain unless it is standard.
fn qualified(domain: &str, operator: &str) -> String {
    match domain {
        "" | "ai.onnx" => operator.to_owned(),
        domain => format!("{domain}.{operator}"),
    }
}

/// Counts a graph's nodes per operator.
fn operators(model: &ModelProto) -> BTreeMap<String, usize> {
    let mut operators = BTreeMap::new();
    for node in model.graph.iter().flat_map(|graph| &graph.node) {
        let NodeProto { domain, op_type, .. } = node;
        *operators.entry(qualified(domain, op_type)).or_default() += 1;
    }
    operators
}

/// Formats counts, most frequent first: `60: Conv 27, Clip 27, …`.
fn counts(operators: &BTreeMap<String, usize>) -> String {
    let mut sorted: Vec<_> = operators.iter().collect();
    sorted.sort_by_key(|&(name, &count)| (std::cmp::Reverse(count), name));
    let counts: Vec<_> = sorted.iter().map(|(name, count)| format!("{} {count}", printable(name))).collect();
    format!("{}: {}", operators.values().sum::<usize>(), counts.join(", "))
}

/// Formats metadata, one entry per line: `author: somebody`.
fn metadata(entries: &BTreeMap<String, String>) -> String {
    let (most, longest) = METADATA;
    let line = |(key, value): (&String, &String)| {
        let short: String = value.chars().take(longest).collect();
        printable(&format!("{key}: {short}{}", if short.len() < value.len() { "…" } else { "" }))
    };
    let mut lines: Vec<_> = entries.iter().take(most).map(line).collect();
    if entries.len() > most {
        lines.push(format!("… ({} in all)", entries.len()));
    }
    lines.join("\n")
}

fn text(document: &Document) -> String {
    let tensors = |tensors: &[TensorInfo]| {
        tensors.iter().map(|tensor| printable(&tensor.to_string())).collect::<Vec<_>>().join("\n")
    };
    let unknown = || "unknown".to_owned();
    let mut graph = vec![
        ("model", document.model.clone()),
        ("size", {
            let files = document.external.iter().map(|file| format!(", and tensors in {}", printable(file)));
            format!("{} bytes{}", grouped(document.bytes as u64), files.collect::<String>())
        }),
        ("producer", if document.producer.is_empty() { unknown() } else { printable(&document.producer) }),
        ("ONNX", {
            let others = document.opsets.iter().filter(|(domain, _)| *domain != "ai.onnx");
            let others = others.map(|(domain, version)| format!(", {} {version}", printable(domain)));
            let opset = document.opset.map_or_else(unknown, |opset| opset.to_string());
            format!("opset {opset}{}, IR version {}", others.collect::<String>(), document.ir_version)
        }),
        ("inputs", tensors(&document.signature.inputs)),
        ("outputs", tensors(&document.signature.outputs)),
        ("parameters", grouped(document.parameters)),
        ("nodes", counts(&document.operators)),
    ];
    if !document.functions.is_empty() {
        graph.push(("functions", printable(&document.functions.join(", "))));
    }
    if let Some(rewritten) = &document.rewritten {
        graph.push(("in ort", counts(rewritten)));
    }
    if !document.metadata.is_empty() {
        graph.push(("metadata", metadata(&document.metadata)));
    }
    if let Some(Scored { output, holds, reason, doubt }) = &document.scores {
        let mut lines = vec![printable(&format!("'{output}' contains {holds}")), printable(reason)];
        lines.extend(doubt.map(|doubt| printable(&doubt.about(output))));
        graph.push(("scores", lines.join("\n")));
    }
    if let Some(problem) = &document.problem {
        graph.push(("cannot run", printable_lines(problem)));
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
    let input = &card.input;
    let mut labels: Vec<_> = card.labels.iter().take(LABELS).map(|label| printable(label)).collect();
    if card.labels.len() > LABELS {
        labels.push(format!("… ({} in all)", card.labels.len()));
    }
    let content = match input.content {
        Content::Digit { polarity: Polarity::LightOnDark } => "one digit, light on dark",
        Content::Digit { polarity: Polarity::DarkOnLight } => "one digit, dark on light",
        Content::Image => "any image",
    };
    let numbers = |numbers: &[f32]| numbers.iter().map(f32::to_string).collect::<Vec<_>>().join(" ");
    let percent = |share: Option<f64>| share.map_or("unknown".to_owned(), |share| format!("{:.2} %", share * 100.0));
    let architecture = card.architecture.iter().map(|architecture| {
        let (kind, width, resolution) = (architecture.kind, architecture.width, architecture.resolution);
        let cost = grouped(cost::count(&architecture.layers()).multiply_adds);
        let stride = architecture.stem_stride;
        let text =
            format!("{kind}, width {width}, {resolution} px, first stride {stride}: {cost} multiply-adds per image");
        ("architecture", text)
    });
    let mut lines: Vec<_> = architecture.collect();
    lines.extend([
        ("labels", labels.join(", ")),
        ("input", {
            let (channels, height, width) = (input.channels, input.height, input.width);
            format!("{} {} {} [{channels}, {height}, {width}]: {content}", input.name, input.element, input.layout)
        }),
        (
            "graph input",
            match card.takes {
                GraphInput::Images => "raw images".to_owned(),
                GraphInput::Normalised => "floats, normalised and resized by the caller (deploy does)".to_owned(),
            },
        ),
        ("precision", {
            let ranges = card.calibration.map(|RangeCalibration { images, observer }| {
                format!(", ranges from {} ({observer})", counted(images, "training image"))
            });
            // The advice comes from measurements of our own networks.
            let purpose =
                if card.adopted.is_some() { String::new() } else { format!(": {}", card.precision.purpose()) };
            format!("{}{}{purpose}", card.precision, ranges.unwrap_or_default())
        }),
        ("mean, std", format!("{}, {}", numbers(&card.preprocessing.mean), numbers(&card.preprocessing.std))),
    ]);
    if input.content == Content::Image {
        lines.push(("image files", format!("{}, to {}x{} px", input.resize, input.width, input.height)));
    }
    if let Some(Adopted { source, producer, described_by }) = &card.adopted {
        lines.push(("adopted from", printable(&source.to_string())));
        lines.push(("written by", printable(producer)));
        lines.push(("described by", printable(&described_by.join(", "))));
    }
    let training = card.training.iter();
    let origins = training.clone().flat_map(|training| &training.started_from);
    lines.extend(origins.map(|origin| ("starts from", printable(&origin.to_string()))));
    // Imported weights say nothing about their training.
    for training in training.clone().filter(|training| training.images > 0) {
        lines.push(("trained on", format!("{}, {}", printable(&training.data_set), counted(training.images, "image"))));
        let epochs = counted(training.epochs, "epoch");
        lines.push(("recipe", format!("{}, {epochs}, seed {}", printable(&training.recipe), training.seed)));
        let (held_out, test) = (percent(training.held_out_accuracy), percent(training.test_accuracy));
        lines.push(("accuracy", format!("held out {held_out}, test {test}")));
    }
    lines.extend(training.map(|training| ("trained with", printable(&training.trained_with))));
    lines.extend(card.confidence.iter().flat_map(text::confidence));
    fields(&lines)
}
