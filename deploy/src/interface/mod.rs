//! What a model file takes and returns, as far as this program must know it to run it.
//!
//! A file with our card states this itself, and its graph is checked against the card. A file without a card is usable
//! if its graph leaves no choice; what was assumed is reported. `scores` decides whether such a file returns logits or
//! probabilities.

mod scores;

pub use scores::{Doubt, Scores};
pub(crate) use scores::{Maker, Origin};

use anyhow::{Context, Result, anyhow, bail, ensure};
use models::architecture::MAX_CLASSES;
use models::card::{Content, GraphInput, Input, LOGITS, MAX_INPUT, ModelCard, PROBABILITIES};
use models::onnx::limits::{self, Footprint, Limits};
use models::onnx::proto::{GraphProto, ModelProto};
use models::onnx::{self, Signature, TensorInfo, training, versions};
use ndarray::ArrayView2;
use scores::Decision;

/// Largest batch a file may fix.
pub(crate) const MAX_BATCH: usize = 1024;

/// Batch sizes to try if the file leaves the batch open, best first: enough images to keep all threads busy, few enough
/// for the memory.
const OPEN_BATCHES: [usize; 3] = [32, 8, 1];

/// How far an image's scores may move when other images are run with it, as a share of the largest score. ONNX Runtime
/// then sums in a different order.
const ALONE_TOLERANCE: f32 = 1e-2;

/// Number of classes that the file leaves open, until the shapes of its graph reveal it.
const UNTOLD: usize = 0;

/// What a model file takes and returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Interface {
    /// The images that the model takes.
    pub input: Input,
    /// Whether the graph takes the images themselves or normalised ones.
    pub takes: GraphInput,
    /// Shape of one image as the graph takes it, `[C, H, W]`.
    pub image: [usize; 3],
    /// Batch size, if the file fixes it.
    pub batch: Option<usize>,
    /// Most images to run at once: the fixed batch, or as many as the limits of memory and time allow.
    pub at_once: usize,
    /// Name of the output that is used, float `[N, classes]`.
    pub output: String,
    /// What that output contains. Without a card this is a guess, until `Interface::judge` has seen scores.
    pub scores: Scores,
    /// How that was decided, for people.
    pub reason: String,
    /// Where the output comes from, if a test run must decide what its scores are.
    pub(crate) origin: Option<Origin>,
    /// What the test run left open.
    pub(crate) doubt: Option<Doubt>,
    /// Number of classes.
    pub classes: usize,
    /// What had to be assumed, for people; empty with a card.
    pub notes: Vec<String>,
}

impl Interface {
    /// Reads the interface of a model and its card, if it has one. Errors if the model needs more memory or time than
    /// the default [`Limits`] allow.
    pub fn read(model: &ModelProto, card: Option<&ModelCard>) -> Result<Self> {
        let limits = Limits::default();
        versions::check(model)?;
        limits::check(model, &limits)?;
        let graph = model.graph.as_ref().context("it has no graph")?;
        training::check(graph, onnx::opset(model).unwrap_or_default())?;
        // The shapes below would find the missing value; an empty name could pass for that of an optional input.
        ensure!(graph.output.iter().all(|output| !output.name.is_empty()), "one of its outputs has no name");
        let signature = onnx::signature(model)?;
        let mut interface = match card {
            Some(card) => by_card(graph, &signature, card).context("its card and its graph contradict each other"),
            None => by_signature(graph, &signature),
        }?;
        if interface.batch.is_none() {
            // The limit on multiply-adds grows with the batch. Work that does not grow must fit the limit for one image.
            Footprint::estimate(model, 1, &limits)?;
        }
        let batches = interface.batch.map_or(OPEN_BATCHES.to_vec(), |batch| vec![batch]);
        let footprint = interface.within(model, &batches, &limits)?;
        interface.hold_to(&footprint)?;
        ensure!(
            card.is_some() || interface.classes > 1,
            "its output '{}' is one score per image: expected one per class. deploy adopt makes two classes of it",
            interface.output
        );
        // `DynamicQuantizeLinear` scales over the whole batch: only an image run alone always gets the same answer.
        if interface.batch.is_none() && graph.node.iter().any(|node| node.op_type == "DynamicQuantizeLinear") {
            interface.at_once = 1;
        }
        Ok(interface)
    }

