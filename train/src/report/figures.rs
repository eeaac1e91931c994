//! What a checkpoint is worth on the test set, measured in libtorch.

use crate::checkpoint::Checkpoint;
use crate::data::Images;
use crate::device;
use crate::evaluate::{self, Evaluation};
use anyhow::{Result, ensure};
use deploy::text::{self, grouped, printable};
use models::evaluation::{self, Calibration, ClassFigures, Confusion, argmax, softmax};
use ndarray::Array3;
use serde::Serialize;
use std::fmt::Write;
use tch::{Device, Tensor};

/// Most mistakes that are shown.
const MISTAKES: usize = 24;

/// Most classes whose confusion matrix is still readable as text.
const READABLE: usize = 30;

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
    /// Test images.
    pub images: usize,
    /// How many of them are classified rightly.
    pub correct: u64,
    /// The same as a share, 0 to 1.
    pub accuracy: f64,
    /// Where the accuracy on such images lies with 95 % confidence ([`evaluation::interval`]).
    pub accuracy_interval: Option<(f64, f64)>,
    /// Mean cross-entropy, without label smoothing.
    pub loss: f64,
    /// Precision and recall of each class.
    pub classes: Vec<ClassFigures>,
    /// How often each class was taken for each.
    pub confusion: Confusion,
    /// How far its confidence can be taken at its word.
    pub calibration: Calibration,
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
        let Evaluation { loss, accuracy } = answers.evaluation()?;
        let logits = answers.logits()?;
        let probabilities = softmax(logits.view());
        let mut confusion = Confusion::new(labels.len());
        confusion.add(logits.view(), &truths);

        let mut mistakes = Vec::new();
        let mut confidences = Vec::new();
        for (index, (row, &truth)) in logits.rows().into_iter().zip(&truths).enumerate() {
            let answer = argmax(row);
            let probability = probabilities[[index, answer]];
            confidences.push((probability, answer == truth));
            if answer != truth {
                mistakes.push((index, truth, answer, probability));
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
            images: test.len(),
            correct: confusion.correct(),
            accuracy,
            accuracy_interval: evaluation::interval(confusion.correct(), confusion.total()),
            loss,
            classes: confusion.classes(),
            calibration: Calibration::of(confidences),
            mistakes: mistakes.collect::<Result<_>>()?,
            confusion,
        })
    }

    /// How many images are classified wrongly.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        self.confusion.total() - self.confusion.correct()
    }

    /// Mean probability of the answers, 0 to 1.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        let sum = |sum: f64, bin: &evaluation::Bin| sum + bin.confidence.unwrap_or(0.0) * bin.count as f64;
        self.calibration.bins.iter().fold(0.0, sum) / self.images.max(1) as f64
    }

    /// The figures for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let confusion = if self.labels.len() <= READABLE {
            text::confusion(&self.confusion, &self.labels)
        } else {
            format!("The confusion matrix of {} classes is in --format json.\n", self.labels.len())
        };
        let parts = [self.headline(), self.class_table(), confusion, self.calibration_table(), self.mistake_table()];
        parts.join("\n")
    }

    fn headline(&self) -> String {
        let interval = self.accuracy_interval.map_or_else(String::new, |(low, high)| {
            format!("; 95 % interval {:.2} to {:.2} %", low * 100.0, high * 100.0)
        });
        let further = if self.further_steps == 0 {
            String::new()
        } else {
            format!(" and {} of the next", text::counted(self.further_steps, "step"))
        };
        text::fields(&[
            ("network", format!("{}, after {}{further}", self.network, text::counted(self.epochs, "epoch"))),
            ("data", format!("{}, {}", printable(&self.data_set), text::counted(self.images, "test image"))),
            ("runs on", self.measured_with.clone()),
            (
                "accuracy",
                format!(
                    "{:.2} % ({} of {}{interval})",
                    self.accuracy * 100.0,
                    grouped(self.correct),
                    grouped(self.images as u64)
                ),
            ),
            ("loss", format!("{:.4}", self.loss)),
            (
                "calibration",
                format!(
                    "ECE {:.2} % (mean confidence {:.2} %)",
                    self.calibration.ece * 100.0,
                    self.confidence() * 100.0
                ),
            ),
        ])
    }

    fn class_table(&self) -> String {
        let mut rows = vec![["class", "images", "precision", "recall", "F1"].map(str::to_owned).to_vec()];
        for (label, figures) in self.labels.iter().zip(&self.classes) {
            let ClassFigures { support, precision, recall, f1, .. } = *figures;
            rows.push(vec![printable(label), grouped(support), percent(precision), percent(recall), percent(f1)]);
        }
        text::table(&rows)
    }

    fn calibration_table(&self) -> String {
        let mut rows = vec![["confidence", "answers", "mean", "right"].map(str::to_owned).to_vec()];
        for bin in self.calibration.bins.iter().filter(|bin| bin.count > 0) {
            let range = format!("{:.1} to {:.1} %", bin.above * 100.0, bin.up_to * 100.0);
            rows.push(vec![range, grouped(bin.count), percent(bin.confidence), percent(bin.accuracy)]);
        }
        text::table(&rows)
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
        let all = self.wrong();
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

/// `99.42 %`, or a dash for a share of nothing.
#[must_use]
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.2} %", share * 100.0))
}
