//! Threads that run a model. Each owns a copy of it, and all take their work from one bounded queue.

use super::failure::Failure;
use crate::backend::Options;
use crate::backend::panic::caught;
use crate::model::Model;
use anyhow::{Context, Result};
use async_channel::{Receiver, Sender};
use std::sync::Arc;
use std::thread;
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

/// A piece of work for one of the threads.
type Job = Box<dyn FnOnce(&mut Model) + Send>;

/// The threads of one model. When it is dropped, they finish the work in the queue and end.
pub(super) struct Pool {
    jobs: Sender<Job>,
    /// Number of threads.
    pub threads: usize,
}

impl Pool {
    /// Opens the model and starts its threads. At most `waiting` pieces of work wait for a thread. Also returns one of
    /// the models, to be asked about itself.
    pub fn start(source: Source, waiting: usize) -> Result<(Self, Model)> {
        let about = source.single()?;
        let models = source.models()?;
        let source = Arc::new(source);
        let threads = models.len();
        let (jobs, taken) = async_channel::bounded(waiting);
        for model in models {
            let (source, taken) = (Arc::clone(&source), taken.clone());
            thread::Builder::new()
                .name("worker".to_owned())
                .spawn(move || work(model, &source, &taken))
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

    /// Runs `task` on the next free thread. Waits for room in the queue.
    pub async fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Model) -> Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, result) = oneshot::channel();
        let job: Job = Box::new(move |model: &mut Model| {
            // A client that has gone does not need its answer computed.
            if !reply.is_closed() {
                let _ = reply.send(task(model));
            }
        });
        self.jobs.send(job).await.map_err(|_| Failure::internal("the model's threads have ended"))?;
        match result.await {
            Ok(result) => result.map_err(|error| Failure::internal(format!("{error:#}"))),
            // The job panicked and was dropped.
            Err(_) => Err(Failure::internal("the model failed on this request")),
        }
    }
}

/// Works until the pool is dropped. After a panic the model is opened again.
fn work(mut model: Model, source: &Source, jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv_blocking() {
        let Err(panic) = caught(|| {
            job(&mut model);
            Ok(())
        }) else {
            continue;
        };
        tracing::error!(model = source.name, error = format!("{panic:#}"), "a worker failed and is replaced");
        match source.single() {
            Ok(fresh) => model = fresh,
            Err(error) => {
                tracing::error!(model = source.name, error = format!("{error:#}"), "a worker could not be replaced");
                return;
            }
        }
    }
}
