//! Follows a graph from node to node.

use super::attributes::Attributes;
use super::constants::{Constant, Values, constant};
use super::{Chain, Convolution, Foreign, Numbers, Reading, Scaled, Step, expect, foreign};
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::proto::{GraphProto, NodeProto};
use std::collections::HashMap;

/// Position in the graph, and the steps read so far.
pub(super) struct Reader<'a> {
    graph: &'a GraphProto,
    /// Weights and biases are taken out when they are used.
    constants: HashMap<&'a str, Constant>,
    /// Name of the value after the steps so far.
    value: &'a str,
    /// Nodes already read that are only part of a step.
    pending: Pending,
    steps: Vec<Step>,
    values: Vec<String>,
}

/// Nodes that make a step only together with the next ones.
#[derive(PartialEq)]
enum Pending {
    Nothing,
    Cast,
    Scaled(Vec<f32>),
    Quantized(f32, u8),
}

impl<'a> Reader<'a> {
    pub fn new(graph: &'a GraphProto) -> Reading<Self> {
        let constants = graph.initializer.iter().map(|tensor| Ok((tensor.name.as_str(), constant(tensor)?)));
        let constants: HashMap<_, _> = constants.collect::<Reading<_>>()?;
        let mut inputs = graph.input.iter().map(|input| input.name.as_str());
        let (Some(value), None) = (inputs.next(), inputs.next()) else {
            return Err(Foreign(format!("it has {} inputs: expected one", graph.input.len())));
        };
        Ok(Self { graph, constants, value, pending: Pending::Nothing, steps: Vec::new(), values: Vec::new() })
    }

    pub fn read(mut self, output: &str) -> Reading<Chain> {
        for node in &self.graph.node {
            if self.value == output && self.pending == Pending::Nothing {
                break;
            }
            let read = self.node(node);
            read.map_err(|Foreign(why)| Foreign(format!("its {} node '{}': {why}", node.op_type, node.name)))?;
        }
        if self.value == output && self.pending == Pending::Nothing {
            Ok(Chain { steps: self.steps, values: self.values })
        } else {
            foreign(format!("'{output}' is not the last value of one chain of nodes"))
        }
    }

    fn node(&mut self, node: &'a NodeProto) -> Reading<()> {
        if !matches!(&*node.domain, "" | "ai.onnx") {
            return foreign("it is not a standard operator");
        }
        let [output] = &node.output[..] else { return foreign("it has more than one output") };
        let takes = node.input.first().map_or("", String::as_str);
        if let Some(constant) = self.constants.remove(takes) {
            let constant = self.computed(node, constant)?;
            self.constants.insert(output, constant);
            return Ok(());
        }
        if takes != self.value {
            return foreign(format!("its input is '{takes}': expected '{}'", self.value));
        }
        let attributes = Attributes(node);
        let one = matches!(&*node.op_type, "Cast" | "GlobalAveragePool" | "Flatten" | "Softmax");
        expect(!one || node.input.len() == 1, "expected one input")?;
        let pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        match (&*node.op_type, pending) {
            ("Cast", Pending::Nothing) if self.steps.is_empty() => {
                attributes.only(&["to"])?;
                expect(attributes.integer("to")? == Some(DataType::Float as i64), "expected a cast to float")?;
                self.pending = Pending::Cast;
            }
            ("Mul", Pending::Cast) => self.pending = Pending::Scaled(self.per_channel(node)?),
            ("Add", Pending::Scaled(scale)) => {
                let shift = self.per_channel(node)?;
                expect(shift.len() == scale.len(), "expected as many shifts as scales")?;
                self.steps.push(Step::Pixels { scale, shift, factors: None });
            }
            ("Resize", Pending::Nothing) => self.resize(node)?,
            ("Conv", Pending::Nothing) => self.convolution(node)?,
            ("Clip", Pending::Nothing) => self.clip(node)?,
            ("QuantizeLinear", Pending::Nothing) => {
                attributes.only(&[])?;
                let (scale, zero) = self.range(node)?;
                self.pending = Pending::Quantized(scale, zero);
            }
            ("DequantizeLinear", Pending::Quantized(scale, zero)) => {
                attributes.only(&[])?;
                expect(
                    self.range(node)? == (scale, zero),
                    "expected the scale and zero point that the value was quantized with",
                )?;
                self.steps.push(Step::Rounded { scale, zero });
            }
            ("GlobalAveragePool", Pending::Nothing) => {
                attributes.only(&[])?;
                self.steps.push(Step::Mean);
            }
            ("Flatten", Pending::Nothing) => {
                attributes.only(&["axis"])?;
                let pooled = self.steps.last() == Some(&Step::Mean);
                expect(
                    pooled && attributes.integer("axis")?.unwrap_or(1) == 1,
                    "expected it after a pooling, with axis 1",
                )?;
                self.steps.push(Step::Flattened);
            }
            ("Gemm", Pending::Nothing) => self.linear(node)?,
            ("Softmax", Pending::Nothing) => {
                attributes.only(&["axis"])?;
                let flat = matches!(self.steps.last(), Some(Step::Linear { .. } | Step::Flattened));
                expect(
                    flat && matches!(attributes.integer("axis")?, Some(1 | -1)),
                    "expected on [N, classes], with axis 1",
                )?;
                self.steps.push(Step::Softmax);
            }
            _ => return foreign("train export does not write this operator here"),
        }
        self.value = output;
        if self.pending == Pending::Nothing {
            // A node merged into the previous step (`Resize`, `Clip`) renames that step's value.
            self.values.truncate(self.steps.len().saturating_sub(1));
            self.values.push(output.clone());
        }
        Ok(())
    }