    /// Decides what the scores are from those of a few images, `[N, classes]`. `again` are the scores of the first
    /// image, run alone.
    pub(crate) fn judge(&mut self, rows: ArrayView2<f32>, again: ArrayView2<f32>) -> Result<()> {
        let Some(origin) = &self.origin else { return Ok(()) };
        let finite = rows.iter().chain(&again).all(|score| score.is_finite());
        ensure!(
            finite,
            "in a test run its output '{}' contains numbers that are not finite: the model is broken",
            self.output
        );
        let largest = rows.iter().fold(0.0_f32, |largest, score| largest.max(score.abs()));
        let apart = rows.iter().zip(&again).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        ensure!(
            apart <= ALONE_TOLERANCE * largest.max(f32::MIN_POSITIVE),
            "in a test run, an image's scores alone and in a batch differ by {apart:.1e}: they depend on the other \
             images of the batch, or are random. Export it for inference (model.eval() in PyTorch), without operators \
             along axis 0"
        );
        let Decision { scores, reason, doubt } = scores::decide(&self.output, origin, rows)?;
        self.notes.push(format!("output '{}' is interpreted as {scores}: {reason}", self.output));
        self.notes.extend(doubt.map(|doubt| doubt.about(&self.output)));
        (self.scores, self.reason, self.doubt) = (scores, reason, doubt);
        Ok(())
    }

