//! `train export`.

use super::{Cli, Format, data};
use crate::checkpoint::Checkpoint;
use crate::data::{Images, TrainingData};
use crate::export::check::Material;
use crate::export::confidence::{self, Temperature};
use crate::export::graph::check_opset;
use crate::export::{OPSET, Outputs, Settings, Written, triton};
use crate::{pretrained, run};
use anyhow::{Context, Result, bail, ensure};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, ValueEnum};
use deploy::arguments::{one_of, whole};
use deploy::text;
use models::card::{Confidence, GraphInput, MeasuredOn, Precision, RangeObserver};
use models::dataset::Dataset;
use models::files;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tch::{Device, Tensor};

/// Default number of calibration images for int8, or all if there are fewer.
const CALIBRATE: usize = 1000;

/// Export a checkpoint as a self-contained ONNX file, checked in every runtime before it is saved
#[derive(Args)]
#[command(after_help = after_help())]
pub(super) struct Arguments {
    /// A run's folder or a checkpoint [default: the newest run in runs/]
    #[arg(value_name = "RUN")]
    run: Option<PathBuf>,
    /// Output file, or - for standard output [default: model.onnx beside the checkpoint]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write a model repository for Triton and similar servers into this folder, instead of a single file
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    triton: Option<PathBuf>,
    /// Write only the weights of the body, without the classifier, instead of an ONNX file: for train --from, and for
    /// PyTorch (safetensors with timm's names)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "triton", "precision", "calibrate", "observer", "temperature", "opset", "batch", "preprocess", "outputs", "data", "format"])]
    body: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    overwrite: bool,
    /// Number format: fp32, fp16 or int8
    #[arg(long, value_name = "NAME", default_value_t = Precision::Fp32, value_parser = one_of::<Precision>(Precision::ALL.map(Precision::name)), hide_possible_values = true)]
    precision: Precision,
    /// Training images to calibrate an int8 file's ranges with [default: 1000, or all if there are fewer]
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=1_000_000_000))]
    calibrate: Option<u32>,
    /// How calibration chooses the ranges: min-max, percentile or mse [default: min-max]
    #[arg(long, value_name = "NAME", value_parser = one_of::<RangeObserver>(RangeObserver::ALL.map(RangeObserver::name)), hide_possible_values = true)]
    observer: Option<RangeObserver>,
    /// Divide the logits by a temperature, so that the probabilities are calibrated: fit (to held-out images, or
    /// else to training images), off, or a number
    #[arg(long, value_name = "VALUE", default_value_t = Temperature::Fitted)]
    temperature: Temperature,
    /// Version of the ONNX operator set, 13 to 24
    #[arg(long, value_name = "N", default_value_t = OPSET, value_parser = opset)]
    opset: i64,
    /// Batch size of the graph: a number, or dynamic
    #[arg(long, value_name = "N", default_value = "dynamic")]
    batch: Batch,
    /// Whether the graph prepares raw images itself (embed) or expects them normalised and resized, as float (none)
    #[arg(long, value_name = "WHERE", default_value = "embed")]
    preprocess: Preprocess,
    /// What the graph returns: logits, probabilities or both
    #[arg(long, value_name = "WHAT", default_value_t = Outputs::Both, value_parser = one_of::<Outputs>(["logits", "probabilities", "both"]), hide_possible_values = true)]
    outputs: Outputs,
    /// Folder of the data set for the check, the temperature and the int8 ranges [default: the run's]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// `--opset`.
fn opset(text: &str) -> Result<i64> {
    let opset = whole(1..=1000)(text).map_err(anyhow::Error::msg)?;
    check_opset(opset)?;
    Ok(opset)
}

/// `--batch`.
#[derive(Clone, Copy)]
struct Batch(Option<usize>);

impl std::str::FromStr for Batch {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(batch) => Ok(Self(Some(batch))),
            Err(_) if text == "dynamic" => Ok(Self(None)),
            Err(_) => bail!("expected a number or dynamic"),
        }
    }
}

/// `--preprocess`.
#[derive(Clone, Copy, ValueEnum)]
enum Preprocess {
    Embed,
    None,
}

