//! MobileNetV1 (Howard et al., arXiv 1704.04861) as data.
//!
//! This is the only definition of the network: `train` builds libtorch modules from [`Architecture::layers`], the
//! exporter writes ONNX nodes from it, and [`crate::cost`] counts its operations.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Fewest channels of a narrowed layer. The width multiplier α turns a layer of `c` channels into one of `max(⌊α·c⌋,
/// 8)`, the rule in the authors' own code (TensorFlow-Slim's `mobilenet_v1.py`, `min_depth`).
pub const MIN_CHANNELS: usize = 8;

/// Smallest accepted input resolution, in pixels.
pub const MIN_RESOLUTION: usize = 8;
/// Largest accepted input resolution, in pixels. This limit and the next two are far beyond any sensible network, and
/// small enough that no count overflows.
pub const MAX_RESOLUTION: usize = 4096;
/// Largest accepted number of input channels.
pub const MAX_CHANNELS: usize = 64;
/// Largest accepted number of classes.
pub const MAX_CLASSES: usize = 100_000;

/// The layers that make up the network's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The paper's Table 1: a 3×3 convolution, 13 depthwise separable blocks, average pooling and a linear classifier.
    MobilenetV1,
    /// The source tutorial's variant. It follows the paper up to 512 channels, but has six 512→512 blocks instead of
    /// five. One full 3×3 convolution 512→1024 with stride 2 follows, then a 1×1 convolution to the classes (no batch
    /// norm, no bias), then the pooling.
    Tutorial,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::MobilenetV1, Self::Tutorial];

    /// The name used on the command line, in recipes and in cards.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MobilenetV1 => "mobilenet-v1",
            Self::Tutorial => "tutorial",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).with_context(|| {
            format!("unknown architecture '{name}': expected {}", Self::ALL.map(Self::name).join(" or "))
        })
    }
}

/// All parameters that determine the network's shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// The layers of the body.
    pub kind: Kind,
    /// Width multiplier α in (0, 1] (paper, section 3.3).
    pub width: f64,
    /// Height and width of the network's input in pixels. The paper's resolution multiplier ρ (section 3.4) is this
    /// divided by 224.
    pub resolution: usize,
    /// Channels of the input: 1 for grey, 3 for RGB.
    pub channels: usize,
    /// Number of classes.
    pub classes: usize,
    /// Stride of the first convolution: 2 in the paper. A stride of 1 is our variant for tiny images; it doubles the
    /// resolution throughout the body.
    pub stem_stride: usize,
}

impl Architecture {
    /// The paper's network for ImageNet (3 channels, 1000 classes) with width multiplier `width` and the given input
    /// resolution.
    #[must_use]
    pub fn imagenet(width: f64, resolution: usize) -> Self {
        Self { kind: Kind::MobilenetV1, width, resolution, channels: 3, classes: 1000, stem_stride: 2 }
    }

    /// Fails if a field is out of range, and names it.
    pub fn validate(&self) -> Result<()> {
        ensure!(
            self.width > 0.0 && self.width <= 1.0,
            "width multiplier {}: expected a number above 0 and at most 1",
            self.width
        );
        ensure!(
            (MIN_RESOLUTION..=MAX_RESOLUTION).contains(&self.resolution),
            "resolution {}: expected {MIN_RESOLUTION} to {MAX_RESOLUTION} pixels",
            self.resolution
        );
        ensure!(
            (1..=MAX_CHANNELS).contains(&self.channels),
            "{} input channels: expected 1 to {MAX_CHANNELS}",
            self.channels
        );
        ensure!((2..=MAX_CLASSES).contains(&self.classes), "{} classes: expected 2 to {MAX_CLASSES}", self.classes);
        ensure!(
            (1..=2).contains(&self.stem_stride),
            "stride {} of the first convolution: expected 2 (the paper) or 1",
            self.stem_stride
        );
        Ok(())
    }

    /// `channels` times the width multiplier; see [`MIN_CHANNELS`].
    fn narrow(&self, channels: usize) -> usize {
        ((channels as f64 * self.width).floor() as usize).max(MIN_CHANNELS)
    }

    /// The layers from input to output, with their shapes for one image.
    #[must_use]
    pub fn layers(&self) -> Vec<Layer> {
        let input = Shape { channels: self.channels, height: self.resolution, width: self.resolution };
        let mut body = Body { layers: Vec::new(), shape: input };
        body.convolution("stem", Form::Standard, self.narrow(32), 3, self.stem_stride);

        // (output channels, stride) of each depthwise separable block, from the paper's Table 1. (The table prints
        // stride 2 in the last block, but its shapes, and every implementation, have stride 1.)
        let mut blocks = vec![(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)];
        match self.kind {
            Kind::MobilenetV1 => {
                blocks.extend([(512, 1); 5]);
                blocks.extend([(1024, 2), (1024, 1)]);
            }
            Kind::Tutorial => blocks.extend([(512, 1); 6]),
        }
        for (index, (channels, stride)) in blocks.into_iter().enumerate() {
            let name = format!("block{}", index + 1);
            let input = body.shape.channels;
            body.convolution(&format!("{name}.depthwise"), Form::Depthwise, input, 3, stride);
            body.convolution(&format!("{name}.pointwise"), Form::Pointwise, self.narrow(channels), 1, 1);
        }

        match self.kind {
            Kind::MobilenetV1 => {
                body.pool();
                body.push("classifier", Op::Linear, Shape { channels: self.classes, height: 1, width: 1 });
            }
            Kind::Tutorial => {
                body.convolution("head", Form::Standard, self.narrow(1024), 3, 2);
                let output = Shape { channels: self.classes, ..body.shape };
                let classifier = Convolution {
                    form: Form::Pointwise,
                    kernel: 1,
                    stride: 1,
                    padding: 0,
                    groups: 1,
                    normalised: false,
                };
                body.push("classifier", Op::Convolution(classifier), output);
                body.pool();
            }
        }
        body.layers
    }
}

