//! Runs a model with every intermediate tensor as an output, to find where two runtimes differ.
//!
//! ONNX Runtime runs the graph as it is written, without optimisations. tract runs a graph written by `train export` as
//! usual, with our own operators and their results as outputs. For any other graph, and as released, tract keeps tensors
//! that are outputs when it rewrites the graph. `tract` and `ort` implement this for their engines.

#[cfg(feature = "ort")]
pub(super) mod ort;
#[cfg(feature = "tract")]
pub(super) mod tract;

use super::{Engine, ImageBatch, ModelFile, Runtime};
use crate::interface::Interface;
use crate::model::{Described, GraphImages};
use anyhow::{Context, Result, ensure};
use models::card::ModelCard;
use models::onnx;
use models::onnx::proto::{ModelProto, ValueInfoProto};
use ndarray::ArrayView4;
use std::collections::HashSet;

/// A tensor and the node that computes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The node's name; empty if the file does not name it.
    pub node: String,
    /// Its operator, such as `Conv`.
    pub operator: String,
    /// The tensor's name.
    pub tensor: String,
}

/// The values of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Element type, such as `float32` or `uint8`.
    pub element: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements, of any type, as `f64`. Integers of more than 53 bits are rounded; `true` is 1.
    pub numbers: Vec<f64>,
}

/// A tensor, or why it is unavailable: the runtime may not compute it, or its element type may not be supported.
pub type StepValues = std::result::Result<Values, String>;

/// A model loaded into one engine with every tensor as an output.
pub trait Exposed: Send {
    /// What really runs.
    fn runtime(&self) -> &Runtime;

    /// Returns the tensors of all steps, in their order.
    fn run(&mut self, images: ImageBatch, steps: &[Step]) -> Result<Vec<StepValues>>;
}

/// A model whose intermediate tensors can be read.
pub struct Probe {
    name: String,
    card: Option<ModelCard>,
    interface: Interface,
    steps: Vec<Step>,
    exposed: Box<dyn Exposed>,
}

impl Probe {
    /// Opens a model from memory in an engine, or in the one that shows its values ([`Engine::for_layers`]). `name` is
    /// the model's name in messages.
    pub fn from_bytes(name: &str, bytes: &[u8], engine: Engine) -> Result<Self> {
        let engine = engine.for_layers();
        engine.check().with_context(|| format!("{engine} cannot be used"))?;
        let Described { mut model, card, interface } = Described::new(name, bytes)?;
        let steps = steps(&model);
        expose(&mut model, &steps);
        let bytes = onnx::encode(&model);
        let open = engine.code()?.layers.with_context(|| format!("{engine} cannot show the values between nodes"))?;
        let source = ModelFile { name, bytes: &bytes, model: &model, interface: &interface };
        let exposed = open(source, engine.device, &steps)?;
        Ok(Self { name: name.to_owned(), card, interface, steps, exposed })
    }

    /// The engine that really runs.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        self.exposed.runtime()
    }

    /// What the model takes and returns.
    #[must_use]
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Every tensor that a node computes, in graph order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How many images are run at once.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.interface.batch.unwrap_or(1)
    }

    /// Runs one batch of images `[N, C, H, W]`, values 0 to 255, with N from 1 to [`Self::batch`], and returns the
    /// tensors of all [`Self::steps`]. A partial batch is filled up with empty images.
    pub fn run(&mut self, images: ArrayView4<u8>) -> Result<Vec<StepValues>> {
        let (count, channels, height, width) = images.dim();
        let (input, batch) = (&self.interface.input, self.batch());
        ensure!(
            (1..=batch).contains(&count) && (channels, height, width) == (input.channels, input.height, input.width),
            "the images are [{count}, {channels}, {height}, {width}]: {} expects [{batch}, {}, {}, {}]",
            self.name,
            input.channels,
            input.height,
            input.width
        );
        let taken = GraphImages::new(images, self.card.as_ref(), self.interface.takes)?;
        let run = self.exposed.run(taken.view(), &self.steps);
        let outcomes = run.with_context(|| format!("{} failed in {}", self.name, self.exposed.runtime().name))?;
        ensure!(outcomes.len() == self.steps.len(), "{} returned too few tensors", self.exposed.runtime().name);
        Ok(outcomes)
    }
}

/// Every tensor that a node of the graph computes, in graph order. Tensors inside the subgraphs of `If` and `Loop` are
/// left out.
fn steps(model: &ModelProto) -> Vec<Step> {
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    let steps = nodes.flat_map(|node| {
        node.output.iter().filter(|name| !name.is_empty()).map(|tensor| Step {
            node: node.name.clone(),
            operator: node.op_type.clone(),
            tensor: tensor.clone(),
        })
    });
    steps.collect()
}

/// Makes every step's tensor an output of the graph, without type and shape, which the runtime infers.
fn expose(model: &mut ModelProto, steps: &[Step]) {
    let Some(graph) = &mut model.graph else { return };
    let mut known: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    for step in steps {
        if known.insert(step.tensor.clone()) {
            graph.output.push(ValueInfoProto { name: step.tensor.clone(), ..ValueInfoProto::default() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::onnx::proto::{GraphProto, NodeProto};

    #[test]
    fn every_tensor_becomes_an_output_once() {
        let node = |output: &[&str]| NodeProto {
            output: output.iter().map(|&name| name.to_owned()).collect(),
            ..NodeProto::default()
        };
        let output = |name: &str| ValueInfoProto { name: name.to_owned(), ..ValueInfoProto::default() };
        let graph = GraphProto {
            node: vec![node(&["a"]), node(&["b", "", "c"]), node(&["d"])],
            output: vec![output("d")],
            ..GraphProto::default()
        };
        let mut model = ModelProto { graph: Some(graph), ..ModelProto::default() };
        let steps = steps(&model);
        let tensors: Vec<_> = steps.iter().map(|step| step.tensor.as_str()).collect();
        assert_eq!(tensors, ["a", "b", "c", "d"]);
        expose(&mut model, &steps);
        let outputs: Vec<_> = model.graph.iter().flat_map(|graph| &graph.output).map(|output| &*output.name).collect();
        assert_eq!(outputs, ["d", "a", "b", "c"]);
    }
}
