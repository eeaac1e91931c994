//! tract: pure Rust, on the CPU.
//!
//! Models are built for one image at a time (or, for a file from elsewhere, for the batch size that it fixes). With an
//! open N, tract uses code that is 5 to 8 times slower, and a batch of 32 costs more per image than single images. So
//! the images of a batch are spread over threads, which share one plan and have a state each. A single image is computed
//! by all threads together (`parallel`).
//!
//! A file written by `train export` is read straight into the steps that it computes (`chain`, `wiring`), with an
//! operator of our own for each step. Where there is code for the processor, convolutions work on feature maps that are
//! stored pixel by pixel (`channels_last`, in integers and in floats); otherwise on planes of floats (`convolution` with
//! `depthwise` and `dense`). `pixels`, `rounded` and `pooled` are the other steps. `operator` presents them to tract,
//! `spare` recycles their memory, `lanes` wraps the vector instructions, and `processor` chooses among them. Any other
//! file goes through tract's reader and optimiser, if they are compiled in (`foreign`), and gets the convolutions on
//! planes.

mod chain;
mod channels_last;
mod convolution;
mod dense;
mod depthwise;
#[cfg(feature = "onnx")]
mod foreign;
mod lanes;
mod operator;
mod parallel;
mod pixels;
mod pooled;
mod processor;
mod rounded;
mod spare;
mod wiring;

use self::chain::Chain;

pub(super) use self::parallel::Team;
use self::processor::Processor;
use super::panic::caught;
use super::prepared::{self, DirectCall};
use super::status::Found;
use super::{Backend, ImageBatch, ModelFile, Options, Runtime, filled};
use crate::interface::Interface;
use anyhow::{Context, Result, anyhow, bail, ensure};
use models::card::GraphInput;
use models::onnx::proto::ModelProto;
use ndarray::{Array2, ArrayView4, ArrayViewMut2, Axis, s};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tract_core::prelude::*;

/// tract's version. The crate does not expose it; a test compares this with `Cargo.lock`.
pub const VERSION: &str = "0.23.9";

/// What can compute: our own operators for files written by `train export`, and tract's for others if its reader is
/// compiled in. `stock` means tract as released.
pub(super) fn find(stock: bool) -> Result<Found> {
    let own = if stock { None } else { Some(Processor::this()?.provider(false)) };
    let others = cfg!(feature = "onnx").then(|| "tract-linalg".to_owned());
    let providers = own.into_iter().chain(others).collect();
    Ok(Found { version: Some(VERSION.to_owned()), library: None, providers })
}

/// Describes what runs. `stock` means tract as released.
pub(super) fn runtime(stock: bool, provider: String, threads: usize) -> Runtime {
    let name = if stock { "tract as released" } else { "tract" };
    Runtime { name: name.to_owned(), version: VERSION.to_owned(), provider, device: "cpu".to_owned(), threads }
}

/// A model loaded into tract.
pub struct Plan {
    runnable: Arc<TypedRunnableModel>,
    /// One state for each thread that has run so far, kept for the next images.
    states: Vec<TypedSimpleState>,
    /// Whether several threads compute one image faster.
    divisible: bool,
    /// Those threads, once they are needed.
    team: Option<Team>,
    batch: usize,
    classes: usize,
    runtime: Runtime,
}

impl Plan {
    /// Loads a model into tract. `stock` means tract as released, without our own reader and operators.
    pub fn open(source: ModelFile, options: &Options, stock: bool) -> Result<Self> {
        let loaded = caught(|| load(source, stock));
        let Loaded { runnable, batch, classes, provider, divisible } =
            loaded.with_context(|| format!("tract cannot load {}", source.name))?;
        let runtime = runtime(stock, provider, options.threads());
        Ok(Self { runnable, states: Vec::new(), divisible, team: None, batch, classes, runtime })
    }
}

/// Shape and element type of the input for this many images at once.
pub(crate) fn input_fact(interface: &Interface, batch: usize) -> TypedFact {
    let [channels, height, width] = interface.image;
    let shape = [batch, channels, height, width];
    match interface.takes {
        GraphInput::Images => u8::fact(shape),
        GraphInput::Normalised => f32::fact(shape),
    }
}

