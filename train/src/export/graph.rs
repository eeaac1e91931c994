//! Writes the ONNX graph of a network, node by node, from the layer list that the network itself is built from.

use super::Settings;
use super::fold::Weights;

use super::quantize::{self, Quantized, Range};
use anyhow::{Context, Result, ensure};
use models::architecture::{Convolution, Op};
use models::card::{GraphInput, LOGITS, ModelCard, PROBABILITIES};
use models::onnx::nodes::{Nodes, integer, integers, tensor, text};
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::proto::{GraphProto, ModelProto, OperatorSetIdProto};
use models::preprocess::factor;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The default opset: the lowest that defines all operators as the graph uses them, including the per-channel
/// quantization that int8 files need (`DequantizeLinear` with an axis).
pub const OPSET: i64 = 13;

/// The supported opsets. None of the operators used here changed its meaning between them.
pub const OPSETS: RangeInclusive<i64> = OPSET..=24;

/// The IR version released with an opset (ONNX's `docs/Versioning.md`), which every reader of that opset supports.
fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        _ => 12,
    }
}

/// Returns an error that gives the reason if an opset is not supported.
pub fn check_opset(opset: i64) -> Result<()> {
    ensure!(
        opset >= *OPSETS.start(),
        "opset {opset} is too low: the graph needs Softmax and per-channel DequantizeLinear as in opset {} or later",
        OPSETS.start()
    );
    ensure!(opset <= *OPSETS.end(), "opset {opset} is not supported: {} is the newest", OPSETS.end());
    Ok(())
}

/// Names of the limits of ReLU6, shared by all `Clip` nodes.
const CLIP_MIN: &str = "relu6.min";
const CLIP_MAX: &str = "relu6.max";

/// The weights to write into a graph.
#[derive(Clone, Copy)]
pub enum Numbers<'a> {
    /// The folded weights in fp32.
    Fp32(&'a BTreeMap<String, Weights>),
    /// The folded weights, rounded to fp16 and widened again by a `Cast`.
    Fp16(&'a BTreeMap<String, Weights>),
    /// Quantized.
    Int8(&'a Quantized),
}

/// Writes the graph of the network that `card` describes. The caller embeds the card afterwards. Errors if the opset is
/// not supported or a layer has no weights.
pub fn write(card: &ModelCard, numbers: Numbers, settings: &Settings) -> Result<ModelProto> {
    check_opset(settings.opset)?;
    let mut graph = Graph { nodes: Nodes::default(), numbers };
    let mut x = graph.input(card)?;
    if !matches!(numbers, Numbers::Int8(_)) {
        graph.nodes.floats(CLIP_MIN, &[], &[0.0]);
        graph.nodes.floats(CLIP_MAX, &[], &[6.0]);
    }
    let architecture = card.network()?;
    for layer in architecture.layers() {
        let name = layer.name.as_str();
        x = match layer.op {
            Op::Convolution(convolution) => graph.convolution(name, &x, convolution)?,
            Op::GlobalAveragePool => {
                let pooled = graph.nodes.node("GlobalAveragePool", &[&x], name, vec![]);
                graph.nodes.node("Flatten", &[&pooled], "features", vec![integer("axis", 1)])
            }
            Op::Linear => {
                let parameters = graph.parameters(name)?;
                let inputs: Vec<&str> =
                    std::iter::once(x.as_str()).chain(parameters.iter().map(String::as_str)).collect();
                graph.nodes.node("Gemm", &inputs, name, vec![integer("transB", 1)])
            }
        };
    }
    graph.nodes.rename_last(LOGITS);
    if settings.outputs.probabilities() {
        graph.nodes.node("Softmax", &[LOGITS], PROBABILITIES, vec![integer("axis", 1)]);
    }

    let (input, classes, resolution) = (&card.input, architecture.classes, architecture.resolution);
    let (element, image) = match card.takes {
        GraphInput::Images => (DataType::Uint8, [input.channels, input.height, input.width]),
        GraphInput::Normalised => (DataType::Float, [input.channels, resolution, resolution]),
    };
    let outputs = settings.outputs.names();
    let graph = GraphProto {
        name: architecture.kind.name().to_owned(),
        node: graph.nodes.nodes,
        initializer: graph.nodes.initializers,
        input: vec![tensor(&input.name, element, settings.batch, &image)],
        output: outputs.iter().map(|name| tensor(name, DataType::Float, settings.batch, &[classes])).collect(),
        ..GraphProto::default()
    };
    Ok(ModelProto {
        ir_version: ir_version(settings.opset),
        producer_name: "train".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: settings.opset }],
        graph: Some(graph),
        ..ModelProto::default()
    })
}

/// The graph under construction, and the weights to write into it.
struct Graph<'a> {
    nodes: Nodes,
    numbers: Numbers<'a>,
}

