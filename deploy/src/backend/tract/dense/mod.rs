//! Convolutions of every input channel with every output channel, as matrix products: 95 % of MobileNetV1's
//! multiply-adds are in those of 1×1 (paper, table 2).
//!
//! On x86-64 the products are our own (`product`), elsewhere those of tract-linalg, which has code for many ARM cores by
//! hand. `windows` makes a matrix of what a larger kernel sees.

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

/// A convolution with one group, for one picture. A matrix product is one of 1×1 for one pixel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dense {
    /// Channels, rows and columns of the input.
    pub input: [usize; 3],
    /// Rows and columns of the output.
    pub output: [usize; 2],
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// For rows and columns.
    pub stride: usize,
    /// Rows of zeros above the input, and columns to its left.
    pub padding: [usize; 2],
    /// `[outputs, inputs, kernel, kernel]`.
    pub weights: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
    /// What the results are brought between: ReLU6 is 0 and 6.
    pub clamp: [f32; 2],
}

impl Dense {
    /// Makes it ready for the fastest of the lanes.
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
    /// Numbers of the input that each output is made of, if the sizes fit together. All else relies on it.
    fn depth(&self) -> Option<usize> {
        let [channels, height, width] = self.input;
        let extents = [channels, height, width, self.output[0], self.output[1], self.kernel, self.stride];
        let depth = channels.checked_mul(self.kernel)?.checked_mul(self.kernel)?;
        // The largest matrix, in bytes.
        let pixels = self.output[0].max(height).checked_mul(self.output[1].max(width))?;
        let bytes = pixels.checked_mul(depth.max(self.bias.len()))?.checked_mul(size_of::<f32>())?;
        let fits = !extents.contains(&0) && isize::try_from(bytes).is_ok();
        (fits && depth.checked_mul(self.bias.len())? == self.weights.len() && !self.bias.is_empty()).then_some(depth)
    }
}

/// What computes a chain on this processor, for people.
pub(super) fn provider(lanes: &[Lane]) -> String {
    let name = lanes.first().map_or("scalar", |lane| lane.name());
    #[cfg(target_arch = "x86_64")]
    if Product::lane(lanes, usize::MAX).is_some() {
        return format!("own convolutions ({name})");
    }
    format!("own depthwise ({name}), tract-linalg")
}

/// The best way to multiply here.
fn multiplier(matrix: Matrix, pixels: usize, lanes: &[Lane]) -> Result<Arc<dyn Multiplier>> {
    #[cfg(target_arch = "x86_64")]
    if let Some(lane) = Product::lane(lanes, pixels) {
        return Ok(Arc::new(Product::new(lane, &matrix)));
    }
    let _ = lanes;
    Ok(Arc::new(Linalg::new(matrix, pixels)?))
}

/// The right side of a product.
struct Matrix {
    /// `[outputs, depth]`, row-major.
    weights: Vec<f32>,
    depth: usize,
    /// `[outputs]`.
    bias: Vec<f32>,
    clamp: [f32; 2],
}

/// Something that multiplies a [`Matrix`] with `[depth, pixels]`, adds the bias, clamps and yields `[outputs, pixels]`.
trait Multiplier: std::fmt::Debug + Send + Sync {
    fn multiply(&self, pixels: usize, input: &Tensor, output: &mut Tensor) -> TractResult<()>;
}

/// A convolution that can run.
#[derive(Debug)]
struct Ready {
    taken: usize,
    pixels: usize,
    /// How the matrix is made of the input, if it is not the input as it is.
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
