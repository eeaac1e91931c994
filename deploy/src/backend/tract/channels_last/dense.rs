//! Convolutions of all input channels with all output channels.
//!
//! A row of a kernel covers neighbouring pixels of one row of the input, whose values lie next to each other. So a window
//! is a few runs of values (one, for a 1×1 kernel), and each output is a sum of products with these runs: nothing is
//! unfolded or copied. A tile computes some pixels and outputs at once, whose sums stay in the registers. The pixels of a
//! block, which stay in the second-level cache, pass over all weights before the next block does.

// Must be inlined into the one function that is compiled for an instruction set (see `vectors`).
#![allow(clippy::inline_always)]

use super::vectors::Dots;
use super::{CHANNELS, Constants, Layouts, Parts, Shared, parallel};
use std::ops::Range;

/// Bytes of the input that pass over all weights before the next.
const BLOCK: usize = 1 << 17;

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
    beginnings: Vec<V::Sum>,
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
        beginnings.resize(outputs.next_multiple_of(CHANNELS), V::Sum::default());
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
                for (channel, taps) in weights.chunks_exact(kernel * kernel).enumerate() {
                    for (tap, &weight) in taps.iter().enumerate() {
                        let (row, value) = (tap / kernel, tap % kernel * depth + channel);
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

    /// Computes a part of the output.
    ///
    /// # Safety
    /// The processor must have the instruction set of `V`. The input must have all its values, and nothing else may use
    /// this part of the output.
    #[inline(always)]
    pub(super) unsafe fn run(&self, input: &[V::Value], output: Shared<V::Value>, part: Part) {
        let at_once = (BLOCK / (self.runs * self.run * size_of::<V::Value>())).max(V::PIXELS);
        let Part { pixels, groups } = part;
        let mut from = pixels.start;
        while from < pixels.end {
            let to = pixels.end.min(from + at_once);
            for &group in &self.groups[groups.clone()] {
                let mut at = from;
                while at < to {
                    // Tiles of about the same size: in small ones, the processor waits for its own results.
                    let count = (to - at).div_ceil((to - at).div_ceil(V::PIXELS));
                    // SAFETY: guaranteed by the caller; `at` and the next `count` pixels are in the output.
                    unsafe {
                        let pixels = Pixels { dense: self, input, output, at };
                        match group.vectors {
                            1 => pixels.tiles::<1>(group, count),
                            2 => pixels.tiles::<2>(group, count),
                            _ => pixels.tiles::<4>(group, count),
                        }
                    }
                    at += count;
                }
            }
            from = to;
        }
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

/// Some pixels of a convolution.
struct Pixels<'a, V: Dots> {
    dense: &'a Dense<V>,
    input: &'a [V::Value],
    output: Shared<'a, V::Value>,
    /// The first of the pixels.
    at: usize,
}

impl<V: Dots> Pixels<'_, V> {
    /// Computes a tile of `count` pixels.
    #[inline(always)]
    unsafe fn tiles<const N: usize>(self, group: Group, count: usize) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            match count {
                1 => self.tile::<N, 1>(group),
                2 => self.tile::<N, 2>(group),
                3 => self.tile::<N, 3>(group),
                4 => self.tile::<N, 4>(group),
                5 => self.tile::<N, 5>(group),
                _ => self.tile::<N, 6>(group),
            }
        }
    }

    /// Computes a tile of `P` pixels and `N` vectors of outputs.
    #[inline(always)]
    unsafe fn tile<const N: usize, const P: usize>(self, group: Group) {
        // Never true. It keeps the compiler from generating code for such tiles.
        if P > V::PIXELS || N > V::VECTORS {
            return;
        }
        let Self { dense, input, output, at } = self;
        let Layouts { input: taken, output: given } = dense.layouts;
        let (columns, stride) = (given.columns, dense.stride);
        let (mut row, mut column) = (at / columns, at % columns);
        // The first window starts in the border.
        let mut start = row * stride * taken.pitch() + column * stride * taken.depth;
        let mut place = given.pixel(row, column) + group.output;
        let mut from = [std::ptr::null(); P];
        let mut to = [std::ptr::null_mut(); P];
        for (from, to) in from.iter_mut().zip(&mut to) {
            // SAFETY: the caller gives pixels of the output; `Layouts::fit` says that their windows are in the input.
            unsafe {
                *from = input.as_ptr().add(start);
                *to = output.at(0, given.len()).add(place);
            }
            (column, start, place) = (column + 1, start + stride * taken.depth, place + given.depth);
            if column == columns {
                (row, column) = (row + 1, 0);
                start = row * stride * taken.pitch();
                place = given.pixel(row, 0) + group.output;
            }
        }
        // SAFETY: a window starts inside the input, whose rows hold all its runs, with slack after the last; the
        // weights were laid out for all runs and steps of this group.
        unsafe {
            let beginnings = dense.beginnings.as_ptr().add(group.output);
            let mut sums = [[V::start(beginnings); N]; P];
            for sums in &mut sums {
                for (index, sum) in sums.iter_mut().enumerate() {
                    *sum = V::start(beginnings.add(index * V::WIDTH));
                }
            }
            let mut weights = dense.weights.as_ptr().add(group.weights);
            for run in 0..dense.runs {
                let start = run * taken.pitch();
                let mut at = 0;
                while at < dense.run {
                    let inputs = from.map(|from| V::input(from.add(start + at)));
                    let left = dense.run - at;
                    part::<V, N, P, 0>(&mut sums, inputs, weights);
                    if V::PART < V::STEP {
                        let each = N * V::WIDTH * V::PART;
                        if left > V::PART {
                            part::<V, N, P, 1>(&mut sums, inputs, weights.add(each));
                        }
                        if left > 2 * V::PART {
                            part::<V, N, P, 2>(&mut sums, inputs, weights.add(2 * each));
                        }
                        if left > 3 * V::PART {
                            part::<V, N, P, 3>(&mut sums, inputs, weights.add(3 * each));
                        }
                    }
                    weights = weights.add(N * V::WIDTH * V::STEP);
                    at += V::STEP;
                }
            }
            for (sums, to) in sums.into_iter().zip(to) {
                V::store::<N>(sums, &dense.ending, group.output, to);
            }
        }
    }
}

/// Adds the products of one part of a step.
#[inline(always)]
unsafe fn part<V: Dots, const N: usize, const P: usize, const INDEX: i32>(
    sums: &mut [[V; N]; P],
    inputs: [V::Input; P],
    weights: *const V::StoredWeight,
) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut all = [V::weights(weights); N];
        for (index, weight) in all.iter_mut().enumerate() {
            *weight = V::weights(weights.add(index * V::WIDTH * V::PART));
        }
        for (sums, input) in sums.iter_mut().zip(inputs) {
            for (sum, weights) in sums.iter_mut().zip(all) {
                *sum = sum.plus::<INDEX>(input, weights);
            }
        }
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
