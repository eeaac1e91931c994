//! The model card: the contract between training and deployment, stored inside the ONNX file.
//!
//! It is one JSON object under the metadata key [`METADATA_KEY`]. It tells `deploy` everything about a model's input
//! and output. Training and the exporter take the normalisation from it too, so the trained network, the exported graph
//! and the images sent to it agree by construction.

mod confidence;
mod input;
mod provenance;

pub use confidence::{Confidence, EnergyRange, MeasuredOn};
pub use input::{Content, Filter, Fit, Input, Polarity, Resize};
pub use provenance::{Adopted, Origin, Training};

use crate::architecture::{Architecture, MAX_CLASSES};
use crate::onnx::proto::{ModelProto, StringStringEntryProto};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Key of the card in the ONNX file's metadata.
pub const METADATA_KEY: &str = "model_card";

/// The card version of files that `train export` writes.
pub const TRAINED: u32 = 1;
/// The card version of files that `deploy adopt` writes, and the newest that this code reads. Programs that know only
/// version 1 would ignore how such a file prepares images.
pub const ADOPTED: u32 = 2;

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
    /// Version of this card: [`TRAINED`] or [`ADOPTED`].
    pub format: u32,
    /// The network; `None` for an adopted file, which only its graph describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
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
    /// How the activation ranges of an int8 graph were chosen; `None` for other precisions, and for
    /// files of `deploy adopt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<RangeCalibration>,
    /// How far the probabilities can be trusted; `None` in files written before this field existed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Confidence>,
    /// How the weights were trained; `None` for an adopted file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
    /// The file that `deploy adopt` made this one from; `None` for files of `train export`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
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
                "the smallest file, at a small cost in accuracy; in tract the fastest on x86-64 and, by the number of instructions, on 64-bit ARM"
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

impl ModelCard {
    /// The card of a model, or `None` if it has none. Fails if the card is invalid or newer than [`ADOPTED`].
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
            (TRAINED..=ADOPTED).contains(&version.format),
            "format {}: expected {TRAINED} to {ADOPTED}; use a newer deploy",
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

    /// The network that this card describes. Fails for an adopted file.
    pub fn network(&self) -> Result<&Architecture> {
        let adopted = "the file was adopted from another exporter: its card does not describe its layers";
        self.architecture.as_ref().context(adopted)
    }

