//! What a model file is worth, measured on a labelled data set by the very code that serves it.

use crate::backend::Runtime;
use crate::model::Model;
use anyhow::{Result, ensure};
use models::dataset::Dataset;
use models::evaluation::Confusion;
use ndarray::Axis;
use serde::Serialize;
use std::time::Instant;

/// Pictures between two reports of progress; many, so that every thread has work.
const CHUNK: usize = 256;

/// What a model file is worth.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// What ran.
    pub runtime: Runtime,
    /// Pictures answered.
    pub images: usize,
    /// How many of them rightly.
    pub correct: u64,
    /// Share of right answers, 0 to 1.
    pub accuracy: f64,
    /// Time for all pictures, in seconds, without loading the model and the data.
    pub seconds: f64,
    /// Pictures per second.
    pub images_per_second: f64,
    /// How often each class was taken for each.
    pub confusion: Confusion,
}

/// Runs the whole data set through the model; `progress` is told the number of pictures done so far.
pub fn evaluate(model: &mut Model, data: &Dataset, mut progress: impl FnMut(usize)) -> Result<Evaluation> {
    let classes = model.labels().len();
    ensure!(
        data.classes() <= classes,
        "the data set has labels up to {}, but {} has only {classes} classes",
        data.classes() - 1,
        model.name()
    );
    let mut confusion = Confusion::new(classes);
    let start = Instant::now();
    let mut done = 0;
    for images in data.images().axis_chunks_iter(Axis(0), CHUNK) {
        let logits = model.logits(images)?;
        let next = done + images.dim().0;
        confusion.add(logits.view(), &data.labels()[done..next]);
        done = next;
        progress(done);
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Evaluation {
        runtime: model.runtime().clone(),
        images: done,
        correct: confusion.correct(),
        accuracy: confusion.accuracy(),
        seconds,
        images_per_second: done as f64 / seconds.max(f64::MIN_POSITIVE),
        confusion,
    })
}
