//! Verifies a new ONNX file: every available engine on the CPU runs it and must agree with the network in libtorch.
//!
//! 1. Every number in the file is read back and compared with the folded network.
//!
//! 2. The folded network is compared with the trained one, batch norms included, both in libtorch.
//!
//! 3. libtorch computes the network with the file's own numbers (folded, then rounded or quantized as in the file), and
//!    every engine must agree with that result. It runs the file through the same code that `deploy` uses.
//!
//! The tolerances therefore never have to absorb the error of a precision, so a wrong node or number cannot hide in
//! them. The accuracy cost of a precision is measured separately, on images held out of training: see
//! [`super::paired`].

use super::body;
use super::fold::{self, Weights};
use super::graph::Numbers;
use super::paired::{self, Changes, Cost};
use super::{Written, numbers};
use crate::checkpoint::Checkpoint;
use crate::data::Images;
use crate::device::LIBTORCH;
use crate::evaluate;
use anyhow::{Context, Result, bail, ensure};
use deploy::agreement::{self, Agreement, FP32_TOLERANCE, Tolerance};
use deploy::backend::Engine;
use deploy::model::Model;
use deploy::text::grouped;
use models::card::{ModelCard, Precision};
use models::dataset::{self, Dataset};
use models::evaluation::{argmax, log_softmax};
use models::onnx;
use ndarray::{Array2, ArrayView1, Axis, concatenate};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use tch::Kind;

/// Number of test images compared, or all if there are fewer.
const IMAGES: usize = 1000;

/// Minimum number of images compared. Noise images make up the difference if the test set is smaller.
const FEWEST_IMAGES: usize = 256;

/// Logarithm of the smallest probability that is compared, 10⁻²⁶. Smaller ones are alike: near the smallest f32, 10⁻³⁸,
/// the exponential functions of the runtimes lose their precision.
const LEAST_LOGARITHM: f32 = -60.0;

/// Largest accuracy loss allowed for fp16 or int8, 0 to 1. A file that provably loses more no longer represents the
/// trained network.
const ALLOWED_LOSS: f64 = 0.005;

/// Images used to check a file.
pub struct Material<'a> {
    /// Images on which the runtimes are compared.
    pub test: &'a Dataset,
    /// Images on which the accuracy cost of fp16 and int8 is measured, and the name of the set: `held-out`, `test` or
    /// `given`. `None` if no images with labels are known.
    pub judges: Option<(&'a Dataset, &'static str)>,
}

/// The result of a check: each runtime compared with libtorch.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// Number format of the file.
    pub precision: Precision,
    /// Images compared.
    pub images: usize,
    /// How many of them are noise, because there were too few test images.
    pub noise: usize,
    /// One entry per comparison.
    pub runtimes: Vec<Checked>,
    /// The accuracy cost of fp16 or int8; `None` for fp32.
    pub accuracy: Option<Accuracy>,
}

/// One comparison of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// What ran, such as `tract 0.23.9, own convolutions (AVX-512) on cpu, 2 threads`, or the names of the engines that
    /// could not run.
    pub runtime: String,
    /// How well it agrees with libtorch, or why it was not run.
    #[serde(flatten)]
    pub outcome: EngineResult,
}

/// Result of a comparison with one runtime.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineResult {
    /// The runtime ran the file; this is how well it agrees.
    Agreement(Agreement),
    /// The runtime is not available on this machine, for this reason.
    Missing(String),
}

/// Accuracy cost of fp16 or int8. Accuracies and losses are 0 to 1.
#[derive(Clone, Debug, Serialize)]
pub struct Accuracy {
    /// Images classified.
    pub images: usize,
    /// The set they are from: `held-out`, `test` or `given`.
    pub set: &'static str,
    /// Accuracy of the trained network in libtorch.
    pub trained: f64,
    /// The largest loss allowed.
    pub allowed_loss: f64,
    /// The smallest loss that this many images can prove to exceed the allowed loss; `None` if there are too few
    /// images.
    pub smallest_provable_loss: Option<f64>,
    /// The cost in each runtime, compared with the trained network.
    pub runtimes: BTreeMap<String, Cost>,
}

