//! Convolutions of all input channels with all output channels, computed as matrix products. Those with 1×1 kernels
//! make up 95 % of MobileNetV1's multiply-adds (paper, table 2).
//!
//! On x86-64 the products are our own (`product`). Elsewhere they are those of tract-linalg, which has hand-written
//! code for many ARM cores. `windows` unfolds the input of larger kernels into a matrix.

mod linalg;
#[cfg(target_arch = "x86_64")]
mod product;
mod windows;

#[cfg(test)]
mod tests;

use super::lanes::Lane;
use super::operator::{Kernel, numbers};
use anyhow::{Context, Result};
use linalg::Linalg;
#[cfg(target_arch = "x86_64")]
use product::Product;
use std::sync::Arc;
use tract_core::internal::TractResult;
use tract_core::prelude::*;

/// A convolution with one group, for one image. A plain matrix product is a 1×1 convolution of one pixel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dense {
    /// Channels, rows and columns of the input.
    pub input: [usize; 3],
    /// Rows and columns of the output.
    pub output: [usize; 2],
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Stride of rows and columns.
    pub stride: usize,
    /// Rows of zeros above the input, and columns to its left.
    pub padding: [usize; 2],
    /// `[outputs, inputs, kernel, kernel]`.
    pub weights: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
    /// Lower and upper bound of the results; 0 and 6 for ReLU6.
    pub clamp: [f32; 2],
}

impl Dense {
    /// Prepares the convolution for the fastest of the lanes.
    pub fn kernel(self, lanes: &[Lane]) -> Result<impl Kernel> {
        let Self { input: [channels, height, width], output, kernel, stride, .. } = self;
        let depth = self.depth().context("a convolution of sizes that do not fit together")?;
        let matrix = Matrix { weights: self.weights, depth, bias: self.bias, clamp: self.clamp };
        let pixels = output[0] * output[1];
        let whole = kernel == 1 && stride == 1 && output == [height, width] && self.padding == [0, 0];
        let windows = windows::Windows { input: self.input, output, kernel, stride, padding: self.padding };
        Ok(Ready {
            taken: channels * height * width,
            pixels,
            windows: (!whole).then_some(windows),
            multiplier: multiplier(matrix, pixels, lanes)?,
        })
    }
}

impl Dense {
    /// Number of inputs per output, or `None` if the sizes do not fit together. All other code relies on this check.
    fn depth(&self) -> Option<usize> {
        let [channels, height, width] = self.input;
        let extents = [channels, height, width, self.output[0], self.output[1], self.kernel, self.stride];
        let depth = channels.checked_mul(self.kernel)?.checked_mul(self.kernel)?;
        // Size of the largest matrix, in bytes.
        let pixels = self.output[0].max(height).checked_mul(self.output[1].max(width))?;
        let bytes = pixels.checked_mul(depth.max(self.bias.len()))?.checked_mul(size_of::<f32>())?;
        let fits = !extents.contains(&0) && isize::try_from(bytes).is_ok();
        (fits && depth.checked_mul(self.bias.len())? == self.weights.len() && !self.bias.is_empty()).then_some(depth)
    }
}

/// Names the code that computes a chain on this processor, for people.
pub(super) fn provider(lanes: &[Lane]) -> String {
    let name = lanes.first().map_or("scalar", |lane| lane.name());
    #[cfg(target_arch = "x86_64")]
    if Product::lane(lanes, usize::MAX).is_some() {
        return format!("own convolutions ({name})");
    }
    #[cfg(target_arch = "arm")]
    if lanes.first() == Some(&Lane::Neon) {
        return format!("own convolutions ({name})");
    }
    format!("own depthwise ({name}), tract-linalg")
}

/// Picks the fastest multiplier on this processor.
fn multiplier(matrix: Matrix, pixels: usize, lanes: &[Lane]) -> Result<Arc<dyn Multiplier>> {
    #[cfg(target_arch = "x86_64")]
    if let Some(lane) = Product::lane(lanes, pixels) {
        return Ok(Arc::new(Product::new(lane, &matrix)));
    }
    let _ = lanes;
    Ok(Arc::new(Linalg::new(matrix, pixels)?))
}

/// The constant left-hand matrix of a product, with its bias and bounds.
struct Matrix {
    /// `[outputs, depth]`, row-major.
    weights: Vec<f32>,
    depth: usize,
    /// `[outputs]`.
    bias: Vec<f32>,
    clamp: [f32; 2],
}

/// Multiplies a [`Matrix`] with `[depth, pixels]`, adds the bias, clamps and returns `[outputs, pixels]`.
trait Multiplier: std::fmt::Debug + Send + Sync {
    fn multiply(&self, pixels: usize, input: &Tensor, output: &mut Tensor) -> TractResult<()>;
}

/// A convolution that is ready to run.
#[derive(Debug)]
struct Ready {
    taken: usize,
    pixels: usize,
    /// How to unfold the input into a matrix; `None` if it is used as it is.
    windows: Option<windows::Windows>,
    multiplier: Arc<dyn Multiplier>,
}

impl Kernel for Ready {
    fn name(&self) -> &'static str {
        "Dense"
    }

    fn takes(&self) -> (DatumType, usize) {
        (f32::datum_type(), self.taken)
    }

    fn run(&self, input: &Tensor, output: &mut Tensor) -> TractResult<()> {
        match &self.windows {
            Some(windows) => self.multiplier.multiply(self.pixels, &windows.matrix(numbers(input)?)?, output),
            None => self.multiplier.multiply(self.pixels, input, output),
        }
    }
}
