//! Malicious models: a valid model changed in critical places, and graphs of arbitrary operators ([`graph`]).
//!
//! Each test file compiles this module and uses its own part of it.
#![allow(dead_code, missing_docs)]

pub mod graph;

use crate::choices::Choices;
use models::onnx::proto::attribute_proto::AttributeType;
use models::onnx::proto::tensor_proto::DataLocation;
use models::onnx::proto::tensor_shape_proto::dimension::Value;
use models::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    TensorProto, TypeProto, ValueInfoProto, type_proto,
};

/// Operators, including some with outputs much larger than their inputs, and some that do not exist.
pub const OPERATORS: [&str; 62] = [
    "Relu",
    "Add",
    "Mul",
    "Sub",
    "Div",
    "Clip",
    "Softmax",
    "Sigmoid",
    "Identity",
    "Cast",
    "Floor",
    "Neg",
    "Erf",
    "Transpose",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Concat",
    "Split",
    "Slice",
    "Gather",
    "Shape",
    "Size",
    "Tile",
    "Expand",
    "Pad",
    "Resize",
    "Upsample",
    "ConstantOfShape",
    "Range",
    "Constant",
    "Conv",
    "ConvTranspose",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "LRN",
    "BatchNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "MatMul",
    "Gemm",
    "ReduceMean",
    "ReduceSum",
    "ArgMax",
    "TopK",
    "DepthToSpace",
    "SpaceToDepth",
    "QuantizeLinear",
    "DequantizeLinear",
    "Where",
    "Equal",
    "PRelu",
    "Dropout",
    "OneHot",
    "CumSum",
    "If",
    "Loop",
    "Einsum",
    "LSTM",
    "NoSuchOperator",
];

/// Attributes of the operators above.
pub const ATTRIBUTES: [&str; 26] = [
    "axis",
    "axes",
    "pads",
    "strides",
    "kernel_shape",
    "group",
    "dilations",
    "perm",
    "to",
    "blocksize",
    "keepdims",
    "ceil_mode",
    "auto_pad",
    "transA",
    "transB",
    "alpha",
    "value",
    "value_ints",
    "size",
    "mode",
    "shape",
    "scales",
    "output_shape",
    "output_padding",
    "allowzero",
    "coordinate_transformation_mode",
];

/// Changes a model in one to four places.
pub fn change(model: &mut ModelProto, choices: &mut Choices) {
    for _ in 0..=choices.below(4) {
        change_once(model, choices);
    }
}

fn change_once(model: &mut ModelProto, choices: &mut Choices) {
    if choices.once_in(12) {
        return change_envelope(model, choices);
    }
    let Some(graph) = &mut model.graph else { return };
    match choices.below(10) {
        0..4 => change_node(graph, choices),
        4..7 => {
            let index = choices.below(graph.initializer.len());
            if let Some(tensor) = graph.initializer.get_mut(index) {
                change_tensor(tensor, choices);
            }
        }
        7 => {
            let inputs = choices.once_in(2);
            let values = if inputs { &mut graph.input } else { &mut graph.output };
            let index = choices.below(values.len());
            if let Some(value) = values.get_mut(index) {
                change_value(value, choices);
            }
        }
        8 => insert_node(graph, choices),
        _ => {
            let (one, other) = (choices.below(graph.node.len()), choices.below(graph.node.len()));
            if one < graph.node.len() && other < graph.node.len() {
                graph.node.swap(one, other);
            }
        }
    }
}

fn change_envelope(model: &mut ModelProto, choices: &mut Choices) {
    match choices.below(6) {
        0 => model.opset_import.clear(),
        1 => model.opset_import.push(OperatorSetIdProto { domain: String::new(), version: choices.number() }),
        2 => model.functions.push(FunctionProto::default()),
        3 => model.ir_version = choices.number(),
        4 => model.graph.iter_mut().for_each(|graph| graph.sparse_initializer.push(SparseTensorProto::default())),
        _ => model.opset_import.iter_mut().for_each(|opset| opset.version = choices.below(26) as i64),
    }
}

pub fn change_tensor(tensor: &mut TensorProto, choices: &mut Choices) {
    match choices.below(7) {
        0 => {
            let axis = choices.below(tensor.dims.len());
            if let Some(extent) = tensor.dims.get_mut(axis) {
                *extent = choices.number();
            }
        }
        1 => tensor.dims.push(choices.number()),
        2 => tensor.dims.truncate(1),
        3 => tensor.data_type = choices.below(24) as i32,
        4 => tensor.float_data.truncate(choices.below(8)),
        5 => tensor.raw_data = vec![choices.byte(); choices.below(64)],
        _ => tensor.set_data_location(DataLocation::External),
    }
}

fn change_value(value: &mut ValueInfoProto, choices: &mut Choices) {
    let Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) = &mut value.r#type else { return };
    if choices.once_in(4) {
        tensor.elem_type = choices.below(24) as i32;
    }
    let Some(shape) = &mut tensor.shape else { return };
    let axis = choices.below(shape.dim.len());
    if let Some(dim) = shape.dim.get_mut(axis) {
        dim.value = Some(Value::DimValue(choices.number()));
    }
}

