//! Builds the parts of an ONNX graph: nodes, initialisers, attributes, inputs and outputs.

use super::proto::attribute_proto::AttributeType;
use super::proto::tensor_proto::DataType;
use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::type_proto::{self, Tensor as TensorType};
use super::proto::{AttributeProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto};
use crate::card::Preprocessing;
use anyhow::{Result, ensure};
use half::f16;

pub use super::proto::AttributeProto as Attribute;

/// Name of the dynamic batch dimension.
const BATCH: &str = "N";

/// The nodes and initialisers of a graph under construction.
#[derive(Default)]
pub struct Nodes {
    /// The nodes, in the order in which they run.
    pub nodes: Vec<NodeProto>,
    /// The constants that they use.
    pub initializers: Vec<TensorProto>,
}

impl Nodes {
    /// Adds a node with one output, which has the node's name, and returns that name.
    pub fn node(&mut self, op: &str, inputs: &[&str], name: &str, attribute: Vec<AttributeProto>) -> String {
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

    /// Renames the output of the last node.
    pub fn rename_last(&mut self, name: &str) {
        if let Some(last) = self.nodes.last_mut() {
            last.output = vec![name.to_owned()];
        }
    }

    /// Adds the nodes that turn images `[N, C, H, W]`, values 0 to 255, into normalised floats of the same shape.
    pub fn normalised(&mut self, images: &str, preprocessing: &Preprocessing) -> String {
        let (scale, shift) = preprocessing.scale_and_shift();
        let per_channel = [1, scale.len() as i64, 1, 1];
        self.floats("input.scale", &per_channel, &scale);
        self.floats("input.shift", &per_channel, &shift);
        let x = self.cast(images, DataType::Float, "input.float");
        let x = self.node("Mul", &[&x, "input.scale"], "input.scaled", vec![]);
        self.node("Add", &[&x, "input.shift"], "input.normalised", vec![])
    }

    /// Adds a node that converts values to another element type.
    pub fn cast(&mut self, from: &str, element: DataType, name: &str) -> String {
        self.node("Cast", &[from], name, vec![integer("to", element as i64)])
    }

    fn constant(&mut self, element: DataType, name: &str, shape: &[i64], raw_data: Vec<u8>) {
        self.initializers.push(TensorProto {
            name: name.to_owned(),
            data_type: element as i32,
            dims: shape.to_vec(),
            raw_data,
            ..TensorProto::default()
        });
    }

    /// Adds an initialiser of 32-bit floats.
    pub fn floats(&mut self, name: &str, shape: &[i64], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(DataType::Float, name, shape, bytes);
    }

    /// Adds an initialiser of 16-bit floats, rounded to nearest. Errors if a value is out of range.
    pub fn halves(&mut self, name: &str, shape: &[i64], values: &[f32]) -> Result<()> {
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        ensure!(
            f16::from_f32(largest).is_finite(),
            "{name} contains {largest:e}, but the largest fp16 number is 65504: export as fp32"
        );
        let bytes = values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
        self.constant(DataType::Float16, name, shape, bytes);
        Ok(())
    }

    /// Adds an initialiser of signed bytes.
    pub fn signed_bytes(&mut self, name: &str, shape: &[i64], values: &[i8]) {
        self.constant(DataType::Int8, name, shape, values.iter().map(|&value| value.cast_unsigned()).collect());
    }

    /// Adds a scalar initialiser of one unsigned byte.
    pub fn byte(&mut self, name: &str, value: u8) {
        self.constant(DataType::Uint8, name, &[], vec![value]);
    }

    /// Adds an initialiser of 64-bit integers, as `Gather` and `Reshape` take them.
    pub fn indices(&mut self, name: &str, values: &[i64]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(DataType::Int64, name, &[values.len() as i64], bytes);
    }

    /// Adds an initialiser of 32-bit integers.
    pub fn integers(&mut self, name: &str, shape: &[i64], values: &[i32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(DataType::Int32, name, shape, bytes);
    }
}

/// A whole number as an attribute.
#[must_use]
pub fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: Some(value),
        ..AttributeProto::default()
    }
}

/// Whole numbers as an attribute.
#[must_use]
pub fn integers(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: values.iter().map(|&value| value as i64).collect(),
        ..AttributeProto::default()
    }
}

/// A text as an attribute.
#[must_use]
pub fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::String as i32,
        s: value.as_bytes().to_vec(),
        ..AttributeProto::default()
    }
}

/// An input or output of shape `[batch, …shape]`. `None` makes the batch dimension dynamic.
#[must_use]
pub fn tensor(name: &str, element: DataType, batch: Option<usize>, shape: &[usize]) -> ValueInfoProto {
    let fixed = |extent: usize| dimension::Value::DimValue(extent as i64);
    let first = batch.map_or_else(|| dimension::Value::DimParam(BATCH.to_owned()), fixed);
    let dim = std::iter::once(first)
        .chain(shape.iter().copied().map(fixed))
        .map(|value| Dimension { value: Some(value), ..Dimension::default() })
        .collect();
    let kind = TensorType { elem_type: element as i32, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(kind)), ..TypeProto::default() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_fp16_cannot_hold_are_refused() {
        let mut nodes = Nodes::default();
        nodes.halves("small", &[3], &[65504.0, -1e-7, 1.0 / 3.0]).unwrap();
        let message = nodes.halves("stem.weight", &[2], &[0.0, -65520.0]).unwrap_err().to_string();
        assert!(message.contains("stem.weight") && message.contains("65504"), "{message}");
    }
}
