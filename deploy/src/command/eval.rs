//! `deploy eval`: how good is this file?

use super::text::{confusion, counted, fields, grouped};
use super::{Format, ModelArguments, print, print_json, progress, test_set};
use anyhow::{Context, Result};
use clap::Args;
use deploy::evaluate::{Evaluation, evaluate};
use serde::Serialize;
use std::path::PathBuf;

/// Most classes whose confusion matrix is still readable as text.
const READABLE: usize = 30;

/// Measures the accuracy of a model file over a whole test set
#[derive(Args)]
#[command(after_help = "Example:\n  deploy eval --model model.onnx --backend tract")]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// Folder with the data set: IDX files, or a sub-folder of pictures per class [default: the one that scripts/setup
    /// fetched for the model's data set]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// For people, or one document for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The document that `--format json` prints.
#[derive(Serialize)]
struct Document {
    model: String,
    data: String,
    labels: Vec<String>,
    #[serde(flatten)]
    evaluation: Evaluation,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut model = arguments.model.open()?;
    let (folder, data) = test_set(&model, arguments.data.as_deref())?;
    let bar = progress(data.len());
    let evaluation = evaluate(&mut model, &data, |done| bar.set_position(done as u64))
        .with_context(|| format!("cannot evaluate on {}", folder.display()))?;
    bar.finish_and_clear();

    let (name, data) = (model.name().to_owned(), folder.display().to_string());
    let document = Document { model: name, data, labels: model.labels().to_vec(), evaluation };
    match arguments.format {
        Format::Text => print(&text(&document))?,
        Format::Json => print_json(&document)?,
    };
    Ok(())
}

fn text(document: &Document) -> String {
    let Document { model, data, labels, evaluation } = document;
    let Evaluation { images, correct, accuracy, seconds, images_per_second, .. } = evaluation;
    let summary = fields(&[
        ("model", model.clone()),
        ("data", format!("{data}, {}", counted(*images, "test image"))),
        ("runtime", evaluation.runtime.to_string()),
        ("accuracy", format!("{:.2} % ({} of {})", accuracy * 100.0, grouped(*correct), grouped(*images as u64))),
        ("speed", format!("{images_per_second:.0} images/s ({seconds:.2} s)")),
    ]);
    let matrix = if labels.len() <= READABLE {
        confusion(&evaluation.confusion, labels)
    } else {
        format!("The confusion matrix of {} classes is in --format json.\n", labels.len())
    };
    format!("{summary}\n{matrix}")
}
