//! The model card: the contract between training and deployment, which travels inside the ONNX file.
//!
//! It is one JSON object under the metadata key [`METADATA_KEY`]. `deploy` takes everything it must know about a
//! model's input and answers from it; training and the graph writer take the normalisation from it, so that the
//! network that was trained, the graph that was written and the pictures that are sent agree by construction.

use crate::architecture::Architecture;
use crate::onnx::proto::{ModelProto, StringStringEntryProto};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The metadata key of the ONNX file that holds the card.
pub const METADATA_KEY: &str = "model_card";

/// The version of the card that this code writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// Name of the graph's input; see [`Takes`].
pub const INPUT: &str = "image";
/// Name of the graph's output of raw scores: float `[N, classes]`.
pub const LOGITS: &str = "logits";
/// Name of the graph's output of probabilities: float `[N, classes]`, each row sums to 1.
pub const PROBABILITIES: &str = "probabilities";

/// Largest accepted height, width or number of channels of an input.
pub const MAX_INPUT: usize = 4096;

/// Longest accepted card: some sixty bytes for each of the most classes.
const MAX_JSON: usize = 1 << 23;

/// Longest accepted label or other name, in bytes.
const MAX_NAME: usize = 1000;

/// Everything needed to use a model rightly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Version of this card; see [`FORMAT`].
    pub format: u32,
    /// The network.
    pub architecture: Architecture,
    /// Name of each class, in the order of the logits.
    pub labels: Vec<String>,
    /// The pictures.
    pub input: Input,
    /// What is done to the pictures before the first convolution.
    pub preprocessing: Preprocessing,
    /// Who does it: the graph, or who calls it.
    #[serde(default)]
    pub takes: Takes,
    /// Number format of the weights and of the arithmetic.
    #[serde(default)]
    pub precision: Precision,
    /// Where an int8 graph's ranges come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Where the weights come from.
    pub training: Training,
}

/// What the graph's input is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takes {
    /// The pictures as they are, uint8 `[N, C, H, W]`: the [`Preprocessing`] is part of the graph.
    #[default]
    Pictures,
    /// What [`crate::preprocess`] makes of them, float `[N, C, resolution, resolution]`: for pipelines that do it
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
    /// Weights stored as 16-bit floats, which the runtime widens when it loads them; arithmetic in 32 bits.
    Fp16,
    /// Weights and activations as 8-bit integers, in QDQ form.
    Int8,
}

/// Where the ranges of an int8 graph's activations come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// Training images looked at.
    pub images: usize,
    /// How a range was made of what was seen.
    pub observer: Observer,
}

/// How the range of an activation is chosen from the values seen in calibration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Observer {
    /// From the smallest to the largest value.
    MinMax,
    /// So that one value in ten thousand is cut off.
    Percentile,
    /// So that the mean squared error of the quantized values is smallest.
    Mse,
}

impl Precision {
    /// All of them, for listings.
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

    /// Which runtime it is for, as `scripts/bench export` measured it.
    #[must_use]
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Fp32 => "for every runtime",
            Self::Fp16 => "for every runtime; weights are stored in 16 bits, arithmetic is in 32",
            Self::Int8 => "for ONNX Runtime, and for size; tract is slower in it than in fp32",
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

impl Observer {
    /// All of them, for listings.
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

impl fmt::Display for Observer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Observer {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|observer| observer.name() == name);
        found.map_or_else(|| bail!("expected min-max, percentile or mse"), Ok)
    }
}

/// The pictures: uint8 `[N, C, H, W]`, values 0 to 255, exactly as they are on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Name of the graph's input.
    pub name: String,
    /// Order of the axes: `NCHW`.
    pub layout: String,
    /// Element type: `uint8`.
    pub element: String,
    /// Channels: 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// What the pictures show, and so how any picture becomes one of them.
    pub content: Content,
}

impl Input {
    /// What every graph of ours takes: [`INPUT`], uint8 `[N, channels, height, width]`.
    #[must_use]
    pub fn new(channels: usize, height: usize, width: usize, content: Content) -> Self {
        let (name, layout, element) = (INPUT.to_owned(), "NCHW".to_owned(), "uint8".to_owned());
        Self { name, layout, element, channels, height, width, content }
    }
}

/// What the pictures of a data set show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Content {
    /// A single digit, centred by mass as the MNIST authors describe; see [`crate::digit`].
    Digit {
        /// Which of ink and ground is light.
        polarity: Polarity,
    },
    /// Anything: the picture is resized and its centre cut out; see [`crate::picture`].
    Picture,
}

/// Which of ink and ground is light.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Polarity {
    /// White ink on black, as in MNIST.
    LightOnDark,
    /// Black ink on white.
    DarkOnLight,
}

/// What is done to a picture before the first convolution, in this order: scaling to 0…1, normalisation, bilinear resize (half-pixel
/// centres, no anti-aliasing) to the network's resolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Mean of each channel over the training images, on the scale 0…1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, on the scale 0…1.
    pub std: Vec<f32>,
}

