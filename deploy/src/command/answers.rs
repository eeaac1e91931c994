//! The flags for answers, as `predict` and `watch` take them.

use super::usage;
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use deploy::arguments::{number, whole};
use deploy::model::Model;
use deploy::predict::Settings;
use models::architecture::MAX_CLASSES;
use models::card::Polarity;
use models::image_file::{MAX_PIXELS, Reader};

/// Answers per image by default, or all classes if there are fewer.
const TOP: usize = 3;

/// How images are read, and what is answered.
#[derive(Args)]
pub struct AnswerArguments {
    /// Answers to show per image [default: 3]
    #[arg(long, value_name = "K", value_parser = whole::<usize>(1..=MAX_CLASSES as u64))]
    top_k: Option<usize>,

    /// Answer "unknown" if the likeliest class has a lower probability than this, 0 to 1
    #[arg(long, value_name = "P", value_parser = number::<f32>(0.0..=1.0))]
    threshold: Option<f32>,

    /// on: answer "unknown" if nothing in the image looks like a digit; off: give the best guess; for models of digits
    /// [default: on]
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true)]
    unknown: Option<Switch>,

    /// Most pixels per image; larger images are refused before they are decoded
    #[arg(long, value_name = "N", default_value_t = MAX_PIXELS, value_parser = whole::<u64>(1..=i64::MAX as u64))]
    max_pixels: u64,

    /// How digits stand out: auto (detected for each image), light-on-dark or dark-on-light; for models of digits
    /// [default: auto]
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true)]
    polarity: Option<PolarityChoice>,
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

impl AnswerArguments {
    /// Whether a threshold was given.
    pub fn has_threshold(&self) -> bool {
        self.threshold.is_some()
    }

    /// Turns the flags into settings for this model.
    pub fn settings(&self, model: &Model) -> Result<Settings> {
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
            reader: Reader { max_pixels: self.max_pixels, polarity: self.polarity.and_then(Into::into) },
            top: top(self.top_k, model.labels().len())?,
            threshold: self.threshold.unwrap_or(0.0),
            rejects: self.unknown != Some(Switch::Off),
            ..Settings::default()
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
