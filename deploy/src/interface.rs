//! What a model file takes and yields, as far as this program must know it to run it.
//!
//! A file with our card says so itself, and is held to it. A file without one is usable when its graph leaves no
//! choice; what was assumed is said.

use anyhow::{Context, Result, anyhow, bail, ensure};
use models::architecture::MAX_CLASSES;
use models::card::{Content, Input, LOGITS, MAX_INPUT, ModelCard, PROBABILITIES, Takes};
use models::onnx::limits::{self, Footprint, Limits};
use models::onnx::proto::{GraphProto, ModelProto};
use models::onnx::{self, Signature, TensorInfo};
use std::collections::HashSet;

/// Largest batch a file may fix.
const MAX_BATCH: usize = 1024;

/// Batches to choose from where the file leaves them open, the best first: enough pictures to keep the threads busy, few
/// enough for the memory.
const OPEN_BATCHES: [usize; 3] = [32, 8, 1];

/// A number of classes that the file leaves open, until the shapes of its graph tell it.
const UNTOLD: usize = 0;

/// What the scores of a model's output are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// Raw scores; softmax makes probabilities of them.
    Logits,
    /// Probabilities; their logarithms serve as logits.
    Probabilities,
}

/// What a model file takes and yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The pictures.
    pub input: Input,
    /// Whether the graph takes the pictures themselves.
    pub takes: Takes,
    /// Shape of one picture as the graph takes it, `[C, H, W]`.
    pub picture: [usize; 3],
    /// How many pictures the graph takes at once, if the file fixes that.
    pub batch: Option<usize>,
    /// Most pictures to run at once: what the file fixes, otherwise as many as the limits of memory and time allow.
    pub at_once: usize,
    /// Name of the output that is read, float `[N, classes]`.
    pub output: String,
    /// What that output holds.
    pub scores: Scores,
    /// Number of classes.
    pub classes: usize,
    /// What had to be assumed, for people; empty with a card.
    pub notes: Vec<String>,
}

impl Interface {
    /// Reads the interface of a model with its card, if it has one. A model that asks for more memory or time than the
    /// default [`Limits`] allow is an error.
    pub fn of(model: &ModelProto, card: Option<&ModelCard>) -> Result<Self> {
        let limits = Limits::default();
        limits::check(model, &limits)?;
        let graph = model.graph.as_ref().context("it has no graph")?;
        check(graph)?;
        let signature = onnx::signature(model)?;
        let mut interface = match card {
            Some(card) => by_card(&signature, card).context("its card and its graph contradict each other"),
            None => by_signature(graph, &signature),
        }?;
        if interface.batch.is_none() {
            // What does not grow with the batch must not hide behind it.
            Footprint::of(model, 1, &limits)?;
        }
        let batches = interface.batch.map_or(OPEN_BATCHES.to_vec(), |batch| vec![batch]);
        let footprint = interface.within(model, &batches, &limits)?;
        interface.hold_to(&footprint)?;
        Ok(interface)
    }