    /// Takes the first of these batch sizes that keeps within the limits. If none does, returns the last one's error.
    fn within(&mut self, model: &ModelProto, batches: &[usize], limits: &Limits) -> Result<Footprint> {
        let mut outcome = Err(anyhow!("no batch to run"));
        for &batch in batches {
            self.at_once = batch;
            outcome = Footprint::estimate(model, batch, limits);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Checks the shape of the output and reads the number of classes from it.
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

/// Checks the graph against the card and returns the interface.
fn by_card(graph: &GraphProto, signature: &Signature, card: &ModelCard) -> Result<Interface> {
    let (input, classes) = (&card.input, card.labels.len());
    let (element, image) = match card.takes {
        GraphInput::Images => ("uint8", [input.channels, input.height, input.width]),
        GraphInput::Normalised => {
            let resolution = card.network()?.resolution;
            ("float", [input.channels, resolution, resolution])
        }
    };
    let fits = |found: &TensorInfo| {
        let extents = found.axes::<4>().map(|[_, channels, height, width]| [channels, height, width]);
        found.name == input.name && found.element == element && extents == Some(image.map(Some))
    };
    let found = match &signature.inputs[..] {
        [found] if fits(found) => found,
        _ => {
            let [channels, height, width] = image;
            let expected = format!("{} {element} [N, {channels}, {height}, {width}]", input.name);
            bail!("expected the one input {expected}, found {}", list(&signature.inputs))
        }
    };
    let fits = |output: &TensorInfo| output.axes().is_some_and(|[_, count]| count.is_none_or(|count| count == classes));
    let output = |name| {
        let usable = |output: &&TensorInfo| output.name == name && output.element == "float" && fits(output);
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
    let output = if scores == Scores::Logits { LOGITS } else { PROBABILITIES };
    let origin = Origin::find(graph, output);
    ensure!(
        scores == Scores::Probabilities || !matches!(origin.maker, Maker::Softmax | Maker::Sigmoid),
        "its output {LOGITS} is made by {}: expected logits",
        origin.path
    );
    let reason = format!("as the model card says; made by {}", origin.path);
    // The card is trusted about probabilities only if softmax makes them.
    let unsure = scores == Scores::Probabilities && origin.maker != Maker::Softmax;
    Ok(Interface {
        input: input.clone(),
        takes: card.takes,
        image,
        batch: batch(found)?,
        at_once: 1,
        output: output.to_owned(),
        scores,
        reason,
        origin: unsure.then_some(origin),
        doubt: None,
        classes,
        notes: Vec::new(),
    })
}

/// Derives the interface of a file without a card from its graph, if the graph leaves no choice.
fn by_signature(graph: &GraphProto, signature: &Signature) -> Result<Interface> {
    let unusable = |why: &str| {
        format!(
            "it has no model card, and {why}. Without a card, expected one input uint8 [N, C, H, W] (C 1 or 3, H and W \
             fixed) and one float output [N, classes], or one named {LOGITS} or {PROBABILITIES}.\n  Its inputs: {}\n  \
             Its outputs: {}\n  deploy adopt turns a classifier of another exporter into such a file",
            list(&signature.inputs),
            list(&signature.outputs)
        )
    };
    let [image] = &signature.inputs[..] else {
        bail!(unusable(&format!("it has {} inputs", signature.inputs.len())));
    };
    let axes = image.axes::<4>();
    if let Some([_, height, width, Some(1 | 3)]) = axes
        && !matches!(axes, Some([_, Some(1 | 3), Some(_), Some(_)]))
        && height != Some(0)
        && width != Some(0)
    {
        bail!(unusable("the channels of its input come last"));
    }
    let Some([_, Some(channels @ (1 | 3)), Some(height @ 1..), Some(width @ 1..)]) = axes else {
        bail!(unusable("its input is not such an image"));
    };
    if image.element.starts_with("float") || image.element == "double" {
        bail!(unusable(
            "its input is floats, but the file does not say how to scale images, 0 to 1 or by mean and deviation"
        ));
    }
    ensure!(image.element == "uint8", unusable(&format!("its input is {}", image.element)));
    for extent in [height, width] {
        ensure!(extent <= MAX_INPUT, "its input is {image}: expected at most {MAX_INPUT} rows and columns");
    }

    let usable = |output: &&TensorInfo| output.element == "float" && output.axes::<2>().is_some();
    let candidates: Vec<_> = signature.outputs.iter().filter(usable).collect();
    let named = |name| candidates.iter().copied().find(|output: &&TensorInfo| output.name == name);
    let only = if let [only] = candidates[..] { Some(only) } else { None };
    let output = named(LOGITS).or_else(|| named(PROBABILITIES)).or(only).with_context(|| {
        unusable(&match candidates.len() {
            0 => "none of its outputs is float [N, classes]".to_owned(),
            several => format!("{several} of its outputs are float [N, classes]"),
        })
    })?;
    let classes = output.axes().and_then(|[_, classes]| classes).unwrap_or(UNTOLD);

    let origin = Origin::find(graph, &output.name);
    let scores = if origin.maker == Maker::Softmax { Scores::Probabilities } else { Scores::Logits };
    let colour = if channels == 1 { "grey" } else { "RGB" };
    let note = format!(
        "the file has no model card: assumed {colour} images, scaled to {width}x{height} px and cropped to the centre, \
         and classes named by number",
    );
    Ok(Interface {
        input: Input { name: image.name.clone(), ..Input::new(channels, height, width, Content::Image) },
        takes: GraphInput::Images,
        image: [channels, height, width],
        batch: batch(image)?,
        at_once: 1,
        output: output.name.clone(),
        scores,
        reason: format!("made by {}", origin.path),
        origin: Some(origin),
        doubt: None,
        classes,
        notes: vec![note],
    })
}

/// The first extent of the input, if the file fixes it.
fn batch(input: &TensorInfo) -> Result<Option<usize>> {
    match input.shape.as_ref().and_then(|shape| shape.first()) {
        Some(None) => Ok(None),
        Some(&Some(batch)) if (1..=MAX_BATCH).contains(&batch) => Ok(Some(batch)),
        _ => bail!("its input is {input}: expected the first extent to be symbolic, or 1 to {MAX_BATCH}"),
    }
}

fn list(tensors: &[TensorInfo]) -> String {
    if tensors.is_empty() {
        return "nothing".to_owned();
    }
    tensors.iter().map(TensorInfo::to_string).collect::<Vec<_>>().join(", ")
}
