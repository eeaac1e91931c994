//! Writes the ONNX graph of a network, node by node, from the same layer list that the network is built from.

use super::fold::Weights;
use anyhow::{Context, Result};
use models::architecture::{Convolution, Op};
use models::card::{LOGITS, ModelCard, PROBABILITIES};
use models::onnx::proto::attribute_proto::AttributeType;
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use models::onnx::proto::type_proto::{self, Tensor as TensorType};
use models::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto,
};
use std::collections::BTreeMap;

/// The opset written: the lowest in which all of the graph's operators, and the per-channel quantization that an int8
/// file needs (`DequantizeLinear` with an axis), mean what we use them for.
pub const OPSET: i64 = 13;

/// IR version of the file: the one that came with opset 13 (ONNX 1.8).
const IR_VERSION: i64 = 7;

/// Name of the open batch extent.
const BATCH: &str = "N";

/// Names of ReLU6's limits, shared by all `Clip` nodes.
const CLIP_MIN: &str = "relu6.min";
const CLIP_MAX: &str = "relu6.max";

/// Writes the graph of the network that `card` describes. The card itself is not embedded yet.
pub fn write(card: &ModelCard, weights: &BTreeMap<String, Weights>) -> Result<ModelProto> {
    let mut graph = Graph::default();
    let mut x = graph.preprocessing(card)?;
    graph.constant(CLIP_MIN, &[], &[0.0]);
    graph.constant(CLIP_MAX, &[], &[6.0]);

    for layer in card.architecture.layers() {
        let name = layer.name.as_str();
        match layer.op {
            Op::Convolution(convolution) => {
                let own = weights.get(name).with_context(|| format!("no weights for layer {name}"))?;
                x = graph.convolution(name, &x, convolution, own);
            }
            Op::GlobalAveragePool => {
                let pooled = graph.node("GlobalAveragePool", &[&x], name, vec![]);
                x = graph.node("Flatten", &[&pooled], "features", vec![integer("axis", 1)]);
            }
            Op::Linear => {
                let own = weights.get(name).with_context(|| format!("no weights for layer {name}"))?;
                let parameters = graph.weights(name, own);
                let inputs: Vec<&str> =
                    std::iter::once(x.as_str()).chain(parameters.iter().map(String::as_str)).collect();
                x = graph.node("Gemm", &inputs, name, vec![integer("transB", 1)]);
            }
        }
    }
    // The last node yields the logits under their own name.
    if let Some(last) = graph.nodes.last_mut() {
        last.output = vec![LOGITS.to_owned()];
    }
    graph.node("Softmax", &[LOGITS], PROBABILITIES, vec![integer("axis", 1)]);

    let (input, classes) = (&card.input, card.architecture.classes);
    let graph = GraphProto {
        name: card.architecture.kind.name().to_owned(),
        node: graph.nodes,
        initializer: graph.initializers,
        input: vec![tensor(&input.name, DataType::Uint8, &[input.channels, input.height, input.width])],
        output: vec![tensor(LOGITS, DataType::Float, &[classes]), tensor(PROBABILITIES, DataType::Float, &[classes])],
        ..GraphProto::default()
    };
    Ok(ModelProto {
        ir_version: IR_VERSION,
        producer_name: "train".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        graph: Some(graph),
        ..ModelProto::default()
    })
}

/// Nodes and initialisers so far.
#[derive(Default)]
struct Graph {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl Graph {
    /// Adds a node that yields one value, named like the node, and returns the name.
    fn node(&mut self, op: &str, inputs: &[&str], name: &str, attribute: Vec<AttributeProto>) -> String {
        self.nodes.push(NodeProto {
            name: name.to_owned(),
            op_type: op.to_owned(),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            attribute,
            ..NodeProto::default()
        });
        name.to_owned()
    }