/// Runs `file` in every available engine on the CPU and compares it with the checkpoint's network. Disagreement is
/// reported, not an error: see [`CheckReport::verdict`]. Errors if the file contains a wrong number or does not load or
/// run, or if the network gives the same answer for all images, since agreement would then prove nothing.
pub fn check(checkpoint: &Checkpoint, written: &Written, file: &Path, material: &Material) -> Result<CheckReport> {
    let noise = FEWEST_IMAGES.saturating_sub(material.test.len());
    let places: Vec<usize> = dataset::evenly(material.test.len(), IMAGES).collect();
    let images = with_noise(&material.test.select(&places)?, noise)?;
    let trained = reference(checkpoint, &images)?;
    let folded = fold::fold(&checkpoint.shipped(tch::Device::Cpu)?)?;
    let graph = onnx::parse(&onnx::read(file)?)?.graph.unwrap_or_default();
    numbers::compare_input(&graph, &written.card)?;
    numbers::compare(&graph, &folded)?;
    if let Numbers::Int8(quantized) = written.numbers() {
        numbers::compare_ranges(&graph, quantized)?;
    }
    let own = in_libtorch(&written.card, &folded, &images)?;
    let folding = agreement::compare(trained.view(), own.view(), FP32_TOLERANCE)?;
    let answers: BTreeSet<usize> = trained.rows().into_iter().map(argmax).collect();
    // Imported weights may prefer one of a thousand classes for images of another kind.
    let imported = checkpoint.metadata.is_imported();
    ensure!(
        answers.len() > 1 || (imported && spread(&trained) > 100.0 * folding.max_difference),
        "the network gives the same answer for all {} images, so agreement would prove nothing: {}",
        images.len(),
        if imported { "give other images with --data" } else { "train it first" }
    );
    let outcome = EngineResult::Agreement(folding);
    let mut runtimes = vec![Checked { runtime: format!("libtorch {LIBTORCH}, batch norms folded"), outcome }];

    let expected = match written.numbers() {
        // The trained network itself, so the comparison covers both the folding and the graph.
        Numbers::Fp32(_) => trained,
        Numbers::Fp16(weights) => in_libtorch(&written.card, &fold::rounded_to_fp16(weights), &images)?,
        Numbers::Int8(quantized) => evaluate::to_array(
            &quantized.logits(&written.card, &Images::on_device(&images, tch::Device::Cpu)?.images)?,
        )?,
    };
    let only_probabilities = !written.settings.outputs.logits();
    let comparable = |scores: Array2<f32>| {
        if only_probabilities { scores.mapv(|logarithm| logarithm.max(LEAST_LOGARITHM)) } else { scores }
    };
    let expected = comparable(if only_probabilities { log_softmax(expected.view()) } else { expected });
    let before = match (written.card.precision, material.judges) {
        (Precision::Fp32, _) | (_, None) => None,
        (Precision::Fp16 | Precision::Int8, Some((judges, set))) => {
            Some((right(&reference(checkpoint, judges)?, judges), judges, set))
        }
    };
    let mut costs = BTreeMap::new();
    // Those for comparisons too: they run the file as other programs would.
    let (engines, absent) = Engine::available(Engine::all().filter(|engine| !engine.registration.cuda));
    for engine in engines {
        let mut model = Model::open(file, &engine.options(None))
            .with_context(|| format!("the new file does not load in {engine}"))?;
        ensure!(model.card() == Some(&written.card), "the new file's model card is not the one that was written");
        let runtime = model.runtime().to_string();
        let found = model.logits(images.images()).with_context(|| format!("the new file does not run in {runtime}"))?;
        let found = comparable(found);
        let tolerance = agreement::tolerance(written.card.precision);
        let agreement = agreement::compare(expected.view(), found.view(), tolerance)
            .with_context(|| format!("{runtime} and libtorch cannot be compared"))?;
        if let (Some((before, judges, _)), true) = (&before, engine.registration.everyday) {
            let after = right(&model.logits(judges.images())?, judges);
            let cost = Changes::between(before, &after).cost(share(&after), ALLOWED_LOSS);
            costs.insert(model.runtime().name.clone(), cost);
        }
        runtimes.push(Checked { runtime, outcome: EngineResult::Agreement(agreement) });
    }
    runtimes.extend(
        absent.into_iter().map(|one| Checked { runtime: one.engines, outcome: EngineResult::Missing(one.reason) }),
    );
    let accuracy = before.map(|(before, judges, set)| Accuracy {
        images: judges.len(),
        set,
        trained: share(&before),
        allowed_loss: ALLOWED_LOSS,
        smallest_provable_loss: paired::smallest_proof(judges.len(), ALLOWED_LOSS)
            .map(|lost| lost as f64 / judges.len() as f64),
        runtimes: costs,
    });
    Ok(CheckReport { precision: written.card.precision, images: images.len(), noise, runtimes, accuracy })
}

/// The largest difference between two images in the logit of a class.
fn spread(logits: &Array2<f32>) -> f32 {
    let range = |class: ArrayView1<f32>| {
        let (low, high) = class.iter().fold((f32::MAX, f32::MIN), |(low, high), &one| (low.min(one), high.max(one)));
        high - low
    };
    logits.columns().into_iter().map(range).fold(0.0, f32::max)
}

/// Appends `count` images of random pixels, with a fixed seed.
fn with_noise(images: &Dataset, count: usize) -> Result<Dataset> {
    let (_, channels, height, width) = images.images().dim();
    let noise = dataset::noise((count, channels, height, width), 0);
    let labels = images.labels().iter().copied().chain(std::iter::repeat_n(0, count));
    Dataset::new(concatenate(Axis(0), &[images.images(), noise.view()])?, labels.collect())
}

