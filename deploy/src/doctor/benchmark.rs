//! The benchmark: each model in each runtime on one and on all threads, in turns, as [`crate::bench`] measures.

use super::files::Files;
use super::state::{State, UnderLoad};
use crate::backend::{Engine, Runtime};
use crate::bench::measure::{Measurement, measure};
use crate::bench::statistics::Summary;
use crate::bench::turn::{FEWEST_ROUNDS, Length};
use crate::machine;
use crate::model::{Described, Model};
use anyhow::{Result, ensure};
use models::architecture::Architecture;
use models::card::{ModelCard, Precision};
use ndarray::Array4;
use serde::Serialize;
use std::borrow::Cow;
use std::time::{Duration, Instant};

/// Images per call where many are to be classified.
pub const MANY: usize = 8;

/// A model file: what messages call it, its path unless it is the embedded one, and its bytes.
pub struct Candidate {
    /// What messages call it.
    pub name: String,
    /// Its path, unless the program carries it in itself.
    pub path: Option<String>,
    /// The ONNX file.
    pub bytes: Cow<'static, [u8]>,
}

/// The times of one model in one runtime.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// What messages call the model.
    pub model: String,
    /// Its path, unless the program carries it in itself.
    #[serde(skip)]
    pub path: Option<String>,
    /// Its number format, by its card.
    pub precision: Option<Precision>,
    /// Runtime and device.
    pub engine: Engine,
    /// What ran.
    pub runtime: Runtime,
    /// Images per call.
    pub batch: usize,
    /// Seconds per call.
    pub seconds: Summary,
    /// Images per second, by the median.
    pub images_per_second: f64,
}

/// A model that a runtime could not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What messages call the model.
    pub model: String,
    /// Runtime and device.
    pub engine: Engine,
    /// Why, with all causes.
    pub reason: String,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Benchmark {
    /// In the order of batch sizes, then of models, runtimes and threads.
    pub entries: Vec<Entry>,
    /// What could not be run.
    pub failures: Vec<Failure>,
    /// Turns of each.
    pub rounds: usize,
    /// How long all turns took, in seconds.
    pub seconds: f64,
    /// What was seen meanwhile.
    pub under_load: UnderLoad,
    /// The most memory that this process had in use, in bytes: with all models in all runtimes at once.
    pub peak_memory: Option<u64>,
    /// Whether many images at once were left out, because they would have taken too long.
    pub only_single: bool,
}

/// Models that have answered once, each in a runtime on so many threads.
pub struct Ready<'a> {
    models: Vec<Model>,
    places: Vec<(&'a Candidate, Engine)>,
    failures: Vec<Failure>,
}

impl<'a> Ready<'a> {
    /// Opens all models in all these runtimes, on one and on all threads, and runs one image in each: what a runtime
    /// cannot do may come to light only then. A file that is no model is an error; one that a runtime does not run, a
    /// failure.
    pub fn make(candidates: &'a [Candidate], engines: &[Engine]) -> Result<Self> {
        let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut ready = Self { models: Vec::new(), places: Vec::new(), failures: Vec::new() };
        let mut first = None;
        for candidate in candidates {
            let card = Described::new(&candidate.name, &candidate.bytes)?.card;
            same_network(&mut first, candidate, card)?;
            for &engine in engines {
                // CUDA leaves the processor's threads nothing to do, and on a single processor one is all.
                let single = all == 1 || engine.registration.cuda;
                let counts = if single { vec![all] } else { vec![1, all] };
                for threads in counts {
                    match open(candidate, engine, threads) {
                        Ok(model) => {
                            ready.models.push(model);
                            ready.places.push((candidate, engine));
                        }
                        Err(error) => {
                            let (model, reason) = (candidate.name.clone(), format!("{error:#}"));
                            ready.failures.push(Failure { model, engine, reason });
                            break;
                        }
                    }
                }
            }
        }
        Ok(ready)
    }

    /// Only what could not be run: where times would say nothing.
    #[must_use]
    pub fn unmeasured(self) -> Benchmark {
        Benchmark { failures: self.failures, ..Benchmark::default() }
    }

    /// Measures for about `time`, longer where [`FEWEST_ROUNDS`] rounds take longer. `progress` is told the share that
    /// is done.
    pub fn measured(mut self, files: &Files, time: Duration, mut progress: impl FnMut(f64)) -> Result<Benchmark> {
        if self.models.is_empty() {
            return Ok(self.unmeasured());
        }
        let round: f64 = self.models.iter_mut().map(seconds).sum::<Result<f64>>()?;
        // In a round each has a turn by our path and one by the runtime's own.
        let all = 2.0 * FEWEST_ROUNDS as f64 * round * (1 + MANY) as f64;
        let only_single = all > 2.0 * time.as_secs_f64();
        let batches: &[usize] = if only_single { &[1] } else { &[1, MANY] };
        let mut under_load = UnderLoad::default();
        let measurement = measure(&mut self.models, batches, Length::Time(time), |rounds, seconds| {
            under_load.add(&State::now(files));
            progress(f64::min(seconds / time.as_secs_f64(), rounds as f64 / FEWEST_ROUNDS as f64));
        })?;
        let Measurement { series, rounds, seconds } = measurement;
        let places = self.places.iter().zip(&self.models).cycle();
        let entries = series.into_iter().zip(places).map(|(series, (&(candidate, engine), model))| Entry {
            model: candidate.name.clone(),
            path: candidate.path.clone(),
            precision: model.card().map(|card| card.precision),
            engine,
            runtime: series.runtime,
            batch: series.batch,
            seconds: series.seconds,
            images_per_second: series.images_per_second,
        });
        let entries = entries.collect();
        let peak_memory = machine::bytes(&machine::read("/proc/self/status"), "VmHWM");
        Ok(Benchmark { entries, failures: self.failures, rounds, seconds, under_load, peak_memory, only_single })
    }
}

/// Refuses a model that is another network than the first one: of two networks the faster one is not the better one.
fn same_network<'a>(
    first: &mut Option<(&'a str, Option<Architecture>)>,
    candidate: &'a Candidate,
    card: Option<ModelCard>,
) -> Result<()> {
    let architecture = card.map(|card| card.architecture);
    let Some((name, known)) = first else {
        *first = Some((&candidate.name, architecture));
        return Ok(());
    };
    let remedy = "give the exports of one network in several precisions, and ask for another network by itself";
    ensure!(known.is_some(), "{name} has no model card that tells which network it is: {remedy}");
    ensure!(*known == architecture, "{} is not the network that {name} is: {remedy}", candidate.name);
    Ok(())
}

/// A model that has answered once.
fn open(candidate: &Candidate, engine: Engine, threads: usize) -> Result<Model> {
    let mut model = Model::from_bytes(&candidate.name, &candidate.bytes, &engine.options(Some(threads)))?;
    seconds(&mut model)?;
    Ok(model)
}

/// How long one black image takes.
fn seconds(model: &mut Model) -> Result<f64> {
    let input = model.input();
    let black = Array4::zeros((1, input.channels, input.height, input.width));
    let start = Instant::now();
    model.logits(black.view())?;
    Ok(start.elapsed().as_secs_f64())
}
