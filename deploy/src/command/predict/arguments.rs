//! The command line of `predict`.

use super::Format;
use crate::command::answers::AnswerArguments;
use crate::command::{ModelArguments, ModelSource, text, usage};
use anyhow::{Result, ensure};
use clap::{Args, ValueHint};
use deploy::arguments::whole;
use deploy::explain::{Explainer, Explanations};
use deploy::inputs::{ImageSource, STANDARD_INPUT};
use deploy::model::Model;
use deploy::predict::Settings;
use deploy::saved_inputs::SavedInputs;
use models::files::name;
use models::image_file::FORMATS;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
An image that cannot be used is reported and skipped, the others are classified, and the exit code is 1.

File names are printed unchanged, but a byte that is not UTF-8 appears as \\xff and a backslash before an \
x as \\x5c. Text and messages also escape control characters (a line feed is \\x0a). Replacing each \\x \
and its two digits by that byte restores the name.

Examples:
  deploy predict seven.png                      with the embedded model
  deploy predict photos/ 'scans/*.jpg' --model pets.onnx --top-k 2
  curl -s https://example.org/seven.png | deploy predict -
  deploy predict photos/ --model pets.onnx --format jsonl | jq -r 'select(.probability > 0.9).file'
  deploy predict photos/ --model pets.onnx --format csv --threshold 0.8 > answers.csv
  deploy predict seven.jpg --save-input seen    and look at seen/seven.png
  deploy predict photos/ --model pets.onnx --explain why
  ffmpeg -i clip.mp4 -c:v mjpeg -f image2pipe - | deploy predict --stream - --every 10 --model pets.onnx
  rpicam-vid -t 0 --codec mjpeg -o - | deploy predict --stream - --latest --model pets.onnx";

/// Names the image formats that this program was built to read.
fn images_help() -> String {
    format!(
        "Images of any size ({FORMATS}), folders of them, patterns such as 'scans/*.jpg', or - for an image from \
         standard input"
    )
}

/// Classifies images
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[arg(required_unless_present = "stream", value_name = "IMG", help = images_help())]
    pub images: Vec<PathBuf>,

    /// Read a stream of JPEG or PNG images, one after the other, from this file or pipe, or - for standard input;
    /// prints a JSON object per line and image
    #[arg(
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        conflicts_with_all = ["images", "batch", "save_input", "explain"]
    )]
    pub stream: Option<PathBuf>,

    /// Of a stream, use only every Nth image: the first, the one N further, and so on
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=1_000_000))]
    pub every: Option<u32>,

    /// Of a stream, skip the images that arrive while the model works, except the last of them
    #[arg(long)]
    pub latest: bool,

    #[command(flatten)]
    pub model: ModelArguments,

    #[command(flatten)]
    pub answers: AnswerArguments,

    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        help = Format::help(|_| true) + " [default: text; jsonl for a stream]"
    )]
    format: Option<Format>,

    /// Images per call of the runtime [default: 1 for tract; 256 per thread for ONNX Runtime, fewer if they are large]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..=u64::from(u16::MAX)))]
    batch: Option<u16>,

    /// Write each image as the network saw it into this folder, as PNG
    #[arg(long, value_name = "DIR")]
    save_input: Option<PathBuf>,

    /// Draw which parts of each image speak for its answer into this folder, as PNG: yellow parts speak for it most, grey
    /// parts do not
    #[arg(long, value_name = "DIR")]
    pub explain: Option<PathBuf>,
}

impl Arguments {
    /// Rejects arguments that are known to be wrong before anything is opened.
    pub fn validate(&self) -> Result<()> {
        ensure!(
            self.stream.is_none() || self.format() == Format::Jsonl,
            usage("--stream prints a JSON object per line: leave out --format, or use --format jsonl")
        );
        let of_streams = [(self.every.is_some(), "--every"), (self.latest, "--latest")];
        if let (None, Some((_, flag))) = (&self.stream, of_streams.iter().find(|(given, _)| *given)) {
            return Err(usage(format!("{flag} has no effect without --stream")));
        }
        let piped = self.images.iter().filter(|image| image.as_os_str() == STANDARD_INPUT).count();
        ensure!(piped <= 1, usage("- is given twice, but standard input can be read only once"));
        let is_model = |path: &&PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("onnx"));
        if let Some(model) = self.images.iter().find(is_model) {
            let image =
                self.images.iter().find(|path| !is_model(path)).map_or_else(|| "IMG".to_owned(), |path| name(path));
            let model = name(model);
            let remedy = match self.model.model.path() {
                Some(other) => format!("--model already names {}: name only one model", name(other)),
                None => format!("name it with --model: deploy predict {image} --model {model}"),
            };
            return Err(usage(text::printable(&format!("{model} is a model, not an image: {remedy}"))));
        }
        Ok(())
    }

    /// The format of the results.
    pub fn format(&self) -> Format {
        self.format.unwrap_or(if self.stream.is_some() { Format::Jsonl } else { Format::Text })
    }

    /// Turns the flags into settings for this model and these images.
    pub fn settings(&self, model: &Model, explainer: Option<Explainer>, sources: &[ImageSource]) -> Result<Settings> {
        if let (Some(inputs), Some(explanations)) = (&self.save_input, &self.explain) {
            let real = |folder: &Path| folder.canonicalize().or_else(|_| std::path::absolute(folder)).ok();
            ensure!(
                real(inputs) != real(explanations),
                "--save-input and --explain both name {}, and give their files the same names: name two folders",
                name(inputs)
            );
        }
        Ok(Settings {
            batch: self.batch.map(usize::from),
            saved: self.save_input.as_ref().map(|folder| SavedInputs::plan(folder, sources)).transpose()?,
            explained: match (explainer, &self.explain) {
                (Some(explainer), Some(folder)) => Some(Explanations::plan(explainer, folder, sources)?),
                _ => None,
            },
            ..self.answers.settings(model)?
        })
    }
}
