//! What is known about how an image becomes a network's input, and who said so.

use crate::interface::Scores;
use anyhow::{Context, Result, bail, ensure};
use models::card::{Filter, Fit};
use std::fmt;
use std::str::FromStr;

/// Order of the axes of a network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Channels before rows and columns, as in PyTorch.
    Nchw,
    /// Channels last, as in TensorFlow.
    Nhwc,
}

impl Layout {
    /// The names used on the command line.
    pub const NAMES: [&str; 2] = ["nchw", "nhwc"];
}

impl FromStr for Layout {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "nchw" => Self::Nchw,
            "nhwc" => Self::Nhwc,
            _ => bail!("expected nchw or nhwc"),
        })
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Nchw => "nchw (channels first)",
            Self::Nhwc => "nhwc (channels last)",
        })
    }
}

/// What the channels of a network's input are, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red, as in Caffe and OpenCV.
    Bgr,
    /// One channel.
    Grey,
}

impl Color {
    /// The names used on the command line.
    pub const NAMES: [&str; 3] = ["rgb", "bgr", "grey"];

    /// Number of channels.
    #[must_use]
    pub fn channels(self) -> usize {
        if self == Self::Grey { 1 } else { 3 }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rgb => "rgb",
            Self::Bgr => "bgr",
            Self::Grey => "grey",
        }
    }
}

impl FromStr for Color {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = [Self::Rgb, Self::Bgr, Self::Grey].into_iter().find(|color| color.name() == name);
        found.map_or_else(|| bail!("expected rgb, bgr or grey"), Ok)
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Size {
    /// A square.
    #[must_use]
    pub fn square(side: usize) -> Self {
        Self { width: side, height: side }
    }
}

impl FromStr for Size {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected = || "expected pixels, such as 224, or width and height, such as 320x240";
        let (width, height) = text.split_once('x').unwrap_or((text, text));
        let side = |text: &str| text.parse().ok().filter(|side| (1..=models::card::MAX_INPUT).contains(side));
        Ok(Self { width: side(width).with_context(expected)?, height: side(height).with_context(expected)? })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}x{} px", self.width, self.height)
    }
}

/// A positive number, which may be written as a quotient: `1/255`.
pub fn quotient(text: &str) -> Result<f64> {
    let number = match text.split_once('/') {
        Some((above, below)) => {
            above.trim().parse::<f64>().ok().zip(below.trim().parse::<f64>().ok()).map(|(a, b)| a / b)
        }
        None => text.parse().ok(),
    };
    number.filter(|number| number.is_finite() && *number > 0.0).context("expected a number above 0, such as 1/255")
}

/// What one source says about how an image becomes a network's input. A value of an image file, 0 to 255, becomes
/// (value · scale − mean) / std.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Order of the axes.
    pub layout: Option<Layout>,
    /// The channels.
    pub color: Option<Color>,
    /// Multiplies the values of an image file.
    pub scale: Option<f64>,
    /// Mean of each channel, in the order of the network's channels: one number, or one for each.
    pub mean: Option<Vec<f64>>,
    /// Standard deviation of each channel: one number, or one for each.
    pub std: Option<Vec<f64>>,
    /// Size of the network's input.
    pub size: Option<Size>,
    /// What happens to an image of another aspect ratio.
    pub fit: Option<Fit>,
    /// Share of the resized image that the centre crop keeps.
    pub crop: Option<f64>,
    /// Interpolation.
    pub filter: Option<Filter>,
    /// Whether it is antialiased.
    pub antialias: Option<bool>,
    /// Whether half a pixel at the corner of the crop is rounded down.
    pub rounds_down: Option<bool>,
    /// Name of each class.
    pub labels: Option<Vec<String>>,
    /// Name of the output with the scores.
    pub output: Option<String>,
    /// What the scores are.
    pub scores: Option<Scores>,
    /// Images per run.
    pub batch: Option<usize>,
}

/// Facts, and who says them.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// A flag's prefix or a file's name, for people.
    pub name: String,
    /// What it says.
    pub facts: Facts,
}

/// A fact and who said it.
pub type Told<T> = Option<(T, String)>;

/// All sources, the most trusted first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sources(pub Vec<Source>);

impl Sources {
    /// Whether a source has this name.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.0.iter().any(|source| source.name == name)
    }

    /// What the most trusted source says. `flag` is the name of the flag for it, which stands for the first source.
    pub fn find<T>(&self, flag: &str, fact: impl Fn(&Facts) -> Option<T>) -> Told<T> {
        self.0.iter().find_map(|source| {
            let name = if source.name.is_empty() { flag.to_owned() } else { source.name.clone() };
            fact(&source.facts).map(|fact| (fact, name))
        })
    }
}

/// One number for each channel.
pub fn per_channel(what: &str, numbers: &[f64], channels: usize) -> Result<Vec<f64>> {
    if let [one] = numbers {
        return Ok(vec![*one; channels]);
    }
    ensure!(
        numbers.len() == channels,
        "{what} has {} numbers: expected one, or one for each of {channels} channels",
        numbers.len()
    );
    Ok(numbers.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_people_write_them() {
        assert_eq!(quotient("1/255").unwrap(), 1.0 / 255.0);
        assert_eq!(quotient("0.5").unwrap(), 0.5);
        for wrong in ["", "0", "-1", "1/0", "x", "1/x", "nan"] {
            assert!(quotient(wrong).unwrap_err().to_string().contains("such as 1/255"), "{wrong}");
        }
        assert_eq!("224".parse::<Size>().unwrap(), Size::square(224));
        assert_eq!("320x240".parse::<Size>().unwrap(), Size { width: 320, height: 240 });
        for wrong in ["", "0", "5000", "320x", "a"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_source_that_says_something_is_believed() {
        let facts = |scale, crop| Facts { scale, crop, ..Facts::default() };
        let sources = Sources(vec![
            Source { name: String::new(), facts: facts(None, Some(0.9)) },
            Source { name: "config.json".into(), facts: facts(Some(1.0), Some(0.8)) },
        ]);
        assert_eq!(sources.find("--crop", |facts| facts.crop), Some((0.9, "--crop".into())));
        assert_eq!(sources.find("--scale", |facts| facts.scale), Some((1.0, "config.json".into())));
        assert_eq!(sources.find("--mean", |facts| facts.mean.clone()), None);
    }
}
