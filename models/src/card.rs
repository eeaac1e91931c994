//! The model card: the contract between training and deployment, stored inside the ONNX file.
//!
//! It is one JSON object under the metadata key [`METADATA_KEY`]. It tells `deploy` everything about a model's input
//! and output. Training and the exporter take the normalisation from it too, so the trained network, the exported graph
//! and the images sent to it agree by construction.

mod confidence;

pub use confidence::{Confidence, EnergyRange, MeasuredOn};

use crate::architecture::Architecture;
use crate::onnx::proto::{ModelProto, StringStringEntryProto};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Key of the card in the ONNX file's metadata.
pub const METADATA_KEY: &str = "model_card";

/// The card version that this code writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// Name of the graph's input; [`GraphInput`] describes it.
pub const INPUT: &str = "image";
/// Name of the logits output: float `[N, classes]`.
pub const LOGITS: &str = "logits";
/// Name of the probabilities output: float `[N, classes]`; each row sums to 1.
pub const PROBABILITIES: &str = "probabilities";

/// Largest accepted height or width of an input, in pixels.
pub const MAX_INPUT: usize = 4096;

/// Longest accepted card, in bytes: about 80 for each of the most classes allowed.
const MAX_JSON: usize = 1 << 23;

/// Longest accepted label or other name, in bytes.
const MAX_NAME: usize = 1000;

/// Everything needed to use a model correctly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Version of this card; see [`FORMAT`].
    pub format: u32,
    /// The network.
    pub architecture: Architecture,
    /// Name of each class, in the order of the logits.
    pub labels: Vec<String>,
    /// The images that the model classifies.
    pub input: Input,
    /// What happens to an image before the first convolution.
    pub preprocessing: Preprocessing,
    /// Whether the graph or its caller does the preprocessing.
    #[serde(default)]
    pub takes: GraphInput,
    /// Number format of the weights and the arithmetic.
    #[serde(default)]
    pub precision: Precision,
    /// How the activation ranges of an int8 graph were chosen; `None` for other precisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<RangeCalibration>,
    /// How far the probabilities can be trusted; `None` in files written before this field existed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Confidence>,
    /// How the weights were trained.
    pub training: Training,
}

/// What the graph expects as its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GraphInput {
    /// Raw images, uint8 `[N, C, H, W]`: the graph does the [`Preprocessing`].
    #[default]
    #[serde(rename = "pictures")]
    Images,
    /// Output of [`crate::preprocess`], float `[N, C, resolution, resolution]`: for pipelines that preprocess images
    /// themselves.
    Normalised,
}

/// The number format of a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32-bit floats throughout.
    #[default]
    Fp32,
    /// Weights stored as 16-bit floats, which the runtime widens when it loads them; 32-bit arithmetic.
    Fp16,
    /// Weights and activations as 8-bit integers, in QDQ form.
    Int8,
}

/// How the activation ranges of an int8 graph were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeCalibration {
    /// Number of training images used.
    pub images: usize,
    /// How the ranges were derived from the observed values.
    pub observer: RangeObserver,
}

/// How an activation's range is derived from the values observed in calibration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RangeObserver {
    /// The smallest to the largest value.
    MinMax,
    /// Cuts off one in ten thousand of the non-zero values, half of them at each end.
    Percentile,
    /// Minimises the mean squared error of the quantized values.
    Mse,
}

impl Precision {
    /// All precisions.
    pub const ALL: [Self; 3] = [Self::Fp32, Self::Fp16, Self::Int8];

    /// The name used on the command line and in cards.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        }
    }

    /// Which runtimes it suits, as measured by `scripts/bench export`.
    #[must_use]
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Fp32 => "for every runtime; the fastest on 32-bit ARM",
            Self::Fp16 => "for every runtime; weights are stored in 16 bits, arithmetic is in 32",
            Self::Int8 => {
                "the smallest file, at a small cost in accuracy; the fastest on x86-64 and, by the number of instructions, on 64-bit ARM"
            }
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|precision| precision.name() == name);
        found.map_or_else(|| bail!("expected fp32, fp16 or int8"), Ok)
    }
}

impl RangeObserver {
    /// All observers.
    pub const ALL: [Self; 3] = [Self::MinMax, Self::Percentile, Self::Mse];

