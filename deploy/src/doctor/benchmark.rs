//! The benchmark: each model in each runtime on one and on all threads, in turns, as [`crate::bench`] measures.

use super::files::Files;
use super::state::{State, UnderLoad};
use crate::backend::{Engine, Runtime};
use crate::bench::measure::{Measurement, measure};
use crate::bench::statistics::Summary;
use crate::bench::turn::{FEWEST_ROUNDS, Length};
use crate::machine;
use crate::model::Model;
use anyhow::Result;
use models::card::Precision;
use ndarray::Array4;
use serde::Serialize;
use std::borrow::Cow;
use std::time::{Duration, Instant};

/// Pictures per call where many are to be classified.
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
    /// Pictures per call.
    pub batch: usize,
    /// Seconds per call.
    pub seconds: Summary,
    /// Pictures per second, by the median.
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
    /// Whether many pictures at once were left out, because they would have taken too long.
    pub only_single: bool,
}

impl Benchmark {
    /// Measures for about `time`, longer where [`FEWEST_ROUNDS`] rounds take longer. `progress` is told the share that
    /// is done.
    pub fn run(
        candidates: &[Candidate],
        engines: &[Engine],
        files: &Files,
        time: Duration,
        mut progress: impl FnMut(f64),
    ) -> Result<Self> {
        let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut benchmark = Self::default();
        let (mut models, mut places) = (Vec::new(), Vec::new());
        for candidate in candidates {
            for &engine in engines {
                let on_processor = !matches!(engine, Engine::OrtCuda(_));
                for threads in [1, all].into_iter().filter(|&threads| threads == all || on_processor) {
                    // On a single processor, one is all.
                    if places.last() == Some(&(&candidate.name, engine, threads)) {
                        continue;
                    }
                    match open(candidate, engine, threads) {
                        Ok(model) => {
                            models.push(model);
                            places.push((&candidate.name, engine, threads));
                        }
                        Err(error) => {
                            let (model, reason) = (candidate.name.clone(), format!("{error:#}"));
                            benchmark.failures.push(Failure { model, engine, reason });
                            break;
                        }
                    }
                }
            }
        }
        if models.is_empty() {
            return Ok(benchmark);
        }
        let round: f64 = models.iter_mut().map(seconds).sum::<Result<f64>>()?;
        // Each has a turn by our path and one by the runtime's own.
        let many = 2.0 * FEWEST_ROUNDS as f64 * round * (1 + MANY) as f64;
        benchmark.only_single = many > 2.0 * time.as_secs_f64();
        let batches: &[usize] = if benchmark.only_single { &[1] } else { &[1, MANY] };
        let Measurement { series, rounds, seconds } =
            measure(&mut models, batches, Length::Time(time), |rounds, seconds| {
                benchmark.under_load.add(&State::now(files));
                progress(f64::min(seconds / time.as_secs_f64(), rounds as f64 / FEWEST_ROUNDS as f64));
            })?;
        for (series, index) in series.into_iter().zip((0..models.len()).cycle()) {
            let (name, engine, _) = places[index];
            let candidate = candidates.iter().find(|candidate| candidate.name == *name);
            benchmark.entries.push(Entry {
                model: name.clone(),
                path: candidate.and_then(|candidate| candidate.path.clone()),
                precision: models[index].card().map(|card| card.precision),
                engine,
                runtime: series.runtime,
                batch: series.batch,
                seconds: series.seconds,
                images_per_second: series.images_per_second,
            });
        }
        (benchmark.rounds, benchmark.seconds) = (rounds, seconds);
        benchmark.peak_memory = machine::bytes(&machine::read("/proc/self/status"), "VmHWM");
        Ok(benchmark)
    }
}

/// A model that has answered once: what a runtime cannot do may come to light only then.
fn open(candidate: &Candidate, engine: Engine, threads: usize) -> Result<Model> {
    let mut model = Model::from_bytes(&candidate.name, &candidate.bytes, &engine.options(Some(threads)))?;
    seconds(&mut model)?;
    Ok(model)
}

/// How long one black picture takes.
fn seconds(model: &mut Model) -> Result<f64> {
    let input = model.input();
    let black = Array4::zeros((1, input.channels, input.height, input.width));
    let start = Instant::now();
    model.logits(black.view())?;
    Ok(start.elapsed().as_secs_f64())
}
