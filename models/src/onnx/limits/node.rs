//! A node with what is known of its inputs.

use super::value::{Value, axis_of};
use super::{Limits, tensors};
use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::proto::{AttributeProto, NodeProto};
use anyhow::{Context, Result, anyhow, ensure};

/// Attributes that say yes or no.
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

/// A node that is about to be followed.
pub(super) struct Node<'a> {
    pub proto: &'a NodeProto,
    /// `None` stands for an optional input left out.
    pub inputs: Vec<Option<&'a Value>>,
    pub opset: i64,
    pub limits: &'a Limits,
}

/// What a node yields and takes.
pub(super) struct Effect {
    /// The first outputs; further ones have at most the shape of the first.
    pub outputs: Vec<Value>,
    /// Multiply-adds, or what takes about as long.
    pub work: u64,
    /// Bytes that it needs while it runs.
    pub scratch: u64,
}

impl From<Value> for Effect {
    fn from(value: Value) -> Self {
        Self { outputs: vec![value], work: 0, scratch: 0 }
    }
}

impl<'a> Node<'a> {
    /// An input that must be there.
    pub fn input(&self, index: usize) -> Result<&'a Value> {
        self.optional(index).with_context(|| format!("it lacks its input {index}"))
    }

    /// An input that may be left out.
    pub fn optional(&self, index: usize) -> Option<&'a Value> {
        self.inputs.get(index).copied().flatten()
    }

    /// All inputs that are there.
    pub fn given(&self) -> impl Iterator<Item = &'a Value> {
        self.inputs.iter().copied().flatten()
    }

    /// The numbers of an input on which the shape of the output depends.
    pub fn numbers(&self, index: usize) -> Result<&'a [f64]> {
        let numbers = self.input(index)?.numbers.as_deref();
        numbers.with_context(|| format!("the numbers of its input {index} are known only in a run"))
    }

    /// The same as integers.
    pub fn integers(&self, index: usize) -> Result<Vec<i64>> {
        Ok(self.numbers(index)?.iter().map(|&number| number as i64).collect())
    }

    /// Integers from an attribute up to an opset, and from an input (if it is there) after it.
    pub fn integers_of(&self, attribute: &str, last: i64, input: usize) -> Result<Option<Vec<i64>>> {
        if self.opset <= last {
            return Ok(self.ints(attribute)?.map(<[_]>::to_vec));
        }
        self.optional(input).map(|_| self.integers(input)).transpose()
    }

    /// An attribute, if it is there. Older files leave its type out.
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
        let tensor = attribute.t.as_ref().with_context(|| format!("its attribute '{name}' holds no tensor"))?;
        let checked = tensors::check(tensor, self.limits);
        let (element, shape) = checked.map_err(|error| anyhow!("its tensor '{name}' {error}"))?;
        let value = Value::new(element, shape);
        let few = value.elements() <= super::value::MAX_NUMBERS as u64;
        Ok(Some(value.with(if few { tensors::numbers(tensor, element) } else { None })))
    }

    /// Refuses an axis or a number of outputs that no tensor has, since a runtime might count up to it, and a yes or no
    /// that is neither, which runtimes read as either.
    pub fn counts_little(&self) -> Result<()> {
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
        let (told, outputs) = (self.int("num_outputs", 0)?, self.proto.output.len());
        ensure!(told == 0 || told == outputs as i64, "num_outputs {told}, but it has {outputs}");
        Ok(())
    }

    /// An axis of the first input, from an integer attribute.
    pub fn axis(&self, default: i64) -> Result<usize> {
        axis_of(self.int("axis", default)?, self.input(0)?.shape.len())
    }
}