    /// The name used on the command line and in cards.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MinMax => "min-max",
            Self::Percentile => "percentile",
            Self::Mse => "mse",
        }
    }
}

impl fmt::Display for RangeObserver {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RangeObserver {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|observer| observer.name() == name);
        found.map_or_else(|| bail!("expected min-max, percentile or mse"), Ok)
    }
}

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

/// How an image file gets the size of a model's input: torchvision's `Resize` to the input's size divided by `crop`,
/// with anti-aliasing, and then `CenterCrop` to the input's size. An image that already has this size stays as it is if
/// `crop` is 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resize {
    /// Interpolation.
    pub filter: Filter,
    /// Share of the resized image's shorter side that the crop keeps, above 0 and at most 1.
    pub crop: f64,
}

impl Default for Resize {
    fn default() -> Self {
        Self { filter: Filter::default(), crop: 1.0 }
    }
}

impl Resize {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.filter.name())?;
        if self.crop < 1.0 { write!(f, ", centre crop of {}", self.crop) } else { Ok(()) }
    }
}

/// Interpolation between the pixels of an image file, with anti-aliasing, as Pillow and torchvision do it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Linear in both directions.
    #[default]
    Bilinear,
    /// Cubic, with Pillow's coefficient a = −0.5.
    Bicubic,
}

impl Filter {
    /// All filters.
    pub const ALL: [Self; 2] = [Self::Bilinear, Self::Bicubic];

    /// The name used on the command line and in cards.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
        }
    }
}

impl FromStr for Filter {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|filter| filter.name() == name);
        found.map_or_else(|| bail!("expected bilinear or bicubic"), Ok)
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

/// What happens to an image before the first convolution, in this order: scaling to 0…1, normalisation, bilinear resize
/// (half-pixel centres, no anti-aliasing) to the network's resolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Mean of each channel over the training images, on the scale 0…1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, on the scale 0…1.
    pub std: Vec<f32>,
}

impl Preprocessing {
    /// `(scale, shift)` of each channel, such that `value * scale + shift` normalises a value of 0 to 255: (value / 255
    /// − mean) / std.
    ///
    /// Computed in f64 and rounded once, so that training and the graph use the same f32 numbers.
    #[must_use]
    pub fn scale_and_shift(&self) -> (Vec<f32>, Vec<f32>) {
        let channels = self.mean.iter().zip(&self.std);
        channels
            .map(|(&mean, &std)| {
                let (mean, std) = (f64::from(mean), f64::from(std));
                ((1.0 / (255.0 * std)) as f32, (-mean / std) as f32)
            })
            .unzip()
    }
}

/// How the weights were trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Name of the data set, such as `mnist`.
    pub data_set: String,
    /// Number of images the weights were trained on.
    pub images: usize,
    /// Fingerprints of a few training images ([`crate::dataset::sample()`]), to recognise them later. Empty in files
    /// written before this field existed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<String>,
    /// Name of the recipe.
    pub recipe: String,
    /// The run's seed.
    pub seed: u64,
    /// Number of epochs trained to reach these weights.
    pub epochs: usize,
    /// Accuracy on the held-out part of the training set, 0 to 1.
    pub held_out_accuracy: Option<f64>,
    /// Accuracy on the test images, measured in libtorch, 0 to 1.
    pub test_accuracy: Option<f64>,
    /// Library and device that trained them, such as `libtorch 2.13.0, cpu`.
    pub trained_with: String,
    /// The file that the first weights came from; `None` if they were drawn at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_from: Option<Origin>,
}

/// A file of weights that a network started from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its name, without its folder.
    pub file: String,
    /// Its SHA-256, as 64 hexadecimal digits.
    pub sha256: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} (SHA-256 {})", self.file, self.sha256)
    }
}

impl ModelCard {
    /// The card of a model, or `None` if it has none. Fails if the card is invalid or newer than [`FORMAT`].
    pub fn from_model(model: &ModelProto) -> Result<Option<Self>> {
        let Some(entry) = model.metadata_props.iter().find(|entry| entry.key == METADATA_KEY) else {
            return Ok(None);
        };
        Self::parse(&entry.value).map(Some).context("its model card (metadata 'model_card') cannot be used")
    }

