//! Writes a model repository for NVIDIA Triton and servers that read the same layout (`KServe`), so that the exported
//! file runs unchanged on an existing serving engine.
//!
//! ```text
//!  DIR/mnist-quick/config.pbtxt     names, types and shapes; dynamic batching
//!                  labels.txt       one class per line, in the order of the outputs
//!                  1/model.onnx     version 1
//! ```

use super::Written;
use anyhow::{Context, Result, bail, ensure};
use models::card::{GraphInput, ModelCard, Training};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Largest batch that the server assembles. Larger ones gain nothing on a CPU and little on a GPU.
const MAX_BATCH: usize = 64;

/// How long the first image of a batch waits for others, in microseconds.
const QUEUE_DELAY: usize = 500;

/// The model's name in the repository, such as `mnist-quick`.
#[must_use]
pub fn name(card: &ModelCard) -> String {
    let trained = |training: &Training| format!("{}-{}", training.data_set, training.recipe);
    let name = card.training.as_ref().map(trained).unwrap_or_default();
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' }).collect()
}

/// The server's configuration of a model (`ModelConfig` in Triton's `model_config.proto`). Its shapes do not include
/// the batch. Errors if the batch size of the graph is fixed.
pub fn config(written: &Written) -> Result<String> {
    let (card, settings) = (&written.card, &written.settings);
    ensure!(settings.batch.is_none(), "the server assembles its batches itself: leave --batch dynamic");
    let resolution = card.network()?.resolution;
    let (element, [channels, height, width]) = match card.takes {
        GraphInput::Images => ("TYPE_UINT8", [card.input.channels, card.input.height, card.input.width]),
        GraphInput::Normalised => ("TYPE_FP32", [card.input.channels, resolution, resolution]),
    };
    let mut text = format!(
        "name: \"{}\"\nbackend: \"onnxruntime\"\nmax_batch_size: {MAX_BATCH}\n\
         input [\n  {{ name: \"{}\" data_type: {element} dims: [ {channels}, {height}, {width} ] }}\n]\noutput [\n",
        name(card),
        card.input.name
    );
    let outputs = settings.outputs.names();
    for (index, output) in outputs.iter().enumerate() {
        let comma = if index + 1 < outputs.len() { "," } else { "" };
        let classes = card.labels.len();
        writeln!(
            text,
            "  {{ name: \"{output}\" data_type: TYPE_FP32 dims: [ {classes} ] label_filename: \"labels.txt\" }}{comma}"
        )?;
    }
    writeln!(text, "]\ndynamic_batching {{ max_queue_delay_microseconds: {QUEUE_DELAY} }}")?;
    Ok(text)
}

const CONFIG: &str = "config.pbtxt";
const LABELS: &str = "labels.txt";
const MODEL: &str = "model.onnx";

/// The folder of the only version.
const VERSION: &str = "1";

/// What a model's folder contains.
const FILES: [&str; 3] = [CONFIG, LABELS, VERSION];

/// Returns the model's folder in the repository. Errors if the model cannot be written there: the batch size is fixed,
/// a label has more than one line, or the folder exists and `overwrite` is false, or it contains anything else.
pub fn target(written: &Written, repository: &Path, overwrite: bool) -> Result<PathBuf> {
    config(written)?;
    if let Some(label) = written.card.labels.iter().find(|label| label.contains(['\n', '\r'])) {
        bail!("the label {label:?} has more than one line: labels.txt has one label per line");
    }
    let target = repository.join(name(&written.card));
    ensure!(overwrite || !target.exists(), "{} already exists: give another folder, or --overwrite", target.display());
    for (folder, own) in [(target.clone(), &FILES[..]), (target.join(VERSION), &[MODEL])] {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            ensure!(
                own.iter().any(|name| path.file_name() == Some(name.as_ref())),
                "{} is not part of an exported model, and --overwrite would delete it: give another folder, or move it away",
                path.display()
            );
        }
    }
    Ok(target)
}

/// Adds the model to a repository and returns its folder. The files are written to a temporary folder and then renamed
/// into place. Errors as [`target`] does, or if writing fails.
pub fn write(written: &Written, folder: &Path, overwrite: bool) -> Result<PathBuf> {
    let target = target(written, folder, overwrite)?;
    let context = || format!("cannot write {}", target.display());
    fs::create_dir_all(folder).with_context(context)?;
    let new = tempfile::Builder::new().prefix(".writing-").tempdir_in(folder).with_context(context)?;
    let config = config(written)?;
    let model = new.path().join("model");
    let version = model.join(VERSION);
    let labels = written.card.labels.join("\n") + "\n";
    fs::create_dir_all(&version)
        .and_then(|()| fs::write(version.join(MODEL), &written.bytes))
        .and_then(|()| fs::write(model.join(CONFIG), config))
        .and_then(|()| fs::write(model.join(LABELS), labels))
        .with_context(context)?;
    // The previous model is moved into the temporary folder and deleted with it.
    if target.exists() {
        fs::rename(&target, new.path().join("before")).with_context(context)?;
    }
    fs::rename(&model, &target).with_context(context)?;
    Ok(target)
}