/// Logits `[N, classes]` of the trained network in libtorch.
pub fn reference(checkpoint: &Checkpoint, images: &Dataset) -> Result<Array2<f32>> {
    evaluate::answers(checkpoint, &Images::on_device(images, tch::Device::Cpu)?, &|_, _| ())?.logits()
}

/// Logits `[N, classes]` of a network with these folded weights in libtorch.
fn in_libtorch(card: &ModelCard, weights: &BTreeMap<String, Weights>, images: &Dataset) -> Result<Array2<f32>> {
    let images = Images::on_device(images, tch::Device::Cpu)?.images;
    evaluate::to_array(&body::logits(card, weights, &images, |_, value| Ok(value))?.f_to_kind(Kind::Float)?)
}

/// Whether the prediction for each image is right.
fn right(logits: &Array2<f32>, set: &Dataset) -> Vec<bool> {
    logits.rows().into_iter().zip(set.labels()).map(|(row, label)| argmax(row) == *label).collect()
}

/// Accuracy, 0 to 1.
fn share(right: &[bool]) -> f64 {
    right.iter().filter(|right| **right).count() as f64 / right.len().max(1) as f64
}

/// Formats a share as percentage points, such as `0.52`.
fn points(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}

impl CheckReport {
    /// Returns an error if any runtime that ran disagrees with libtorch, or if the file provably loses more accuracy
    /// than allowed.
    pub fn verdict(&self) -> Result<()> {
        for Checked { runtime, outcome } in &self.runtimes {
            let EngineResult::Agreement(agreement) = outcome else { continue };
            if !agreement.holds() {
                let Tolerance { largest, mean } = agreement.tolerance;
                bail!(
                    "the exported file is wrong in {runtime}: its logits differ from those of libtorch {LIBTORCH} by up to {:.1e}, {:.1e} on average (allowed: {largest:.0e} and {mean:.0e}), and {} of {} images get a different answer that is not a near tie. Nothing was written",
                    agreement.max_difference,
                    agreement.mean_difference,
                    agreement.beyond_tie,
                    agreement.images,
                );
            }
        }
        let Some(accuracy) = &self.accuracy else { return Ok(()) };
        for (runtime, cost) in &accuracy.runtimes {
            let (low, high) = cost.loss_interval;
            ensure!(
                !cost.proven,
                "{} costs too much accuracy: of {} {} images, {} % are right in {runtime} and {} % in the trained network. {} answers were lost and {} gained, which proves a loss of {} to {} points (95 % interval; allowed: {}). Nothing was written. Calibrate with more images or another observer, or export as fp32",
                self.precision,
                grouped(accuracy.images as u64),
                accuracy.set,
                points(cost.right),
                points(accuracy.trained),
                cost.lost,
                cost.gained,
                points(low),
                points(high),
                points(accuracy.allowed_loss),
            );
        }
        Ok(())
    }

    /// The report as text for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let header = ["against libtorch", "images", "max diff", "mean diff", "answers differ"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        let mut missing = String::new();
        for Checked { runtime, outcome } in &self.runtimes {
            match outcome {
                EngineResult::Agreement(agreement) => rows.push(vec![
                    runtime.clone(),
                    agreement.images.to_string(),
                    format!("{:.1e}", agreement.max_difference),
                    format!("{:.1e}", agreement.mean_difference),
                    agreement.other_argmax.to_string(),
                ]),
                EngineResult::Missing(reason) => drop(writeln!(missing, "{runtime} was not checked: {reason}")),
            }
        }
        let noise = if self.noise > 0 {
            format!("{} of the images are noise: the test set has only {}\n", self.noise, self.images - self.noise)
        } else {
            String::new()
        };
        let cost = self.accuracy.as_ref().map(Accuracy::to_text).unwrap_or_default();
        format!("{}{noise}{missing}{cost}", deploy::text::table(&rows))
    }
}

impl Accuracy {
    /// The table for people, followed by the smallest loss that the images can prove.
    fn to_text(&self) -> String {
        let images = grouped(self.images as u64);
        let header = [&format!("{images} {} images", self.set), "right", "lost", "gained", "loss", "95 % interval"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.push(vec!["trained network".to_owned(), format!("{} %", points(self.trained))]);
        for (runtime, cost) in &self.runtimes {
            let (low, high) = cost.loss_interval;
            rows.push(vec![
                runtime.clone(),
                format!("{} %", points(cost.right)),
                cost.lost.to_string(),
                cost.gained.to_string(),
                points(cost.loss),
                format!("{} to {}", points(low), points(high)),
            ]);
        }
        let allowed = points(self.allowed_loss);
        let proof = match self.smallest_provable_loss {
            Some(loss) => format!("{images} images can prove a loss of {} points or more.", points(loss)),
            None => format!("{images} images are too few to prove any loss."),
        };
        format!(
            "\n{}The loss is in points: answers lost (right before, wrong in the file) minus\nanswers gained. A file is rejected if it provably loses more than {allowed} points.\n{proof}\n",
            deploy::text::table(&rows)
        )
    }
}
