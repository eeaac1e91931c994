//! Limits on what a model file may ask for. Its graph is followed before an engine sees the file: a file that could
//! exhaust the machine's memory or run for hours is refused, with what it asks for and what the limit is.
//!
//! [`check`] looks at the contents of the file (`tensors` compares the stored numbers with the declared shapes).
//! [`Footprint::estimate`] computes the shape of every value in the graph. `value` and `node` define the types for this.
//! [`integers`] are the numbers that follow from those shapes.
//! `rules` lists the operators; `elementwise`, `windows`, `layout` and `products` compute their output shapes.

mod elementwise;
mod footprint;
mod known;
mod layout;
mod node;
mod products;
mod rules;
mod tensors;
mod value;
mod windows;

pub use footprint::Footprint;
pub use known::integers;

use super::proto::{AttributeProto, GraphProto, ModelProto, TensorProto, ValueInfoProto};
use anyhow::{Context, Result, ensure};
use std::collections::HashSet;

/// The most that a model may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes, and also stored tensors. `ResNet`-152 in QDQ form has about 1,800 nodes. tract's load time grows with the
    /// square of their number: it takes 13 s to load 2,000 convolutions.
    pub nodes: usize,
    /// Elements of one tensor.
    pub elements: u64,
    /// Bytes of all constants: stored tensors, and values computed only from constants, which an engine computes when
    /// it loads the file. tract temporarily has two copies of each.
    pub constants: u64,
    /// Bytes alive at once in a run: constants, values between nodes, and the patches of a convolution.
    pub memory: u64,
    /// Bytes of all values of a run together, whether or not they are alive at once: the engine may choose the order
    /// of the nodes.
    pub values: u64,
    /// Multiply-adds for one image. The `vit_l_16` of torchvision has 6.2 × 10^10 at 224 px.
    pub multiply_adds_per_image: u64,
    /// Multiply-adds of a run: `ResNet`-50 on 1,024 images of 224×224 px.
    pub multiply_adds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nodes: 2_500,
            elements: 1 << 30,
            constants: 2 << 30,
            memory: 8 << 30,
            values: 64 << 30,
            multiply_adds_per_image: 1 << 36,
            multiply_adds: 1 << 42,
        }
    }
}

/// Number of elements in a tensor of this shape. A scalar (rank 0) has one.
fn elements(shape: &[u64]) -> u64 {
    shape.iter().fold(1, |product: u64, &extent| product.saturating_mul(extent))
}

/// Bytes that a tensor takes in a file, computed from its shape and element type.
pub(super) fn stored_bytes(tensor: &TensorProto) -> Result<u64> {
    tensors::stored_bytes(tensor, &Limits::default())
}

/// Refuses a file that contains more than one graph of nodes and tensors, since `Footprint` could not follow the rest.
pub fn check(model: &ModelProto, limits: &Limits) -> Result<()> {
    let graph = model.graph.as_ref().context("it has no graph")?;
    ensure!(model.functions.is_empty(), "it defines functions of its own: expected the standard operators only");
    ensure!(model.training_info.is_empty(), "it contains a training graph: expected an inference graph only");
    let (nodes, tensors) = (graph.node.len(), graph.initializer.len());
    ensure!(nodes <= limits.nodes, "it has {nodes} nodes: expected at most {}", limits.nodes);
    ensure!(tensors <= limits.nodes, "it has {tensors} tensors: expected at most {}", limits.nodes);
    ensure!(graph.sparse_initializer.is_empty(), "it contains sparse tensors: expected dense ones");
    names_are_unique(graph)?;
    for node in &graph.node {
        let name = &node.op_type;
        let mut attributes = HashSet::new();
        for attribute in &node.attribute {
            let twice = !attributes.insert(&attribute.name);
            ensure!(!twice, "its {name} node has the attribute '{}' twice", attribute.name);
            contains_no_graph(attribute).with_context(|| format!("its {name} node cannot be used"))?;
        }
    }
    Ok(())
}

/// Checks that every value has one origin: with two, readers might disagree on which one counts.
fn names_are_unique(graph: &GraphProto) -> Result<()> {
    let outputs = || graph.node.iter().flat_map(|node| &node.output).filter(|name| !name.is_empty());
    // An input may have a stored tensor of its name as its default, but nothing else may have that name.
    for others in [graph.initializer.iter().map(|tensor| &tensor.name).collect::<Vec<_>>(), names(&graph.input)] {
        let mut seen = HashSet::new();
        for name in others.into_iter().chain(outputs()) {
            ensure!(seen.insert(name), "two of its inputs, tensors or node outputs have the name '{name}'");
        }
    }
    Ok(())
}

fn names(values: &[ValueInfoProto]) -> Vec<&String> {
    values.iter().map(|value| &value.name).collect()
}

/// Refuses attributes that `Footprint` cannot follow. A subgraph, for one, may run any number of times.
fn contains_no_graph(attribute: &AttributeProto) -> Result<()> {
    ensure!(
        attribute.g.is_none() && attribute.graphs.is_empty(),
        "it contains a subgraph ('{}'): expected no control flow (If, Loop, Scan) in a classifier",
        attribute.name
    );
    ensure!(
        attribute.sparse_tensor.is_none() && attribute.sparse_tensors.is_empty(),
        "it contains sparse tensors ('{}'): expected dense ones",
        attribute.name
    );
    ensure!(attribute.ref_attr_name.is_empty(), "'{}' refers to a function's attribute", attribute.name);
    Ok(())
}
