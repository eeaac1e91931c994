//! Rewrites a graph of another exporter so that it follows our contract: images in, preparation inside, one output.

use super::facts::{Color, Layout};
use super::plan::Plan;
use crate::interface::Scores;
use anyhow::{Context, Result, bail, ensure};
use half::f16;
use models::card::INPUT;
use models::onnx::nodes::{self, Nodes, integer, integers};
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::proto::{GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, type_proto};
use models::onnx::{self, training};
use std::collections::HashSet;

/// The oldest version of the file format in which constants need not be inputs too.
const CONSTANTS_APART: i64 = 4;

/// Indices that reverse three channels.
const REVERSED: &str = "input.reversed";

/// The input in 16 bits.
const HALF: &str = "input.half";

/// Makes the graph take images, uint8 `[N, C, H, W]` in RGB order or grey, and keeps the planned output under its name.
/// Returns what was changed besides, for people.
pub fn prepared(model: &ModelProto, plan: &Plan) -> Result<(ModelProto, Vec<String>)> {
    let mut model = model.clone();
    let opset = onnx::opset(&model).context("it does not declare its opset")?;
    model.ir_version = model.ir_version.max(CONSTANTS_APART);
    let graph = model.graph.as_mut().context("it has no graph")?;
    let mut notes = training::to_inference(graph, opset);
    if widen(graph)? {
        notes.push("its 16-bit floats are stored as 32-bit floats, in which CPUs compute".to_owned());
    }

    let mut nodes = Nodes::default();
    let mut x = INPUT.to_owned();
    // A network that takes bytes prepares them itself.
    let bytes = plan.element == DataType::Uint8;
    if !bytes {
        x = nodes.normalised(&x, &plan.preprocessing);
    }
    if plan.color == Color::Bgr {
        nodes.indices(REVERSED, &[2, 1, 0]);
        x = nodes.node("Gather", &[&x, REVERSED], "input.bgr", vec![integer("axis", 1)]);
    }
    if plan.layout == Layout::Nhwc {
        x = nodes.node("Transpose", &[&x], "input.channels_last", vec![integers("perm", &[0, 2, 3, 1])]);
    }
    let own: HashSet<&str> = nodes.nodes.iter().map(|node| node.name.as_str()).chain([INPUT]).collect();
    let own = own.into_iter().chain(nodes.initializers.iter().map(|tensor| tensor.name.as_str()));
    let (mut source, mut output) = (plan.source.clone(), plan.output.clone());
    for name in own.map(str::to_owned).collect::<Vec<_>>() {
        let new = make_room(graph, &name);
        for known in [&mut source, &mut output] {
            if *known == name {
                known.clone_from(&new);
            }
        }
    }
    // The network reads the prepared images instead of its own input.
    replace(graph.node.iter_mut().flat_map(|node| &mut node.input), &source, &x);
    ensure!(output != source, "its output '{output}' is its input");
    graph.input = vec![nodes::tensor(INPUT, DataType::Uint8, plan.batch, &plan.image())];
    nodes.nodes.append(&mut graph.node);
    graph.node = nodes.nodes;
    graph.initializer.append(&mut nodes.initializers);
    graph.value_info.clear();
    keep_output(graph, &output)?;
    Ok((model, notes))
}

