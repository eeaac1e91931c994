//! A value between two nodes, and what is known about it before a run.

use crate::onnx::proto::tensor_proto::DataType;
use anyhow::{Result, ensure};
use ndarray::ArrayD;

/// Most elements of a tensor whose numbers are followed: shapes, axes, scales.
pub(super) const MAX_NUMBERS: usize = 64;

/// What is known about a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub element: DataType,
    pub shape: Vec<u64>,
    /// The numbers themselves, row-major, if they are known and few: other shapes in the graph may depend on them.
    pub numbers: Option<Vec<f64>>,
    /// Whether it is the same in every run: engines compute it when they load the file, and keep it.
    pub constant: bool,
}

impl Value {
    /// A value whose numbers are unknown.
    pub fn new(element: DataType, shape: Vec<u64>) -> Self {
        Self { element, shape, numbers: None, constant: false }
    }

    /// The same value with these numbers, if they are few and as many as the shape says.
    pub fn with(self, numbers: Option<Vec<f64>>) -> Self {
        let fits = |numbers: &Vec<f64>| numbers.len() <= MAX_NUMBERS && numbers.len() as u64 == self.elements();
        let numbers = numbers.filter(fits);
        Self { numbers, ..self }
    }

    /// The shape, if numbers of this shape are followed.
    pub fn small(&self) -> Option<Vec<usize>> {
        // Beside an extent of 0, others can be huge.
        let few = |&extent: &u64| usize::try_from(extent).ok().filter(|&extent| extent <= MAX_NUMBERS);
        self.shape.iter().map(few).collect::<Option<_>>().filter(|_| self.elements() <= MAX_NUMBERS as u64)
    }

    /// The numbers as an array.
    pub fn array(&self) -> Option<ArrayD<f64>> {
        ArrayD::from_shape_vec(self.small()?, self.numbers.clone()?).ok()
    }

    /// The same value with the numbers of an array, in row-major order.
    pub fn with_array(self, array: Option<ArrayD<f64>>) -> Self {
        self.with(array.map(|array| array.iter().copied().collect()))
    }

    /// The numbers of a value that is broadcast to the shape of this one.
    pub fn repeated(&self, value: &Self) -> Option<Vec<f64>> {
        Some(value.array()?.broadcast(self.small()?)?.iter().copied().collect())
    }

    /// The same value in another shape.
    pub fn shaped(&self, shape: Vec<u64>) -> Self {
        Self { shape, ..self.clone() }
    }

    /// A value of the same shape and another element type, whose numbers are unknown.
    pub fn with_element(&self, element: DataType) -> Self {
        Self::new(element, self.shape.clone())
    }

    /// Number of elements.
    pub fn elements(&self) -> u64 {
        super::elements(&self.shape)
    }

    /// Bytes of memory: at least four per element, since engines may compute in 32 bits.
    pub fn bytes(&self) -> u64 {
        let each = match self.element {
            DataType::Int64 | DataType::Uint64 | DataType::Double => 8,
            _ => 4,
        };
        self.elements().saturating_mul(each)
    }

    /// Whether its element type is not a floating-point type.
    pub fn is_integer(&self) -> bool {
        !matches!(self.element, DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)
    }

    /// An axis, counted from the end if it is negative.
    pub fn axis(&self, axis: i64) -> Result<usize> {
        axis_of(axis, self.shape.len())
    }
}

/// An axis of a tensor of this rank, counted from the end if it is negative.
pub(super) fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let counted = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    ensure!((0..rank as i64).contains(&counted), "axis {axis} of a tensor of rank {rank}");
    Ok(counted as usize)
}

/// The output shape of an elementwise operation on two tensors (ONNX's `Broadcasting.md`).
pub(super) fn broadcast(one: &[u64], other: &[u64]) -> Result<Vec<u64>> {
    let rank = one.len().max(other.len());
    let extent = |shape: &[u64], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    let pair = |axis| match (extent(one, axis), extent(other, axis)) {
        (one, other) if one == other || other == 1 => Ok(one),
        (1, other) => Ok(other),
        _ => anyhow::bail!("the shapes {one:?} and {other:?} do not fit each other"),
    };
    (0..rank).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of ONNX's `Broadcasting.md`.
    #[test]
    fn shapes_are_broadcast_as_onnx_says() {
        for (one, other, expected) in [
            (&[2, 3, 4, 5][..], &[][..], &[2, 3, 4, 5][..]),
            (&[2, 3, 4, 5], &[5], &[2, 3, 4, 5]),
            (&[4, 5], &[2, 3, 4, 5], &[2, 3, 4, 5]),
            (&[1, 4, 5], &[2, 3, 1, 1], &[2, 3, 4, 5]),
            (&[3, 4, 5], &[2, 1, 1, 1], &[2, 3, 4, 5]),
        ] {
            assert_eq!(broadcast(one, other).unwrap(), expected);
        }
        assert!(broadcast(&[2], &[3]).is_err());
    }
}