    /// Parses and validates a card. Fails like [`ModelCard::from_model`].
    pub fn parse(json: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        ensure!(json.len() <= MAX_JSON, "it has {} bytes: expected at most {MAX_JSON}", json.len());
        let version: Version = serde_json::from_str(json).context("it is not a JSON object with a 'format'")?;
        ensure!(
            (1..=FORMAT).contains(&version.format),
            "format {}: expected 1 to {FORMAT}; use a newer deploy",
            version.format
        );
        let card: Self = serde_json::from_str(json)?;
        card.validate()?;
        Ok(card)
    }

    /// Stores the card in a model, replacing any existing card.
    pub fn embed(&self, model: &mut ModelProto) -> Result<()> {
        self.validate()?;
        model.metadata_props.retain(|entry| entry.key != METADATA_KEY);
        let value = serde_json::to_string(self)?;
        model.metadata_props.push(StringStringEntryProto { key: METADATA_KEY.to_owned(), value });
        Ok(())
    }

    /// Fails if the fields contradict each other or are out of range.
    pub fn validate(&self) -> Result<()> {
        self.architecture.validate()?;
        let (input, channels) = (&self.input, self.architecture.channels);
        ensure!(
            self.labels.len() == self.architecture.classes,
            "{} labels for {} classes",
            self.labels.len(),
            self.architecture.classes
        );
        ensure!(
            input.layout == "NCHW" && input.element == "uint8",
            "input {} {}: expected NCHW uint8",
            input.layout,
            input.element
        );
        for (name, extent) in [("height", input.height), ("width", input.width)] {
            ensure!((1..=MAX_INPUT).contains(&extent), "input {name} {extent}: expected 1 to {MAX_INPUT}");
        }
        ensure!(
            input.channels == channels && matches!(channels, 1 | 3),
            "{} input channels, but the network has {channels}: expected the same, 1 or 3",
            input.channels
        );
        let Preprocessing { mean, std } = &self.preprocessing;
        ensure!(
            mean.len() == channels && std.len() == channels,
            "{} means and {} standard deviations for {channels} channels",
            mean.len(),
            std.len()
        );
        ensure!(
            self.calibration.is_none() || self.precision == Precision::Int8,
            "a calibration for {}: expected one only for int8",
            self.precision
        );
        ensure!(
            mean.iter().all(|mean| mean.is_finite()) && std.iter().all(|&std| std.is_finite() && std > 0.0),
            "mean {mean:?}, std {std:?}: expected finite numbers, and std above 0"
        );
        ensure!(
            input.resize.crop > 0.0 && input.resize.crop <= 1.0,
            "resize.crop {}: expected a share above 0 and at most 1",
            input.resize.crop
        );
        if let Some(confidence) = &self.confidence {
            confidence.validate(input.content)?;
        }
        self.training.validate()?;
        let Training { data_set, recipe, trained_with, started_from, .. } = &self.training;
        let origin = started_from.iter().flat_map(|origin| [&origin.file, &origin.sha256]);
        let names = self.labels.iter().chain(&self.training.sample).chain(origin);
        for name in names.chain([&input.name, data_set, recipe, trained_with]) {
            let start: String = name.chars().take(20).collect();
            ensure!(
                name.len() <= MAX_NAME,
                "the name '{start}…' has {} bytes: expected at most {MAX_NAME}",
                name.len()
            );
        }
        Ok(())
    }
}