/// A model's plan for one batch size.
struct Loaded {
    runnable: Arc<TypedRunnableModel>,
    /// How many images are run at once.
    batch: usize,
    classes: usize,
    /// What computes, for people.
    provider: String,
    /// Whether several threads compute one image faster.
    divisible: bool,
}

fn load(source: ModelFile, stock: bool) -> Result<Loaded> {
    let processor = Processor::this()?;
    let (model, batch, provider, divisible) = if stock {
        foreign(source, &[])?
    } else {
        match Chain::read(source.model, &source.interface.output) {
            // One image at a time, even if the file fixes a larger batch: no step of a chain mixes images.
            Ok(chain) => {
                let wired = wiring::model(chain, input_fact(source.interface, 1), &processor, false)?;
                let provider = processor.provider(wired.integers);
                (wired.model, 1, provider, wired.divisible)
            }
            Err(_) if cfg!(feature = "onnx") => foreign(source, &processor.lanes)?,
            Err(why) => bail!(
                "train export does not write such a graph: {why}. This program was built only for its files: use one \
                 with ONNX Runtime (for 64-bit boards: scripts/package aarch64 --with-ort), or build it with the \
                 feature onnx"
            ),
        }
    };
    let output = model.output_fact(0)?;
    let shape =
        output.shape.as_concrete().with_context(|| format!("its output is {output:?}: expected a fixed shape"))?;
    let classes = match *shape {
        [rows, classes] if rows == batch => classes,
        _ => bail!("its output has the shape {shape:?}: expected [{batch}, classes]"),
    };
    ensure!(output.datum_type == f32::datum_type(), "its output is {:?}: expected f32", output.datum_type);
    Ok(Loaded { runnable: model.into_runnable()?, batch, classes, provider, divisible })
}

/// A plan that returns the value after every step of a chain.
pub(crate) struct Exposed {
    pub runnable: Arc<TypedRunnableModel>,
    /// Names of its outputs.
    pub values: Vec<String>,
    /// What computes, for people.
    pub provider: String,
}

/// Returns a plan with every value of a graph that `train export` wrote. `None` for other graphs and for a batch of
/// several images.
pub(crate) fn exposed(model: &ModelProto, interface: &Interface) -> Result<Option<Exposed>> {
    let Ok(chain) = Chain::read(model, &interface.output) else { return Ok(None) };
    if interface.batch.is_some_and(|batch| batch > 1) {
        return Ok(None);
    }
    let processor = Processor::this()?;
    let wired = wiring::model(chain, input_fact(interface, 1), &processor, true)?;
    let provider = processor.provider(wired.integers);
    Ok(Some(Exposed { runnable: wired.model.into_runnable()?, values: wired.values, provider }))
}

/// Loads a model with tract's own reader. Returns it with its batch size, what computes it, and whether several threads
/// compute one image faster.
#[cfg(feature = "onnx")]
fn foreign(source: ModelFile, lanes: &[lanes::Lane]) -> Result<(TypedModel, usize, String, bool)> {
    let batch = source.interface.batch.unwrap_or(1);
    let (model, own) = foreign::model(source.bytes, source.interface, batch, lanes)?;
    let provider = if own > 0 { "tract-linalg with own convolutions" } else { "tract-linalg" };
    Ok((model, batch, provider.to_owned(), false))
}

#[cfg(not(feature = "onnx"))]
fn foreign(_: ModelFile, _: &[lanes::Lane]) -> Result<(TypedModel, usize, String, bool)> {
    bail!("this program was built without tract's own reader: rebuild it with --features onnx");
}

impl Backend for Plan {
    fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn run(&mut self, images: ImageBatch) -> Result<Array2<f32>> {
        match images {
            ImageBatch::Bytes(images) => self.run_all(images),
            ImageBatch::Normalised(images) => self.run_all(images),
        }
    }