    /// Adds a float initialiser.
    fn constant(&mut self, name: &str, shape: &[i64], values: &[f32]) {
        self.initializers.push(TensorProto {
            name: name.to_owned(),
            data_type: DataType::Float as i32,
            dims: shape.to_vec(),
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
    }

    /// Adds a layer's weight and bias and returns their names.
    fn weights(&mut self, layer: &str, weights: &Weights) -> Vec<String> {
        let mut names = vec![format!("{layer}.weight")];
        self.constant(&names[0], &weights.shape, &weights.weight);
        if let Some(bias) = &weights.bias {
            names.push(format!("{layer}.bias"));
            self.constant(&names[1], &[bias.len() as i64], bias);
        }
        names
    }

    /// From the uint8 input to the network's: cast, scale and shift per channel, resize.
    fn preprocessing(&mut self, card: &ModelCard) -> Result<String> {
        let (scale, shift) = card.preprocessing.scale_and_shift();
        let per_channel = [1, scale.len() as i64, 1, 1];
        self.constant("input.scale", &per_channel, &scale);
        self.constant("input.shift", &per_channel, &shift);
        let to_float = vec![integer("to", DataType::Float as i64)];
        let x = self.node("Cast", &[&card.input.name], "input.float", to_float);
        let x = self.node("Mul", &[&x, "input.scale"], "input.scaled", vec![]);
        let x = self.node("Add", &[&x, "input.shift"], "input.normalised", vec![]);
        let resolution = card.architecture.resolution;
        if [card.input.height, card.input.width] == [resolution; 2] {
            return Ok(x);
        }
        let factors = [1.0, 1.0, factor(card.input.height, resolution)?, factor(card.input.width, resolution)?];
        self.constant("input.factors", &[4], &factors);
        let bilinear = vec![text("mode", "linear"), text("coordinate_transformation_mode", "half_pixel")];
        // The second input, a region of interest, is not used by this mode.
        Ok(self.node("Resize", &[&x, "", "input.factors"], "input.resized", bilinear))
    }

    /// A convolution, with ReLU6 if it was followed by batch norm and ReLU6 in training.
    fn convolution(&mut self, name: &str, x: &str, convolution: Convolution, weights: &Weights) -> String {
        let Convolution { kernel, stride, padding, groups, normalised, .. } = convolution;
        let parameters = self.weights(name, weights);
        let inputs: Vec<&str> = std::iter::once(x).chain(parameters.iter().map(String::as_str)).collect();
        let attributes = vec![
            integers("kernel_shape", &[kernel; 2]),
            integers("strides", &[stride; 2]),
            integers("pads", &[padding; 4]),
            integer("group", groups as i64),
        ];
        if !normalised {
            return self.node("Conv", &inputs, name, attributes);
        }
        let convolved = self.node("Conv", &inputs, &format!("{name}.conv"), attributes);
        self.node("Clip", &[&convolved, CLIP_MIN, CLIP_MAX], name, vec![])
    }
}

/// The factor of a `Resize` from `from` to `to` pixels: the operator yields ⌊from · factor⌋, so the factor must not be
/// rounded below the true one.
fn factor(from: usize, to: usize) -> Result<f32> {
    let extent = |factor: f32| (from as f32 * factor).floor();
    let exact = to as f32 / from as f32;
    let candidates = [exact, exact.next_up(), exact.next_up().next_up()];
    let fitting = candidates.into_iter().find(|&candidate| extent(candidate) as usize == to);
    fitting.with_context(|| format!("no 32-bit factor resizes {from} to {to} pixels"))
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i: value, ..AttributeProto::default() }
}

fn integers(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: values.iter().map(|&value| value as i64).collect(),
        ..AttributeProto::default()
    }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::String as i32,
        s: value.as_bytes().to_vec(),
        ..AttributeProto::default()
    }
}

/// An input or output `[N, …shape]`.
fn tensor(name: &str, element: DataType, shape: &[usize]) -> ValueInfoProto {
    let open = dimension::Value::DimParam(BATCH.to_owned());
    let fixed = shape.iter().map(|&extent| dimension::Value::DimValue(extent as i64));
    let dim = std::iter::once(open)
        .chain(fixed)
        .map(|value| Dimension { value: Some(value), ..Dimension::default() })
        .collect();
    let kind = TensorType { elem_type: element as i32, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(kind)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::factor;

    #[test]
    fn every_resize_yields_the_extent_that_was_asked_for() {
        for from in [8, 20, 28, 32, 96, 100, 224, 333] {
            for to in 8..=512 {
                let factor = factor(from, to).unwrap();
                assert_eq!((from as f32 * factor).floor() as usize, to, "{from} to {to}");
                assert!((f64::from(factor) - to as f64 / from as f64).abs() < 1e-5);
            }
        }
    }
}
