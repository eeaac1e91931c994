//! Threads that run a model. With tract they share it; with ONNX Runtime each opens its own. All take their work from
//! one bounded queue. Waiting images are run together if that is faster in the engine.

use super::failure::Failure;
use crate::backend::Options;
use crate::backend::panic::caught;
use crate::inputs::ImageSource;
use crate::model::Model;
use crate::predict::{Decoded, PredictionResult, Settings};
use anyhow::{Context, Result, anyhow, ensure};
use async_channel::{Receiver, Sender};
use models::card::Input;
use ndarray::{Array2, Array4, ArrayView4, s};
use prometheus_client::metrics::histogram::Histogram;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A model file in memory, and how to run it.
pub(super) struct Source {
    /// The model's name in messages.
    pub name: String,
    /// The ONNX file.
    pub bytes: Vec<u8>,
    /// The engine, and how many threads all workers have together.
    pub options: Options,
}

impl Source {
    /// Opens one model per thread, each on a single thread. An engine on a GPU gets one model.
    fn models(&self) -> Result<Vec<Model>> {
        let model = Model::from_bytes(&self.name, &self.bytes, &self.options)?;
        let workers = model.workers();
        if !workers.is_empty() {
            return Ok(workers);
        }
        if model.runtime().device != "cpu" || model.runtime().threads == 1 {
            return Ok(vec![model]);
        }
        let threads = model.runtime().threads;
        drop(model);
        (0..threads).map(|_| self.single()).collect()
    }

    /// Opens the model on a single thread.
    fn single(&self) -> Result<Model> {
        Model::from_bytes(&self.name, &self.bytes, &Options { threads: Some(1), ..self.options })
    }
}

/// How many images a thread runs together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batching {
    /// Most images; `None` for what suits the engine.
    pub most: Option<usize>,
    /// How long the first image waits for others.
    pub delay: Duration,
}

/// Images per run of ONNX Runtime: one thread runs eight in 0.8 of the time that it needs for them one by one, and more
/// than eight are no faster.
const BATCH: usize = 8;

/// Once decoding has taken this long, no more images join a run.
const SLOW: Duration = Duration::from_millis(1);

/// Work for one of the threads, and where its result goes.
enum Job {
    /// Images, `[N, C, H, W]`, whose scores are wanted.
    Tensor(Array4<u8>, Reply<Array2<f32>>),
    /// An image file.
    Image(ImageSource, Box<Settings>, Reply<PredictionResult>),
}

type Reply<T> = oneshot::Sender<Result<T>>;

impl Job {
    /// Whether the client has gone, and needs no answer.
    fn is_unwanted(&self) -> bool {
        match self {
            Self::Tensor(_, reply) => reply.is_closed(),
            Self::Image(_, _, reply) => reply.is_closed(),
        }
    }
}

/// The threads of one model. When it is dropped, they finish the work in the queue and end.
pub(super) struct Pool {
    jobs: Sender<Job>,
    /// Number of threads.
    pub threads: usize,
}

impl Pool {
    /// Opens the model and starts its threads. At most `waiting` pieces of work wait for a thread. `runs` counts how many
    /// images run together. Also returns one of the models, to be asked about itself.
    ///
    /// Errors if a batch was asked for and the engine runs images one by one.
    pub fn start(source: Source, waiting: usize, batching: Batching, runs: Histogram) -> Result<(Self, Model)> {
        let about = source.single()?;
        let is_single = !about.workers().is_empty();
        ensure!(
            !is_single || batching.most.is_none() && batching.delay.is_zero(),
            "--max-batch and --max-delay have no effect: {} runs images one by one",
            about.runtime().name
        );
        let models = source.models()?;
        let threads = models.len();
        let (jobs, taken) = async_channel::bounded(waiting);
        let most = batching.most.unwrap_or(if is_single { 1 } else { BATCH });
        let work = Arc::new(Work { source, jobs: taken, threads, most, delay: batching.delay, runs });
        for model in models {
            let work = Arc::clone(&work);
            thread::Builder::new()
                .name("worker".to_owned())
                .spawn(move || work.run(model))
                .context("cannot start a thread")?;
        }
        Ok((Self { jobs, threads }, about))
    }