    /// Takes the first of these batches whose run keeps within the limits, or the last one's error.
    fn within(&mut self, model: &ModelProto, batches: &[usize], limits: &Limits) -> Result<Footprint> {
        let mut outcome = Err(anyhow!("no batch to run"));
        for &batch in batches {
            self.at_once = batch;
            outcome = Footprint::of(model, batch, limits);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Checks the shape of the output, and learns the number of classes from it.
    fn hold_to(&mut self, footprint: &Footprint) -> Result<()> {
        let (output, rows) = (&self.output, self.at_once);
        let shape = footprint.outputs.get(output).with_context(|| format!("it has no output '{output}'"))?;
        let expected = if self.classes == UNTOLD { "classes".to_owned() } else { self.classes.to_string() };
        let classes = match shape[..] {
            [found, classes] if found == rows as u64 => usize::try_from(classes).ok(),
            _ => None,
        };
        let classes = classes.filter(|&found| self.classes == UNTOLD || self.classes == found);
        let classes = classes
            .with_context(|| format!("its output '{output}' has the shape {shape:?}: expected [{rows}, {expected}]"))?;
        ensure!((1..=MAX_CLASSES).contains(&classes), "it has {classes} classes: expected 1 to {MAX_CLASSES}");
        self.classes = classes;
        Ok(())
    }
}

/// Refuses a graph that does not hold together, which runtimes meet with anything from an odd message to a panic.
fn check(graph: &GraphProto) -> Result<()> {
    let mut known: HashSet<&str> = HashSet::from([""]); // The empty name stands for an optional input left out.
    known.extend(graph.input.iter().map(|input| input.name.as_str()));
    known.extend(graph.initializer.iter().map(|tensor| tensor.name.as_str()));
    known.extend(graph.node.iter().flat_map(|node| &node.output).map(String::as_str));
    for node in &graph.node {
        for input in &node.input {
            ensure!(known.contains(input.as_str()), "its {} node needs '{input}', which nothing yields", node.op_type);
        }
    }
    for output in &graph.output {
        ensure!(
            !output.name.is_empty() && known.contains(output.name.as_str()),
            "its output '{}' is one that nothing yields",
            output.name
        );
    }
    Ok(())
}

/// Holds the graph to the card.
fn by_card(signature: &Signature, card: &ModelCard) -> Result<Interface> {
    let (input, classes) = (&card.input, card.labels.len());
    let (element, picture) = match card.takes {
        Takes::Pictures => ("uint8", [input.channels, input.height, input.width]),
        Takes::Normalised => {
            let resolution = card.architecture.resolution;
            ("float", [input.channels, resolution, resolution])
        }
    };
    let extents = picture.map(Some);
    let found = match &signature.inputs[..] {
        [found] if found.name == input.name && found.element == element && found.shape.get(1..) == Some(&extents) => {
            found
        }
        _ => {
            let [channels, height, width] = picture;
            let expected = format!("{} {element} [N, {channels}, {height}, {width}]", input.name);
            bail!("expected the one input {expected}, found {}", list(&signature.inputs))
        }
    };
    let fits = |shape: &[Option<usize>]| matches!(shape, [_, count] if count.is_none_or(|count| count == classes));
    let output = |name| {
        let usable = |output: &&TensorInfo| output.name == name && output.element == "float" && fits(&output.shape);
        signature.outputs.iter().find(usable)
    };
    let scores = match (output(LOGITS), output(PROBABILITIES)) {
        (Some(_), _) => Scores::Logits,
        (None, Some(_)) => Scores::Probabilities,
        (None, None) => bail!(
            "expected the output {LOGITS} or {PROBABILITIES}, float [N, {classes}], found {}",
            list(&signature.outputs)
        ),
    };
    Ok(Interface {
        input: input.clone(),
        takes: card.takes,
        picture,
        batch: batch(found)?,
        at_once: 1,
        output: if scores == Scores::Logits { LOGITS } else { PROBABILITIES }.to_owned(),
        scores,
        classes,
        notes: Vec::new(),
    })
}

/// Takes a file without a card for what its graph says, if that leaves no choice.
fn by_signature(graph: &GraphProto, signature: &Signature) -> Result<Interface> {
    let unusable = || {
        format!(
            "it has no model card, and without one it would have to take one input uint8 [N, C, H, W] (C 1 or 3, H and \
             W fixed) and yield one float output [N, classes], or one named {LOGITS} or {PROBABILITIES}.\n  It takes \
             {}\n  and yields {}.\n  Use a file that was exported with train export, or export this one with such a \
             signature",
            list(&signature.inputs),
            list(&signature.outputs)
        )
    };
    let [image] = &signature.inputs[..] else { bail!(unusable()) };
    let [_, Some(channels @ (1 | 3)), Some(height), Some(width)] = image.shape[..] else { bail!(unusable()) };
    ensure!(image.element == "uint8" && height > 0 && width > 0, unusable());
    for extent in [height, width] {
        ensure!(extent <= MAX_INPUT, "its input is {image}: expected at most {MAX_INPUT} rows and columns");
    }

    let usable = |output: &&TensorInfo| output.element == "float" && output.shape.len() == 2;
    let candidates: Vec<_> = signature.outputs.iter().filter(usable).collect();
    let named = |name| candidates.iter().copied().find(|output: &&TensorInfo| output.name == name);
    let only = if let [only] = candidates[..] { Some(only) } else { None };
    let output = named(LOGITS).or_else(|| named(PROBABILITIES)).or(only).with_context(unusable)?;

    let softmax = |name: &str| {
        let node = graph.node.iter().find(|node| node.output.iter().any(|output| output == name));
        node.is_some_and(|node| node.op_type == "Softmax")
    };
    let (scores, meaning) = if output.name == PROBABILITIES || softmax(&output.name) {
        (Scores::Probabilities, "probabilities")
    } else {
        (Scores::Logits, "logits")
    };
    let colour = if channels == 1 { "grey" } else { "RGB" };
    let note = format!(
        "the file has no model card: assumed {colour} pictures, scaled to {width}x{height} px and cut to their centre, \
         output '{}' as {meaning}, and classes named by their number",
        output.name
    );
    Ok(Interface {
        input: Input { name: image.name.clone(), ..Input::new(channels, height, width, Content::Picture) },
        takes: Takes::Pictures,
        picture: [channels, height, width],
        batch: batch(image)?,
        at_once: 1,
        output: output.name.clone(),
        scores,
        classes: output.shape[1].unwrap_or(UNTOLD),
        notes: vec![note],
    })
}

/// The first extent, if the file fixes it.
fn batch(input: &TensorInfo) -> Result<Option<usize>> {
    match input.shape.first() {
        Some(None) => Ok(None),
        Some(&Some(batch)) if (1..=MAX_BATCH).contains(&batch) => Ok(Some(batch)),
        _ => bail!("its input is {input}: expected the first extent to be open, or 1 to {MAX_BATCH}"),
    }
}

fn list(tensors: &[TensorInfo]) -> String {
    if tensors.is_empty() {
        return "nothing".to_owned();
    }
    tensors.iter().map(TensorInfo::to_string).collect::<Vec<_>>().join(", ")
}
