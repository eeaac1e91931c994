//! Reads back the numbers in a new file (weights, activation ranges, input normalisation) and compares each with the
//! network's.
//!
//! Running the file would miss a wrong weight that affects no output on the check's images, such as one in a channel
//! that ReLU6 clamps to 0 or 6.

use super::fold::Weights;
use super::quantize::{Quantized, Range};
use anyhow::{Context, Result, bail, ensure};
use half::f16;
use models::card::{GraphInput, ModelCard};
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::proto::{GraphProto, TensorProto};
use std::collections::BTreeMap;

/// Compares every weight and bias in a graph with the folded network. In fp32 they must be equal; otherwise the stored
/// value must be the nearest one that the format can represent.
pub(super) fn compare(graph: &GraphProto, folded: &BTreeMap<String, Weights>) -> Result<()> {
    let tensors: BTreeMap<&str, &TensorProto> =
        graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    for (layer, Weights { shape, weight, bias }) in folded {
        let extents = [shape.as_slice(), &[bias.as_ref().map_or(0, Vec::len) as i64]];
        let parts = [("weight", Some(weight)), ("bias", bias.as_ref())];
        for ((part, expected), extents) in parts.into_iter().zip(extents) {
            let Some(expected) = expected else { continue };
            let name = format!("{layer}.{part}");
            let tensor = tensors.get(name.as_str()).with_context(|| format!("the new file has no {name}"))?;
            ensure!(tensor.dims == extents, "{name} in the new file has shape {:?}: expected {extents:?}", tensor.dims);
            let found = read(tensor, &tensors)?;
            ensure!(
                found.len() == expected.len(),
                "{name} in the new file has {} numbers: expected {}",
                found.len(),
                expected.len()
            );
            for (index, (&(found, error), &expected)) in found.iter().zip(expected).enumerate() {
                ensure!(
                    (found - f64::from(expected)).abs() <= error.allowed(f64::from(expected)),
                    "{name} in the new file has {found} at index {index}: expected {expected}. Nothing was written"
                );
            }
        }
    }
    Ok(())
}

/// Compares the scale and zero point of every quantized activation, which must be bit-identical.
pub(super) fn compare_ranges(graph: &GraphProto, quantized: &Quantized) -> Result<()> {
    for (name, Range { scale, zero_point }) in quantized.ranges() {
        let holds = |part: &str, bytes: &[u8]| {
            let name = format!("{name}.{part}");
            graph.initializer.iter().any(|tensor| tensor.name == name && tensor.raw_data == bytes)
        };
        ensure!(
            holds("scale", &scale.to_le_bytes()) && holds("zero", &[zero_point]),
            "the range of {name} in the new file is wrong: expected scale {scale}, zero point {zero_point}. Nothing was written"
        );
    }
    Ok(())
}

/// Compares the scale and shift that normalise the pixels with the card's, which must be bit-identical. Does nothing if
/// the graph has no preprocessing.
pub(super) fn compare_input(graph: &GraphProto, card: &ModelCard) -> Result<()> {
    if card.takes == GraphInput::Normalised {
        return Ok(());
    }
    let (scale, shift) = card.preprocessing.scale_and_shift();
    for (name, expected) in [("input.scale", scale), ("input.shift", shift)] {
        let tensor = graph.initializer.iter().find(|tensor| tensor.name == name);
        let bytes: Vec<u8> = expected.iter().flat_map(|value| value.to_le_bytes()).collect();
        ensure!(
            tensor.is_some_and(|tensor| tensor.raw_data == bytes),
            "{name} in the new file is wrong: expected {expected:?} for the card's normalisation. Nothing was written"
        );
    }
    Ok(())
}

/// Largest rounding error allowed for a stored number.
#[derive(Clone, Copy)]
enum Error {
    None,
    /// fp16: half a unit in the last of eleven significant bits, or half the smallest subnormal number.
    Half,
    /// Quantized: half a step of this scale.
    Step(f64),
}

impl Error {
    fn allowed(self, expected: f64) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Half => (expected.abs() * 2.0_f64.powi(-11)).max(2.0_f64.powi(-25)),
            // The second term covers the rounding of the scale itself to 24 bits.
            Self::Step(scale) => scale * 0.5 + expected.abs() * 2.0_f64.powi(-23),
        }
    }
}

/// The values that a stored tensor represents, each with its allowed error.
fn read(tensor: &TensorProto, all: &BTreeMap<&str, &TensorProto>) -> Result<Vec<(f64, Error)>> {
    let bytes = &tensor.raw_data;
    let fixed = |chunk: &[u8]| [chunk[0], chunk[1], chunk[2], chunk[3]];
    Ok(match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => {
            bytes.chunks_exact(4).map(|chunk| (f64::from(f32::from_le_bytes(fixed(chunk))), Error::None)).collect()
        }
        Ok(DataType::Float16) => {
            let values = bytes.chunks_exact(2).map(|chunk| f16::from_le_bytes([chunk[0], chunk[1]]));
            values.map(|value| (value.to_f64(), Error::Half)).collect()
        }
        Ok(kind @ (DataType::Int8 | DataType::Int32)) => {
            let name = format!("{}.scale", tensor.name);
            let scales = all.get(name.as_str()).with_context(|| format!("the new file has no {name}"))?;
            let scales: Vec<f64> = read(scales, all)?.into_iter().map(|(scale, _)| scale).collect();
            let stored: Vec<f64> = if kind == DataType::Int8 {
                bytes.iter().map(|byte| f64::from(byte.cast_signed())).collect()
            } else {
                bytes.chunks_exact(4).map(|chunk| f64::from(i32::from_le_bytes(fixed(chunk)))).collect()
            };
            let per_channel = (stored.len() / scales.len().max(1)).max(1);
            let channels = stored.chunks(per_channel).zip(&scales);
            channels.flat_map(|(values, &s)| values.iter().map(move |value| (value * s, Error::Step(s)))).collect()
        }
        _ => bail!("{} in the new file has an unexpected element type", tensor.name),
    })
}