impl Architecture {
    /// The name of the classifier: the last layer with weights.
    #[must_use]
    pub fn classifier(&self) -> String {
        let layer = self.layers().into_iter().rfind(|layer| layer.op != Op::GlobalAveragePool);
        layer.map_or_else(String::new, |layer| layer.name)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} width {} at {} px", self.kind, self.width, self.resolution)?;
        if self.stem_stride != 2 {
            write!(f, ", first stride {}", self.stem_stride)?;
        }
        Ok(())
    }
}

/// Shape of one image's activation, `[C, H, W]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(&format!("{}×{}×{}", self.channels, self.height, self.width))
    }
}

/// How a convolution connects input and output channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Every input channel to every output channel.
    Standard,
    /// One filter per channel (paper, section 3.1).
    Depthwise,
    /// 1×1: mixes channels.
    Pointwise,
}

/// A square convolution with symmetric zero padding. Its weights are `[output, input / groups, kernel, kernel]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Convolution {
    /// How it connects channels.
    pub form: Form,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Stride in both directions.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
    /// Channel groups: the number of channels for a depthwise convolution, otherwise 1.
    pub groups: usize,
    /// Whether batch norm and ReLU6 follow. No convolution has a bias of its own.
    pub normalised: bool,
}

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// A convolution, followed by batch norm and ReLU6 if it is `normalised`.
    Convolution(Convolution),
    /// Mean over all pixels of each channel.
    GlobalAveragePool,
    /// Matrix product with weights `[output, input]`, plus bias.
    Linear,
}

/// One layer, with its input and output shapes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// Unique name; the prefix of its weights in checkpoints and in the ONNX file.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Shape of its input.
    pub input: Shape,
    /// Shape of its output.
    pub output: Shape,
}

/// The layers built so far, and the output shape of the last one.
struct Body {
    layers: Vec<Layer>,
    shape: Shape,
}

impl Body {
    fn push(&mut self, name: &str, op: Op, output: Shape) {
        self.layers.push(Layer { name: name.to_owned(), op, input: self.shape, output });
        self.shape = output;
    }

    fn convolution(&mut self, name: &str, form: Form, channels: usize, kernel: usize, stride: usize) {
        let groups = if form == Form::Depthwise { self.shape.channels } else { 1 };
        let padding = kernel / 2;
        let extent = |pixels: usize| (pixels + 2 * padding - kernel) / stride + 1;
        let output = Shape { channels, height: extent(self.shape.height), width: extent(self.shape.width) };
        let convolution = Convolution { form, kernel, stride, padding, groups, normalised: true };
        self.push(name, Op::Convolution(convolution), output);
    }

    fn pool(&mut self) {
        self.push("pool", Op::GlobalAveragePool, Shape { height: 1, width: 1, ..self.shape });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output shapes of the paper's Table 1.
    #[test]
    fn the_body_has_the_shapes_of_table_1() {
        let layers = Architecture::imagenet(1.0, 224).layers();
        let shapes: Vec<_> = layers.iter().map(|layer| (layer.output.channels, layer.output.height)).collect();
        let mut expected = vec![(32, 112), (32, 112), (64, 112), (64, 56), (128, 56), (128, 56), (128, 56)];
        expected.extend([(128, 28), (256, 28), (256, 28), (256, 28), (256, 14), (512, 14)]);
        expected.extend([(512, 14); 10]);
        expected.extend([(512, 7), (1024, 7), (1024, 7), (1024, 7), (1024, 1), (1000, 1)]);
        assert_eq!(shapes, expected);
    }

    /// Recipes and cards are read by serde, flags by [`FromStr`].
    #[test]
    fn a_kind_has_one_name() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }

    #[test]
    fn narrow_layers_keep_eight_channels() {
        let narrow = Architecture::imagenet(0.1, 32);
        assert_eq!(narrow.narrow(32), 8);
        assert_eq!(narrow.narrow(1024), 102);
        assert_eq!(Architecture::imagenet(0.25, 32).narrow(32), 8);
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let good = Architecture::imagenet(0.5, 64);
        good.validate().unwrap();
        for (bad, word) in [
            (Architecture { width: 0.0, ..good.clone() }, "width multiplier 0"),
            (Architecture { width: f64::NAN, ..good.clone() }, "width multiplier NaN"),
            (Architecture { width: 1.5, ..good.clone() }, "at most 1"),
            (Architecture { resolution: 4, ..good.clone() }, "resolution 4"),
            (Architecture { channels: 0, ..good.clone() }, "0 input channels"),
            (Architecture { classes: 1, ..good.clone() }, "1 classes"),
            (Architecture { stem_stride: 3, ..good.clone() }, "stride 3"),
        ] {
            let message = bad.validate().unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}
