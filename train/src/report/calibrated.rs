//! What a temperature makes of the test results.

use crate::checkpoint::Checkpoint;
use crate::data::Images;
use crate::export::confidence::{self, Temperature};
use crate::temperature;
use anyhow::Result;
use models::card::{Confidence, MeasuredOn};
use models::evaluation::{Metrics, Tally};
use ndarray::ArrayView2;

/// The test results with the temperature that `train export` folds into the file.
#[derive(Clone, Debug)]
pub struct Calibrated {
    /// The temperature, fitted to held-out images.
    pub temperature: f64,
    /// Number of these images.
    pub images: usize,
    /// Metrics on the test images with the logits divided by the temperature.
    pub metrics: Metrics,
}

impl Calibrated {
    /// Fits the temperature to `held_out` images, on their device, and applies it to the test images' `logits`
    /// `[N, classes]`, with their labels.
    pub fn measure(
        checkpoint: &Checkpoint,
        held_out: &Images,
        logits: ArrayView2<f32>,
        labels: &[usize],
    ) -> Result<Self> {
        let images = held_out.evenly(confidence::MOST_IMAGES)?;
        let Confidence { temperature, images, .. } =
            confidence::measure(checkpoint, &images, MeasuredOn::HeldOut, Temperature::Fitted)?;
        let mut tally = Tally::new(logits.ncols());
        tally.add(temperature::divide(logits, temperature).view(), labels);
        Ok(Self { temperature, images, metrics: tally.metrics() })
    }
}