    /// Evaluates a node with a constant input: it expands weights that the file stores in fewer bits.
    fn computed(&self, node: &NodeProto, constant: Constant) -> Reading<Constant> {
        let attributes = Attributes(node);
        let Constant { shape, values } = constant;
        let numbers = match (&*node.op_type, values) {
            ("Cast", Values::Halves(values)) => {
                attributes.only(&["to"])?;
                expect(attributes.integer("to")? == Some(DataType::Float as i64), "expected a cast to float")?;
                Numbers::Floats(values)
            }
            ("DequantizeLinear", Values::Bytes(values)) => {
                Numbers::Bytes(Scaled { values, scales: self.scales(node, &shape)? })
            }
            ("DequantizeLinear", Values::Integers(values)) => {
                Numbers::Integers(Scaled { values, scales: self.scales(node, &shape)? })
            }
            _ => return foreign("train export does not write this operator on constants"),
        };
        Ok(Constant { shape, values: Values::Numbers(numbers) })
    }

    /// The scales of a `DequantizeLinear` node for a constant of this shape: one for each output.
    fn scales(&self, node: &NodeProto, shape: &[usize]) -> Reading<Vec<f32>> {
        let attributes = Attributes(node);
        attributes.only(&["axis"])?;
        expect(attributes.integer("axis")? == Some(0) && node.input.len() == 2, "expected axis 0 and no zero point")?;
        let (outputs, scales) = self.floats(node, 1)?;
        expect(
            outputs.len() == 1 && shape.first() == outputs.first() && !scales.is_empty(),
            "expected a scale for each output",
        )?;
        Ok(scales.to_vec())
    }

    /// Takes a constant input out of the graph: its shape and numbers.
    fn numbers(&mut self, node: &NodeProto, index: usize) -> Reading<(Vec<usize>, Numbers)> {
        let name = node.input.get(index).map_or("", String::as_str);
        match self.constants.remove(name) {
            Some(Constant { shape, values: Values::Numbers(numbers) }) => Ok((shape, numbers)),
            _ => foreign(format!("its input {index}, '{name}', is not a constant of numbers that it alone uses")),
        }
    }

    /// A constant input of floats: its shape and values.
    fn floats(&self, node: &NodeProto, index: usize) -> Reading<(&[usize], &[f32])> {
        let name = node.input.get(index).map_or("", String::as_str);
        match self.constants.get(name) {
            Some(Constant { shape, values: Values::Numbers(Numbers::Floats(values)) }) => Ok((shape, values)),
            _ => foreign(format!("its input {index}, '{name}', is not a constant of floats")),
        }
    }

    /// A constant input that is a single float.
    fn float(&self, node: &NodeProto, index: usize) -> Reading<f32> {
        match self.floats(node, index)? {
            (_, &[value]) => Ok(value),
            (shape, _) => foreign(format!("its input {index} has the shape {shape:?}: expected one number")),
        }
    }

    /// The second input, which holds one number per channel.
    fn per_channel(&self, node: &NodeProto) -> Reading<Vec<f32>> {
        Attributes(node).only(&[])?;
        let (shape, values) = self.floats(node, 1)?;
        expect(matches!(shape, [1, _, 1, 1]) && node.input.len() == 2, "expected a number for each channel")?;
        Ok(values.to_vec())
    }

