//! tract: keeps every tensor that survives its rewrites.

use super::super::panic::caught;
use super::super::tract;
use super::super::{ImageBatch, ModelFile, Runtime, filled};
use super::{Exposed, Step, StepValues, Values};
use crate::interface::Interface;
use anyhow::{Context, Result};
use ndarray::ArrayView4;
use std::sync::Arc;
use tract_core::prelude::*;

/// Why a tensor is unavailable: our own operators fuse several nodes, and tract drops tensors that nothing uses.
const UNSEEN: &str = "tract fuses it with other nodes";

/// A plan with every tensor as an output.
struct Plan {
    runnable: Arc<TypedRunnableModel>,
    /// Index of each step's tensor among the outputs; `None` if tract does not compute it.
    places: Vec<Option<usize>>,
    batch: usize,
    runtime: Runtime,
}

/// Loads a model with every tensor as an output. `stock` means tract as released, without our own operators.
pub fn exposed(source: ModelFile, steps: &[Step], stock: bool) -> Result<Box<dyn Exposed>> {
    let ModelFile { name, bytes, model, interface } = source;
    let batch = interface.batch.unwrap_or(1);
    let load = || {
        let own = if stock { None } else { tract::exposed(model, interface)? };
        let Some(tract::Exposed { runnable, values, provider }) = own else {
            return foreign(bytes, interface, batch, steps);
        };
        let place = |step: &Step| values.iter().position(|name| *name == step.tensor);
        Ok((runnable, steps.iter().map(place).collect(), provider))
    };
    let loaded = caught(load).with_context(|| format!("tract cannot load {name} with every tensor as an output"));
    let (runnable, places, provider) = loaded?;
    Ok(Box::new(Plan { runnable, places, batch, runtime: tract::runtime(stock, provider, 1) }))
}

/// Loads a graph that `train export` did not write. Returns its plan, the index of each step's tensor among the
/// outputs, and what computes it. The outputs are selected before tract rewrites the graph, so they survive.
#[cfg(feature = "onnx")]
fn foreign(
    mut bytes: &[u8],
    interface: &Interface,
    batch: usize,
    steps: &[Step],
) -> Result<(Arc<TypedRunnableModel>, Vec<Option<usize>>, String)> {
    use tract_onnx::prelude::{Framework, InferenceModelExt};
    let mut model = tract_onnx::onnx().with_ignore_value_info(true).model_for_read(&mut bytes)?;
    // An optional output that tract leaves out has no label.
    let found: Vec<_> = steps.iter().map(|step| model.find_outlet_label(&step.tensor)).collect();
    let outlets: Vec<_> = found.iter().copied().flatten().collect();
    model.select_output_outlets(&outlets)?;
    let input = tract::input_fact(interface, batch);
    let model = model.with_input_fact(0, input.into())?.into_optimized()?;
    let mut next = 0..;
    let places = found.iter().map(|outlet| outlet.and_then(|_| next.next())).collect();
    Ok((model.into_runnable()?, places, "tract-linalg".to_owned()))
}

#[cfg(not(feature = "onnx"))]
fn foreign(
    _: &[u8],
    _: &Interface,
    _: usize,
    _: &[Step],
) -> Result<(Arc<TypedRunnableModel>, Vec<Option<usize>>, String)> {
    anyhow::bail!("train export does not write such a graph: rebuild this program with --features onnx")
}

impl Exposed for Plan {
    fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn run(&mut self, images: ImageBatch, _: &[Step]) -> Result<Vec<StepValues>> {
        match images {
            ImageBatch::Bytes(images) => self.run_batch(images),
            ImageBatch::Normalised(images) => self.run_batch(images),
        }
    }
}

impl Plan {
    fn run_batch<T: Datum + Copy + Default>(&self, images: ArrayView4<T>) -> Result<Vec<StepValues>> {
        let images = filled(images, Some(self.batch));
        let values = images.as_slice().context("the images are not contiguous")?;
        let tensor = Tensor::from_shape(images.shape(), values)?;
        let run = || self.runnable.spawn()?.run(tvec!(tensor.into_tvalue()));
        let outputs = caught(run).context("tract cannot run it")?;
        let outcome = |place: &Option<usize>| {
            let output = place.and_then(|place| outputs.get(place)).ok_or_else(|| UNSEEN.to_owned())?;
            self::values(output)
        };
        Ok(self.places.iter().map(outcome).collect())
    }
}

/// Converts an output to values. Quantized elements are kept as they are stored.
fn values(output: &Tensor) -> StepValues {
    match output.datum_type().unquantized() {
        DatumType::F32 => numbers::<f32>(output, "float32", |value| f64::from(*value)),
        DatumType::F64 => numbers::<f64>(output, "float64", |value| *value),
        DatumType::F16 => numbers::<f16>(output, "float16", |value| f64::from(*value)),
        DatumType::U8 => numbers::<u8>(output, "uint8", |value| f64::from(*value)),
        DatumType::I8 => numbers::<i8>(output, "int8", |value| f64::from(*value)),
        DatumType::U16 => numbers::<u16>(output, "uint16", |value| f64::from(*value)),
        DatumType::I16 => numbers::<i16>(output, "int16", |value| f64::from(*value)),
        DatumType::U32 => numbers::<u32>(output, "uint32", |value| f64::from(*value)),
        DatumType::I32 => numbers::<i32>(output, "int32", |value| f64::from(*value)),
        DatumType::U64 => numbers::<u64>(output, "uint64", |value| *value as f64),
        DatumType::I64 => numbers::<i64>(output, "int64", |value| *value as f64),
        DatumType::Bool => numbers::<bool>(output, "bool", |value| f64::from(*value)),
        // tract computes shapes in a type of its own, which stands for int64.
        DatumType::TDim => {
            let extents = output.cast_to::<i64>().map_err(|error| error.to_string())?;
            numbers::<i64>(&extents, "int64", |value| *value as f64)
        }
        other => Err(format!("elements of type {other:?} are not compared")),
    }
}

fn numbers<T: Datum>(output: &Tensor, element: &'static str, number: fn(&T) -> f64) -> StepValues {
    let array = output.to_plain_array_view::<T>().map_err(|error| error.to_string())?;
    Ok(Values { element, shape: array.shape().to_vec(), numbers: array.iter().map(number).collect() })
}
