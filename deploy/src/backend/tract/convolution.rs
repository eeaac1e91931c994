//! Chooses the operator that computes a convolution: depthwise, or a matrix product.

use super::dense::Dense;
use super::depthwise::Depthwise;
use super::lanes::Lane;
use super::operator::Operator;
use anyhow::{Result, ensure};

/// A convolution of one image with a square kernel and the same stride in both directions.
pub(super) struct Convolution {
    /// Channels, rows and columns of the input.
    pub input: [usize; 3],
    /// Rows and columns of the output.
    pub output: [usize; 2],
    /// Groups of channels.
    pub groups: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Stride of rows and columns.
    pub stride: usize,
    /// Rows of zeros above the input, and columns to its left.
    pub padding: [usize; 2],
    /// `[outputs, inputs / groups, kernel, kernel]`.
    pub weights: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
    /// Lower and upper bound of the results; 0 and 6 for ReLU6.
    pub clamp: [f32; 2],
}

impl Convolution {
    /// Returns the operator, whose output has this `shape`. Errors if no operator of ours computes this convolution.
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
