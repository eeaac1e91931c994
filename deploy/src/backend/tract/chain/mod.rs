//! Reads graphs written by `train export` straight into the steps that they compute.
//!
//! In a network without branches, one value passes from node to node. Reading it as such skips what a general graph
//! needs before it runs fast: shape inference, pattern matching and constant folding. Those take most of the time until
//! the first answer. Any other graph is rejected as [`Foreign`], with the reason.
//!
//! `reader` follows the nodes; `attributes` and `constants` read what it finds there.

mod attributes;
mod constants;
mod reader;
#[cfg(test)]
mod tests;

use models::onnx::proto::ModelProto;
use reader::Reader;
use std::fmt;

/// What a graph computes, as a sequence of steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// The steps, in the order in which they run.
    pub steps: Vec<Step>,
    /// The graph's name for the value after each step.
    pub values: Vec<String>,
}

/// One step, from one value to the next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Converts bytes to floats, scales and shifts them per channel (`Cast`, `Mul`, `Add`), and then optionally resizes
    /// (`Resize`, bilinear, half-pixel centres).
    Pixels {
        /// One factor per channel.
        scale: Vec<f32>,
        /// One summand per channel.
        shift: Vec<f32>,
        /// Scale factors of rows and columns; `None` if nothing is resized.
        factors: Option<[f32; 2]>,
    },
    /// A convolution, with its results clamped (`Conv`, `Clip`).
    Convolution(Convolution),
    /// Rounds to the nearest value that 8 bits can represent (`QuantizeLinear`, `DequantizeLinear`).
    Rounded {
        /// Distance between two representable values.
        scale: f32,
        /// Zero point: the byte that stands for 0.
        zero: u8,
    },
    /// Mean of each channel (`GlobalAveragePool`).
    Mean,
    /// `[N, C, 1, 1]` to `[N, C]` (`Flatten`).
    Flattened,
    /// Matrix product and bias (`Gemm`).
    Linear {
        /// `[outputs, inputs]`.
        weights: Numbers,
        /// `[outputs]`.
        bias: Vec<f32>,
    },
    /// `Softmax` over the classes.
    Softmax,
}

/// A convolution of `[1, C, H, W]` with a square kernel, one stride, and the same zero padding on all sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// `[outputs, inputs / groups, kernel, kernel]`.
    pub weights: Numbers,
    /// Input channels of each group.
    pub inputs_per_group: usize,
    /// `[outputs]`; zeros if the graph has no bias.
    pub bias: Numbers,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Stride in both directions.
    pub stride: usize,
    /// Rows and columns of zeros on each side.
    pub padding: usize,
    /// Number of channel groups.
    pub groups: usize,
    /// Lower and upper bound of the results.
    pub clamp: [f32; 2],
}

/// The weights or the bias of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    Floats(Vec<f32>),
    /// Weights of an int8 file.
    Bytes(Scaled<i8>),
    /// The bias of an int8 file.
    Integers(Scaled<i32>),
}

/// Integers with a scale for each output (`DequantizeLinear` without a zero point).
#[derive(Clone, Debug, PartialEq)]
pub struct Scaled<T> {
    /// The output is the first axis.
    pub values: Vec<T>,
    pub scales: Vec<f32>,
}

impl Numbers {
    pub fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Bytes(bytes) => bytes.values.len(),
            Self::Integers(integers) => integers.values.len(),
        }
    }

    /// The numbers as floats.
    pub fn floats(self) -> Vec<f32> {
        match self {
            Self::Floats(values) => values,
            Self::Bytes(bytes) => bytes.floats(|&byte| f32::from(byte)),
            Self::Integers(integers) => integers.floats(|&integer| integer as f32),
        }
    }
}

impl<T> Scaled<T> {
    fn floats(self, float: impl Fn(&T) -> f32) -> Vec<f32> {
        let per_output = (self.values.len() / self.scales.len().max(1)).max(1);
        let rows = self.values.chunks(per_output).zip(self.scales);
        rows.flat_map(|(row, scale)| row.iter().map(|value| float(value) * scale).collect::<Vec<_>>()).collect()
    }
}

/// Why a graph is not one that `train export` writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign(String);

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Chain {
    /// Reads the steps up to the output of this name.
    pub fn read(model: &ModelProto, output: &str) -> Result<Self, Foreign> {
        let graph = model.graph.as_ref().ok_or_else(|| Foreign("it has no graph".to_owned()))?;
        Reader::new(graph)?.read(output)
    }
}

type Reading<T> = Result<T, Foreign>;

fn foreign<T>(why: impl Into<String>) -> Reading<T> {
    Err(Foreign(why.into()))
}

fn expect(fits: bool, what: &str) -> Reading<()> {
    if fits { Ok(()) } else { foreign(what) }
}
