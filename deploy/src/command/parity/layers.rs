//! Shows where in the graph two runtimes differ.

use super::images::ImageSet;
use super::{Arguments, Format, ModelSource, Ran, fields, open_in, print, print_json, progress, table};
use crate::command::text::{counted, printable};
use anyhow::{Result, anyhow};
use deploy::agreement::Tolerance;
use deploy::backend::Engine;
use deploy::backend::intermediate::Probe;
use deploy::parity::layers::{Layer, Layers, Spread, compare, tolerance};
use ndarray::Axis;
use serde::Serialize;

/// Images compared by default. Each run needs memory for all tensors of its batch, in both runtimes.
const IMAGES: usize = 4;

/// The document that `--format json` prints.
#[derive(Serialize)]
struct Document {
    model: String,
    data: String,
    reference: Ran,
    compared: Ran,
    within_tolerance: bool,
    #[serde(flatten)]
    layers: Layers,
}

pub(super) fn run(arguments: &Arguments, engines: [Engine; 2]) -> Result<()> {
    let (name, bytes) = arguments.model.read()?;
    let probe = |engine| Probe::from_bytes(&name, &bytes, engine);
    let engines = engines.map(Engine::for_layers);
    let (mut reference, mut compared) = (probe(engines[0])?, probe(engines[1])?);
    let (images, precision) = {
        // Opened only for the model's card, labels and input.
        let mut models = open_in(&arguments.model, &[engines[0]], |engine| engine.options(None))?;
        let model = models.first_mut().ok_or_else(|| anyhow!("no model was opened"))?;
        let images = ImageSet::read(&arguments.images, model, Some(IMAGES))?;
        (images, model.card().map(|card| card.precision).unwrap_or_default())
    };
    let tolerance = arguments.tolerance.map_or_else(|| tolerance(precision), Tolerance::new);
    let bar = progress(images.images.len_of(Axis(0)));
    let layers = compare(&mut reference, &mut compared, images.images.view(), tolerance, |more| bar.inc(more as u64))?;
    bar.finish_and_clear();

    let ran = |engine, probe: &Probe| Ran { engine, runtime: probe.runtime().clone() };
    let document = Document {
        model: name,
        data: images.source.clone(),
        reference: ran(engines[0], &reference),
        compared: ran(engines[1], &compared),
        within_tolerance: layers.first_beyond.is_none(),
        layers,
    };
    match arguments.format {
        Format::Text => print(&to_text(&document, &images))?,
        Format::Json => print_json(&document)?,
    };
    match document.layers.first_beyond.and_then(|first| document.layers.nodes.get(first)) {
        None => Ok(()),
        Some(first) => Err(anyhow!(
            "{} and {} first differ at {}: {}",
            document.reference.engine,
            document.compared.engine,
            title(first),
            reason(first, document.layers.tolerance)
        )),
    }
}

/// Describes a node in words.
fn title(layer: &Layer) -> String {
    let Layer { node, operator, tensor, .. } = layer;
    let node = if node.is_empty() || node == tensor { String::new() } else { format!(" of node '{node}'") };
    printable(&format!("the {operator}{node} that computes '{tensor}'"))
}

/// Why a node is beyond the tolerance.
fn reason(layer: &Layer, tolerance: Tolerance) -> String {
    match (&layer.difference, &layer.problem) {
        (Some(spread), _) if spread.not_finite > 0 => {
            format!("{} not finite in one of them", counted(spread.not_finite as usize, "element"))
        }
        (Some(Spread { max, mean, relative: Some(relative), relative_mean: Some(relative_mean), .. }), _) => {
            let (one, other) = (share(*relative), share(*relative_mean));
            format!(
                "it differs by up to {max:.1e}, {mean:.1e} on average, which is {one} and {other} of the tensor's range \
                 (limits {} and {})",
                share(f64::from(tolerance.largest)),
                share(tolerance.mean)
            )
        }
        (Some(Spread { max, .. }), _) => format!("a difference of {max:.1e} where all should be 0"),
        (None, Some(problem)) => problem.clone(),
        (None, None) => "it differs".to_owned(),
    }
}

/// Formats a share of a range: small shares in scientific notation.
fn share(share: f64) -> String {
    if share == 0.0 || share >= 0.001 { format!("{:.1} %", share * 100.0) } else { format!("{share:.1e}") }
}

/// Formats a difference; 0 is written as `0`.
fn scientific(number: f64) -> String {
    if number == 0.0 { "0".to_owned() } else { format!("{number:.1e}") }
}

fn to_text(document: &Document, images: &ImageSet) -> String {
    let Document { model, reference, compared, layers, .. } = document;
    let verdict = match layers.first_beyond.and_then(|first| layers.nodes.get(first).map(|layer| (first, layer))) {
        None => format!(
            "agree at every node (limits: {} of a tensor's range, {} on average)",
            share(f64::from(layers.tolerance.largest)),
            share(layers.tolerance.mean)
        ),
        Some((first, layer)) => {
            format!("DIFFER at node {}, {}\n{}", first + 1, title(layer), reason(layer, layers.tolerance))
        }
    };
    let summary = fields(&[
        ("model", model.clone()),
        ("data", images.line()),
        ("reference", reference.line()),
        ("compared", compared.line()),
        ("verdict", verdict),
    ]);
    let mut rows = vec![["node", "shape", "max diff", "mean diff", "of range", ""].map(str::to_owned).to_vec()];
    let width = layers.nodes.iter().map(|layer| layer.operator.chars().count()).max().unwrap_or(0);
    for (index, layer) in layers.nodes.iter().enumerate() {
        rows.push(row(index, layer, width, layers.first_beyond));
    }
    format!("{summary}\n{}", table(&rows))
}

fn row(index: usize, layer: &Layer, width: usize, first: Option<usize>) -> Vec<String> {
    let Layer { operator, tensor, element, shape, difference, problem, beyond, .. } = layer;
    let shape = shape.as_ref().map(|shape| {
        let extents: Vec<_> = shape.iter().map(usize::to_string).collect();
        format!("{}[{}]", element.unwrap_or_default(), extents.join(", "))
    });
    let mark = match (first == Some(index), beyond, problem) {
        (true, ..) => "<< first difference".to_owned(),
        (false, true, _) => "< beyond limit".to_owned(),
        (false, false, Some(problem)) => problem.clone(),
        (false, false, None) => String::new(),
    };
    let figures = match difference {
        Some(Spread { max, mean, relative, .. }) => {
            [scientific(*max), scientific(*mean), relative.map_or_else(|| "–".to_owned(), scientific)]
        }
        None => ["–"; 3].map(str::to_owned),
    };
    let name = printable(&format!("{:>3}  {operator:width$}  {tensor}", index + 1));
    [&[name, shape.unwrap_or_default()][..], &figures, &[mark]].concat()
}
