//! Which of our operators computes a convolution: one for each plane by itself, or a matrix product.

use super::dense::Dense;
use super::depthwise::Depthwise;
use super::lanes::Lane;
use super::operator::Operator;
use anyhow::{Result, ensure};

/// A convolution of one picture with a square kernel and the same stride in both directions.
pub(super) struct Convolution {
    /// Channels, rows and columns of the input.
    pub input: [usize; 3],
    /// Rows and columns of the output.
    pub output: [usize; 2],
    /// Groups of channels.
    pub groups: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// For rows and columns.
    pub stride: usize,
    /// Rows of zeros above the input, and columns to its left.
    pub padding: [usize; 2],
    /// `[outputs, inputs / groups, kernel, kernel]`.
    pub weights: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
    /// What the results are brought between: ReLU6 is 0 and 6.
    pub clamp: [f32; 2],
}

impl Convolution {
    /// The operator, which yields the `shape`.
    pub fn operator(self, lanes: &[Lane], shape: &[usize]) -> Result<Operator> {
        let Self { input, output, groups, kernel, stride, padding, weights, bias, clamp } = self;
        let ([channels, height, width], outputs) = (input, bias.len());
        let own_plane = groups == channels && outputs == channels;
        if kernel == 3 && matches!(stride, 1 | 2) && (own_plane || channels == 1) {
            let input = [height, width];
            let depthwise =
                Depthwise { channels: outputs, own_plane, input, output, stride, padding, weights, bias, clamp };
            return Ok(Operator::new(depthwise.kernel(lanes)?, shape));
        }
        ensure!(groups == 1, "{groups} groups of {channels} channels: expected 1, or 3x3 kernels and a group for each");
        let dense = Dense { input, output, kernel, stride, padding, weights, bias, clamp };
        Ok(Operator::new(dense.kernel(lanes)?, shape))
    }
}
