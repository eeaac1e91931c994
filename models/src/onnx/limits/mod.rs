//! What a model file may ask for. A file from anywhere is followed through its graph before a runtime sees it: one that
//! could take the machine's memory or hours of its time is refused, with what it asks for and what the limit is.
//!
//! [`check`] looks at what is there (`tensors` holds the stored numbers to the declared shapes) and [`Footprint::estimate`]
//! at what a run would make of it: the shape of every value in the graph. `value` and `node` are its terms; `rules`
//! names the operators, and its neighbours say what each yields (`elementwise`, `windows`, `layout`, `products`).

mod elementwise;
mod footprint;
mod layout;
mod node;
mod products;
mod rules;
mod tensors;
mod value;
mod windows;

pub use footprint::Footprint;

use super::proto::{AttributeProto, GraphProto, ModelProto, TensorProto, ValueInfoProto};
use anyhow::{Context, Result, ensure};
use std::collections::HashSet;

/// Largest numbers that a model may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes, and stored tensors: `ResNet`-152 in QDQ form has some 1,800 nodes. tract's time grows with their square:
    /// it takes 13 s to load 2,000 convolutions.
    pub nodes: usize,
    /// Numbers in one tensor.
    pub elements: u64,
    /// Bytes of all constants: stored numbers, and what nodes make of nothing else, which a runtime computes when it
    /// loads the file. tract has two of each for a while.
    pub constants: u64,
    /// Bytes alive at once in a run: constants, values between nodes, and a convolution's patches.
    pub memory: u64,
    /// Bytes of all values of a run together, whether they are alive at once or not: the order of the nodes is the
    /// runtime's to choose.
    pub values: u64,
    /// Multiply-adds for one image: three times those of the largest vision transformers' 2^34.
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

/// Numbers in a tensor of this shape; without extents it holds one.
fn elements(shape: &[u64]) -> u64 {
    shape.iter().fold(1, |product: u64, &extent| product.saturating_mul(extent))
}

/// Bytes that the numbers of a tensor take in a file, by its shape and element type.
pub(super) fn stored_bytes(tensor: &TensorProto) -> Result<u64> {
    tensors::stored_bytes(tensor, &Limits::default())
}

/// Refuses a file that is more than a graph of nodes with their numbers: what `Footprint` could not follow.
pub fn check(model: &ModelProto, limits: &Limits) -> Result<()> {
    let graph = model.graph.as_ref().context("it has no graph")?;
    ensure!(model.functions.is_empty(), "it defines functions of its own: expected the standard operators only");
    ensure!(model.training_info.is_empty(), "it holds a training graph: expected a graph to run only");
    let (nodes, tensors) = (graph.node.len(), graph.initializer.len());
    ensure!(nodes <= limits.nodes, "it has {nodes} nodes: expected at most {}", limits.nodes);
    ensure!(tensors <= limits.nodes, "it has {tensors} tensors: expected at most {}", limits.nodes);
    ensure!(graph.sparse_initializer.is_empty(), "it holds sparse tensors: expected dense ones");
    names_are_unique(graph)?;
    for node in &graph.node {
        let name = &node.op_type;
        let mut attributes = HashSet::new();
        for attribute in &node.attribute {
            let twice = !attributes.insert(&attribute.name);
            ensure!(!twice, "its {name} node has the attribute '{}' twice", attribute.name);
            holds_no_graph(attribute).with_context(|| format!("its {name} node cannot be used"))?;
        }
    }
    Ok(())
}

/// Every value has one origin: which of two counts, readers might see differently.
fn names_are_unique(graph: &GraphProto) -> Result<()> {
    let outputs = || graph.node.iter().flat_map(|node| &node.output).filter(|name| !name.is_empty());
    // An input may have a stored tensor as its default, but nothing else of its name.
    for others in [graph.initializer.iter().map(|tensor| &tensor.name).collect::<Vec<_>>(), names(&graph.input)] {
        let mut made = HashSet::new();
        for name in others.into_iter().chain(outputs()) {
            ensure!(made.insert(name), "two of its inputs, tensors or nodes yield '{name}'");
        }
    }
    Ok(())
}

fn names(values: &[ValueInfoProto]) -> Vec<&String> {
    values.iter().map(|value| &value.name).collect()
}

/// A graph within the graph may run any number of times.
fn holds_no_graph(attribute: &AttributeProto) -> Result<()> {
    ensure!(
        attribute.g.is_none() && attribute.graphs.is_empty(),
        "it holds a graph of its own ('{}'): expected no control flow (If, Loop, Scan) in a classifier",
        attribute.name
    );
    ensure!(
        attribute.sparse_tensor.is_none() && attribute.sparse_tensors.is_empty(),
        "it holds sparse tensors ('{}'): expected dense ones",
        attribute.name
    );
    ensure!(attribute.ref_attr_name.is_empty(), "'{}' refers to a function's attribute", attribute.name);
    Ok(())
}
