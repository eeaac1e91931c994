//! The proof of a new file: every runtime at hand runs it, and must agree with the network in libtorch.
//!
//! The reference is the network as it was trained, batch norms and all, so that folding, preprocessing and every node
//! are put to the test, by the code that `deploy` runs.

use crate::checkpoint::Checkpoint;
use crate::data::Images;
use crate::device::LIBTORCH;
use crate::evaluate;
use anyhow::{Context, Result, bail, ensure};
use deploy::agreement::{self, Agreement, FP32_TOLERANCE};
use deploy::backend::{Choice, Device, Options};
use deploy::model::Model;
use models::dataset::Dataset;
use models::fingerprint::Fingerprint;
use ndarray::{Array2, Array4, Axis, concatenate};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// Test images that are compared, or all if there are fewer.
const IMAGES: usize = 1000;

/// Fewest images that are compared: where a small data set has fewer test images, noise makes up for them.
const FEWEST_IMAGES: usize = 256;

/// What each runtime makes of a file, compared with libtorch.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Images compared.
    pub images: usize,
    /// How many of them are noise, for want of test images.
    pub noise: usize,
    /// Largest difference of two logits that passes.
    pub tolerance: f32,
    /// One entry per runtime.
    pub runtimes: Vec<Checked>,
}

/// One runtime's part of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// What ran, such as `tract 0.23.9 on cpu, 2 threads`.
    pub runtime: String,
    /// How far it agrees with libtorch, or why it could not be asked.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a runtime's part ended.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It ran the file.
    Agreement(Agreement),
    /// It is not on this machine, for this reason.
    Missing(String),
}

/// Runs `file` through every runtime and compares it with the checkpoint's network on the first test images.
pub fn check(checkpoint: &Checkpoint, file: &Path, test: &Dataset) -> Result<Report> {
    let noise = FEWEST_IMAGES.saturating_sub(test.len());
    let images = with_noise(&test.first(IMAGES), noise)?;
    let expected = reference(checkpoint, &images)?;
    let answers: std::collections::BTreeSet<usize> =
        expected.rows().into_iter().map(models::evaluation::argmax).collect();
    ensure!(
        answers.len() > 1,
        "the network gives one and the same answer to all {} images: agreement on it would prove nothing. Train it first",
        images.len()
    );
    let mut runtimes = Vec::new();
    for backend in [Choice::Tract, Choice::Ort] {
        if let (Choice::Ort, Err(missing)) = (backend, deploy::backend::library::load()) {
            let outcome = Outcome::Missing(missing.to_string());
            runtimes.push(Checked { runtime: "onnxruntime".to_owned(), outcome });
            continue;
        }
        let mut model = Model::open(file, &Options { backend, device: Device::Cpu, threads: None })
            .with_context(|| format!("the new file does not load in {backend}"))?;
        ensure!(model.card() == Some(&checkpoint.card()), "the new file's model card is not the one that was written");
        let runtime = model.runtime().to_string();
        let found = model.logits(images.images()).with_context(|| format!("the new file does not run in {runtime}"))?;
        let agreement = agreement::compare(expected.view(), found.view())
            .with_context(|| format!("{runtime} and libtorch cannot be compared"))?;
        runtimes.push(Checked { runtime, outcome: Outcome::Agreement(agreement) });
    }
    Ok(Report { images: images.len(), noise, tolerance: FP32_TOLERANCE, runtimes })
}

/// The images, followed by `count` of random pixels, always the same ones.
fn with_noise(images: &Dataset, count: usize) -> Result<Dataset> {
    let (_, channels, height, width) = images.images().dim();
    let mut state = Fingerprint::default();
    let noise = Array4::from_shape_simple_fn((count, channels, height, width), || {
        state = state.and(&[1]);
        state.spread() as u8
    });
    let labels = images.labels().iter().copied().chain(std::iter::repeat_n(0, count));
    Dataset::new(concatenate(Axis(0), &[images.images(), noise.view()])?, labels.collect())
}

/// Logits of the trained network in libtorch, `[N, classes]`.
pub fn reference(checkpoint: &Checkpoint, images: &Dataset) -> Result<Array2<f32>> {
    evaluate::answers(checkpoint, &Images::on_device(images, tch::Device::Cpu)?)?.logits()
}

impl Report {
    /// An error unless every runtime that was asked agrees.
    pub fn verdict(&self) -> Result<()> {
        for Checked { runtime, outcome } in &self.runtimes {
            let Outcome::Agreement(agreement) = outcome else { continue };
            if !agreement.within(self.tolerance) {
                bail!(
                    "the exported file is wrong in {runtime}: against libtorch {LIBTORCH} its logits differ by up to {:.1e} (allowed: {:.0e}), and {} of {} images get another answer that is no near tie. Nothing was written",
                    agreement.max_difference,
                    self.tolerance,
                    agreement.beyond_tie,
                    agreement.images,
                );
            }
        }
        Ok(())
    }

    /// The table for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let header = ["against libtorch", "images", "max diff", "mean diff", "other answers"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        let mut missing = String::new();
        for Checked { runtime, outcome } in &self.runtimes {
            match outcome {
                Outcome::Agreement(agreement) => rows.push(vec![
                    runtime.clone(),
                    agreement.images.to_string(),
                    format!("{:.1e}", agreement.max_difference),
                    format!("{:.1e}", agreement.mean_difference),
                    agreement.other_argmax.to_string(),
                ]),
                Outcome::Missing(reason) => drop(writeln!(missing, "{runtime} was not checked: {reason}")),
            }
        }
        let noise = if self.noise > 0 {
            format!("{} of the images are noise: the test set has only {}\n", self.noise, self.images - self.noise)
        } else {
            String::new()
        };
        format!("{}{noise}{missing}", deploy::text::table(&rows))
    }
}
