//! Convolutions of each channel with a 3×3 kernel of its own.
//!
//! Some channels are computed at once, pixel after pixel along a row, so that each column of the input is read once and
//! used for three pixels. With a stride of 1, two rows are computed together: a column then has four rows, of which
//! each result uses three, with a weight of 0 for the fourth.

// Must be inlined into the one function that is compiled for an instruction set (see `vectors`).
#![allow(clippy::inline_always)]

use super::vectors::{Columns, Taps};
use super::{CHANNELS, Constants, Layouts, Parts, Shared, parallel};
use std::ops::Range;

/// Rows and columns of a kernel.
const TAPS: usize = 3;

/// Rows of a column.
const ROWS: usize = 4;

/// A depthwise convolution with 3×3 kernels, for one image.
#[derive(Debug)]
pub struct Depthwise<V: Taps> {
    layouts: Layouts,
    /// Of rows and columns, 1 or 2.
    stride: usize,
    /// For each vector of channels and each column of the kernels: the weights of [`ROWS`] rows, once as the kernels'
    /// rows and 0, and once as 0 and the kernels' rows.
    weights: Vec<V::Weight>,
    /// Padded to a multiple of [`CHANNELS`].
    bias: Vec<V::Sum>,
    ending: V::Ending,
}

/// A part of the output.
pub struct Part {
    rows: Range<usize>,
    channels: Range<usize>,
}

impl<V: Taps> Depthwise<V> {
    /// Prepares a convolution with `[channels, 3, 3]` weights and this stride, 1 or 2.
    pub(super) fn new<W: Copy>(layouts: Layouts, stride: usize, constants: Constants<W, V::Sum, V::Ending>) -> Self
    where
        V::Weight: From<W>,
    {
        let Constants { weights: stored, mut bias, ending } = constants;
        bias.resize(bias.len().next_multiple_of(CHANNELS), V::Sum::default());
        let each = ROWS * V::WIDTH;
        let mut weights = vec![V::Weight::default(); bias.len() / V::WIDTH * 2 * TAPS * each];
        for (place, &weight) in stored.iter().enumerate() {
            let (channel, row, column) = (place / (TAPS * TAPS), place / TAPS % TAPS, place % TAPS);
            let (vector, lane) = (channel / V::WIDTH, channel % V::WIDTH);
            for shift in 0..2 {
                let start = ((vector * TAPS + column) * 2 + shift) * each;
                weights[start + V::place(lane, row + shift)] = weight.into();
            }
        }
        Self { layouts, stride, weights, bias, ending }
    }

    /// Cuts the work by rows, or by channels if there are too few rows to share them out evenly.
    fn part(&self, part: usize, parts: usize) -> Part {
        let (rows, vectors) = (0..self.layouts.output.rows, 0..self.bias.len() / CHANNELS);
        if rows.len() < 8 * parts && vectors.len() >= parts {
            let Range { start, end } = parallel::part(vectors, part, parts);
            Part { rows, channels: start * CHANNELS..end * CHANNELS }
        } else {
            // An even number of rows, which are computed in pairs.
            let Range { start, end } = parallel::part(0..rows.len().div_ceil(2), part, parts);
            Part { rows: 2 * start..(2 * end).min(rows.len()), channels: 0..self.bias.len() }
        }
    }
}

impl<V: Columns> Depthwise<V> {
    /// Computes a part of the output.
    ///
    /// # Safety
    /// The processor must have the instruction set of `V`. The input must have all its values, and nothing else may use
    /// this part of the output.
    #[inline(always)]
    pub(super) unsafe fn run(&self, input: &[V::Value], output: Shared<V::Value>, part: Part) {
        let Part { rows, channels } = part;
        let mut row = rows.start;
        while row < rows.end {
            // Two rows, if they share a column of four.
            let two = self.stride == 1 && row + 2 <= rows.end;
            for channel in channels.clone().step_by(V::WIDTH) {
                // SAFETY: guaranteed by the caller. The input holds all rows and columns that the output's need.
                unsafe {
                    match (two, self.stride) {
                        (true, _) => self.line::<1, 2>(input, output, row, channel),
                        (false, 1) => self.line::<1, 1>(input, output, row, channel),
                        (false, _) => self.line::<2, 1>(input, output, row, channel),
                    }
                }
            }
            row += if two { 2 } else { 1 };
        }
    }

