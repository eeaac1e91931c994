//! What a model file is worth, measured on a labelled data set by the very code that serves it.

use crate::backend::Runtime;
use crate::model::Model;
use anyhow::{Result, ensure};
use models::dataset::Dataset;
use models::evaluation::{Metrics, Mistake, Tally, mistakes, sort_by_certainty};
use ndarray::Axis;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Pictures between two reports of progress; many, so that every thread has work.
const CHUNK: usize = 256;

/// What a model file is worth.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// What ran.
    pub runtime: Runtime,
    /// Time for all pictures, in seconds, without loading the model and the data and without counting the answers.
    pub seconds: f64,
    /// Pictures per second.
    pub images_per_second: f64,
    /// What its answers are worth.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// The wrong answers, the surest first.
    #[serde(skip)]
    pub mistakes: Vec<Mistake>,
}

/// Runs the whole data set through the model; `progress` is told the number of pictures done so far.
///
/// Labels beyond the model's classes are an error.
pub fn evaluate(model: &mut Model, data: &Dataset, mut progress: impl FnMut(usize)) -> Result<Evaluation> {
    let classes = model.labels().len();
    ensure!(
        data.classes() <= classes,
        "the data set has labels up to {}, but {} has only {classes} classes",
        data.classes() - 1,
        model.name()
    );
    let mut tally = Tally::new(classes);
    let mut wrong = Vec::new();
    let mut spent = Duration::ZERO;
    let mut done = 0;
    for images in data.images().axis_chunks_iter(Axis(0), CHUNK) {
        let start = Instant::now();
        let logits = model.logits(images)?;
        spent += start.elapsed();
        let next = done + images.dim().0;
        tally.add(logits.view(), &data.labels()[done..next]);
        wrong.extend(mistakes(logits.view(), &data.labels()[done..next], done));
        done = next;
        progress(done);
    }
    sort_by_certainty(&mut wrong);
    let seconds = spent.as_secs_f64();
    Ok(Evaluation {
        runtime: model.runtime().clone(),
        seconds,
        images_per_second: done as f64 / seconds.max(f64::MIN_POSITIVE),
        metrics: tally.metrics(),
        mistakes: wrong,
    })
}
