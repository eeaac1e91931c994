//! The end of a quantized network: `GlobalAveragePool` of bytes, and a classifier (`Gemm`) with weights of bytes. Both
//! compute floats.

// Must be inlined into the one function that is compiled for an instruction set.
#![allow(clippy::inline_always)]

use super::super::chain::Scaled;
use super::super::lanes::Lane;
use super::super::operator::{Floats, Kernel, numbers};
use super::layout::Layout;
use super::rescaling::Range;
use tract_core::internal::TractResult;
use tract_core::prelude::*;

/// Sums that are computed at the same time for an output of the classifier.
const WIDTH: usize = 32;

/// The mean of each channel of a feature map.
#[derive(Clone, Debug)]
pub struct Mean {
    range: Range,
    /// How the input is stored.
    layout: Layout,
}

impl Mean {
    /// `None` if a sum might not fit into 32 bits.
    pub fn new(layout: Layout, range: Range) -> Option<Self> {
        let pixels = layout.rows.checked_mul(layout.columns)?;
        u32::try_from(pixels.checked_mul(usize::from(u8::MAX))?).ok().map(|_| Self { range, layout })
    }
}

impl Kernel for Mean {
    fn name(&self) -> &'static str {
        "IntegerMean"
    }

    fn takes(&self) -> (DatumType, usize) {
        (u8::datum_type(), self.layout.bytes())
    }

    fn run(&self, input: &Tensor, output: &mut Tensor) -> TractResult<()> {
        let Layout { rows, columns, channels, depth, .. } = self.layout;
        let mut sums = vec![0_u32; channels];
        for pixel in self.layout.rows(numbers(input)?).flat_map(|row| row.chunks_exact(depth)) {
            sums.iter_mut().zip(pixel).for_each(|(sum, &byte)| *sum += u32::from(byte));
        }
        let pixels = rows * columns;
        let zeros = i64::from(self.range.zero) * pixels as i64;
        let mut output = output.try_as_plain_ram_mut()?;
        for (to, sum) in output.as_slice_mut::<f32>()?.iter_mut().zip(sums) {
            *to = ((i64::from(sum) - zeros) as f64 * f64::from(self.range.scale) / pixels as f64) as f32;
        }
        Ok(())
    }
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
