//! Convolutions of all input channels with all output channels.
//!
//! A row of a kernel covers neighbouring pixels of one row of the input, whose values lie next to each other. So a window
//! is a few runs of values (one, for a 1×1 kernel), and each output is a sum of products with these runs: nothing is
//! unfolded or copied. A tile computes some pixels and outputs at once, whose sums stay in the registers (`tiles`). The
//! pixels of a block, which stay in the second-level cache, pass over all weights before the next block does.

// Must be inlined into the one function that is compiled for an instruction set (see `vectors`).
#![allow(clippy::inline_always)]

mod tiles;
#[cfg(target_arch = "arm")]
mod whole;

#[cfg(target_arch = "arm")]
pub use whole::Block;

use super::vectors::Dots;
use super::{CHANNELS, Constants, Layouts, Parts, Shared, parallel};
use std::ops::Range;

/// Bytes of the input that pass over all weights before the next.
const BLOCK: usize = 1 << 17;

/// Most pixels of a block, so that the list of them is short.
const MOST: usize = 256;

/// A convolution with one group, for one image.
#[derive(Debug)]
pub struct Dense<V: Dots> {
    layouts: Layouts,
    stride: usize,
    /// Runs of values of a window.
    runs: usize,
    /// Values of a run.
    run: usize,
    groups: Vec<Group>,
    /// For each group, run and step: the weights of the group's vectors, part by part.
    weights: Vec<V::StoredWeight>,
    /// What the sums start with, padded to a multiple of [`CHANNELS`].
    beginnings: Vec<V::Beginning>,
    ending: V::Ending,
}

/// Outputs that are computed together.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// The first of them.
    output: usize,
    vectors: usize,
    /// Where their weights start.
    weights: usize,
}

/// A part of the output.
pub struct Part {
    pixels: Range<usize>,
    /// Indices of groups of outputs.
    groups: Range<usize>,
}

impl<V: Dots> Dense<V> {
    /// Prepares a convolution with square kernels.
    pub(super) fn new(
        layouts: Layouts,
        kernel: usize,
        stride: usize,
        constants: Constants<V::StoredWeight, V::Sum, V::Ending>,
    ) -> Self {
        let Constants { weights, bias, ending } = constants;
        let (channels, depth) = (layouts.input.channels, layouts.input.depth);
        let outputs = bias.len();
        let per_output = channels * kernel * kernel;
        let beginnings = bias.iter().zip(weights.chunks_exact(per_output));
        let beginnings = beginnings.map(|(&bias, weights)| V::beginning(bias, weights.iter().copied()));
        let mut beginnings: Vec<_> = beginnings.collect();
        beginnings.resize(outputs.next_multiple_of(CHANNELS), V::Beginning::default());
        // Without the padding of the last pixel.
        let run = (kernel - 1) * depth + channels.next_multiple_of(V::PART);
        let mut dense =
            Self { layouts, stride, runs: kernel, run, groups: Vec::new(), weights: Vec::new(), beginnings, ending };
        dense.weights.reserve_exact(dense.beginnings.len() * kernel * dense.padded_run());
        let mut output = 0;
        while output < dense.beginnings.len() {
            let left = (dense.beginnings.len() - output) / V::WIDTH;
            let vectors = [V::VECTORS, 2, 1].into_iter().find(|&vectors| vectors <= left).unwrap_or(1);
            dense.groups.push(Group { output, vectors, weights: dense.weights.len() });
            let at_once = vectors * V::WIDTH;
            let start = dense.weights.len();
            dense.weights.resize(start + at_once * kernel * dense.padded_run(), V::StoredWeight::default());
            for (number, weights) in weights.chunks_exact(per_output).skip(output).take(at_once).enumerate() {
                let lane = start + number / V::WIDTH * V::WIDTH * V::PART;
                // A division for each weight would take most of the time to load a model on 32-bit ARM.
                for (row, column) in (0..kernel).flat_map(|row| (0..kernel).map(move |column| (row, column))) {
                    let taps = weights[row * kernel + column..].iter().step_by(kernel * kernel);
                    for (channel, &weight) in taps.enumerate() {
                        let value = column * depth + channel;
                        let part = (row * dense.padded_run() + value) / V::PART * V::PART * at_once;
                        dense.weights[lane + part + V::place(number % V::WIDTH, value % V::PART)] = weight;
                    }
                }
            }
            output += at_once;
        }
        dense
    }

