//! Convolutions of each channel with a 3×3 kernel of its own.
//!
//! Some channels are computed at once, pixel after pixel along a row, so that each column of the input is read once and
//! used for three pixels. With a stride of 1, two rows are computed together: a column then has four rows, of which
//! each result uses three, with a weight of 0 for the fourth.

// Must be inlined into the one function that is compiled for an instruction set (see `vectors`).
#![allow(clippy::inline_always)]

use super::vectors::{self, Instructions, Taps};
use super::{Bytes, CHANNELS, Integers, Layout, Shared, parallel};
use std::ops::Range;

/// Rows and columns of a kernel.
const TAPS: usize = 3;

/// Rows of a column.
const ROWS: usize = 4;

/// A depthwise convolution with 3×3 kernels, for one image.
#[derive(Debug)]
pub(super) struct Depthwise {
    instructions: Instructions,
    input: Layout,
    output: Layout,
    /// Of rows and columns, 1 or 2.
    stride: usize,
    /// `[channels, 3, 3]`, as they are stored in the file.
    weights: Weights,
    /// Padded to a multiple of [`CHANNELS`].
    bias: Vec<i32>,
    /// As many.
    factors: Vec<f32>,
    zero: u8,
}

/// For each vector of channels and each column of the kernels: the weights of [`ROWS`] rows, once as the kernels' rows
/// and 0, and once as 0 and the kernels' rows.
#[derive(Debug)]
enum Weights {
    Bytes(Vec<i8>),
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    Words(Vec<i16>),
}

/// Lays out `[channels, 3, 3]` weights.
fn lay_out<V: Taps>(weights: &[i8]) -> Vec<V::Weight> {
    let channels = weights.len() / (TAPS * TAPS);
    let vectors = channels.next_multiple_of(CHANNELS) / V::WIDTH;
    let each = ROWS * V::WIDTH;
    let mut laid_out = vec![V::Weight::default(); vectors * 2 * TAPS * each];
    for (place, &weight) in weights.iter().enumerate() {
        let (channel, row, column) = (place / (TAPS * TAPS), place / TAPS % TAPS, place % TAPS);
        let (vector, lane) = (channel / V::WIDTH, channel % V::WIDTH);
        for shift in 0..2 {
            let start = ((vector * TAPS + column) * 2 + shift) * each;
            laid_out[start + V::place(lane, row + shift)] = weight.into();
        }
    }
    laid_out
}

