//! Builds graphs from scratch: a chain of operators with attributes and constants that computes logits from an image.
//! Most nodes fit the one before, since otherwise few graphs would get past the first node.

use super::{ATTRIBUTES, OPERATORS, attribute, change, tensor};
use crate::choices::Choices;
use crate::example::{Example, LABELS, integer, node};
use models::onnx::limits::{Footprint, Limits};
use models::onnx::proto::{ModelProto, NodeProto, TensorProto, ValueInfoProto};

/// A model with up to sixteen operators between the image and the classifier.
pub fn model(choices: &mut Choices) -> ModelProto {
    let channels = choices.pick(&[1, 3]);
    let batch = choices.pick(&[None, Some(1), Some(4), Some(1024)]);
    let mut model = Example { channels, batch, ..Example::without_card() }.model();
    for opset in &mut model.opset_import {
        opset.version = choices.pick(&[13, 11, 17, 18, 9, 22]);
    }
    let end = lengthen(&mut model, choices);
    classify(&mut model, &end);
    if choices.once_in(4) {
        change(&mut model, choices);
    }
    model
}

/// Appends operators after the scaled image or after the convolution. Returns the last one's output.
fn lengthen(model: &mut ModelProto, choices: &mut Choices) -> String {
    let Some(graph) = &mut model.graph else { return String::new() };
    graph.node.truncate(choices.pick(&[2, 4]));
    let mut made = vec![graph.node[graph.node.len() - 1].output[0].clone()];
    for index in 0..=choices.below(16) {
        if choices.is_empty() {
            break;
        }
        let first = if choices.once_in(4) { choices.pick(&made) } else { made[made.len() - 1].clone() };
        let shape = shape(model, &first).unwrap_or_default();
        let output = format!("made.{index}");
        let (new, constants) = operation(&first, &shape, &output, &made, choices);
        let before = model.clone();
        if let Some(graph) = &mut model.graph {
            graph.node.push(new);
            graph.initializer.extend(constants);
        }
        if self::shape(model, &output).is_some() || choices.once_in(16) {
            made.push(output);
        } else {
            *model = before;
        }
    }
    made.swap_remove(made.len() - 1)
}

/// The shape of a value, if `Footprint` can follow the graph up to it.
fn shape(model: &ModelProto, name: &str) -> Option<Vec<u64>> {
    let mut model = model.clone();
    model.graph.as_mut()?.output = vec![ValueInfoProto { name: name.to_owned(), ..ValueInfoProto::default() }];
    let limits = Limits { elements: 1 << 20, memory: 1 << 24, ..Limits::default() };
    Footprint::estimate(&model, 1, &limits).ok()?.outputs.remove(name)
}

/// A node with the input `first`, and constants that may or may not fit its operator and the shape.
fn operation(
    first: &str,
    shape: &[u64],
    output: &str,
    made: &[String],
    choices: &mut Choices,
) -> (NodeProto, Vec<TensorProto>) {
    let operator = choices.pick(&OPERATORS);
    let mut new = node(operator, &[first], output, Vec::new());
    let mut constants = Vec::new();
    let extents: Vec<i64> = shape.iter().map(|&extent| extent as i64).collect();
    let channels = extents.get(1).copied().unwrap_or(1);
    let kernel = choices.pick(&[1, 3, 2]);
    let suited: Vec<Vec<i64>> = match operator {
        "Conv" => vec![vec![choices.pick(&[1, 4, 2]), channels, kernel, kernel]],
        "ConvTranspose" => vec![vec![channels, choices.pick(&[1, 4, 2]), kernel, kernel]],
        "BatchNormalization" => vec![vec![channels]; 4],
        "InstanceNormalization" => vec![vec![channels]; 2],
        "MatMul" | "Gemm" => vec![vec![extents.last().copied().unwrap_or(1), choices.pick(&[3, 1, 5])]],
        "Add" | "Sub" | "Mul" | "Div" | "PRelu" => {
            vec![choices.pick(&[vec![], vec![1, channels, 1, 1], extents.clone()])]
        }
        "LayerNormalization" => vec![vec![extents.last().copied().unwrap_or(1)]],
        _ => Vec::new(),
    };
    for dims in suited {
        constants.push(weights(&format!("{output}.{}", constants.len()), &dims, choices));
    }
    for _ in 0..choices.below(4) {
        if choices.once_in(4) {
            new.input.push(if choices.once_in(2) { String::new() } else { choices.pick(made) });
        } else if constants.len() < 3 {
            constants.push(tensor(&format!("{output}.{}", constants.len()), choices));
        }
    }
    new.input.extend(constants.iter().map(|constant| constant.name.clone()));
    for _ in 0..choices.below(4) {
        let name = if choices.once_in(8) { choices.pick(&ATTRIBUTES) } else { choices.pick(known(operator)) };
        if new.attribute.iter().all(|attribute| attribute.name != name) {
            new.attribute.push(attribute(name, choices));
        }
    }
    (new, constants)
}

fn weights(name: &str, dims: &[i64], choices: &mut Choices) -> TensorProto {
    let count = dims.iter().fold(1_i64, |count, &extent| count.saturating_mul(extent)).clamp(0, 1 << 16) as usize;
    let float_data = vec![f32::from(choices.byte()) / 256.0; count];
    TensorProto { name: name.to_owned(), dims: dims.to_vec(), data_type: 1, float_data, ..TensorProto::default() }
}

/// The attributes of an operator.
fn known(operator: &str) -> &'static [&'static str] {
    match operator {
        "Conv" | "ConvTranspose" | "MaxPool" | "AveragePool" => {
            &["kernel_shape", "strides", "pads", "dilations", "group", "auto_pad", "output_shape", "ceil_mode"]
        }
        "Transpose" => &["perm"],
        "Cast" => &["to"],
        "LRN" => &["size"],
        "DepthToSpace" | "SpaceToDepth" => &["blocksize", "mode"],
        "Constant" | "ConstantOfShape" => &["value", "value_ints"],
        "Resize" | "Upsample" => &["mode", "coordinate_transformation_mode", "axes"],
        "Gemm" => &["transA", "transB", "alpha"],
        _ => &["axis", "axes", "keepdims"],
    }
}

/// Turns a value of any shape into logits: its mean per image, times one weight per class.
fn classify(model: &mut ModelProto, end: &str) {
    let Some(graph) = &mut model.graph else { return };
    let weights = TensorProto { name: "ones".to_owned(), dims: vec![1, LABELS.len() as i64], ..TensorProto::default() };
    graph.initializer.push(TensorProto { data_type: 1, float_data: vec![1.0; LABELS.len()], ..weights });
    let rows = TensorProto { name: "rows".to_owned(), dims: vec![4], data_type: 7, ..TensorProto::default() };
    graph.initializer.push(TensorProto { int64_data: vec![0, 1, -1, 1], ..rows });
    graph.node.extend([
        node("Cast", &[end], "floats", vec![integer("to", 1)]),
        node("Flatten", &["floats"], "rows.flat", Vec::new()),
        node("Reshape", &["rows.flat", "rows"], "rows.picture", Vec::new()),
        node("GlobalAveragePool", &["rows.picture"], "rows.mean", Vec::new()),
        node("Flatten", &["rows.mean"], "rows.one", Vec::new()),
        node("MatMul", &["rows.one", "ones"], "logits", Vec::new()),
        node("Softmax", &["logits"], "probabilities", Vec::new()),
    ]);
}
