//! The graphs that `train export` writes, read straight into what they compute.
//!
//! A MobileNet without branches is one value that goes from node to node. Read as such, it needs none of what a graph
//! from anywhere needs before it can run fast: no inference of shapes, no search for what belongs together, no folding
//! of constants. That is most of the time until a first answer. Every other graph is [`Foreign`], and says why.
//!
//! `reader` goes from node to node, `attributes` and `constants` are what it finds there.

mod attributes;
mod constants;
mod reader;
#[cfg(test)]
mod tests;

use models::onnx::proto::ModelProto;
use reader::Reader;
use std::fmt;

/// What a graph computes, one step after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// The steps, in the order of the data.
    pub steps: Vec<Step>,
    /// The graph's name for the value after each of them.
    pub values: Vec<String>,
}

/// What a value becomes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Bytes to floats, scaled and shifted per channel (`Cast`, `Mul`, `Add`), then resized to so many times the rows
    /// and columns (`Resize`, bilinear, half pixels), if it is.
    Pixels {
        /// Per channel.
        scale: Vec<f32>,
        /// Per channel.
        shift: Vec<f32>,
        /// Of rows and columns.
        factors: Option<[f32; 2]>,
    },
    /// A convolution, brought between two numbers (`Conv`, `Clip`).
    Convolution(Convolution),
    /// To the nearest number that 8 bits can tell (`QuantizeLinear`, `DequantizeLinear`).
    Rounded {
        /// Step between two numbers.
        scale: f32,
        /// What 0 is stored as.
        zero: u8,
    },
    /// Mean of each channel (`GlobalAveragePool`).
    Mean,
    /// `[N, C, 1, 1]` to `[N, C]` (`Flatten`).
    Flattened,
    /// Matrix product and bias (`Gemm`).
    Linear {
        /// `[outputs, inputs]`.
        weights: Vec<f32>,
        /// `[outputs]`.
        bias: Vec<f32>,
    },
    /// `Softmax` over the classes.
    Softmax,
}

/// A convolution of `[1, C, H, W]` with a square kernel, the same stride and zeros on all sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// `[outputs, inputs / groups, kernel, kernel]`.
    pub weights: Vec<f32>,
    /// Input channels of each group.
    pub inputs_per_group: usize,
    /// `[outputs]`; zeros where the graph has none.
    pub bias: Vec<f32>,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Rows and columns of zeros on each side.
    pub padding: usize,
    /// Groups of channels.
    pub groups: usize,
    /// What the results are brought between.
    pub clamp: [f32; 2],
}

/// Why a graph is none of `train export`'s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign(String);

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Chain {
    /// Reads the steps to the output of this name.
    pub fn of(model: &ModelProto, output: &str) -> Result<Self, Foreign> {
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
