//! The proof of a new file: every runtime at hand runs it, and must agree with the network in libtorch.
//!
//! First every number in the file is read back and compared with the folded network's. Then the trained network, batch
//! norms and all, is compared with the folded one, both in libtorch. Last, what the file's numbers stand for (folded, and
//! rounded or quantized as the file is) is computed in libtorch, and every runtime must agree with that, by the code that
//! `deploy` runs. So a tolerance never has to make room for what a precision costs, and a wrong node or number has
//! nowhere to hide. What it costs is measured on its own: as accuracy on the images held out of training.

use super::body::{self, Body};
use super::fold::{self, Weights};
use super::graph::Numbers;
use super::{Written, numbers};
use crate::checkpoint::Checkpoint;
use crate::data::Images;
use crate::device::LIBTORCH;
use crate::evaluate;
use anyhow::{Context, Result, bail, ensure};
use deploy::agreement::{self, Agreement, FP32_TOLERANCE, Tolerance};
use deploy::backend::{Choice, Device, Options, library};
use deploy::model::Model;
use models::card::{ModelCard, Precision};
use models::dataset::{self, Dataset};
use models::evaluation::{argmax, log_softmax};
use models::onnx;
use ndarray::{Array2, Axis, concatenate};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use tch::Kind;

/// Test images that are compared, or all if there are fewer.
const IMAGES: usize = 1000;

/// Fewest images that are compared: where a small data set has fewer test images, noise makes up for them.
const FEWEST_IMAGES: usize = 256;

/// Largest share of right answers that fp16 or int8 may cost. Either costs a network of this kind a tenth of a point or
/// two; with 2,000 images that is a handful. What costs more is no longer the network that was trained.
const MAX_LOSS: f64 = 0.005;

/// What the check of a file is made with.
pub struct Material<'a> {
    /// Pictures on which the runtimes are compared.
    pub test: &'a Dataset,
    /// Pictures on which the accuracy that fp16 and int8 cost is measured, and what they are called.
    pub judges: (&'a Dataset, &'static str),
}

/// What each runtime makes of a file, compared with libtorch.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Number format of the file.
    pub precision: Precision,
    /// Images compared.
    pub images: usize,
    /// How many of them are noise, for want of test images.
    pub noise: usize,
    /// One entry per comparison.
    pub runtimes: Vec<Checked>,
    /// What the precision costs.
    pub accuracy: Option<Accuracy>,
}

/// One comparison of the report.
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

/// Shares of right answers, 0 to 1.
#[derive(Clone, Debug, Serialize)]
pub struct Accuracy {
    /// Images answered.
    pub images: usize,
    /// Which: `held out` or `test`.
    pub set: &'static str,
    /// Of the trained network in libtorch.
    pub trained: f64,
    /// Of the file in each runtime.
    pub runtimes: BTreeMap<String, f64>,
}

/// Runs `file` through every runtime and compares it with the checkpoint's network.
pub fn check(checkpoint: &Checkpoint, written: &Written, file: &Path, material: &Material) -> Result<Report> {
    let noise = FEWEST_IMAGES.saturating_sub(material.test.len());
    let images = with_noise(&material.test.first(IMAGES), noise)?;
    let trained = reference(checkpoint, &images)?;
    let answers: BTreeSet<usize> = trained.rows().into_iter().map(argmax).collect();
    ensure!(
        answers.len() > 1,
        "the network gives one and the same answer to all {} images: agreement on it would prove nothing. Train it first",
        images.len()
    );
    let folded = fold::fold(&checkpoint.shipped(tch::Device::Cpu)?)?;
    let graph = onnx::parse(&onnx::read(file)?)?.graph.unwrap_or_default();
    numbers::compare(&graph, &folded)?;
    if let Numbers::Int8(quantized) = written.numbers() {
        numbers::compare_ranges(&graph, quantized)?;
    }
    let own = in_libtorch(&written.card, &folded, &images)?;
    let outcome = Outcome::Agreement(agreement::compare(trained.view(), own.view(), FP32_TOLERANCE)?);
    let mut runtimes = vec![Checked { runtime: format!("libtorch {LIBTORCH}, batch norms folded"), outcome }];

    let expected = match written.numbers() {
        // The trained network itself: so folding and graph are proven in one.
        Numbers::Fp32(_) => trained,
        Numbers::Fp16(weights) => in_libtorch(&written.card, &fold::rounded_to_fp16(weights), &images)?,
        Numbers::Int8(quantized) => evaluate::to_array(
            &quantized.logits(&written.card, &Images::on_device(&images, tch::Device::Cpu)?.images)?,
        )?,
    };
    let expected = if written.settings.outputs.logits() { expected } else { log_softmax(expected.view()) };
    let (judges, set) = material.judges;
    let mut accuracy = match written.card.precision {
        Precision::Fp32 => None,
        Precision::Fp16 | Precision::Int8 => {
            let trained = share_right(&reference(checkpoint, judges)?, judges);
            Some(Accuracy { images: judges.len(), set, trained, runtimes: BTreeMap::new() })
        }
    };
    // tract also with its own reader and operators, as other programs would run the file.
    let ways = [(Choice::Tract, true), (Choice::Tract, false), (Choice::Ort, true), (Choice::Ort, false)];
    for (backend, plain) in ways {
        let (stock_tract, as_written) = (plain && backend == Choice::Tract, plain && backend == Choice::Ort);
        if let (Choice::Ort, Err(missing)) = (backend, library::load()) {
            if as_written {
                let outcome = Outcome::Missing(missing.to_string());
                runtimes.push(Checked { runtime: "onnxruntime".to_owned(), outcome });
            }
            continue;
        }
        let options = Options { backend, device: Device::Cpu, as_written, stock_tract, ..Options::default() };
        let mut model =
            Model::open(file, &options).with_context(|| format!("the new file does not load in {backend}"))?;
        ensure!(model.card() == Some(&written.card), "the new file's model card is not the one that was written");
        let runtime = format!("{}{}", model.runtime(), if as_written { ", as written" } else { "" });
        let found = model.logits(images.images()).with_context(|| format!("the new file does not run in {runtime}"))?;
        let tolerance = agreement::tolerance(written.card.precision);
        let agreement = agreement::compare(expected.view(), found.view(), tolerance)
            .with_context(|| format!("{runtime} and libtorch cannot be compared"))?;
        if let (Some(accuracy), false) = (&mut accuracy, plain) {
            let share = share_right(&model.logits(judges.images())?, judges);
            accuracy.runtimes.insert(model.runtime().name.clone(), share);
        }
        runtimes.push(Checked { runtime, outcome: Outcome::Agreement(agreement) });
    }
    Ok(Report { precision: written.card.precision, images: images.len(), noise, runtimes, accuracy })
}