    /// Number of pieces of work that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.jobs.len()
    }

    /// Refuses a request if the queue is full.
    pub fn admit(&self) -> Result<(), Failure> {
        if self.jobs.is_full() { Err(Failure::busy()) } else { Ok(()) }
    }

    /// The scores of images, `[N, C, H, W]`. Waits for room in the queue.
    pub async fn logits(&self, images: Array4<u8>) -> Result<Array2<f32>, Failure> {
        let (reply, result) = oneshot::channel();
        self.result(Job::Tensor(images, reply), result).await
    }

    /// The result for an image. Waits for room in the queue.
    pub async fn classify(&self, source: ImageSource, settings: Settings) -> Result<PredictionResult, Failure> {
        let (reply, result) = oneshot::channel();
        self.result(Job::Image(source, Box::new(settings), reply), result).await
    }

    async fn result<T>(&self, job: Job, result: oneshot::Receiver<Result<T>>) -> Result<T, Failure> {
        self.jobs.send(job).await.map_err(|_| Failure::internal("the model's threads have ended"))?;
        match result.await {
            Ok(result) => result.map_err(|error| Failure::internal(format!("{error:#}"))),
            // The model panicked and the job was dropped.
            Err(_) => Err(Failure::internal("the model failed on this request")),
        }
    }
}

/// What the threads of a pool share.
struct Work {
    source: Source,
    jobs: Receiver<Job>,
    threads: usize,
    /// Most images in a run.
    most: usize,
    delay: Duration,
    runs: Histogram,
}

impl Work {
    /// Works until the pool is dropped. After a panic the model is opened again.
    fn run(&self, mut model: Model) {
        while let Ok(first) = self.jobs.recv_blocking() {
            let Err(panic) = caught(|| {
                let batch = self.batch(first, model.input());
                self.answer(&mut model, batch)
            }) else {
                continue;
            };
            let name = &self.source.name;
            tracing::error!(model = name, error = format!("{panic:#}"), "a worker failed and is replaced");
            match self.source.single() {
                Ok(fresh) => model = fresh,
                Err(error) => {
                    tracing::error!(model = name, error = format!("{error:#}"), "a worker could not be replaced");
                    return;
                }
            }
        }
    }

    /// Decodes the first job, and those that wait and fit into one run. The other threads get their share.
    fn batch(&self, first: Job, input: &Input) -> Batch {
        let began = Instant::now();
        let mut batch = Batch::default();
        batch.add(first, input);
        loop {
            let share = (self.jobs.len() + batch.jobs.len()).max(1).div_ceil(self.threads);
            // Nobody waits long for images that are slow to decode: running together would not make up for it.
            while batch.images < self.most && batch.jobs.len() < share && began.elapsed() < SLOW.max(self.delay) {
                let Ok(job) = self.jobs.try_recv() else { break };
                batch.add(job, input);
            }
            if batch.images >= self.most || began.elapsed() >= self.delay {
                return batch;
            }
            thread::sleep(self.delay / 8);
        }
    }

    /// Runs the images of all jobs together, and sends each job its result.
    fn answer(&self, model: &mut Model, Batch { jobs, pixels, images }: Batch) -> Result<()> {
        if images > 0 {
            self.runs.observe(images as f64);
        }
        let Input { channels, height, width, .. } = *model.input();
        let images = ArrayView4::from_shape((images, channels, height, width), &pixels)?;
        let logits = model.logits(images).map_err(|error| format!("{error:#}"));
        let mut next = 0;
        for Prepared { job, decoded, images } in jobs {
            let rows = next..next + images;
            next = rows.end;
            let rows = logits.as_ref().map(|logits| logits.slice(s![rows, ..])).map_err(|error| anyhow!(error.clone()));
            // A client that has gone does not get its answer.
            match (job, decoded) {
                (Job::Tensor(_, reply), _) => drop(reply.send(rows.map(|rows| rows.to_owned()))),
                (Job::Image(source, settings, reply), Some(decoded)) => {
                    drop(reply.send(rows.and_then(|rows| decoded.result(source.name(), model, rows, &settings))));
                }
                (Job::Image(..), None) => {}
            }
        }
        Ok(())
    }
}

/// Jobs that are run together.
#[derive(Default)]
struct Batch {
    jobs: Vec<Prepared>,
    /// All their images, one after the other.
    pixels: Vec<u8>,
    /// Number of images.
    images: usize,
}

/// A job whose images are part of a batch.
struct Prepared {
    job: Job,
    /// Of an image file.
    decoded: Option<Decoded>,
    /// Number of images.
    images: usize,
}

impl Batch {
    /// Adds the images of a job, unless its client has gone.
    fn add(&mut self, job: Job, input: &Input) {
        let before = self.images;
        let decoded = match &job {
            _ if job.is_unwanted() => return,
            Job::Tensor(images, _) => {
                self.pixels.extend(images.iter());
                self.images += images.dim().0;
                None
            }
            Job::Image(source, settings, _) => {
                let decoded = Decoded::read(0, source, settings, input);
                for reading in decoded.readings() {
                    self.pixels.extend_from_slice(&reading.pixels);
                    self.images += 1;
                }
                Some(decoded)
            }
        };
        self.jobs.push(Prepared { job, decoded, images: self.images - before });
    }
}