/// Turns all 16-bit floats of a graph into 32-bit floats. Returns whether there were any.
fn widen(graph: &mut GraphProto) -> Result<bool> {
    let half = DataType::Float16 as i32;
    let mut found = false;
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    let mut tensors: Vec<&mut TensorProto> = graph.initializer.iter_mut().collect();
    for attribute in attributes {
        if matches!(attribute.name.as_str(), "to" | "dtype") && attribute.i == Some(i64::from(half)) {
            attribute.i = Some(DataType::Float as i64);
            found = true;
        }
        tensors.extend(&mut attribute.t);
    }
    for tensor in tensors.into_iter().filter(|tensor| tensor.data_type == half) {
        ensure!(tensor.raw_data.len().is_multiple_of(2), "its tensor '{}' ends within a number", tensor.name);
        let stored = tensor.raw_data.chunks_exact(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
        // Bits of 16-bit floats may also be stored as integers.
        let bits: Vec<u16> = stored.chain(tensor.int32_data.iter().map(|&bits| bits as u16)).collect();
        tensor.raw_data = bits.into_iter().flat_map(|bits| f16::from_bits(bits).to_f32().to_le_bytes()).collect();
        tensor.int32_data.clear();
        tensor.data_type = DataType::Float as i32;
        found = true;
    }
    Ok(found)
}

/// The original for inference, with floats in place of 16-bit floats as its input, and the planned output alone.
pub fn reference(model: &ModelProto, plan: &Plan) -> Result<ModelProto> {
    let mut model = model.clone();
    let opset = onnx::opset(&model).context("it does not declare its opset")?;
    model.ir_version = model.ir_version.max(CONSTANTS_APART);
    let graph = model.graph.as_mut().context("it has no graph")?;
    training::to_inference(graph, opset);
    graph.input.retain(|input| input.name == plan.source);
    if plan.element == DataType::Float16 {
        let mut nodes = Nodes::default();
        make_room(graph, HALF);
        nodes.cast(&plan.source, plan.element, HALF);
        replace(graph.node.iter_mut().flat_map(|node| &mut node.input), &plan.source, HALF);
        nodes.nodes.append(&mut graph.node);
        graph.node = nodes.nodes;
        let image = match plan.layout {
            Layout::Nchw => plan.image(),
            Layout::Nhwc => [plan.size.height, plan.size.width, plan.color.channels()],
        };
        graph.input = vec![nodes::tensor(&plan.source, DataType::Float, plan.batch, &image)];
    }
    graph.value_info.clear();
    keep_output(graph, &plan.output)?;
    Ok(model)
}

/// Removes all other outputs, and what only they need.
fn keep_output(graph: &mut GraphProto, name: &str) -> Result<()> {
    graph.output.retain(|output| output.name == name);
    ensure!(graph.output.len() == 1, "it has no output '{name}'");
    onnx::remove_unused(graph);
    Ok(())
}

/// Gives the output the shape `[N, classes]` if it has further axes of one element, or none for the batch or the classes.
/// `shape` is its shape for `images` images.
pub fn flattened(model: &mut ModelProto, shape: &[u64], images: u64) -> Result<()> {
    let axis = match *shape {
        [rows, _] if rows == images => return Ok(()),
        [rows, .., _] if rows == images && shape[1..].iter().filter(|&&extent| extent > 1).count() <= 1 => 1,
        [rows] if rows == images => 1,
        [_] if images == 1 => 0,
        _ => bail!(
            "its output has the shape {shape:?} for {images} images: expected [{images}, classes]. If it fixes the \
             batch inside, give --batch 1; if another output has the scores, name it with --output"
        ),
    };
    append(model, "Flatten", "output.flat", vec![integer("axis", axis)])
}

/// Turns one score per image into one for each of two classes: `[1 - p, p]` if it is a probability, and `[0, x]` if it is
/// a logit, of which softmax makes the same probabilities as sigmoid does of `x`.
pub fn doubled(model: &mut ModelProto, scores: Scores) -> Result<()> {
    const OTHER: &str = "output.other";
    const CONSTANT: &str = "output.constant";
    const BOTH: &str = "output.both";
    let graph = model.graph.as_mut().context("it has no graph")?;
    for name in [OTHER, CONSTANT, BOTH] {
        make_room(graph, name);
    }
    let one = graph.output.first().context("it has no outputs")?.name.clone();
    let mut nodes = Nodes::default();
    let (number, operator, inputs) = match scores {
        Scores::Probabilities => (1.0, "Sub", [CONSTANT, &one]),
        Scores::Logits => (0.0, "Mul", [CONSTANT, &one]),
    };
    nodes.floats(CONSTANT, &[], &[number]);
    nodes.node(operator, &inputs, OTHER, vec![]);
    nodes.node("Concat", &[OTHER, &one], BOTH, vec![integer("axis", 1)]);
    graph.node.append(&mut nodes.nodes);
    graph.initializer.append(&mut nodes.initializers);
    BOTH.clone_into(&mut graph.output[0].name);
    Ok(())
}

/// Converts the output to 32-bit floats.
pub fn widened(model: &mut ModelProto) -> Result<()> {
    append(model, "Cast", "output.float", vec![integer("to", DataType::Float as i64)])?;
    // ONNX Runtime refuses an output whose declared type is not that of its node.
    let float = type_proto::Tensor { elem_type: DataType::Float as i32, shape: None };
    let float = TypeProto { value: Some(type_proto::Value::TensorType(float)), ..TypeProto::default() };
    for output in model.graph.iter_mut().flat_map(|graph| &mut graph.output) {
        output.r#type = Some(float.clone());
    }
    Ok(())
}

/// Adds a node after the output, which becomes the output.
fn append(model: &mut ModelProto, operator: &str, name: &str, attributes: Vec<nodes::Attribute>) -> Result<()> {
    let graph = model.graph.as_mut().context("it has no graph")?;
    make_room(graph, name);
    let output = graph.output.first_mut().context("it has no outputs")?;
    let mut nodes = Nodes::default();
    nodes.node(operator, &[&output.name], name, attributes);
    name.clone_into(&mut output.name);
    graph.node.append(&mut nodes.nodes);
    Ok(())
}

/// Renames the output and states its shape.
pub fn named(model: &mut ModelProto, name: &str, batch: Option<usize>, classes: usize) -> Result<()> {
    let graph = model.graph.as_mut().context("it has no graph")?;
    let output = graph.output.first().context("it has no outputs")?.name.clone();
    if output != name {
        make_room(graph, name);
        rename(graph, &output, name);
    }
    graph.output = vec![nodes::tensor(name, DataType::Float, batch, &[classes])];
    Ok(())
}

/// Renames a value or node with this name, if there is one. Returns its name.
fn make_room(graph: &mut GraphProto, name: &str) -> String {
    let taken: HashSet<String> = names(graph).map(str::to_owned).collect();
    if !taken.contains(name) {
        return name.to_owned();
    }
    let mut new = format!("original.{name}");
    while taken.contains(&new) {
        new.insert_str(0, "original.");
    }
    rename(graph, name, &new);
    new
}

/// The names of all values and nodes.
fn names(graph: &GraphProto) -> impl Iterator<Item = &str> {
    let values = graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output).chain([&node.name]));
    let inputs = graph.input.iter().chain(&graph.output).map(|value| &value.name);
    values.chain(inputs).chain(graph.initializer.iter().map(|tensor| &tensor.name)).map(String::as_str)
}

fn rename(graph: &mut GraphProto, from: &str, to: &str) {
    let GraphProto { node, input, output, initializer, .. } = graph;
    for NodeProto { input, output, name, .. } in node {
        replace(input.iter_mut().chain(output).chain([name]), from, to);
    }
    replace(input.iter_mut().chain(output).map(|value| &mut value.name), from, to);
    replace(initializer.iter_mut().map(|tensor| &mut tensor.name), from, to);
}

fn replace<'a>(names: impl Iterator<Item = &'a mut String>, from: &str, to: &str) {
    names.filter(|name| *name == from).for_each(|name| to.clone_into(name));
}