    /// Values of a run, padded to whole steps.
    fn padded_run(&self) -> usize {
        self.run.next_multiple_of(V::STEP)
    }

    /// Cuts these pixels into blocks.
    fn blocks<'a>(
        &self,
        input: &'a [V::Value],
        output: Shared<'a, V::Value>,
        pixels: Range<usize>,
    ) -> Blocks<'a, V::Value> {
        let at_once = (BLOCK / (self.runs * self.run * size_of::<V::Value>())).clamp(V::PIXELS, MOST);
        let places = Vec::with_capacity(at_once.min(pixels.len()));
        Blocks { layouts: self.layouts, stride: self.stride, input, output, pixels, at_once, places }
    }

    /// Cuts the work by outputs if there are more weights than input, so that each thread reads only its own weights;
    /// otherwise by pixels.
    fn part(&self, part: usize, parts: usize) -> Part {
        let (pixels, groups) = (0..self.layouts.output.rows * self.layouts.output.columns, 0..self.groups.len());
        if self.weights.len() > self.layouts.input.len() && groups.len() >= 2 * parts {
            Part { pixels, groups: parallel::part(groups, part, parts) }
        } else {
            Part { pixels: parallel::part(pixels, part, parts), groups }
        }
    }
}

/// A pixel of the output.
#[derive(Clone, Copy)]
#[repr(C)] // Also read by code in assembly language.
pub struct Place<T> {
    /// Where its window starts in the input.
    pub from: *const T,
    /// Where its values are written.
    pub to: *mut T,
}

/// Cuts pixels into blocks. Working out where a pixel is takes divisions, so it is done once for all weights.
struct Blocks<'a, T> {
    layouts: Layouts,
    stride: usize,
    input: &'a [T],
    output: Shared<'a, T>,
    /// The pixels that are left.
    pixels: Range<usize>,
    /// Pixels of a block.
    at_once: usize,
    places: Vec<Place<T>>,
}

impl<T: Copy> Blocks<'_, T> {
    /// Returns the places of the next block's pixels, if there are any.
    ///
    /// # Safety
    /// All pixels must be in the output, and the input must have all its values.
    #[inline(always)]
    unsafe fn next(&mut self) -> Option<&mut [Place<T>]> {
        let Layouts { input: taken, output: given } = self.layouts;
        let Range { start, end } = self.pixels;
        if start == end {
            return None;
        }
        let count = self.at_once.min(end - start);
        self.pixels.start += count;
        self.places.clear();
        let to = self.output.at(0, given.len());
        let (mut row, mut column) = (start / given.columns, start % given.columns);
        for _ in 0..count {
            // The window starts in the border.
            let window = (row * taken.pitch() + column * taken.depth) * self.stride;
            // SAFETY: the caller gives pixels of the output; `Layouts::fit` says that their windows are in the input.
            self.places
                .push(unsafe { Place { from: self.input.as_ptr().add(window), to: to.add(given.pixel(row, column)) } });
            column += 1;
            if column == given.columns {
                (row, column) = (row + 1, 0);
            }
        }
        Some(&mut self.places)
    }
}

impl<V: Dots> Parts<V::Value> for Dense<V> {
    fn name(&self) -> &'static str {
        "Dense"
    }

    fn layouts(&self) -> Layouts {
        self.layouts
    }

    fn zero(&self) -> V::Value {
        V::zero(&self.ending)
    }

    fn operations(&self) -> usize {
        self.weights.len().saturating_mul(self.layouts.output.rows * self.layouts.output.columns)
    }

    fn compute(&self, input: &[V::Value], output: Shared<V::Value>, part: usize, parts: usize) {
        // SAFETY: the processor has the instruction set: only what is available is chosen. The caller checked the
        // sizes, and each part is another.
        unsafe { V::run(self, input, output, self.part(part, parts)) }
    }
}