/// The precisions with what each is for, and examples.
fn after_help() -> String {
    let precisions = Precision::ALL.map(|precision| format!("  {precision}  {}\n", precision.purpose())).concat();
    format!(
        "\
Precision, and which runtime it is for:
{precisions}
Examples:
  train export                             the newest run as model.onnx beside its checkpoint
  train export runs/best -o best.onnx
  train export --precision int8 --observer mse -o small.onnx
  train export -o - | ssh board 'cat > model.onnx'"
    )
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let settings = self.settings()?;
        let path = run::checkpoint_path(self.run.as_deref())?;
        let mut checkpoint = Checkpoint::read(&path)?;
        if let Some(output) = &self.body {
            return self.write_body(&checkpoint, output);
        }
        let output = self.output.clone().unwrap_or_else(|| path.with_file_name("model.onnx"));
        let to_stdout = output == Path::new("-");
        ensure!(
            !to_stdout || !std::io::stdout().is_terminal(),
            "cannot write an ONNX file to a terminal: redirect or pipe standard output"
        );
        let Prepared { test, judges, calibration, confidence } = if checkpoint.metadata.is_imported() {
            self.prepared_for_import(&checkpoint)?
        } else {
            self.prepared(&checkpoint)?
        };
        // Before anything is derived from the network.
        if let Some(confidence) = confidence {
            checkpoint.set_confidence(confidence);
        }
        let material = Material { test: &test, judges: judges.as_ref().map(|(set, name)| (set, *name)) };
        let written = Written::new(&checkpoint, &settings, calibration.as_ref())?;

        let (report, place) = if let Some(folder) = &self.triton {
            // Rejects a bad target before the long check.
            triton::target(&written, folder, self.overwrite)?;
            let report = written.prove(&checkpoint, &material)?;
            (report, triton::write(&written, folder, self.overwrite)?.display().to_string())
        } else if to_stdout {
            (written.prove(&checkpoint, &material)?, "standard output".to_owned())
        } else {
            let report = written.save(&checkpoint, &material, &output, self.overwrite)?;
            (report, output.display().to_string())
        };
        let text = match self.format {
            Format::Json => {
                let bytes = written.bytes.len();
                let document = json!({
                    "checkpoint": path,
                    "output": place,
                    "bytes": bytes,
                    "confidence": confidence,
                    "check": report,
                });
                format!("{}\n", serde_json::to_string_pretty(&document)?)
            }
            Format::Text => format!(
                "{} ({}, {}) as {} to {place} ({} bytes)\n{}: {}\n{}\n{}",
                path.display(),
                checkpoint.metadata.architecture,
                if checkpoint.metadata.is_imported() {
                    "imported".to_owned()
                } else {
                    format!("epoch {}", checkpoint.metadata.history.len())
                },
                settings.precision,
                text::grouped(written.bytes.len() as u64),
                settings.precision,
                settings.precision.purpose(),
                confidence.iter().map(|confidence| text::fields(&text::confidence(confidence))).collect::<String>(),
                report.to_text()
            ),
        };
        if to_stdout {
            // Standard output carries the file, so the report goes to standard error.
            std::io::stdout().lock().write_all(&written.bytes).context("cannot write to standard output")?;
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        } else {
            text::print(&text)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn settings(&self) -> Result<Settings> {
        if self.precision != Precision::Int8 {
            for (flag, given) in [("--calibrate", self.calibrate.is_some()), ("--observer", self.observer.is_some())] {
                if given {
                    let message = format!("{flag} has no effect on {}: use it with --precision int8", self.precision);
                    return Err(Cli::command().error(ErrorKind::ArgumentConflict, message).into());
                }
            }
        }
        let settings = Settings {
            precision: self.precision,
            observer: self.observer.unwrap_or(Settings::default().observer),
            opset: self.opset,
            batch: self.batch.0,
            takes: match self.preprocess {
                Preprocess::Embed => GraphInput::Images,
                Preprocess::None => GraphInput::Normalised,
            },
            outputs: self.outputs,
        };
        settings.validate()?;
        Ok(settings)
    }

    fn write_body(&self, checkpoint: &Checkpoint, output: &Path) -> Result<ExitCode> {
        let bytes = pretrained::body_of(checkpoint)?;
        ensure!(
            self.overwrite || !output.exists(),
            "{} already exists: give another name with --body, or --overwrite",
            output.display()
        );
        files::write_whole(output, &bytes)?;
        let size = text::grouped(bytes.len() as u64);
        text::print(&format!(
            "the body of {} to {} ({size} bytes)\n",
            checkpoint.metadata.architecture,
            output.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }

    /// The run's own images.
    fn prepared(&self, checkpoint: &Checkpoint) -> Result<Prepared> {
        let test = data::test_set(checkpoint, self.data.as_deref())?.set;
        let training = self.training(checkpoint)?;
        let confidence = match &training {
            Some(data) => {
                let (images, from) = confidence::images(data)?;
                Some(confidence::measure(checkpoint, &images, from, self.temperature)?)
            }
            None => None,
        };
        let calibration = match &training {
            Some(data) if self.precision == Precision::Int8 => Some(self.calibration(&data.fit)?),
            _ => None,
        };
        let held_out = training.as_ref().and_then(|data| data.held_out.as_ref());
        let judges = match held_out {
            Some(held_out) => (held_out.to_set()?, "held-out"),
            None => (test.clone(), "test"),
        };
        Ok(Prepared { test, judges: Some(judges), calibration, confidence })
    }

    /// Any images, for imported weights, whose training images are unknown. With labels, they also show the accuracy
    /// that a precision costs.
    fn prepared_for_import(&self, checkpoint: &Checkpoint) -> Result<Prepared> {
        let Some(folder) = &self.data else {
            bail!(
                "the weights were imported: name any folder of images for the check{} with --data",
                if self.precision == Precision::Int8 { " and the ranges of int8" } else { "" }
            );
        };
        let (test, labelled) = data::any_images(checkpoint, folder)?;
        let images = Images::on_device(&test, Device::Cpu)?;
        let confidence = match self.temperature {
            _ if labelled => Some(confidence::measure(checkpoint, &images, MeasuredOn::HeldOut, self.temperature)?),
            Temperature::Given(_) => bail!("--temperature with imported weights needs images with labels: see --data"),
            Temperature::Fitted | Temperature::Off => None,
        };
        let calibration = match self.precision {
            Precision::Int8 => Some(self.calibration(&images)?),
            Precision::Fp32 | Precision::Fp16 => None,
        };
        Ok(Prepared { judges: labelled.then(|| (test.clone(), "given")), test, calibration, confidence })
    }

    /// The run's training images, split as in training. `None`, with a note, if they are not available and neither the
    /// temperature nor the precision needs them.
    fn training(&self, checkpoint: &Checkpoint) -> Result<Option<TrainingData>> {
        let error = match data::training(checkpoint, self.data.as_deref(), Device::Cpu) {
            Ok(data) => return Ok(Some(data)),
            Err(error) => error,
        };
        if self.precision != Precision::Fp32 {
            return Err(error.context(format!("{} needs the run's own training images", self.precision)));
        }
        if self.temperature != Temperature::Off {
            return Err(error.context("calibration needs the run's own training images (--temperature off does not)"));
        }
        data::say_line(&format!("note: the model card says nothing about the model's confidence: {error:#}"));
        Ok(None)
    }

    /// The calibration images of an int8 file: a part of `images`, which are those that the weights were fitted to, or
    /// any images for imported weights.
    fn calibration(&self, images: &Images) -> Result<Tensor> {
        let available = images.len();
        let count = self.calibrate.map_or(CALIBRATE.min(available), |count| count as usize);
        ensure!(
            count <= available,
            "--calibrate {count}: expected at most {available}, the number of images to calibrate with"
        );
        Ok(images.evenly(count)?.images)
    }
}

/// The images that an export needs, and what was measured on them.
struct Prepared {
    /// Images on which the runtimes are compared.
    test: Dataset,
    /// Labelled images on which the cost of a precision is measured, and their name.
    judges: Option<(Dataset, &'static str)>,
    /// Images that determine the ranges of int8.
    calibration: Option<Tensor>,
    confidence: Option<Confidence>,
}