/// The images, followed by `count` of random pixels, always the same ones.
fn with_noise(images: &Dataset, count: usize) -> Result<Dataset> {
    let (_, channels, height, width) = images.images().dim();
    let noise = dataset::noise((count, channels, height, width), 0);
    let labels = images.labels().iter().copied().chain(std::iter::repeat_n(0, count));
    Dataset::new(concatenate(Axis(0), &[images.images(), noise.view()])?, labels.collect())
}

/// Logits of the trained network in libtorch, `[N, classes]`.
pub fn reference(checkpoint: &Checkpoint, images: &Dataset) -> Result<Array2<f32>> {
    evaluate::answers(checkpoint, &Images::on_device(images, tch::Device::Cpu)?, &|_, _| ())?.logits()
}

/// Logits of a network of these folded weights in libtorch.
fn in_libtorch(card: &ModelCard, weights: &BTreeMap<String, Weights>, images: &Dataset) -> Result<Array2<f32>> {
    let body = Body::new(&card.architecture, weights.clone())?;
    let mut parts = Vec::new();
    body::for_batches(card, &Images::on_device(images, tch::Device::Cpu)?.images, |batch| {
        parts.push(body.forward(batch, |_, value| Ok(value))?);
        Ok(())
    })?;
    evaluate::to_array(&tch::Tensor::f_cat(&parts, 0)?.f_to_kind(Kind::Float)?)
}

/// Share of the answers that are right.
fn share_right(logits: &Array2<f32>, set: &Dataset) -> f64 {
    let right = logits.rows().into_iter().zip(set.labels()).filter(|(row, label)| argmax(*row) == **label).count();
    right as f64 / set.len().max(1) as f64
}

impl Report {
    /// An error unless every runtime that was asked agrees, and the precision costs no more than it may.
    pub fn verdict(&self) -> Result<()> {
        for Checked { runtime, outcome } in &self.runtimes {
            let Outcome::Agreement(agreement) = outcome else { continue };
            if !agreement.holds() {
                let Tolerance { largest, mean } = agreement.tolerance;
                bail!(
                    "the exported file is wrong in {runtime}: against libtorch {LIBTORCH} its logits differ by up to {:.1e}, {:.1e} on average (allowed: {largest:.0e} and {mean:.0e}), and {} of {} images get another answer that is no near tie. Nothing was written",
                    agreement.max_difference,
                    agreement.mean_difference,
                    agreement.beyond_tie,
                    agreement.images,
                );
            }
        }
        let Some(accuracy) = &self.accuracy else { return Ok(()) };
        for (runtime, share) in &accuracy.runtimes {
            ensure!(
                accuracy.trained - share <= MAX_LOSS,
                "{} costs too much: {:.2} % of the {} {} images are right in {runtime}, {:.2} % were before (allowed: {:.1} points less). Nothing was written. Calibrate with more images or another observer, or export as fp32",
                self.precision,
                100.0 * share,
                accuracy.images,
                accuracy.set,
                100.0 * accuracy.trained,
                100.0 * MAX_LOSS
            );
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
        let mut cost = String::new();
        if let Some(Accuracy { images, set, trained, runtimes }) = &self.accuracy {
            let _ = writeln!(cost, "\nright of {images} {set} images\n  trained network  {:.2} %", 100.0 * trained);
            for (runtime, share) in runtimes {
                let points = 100.0 * (share - trained);
                let _ = writeln!(cost, "  {runtime:15}  {:.2} %  ({points:+.2} points)", 100.0 * share);
            }
        }
        format!("{}{noise}{missing}{cost}", deploy::text::table(&rows))
    }
}