impl Preprocessing {
    /// `(scale, shift)` of each channel such that `value * scale + shift` normalises a value of 0 to 255:
    /// (value / 255 − mean) / std.
    ///
    /// Computed in f64 and rounded once, so that training and the graph use the same two f32 numbers.
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

/// Where the weights come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Name of the data set, such as `mnist`.
    pub data_set: String,
    /// How many pictures the weights were fitted to.
    pub images: usize,
    /// A few of the training images ([`crate::dataset::sample()`]), by which they are recognised; none in files written
    /// before they were kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<String>,
    /// Name of the recipe.
    pub recipe: String,
    /// The run's seed.
    pub seed: u64,
    /// Epochs up to these weights.
    pub epochs: usize,
    /// Share of the pictures held out of the training set that these weights classify rightly, 0 to 1.
    pub held_out_accuracy: Option<f64>,
    /// Share of the test pictures that these weights classify rightly in libtorch, 0 to 1.
    pub test_accuracy: Option<f64>,
    /// What trained them, such as `libtorch 2.13.0, cpu`.
    pub trained_with: String,
}

impl ModelCard {
    /// The card of a model, or `None` if it has none. A card that is there but broken or too new is an error.
    pub fn of(model: &ModelProto) -> Result<Option<Self>> {
        let Some(entry) = model.metadata_props.iter().find(|entry| entry.key == METADATA_KEY) else {
            return Ok(None);
        };
        Self::parse(&entry.value).map(Some).context("its model card (metadata 'model_card') cannot be used")
    }

    /// Reads and checks a card.
    pub fn parse(json: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        ensure!(json.len() <= MAX_JSON, "it has {} bytes: expected at most {MAX_JSON}", json.len());
        let version: Version = serde_json::from_str(json).context("it is not a JSON object with a 'format'")?;
        ensure!(
            (1..=FORMAT).contains(&version.format),
            "format {} is not known here (1 to {FORMAT} are): use a newer deploy",
            version.format
        );
        let card: Self = serde_json::from_str(json)?;
        card.validate()?;
        Ok(card)
    }

    /// Puts the card into a model, in place of any it had.
    pub fn embed(&self, model: &mut ModelProto) -> Result<()> {
        self.validate()?;
        model.metadata_props.retain(|entry| entry.key != METADATA_KEY);
        let value = serde_json::to_string(self)?;
        model.metadata_props.push(StringStringEntryProto { key: METADATA_KEY.to_owned(), value });
        Ok(())
    }

    /// Checks that the parts fit each other.
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
            "{} input channels for a network of {channels}: expected 1 or 3 in both",
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
            "a calibration for {}: only int8 has one",
            self.precision
        );
        ensure!(
            mean.iter().all(|mean| mean.is_finite()) && std.iter().all(|&std| std.is_finite() && std > 0.0),
            "mean {mean:?}, std {std:?}: expected finite numbers, and std above 0"
        );
        self.training.validate()?;
        let Training { data_set, recipe, trained_with, .. } = &self.training;
        let names = self.labels.iter().chain(&self.training.sample);
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
            takes: Takes::Pictures,
            precision: Precision::Fp32,
            calibration: None,
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
            },
        }
    }

    #[test]
    fn a_card_comes_back_as_it_was_embedded() {
        let mut model = ModelProto::default();
        assert_eq!(ModelCard::of(&model).unwrap(), None);
        card().embed(&mut model).unwrap();
        card().embed(&mut model).unwrap();
        assert_eq!(model.metadata_props.len(), 1);
        assert_eq!(ModelCard::of(&model).unwrap(), Some(card()));
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
        broken(|card| card.format = 2, "format 2 is not known");
        broken(|card| card.labels.truncate(1), "1 labels for 2 classes");
        broken(|card| card.input.layout = "NHWC".into(), "NHWC");
        broken(|card| card.input.height = 0, "height 0");
        broken(|card| card.input.channels = 3, "3 input channels for a network of 1");
        broken(|card| card.preprocessing.std = vec![0.0], "std above 0");
        broken(|card| card.preprocessing.mean.push(0.0), "2 means");
        broken(|card| card.architecture.width = 7.0, "width multiplier 7");
        broken(|card| card.training.test_accuracy = Some(1e300), "test accuracy 1");
        broken(|card| card.labels[1] = "é".repeat(600), "the name 'éééééééééééééééééééé…' has 1200 bytes");
        broken(|card| card.training.recipe = "r".repeat(MAX_JSON), "expected at most 8388608");
    }

    /// Files written before these fields were known are fp32 and take pictures.
    #[test]
    fn a_card_without_the_later_fields_is_read() {
        let mut json = serde_json::to_value(card()).unwrap();
        let object = json.as_object_mut().unwrap();
        assert!(object.remove("takes").is_some() && object.remove("precision").is_some());
        assert!(object["training"].as_object_mut().unwrap().remove("sample").is_some());
        let mut expected = card();
        expected.training.sample.clear();
        assert_eq!(ModelCard::parse(&json.to_string()).unwrap(), expected);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for precision in Precision::ALL {
            assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision);
            assert_eq!(serde_json::to_value(precision).unwrap(), precision.name());
        }
        for observer in Observer::ALL {
            assert_eq!(observer.to_string().parse::<Observer>().unwrap(), observer);
            assert_eq!(serde_json::to_value(observer).unwrap(), observer.name());
        }
        assert!("int4".parse::<Precision>().unwrap_err().to_string().contains("fp32, fp16 or int8"));
    }

    /// The numbers of the PyTorch MNIST example: 0 becomes −0.4242, 255 becomes 2.8215.
    #[test]
    fn scale_and_shift_normalise() {
        let (scale, shift) = card().preprocessing.scale_and_shift();
        assert!((shift[0] + 0.424_213).abs() < 1e-6);
        assert!((255.0 * scale[0] + shift[0] - 2.821_486).abs() < 1e-6);
    }
}
