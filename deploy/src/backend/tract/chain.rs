//! The graphs that `train export` writes, read straight into what they compute.
//!
//! A MobileNet without branches is one value that goes from node to node. Read as such, it needs none of what a graph
//! from anywhere needs before it can run fast: no inference of shapes, no search for what belongs together, no folding
//! of constants. That is most of the time until a first answer. Every other graph is [`Foreign`], and says why.

use half::f16;
use models::onnx::proto::attribute_proto::AttributeType;
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use std::collections::HashMap;
use std::fmt;

/// What a graph computes, one step after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// The steps, in the order of the data.
    pub steps: Vec<Step>,
    /// The graph's name for the value after each of them.
    pub values: Vec<String>,
}

/// What a value becomes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Bytes to floats, scaled and shifted per channel (`Cast`, `Mul`, `Add`), then resized to so many times the rows
    /// and columns (`Resize`, bilinear, half pixels), if it is.
    Pixels {
        /// Per channel.
        scale: Vec<f32>,
        /// Per channel.
        shift: Vec<f32>,
        /// Of rows and columns.
        factors: Option<[f32; 2]>,
    },
    /// A convolution, brought between two numbers (`Conv`, `Clip`).
    Convolution(Convolution),
    /// To the nearest number that 8 bits can tell (`QuantizeLinear`, `DequantizeLinear`).
    Rounded {
        /// Step between two numbers.
        scale: f32,
        /// What 0 is stored as.
        zero: u8,
    },
    /// Mean of each channel (`GlobalAveragePool`).
    Mean,
    /// `[N, C, 1, 1]` to `[N, C]` (`Flatten`).
    Flattened,
    /// Matrix product and bias (`Gemm`).
    Linear {
        /// `[outputs, inputs]`.
        weights: Vec<f32>,
        /// `[outputs]`.
        bias: Vec<f32>,
    },
    /// `Softmax` over the classes.
    Softmax,
}

/// A convolution of `[1, C, H, W]` with a square kernel, the same stride and zeros on all sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// `[outputs, inputs / groups, kernel, kernel]`.
    pub weights: Vec<f32>,
    /// Input channels of each group.
    pub inputs_per_group: usize,
    /// `[outputs]`; zeros where the graph has none.
    pub bias: Vec<f32>,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Rows and columns of zeros on each side.
    pub padding: usize,
    /// Groups of channels.
    pub groups: usize,
    /// What the results are brought between.
    pub clamp: [f32; 2],
}

/// Why a graph is none of `train export`'s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign(String);

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Chain {
    /// Reads the steps to the output of this name.
    pub fn of(model: &ModelProto, output: &str) -> Result<Self, Foreign> {
        let graph = model.graph.as_ref().ok_or_else(|| Foreign("it has no graph".to_owned()))?;
        Reader::new(graph)?.read(output)
    }
}

/// A constant of the graph.
struct Constant {
    shape: Vec<usize>,
    values: Values,
}

enum Values {
    Floats(Vec<f32>),
    Halves(Vec<f32>),
    /// Signed bytes or 32-bit integers, both exact as such.
    Integers(Vec<i32>),
    Byte(u8),
}

/// Where the value is that goes from node to node.
struct Reader<'a> {
    graph: &'a GraphProto,
    constants: HashMap<&'a str, Constant>,
    /// Name of the value after the steps so far.
    value: &'a str,
    /// What was read of pixels that are not yet a step: nodes that only mean something together.
    pending: Pending,
    steps: Vec<Step>,
    values: Vec<String>,
}

/// Nodes that were read, but are only a part of a step.
#[derive(PartialEq)]
enum Pending {
    Nothing,
    Cast,
    Scaled(Vec<f32>),
    Quantized(f32, u8),
}

type Reading<T> = Result<T, Foreign>;

impl<'a> Reader<'a> {
    fn new(graph: &'a GraphProto) -> Reading<Self> {
        let constants = graph.initializer.iter().map(|tensor| Ok((tensor.name.as_str(), constant(tensor)?)));
        let constants: HashMap<_, _> = constants.collect::<Reading<_>>()?;
        let mut inputs = graph.input.iter().map(|input| input.name.as_str());
        let (Some(value), None) = (inputs.next(), inputs.next()) else {
            return Err(Foreign(format!("it has {} inputs: expected one", graph.input.len())));
        };
        Ok(Self { graph, constants, value, pending: Pending::Nothing, steps: Vec::new(), values: Vec::new() })
    }

