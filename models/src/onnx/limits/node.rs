//! A node of the graph, with what is known about its inputs.

use super::value::{Value, axis_of};
use super::{Limits, tensors};
use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::proto::{AttributeProto, NodeProto};
use anyhow::{Context, Result, anyhow, ensure};

/// Boolean attributes.
const SWITCHES: [&str; 16] = [
    "allowzero",
    "ceil_mode",
    "channels_last",
    "count_include_pad",
    "exclusive",
    "keepdims",
    "largest",
    "noop_with_empty_axes",
    "reverse",
    "saturate",
    "select_last_index",
    "sorted",
    "storage_order",
    "transA",
    "transB",
    "upper",
];

/// A node whose output shapes are to be computed.
pub(super) struct Node<'a> {
    pub proto: &'a NodeProto,
    /// `None` for an optional input that is left out.
    pub inputs: Vec<Option<&'a Value>>,
    pub opset: i64,
    pub limits: &'a Limits,
}

/// What a node computes, and what that costs.
pub(super) struct Effect {
    /// The first outputs. Any further output is at most as large as the first.
    pub outputs: Vec<Value>,
    /// Multiply-adds, or other operations that take about as long.
    pub work: u64,
    /// Bytes of temporary memory.
    pub scratch: u64,
}

impl From<Value> for Effect {
    fn from(value: Value) -> Self {
        Self { outputs: vec![value], work: 0, scratch: 0 }
    }
}

impl<'a> Node<'a> {
    /// A required input.
    pub fn input(&self, index: usize) -> Result<&'a Value> {
        self.optional(index).with_context(|| format!("it lacks its input {index}"))
    }

    /// An optional input.
    pub fn optional(&self, index: usize) -> Option<&'a Value> {
        self.inputs.get(index).copied().flatten()
    }

    /// All inputs that are not left out.
    pub fn given(&self) -> impl Iterator<Item = &'a Value> {
        self.inputs.iter().copied().flatten()
    }

    /// The numbers of an input that determines the shape of the output.
    pub fn numbers(&self, index: usize) -> Result<&'a [f64]> {
        let numbers = self.input(index)?.numbers.as_deref();
        numbers.with_context(|| format!("the numbers of its input {index} are known only in a run"))
    }

    /// The same, as integers.
    pub fn integers(&self, index: usize) -> Result<Vec<i64>> {
        Ok(self.numbers(index)?.iter().map(|&number| number as i64).collect())
    }

    /// Integers from an attribute up to opset `last`, and from an optional input after it.
    pub fn integers_of(&self, attribute: &str, last: i64, input: usize) -> Result<Option<Vec<i64>>> {
        if self.opset <= last {
            return Ok(self.ints(attribute)?.map(<[_]>::to_vec));
        }
        self.optional(input).map(|_| self.integers(input)).transpose()
    }

    /// An attribute, if the node has it. Older files leave out its type.
    pub fn attribute(&self, name: &str, kind: AttributeType) -> Result<Option<&'a AttributeProto>> {
        let Some(attribute) = self.proto.attribute.iter().find(|attribute| attribute.name == name) else {
            return Ok(None);
        };
        let right = [kind as i32, AttributeType::Undefined as i32].contains(&attribute.r#type);
        ensure!(right, "its attribute '{name}' is not of the type {}", kind.as_str_name().to_lowercase());
        Ok(Some(attribute))
    }

    /// An integer attribute.
    pub fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.attribute(name, AttributeType::Int)?.map_or(default, |attribute| attribute.i.unwrap_or(0)))
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> Result<Option<&'a [i64]>> {
        Ok(self.attribute(name, AttributeType::Ints)?.map(|attribute| attribute.ints.as_slice()))
    }

    /// A text attribute.
    pub fn text(&self, name: &str) -> Result<Option<&'a [u8]>> {
        Ok(self.attribute(name, AttributeType::String)?.map(|attribute| attribute.s.as_slice()))
    }

    /// A tensor attribute as a constant.
    pub fn tensor(&self, name: &str) -> Result<Option<Value>> {
        let Some(attribute) = self.attribute(name, AttributeType::Tensor)? else { return Ok(None) };
        let tensor = attribute.t.as_ref().with_context(|| format!("its attribute '{name}' contains no tensor"))?;
        let checked = tensors::check(tensor, self.limits);
        let (element, shape) = checked.map_err(|error| anyhow!("its tensor '{name}' {error}"))?;
        let value = Value::new(element, shape);
        let few = value.elements() <= super::value::MAX_NUMBERS as u64;
        Ok(Some(value.with(if few { tensors::numbers(tensor, element) } else { None })))
    }

    /// Refuses axes that no tensor has and a wrong number of outputs, since an engine might count up to them. Refuses
    /// boolean attributes other than 0 and 1, since engines disagree on what those mean.
    pub fn check_attributes(&self) -> Result<()> {
        const MOST: u64 = tensors::MAX_RANK as u64;
        for attribute in &self.proto.attribute {
            if let (true, Some(number)) = (SWITCHES.contains(&attribute.name.as_str()), attribute.i) {
                ensure!(matches!(number, 0 | 1), "{} {number}: expected 0 or 1", attribute.name);
            }
            let numbers = match attribute.name.as_str() {
                "axis" | "batch_dims" => attribute.i.as_slice(),
                "axes" | "perm" => &attribute.ints,
                _ => continue,
            };
            let fits = numbers.len() as u64 <= MOST && numbers.iter().all(|number| number.unsigned_abs() <= MOST);
            ensure!(fits, "{} {numbers:?}: expected at most {MOST} axes", attribute.name);
        }
        let (declared, outputs) = (self.int("num_outputs", 0)?, self.proto.output.len());
        ensure!(declared == 0 || declared == outputs as i64, "num_outputs {declared}, but it has {outputs} outputs");
        Ok(())
    }

    /// An axis of the first input, from an integer attribute.
    pub fn axis(&self, default: i64) -> Result<usize> {
        axis_of(self.int("axis", default)?, self.input(0)?.shape.len())
    }
}