    fn workers(&self) -> Vec<Box<dyn Backend>> {
        if self.batch > 1 {
            return Vec::new();
        }
        let worker = |_| {
            let (runnable, runtime) = (self.runnable.clone(), Runtime { threads: 1, ..self.runtime.clone() });
            Box::new(Self { runnable, states: Vec::new(), team: None, runtime, ..*self }) as Box<dyn Backend>
        };
        (0..self.runtime.threads).map(worker).collect()
    }
}

impl Plan {
    /// Prepares tract's own call on these images.
    pub(super) fn prepared<'a>(backend: &'a mut dyn Backend, images: ImageBatch) -> Result<DirectCall<'a>> {
        let Self { runnable, batch, runtime, divisible, .. } = prepared::opened(backend)?;
        match images {
            ImageBatch::Bytes(images) => prepared::in_tract(runnable, *batch, runtime.threads, *divisible, images),
            ImageBatch::Normalised(images) => prepared::in_tract(runnable, *batch, runtime.threads, *divisible, images),
        }
    }

    fn run_all<T: Datum + Copy + Default>(&mut self, images: ArrayView4<T>) -> Result<Array2<f32>> {
        let mut scores = Array2::zeros((images.dim().0, self.classes));
        let size = self.batch;
        let batches = images.axis_chunks_iter(Axis(0), size);
        let threads = self.runtime.threads.min(batches.len()).max(1);
        // A state that failed in the middle of a run is not used again.
        let mut states = mem::take(&mut self.states);
        while states.len() < threads {
            states.push(caught(|| self.runnable.spawn()).context("tract cannot run it")?);
        }
        // One alone is computed by all threads together.
        if self.divisible && threads == 1 && self.runtime.threads > 1 && self.team.is_none() {
            self.team = Some(Team::new(self.runtime.threads));
        }
        // Each thread takes the next batch when it has finished one, so that a slow core does not hold up the others.
        let work = Mutex::new(batches.zip(scores.axis_chunks_iter_mut(Axis(0), size)));
        let next = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work_off = |state: &mut TypedSimpleState| {
            let run = || {
                while let Some((images, rows)) = next() {
                    run_batch(state, filled(images, Some(size)).view(), rows)?;
                }
                Ok(())
            };
            caught(run).context("tract cannot run it")
        };
        // This thread runs batches too.
        let (first, others) = states[..threads].split_first_mut().context("no threads")?;
        let work_off = &work_off;
        thread::scope(|scope| {
            // If the system refuses threads, fewer do all the work.
            let start = thread::Builder::new;
            let workers =
                others.iter_mut().map_while(|state| start().spawn_scoped(scope, move || work_off(state)).ok());
            let workers: Vec<_> = workers.collect();
            match &mut self.team {
                Some(team) if threads == 1 => team.run(|| work_off(first))?,
                _ => work_off(first)?,
            }
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|_| Err(anyhow!("a thread that ran tract panicked")))
            })
        })?;
        self.states = states;
        Ok(scores)
    }
}

/// Runs one batch `[N, C, H, W]` and writes the scores of as many images as there are `rows`.
fn run_batch<T: Datum + Copy>(
    state: &mut TypedSimpleState,
    images: ArrayView4<T>,
    mut rows: ArrayViewMut2<f32>,
) -> Result<()> {
    let values = images.as_slice().context("the images are not contiguous")?;
    let tensor = Tensor::from_shape(images.shape(), values)?;
    let outputs = state.run(tvec!(tensor.into_tvalue()))?;
    let output = outputs.first().context("it returned nothing")?.to_plain_array_view::<f32>()?;
    let (count, classes) = rows.dim();
    ensure!(
        output.ndim() == 2 && output.shape()[0] >= count && output.shape()[1] == classes,
        "it returned scores of the shape {:?}: expected [{count}, {classes}]",
        output.shape()
    );
    let output = output.into_dimensionality::<ndarray::Ix2>()?;
    rows.assign(&output.slice(s![..count, ..]));
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_the_one_that_is_built() {
        let lock = include_str!("../../../../Cargo.lock");
        let entry = lock.split("[[package]]").find(|entry| entry.contains("name = \"tract-core\"")).unwrap();
        assert!(entry.contains(&format!("version = \"{}\"", super::VERSION)), "{entry}");
    }
}
