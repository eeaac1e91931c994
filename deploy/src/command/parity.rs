//! `deploy parity`: do both runtimes give the same answers?

use super::text::{counted, fields, grouped, printable, table};
use super::{Format, ModelFile, open, print, print_json, progress, say, test_set};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use deploy::agreement::{Agreement, compare, tolerance};
use deploy::backend::{Choice, Device, Options, Runtime};
use deploy::model::Model;
use indicatif::ProgressBar;
use models::dataset::Dataset;
use models::evaluation::argmax;
use ndarray::{Array2, Axis, concatenate};
use serde::Serialize;
use std::path::PathBuf;

/// Pictures between two steps of the progress bar.
const CHUNK: usize = 256;

/// Compares tract with ONNX Runtime on a test set
#[derive(Args)]
#[command(after_help = "The exit code is 1 if logits differ by more than rounding, or an answer by more than a near \
    tie.\n\nExample:\n  deploy parity --model model.onnx --images 1000")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelFile,

    /// Folder with the data set: IDX files, or a sub-folder of pictures per class [default: the one that scripts/setup
    /// fetched for the model's data set]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Compare only the first N images [default: all]
    #[arg(long, value_name = "N")]
    images: Option<usize>,

    /// For people, or one document for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The document that `--format json` prints.
#[derive(Serialize)]
struct Document {
    model: String,
    data: String,
    reference: Runtime,
    other: Runtime,
    within_tolerance: bool,
    #[serde(flatten)]
    agreement: Agreement,
    /// The reference's logits of the image with the largest difference.
    worst_reference_logits: Vec<f32>,
    /// The other's.
    worst_other_logits: Vec<f32>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut reference = open_with(&arguments.model, Choice::Ort)?;
    let precision = reference.card().map(|card| card.precision).unwrap_or_default();
    let options = Options { backend: Choice::Tract, device: Device::Cpu, ..Options::default() };
    // The notes are about the file, and have been said.
    let (name, bytes) = arguments.model.read()?;
    let mut other = Model::from_bytes(&name, &bytes, &options)?;
    let (folder, data) = test_set(&reference, arguments.data.as_deref())?;
    let data = first(data, arguments.images)?;

    let bar = progress(2 * data.len());
    let expected = logits(&mut reference, &data, &bar)?;
    let found = logits(&mut other, &data, &bar)?;
    bar.finish_and_clear();
    let agreement = compare(expected.view(), found.view(), tolerance(precision))?;
    let worst = agreement.worst_image;
    let document = Document {
        model: reference.name().to_owned(),
        data: folder.display().to_string(),
        reference: reference.runtime().clone(),
        other: other.runtime().clone(),
        within_tolerance: agreement.holds(),
        worst_reference_logits: expected.row(worst).to_vec(),
        worst_other_logits: found.row(worst).to_vec(),
        agreement,
    };
    match arguments.format {
        Format::Text => print(&text(&document, reference.labels(), data.labels()[worst]))?,
        Format::Json => print_json(&document)?,
    };
    warn_of_one_answer(&expected);
    if !document.within_tolerance {
        let Agreement { max_difference, mean_difference, beyond_tie, tolerance, .. } = document.agreement;
        bail!(
            "tract and ONNX Runtime disagree on {}: logits differ by up to {max_difference:.1e}, {mean_difference:.1e} on \
             average (at most {:.0e} and {:.0e} are rounding), {} beyond a near tie",
            document.model,
            tolerance.largest,
            tolerance.mean,
            counted(beyond_tie, "other answer")
        );
    }
    Ok(())
}

fn open_with(file: &ModelFile, backend: Choice) -> Result<Model> {
    let options = Options { backend, device: Device::Cpu, ..Options::default() };
    open(file, &options).context("parity needs both runtimes")
}

/// The part of the data set that the user asked for.
fn first(data: Dataset, images: Option<usize>) -> Result<Dataset> {
    let Some(images) = images else { return Ok(data) };
    let all = data.len();
    ensure!((1..=all).contains(&images), "--images {images}: expected 1 to {all}, the images of the test set");
    Ok(data.first(images))
}

/// The logits of all pictures, `[N, classes]`.
fn logits(model: &mut Model, data: &Dataset, bar: &ProgressBar) -> Result<Array2<f32>> {
    let mut parts = Vec::new();
    for images in data.images().axis_chunks_iter(Axis(0), CHUNK) {
        parts.push(model.logits(images)?);
        bar.inc(images.len_of(Axis(0)) as u64);
    }
    let parts: Vec<_> = parts.iter().map(|part| part.view()).collect();
    Ok(concatenate(Axis(0), &parts)?)
}

/// A network that answers everything alike, such as an untrained one, agrees with itself whatever is wrong.
fn warn_of_one_answer(logits: &Array2<f32>) {
    let mut answers = logits.rows().into_iter().map(argmax);
    let first = answers.next();
    if logits.nrows() > 1 && answers.all(|answer| Some(answer) == first) {
        say("note: every image got the same answer, so that equal answers say little here");
    }
}

fn text(document: &Document, labels: &[String], truth: usize) -> String {
    let Document { model, data, reference, other, agreement, .. } = document;
    let Agreement { images, max_difference, mean_difference, worst_image, other_argmax, beyond_tie, tolerance } =
        agreement;
    let verdict = if document.within_tolerance { "agree" } else { "DISAGREE" };
    let label = |class: usize| labels.get(class).map_or_else(|| class.to_string(), |label| printable(label));
    let summary = fields(&[
        ("model", model.clone()),
        ("data", format!("{data}, {}", counted(*images, "test image"))),
        ("reference", reference.to_string()),
        ("compared", other.to_string()),
        ("max difference", format!("{max_difference:.1e} of logits (at most {:.0e} is rounding)", tolerance.largest)),
        ("mean difference", format!("{mean_difference:.1e} (at most {:.0e} is rounding)", tolerance.mean)),
        ("other answers", format!("{}, {beyond_tie} beyond a near tie", grouped(*other_argmax as u64))),
        ("worst image", format!("number {worst_image}, label {}", label(truth))),
        ("verdict", verdict.to_owned()),
    ]);
    let mut rows = vec![vec!["class".to_owned(), reference.name.clone(), other.name.clone(), "difference".to_owned()]];
    let mut worst: Vec<_> =
        document.worst_reference_logits.iter().zip(&document.worst_other_logits).enumerate().collect();
    // With many classes only those that matter are shown: where the two part most.
    worst.sort_by(|(_, (a, b)), (_, (c, d))| (*c - *d).abs().total_cmp(&(*a - *b).abs()));
    worst.truncate(10);
    worst.sort_by_key(|(class, _)| *class);
    for (class, (expected, found)) in worst {
        let difference = format!("{:.1e}", (expected - found).abs());
        rows.push(vec![label(class), format!("{expected:.5}"), format!("{found:.5}"), difference]);
    }
    format!("{summary}\nLogits of the worst image\n{}", table(&rows))
}