    fn read(mut self, output: &str) -> Reading<Chain> {
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
            return foreign("it is no standard operator");
        }
        let [yields] = &node.output[..] else { return foreign("it yields more than one value") };
        let takes = node.input.first().map_or("", String::as_str);
        if let Some(constant) = self.constants.get(takes) {
            let constant = self.computed(node, constant)?;
            self.constants.insert(yields, constant);
            return Ok(());
        }
        if takes != self.value {
            return foreign(format!("it takes '{takes}': expected '{}'", self.value));
        }
        let attributes = Attributes(node);
        let one = matches!(&*node.op_type, "Cast" | "GlobalAveragePool" | "Flatten" | "Softmax");
        expect(!one || node.input.len() == 1, "expected one input")?;
        let pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        match (&*node.op_type, pending) {
            ("Cast", Pending::Nothing) if self.steps.is_empty() => {
                attributes.only(&["to"])?;
                expect(
                    attributes.integer("to")? == Some(DataType::Float as i64),
                    "it casts to something else than float",
                )?;
                self.pending = Pending::Cast;
            }
            ("Mul", Pending::Cast) => self.pending = Pending::Scaled(self.per_channel(node)?),
            ("Add", Pending::Scaled(scale)) => {
                let shift = self.per_channel(node)?;
                expect(shift.len() == scale.len(), "as many shifts as scales are expected")?;
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
                    "another scale or zero point than the value was quantized with",
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
                    "expected after a pooling, with axis 1",
                )?;
                self.steps.push(Step::Flattened);
            }
            ("Gemm", Pending::Nothing) => self.linear(node)?,
            ("Softmax", Pending::Nothing) => {
                attributes.only(&["axis"])?;
                let flat = matches!(self.steps.last(), Some(Step::Linear { .. } | Step::Flattened));
                expect(
                    flat && matches!(attributes.integer("axis")?, Some(1 | -1)),
                    "expected of [N, classes], with axis 1",
                )?;
                self.steps.push(Step::Softmax);
            }
            _ => return foreign("it is none that train export writes there"),
        }
        self.value = yields;
        if self.pending == Pending::Nothing {
            // A node that went into the step before it gives its value another name.
            self.values.truncate(self.steps.len().saturating_sub(1));
            self.values.push(yields.clone());
        }
        Ok(())
    }

    /// What a node makes of constants: numbers that the file stores in fewer bits.
    fn computed(&self, node: &NodeProto, constant: &Constant) -> Reading<Constant> {
        let attributes = Attributes(node);
        let shape = constant.shape.clone();
        match (&*node.op_type, &constant.values) {
            ("Cast", Values::Halves(values)) => {
                attributes.only(&["to"])?;
                expect(
                    attributes.integer("to")? == Some(DataType::Float as i64),
                    "it casts to something else than float",
                )?;
                Ok(Constant { shape, values: Values::Floats(values.clone()) })
            }
            ("DequantizeLinear", Values::Integers(values)) => {
                attributes.only(&["axis"])?;
                expect(
                    attributes.integer("axis")? == Some(0) && node.input.len() == 2,
                    "expected axis 0 and no zero point",
                )?;
                let (outputs, scales) = self.floats(node, 1)?;
                expect(
                    outputs.len() == 1 && shape.first() == outputs.first() && !scales.is_empty(),
                    "expected a scale for each output",
                )?;
                let per_output = (values.len() / scales.len()).max(1);
                let rows = values.chunks(per_output).zip(scales);
                let values = rows.flat_map(|(row, scale)| row.iter().map(move |&value| value as f32 * scale));
                Ok(Constant { shape, values: Values::Floats(values.collect()) })
            }
            _ => foreign("it computes with constants what train export does not write"),
        }
    }

    /// A constant input of floats, with its shape.
    fn floats(&self, node: &NodeProto, index: usize) -> Reading<(&[usize], &[f32])> {
        let name = node.input.get(index).map_or("", String::as_str);
        match self.constants.get(name) {
            Some(Constant { shape, values: Values::Floats(values) }) => Ok((shape, values)),
            _ => foreign(format!("its input {index}, '{name}', is no constant of floats")),
        }
    }

    /// A constant input of one float.
    fn float(&self, node: &NodeProto, index: usize) -> Reading<f32> {
        match self.floats(node, index)? {
            (_, &[value]) => Ok(value),
            (shape, _) => foreign(format!("its input {index} has the shape {shape:?}: expected one number")),
        }
    }

    /// The second input, a number for each channel.
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
        expect(attributes.text("mode")? == Some(b"linear") && half_pixel, "expected linear, with half pixels")?;
        expect(node.input.len() == 3 && node.input[1].is_empty(), "expected factors, and no sizes or region")?;
        let given = match self.floats(node, 2)? {
            (_, &[1.0, 1.0, rows, columns]) if rows > 0.0 && columns > 0.0 => [rows, columns],
            _ => return foreign("expected factors of rows and columns only"),
        };
        match self.steps.last_mut() {
            Some(Step::Pixels { factors: factors @ None, .. }) => *factors = Some(given),
            _ => return foreign("expected right after the pixels"),
        }
        Ok(())
    }

    fn convolution(&mut self, node: &NodeProto) -> Reading<()> {
        let attributes = Attributes(node);
        attributes.only(&["kernel_shape", "strides", "pads", "group"])?;
        let (shape, weights) = self.floats(node, 1)?;
        let &[outputs, inputs_per_group, kernel, columns] = shape else {
            return foreign("expected weights of four axes");
        };
        expect(
            kernel == columns && attributes.all("kernel_shape")?.is_none_or(|all| all == kernel),
            "expected a square kernel",
        )?;
        let bias = match node.input.len() {
            2 => vec![0.0; outputs],
            3 => self.floats(node, 2)?.1.to_vec(),
            _ => return foreign("expected weights and a bias"),
        };
        let groups = attributes.integer("group")?.unwrap_or(1);
        let convolution = Convolution {
            weights: weights.to_vec(),
            inputs_per_group,
            kernel,
            stride: attributes.all("strides")?.unwrap_or(1),
            padding: attributes.all("pads")?.unwrap_or(0),
            groups: usize::try_from(groups).unwrap_or(0),
            clamp: [f32::NEG_INFINITY, f32::INFINITY],
            bias,
        };
        expect(convolution.bias.len() == outputs, "expected a bias for each output")?;
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
                if clamp[0] == f32::NEG_INFINITY && bounds[0] <= bounds[1] =>
            {
                *clamp = bounds;
            }
            _ => return foreign("expected once, right after a convolution"),
        }
        Ok(())
    }

    fn linear(&mut self, node: &NodeProto) -> Reading<()> {
        let attributes = Attributes(node);
        attributes.only(&["transB"])?;
        let (shape, weights) = self.floats(node, 1)?;
        let &[outputs, _] = shape else { return foreign("expected weights of two axes") };
        expect(attributes.integer("transB")? == Some(1) && node.input.len() == 3, "expected transB 1 and a bias")?;
        let (_, bias) = self.floats(node, 2)?;
        expect(bias.len() == outputs, "expected a bias for each output")?;
        expect(self.steps.last() == Some(&Step::Flattened), "expected after a pooling")?;
        self.steps.push(Step::Linear { weights: weights.to_vec(), bias: bias.to_vec() });
        Ok(())
    }
}

