//! Constants stored in a file.

use super::{Numbers, Reading, foreign};
use half::f16;
use models::onnx::proto::TensorProto;
use models::onnx::proto::tensor_proto::DataType;

/// A constant of the graph.
pub(super) struct Constant {
    pub shape: Vec<usize>,
    pub values: Values,
}

pub(super) enum Values {
    /// What a step computes with.
    Numbers(Numbers),
    Halves(Vec<f32>),
    /// Without their scales.
    Bytes(Vec<i8>),
    /// Without their scales.
    Integers(Vec<i32>),
    Byte(u8),
}

/// Reads a constant as `train export` stores it. Checks again that the number of values matches the shape, as
/// `models::onnx::limits` already did.
pub(super) fn constant(tensor: &TensorProto) -> Reading<Constant> {
    let raw = tensor.raw_data.as_slice();
    let shape: Option<Vec<usize>> = tensor.dims.iter().map(|&extent| usize::try_from(extent).ok()).collect();
    let values = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => {
            let floats = raw.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
            Values::Numbers(Numbers::Floats(floats.collect()))
        }
        Ok(DataType::Float16) => {
            Values::Halves(raw.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect())
        }
        Ok(DataType::Int8) => Values::Bytes(raw.iter().map(|&byte| byte.cast_signed()).collect()),
        Ok(DataType::Int32) => {
            Values::Integers(raw.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect())
        }
        Ok(DataType::Uint8) if raw.len() == 1 => Values::Byte(raw[0]),
        _ => return foreign(format!("its tensor '{}' has a type that train export does not write", tensor.name)),
    };
    let found = match &values {
        Values::Numbers(numbers) => numbers.len(),
        Values::Halves(values) => values.len(),
        Values::Bytes(values) => values.len(),
        Values::Integers(values) => values.len(),
        Values::Byte(_) => 1,
    };
    let told = |shape: &Vec<usize>| shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
    match shape {
        Some(shape) if told(&shape) == Some(found) => Ok(Constant { shape, values }),
        _ => foreign(format!("its tensor '{}' does not store its numbers as train export does", tensor.name)),
    }
}