impl Graph<'_> {
    /// Adds the nodes from the graph's input to the first convolution: cast, scale and shift per channel, and resize,
    /// unless the caller prepares the images itself.
    fn input(&mut self, card: &ModelCard) -> Result<String> {
        let x = match card.takes {
            GraphInput::Normalised => card.input.name.clone(),
            GraphInput::Images => self.preprocessing(card)?,
        };
        self.quantized(x, quantize::INPUT)
    }

    fn preprocessing(&mut self, card: &ModelCard) -> Result<String> {
        let graph = &mut self.nodes;
        let x = graph.normalised(&card.input.name, &card.preprocessing);
        let resolution = card.network()?.resolution;
        if [card.input.height, card.input.width] == [resolution; 2] {
            return Ok(x);
        }
        let factors = [1.0, 1.0, factor(card.input.height, resolution)?, factor(card.input.width, resolution)?];
        graph.floats("input.factors", &[4], &factors);
        let bilinear = vec![text("mode", "linear"), text("coordinate_transformation_mode", "half_pixel")];
        // The second input, the region of interest, is not used in this mode.
        Ok(graph.node("Resize", &[&x, "", "input.factors"], "input.resized", bilinear))
    }

    /// Adds a convolution, followed by ReLU6 if the layer has batch norm and ReLU6 in training.
    fn convolution(&mut self, name: &str, x: &str, convolution: Convolution) -> Result<String> {
        let Convolution { kernel, stride, padding, groups, normalised, .. } = convolution;
        let parameters = self.parameters(name)?;
        let inputs: Vec<&str> = std::iter::once(x).chain(parameters.iter().map(String::as_str)).collect();
        let attributes = vec![
            integers("kernel_shape", &[kernel; 2]),
            integers("strides", &[stride; 2]),
            integers("pads", &[padding; 4]),
            integer("group", groups as i64),
        ];
        if !normalised {
            return Ok(self.nodes.node("Conv", &inputs, name, attributes));
        }
        let convolved = self.nodes.node("Conv", &inputs, &format!("{name}.conv"), attributes);
        match self.numbers {
            // The quantized range, 0 to at most 6, already clips the value.
            Numbers::Int8(_) => self.quantized(convolved, name),
            _ => Ok(self.nodes.node("Clip", &[&convolved, CLIP_MIN, CLIP_MAX], name, vec![])),
        }
    }

    /// In an int8 graph, adds nodes that quantize and dequantize a value; otherwise returns the value unchanged.
    fn quantized(&mut self, value: String, name: &str) -> Result<String> {
        let Numbers::Int8(quantized) = self.numbers else { return Ok(value) };
        let Range { scale, zero_point } = quantized.range(name)?;
        let (scale_name, zero_point_name) = (format!("{name}.scale"), format!("{name}.zero"));
        self.nodes.floats(&scale_name, &[], &[scale]);
        self.nodes.byte(&zero_point_name, zero_point);
        let bytes = self.nodes.node(
            "QuantizeLinear",
            &[&value, &scale_name, &zero_point_name],
            &format!("{name}.quantized"),
            vec![],
        );
        Ok(self.nodes.node(
            "DequantizeLinear",
            &[&bytes, &scale_name, &zero_point_name],
            &format!("{name}.dequantized"),
            vec![],
        ))
    }

    /// Adds a layer's weight and bias and returns the names of their values as 32-bit floats.
    fn parameters(&mut self, layer: &str) -> Result<Vec<String>> {
        let missing = || format!("no weights for layer {layer}");
        let name = format!("{layer}.weight");
        let bias_name = format!("{layer}.bias");
        let graph = &mut self.nodes;
        let mut names = vec![name.clone()];
        match self.numbers {
            Numbers::Fp32(weights) | Numbers::Fp16(weights) => {
                let Weights { shape, weight, bias } = weights.get(layer).with_context(missing)?;
                if matches!(self.numbers, Numbers::Fp16(_)) {
                    graph.halves(&name, shape, weight)?;
                    names = vec![graph.cast(&name, DataType::Float, &format!("{name}.float"))];
                } else {
                    graph.floats(&name, shape, weight);
                }
                if let Some(bias) = bias {
                    graph.floats(&bias_name, &[bias.len() as i64], bias);
                    names.push(bias_name);
                }
            }
            Numbers::Int8(quantized) => {
                let quantize::Weights { shape, weight, scales, bias } =
                    quantized.layers.get(layer).with_context(missing)?;
                let channels = [scales.len() as i64];
                let dequantized = |graph: &mut Nodes, name: &str, scales: &[f32]| {
                    let scale_name = format!("{name}.scale");
                    graph.floats(&scale_name, &channels, scales);
                    let axis = vec![integer("axis", 0)];
                    graph.node("DequantizeLinear", &[name, &scale_name], &format!("{name}.float"), axis)
                };
                graph.signed_bytes(&name, shape, weight);
                names = vec![dequantized(graph, &name, scales)];
                match bias {
                    Some(quantize::Bias::Int32 { values, scales }) => {
                        graph.integers(&bias_name, &channels, values);
                        names.push(dequantized(graph, &bias_name, scales));
                    }
                    Some(quantize::Bias::Fp32(values)) => {
                        graph.floats(&bias_name, &channels, values);
                        names.push(bias_name);
                    }
                    None => (),
                }
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opset_that_cannot_be_written_is_refused_with_the_reason() {
        for opset in OPSETS {
            check_opset(opset).unwrap();
        }
        assert!(check_opset(12).unwrap_err().to_string().contains("per-channel DequantizeLinear"));
        assert!(check_opset(99).unwrap_err().to_string().contains("24 is the newest"));
    }
}
