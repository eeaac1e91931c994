//! ONNX Runtime: extracts the outputs by name.

use super::super::{ImageBatch, ModelFile, Options, Runtime, filled, ort};
use super::{Exposed, Step, StepValues, Values};
use crate::backend::Backend;
use ::ort::value::{DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef, ValueType};
use anyhow::{Context, Result};
use ndarray::ArrayView4;
use std::fmt::Debug;

/// A session with every tensor as an output.
struct Session {
    inner: ort::Session,
    /// Batch size, if the file fixes it.
    batch: Option<usize>,
}

/// Loads a model with `open`.
pub fn exposed(source: ModelFile, open: impl FnOnce(&Options) -> Result<ort::Session>) -> Result<Box<dyn Exposed>> {
    Ok(Box::new(Session { inner: open(&Options::default())?, batch: source.interface.batch }))
}

impl Exposed for Session {
    fn runtime(&self) -> &Runtime {
        self.inner.runtime()
    }

    fn run(&mut self, images: ImageBatch, steps: &[Step]) -> Result<Vec<StepValues>> {
        match images {
            ImageBatch::Bytes(images) => self.run_batch(images, steps),
            ImageBatch::Normalised(images) => self.run_batch(images, steps),
        }
    }
}

impl Session {
    fn run_batch<T>(&mut self, images: ArrayView4<T>, steps: &[Step]) -> Result<Vec<StepValues>>
    where
        T: PrimitiveTensorElementType + Copy + Debug + Default + 'static,
    {
        let images = filled(images, self.batch);
        let input = TensorRef::from_array_view(images.view())?;
        let outputs = self.inner.inner().run(::ort::inputs![input]).context("ONNX Runtime cannot run it")?;
        let outcome = |step: &Step| {
            let output = outputs.get(&step.tensor).ok_or_else(|| "ONNX Runtime does not return it".to_owned())?;
            values(output)
        };
        Ok(steps.iter().map(outcome).collect())
    }
}

/// Converts an output to values.
fn values(output: &DynValue) -> StepValues {
    let ValueType::Tensor { ty, .. } = output.dtype() else { return Err("it is not a tensor".to_owned()) };
    match ty {
        TensorElementType::Float32 => numbers::<f32>(output, "float32", f64::from),
        TensorElementType::Float64 => numbers::<f64>(output, "float64", |value| value),
        TensorElementType::Uint8 => numbers::<u8>(output, "uint8", f64::from),
        TensorElementType::Int8 => numbers::<i8>(output, "int8", f64::from),
        TensorElementType::Uint16 => numbers::<u16>(output, "uint16", f64::from),
        TensorElementType::Int16 => numbers::<i16>(output, "int16", f64::from),
        TensorElementType::Uint32 => numbers::<u32>(output, "uint32", f64::from),
        TensorElementType::Int32 => numbers::<i32>(output, "int32", f64::from),
        TensorElementType::Uint64 => numbers::<u64>(output, "uint64", |value| value as f64),
        TensorElementType::Int64 => numbers::<i64>(output, "int64", |value| value as f64),
        TensorElementType::Bool => numbers::<bool>(output, "bool", f64::from),
        // ort extracts 16-bit floats only if it is built with a type for them.
        other => Err(format!("elements of type {other} are not compared")),
    }
}

fn numbers<T: PrimitiveTensorElementType + Copy>(
    output: &DynValue,
    element: &'static str,
    number: fn(T) -> f64,
) -> StepValues {
    let array = output.try_extract_array::<T>().map_err(|error| error.to_string())?;
    Ok(Values { element, shape: array.shape().to_vec(), numbers: array.iter().map(|&value| number(value)).collect() })
}