fn foreign<T>(why: impl Into<String>) -> Reading<T> {
    Err(Foreign(why.into()))
}

fn expect(fits: bool, what: &str) -> Reading<()> {
    if fits { Ok(()) } else { foreign(what) }
}

/// A node's attributes.
struct Attributes<'a>(&'a NodeProto);

impl<'a> Attributes<'a> {
    /// Whether there are none but these: one that is not known might change what the node means.
    fn only(&self, known: &[&str]) -> Reading<()> {
        match self.0.attribute.iter().find(|attribute| !known.contains(&attribute.name.as_str())) {
            Some(other) => foreign(format!("it has the attribute '{}'", other.name)),
            None => Ok(()),
        }
    }

    fn find(&self, name: &str, kind: AttributeType) -> Reading<Option<&'a AttributeProto>> {
        match self.0.attribute.iter().find(|attribute| attribute.name == name) {
            Some(found) if found.r#type != kind as i32 => foreign(format!("its attribute '{name}' is of another type")),
            found => Ok(found),
        }
    }

    fn integer(&self, name: &str) -> Reading<Option<i64>> {
        Ok(self.find(name, AttributeType::Int)?.map(|attribute| attribute.i.unwrap_or(0)))
    }

    fn text(&self, name: &str) -> Reading<Option<&'a [u8]>> {
        Ok(self.find(name, AttributeType::String)?.map(|attribute| attribute.s.as_slice()))
    }

    /// A list of one and the same number.
    fn all(&self, name: &str) -> Reading<Option<usize>> {
        let Some(attribute) = self.find(name, AttributeType::Ints)? else { return Ok(None) };
        let first = attribute.ints.first().and_then(|&first| usize::try_from(first).ok());
        match first {
            Some(first) if attribute.ints.iter().all(|&other| other == first as i64) => Ok(Some(first)),
            _ => foreign(format!("its {name} are {:?}: expected the same on all sides", attribute.ints)),
        }
    }
}

