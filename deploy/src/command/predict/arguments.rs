//! The command line of `predict`.

use super::Format;
use crate::command::{ModelArguments, ModelSource, text, usage};
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use deploy::arguments::{number, whole};
use deploy::explain::{Explainer, Explanations};
use deploy::inputs::{ImageSource, STANDARD_INPUT};
use deploy::model::Model;
use deploy::predict::Settings;
use deploy::saved_inputs::SavedInputs;
use models::architecture::MAX_CLASSES;
use models::card::Polarity;
use models::files::name;
use models::image_file::{FORMATS, MAX_PIXELS, Reader};
use std::path::PathBuf;

/// Answers per image by default, or all classes if there are fewer.
const TOP: usize = 3;

const EXAMPLES: &str = "\
An image that cannot be used is reported and skipped, the others are classified, and the exit code is 1.

File names are printed unchanged, but a byte that is not UTF-8 appears as \\xff and a backslash before an \
x as \\x5c. Text and messages also escape control characters (a line feed is \\x0a). Replacing each \\x \
and its two digits by that byte restores the name.

Examples:
  deploy predict seven.png                      with the embedded model
  deploy predict photos/ 'scans/*.jpg' --model pets.onnx --top-k 2
  curl -s https://example.org/seven.png | deploy predict -
  deploy predict photos/ --format jsonl | jq -r 'select(.probability > 0.9).file'
  deploy predict photos/ --format csv --threshold 0.8 > answers.csv
  deploy predict seven.jpg --save-input seen    and look at seen/seven.png
  deploy predict photos/ --model pets.onnx --explain why";

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
    #[arg(required = true, value_name = "IMG", help = images_help())]
    pub images: Vec<PathBuf>,

    #[command(flatten)]
    pub model: ModelArguments,

    /// Answers to show per image [default: 3]
    #[arg(long, value_name = "K", value_parser = whole::<usize>(1..=MAX_CLASSES as u64))]
    top_k: Option<usize>,

    /// Answer "unknown" if the likeliest class has a lower probability than this, 0 to 1
    #[arg(long, value_name = "P", value_parser = number::<f32>(0.0..=1.0))]
    pub threshold: Option<f32>,

    /// on: answer "unknown" if nothing in the image looks like a digit; off: give the best guess; for models of digits
    /// [default: on]
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true)]
    unknown: Option<Switch>,

    #[arg(long, value_enum, hide_possible_values = true, default_value_t = Format::Text, help = Format::help())]
    pub format: Format,

    /// Images per call of the runtime [default: 1 for tract; 256 per thread for ONNX Runtime, fewer if they are large]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..=u64::from(u16::MAX)))]
    batch: Option<u16>,

    /// Most pixels per image; larger images are refused before they are decoded
    #[arg(long, value_name = "N", default_value_t = MAX_PIXELS, value_parser = whole::<u64>(1..=i64::MAX as u64))]
    max_pixels: u64,

    /// How digits stand out: auto (detected for each image), light-on-dark or dark-on-light; for models of digits
    /// [default: auto]
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true)]
    polarity: Option<PolarityChoice>,

    /// Write each image as the network saw it into this folder, as PNG
    #[arg(long, value_name = "DIR")]
    save_input: Option<PathBuf>,

    /// Draw which parts of each image speak for its answer into this folder, as PNG: yellow parts speak for it most, grey
    /// parts do not
    #[arg(long, value_name = "DIR")]
    pub explain: Option<PathBuf>,
}

/// Whether something is done.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// How the digit stands out in the images.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PolarityChoice {
    Auto,
    LightOnDark,
    DarkOnLight,
}

impl From<PolarityChoice> for Option<Polarity> {
    fn from(choice: PolarityChoice) -> Self {
        match choice {
            PolarityChoice::Auto => None,
            PolarityChoice::LightOnDark => Some(Polarity::LightOnDark),
            PolarityChoice::DarkOnLight => Some(Polarity::DarkOnLight),
        }
    }
}

impl Arguments {
    /// Rejects arguments that are known to be wrong before anything is opened.
    pub fn validate(&self) -> Result<()> {
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

    /// Turns the flags into settings for this model and these images.
    pub fn settings(&self, model: &Model, explainer: Option<Explainer>, sources: &[ImageSource]) -> Result<Settings> {
        let is_digit = Reader::digit_polarity(model.input()).is_some();
        ensure!(
            self.polarity.is_none() || is_digit,
            usage(format!("--polarity has no effect: {} is not a model of digits", model.name()))
        );
        ensure!(
            self.unknown.is_none() || model.energies().is_some(),
            usage(format!(
                "--unknown has no effect: {} cannot tell unknown images: its card has no energies, or it returns only probabilities",
                model.name()
            ))
        );
        Ok(Settings {
            shows_input: false,
            reader: Reader { max_pixels: self.max_pixels, polarity: self.polarity.and_then(Into::into) },
            top: top(self.top_k, model.labels().len())?,
            threshold: self.threshold.unwrap_or(0.0),
            rejects: self.unknown != Some(Switch::Off),
            batch: self.batch.map(usize::from),
            saved: self.save_input.as_ref().map(|folder| SavedInputs::plan(folder, sources)).transpose()?,
            explained: match (explainer, &self.explain) {
                (Some(explainer), Some(folder)) => Some(Explanations::plan(explainer, folder, sources)?),
                _ => None,
            },
        })
    }
}

/// Number of answers to show. Errors if `--top-k` exceeds the number of classes.
fn top(asked: Option<usize>, classes: usize) -> Result<usize> {
    if let Some(asked) = asked {
        ensure!((1..=classes).contains(&asked), "--top-k {asked}: expected 1 to {classes}, the model's classes");
    }
    Ok(asked.unwrap_or(TOP.min(classes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_answers_than_classes() {
        assert_eq!(top(None, 2).unwrap(), 2);
        assert_eq!(top(Some(5), 10).unwrap(), 5);
        for asked in [0, 11] {
            assert!(top(Some(asked), 10).unwrap_err().to_string().contains("expected 1 to 10"));
        }
    }
}
