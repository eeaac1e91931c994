//! Evaluation results of a checkpoint on the test set, measured in libtorch.

use super::Calibrated;
use crate::checkpoint::Checkpoint;
use crate::data::{Images, TensorPreprocessor};
use crate::device;
use crate::evaluate::{self, Evaluation};
use anyhow::{Result, ensure};
use deploy::explain::overlay;
use deploy::mistakes::{self, Mistake};
pub use deploy::text::percent;
use deploy::text::{self, printable};
use models::dataset::ReadProgress;
use models::evaluation::{self, Metrics, Tally};
use ndarray::Array3;
use serde::Serialize;
use std::path::PathBuf;
use tch::{Device, Tensor};

/// Maximum number of mistakes shown with their images.
const SHOWN: usize = 24;

/// Evaluation results of a checkpoint's exported network on a test set.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Description of the network.
    pub network: String,
    /// Name of the data set it was trained on.
    pub trained_on: String,
    /// Description of the test images, such as `all 300 images of photos`.
    pub evaluated: String,
    /// libtorch's version, device and threads.
    pub measured_with: String,
    /// Epochs that the weights were trained for.
    pub epochs: usize,
    /// Further steps since the last complete epoch; above 0 only if the run was interrupted.
    pub further_steps: usize,
    /// Class names, in order.
    pub labels: Vec<String>,
    /// Accuracy, loss, confusion and calibration on the test images.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// The same with the temperature of an export, if there were held-out images to fit it to.
    #[serde(skip)]
    pub calibrated: Option<Calibrated>,
    /// Every misclassified image, the most confident predictions first.
    pub mistakes: Vec<Mistake>,
    /// The first of the mistakes, with their images.
    #[serde(skip)]
    pub shown: Vec<Shown>,
}

/// The image of a mistake.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The image as the network saw it, `[C, H, W]`.
    pub image: Array3<u8>,
    /// The class activation map of the answer, drawn over the image: `[3, height, width]`.
    pub explanation: Array3<u8>,
    /// Absolute path of its file; `None` for an image from IDX files.
    pub file: Option<PathBuf>,
}

impl Figures {
    /// Evaluates a checkpoint's exported network on test images, on the device of the images. `evaluated` describes the
    /// images. The temperature is fitted to the `held_out` images, if given. Errors if a label is not one of the
    /// network's classes.
    pub fn measure(
        checkpoint: &Checkpoint,
        test: &Images,
        held_out: Option<&Images>,
        evaluated: &str,
        progress: ReadProgress,
    ) -> Result<Self> {
        let metadata = &checkpoint.metadata;
        let labels = metadata.data.labels.clone();
        let truths = test.classes()?;
        let largest = truths.iter().max().copied().unwrap_or(0);
        ensure!(
            largest < labels.len(),
            "the test set has labels up to {largest}, but the network has only {} classes",
            labels.len()
        );
        let answers = evaluate::answers(checkpoint, test, progress)?;
        let Evaluation { loss, .. } = answers.evaluation()?;
        let logits = answers.logits()?;
        let mut tally = Tally::new(labels.len());
        tally.add(logits.view(), &truths);
        let calibrated = held_out.map(|images| Calibrated::measure(checkpoint, images, logits.view(), &truths));

        let mut wrong = evaluation::mistakes(logits.view(), &truths, 0);
        evaluation::sort_by_certainty(&mut wrong);
        let file = |image: usize| test.files.get(image).map(PathBuf::as_path);
        let device = test.images.device();
        let (network, card) = (checkpoint.shipped(device)?, checkpoint.card());
        let preprocessor = TensorPreprocessor::new(&card.preprocessing, card.network()?.resolution, device)?;
        let shown = wrong.iter().take(SHOWN).map(|mistake| {
            let file = file(mistake.image).map(std::path::absolute).transpose()?;
            let one = test.images.f_narrow(0, mistake.image as i64, 1)?;
            let map = evaluate::activation_map(&network, &preprocessor, &one, mistake.answer)?;
            let image = image(&test.images, mistake.image)?;
            Ok(Shown { explanation: overlay(image.view(), map.view()), image, file })
        });
        let shown = shown.collect::<Result<_>>()?;
        let mistakes = mistakes::named(&wrong, &labels, file);
        Ok(Self {
            network: metadata.architecture.to_string(),
            trained_on: metadata.data.name.clone(),
            evaluated: evaluated.to_owned(),
            measured_with: device::running_on(test.images.device()),
            epochs: metadata.progress.epochs,
            further_steps: metadata.progress.step,
            labels,
            // Uses the loss that libtorch computed, to match the run's history.
            metrics: Metrics { loss, ..tally.metrics() },
            calibrated: calibrated.transpose()?,
            mistakes,
            shown,
        })
    }

    /// The results as text for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { metrics, labels, .. } = self;
        let parts = [
            self.headline(),
            text::classes(&metrics.classes, labels),
            text::confusion(&metrics.confusion, labels),
            text::mistakes(&metrics.confusion, labels),
            text::calibration(&metrics.calibration),
            text::worst(&self.mistakes),
            text::weakest(metrics, labels),
            text::warnings(metrics, labels),
        ];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
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
            ("trained on", printable(&self.trained_on)),
            ("data", printable(&self.evaluated)),
            ("classes", self.classes_found()),
            ("runs on", self.measured_with.clone()),
        ];
        lines.extend(text::headline(&self.metrics));
        text::fields(&lines)
    }

    /// The classes that occur in the data.
    fn classes_found(&self) -> String {
        let figures = self.metrics.classes.iter().zip(&self.labels);
        let found = figures.filter(|(class, _)| class.support > 0).map(|(_, label)| label.clone());
        text::class_list(&found.collect::<Vec<_>>())
    }
}

/// Copies one of the images `[N, C, H, W]` to an array `[C, H, W]`.
fn image(images: &Tensor, index: usize) -> Result<Array3<u8>> {
    let image = images.f_get(index as i64)?.f_to(Device::Cpu)?;
    let (channels, height, width) = image.size3()?;
    let bytes = Vec::<u8>::try_from(image.f_contiguous()?.f_view([-1])?)?;
    Ok(Array3::from_shape_vec((channels as usize, height as usize, width as usize), bytes)?)
}
