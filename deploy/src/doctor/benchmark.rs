//! The benchmark: each model in each engine on one and on all threads, in turns, measured by [`crate::bench`].

use super::files::Files;
use super::state::{State, UnderLoad};
use crate::backend::{Engine, Runtime};
use crate::bench::cold::peak_memory;
use crate::bench::measure::{Measurement, measure};
use crate::bench::statistics::Summary;
use crate::bench::turn::{FEWEST_ROUNDS, Length};
use crate::model::{Described, Model};
use anyhow::{Result, ensure};
use models::architecture::Architecture;
use models::card::{ModelCard, Precision};
use ndarray::Array4;
use serde::Serialize;
use std::borrow::Cow;
use std::time::{Duration, Instant};

/// Images per call when many are to be classified.
pub const MANY: usize = 8;

/// A model file.
pub struct Candidate {
    /// Its name in messages.
    pub name: String,
    /// Its path; `None` if it is embedded in the program.
    pub path: Option<String>,
    /// The ONNX file.
    pub bytes: Cow<'static, [u8]>,
}

/// The times of one model in one engine.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The model's name in messages.
    pub model: String,
    /// Its path; `None` if it is embedded in the program.
    #[serde(skip)]
    pub path: Option<String>,
    /// Its number format, from its card.
    pub precision: Option<Precision>,
    /// The engine and its device.
    pub engine: Engine,
    /// What ran.
    pub runtime: Runtime,
    /// Images per call.
    pub batch: usize,
    /// Seconds per call.
    pub seconds: Summary,
    /// Images per second, from the median.
    pub images_per_second: f64,
}

/// A model that an engine could not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The model's name in messages.
    pub model: String,
    /// The engine and its device.
    pub engine: Engine,
    /// Why, with all causes.
    pub reason: String,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Benchmark {
    /// Ordered by batch size, then model, engine and threads.
    pub entries: Vec<Entry>,
    /// What could not be run.
    pub failures: Vec<Failure>,
    /// Turns of each entry.
    pub rounds: usize,
    /// How long all turns took, in seconds.
    pub seconds: f64,
    /// What was seen meanwhile.
    pub under_load: UnderLoad,
    /// Peak memory of this process, in bytes, with all models in all engines at once.
    pub peak_memory: Option<u64>,
    /// Whether many images at once were left out because they would have taken too long.
    pub only_single: bool,
}

/// Models that have answered once, each in one engine with one number of threads.
pub struct Ready<'a> {
    models: Vec<Model>,
    places: Vec<(&'a Candidate, Engine)>,
    failures: Vec<Failure>,
}

impl<'a> Ready<'a> {
    /// Opens all models in all these engines, on one and on all threads, and runs one image in each, since some engines
    /// fail only then. A file that is not a model is an error; one that an engine cannot run is a [`Failure`].
    pub fn make(candidates: &'a [Candidate], engines: &[Engine]) -> Result<Self> {
        let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut ready = Self { models: Vec::new(), places: Vec::new(), failures: Vec::new() };
        let mut first = None;
        for candidate in candidates {
            let card = Described::new(&candidate.name, &candidate.bytes)?.card;
            same_network(&mut first, candidate, card)?;
            for &engine in engines {
                // With CUDA the number of threads has no effect, and a single processor has only one.
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

    /// Only the failures, for machines whose times mean nothing.
    #[must_use]
    pub fn unmeasured(self) -> Benchmark {
        Benchmark { failures: self.failures, ..Benchmark::default() }
    }

    /// Measures for about `time`, or longer if [`FEWEST_ROUNDS`] rounds take longer. Reports the share done to
    /// `progress`.
    pub fn measured(mut self, files: &Files, time: Duration, mut progress: impl FnMut(f64)) -> Result<Benchmark> {
        if self.models.is_empty() {
            return Ok(self.unmeasured());
        }
        let round: f64 = self.models.iter_mut().map(seconds).sum::<Result<f64>>()?;
        // In a round each model has one turn through our code and one through the engine's own call.
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
        Ok(Benchmark {
            entries: entries.collect(),
            failures: self.failures,
            rounds,
            seconds,
            under_load,
            peak_memory: peak_memory(),
            only_single,
        })
    }
}

/// Refuses a model of another network than the first one: a faster network is not a better one.
fn same_network<'a>(
    first: &mut Option<(&'a str, Option<Architecture>)>,
    candidate: &'a Candidate,
    card: Option<ModelCard>,
) -> Result<()> {
    let architecture = card.and_then(|card| card.architecture);
    let Some((name, known)) = first else {
        *first = Some((&candidate.name, architecture));
        return Ok(());
    };
    let remedy = "give only exports of one network, in several precisions";
    ensure!(known.is_some(), "{name} does not say which network it is: {remedy}");
    ensure!(*known == architecture, "{} is another network than {name}: {remedy}", candidate.name);
    Ok(())
}

/// Opens a model and lets it answer once.
fn open(candidate: &Candidate, engine: Engine, threads: usize) -> Result<Model> {
    let mut model = Model::from_bytes(&candidate.name, &candidate.bytes, &engine.options(Some(threads)))?;
    seconds(&mut model)?;
    Ok(model)
}

/// Runs one black image and returns how long it takes.
fn seconds(model: &mut Model) -> Result<f64> {
    let input = model.input();
    let black = Array4::zeros((1, input.channels, input.height, input.width));
    let start = Instant::now();
    model.logits(black.view())?;
    Ok(start.elapsed().as_secs_f64())
}
