//! Calls of the runtimes on prepared tensors, without any code of this crate around them: the baseline for our own path
//! in [`crate::bench`].

use super::{Backend, filled};
use anyhow::{Context, Result};
use ndarray::{ArrayView4, Axis};
use std::any::Any;

/// Runs the same images at every call and discards the scores.
pub type DirectCall<'a> = Box<dyn FnMut() -> Result<()> + Send + 'a>;

/// Returns a backend as what its engine opened.
pub fn opened<T: Backend>(backend: &mut dyn Backend) -> Result<&mut T> {
    let backend: &mut dyn Any = backend;
    backend.downcast_mut().context("another engine opened this model")
}

/// Calls ONNX Runtime's `Run` for each batch of at most `most` images, or of exactly `fixed`.
#[cfg(feature = "ort")]
pub fn in_ort<'a, T>(
    session: &'a mut ort::session::Session,
    most: usize,
    fixed: Option<usize>,
    images: ArrayView4<T>,
) -> Result<DirectCall<'a>>
where
    T: ort::value::PrimitiveTensorElementType + Copy + std::fmt::Debug + Default + 'static,
{
    let batches = images.axis_chunks_iter(Axis(0), fixed.unwrap_or(most));
    let tensors = batches.map(|batch| ort::value::Tensor::from_array(filled(batch, fixed).into_owned()));
    let tensors = tensors.collect::<ort::Result<Vec<_>>>()?;
    Ok(Box::new(move || {
        for tensor in &tensors {
            drop(session.run(ort::inputs![tensor])?);
        }
        Ok(())
    }))
}

/// Runs tract's plan for each batch. It uses this many threads with a state each; a thread takes the next batch when it
/// has finished one. A single batch is computed by all of them together, if it is `divisible`.
#[cfg(feature = "tract")]
pub fn in_tract<T: tract_core::prelude::Datum + Copy + Default>(
    plan: &std::sync::Arc<tract_core::prelude::TypedRunnableModel>,
    batch: usize,
    threads: usize,
    divisible: bool,
    images: ArrayView4<T>,
) -> Result<DirectCall<'static>> {
    use super::tract::Team;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tract_core::prelude::{IntoTensor, TValue, tvec};

    let batches = images.axis_chunks_iter(Axis(0), batch);
    let tensors = batches.map(|images| TValue::from(filled(images, Some(batch)).into_owned().into_tensor()));
    let tensors: Vec<_> = tensors.collect();
    let mut team = (divisible && threads > 1 && tensors.len() == 1).then(|| Team::new(threads));
    let threads = threads.min(tensors.len()).max(1);
    let mut states = (0..threads).map(|_| plan.spawn()).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(move || {
        let next = AtomicUsize::new(0);
        let work_off = |state: &mut tract_core::prelude::TypedSimpleState| -> Result<()> {
            while let Some(tensor) = tensors.get(next.fetch_add(1, Ordering::Relaxed)) {
                state.run(tvec!(tensor.clone()))?;
            }
            Ok(())
        };
        let (first, others) = states.split_first_mut().context("no threads")?;
        std::thread::scope(|scope| {
            // If the system refuses threads, fewer do all the work.
            let start = std::thread::Builder::new;
            let workers = others.iter_mut().map_while(|state| start().spawn_scoped(scope, || work_off(state)).ok());
            let workers: Vec<_> = workers.collect();
            match &mut team {
                Some(team) => team.run(|| work_off(first))?,
                None => work_off(first)?,
            }
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread that ran tract panicked")))
            })
        })
    }))
}