impl Depthwise {
    /// Prepares a convolution with this stride, 1 or 2. The border of the input must be as wide as its padding.
    pub fn new(
        instructions: Instructions,
        (input, output): (Layout, Layout),
        stride: usize,
        integers: Integers,
    ) -> Self {
        let Integers { weights, mut bias, rescaling } = integers;
        let weights = match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Vnni => Weights::Bytes(lay_out::<vectors::VnniTaps>(&weights)),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => Weights::Words(lay_out::<vectors::Avx2Taps>(&weights)),
            #[cfg(target_arch = "aarch64")]
            Instructions::DotProduct | Instructions::Neon => Weights::Words(lay_out::<vectors::NeonTaps>(&weights)),
            Instructions::Scalar => Weights::Bytes(lay_out::<vectors::ScalarTaps>(&weights)),
        };
        bias.resize(bias.len().next_multiple_of(CHANNELS), 0);
        Self { instructions, input, output, stride, weights, bias, factors: rescaling.factors, zero: rescaling.zero }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn run_vnni(&self, weights: &[i8], input: &[u8], output: Shared<u8>, part: Part) {
        // SAFETY: this function is compiled for the instruction set.
        unsafe { self.run::<vectors::VnniTaps>(weights, input, output, part) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn run_avx2(&self, weights: &[i16], input: &[u8], output: Shared<u8>, part: Part) {
        // SAFETY: this function is compiled for the instruction set.
        unsafe { self.run::<vectors::Avx2Taps>(weights, input, output, part) }
    }

    /// Computes a part of the output.
    ///
    /// # Safety
    /// The processor must have the instruction set of `V`. Nothing else may use this part of the output.
    #[inline(always)]
    unsafe fn run<V: Taps>(&self, weights: &[V::Weight], input: &[u8], output: Shared<u8>, part: Part) {
        assert_eq!(input.len(), self.input.bytes(), "bytes of the input");
        assert_eq!(weights.len(), 2 * TAPS * ROWS * self.bias.len(), "weights laid out for this instruction set");
        let Part { rows, channels } = part;
        let mut row = rows.start;
        while row < rows.end {
            // Two rows, if they share a column of four.
            let two = self.stride == 1 && row + 2 <= rows.end;
            for channel in channels.clone().step_by(V::WIDTH) {
                // SAFETY: guaranteed by the caller. The input holds all rows and columns that the output's need.
                unsafe {
                    match (two, self.stride) {
                        (true, _) => self.line::<V, 1, 2>(weights, input, output, row, channel),
                        (false, 1) => self.line::<V, 1, 1>(weights, input, output, row, channel),
                        (false, _) => self.line::<V, 2, 1>(weights, input, output, row, channel),
                    }
                }
            }
            row += if two { 2 } else { 1 };
        }
    }

    /// Cuts the work by rows, or by channels if there are too few rows to share them out evenly.
    fn part(&self, part: usize, parts: usize) -> Part {
        let (rows, vectors) = (0..self.output.rows, 0..self.bias.len() / CHANNELS);
        if rows.len() < 8 * parts && vectors.len() >= parts {
            let Range { start, end } = parallel::part(vectors, part, parts);
            Part { rows, channels: start * CHANNELS..end * CHANNELS }
        } else {
            // An even number of rows, which are computed in pairs.
            let Range { start, end } = parallel::part(0..rows.len().div_ceil(2), part, parts);
            Part { rows: 2 * start..(2 * end).min(rows.len()), channels: 0..self.bias.len() }
        }
    }

    /// Computes `COUNT` rows of a vector of channels.
    #[inline(always)]
    unsafe fn line<V: Taps, const STRIDE: usize, const COUNT: usize>(
        &self,
        weights: &[V::Weight],
        input: &[u8],
        output: Shared<u8>,
        row: usize,
        channel: usize,
    ) {
        let (pitch, depth) = (self.input.pitch(), self.input.depth);
        // The fourth row counts only for a second result; otherwise any row will do, since its weights are 0.
        let last = if COUNT == 2 { 3 } else { 2 };
        let output = |row: usize| {
            let count = (self.output.columns - 1) * self.output.depth + V::WIDTH;
            output.at(self.output.pixel(row, 0) + channel, count)
        };
        let to = [output(row), output(row + COUNT - 1)];
        // SAFETY: guaranteed by the caller.
        unsafe {
            let rows = [0, 1, 2, last].map(|tap| input.as_ptr().add((row * STRIDE + tap) * pitch + channel));
            let column = |index: usize| V::column(rows.map(|row| row.add(index * depth)));
            let weights = weights.as_ptr().add(2 * TAPS * ROWS * channel);
            let (bias, factors) = (self.bias.as_ptr().add(channel), self.factors.as_ptr().add(channel));
            let (mut left, mut middle) = (column(0), column(1));
            for index in 0..self.output.columns {
                let right = column(index * STRIDE + 2);
                let (mut first, mut second) = (V::start(bias), V::start(bias));
                for (number, column) in [left, middle, right].into_iter().enumerate() {
                    let weights = weights.add(2 * number * ROWS * V::WIDTH);
                    first = first.plus::<0>(column, weights);
                    second = second.plus::<1>(column, weights);
                }
                let place = index * self.output.depth;
                first.store(factors, self.zero, to[0].add(place));
                if COUNT == 2 {
                    second.store(factors, self.zero, to[1].add(place));
                }
                if STRIDE == 1 {
                    (left, middle) = (middle, right);
                } else if index + 1 < self.output.columns {
                    (left, middle) = (right, column(index * STRIDE + 3));
                }
            }
        }
    }
}

/// A part of the output.
struct Part {
    rows: Range<usize>,
    channels: Range<usize>,
}

impl Bytes for Depthwise {
    fn name(&self) -> &'static str {
        "IntegerDepthwise3x3"
    }

    fn takes(&self) -> Layout {
        self.input
    }

    fn gives(&self) -> Layout {
        self.output
    }

    fn zero(&self) -> u8 {
        self.zero
    }

    fn operations(&self) -> usize {
        // They take about as long as eight times as many of a dense convolution.
        8 * TAPS * TAPS * self.output.bytes()
    }

    fn compute(&self, input: &[u8], output: Shared<u8>, part: usize, parts: usize) {
        let part = self.part(part, parts);
        // SAFETY: the processor has the instruction set, for which `new` laid out the weights: instructions come from
        // `Instructions::available`.
        unsafe {
            match (self.instructions, &self.weights) {
                #[cfg(target_arch = "x86_64")]
                (Instructions::Vnni, Weights::Bytes(weights)) => self.run_vnni(weights, input, output, part),
                #[cfg(target_arch = "x86_64")]
                (_, Weights::Words(weights)) => self.run_avx2(weights, input, output, part),
                #[cfg(target_arch = "aarch64")]
                (_, Weights::Words(weights)) => self.run::<vectors::NeonTaps>(weights, input, output, part),
                (_, Weights::Bytes(weights)) => self.run::<vectors::ScalarTaps>(weights, input, output, part),
            }
        }
    }
}
