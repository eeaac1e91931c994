//! tract: pure Rust, on the processor.
//!
//! The batch is fixed to one picture before the optimiser sees the model: with an open N tract keeps to code that is 5
//! to 8 times slower, and a batch of 32 costs more per picture than one by one. The pictures of a batch go in parallel
//! over threads instead, which share one plan and have a state each.

use super::panic::caught;
use super::{Backend, Options, Runtime, Source};
use crate::interface::Interface;
use anyhow::{Context, Result, anyhow, ensure};
use ndarray::{Array2, ArrayView3, ArrayView4, ArrayViewMut1};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tract_onnx::prelude::*;

/// tract's version. The crate does not tell; a test compares this with `Cargo.lock`.
pub const VERSION: &str = "0.23.9";

/// A model made ready for tract.
pub struct Plan {
    runnable: Arc<TypedRunnableModel>,
    classes: usize,
    runtime: Runtime,
}

impl Plan {
    /// Makes a model ready.
    pub fn open(source: Source, options: &Options) -> Result<Self> {
        let loaded = caught(|| load(source.bytes, source.interface));
        let (runnable, classes) = loaded.with_context(|| format!("tract cannot load {}", source.name))?;
        let runtime = Runtime {
            name: "tract".to_owned(),
            version: VERSION.to_owned(),
            provider: "tract-linalg".to_owned(),
            device: "cpu".to_owned(),
            threads: options.threads(),
        };
        Ok(Self { runnable, classes, runtime })
    }
}

/// The plan of a model for one picture, and its number of classes.
fn load(mut bytes: &[u8], interface: &Interface) -> Result<(Arc<TypedRunnableModel>, usize)> {
    let input = &interface.input;
    // What a file says of values between its nodes may hold an open N, which would contradict the fixed one.
    let onnx = tract_onnx::onnx().with_ignore_value_info(true);
    let mut model = onnx.model_for_read(&mut bytes)?;
    model.select_outputs_by_name([&interface.output])?;
    let fact = u8::fact([1, input.channels, input.height, input.width]);
    let model = model.with_input_fact(0, fact.into())?.into_optimized()?;
    let output = model.output_fact(0)?;
    let shape =
        output.shape.as_concrete().with_context(|| format!("its output is {output:?}: expected a fixed shape"))?;
    let &[1, classes] = shape else {
        return Err(anyhow!("its output for one picture has the shape {shape:?}: expected [1, classes]"));
    };
    ensure!(output.datum_type == f32::datum_type(), "its output is {:?}: expected f32", output.datum_type);
    Ok((model.into_runnable()?, classes))
}

impl Backend for Plan {
    fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn run(&mut self, images: ArrayView4<u8>) -> Result<Array2<f32>> {
        let mut scores = Array2::zeros((images.dim().0, self.classes));
        let threads = self.runtime.threads.min(images.dim().0);
        // Each thread takes the next picture when it is done with one, so that a slow core does not hold up the rest.
        let work = Mutex::new(images.outer_iter().zip(scores.outer_iter_mut()));
        let next = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work_off = || {
            caught(|| {
                let mut state = self.runnable.spawn()?;
                while let Some((image, row)) = next() {
                    run_one(&mut state, image, row)?;
                }
                Ok(())
            })
            .context("tract cannot run it")
        };
        if threads <= 1 {
            work_off()?;
        } else {
            thread::scope(|scope| {
                let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work_off)).collect();
                workers.into_iter().try_for_each(|worker| {
                    worker.join().unwrap_or_else(|_| Err(anyhow!("a thread that ran tract panicked")))
                })
            })?;
        }
        Ok(scores)
    }
}

/// Runs one picture, `[C, H, W]`, and writes its scores.
fn run_one(state: &mut TypedSimpleState, image: ArrayView3<u8>, mut row: ArrayViewMut1<f32>) -> Result<()> {
    let (channels, height, width) = image.dim();
    let pixels = image.as_standard_layout();
    let pixels = pixels.as_slice().context("the picture is not contiguous")?;
    let tensor = Tensor::from_shape(&[1, channels, height, width], pixels)?;
    let outputs = state.run(tvec!(tensor.into_tvalue()))?;
    let output = outputs.first().context("it yields nothing")?;
    let scores = output.to_plain_array_view::<f32>()?;
    ensure!(scores.len() == row.len(), "it yields {} scores: expected {}", scores.len(), row.len());
    row.iter_mut().zip(scores.iter()).for_each(|(slot, &score)| *slot = score);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_the_one_that_is_built() {
        let lock = include_str!("../../../Cargo.lock");
        let entry = lock.split("[[package]]").find(|entry| entry.contains("name = \"tract-onnx\"")).unwrap();
        assert!(entry.contains(&format!("version = \"{}\"", super::VERSION)), "{entry}");
    }
}
