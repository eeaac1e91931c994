//! What a checkpoint is worth on the test set, measured in libtorch.

use crate::checkpoint::Checkpoint;
use crate::data::Images;
use crate::device;
use crate::evaluate::{self, Evaluation};
use anyhow::{Result, ensure};
pub use deploy::text::percent;
use deploy::text::{self, grouped, printable};
use models::evaluation::{Metrics, Tally, argmax, softmax};
use ndarray::Array3;
use serde::Serialize;
use std::fmt::Write;
use tch::{Device, Tensor};

/// Most mistakes that are shown.
const MISTAKES: usize = 24;

/// What a checkpoint's shipped network is worth on a test set.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The network.
    pub network: String,
    /// Name of the data set it was trained on.
    pub data_set: String,
    /// What measured this: libtorch's version, device and threads.
    pub measured_with: String,
    /// Epochs behind its weights.
    pub epochs: usize,
    /// Steps behind its weights since the last of these epochs: above 0 only where a run was interrupted.
    pub further_steps: usize,
    /// Name of each class.
    pub labels: Vec<String>,
    /// What its answers to the test images are worth.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// The mistakes it is surest of, the surest first.
    pub mistakes: Vec<Mistake>,
}

/// A test image that was classified wrongly.
#[derive(Clone, Debug, Serialize)]
pub struct Mistake {
    /// Its place in the test set, counted from 0.
    pub index: usize,
    /// The class it is of.
    pub truth: usize,
    /// The class it was taken for.
    pub answer: usize,
    /// Probability of the answer, 0 to 1.
    pub probability: f32,
    /// The picture, `[C, H, W]`.
    #[serde(skip)]
    pub picture: Array3<u8>,
}

impl Figures {
    /// Measures the network that a checkpoint ships on test images, on their device.
    pub fn measure(checkpoint: &Checkpoint, test: &Images) -> Result<Self> {
        let metadata = &checkpoint.metadata;
        let labels = metadata.data.labels.clone();
        let truths: Vec<usize> = Vec::<i64>::try_from(&test.labels)?.into_iter().map(|label| label as usize).collect();
        let largest = truths.iter().max().copied().unwrap_or(0);
        ensure!(
            largest < labels.len(),
            "the test set has labels up to {largest}, but the network knows only {} classes",
            labels.len()
        );
        let answers = evaluate::answers(checkpoint, test)?;
        let Evaluation { loss, .. } = answers.evaluation()?;
        let logits = answers.logits()?;
        let probabilities = softmax(logits.view());
        let mut tally = Tally::new(labels.len());
        tally.add(logits.view(), &truths);

        let mut mistakes = Vec::new();
        for (index, (row, &truth)) in logits.rows().into_iter().zip(&truths).enumerate() {
            let answer = argmax(row);
            if answer != truth {
                mistakes.push((index, truth, answer, probabilities[[index, answer]]));
            }
        }
        // Stable: of equals the first image comes first.
        mistakes.sort_by(|a, b| b.3.total_cmp(&a.3));
        let mistakes = mistakes.into_iter().take(MISTAKES).map(|(index, truth, answer, probability)| {
            Ok(Mistake { index, truth, answer, probability, picture: picture(&test.images, index)? })
        });
        Ok(Self {
            network: metadata.architecture.to_string(),
            data_set: metadata.data.name.clone(),
            measured_with: device::running_on(test.images.device()),
            epochs: metadata.progress.epochs,
            further_steps: metadata.progress.step,
            labels,
            // libtorch's own loss: the number in the run's history.
            metrics: Metrics { loss, ..tally.metrics() },
            mistakes: mistakes.collect::<Result<_>>()?,
        })
    }

    /// The figures for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { metrics, labels, .. } = self;
        let parts = [
            self.headline(),
            text::classes(&metrics.classes, labels),
            text::confusion(&metrics.confusion, labels),
            text::calibration(&metrics.calibration),
            self.mistake_table(),
        ];
        parts.join("\n")
    }

    fn headline(&self) -> String {
        let further = if self.further_steps == 0 {
            String::new()
        } else {
            format!(" and {} of the next", text::counted(self.further_steps, "step"))
        };
        let mut lines = vec![
            ("network", format!("{}, after {}{further}", self.network, text::counted(self.epochs, "epoch"))),
            ("data", format!("{}, {}", printable(&self.data_set), text::counted(self.metrics.images, "test image"))),
            ("runs on", self.measured_with.clone()),
        ];
        lines.extend(text::headline(&self.metrics));
        text::fields(&lines)
    }

    fn mistake_table(&self) -> String {
        if self.mistakes.is_empty() {
            return "No mistakes.\n".to_owned();
        }
        let mut rows = vec![["mistake", "true", "answered", "probability"].map(str::to_owned).to_vec()];
        let name = |class: usize| self.labels.get(class).map_or_else(|| class.to_string(), |label| printable(label));
        for mistake in &self.mistakes {
            let probability = percent(Some(f64::from(mistake.probability)));
            rows.push(vec![format!("#{}", mistake.index), name(mistake.truth), name(mistake.answer), probability]);
        }
        let mut text = text::table(&rows);
        let all = self.metrics.wrong();
        if all > self.mistakes.len() as u64 {
            let _ = writeln!(text, "The {} surest of {} mistakes.", self.mistakes.len(), grouped(all));
        }
        text
    }
}

/// One of the pictures `[N, C, H, W]`, as `[C, H, W]`.
fn picture(images: &Tensor, index: usize) -> Result<Array3<u8>> {
    let picture = images.f_get(index as i64)?.f_to(Device::Cpu)?;
    let (channels, height, width) = picture.size3()?;
    let bytes = Vec::<u8>::try_from(picture.f_contiguous()?.f_view([-1])?)?;
    Ok(Array3::from_shape_vec((channels as usize, height as usize, width as usize), bytes)?)
}
