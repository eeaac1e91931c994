//! Measures a model file on a labelled data set, with the same code that serves predictions.

use crate::backend::Runtime;
use crate::model::Model;
use anyhow::{Result, ensure};
use models::dataset::Dataset;
use models::evaluation::{Metrics, Mistake, Tally, mistakes, sort_by_certainty};
use ndarray::Axis;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Images per chunk; progress is reported after each. Large enough to give every thread work.
const CHUNK: usize = 256;

/// How well and how fast a model file answers.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// The engine that ran the model.
    pub runtime: Runtime,
    /// Time for all images, in seconds, without loading the model and the data and without counting the answers.
    pub seconds: f64,
    /// Images per second.
    pub images_per_second: f64,
    /// How good the answers are.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// The wrong answers, most confident first.
    #[serde(skip)]
    pub mistakes: Vec<Mistake>,
}

/// Runs the whole data set through the model. `progress` is called with the number of images done so far.
///
/// Errors if the data set has labels beyond the model's classes, or if the model fails.
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