    /// Scale and zero point.
    fn range(&self, node: &NodeProto) -> Reading<(f32, u8)> {
        let scale = self.float(node, 1)?;
        let zero = node.input.get(2).and_then(|name| self.constants.get(name.as_str()));
        match zero {
            Some(Constant { values: Values::Byte(zero), .. }) if scale > 0.0 && scale.is_finite() => Ok((scale, *zero)),
            _ => foreign("expected a scale above 0 and a zero point of one byte"),
        }
    }

    fn resize(&mut self, node: &NodeProto) -> Reading<()> {
        let attributes = Attributes(node);
        attributes.only(&["mode", "coordinate_transformation_mode"])?;
        let half_pixel = attributes.text("coordinate_transformation_mode")?.is_none_or(|mode| mode == b"half_pixel");
        expect(attributes.text("mode")? == Some(b"linear") && half_pixel, "expected mode linear with half pixels")?;
        expect(node.input.len() == 3 && node.input[1].is_empty(), "expected factors, without sizes or region")?;
        let given = match self.floats(node, 2)? {
            (_, &[1.0, 1.0, rows, columns]) if rows > 0.0 && columns > 0.0 => [rows, columns],
            _ => return foreign("expected factors for rows and columns only"),
        };
        match self.steps.last_mut() {
            Some(Step::Pixels { factors: factors @ None, .. }) => *factors = Some(given),
            _ => return foreign("expected it right after the pixels"),
        }
        Ok(())
    }

    fn convolution(&mut self, node: &NodeProto) -> Reading<()> {
        let attributes = Attributes(node);
        attributes.only(&["kernel_shape", "strides", "pads", "group"])?;
        let (shape, weights) = self.numbers(node, 1)?;
        let &[outputs, inputs_per_group, kernel, columns] = &shape[..] else {
            return foreign("expected weights with four axes");
        };
        expect(
            kernel == columns && attributes.all("kernel_shape")?.is_none_or(|all| all == kernel),
            "expected a square kernel",
        )?;
        let bias = match node.input.len() {
            2 => Numbers::Floats(vec![0.0; outputs]),
            3 => self.numbers(node, 2)?.1,
            _ => return foreign("expected weights and a bias"),
        };
        let groups = attributes.integer("group")?.unwrap_or(1);
        let convolution = Convolution {
            weights,
            inputs_per_group,
            kernel,
            stride: attributes.all("strides")?.unwrap_or(1),
            padding: attributes.all("pads")?.unwrap_or(0),
            groups: usize::try_from(groups).unwrap_or(0),
            clamp: [f32::NEG_INFINITY, f32::INFINITY],
            bias,
        };
        expect(outputs > 0 && convolution.bias.len() == outputs, "expected a bias for each output")?;
        expect(
            convolution.groups > 0 && convolution.stride > 0 && kernel > 0,
            "expected a kernel, a stride and groups",
        )?;
        self.steps.push(Step::Convolution(convolution));
        Ok(())
    }

    fn clip(&mut self, node: &NodeProto) -> Reading<()> {
        Attributes(node).only(&[])?;
        let bounds = [self.float(node, 1)?, self.float(node, 2)?];
        match self.steps.last_mut() {
            Some(Step::Convolution(Convolution { clamp, .. }))
                if *clamp == [f32::NEG_INFINITY, f32::INFINITY] && bounds[0] <= bounds[1] =>
            {
                *clamp = bounds;
            }
            _ => return foreign("expected it once, right after a convolution"),
        }
        Ok(())
    }

    fn linear(&mut self, node: &NodeProto) -> Reading<()> {
        let attributes = Attributes(node);
        attributes.only(&["transB"])?;
        let (shape, weights) = self.numbers(node, 1)?;
        let &[outputs, _] = &shape[..] else { return foreign("expected weights with two axes") };
        expect(attributes.integer("transB")? == Some(1) && node.input.len() == 3, "expected transB 1 and a bias")?;
        let (shape, bias) = self.numbers(node, 2)?;
        // [N, 1] would be one for each image.
        expect(matches!(shape[..], [count] | [1, count] if count == outputs), "expected a bias for each output")?;
        let bias = bias.floats();
        expect(self.steps.last() == Some(&Step::Flattened), "expected after a pooling")?;
        self.steps.push(Step::Linear { weights, bias });
        Ok(())
    }
}