    /// Computes `COUNT` rows of a vector of channels.
    #[inline(always)]
    unsafe fn line<const STRIDE: usize, const COUNT: usize>(
        &self,
        input: &[V::Value],
        output: Shared<V::Value>,
        row: usize,
        channel: usize,
    ) {
        let Layouts { input: taken, output: given } = self.layouts;
        let (pitch, depth) = (taken.pitch(), taken.depth);
        // The fourth row counts only for a second result; otherwise any row will do, since its weights are 0.
        let last = if COUNT == 2 { 3 } else { 2 };
        let output = |row: usize| {
            let count = (given.columns - 1) * given.depth + V::WIDTH;
            output.at(given.pixel(row, 0) + channel, count)
        };
        let to = [output(row), output(row + COUNT - 1)];
        // SAFETY: guaranteed by the caller.
        unsafe {
            let rows = [0, 1, 2, last].map(|tap| input.as_ptr().add((row * STRIDE + tap) * pitch + channel));
            let column = |index: usize| V::column(rows.map(|row| row.add(index * depth)));
            let weights = self.weights.as_ptr().add(2 * TAPS * ROWS * channel);
            let bias = self.bias.as_ptr().add(channel);
            let (mut left, mut middle) = (column(0), column(1));
            for index in 0..given.columns {
                let right = column(index * STRIDE + 2);
                let (mut first, mut second) = (V::start(bias), V::start(bias));
                for (number, column) in [left, middle, right].into_iter().enumerate() {
                    let weights = weights.add(2 * number * ROWS * V::WIDTH);
                    first = first.plus::<0>(column, weights);
                    second = second.plus::<1>(column, weights);
                }
                let place = index * given.depth;
                first.store(&self.ending, channel, to[0].add(place));
                if COUNT == 2 {
                    second.store(&self.ending, channel, to[1].add(place));
                }
                if STRIDE == 1 {
                    (left, middle) = (middle, right);
                } else if index + 1 < given.columns {
                    (left, middle) = (right, column(index * STRIDE + 3));
                }
            }
        }
    }
}

/// A row of the output, for some channels: what an instruction set whose code is written in assembly language computes.
#[cfg(target_arch = "arm")]
pub struct Line<'a, V: Taps> {
    /// The three rows of the input, from these channels on.
    pub rows: [*const V::Value; 3],
    pub output: *mut V::Value,
    /// Values of a pixel in the input and the output.
    pub depth: usize,
    pub weights: *const V::Weight,
    pub bias: *const V::Sum,
    /// The first of the channels.
    pub channel: usize,
    /// How many there are: at least 1, and a multiple of [`CHANNELS`].
    pub channels: usize,
    /// Of the output; at least 1.
    pub columns: usize,
    pub stride: usize,
    pub ending: &'a V::Ending,
}

#[cfg(target_arch = "arm")]
impl<V: Taps> Depthwise<V> {
    /// Computes a part of the output.
    ///
    /// # Safety
    /// As for `V::run`. `compute` must not read or write anything but the line's rows, weights, bias and output.
    pub(super) unsafe fn each(
        &self,
        input: &[V::Value],
        output: Shared<V::Value>,
        part: Part,
        compute: impl Fn(Line<V>),
    ) {
        let Layouts { input: taken, output: given } = self.layouts;
        let Range { start: channel, end } = part.channels;
        if channel == end {
            return;
        }
        for row in part.rows {
            // SAFETY: the input holds all rows that the output's need, and each channel has its weights.
            let (rows, weights) = unsafe {
                let row = |tap| input.as_ptr().add((row * self.stride + tap) * taken.pitch() + channel);
                ([row(0), row(1), row(2)], self.weights.as_ptr().add(2 * TAPS * ROWS * channel))
            };
            compute(Line {
                rows,
                output: output.at(given.pixel(row, 0) + channel, (given.columns - 1) * given.depth + end - channel),
                depth: given.depth,
                weights,
                bias: self.bias[channel..].as_ptr(),
                channel,
                channels: end - channel,
                columns: given.columns,
                stride: self.stride,
                ending: &self.ending,
            });
        }
    }
}

impl<V: Taps> Parts<V::Value> for Depthwise<V> {
    fn name(&self) -> &'static str {
        "Depthwise3x3"
    }

    fn layouts(&self) -> Layouts {
        self.layouts
    }

    fn zero(&self) -> V::Value {
        V::zero(&self.ending)
    }

    fn operations(&self) -> usize {
        // They take about as long as eight times as many of a dense convolution.
        8 * TAPS * TAPS * self.layouts.output.len()
    }

    fn compute(&self, input: &[V::Value], output: Shared<V::Value>, part: usize, parts: usize) {
        // SAFETY: the processor has the instruction set: only what is available is chosen. The caller checked the
        // sizes, and each part is another.
        unsafe { V::run(self, input, output, self.part(part, parts)) }
    }
}
