//! The images that a model takes, and how an image file becomes one of them.

use super::INPUT;
use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The images that a model takes: uint8 `[N, C, H, W]`, values 0 to 255.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Name of the graph's input.
    pub name: String,
    /// Order of the axes: `NCHW`.
    pub layout: String,
    /// Element type: `uint8`.
    pub element: String,
    /// Channels: 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// What the images show, which decides how an image file is prepared.
    pub content: Content,
    /// How an image file that is not prepared as a digit gets the size of the input.
    #[serde(default, skip_serializing_if = "Resize::is_default")]
    pub resize: Resize,
}

impl Input {
    /// The input of every graph that we export: named [`INPUT`], uint8 `[N, channels, height, width]`.
    #[must_use]
    pub fn new(channels: usize, height: usize, width: usize, content: Content) -> Self {
        let (name, layout, element) = (INPUT.to_owned(), "NCHW".to_owned(), "uint8".to_owned());
        Self { name, layout, element, channels, height, width, content, resize: Resize::default() }
    }
}

/// How an image file gets the size of a model's input: resized to the input's size divided by `crop`, as torchvision's
/// `Resize` does it, and then cropped to its centre (`CenterCrop`). An image that already has this size stays as it is if
/// `crop` is 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resize {
    /// Interpolation.
    pub filter: Filter,
    /// What happens to an image of another aspect ratio.
    #[serde(default, skip_serializing_if = "Fit::is_default")]
    pub fit: Fit,
    /// Share of the resized image's shorter side that the crop keeps, 0.01 to 1.
    pub crop: f64,
    /// Whether the filter grows with the factor by which an image is reduced, so that every pixel counts, as Pillow and
    /// torchvision do it. Without, the result is interpolated between the nearest pixels, as in OpenCV and TensorFlow.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub antialias: bool,
    /// Whether half a pixel at the corner of the crop is rounded down, as transformers does it, and not to the even side,
    /// as torchvision does it.
    #[serde(default, skip_serializing_if = "is_no")]
    pub rounds_down: bool,
}

impl Default for Resize {
    fn default() -> Self {
        Self { filter: Filter::default(), fit: Fit::default(), crop: 1.0, antialias: true, rounds_down: false }
    }
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference.
fn is_yes(value: &bool) -> bool {
    *value
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference.
fn is_no(value: &bool) -> bool {
    !*value
}

impl Resize {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Fails if the share of the crop is out of range, or for interpolation without anti-aliasing that is not
    /// implemented.
    pub fn validate(&self) -> Result<()> {
        ensure!((0.01..=1.0).contains(&self.crop), "resize.crop {}: expected a share from 0.01 to 1", self.crop);
        ensure!(
            self.antialias || self.filter == Filter::Bilinear,
            "{} without anti-aliasing: expected bilinear",
            self.filter.name()
        );
        Ok(())
    }

    /// Rows and columns, or only one of them, of the resized image before it is cropped to `side`.
    #[must_use]
    pub fn before_crop(&self, side: usize) -> usize {
        // Rounded down, as timm does. A quotient that is whole but for its rounding stays whole.
        ((side as f64 / self.crop + 1e-6) as usize).max(side)
    }
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.filter.name())?;
        if !self.antialias {
            f.write_str(" without anti-aliasing")?;
        }
        if self.fit == Fit::Squash {
            f.write_str(", squashed")?;
        }
        if self.crop < 1.0 { write!(f, ", centre crop of {}", self.crop) } else { Ok(()) }
    }
}

/// What happens to an image that does not have the aspect ratio of a model's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// It keeps its aspect ratio and loses what does not fit, at both ends.
    #[default]
    Crop,
    /// It is stretched to the input's aspect ratio.
    Squash,
}

impl Fit {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Crop, Self::Squash];

    /// The name used on the command line and in cards.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crop => "crop",
            Self::Squash => "squash",
        }
    }

    #[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for Fit {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|fit| fit.name() == name);
        found.map_or_else(|| bail!("expected crop or squash"), Ok)
    }
}

/// Interpolation between the pixels of an image file, as Pillow does it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// Linear in both directions.
    #[default]
    Bilinear,
    /// Cubic, with Pillow's coefficient a = −0.5.
    Bicubic,
    /// Lanczos with three lobes.
    Lanczos,
}

impl Filter {
    /// All filters.
    pub const ALL: [Self; 4] = [Self::Nearest, Self::Bilinear, Self::Bicubic, Self::Lanczos];

    /// The name used on the command line and in cards.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        }
    }
}

impl FromStr for Filter {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|filter| filter.name() == name);
        found.map_or_else(|| bail!("expected nearest, bilinear, bicubic or lanczos"), Ok)
    }
}

/// What the images of a data set show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Content {
    /// A single digit, centred by mass as the MNIST authors describe; see [`crate::digit`].
    Digit {
        /// Whether the digit is lighter or darker than its background.
        polarity: Polarity,
    },
    /// Anything: the image is cropped to its centre and resized; see [`crate::image_file`].
    #[serde(rename = "picture")]
    Image,
}

/// Whether ink is lighter or darker than its background.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Polarity {
    /// White ink on black, as in MNIST.
    LightOnDark,
    /// Black ink on white.
    DarkOnLight,
}
