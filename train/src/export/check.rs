//! The proof of a new file: every runtime at hand runs it, and must agree with the network in libtorch.
//!
//! The reference is the network as it was trained, batch norms and all, so that folding, preprocessing and every node
//! are put to the test, by the code that `deploy` runs.

use crate::checkpoint::Checkpoint;
use crate::data::{Images, Preprocessor};
use crate::device::LIBTORCH;
use crate::evaluate;
use anyhow::{Context, Result, bail, ensure};
use deploy::agreement::{self, Agreement, FP32_TOLERANCE};
use deploy::backend::{Choice, Device, Options};
use deploy::model::Model;
use models::dataset::Dataset;
use ndarray::Array2;
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// Test images that are compared, or all if there are fewer.
const IMAGES: usize = 1000;

/// Fewest test images that prove anything.
const FEWEST_IMAGES: usize = 256;

/// What each runtime makes of a file, compared with libtorch.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Images compared.
    pub images: usize,
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
    ensure!(
        test.len() >= FEWEST_IMAGES,
        "{} test images are too few to check the exported file: expected at least {FEWEST_IMAGES}",
        test.len()
    );
    let images = test.first(IMAGES);
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
    Ok(Report { images: images.len(), tolerance: FP32_TOLERANCE, runtimes })
}

/// Logits of the trained network in libtorch, `[N, classes]`.
pub fn reference(checkpoint: &Checkpoint, images: &Dataset) -> Result<Array2<f32>> {
    let card = checkpoint.card();
    let device = tch::Device::Cpu;
    let preprocessor = Preprocessor::new(&card.preprocessing, card.architecture.resolution, device)?;
    let network = checkpoint.shipped(device)?;
    let pictures = Images::on_device(images, device)?;
    let shape = &pictures.images.size()[1..];
    let wanted = [card.input.channels as i64, card.input.height as i64, card.input.width as i64];
    ensure!(shape == wanted, "the test images are {shape:?} (channels, height, width), the network's are {wanted:?}");
    let logits = evaluate::logits(&network, &preprocessor, &pictures.images)?;
    let values = Vec::<f32>::try_from(logits.f_contiguous()?.f_view([-1])?)?;
    Ok(Array2::from_shape_vec((images.len(), card.architecture.classes), values)?)
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
        format!("{}{missing}", deploy::text::table(&rows))
    }
}
