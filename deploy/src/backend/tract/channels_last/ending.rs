//! The end of a network: `GlobalAveragePool`, and a classifier (`Gemm`) with weights of bytes. Both compute floats.

// Must be inlined into the one function that is compiled for an instruction set.
#![allow(clippy::inline_always)]

use super::super::chain::Scaled;
use super::super::lanes::Lane;
use super::super::operator::{Floats, Kernel, numbers};
use super::layout::Layout;
use super::rescaling::Range;
use std::ops::AddAssign;
use tract_core::internal::TractResult;
use tract_core::prelude::*;

/// Sums that are computed at the same time for an output of the classifier.
const WIDTH: usize = 32;

/// The mean of each channel of a feature map.
#[derive(Clone, Debug)]
pub enum Mean {
    Bytes(Layout, Range),
    Floats(Layout),
}

impl Kernel for Mean {
    fn name(&self) -> &'static str {
        "Mean"
    }

    fn takes(&self) -> (DatumType, usize) {
        match self {
            Self::Bytes(layout, _) => (u8::datum_type(), layout.len()),
            Self::Floats(layout) => (f32::datum_type(), layout.len()),
        }
    }

    fn run(&self, input: &Tensor, output: &mut Tensor) -> TractResult<()> {
        let mut output = output.try_as_plain_ram_mut()?;
        let output = output.as_slice_mut::<f32>()?;
        match *self {
            Self::Bytes(layout, Range { scale, zero }) => {
                let zeros = f64::from(zero) * (layout.rows * layout.columns) as f64;
                let sums = sums(layout, numbers(input)?, 0, |byte: u8| u32::from(byte));
                let steps = sums.map(|sum| (sum - zeros) * f64::from(scale));
                output.iter_mut().zip(means(layout, steps)).for_each(|(to, mean)| *to = mean);
            }
            Self::Floats(layout) => {
                let sums = sums(layout, numbers(input)?, 0.0, |float: f32| float);
                output.iter_mut().zip(means(layout, sums)).for_each(|(to, mean)| *to = mean);
            }
        }
        Ok(())
    }
}

/// The sum of each channel. Within a row, sums have the type `S`, which is faster, and larger ones would lose digits.
fn sums<T: Copy, S: AddAssign + Copy + Into<f64>>(
    layout: Layout,
    input: &[T],
    zero: S,
    value: impl Fn(T) -> S,
) -> impl Iterator<Item = f64> {
    let mut sums = vec![0.0; layout.channels];
    for row in layout.rows(input) {
        let mut of_row = vec![zero; layout.channels];
        for pixel in row.chunks_exact(layout.depth) {
            of_row.iter_mut().zip(pixel).for_each(|(sum, &channel)| *sum += value(channel));
        }
        sums.iter_mut().zip(of_row).for_each(|(sum, row)| *sum += row.into());
    }
    sums.into_iter()
}

fn means(layout: Layout, sums: impl Iterator<Item = f64>) -> impl Iterator<Item = f32> {
    let pixels = (layout.rows * layout.columns) as f64;
    sums.map(move |sum| (sum / pixels) as f32)
}

/// A matrix product with weights of bytes: a quarter of the memory of floats, which is what takes the time.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[outputs, inputs]`.
    pub weights: Scaled<i8>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
    /// Number of inputs.
    pub inputs: usize,
    /// The widest lane of the processor.
    pub lane: Lane,
}

impl Linear {
    /// Compiled once for each instruction set, with the same order of additions.
    #[inline(always)]
    fn multiply(&self, input: &[f32], output: &mut [f32]) {
        let rows = self.weights.values.chunks_exact(self.inputs).zip(&self.weights.scales);
        for ((to, bias), (row, scale)) in output.iter_mut().zip(&self.bias).zip(rows) {
            let mut sums = [0.0_f32; WIDTH];
            let (inputs, weights) = (input.as_chunks::<WIDTH>(), row.as_chunks::<WIDTH>());
            for (inputs, weights) in inputs.0.iter().zip(weights.0) {
                for ((sum, value), &weight) in sums.iter_mut().zip(inputs).zip(weights) {
                    *sum += value * f32::from(weight);
                }
            }
            let rest: f32 = inputs.1.iter().zip(weights.1).map(|(value, &weight)| value * f32::from(weight)).sum();
            *to = (sums.iter().sum::<f32>() + rest) * scale + bias;
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn multiply_avx512(&self, input: &[f32], output: &mut [f32]) {
        self.multiply(input, output);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn multiply_avx2(&self, input: &[f32], output: &mut [f32]) {
        self.multiply(input, output);
    }
}

impl Floats for Linear {
    fn name(&self) -> &'static str {
        "Linear"
    }

    fn count(&self) -> usize {
        self.inputs
    }

    fn compute(&self, input: &[f32], output: &mut [f32]) {
        match self.lane {
            // SAFETY: the processor has this lane: lanes come from `Lane::available`.
            #[cfg(target_arch = "x86_64")]
            Lane::Avx512 => unsafe { self.multiply_avx512(input, output) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Lane::Avx2 | Lane::Avx2Half => unsafe { self.multiply_avx2(input, output) },
            _ => self.multiply(input, output),
        }
    }
}