impl Training {
    fn validate(&self) -> Result<()> {
        for (name, share) in [("held-out", self.held_out_accuracy), ("test", self.test_accuracy)] {
            let fits = share.is_none_or(|share| (0.0..=1.0).contains(&share));
            ensure!(fits, "{name} accuracy {}: expected 0 to 1", share.unwrap_or_default());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Kind;

    fn card() -> ModelCard {
        ModelCard {
            format: FORMAT,
            architecture: Architecture {
                kind: Kind::MobilenetV1,
                width: 0.25,
                resolution: 64,
                channels: 1,
                classes: 2,
                stem_stride: 2,
            },
            labels: vec!["zero".into(), "one".into()],
            input: Input::new(1, 28, 28, Content::Digit { polarity: Polarity::LightOnDark }),
            preprocessing: Preprocessing { mean: vec![0.1307], std: vec![0.3081] },
            takes: GraphInput::Images,
            precision: Precision::Fp32,
            calibration: None,
            confidence: Some(Confidence {
                temperature: 0.61,
                images: 2000,
                from: MeasuredOn::HeldOut,
                ece_before: 0.09,
                ece_after: 0.004,
                energy: Some(EnergyRange { reject_below: 7.31, median: 9.5 }),
            }),
            training: Training {
                data_set: "mnist".into(),
                images: 60_000,
                sample: vec!["0123456789abcdef".into()],
                recipe: "quick".into(),
                seed: 1,
                epochs: 4,
                held_out_accuracy: None,
                test_accuracy: Some(0.99),
                trained_with: "libtorch".into(),
                started_from: Some(Origin { file: "body.safetensors".into(), sha256: "0".repeat(64) }),
            },
        }
    }

    #[test]
    fn a_card_comes_back_as_it_was_embedded() {
        let mut model = ModelProto::default();
        assert_eq!(ModelCard::from_model(&model).unwrap(), None);
        card().embed(&mut model).unwrap();
        card().embed(&mut model).unwrap();
        assert_eq!(model.metadata_props.len(), 1);
        assert_eq!(ModelCard::from_model(&model).unwrap(), Some(card()));
    }

    #[test]
    fn a_card_that_contradicts_itself_is_refused() {
        let broken = |change: fn(&mut ModelCard), word: &str| {
            let mut card = card();
            change(&mut card);
            let json = serde_json::to_string(&card).unwrap();
            let message = format!("{:#}", ModelCard::parse(&json).unwrap_err());
            assert!(message.contains(word), "{message}");
        };
        broken(|card| card.format = 2, "format 2: expected 1 to 1");
        broken(|card| card.labels.truncate(1), "1 labels for 2 classes");
        broken(|card| card.input.layout = "NHWC".into(), "NHWC");
        broken(|card| card.input.height = 0, "height 0");
        broken(|card| card.input.channels = 3, "3 input channels, but the network has 1");
        broken(|card| card.preprocessing.std = vec![0.0], "std above 0");
        broken(|card| card.preprocessing.mean.push(0.0), "2 means");
        broken(|card| card.architecture.width = 7.0, "width multiplier 7");
        broken(|card| card.input.content = Content::Image, "energy: expected only for a model of digits");
        broken(|card| card.confidence.as_mut().unwrap().temperature = 0.0, "temperature 0: expected a finite number");
        broken(|card| card.training.test_accuracy = Some(1e300), "test accuracy 1");
        broken(|card| card.labels[1] = "é".repeat(600), "the name 'éééééééééééééééééééé…' has 1200 bytes");
        broken(|card| card.training.recipe = "r".repeat(MAX_JSON), "expected at most 8388608");
    }

    /// Files written before these fields existed are fp32 and take raw images.
    #[test]
    fn a_card_without_the_later_fields_is_read() {
        let mut json = serde_json::to_value(card()).unwrap();
        let object = json.as_object_mut().unwrap();
        assert!(object.remove("takes").is_some() && object.remove("precision").is_some());
        assert!(object["training"].as_object_mut().unwrap().remove("sample").is_some());
        assert!(object.remove("confidence").is_some());
        let mut expected = card();
        expected.confidence = None;
        expected.training.sample.clear();
        assert_eq!(ModelCard::parse(&json.to_string()).unwrap(), expected);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for precision in Precision::ALL {
            assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision);
            assert_eq!(serde_json::to_value(precision).unwrap(), precision.name());
        }
        for observer in RangeObserver::ALL {
            assert_eq!(observer.to_string().parse::<RangeObserver>().unwrap(), observer);
            assert_eq!(serde_json::to_value(observer).unwrap(), observer.name());
        }
        assert!("int4".parse::<Precision>().unwrap_err().to_string().contains("fp32, fp16 or int8"));
    }

    /// The PyTorch MNIST example: 0 becomes −0.4242, 255 becomes 2.8215.
    #[test]
    fn scale_and_shift_normalise() {
        let (scale, shift) = card().preprocessing.scale_and_shift();
        assert!((shift[0] + 0.424_213).abs() < 1e-6);
        assert!((255.0 * scale[0] + shift[0] - 2.821_486).abs() < 1e-6);
    }
}
