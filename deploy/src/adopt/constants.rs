//! Computes what is the same in every run, once: exporters write shapes, masks and indices as hundreds of nodes, some with
//! operators that tract lacks.

use crate::backend::ort;
use anyhow::{Context, Result};
use models::onnx;
use models::onnx::limits::{self, Limits};
use models::onnx::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use std::collections::HashSet;

/// Most bytes by which a file may grow.
const MOST: usize = 16 << 20;

/// A number that is the same for these batch sizes is taken to be the same for all.
const BATCHES: [usize; 3] = [1, 2, 3];

/// Puts constants in place of the nodes that compute the same for all images and batch sizes.
pub fn folded(model: &mut ModelProto, batch: Option<usize>, limits: &Limits) -> Result<()> {
    let integers = limits::integers(model, &batch.map_or(BATCHES.to_vec(), |batch| vec![batch]), limits)?;
    onnx::put_constants(model.graph.as_mut().context("it has no graph")?, integers);
    let Some(part) = constant_part(model) else { return Ok(()) };
    let computed = ort::computed(&part)?;
    let graph = model.graph.as_mut().context("it has no graph")?;
    let stored: usize = part.graph.iter().flat_map(|part| &part.initializer).map(|tensor| tensor.raw_data.len()).sum();
    if computed.iter().map(|tensor| tensor.raw_data.len()).sum::<usize>() <= stored + MOST {
        onnx::put_constants(graph, computed);
    }
    Ok(())
}

/// The part of the graph that is the same for all images; its outputs are the values that other nodes use. `None` if
/// there is none.
fn constant_part(model: &ModelProto) -> Option<ModelProto> {
    let graph = model.graph.as_ref()?;
    let mut constant: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    // 8-bit weights stay 8-bit.
    let is_constant = |node: &NodeProto, constant: &HashSet<&str>| {
        let known = |name: &String| name.is_empty() || constant.contains(name.as_str());
        node.op_type != "DequantizeLinear" && node.input.iter().all(known)
    };
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for node in &graph.node {
        if is_constant(node, &constant) {
            constant.extend(node.output.iter().map(String::as_str));
            inside.push(node.clone());
        } else {
            outside.push(node);
        }
    }
    let used: HashSet<&str> = outside.iter().flat_map(|node| &node.input).map(String::as_str).collect();
    let outputs = inside.iter().flat_map(|node| &node.output).filter(|name| used.contains(name.as_str()));
    let output = outputs.map(|name| ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() }).collect();
    let needed: HashSet<&str> = inside.iter().flat_map(|node| &node.input).map(String::as_str).collect();
    let initializer =
        graph.initializer.iter().filter(|tensor| needed.contains(tensor.name.as_str())).cloned().collect();
    let mut part =
        GraphProto { name: "constants".to_owned(), node: inside, initializer, output, ..GraphProto::default() };
    onnx::remove_unused(&mut part);
    let ModelProto { ir_version, opset_import, .. } = model;
    let part = ModelProto {
        ir_version: *ir_version,
        opset_import: opset_import.clone(),
        graph: Some(part),
        ..ModelProto::default()
    };
    part.graph.as_ref().is_some_and(|part| !part.output.is_empty()).then_some(part)
}
