//! The tensors stored in a file: each must have as many numbers as its shape says, of a known element type.

use super::Limits;
use crate::onnx::external;
use crate::onnx::proto::TensorProto;
use crate::onnx::proto::tensor_proto::DataType;
use anyhow::{Context, Result, bail, ensure};

/// Highest rank of a tensor.
pub(super) const MAX_RANK: usize = 16;

/// Element type of a tensor, and its bits in a file. Strings, complex numbers and the newest small types are refused.
pub(super) fn element(number: i32) -> Result<(DataType, u64)> {
    use DataType as T;
    let element = T::try_from(number).ok().with_context(|| format!("has the unknown element type {number}"))?;
    let bits = match element {
        T::Int4 | T::Uint4 | T::Float4e2m1 => 4,
        T::Uint8 | T::Int8 | T::Bool | T::Float8e4m3fn | T::Float8e4m3fnuz | T::Float8e5m2 | T::Float8e5m2fnuz => 8,
        T::Uint16 | T::Int16 | T::Float16 | T::Bfloat16 => 16,
        T::Float | T::Int32 | T::Uint32 => 32,
        T::Int64 | T::Uint64 | T::Double => 64,
        T::Undefined | T::String | T::Complex64 | T::Complex128 | T::Float8e8m0 | T::Uint2 | T::Int2 => {
            bail!("has the element type {}: expected numbers of 4 to 64 bits", element.as_str_name().to_lowercase())
        }
    };
    Ok((element, bits))
}

/// Checks that a tensor stores as many numbers as it declares, and returns its element type and shape.
pub(super) fn check(tensor: &TensorProto, limits: &Limits) -> Result<(DataType, Vec<u64>)> {
    ensure!(
        !external::is_external(tensor),
        "is kept in another file, '{}', and this model comes without its folder. {}",
        external::location(tensor),
        external::REMEDY
    );
    ensure!(tensor.segment.is_none(), "is stored in segments: expected it whole");
    let (element, bits) = element(tensor.data_type)?;
    let dims = &tensor.dims;
    let (shape, elements) = shape(dims, limits)?;
    let (found, expected) = stored(tensor, element, bits, elements);
    ensure!(
        found == expected && lists(tensor) <= 1,
        "has the shape {dims:?}, which takes {expected} stored numbers or bytes, but it has {found}"
    );
    Ok((element, shape))
}

/// The shape of a tensor, and its number of elements.
fn shape(dims: &[i64], limits: &Limits) -> Result<(Vec<u64>, u64)> {
    ensure!(dims.len() <= MAX_RANK, "has {} axes: expected at most {MAX_RANK}", dims.len());
    let shape: Option<Vec<u64>> = dims.iter().map(|&extent| u64::try_from(extent).ok()).collect();
    let shape = shape.with_context(|| format!("has the shape {dims:?}: expected no negative extent"))?;
    let elements = super::elements(&shape);
    let most = limits.elements;
    ensure!(elements <= most, "has the shape {dims:?}: expected at most {most} numbers in one tensor");
    Ok((shape, elements))
}

/// Bytes that a tensor takes in a file.
pub(super) fn stored_bytes(tensor: &TensorProto, limits: &Limits) -> Result<u64> {
    let (_, bits) = element(tensor.data_type)?;
    let (_, elements) = shape(&tensor.dims, limits)?;
    Ok((elements * bits).div_ceil(8))
}

/// How many bytes a tensor stores and how many it should, or how many numbers in the list for its element type.
fn stored(tensor: &TensorProto, element: DataType, bits: u64, elements: u64) -> (u64, u64) {
    use DataType as T;
    if !tensor.raw_data.is_empty() {
        return (tensor.raw_data.len() as u64, (elements * bits).div_ceil(8));
    }
    let found = match element {
        T::Float => tensor.float_data.len(),
        T::Double => tensor.double_data.len(),
        T::Int64 => tensor.int64_data.len(),
        T::Uint32 | T::Uint64 => tensor.uint64_data.len(),
        _ => tensor.int32_data.len(),
    };
    // Four-bit numbers are stored in pairs.
    (found as u64, if bits == 4 { elements.div_ceil(2) } else { elements })
}

/// In how many fields a tensor stores numbers: with two, readers might disagree on which one counts.
fn lists(tensor: &TensorProto) -> usize {
    let lengths = [
        tensor.raw_data.len(),
        tensor.float_data.len(),
        tensor.double_data.len(),
        tensor.int32_data.len(),
        tensor.int64_data.len(),
        tensor.uint64_data.len(),
        tensor.string_data.len(),
    ];
    lengths.iter().filter(|&&length| length > 0).count()
}

/// The numbers of a small tensor, such as a shape that a node uses.
pub(super) fn numbers(tensor: &TensorProto, element: DataType) -> Option<Vec<f64>> {
    use DataType as T;
    let raw = &tensor.raw_data;
    let inline = raw.is_empty();
    let numbers = match element {
        T::Float if inline => tensor.float_data.iter().copied().map(f64::from).collect(),
        T::Float => raw.as_chunks().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect(),
        T::Double if inline => tensor.double_data.clone(),
        T::Double => raw.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect(),
        T::Bool if !inline => raw.iter().copied().map(f64::from).collect(),
        T::Bool | T::Int32 if inline => tensor.int32_data.iter().copied().map(f64::from).collect(),
        T::Int32 => raw.as_chunks().0.iter().map(|&bytes| f64::from(i32::from_le_bytes(bytes))).collect(),
        T::Int64 if inline => tensor.int64_data.iter().map(|&number| number as f64).collect(),
        T::Int64 => raw.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f64).collect(),
        _ => return None,
    };
    Some(numbers)
}