    /// Fails if the fields contradict each other or are out of range.
    pub fn validate(&self) -> Result<()> {
        let (input, labels) = (&self.input, self.labels.len());
        let channels = input.channels;
        match (&self.architecture, &self.training, &self.adopted) {
            (Some(architecture), Some(training), None) => {
                architecture.validate()?;
                training.validate()?;
                ensure!(labels == architecture.classes, "{labels} labels for {} classes", architecture.classes);
                ensure!(
                    channels == architecture.channels,
                    "{channels} input channels, but the network has {}: expected the same",
                    architecture.channels
                );
            }
            (None, None, Some(_)) => {
                ensure!(self.format == ADOPTED, "format {} for an adopted file: expected {ADOPTED}", self.format);
                ensure!(self.takes == GraphInput::Images, "an adopted graph without preparation");
                ensure!((1..=MAX_CLASSES).contains(&labels), "{labels} labels: expected 1 to {MAX_CLASSES}");
            }
            _ => bail!("expected either 'architecture' and 'training', or 'adopted'"),
        }
        ensure!(matches!(channels, 1 | 3), "{channels} input channels: expected 1 or 3");
        ensure!(
            input.layout == "NCHW" && input.element == "uint8",
            "input {} {}: expected NCHW uint8",
            input.layout,
            input.element
        );
        for (name, extent) in [("height", input.height), ("width", input.width)] {
            ensure!((1..=MAX_INPUT).contains(&extent), "input {name} {extent}: expected 1 to {MAX_INPUT}");
        }
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
        input.resize.validate()?;
        let plain = input.resize.antialias && input.resize.fit == Fit::Crop && !input.resize.rounds_down;
        ensure!(
            self.format == ADOPTED || plain,
            "a resize of {} in format {}: expected {ADOPTED}",
            input.resize,
            self.format
        );
        if let Some(confidence) = &self.confidence {
            confidence.validate(input.content)?;
        }
        let trained = self.training.iter().flat_map(Training::names);
        let names = trained.chain(self.adopted.iter().flat_map(Adopted::names));
        for name in names.chain(&self.labels).chain([&input.name]) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Kind;

    fn card() -> ModelCard {
        ModelCard {
            format: TRAINED,
            architecture: Some(Architecture {
                kind: Kind::MobilenetV1,
                width: 0.25,
                resolution: 64,
                channels: 1,
                classes: 2,
                stem_stride: 2,
            }),
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
            training: Some(Training {
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
            }),
            adopted: None,
        }
    }

    fn adopted() -> ModelCard {
        let source = Origin { file: "resnet.onnx".into(), sha256: "0".repeat(64) };
        let adopted = Adopted { source, producer: "pytorch 2.13".into(), described_by: vec!["--mean".into()] };
        let resize = Resize { filter: Filter::Nearest, fit: Fit::Squash, ..Resize::default() };
        ModelCard {
            format: ADOPTED,
            architecture: None,
            training: None,
            adopted: Some(adopted),
            input: Input { resize, ..Input::new(1, 28, 28, Content::Image) },
            confidence: None,
            ..card()
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
        adopted().embed(&mut model).unwrap();
        assert_eq!(ModelCard::from_model(&model).unwrap(), Some(adopted()));
    }

    #[test]
    fn a_card_that_contradicts_itself_is_refused() {
        let refused = |card: ModelCard, word: &str| {
            let json = serde_json::to_string(&card).unwrap();
            let message = format!("{:#}", ModelCard::parse(&json).unwrap_err());
            assert!(message.contains(word), "{message}");
        };
        let broken = |change: fn(&mut ModelCard), word: &str| {
            let mut card = card();
            change(&mut card);
            refused(card, word);
        };
        broken(|card| card.format = 3, "format 3: expected 1 to 2");
        broken(|card| card.training = None, "expected either 'architecture' and 'training', or 'adopted'");
        broken(|card| card.input.resize.antialias = false, "in format 1: expected 2");
        broken(|card| card.input.resize.rounds_down = true, "in format 1: expected 2");
        refused(ModelCard { format: TRAINED, ..adopted() }, "format 1 for an adopted file");
        refused(ModelCard { labels: Vec::new(), ..adopted() }, "0 labels: expected 1 to");
        broken(|card| card.labels.truncate(1), "1 labels for 2 classes");
        broken(|card| card.input.layout = "NHWC".into(), "NHWC");
        broken(|card| card.input.height = 0, "height 0");
        broken(|card| card.input.channels = 3, "3 input channels, but the network has 1");
        broken(|card| card.preprocessing.std = vec![0.0], "std above 0");
        broken(|card| card.preprocessing.mean.push(0.0), "2 means");
        broken(|card| card.architecture.as_mut().unwrap().width = 7.0, "width multiplier 7");
        broken(|card| card.input.content = Content::Image, "energy: expected only for a model of digits");
        broken(|card| card.confidence.as_mut().unwrap().temperature = 0.0, "temperature 0: expected a finite number");
        broken(|card| card.training.as_mut().unwrap().test_accuracy = Some(1e300), "test accuracy 1");
        broken(|card| card.labels[1] = "é".repeat(600), "the name 'éééééééééééééééééééé…' has 1200 bytes");
        broken(|card| card.training.as_mut().unwrap().recipe = "r".repeat(MAX_JSON), "expected at most 8388608");
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
        expected.training.as_mut().unwrap().sample.clear();
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
