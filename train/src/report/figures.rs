//! What a checkpoint is worth on the test set, measured in libtorch.

use crate::checkpoint::Checkpoint;
use crate::data::Images;
use crate::device;
use crate::evaluate::{self, Evaluation};
use anyhow::{Result, ensure};
use deploy::mistakes::{self, Mistake};
pub use deploy::text::percent;
use deploy::text::{self, printable};
use models::dataset::Progress;
use models::evaluation::{self, Metrics, Tally};
use ndarray::Array3;
use serde::Serialize;
use std::path::PathBuf;
use tch::{Device, Tensor};

/// Most mistakes whose images are shown.
const SHOWN: usize = 24;

/// What a checkpoint's shipped network is worth on a test set.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The network.
    pub network: String,
    /// Name of the data set it was trained on.
    pub trained_on: String,
    /// What was evaluated, such as `all 300 images of photos`.
    pub evaluated: String,
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
    /// Every image that was classified wrongly, the surest answers first.
    pub mistakes: Vec<Mistake>,
    /// The first of them to look at.
    #[serde(skip)]
    pub shown: Vec<Shown>,
}

/// An image that was classified wrongly, to look at.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What the network saw, `[C, H, W]`.
    pub image: Array3<u8>,
    /// Where its file is, from the root of the file system on; `None` for an image of IDX files.
    pub file: Option<PathBuf>,
}

impl Figures {
    /// Measures the network that a checkpoint ships on test images, on their device. `evaluated` says which these are.
    pub fn measure(checkpoint: &Checkpoint, test: &Images, evaluated: &str, progress: Progress) -> Result<Self> {
        let metadata = &checkpoint.metadata;
        let labels = metadata.data.labels.clone();
        let truths: Vec<usize> = Vec::<i64>::try_from(&test.labels)?.into_iter().map(|label| label as usize).collect();
        let largest = truths.iter().max().copied().unwrap_or(0);
        ensure!(
            largest < labels.len(),
            "the test set has labels up to {largest}, but the network knows only {} classes",
            labels.len()
        );
        let answers = evaluate::answers(checkpoint, test, progress)?;
        let Evaluation { loss, .. } = answers.evaluation()?;
        let logits = answers.logits()?;
        let mut tally = Tally::new(labels.len());
        tally.add(logits.view(), &truths);

        let mut wrong = evaluation::mistakes(logits.view(), &truths, 0);
        evaluation::sort_by_certainty(&mut wrong);
        let file = |image: usize| test.files.get(image).map(PathBuf::as_path);
        let shown = wrong.iter().take(SHOWN).map(|mistake| {
            let file = file(mistake.image).map(std::path::absolute).transpose()?;
            Ok(Shown { image: image(&test.images, mistake.image)?, file })
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
            // libtorch's own loss: the number in the run's history.
            metrics: Metrics { loss, ..tally.metrics() },
            mistakes,
            shown,
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
            text::mistakes(&metrics.confusion, labels),
            text::calibration(&metrics.calibration),
            text::worst(&self.mistakes),
            text::weakest(metrics, labels),
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

/// One of the images `[N, C, H, W]`, as `[C, H, W]`.
fn image(images: &Tensor, index: usize) -> Result<Array3<u8>> {
    let image = images.f_get(index as i64)?.f_to(Device::Cpu)?;
    let (channels, height, width) = image.size3()?;
    let bytes = Vec::<u8>::try_from(image.f_contiguous()?.f_view([-1])?)?;
    Ok(Array3::from_shape_vec((channels as usize, height as usize, width as usize), bytes)?)
}