fn change_node(graph: &mut GraphProto, choices: &mut Choices) {
    let names = names(graph);
    let index = choices.below(graph.node.len());
    let Some(node) = graph.node.get_mut(index) else { return };
    match choices.below(9) {
        0 => choices.pick(&OPERATORS).clone_into(&mut node.op_type),
        1 => {
            let input = choices.below(node.input.len());
            if let Some(input) = node.input.get_mut(input) {
                *input = choices.pick(&names);
            }
        }
        2 => node.input.truncate(choices.below(3)),
        3 => node.input.push(choices.pick(&names)),
        4 => node.attribute.clear(),
        5 => "com.microsoft".clone_into(&mut node.domain),
        6 => {
            let index = choices.below(node.attribute.len());
            if let Some(attribute) = node.attribute.get_mut(index) {
                *attribute = self::attribute(&attribute.name.clone(), choices);
            }
        }
        _ => {
            let name = choices.pick(&ATTRIBUTES);
            node.attribute.push(attribute(name, choices));
        }
    }
}

/// The names of all values in the graph.
pub fn names(graph: &GraphProto) -> Vec<String> {
    let tensors = graph.initializer.iter().map(|tensor| tensor.name.clone());
    let outputs = graph.node.iter().flat_map(|node| node.output.clone());
    let names: Vec<_> = graph.input.iter().map(|input| input.name.clone()).chain(tensors).chain(outputs).collect();
    if names.is_empty() { vec![String::new()] } else { names }
}

/// Inserts a node between a node and the consumers of its output.
fn insert_node(graph: &mut GraphProto, choices: &mut Choices) {
    let place = choices.below(graph.node.len());
    let Some(name) = graph.node.get(place).and_then(|node| node.output.first()).cloned() else { return };
    let inserted = format!("{name}.{}", graph.node.len());
    let mut node = NodeProto {
        op_type: choices.pick(&OPERATORS).to_owned(),
        input: vec![name.clone()],
        output: vec![inserted.clone()],
        ..NodeProto::default()
    };
    for _ in 0..choices.below(3) {
        let attribute_name = choices.pick(&ATTRIBUTES);
        node.attribute.push(attribute(attribute_name, choices));
    }
    for _ in 0..choices.below(3) {
        let tensor = tensor(&format!("{inserted}.{}", graph.initializer.len()), choices);
        node.input.push(tensor.name.clone());
        graph.initializer.push(tensor);
    }
    for next in &mut graph.node[place + 1..] {
        next.input.iter_mut().filter(|input| **input == name).for_each(|input| input.clone_from(&inserted));
    }
    graph.node.insert(place + 1, node);
}

/// A short list of numbers, such as a shape: mostly small numbers, as many as the shape says.
pub fn tensor(name: &str, choices: &mut Choices) -> TensorProto {
    let count = choices.below(6);
    let dims = if count == 0 { vec![] } else { vec![count as i64] };
    let mut tensor = TensorProto { name: name.to_owned(), dims, ..TensorProto::default() };
    if choices.once_in(3) {
        tensor.data_type = 1;
        tensor.float_data =
            (0..count.max(1)).map(|_| choices.pick(&[1.0, 0.5, 2.0, 0.0, -1.0, 1e30, f32::NAN])).collect();
    } else {
        tensor.data_type = 7;
        tensor.int64_data = (0..count.max(1)).map(|_| choices.number()).collect();
    }
    tensor
}

/// An attribute with this name, mostly of the right type.
pub fn attribute(name: &str, choices: &mut Choices) -> AttributeProto {
    let mut attribute = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
    let lists = ["axes", "pads", "strides", "kernel_shape", "dilations", "perm", "value_ints", "output_shape"];
    attribute.set_type(match name {
        _ if choices.once_in(20) => choices.pick(&[AttributeType::Graph, AttributeType::Int, AttributeType::Tensors]),
        _ if lists.contains(&name) || name == "shape" || name == "output_padding" => AttributeType::Ints,
        "scales" => AttributeType::Floats,
        "alpha" => AttributeType::Float,
        "auto_pad" | "mode" | "coordinate_transformation_mode" => AttributeType::String,
        "value" => AttributeType::Tensor,
        _ => AttributeType::Int,
    });
    match attribute.r#type() {
        AttributeType::Ints => attribute.ints = (0..choices.below(9)).map(|_| choices.number()).collect(),
        AttributeType::Floats => attribute.floats = (0..choices.below(5)).map(|_| choices.number() as f32).collect(),
        AttributeType::Float => attribute.f = choices.pick(&[0.1, -1.0, f32::INFINITY, f32::NAN]),
        AttributeType::String => {
            let words = ["SAME_UPPER", "VALID", "linear", "nearest", "cubic", "constant", "edge", "half_pixel", "DCR"];
            attribute.s = choices.pick(&words).into();
        }
        AttributeType::Tensor => attribute.t = Some(tensor("", choices)),
        AttributeType::Graph => attribute.g = Some(GraphProto::default()),
        _ => attribute.i = Some(choices.number()),
    }
    attribute
}