/// A constant as `train export` stores it. That there are as many numbers as its shape says was checked before
/// (`models::onnx::limits`), and is again.
fn constant(tensor: &TensorProto) -> Reading<Constant> {
    let raw = tensor.raw_data.as_slice();
    let shape: Option<Vec<usize>> = tensor.dims.iter().map(|&extent| usize::try_from(extent).ok()).collect();
    let values = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => {
            Values::Floats(raw.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
        }
        Ok(DataType::Float16) => {
            Values::Halves(raw.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect())
        }
        Ok(DataType::Int8) => Values::Integers(raw.iter().map(|&byte| i32::from(byte.cast_signed())).collect()),
        Ok(DataType::Int32) => {
            Values::Integers(raw.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect())
        }
        Ok(DataType::Uint8) if raw.len() == 1 => Values::Byte(raw[0]),
        _ => return foreign(format!("its tensor '{}' is of a type that train export does not write", tensor.name)),
    };
    let found = match &values {
        Values::Floats(values) | Values::Halves(values) => values.len(),
        Values::Integers(values) => values.len(),
        Values::Byte(_) => 1,
    };
    let told = |shape: &Vec<usize>| shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
    match shape {
        Some(shape) if told(&shape) == Some(found) => Ok(Constant { shape, values }),
        _ => foreign(format!("its tensor '{}' does not store its numbers as train export does", tensor.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::onnx;

    const FP32: &[u8] = include_bytes!("../../../../tests/fuzz/seeds/onnx_load/chain-fp32.onnx");
    const INT8: &[u8] = include_bytes!("../../../../tests/fuzz/seeds/onnx_load/chain-int8.onnx");

    fn integer(name: &str, value: i64) -> AttributeProto {
        let r#type = AttributeType::Int as i32;
        AttributeProto { name: name.to_owned(), r#type, i: Some(value), ..AttributeProto::default() }
    }

    /// The first node of an operator.
    fn node<'a>(graph: &'a mut GraphProto, operator: &str) -> &'a mut NodeProto {
        graph.node.iter_mut().find(|node| node.op_type == operator).unwrap()
    }

    /// An attribute of that node.
    fn attribute<'a>(graph: &'a mut GraphProto, operator: &str, name: &str) -> &'a mut AttributeProto {
        node(graph, operator).attribute.iter_mut().find(|attribute| attribute.name == name).unwrap()
    }

    #[test]
    fn the_steps_are_those_of_the_nodes() {
        let chain = Chain::of(&onnx::parse(FP32).unwrap(), "logits").unwrap();
        let [pixels, stem, depthwise, pointwise, full, Step::Mean, Step::Flattened, Step::Linear { weights, bias }] =
            &chain.steps[..]
        else {
            panic!("{chain:?}");
        };
        let scale = vec![1.0 / 255.0];
        assert_eq!(*pixels, Step::Pixels { scale, shift: vec![-0.1], factors: Some([2.0, 1.5]) });
        assert_eq!((weights.len(), bias.len()), (8, 2));
        for (step, kernel, stride, padding, groups) in
            [(stem, 3, 2, 1, 1), (depthwise, 3, 1, 1, 3), (pointwise, 1, 1, 0, 1), (full, 3, 2, 1, 1)]
        {
            let Step::Convolution(found) = step else { panic!("{step:?}") };
            assert_eq!((found.kernel, found.stride, found.padding, found.groups), (kernel, stride, padding, groups));
            assert_eq!(found.clamp, [0.0, 6.0]);
        }
    }

    /// Anything that a reader who knows our own graphs only could overlook.
    #[test]
    fn a_graph_that_means_something_else_is_foreign() {
        type Change = fn(&mut GraphProto);
        let changes: [(&[u8], Change, &str); 21] = [
            (FP32, |graph| node(graph, "Conv").attribute.push(integer("dilations", 2)), "dilations"),
            (FP32, |graph| attribute(graph, "Conv", "strides").ints[0] = 1, "strides"),
            (FP32, |graph| attribute(graph, "Conv", "pads").ints[3] = 0, "pads"),
            (FP32, |graph| attribute(graph, "Conv", "kernel_shape").ints = vec![1, 1], "square kernel"),
            (FP32, |graph| node(graph, "Conv").domain = "mine".to_owned(), "standard"),
            (FP32, |graph| node(graph, "Clip").input[2] = String::new(), "no constant"),
            (FP32, |graph| node(graph, "Clip").input.swap(1, 2), "right after a convolution"),
            (FP32, |graph| node(graph, "Clip").op_type = "Relu".to_owned(), "none that train export writes"),
            (FP32, |graph| node(graph, "Mul").op_type = "Div".to_owned(), "none that train export writes"),
            (FP32, |graph| node(graph, "Add").input[1] = "image".to_owned(), "no constant"),
            (FP32, |graph| attribute(graph, "Resize", "mode").s = b"cubic".to_vec(), "linear"),
            (
                FP32,
                |graph| attribute(graph, "Resize", "coordinate_transformation_mode").s = b"asymmetric".to_vec(),
                "half pixels",
            ),
            (FP32, |graph| attribute(graph, "Cast", "to").i = Some(11), "cast"),
            (FP32, |graph| attribute(graph, "Flatten", "axis").i = Some(2), "axis 1"),
            (FP32, |graph| attribute(graph, "Gemm", "transB").i = Some(0), "transB"),
            (FP32, |graph| node(graph, "Gemm").attribute.push(integer("alpha", 2)), "alpha"),
            (FP32, |graph| node(graph, "GlobalAveragePool").input[0] = "a".to_owned(), "expected 'full'"),
            (INT8, |graph| node(graph, "DequantizeLinear").attribute.push(integer("axis", 1)), "attribute 'axis'"),
            (
                INT8,
                |graph| graph.node.iter_mut().for_each(|node| node.attribute.retain(|at| at.name != "axis")),
                "axis 0",
            ),
            (INT8, |graph| node(graph, "QuantizeLinear").input[1] = "hi".to_owned(), "another scale"),
            (INT8, |graph| node(graph, "QuantizeLinear").input.truncate(2), "zero point"),
        ];
        for (number, (bytes, change, word)) in changes.into_iter().enumerate() {
            let mut model = onnx::parse(bytes).unwrap();
            Chain::of(&model, "logits").unwrap();
            change(model.graph.as_mut().unwrap());
            let Err(why) = Chain::of(&model, "logits") else { panic!("change {number} was overlooked") };
            assert!(why.to_string().contains(word), "change {number}: {why}");
        }
        assert!(Chain::of(&onnx::parse(FP32).unwrap(), "pool").is_ok());
        assert!(Chain::of(&onnx::parse(FP32).unwrap(), "stem.conv").is_ok());
        assert!(Chain::of(&onnx::parse(FP32).unwrap(), "nothing").is_err());
    }
}
