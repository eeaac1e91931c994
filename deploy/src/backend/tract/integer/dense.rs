//! Convolutions of all input channels with all output channels.
//!
//! A row of a kernel covers neighbouring pixels of one row of the input, and the bytes of these lie next to each other.
//! So a window is a few runs of bytes (one, for a 1×1 kernel), and each output is a sum of products with these runs:
//! nothing is unfolded or copied. A tile computes some pixels and outputs at once, whose sums stay in the registers.
//! The pixels of a block, which stay in the second-level cache, pass over all weights before the next block does.

// Must be inlined into the one function that is compiled for an instruction set (see `vectors`).
#![allow(clippy::inline_always)]

use super::vectors::{self, Dots, Instructions, STEP};
use super::{Bytes, CHANNELS, Integers, Layout, Shared, parallel};
use std::ops::Range;

/// Bytes of the input that pass over all weights before the next.
const BLOCK: usize = 1 << 16;

/// A convolution with one group, for one image.
#[derive(Debug)]
pub(super) struct Dense {
    lane: Lane,
    input: Layout,
    output: Layout,
    stride: usize,
    /// Runs of bytes of a window.
    runs: usize,
    /// Bytes of a run.
    run: usize,
    groups: Vec<Group>,
    /// For each group, run, and step of [`STEP`] bytes: the weights of the group's vectors, part by part.
    weights: Vec<i8>,
    /// Padded to a multiple of [`CHANNELS`].
    bias: Vec<i32>,
    /// As many.
    factors: Vec<f32>,
    zero: u8,
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

/// The vectors of a dense convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    #[cfg(target_arch = "x86_64")]
    Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Wide,
    #[cfg(target_arch = "aarch64")]
    DotProduct,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Scalar,
}

/// Calls a generic function with the type of a lane's vectors.
macro_rules! with_vectors {
    ($lane:expr, $function:ident ( $($argument:expr),* )) => {
        match $lane {
            #[cfg(target_arch = "x86_64")]
            Lane::Vnni => $function::<vectors::Vnni>($($argument),*),
            #[cfg(target_arch = "x86_64")]
            Lane::Avx2 => $function::<vectors::Avx2>($($argument),*),
            #[cfg(target_arch = "x86_64")]
            Lane::Wide => $function::<vectors::Wide>($($argument),*),
            #[cfg(target_arch = "aarch64")]
            Lane::DotProduct => $function::<vectors::DotProduct>($($argument),*),
            #[cfg(target_arch = "aarch64")]
            Lane::Neon => $function::<vectors::Neon>($($argument),*),
            Lane::Scalar => $function::<vectors::Scalar>($($argument),*),
        }
    };
}

impl Lane {
    fn new(instructions: Instructions, weights: &[i8]) -> Self {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Vnni => Self::Vnni,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => {
                let small = weights.iter().all(|weight| weight.unsigned_abs() <= 64);
                if small { Self::Avx2 } else { Self::Wide }
            }
            #[cfg(target_arch = "aarch64")]
            Instructions::DotProduct => Self::DotProduct,
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => Self::Neon,
            Instructions::Scalar => {
                let _ = weights;
                Self::Scalar
            }
        }
    }
}

/// Lays out the weights, and adds to the bias what the instruction set needs. `taps(output, run, byte)` returns the
/// weight of an output for a byte of a run.
fn lay_out<V: Dots>(dense: &mut Dense, outputs: usize, taps: impl Fn(usize, usize, usize) -> i8) {
    let steps = dense.run.div_ceil(STEP);
    let mut output = 0;
    while output < outputs {
        let left = (outputs - output).next_multiple_of(CHANNELS) / V::WIDTH;
        let vectors = [V::VECTORS, 2, 1].into_iter().find(|&vectors| vectors <= left).unwrap_or(1);
        dense.groups.push(Group { output, vectors, weights: dense.weights.len() });
        let each = vectors * V::WIDTH * V::PART;
        for (run, step) in (0..dense.runs).flat_map(|run| (0..steps).map(move |step| (run, step))) {
            for part in 0..STEP / V::PART {
                let start = dense.weights.len();
                dense.weights.resize(start + each, 0);
                for (number, byte) in (0..vectors * V::WIDTH).flat_map(|n| (0..V::PART).map(move |byte| (n, byte))) {
                    let place = number / V::WIDTH * V::WIDTH * V::PART + V::place(number % V::WIDTH, byte);
                    let at = step * STEP + part * V::PART + byte;
                    if output + number < outputs && at < dense.run {
                        dense.weights[start + place] = taps(output + number, run, at);
                    }
                }
            }
        }
        output += vectors * V::WIDTH;
    }
    for (output, bias) in dense.bias.iter_mut().enumerate().take(outputs) {
        let all = (0..dense.runs).flat_map(|run| (0..dense.run).map(move |byte| (run, byte)));
        *bias += V::correction(all.map(|(run, byte)| i32::from(taps(output, run, byte))).sum());
    }
}

impl Dense {
    /// Prepares a convolution with square kernels. The border of the input must be as wide as its padding.
    pub fn new(
        instructions: Instructions,
        (input, output): (Layout, Layout),
        (kernel, stride): (usize, usize),
        integers: Integers,
    ) -> Self {
        let Integers { weights, mut bias, rescaling } = integers;
        let outputs = bias.len();
        bias.resize(outputs.next_multiple_of(CHANNELS), 0);
        let mut dense = Self {
            lane: Lane::new(instructions, &weights),
            input,
            output,
            stride,
            runs: kernel,
            run: kernel * input.depth,
            groups: Vec::new(),
            weights: Vec::new(),
            bias,
            factors: rescaling.factors,
            zero: rescaling.zero,
        };
        let taps = |output: usize, row: usize, byte: usize| {
            let (column, channel) = (byte / input.depth, byte % input.depth);
            let place = ((output * input.channels + channel) * kernel + row) * kernel + column;
            if channel < input.channels { weights[place] } else { 0 }
        };
        let lane = dense.lane;
        with_vectors!(lane, lay_out(&mut dense, outputs, taps));
        dense
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn run_vnni(&self, input: &[u8], output: Shared<u8>, part: Part) {
        // SAFETY: this function is compiled for the instruction set.
        unsafe { self.run::<vectors::Vnni>(input, output, part) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn run_avx2(&self, input: &[u8], output: Shared<u8>, part: Part) {
        // SAFETY: this function is compiled for the instruction set.
        unsafe { self.run::<vectors::Avx2>(input, output, part) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn run_wide(&self, input: &[u8], output: Shared<u8>, part: Part) {
        // SAFETY: this function is compiled for the instruction set.
        unsafe { self.run::<vectors::Wide>(input, output, part) }
    }

    #[cfg(target_arch = "aarch64")]
    #[target_feature(enable = "dotprod")]
    fn run_dot_product(&self, input: &[u8], output: Shared<u8>, part: Part) {
        // SAFETY: this function is compiled for the instruction set.
        unsafe { self.run::<vectors::DotProduct>(input, output, part) }
    }

    /// Computes a part of the output.
    ///
    /// # Safety
    /// The processor must have the instruction set of `V`, for which the weights must be laid out. Nothing else may
    /// use this part of the output.
    #[inline(always)]
    unsafe fn run<V: Dots>(&self, input: &[u8], output: Shared<u8>, part: Part) {
        assert_eq!(input.len(), self.input.bytes(), "bytes of the input");
        let at_once = (BLOCK / (self.runs * self.run)).max(V::PIXELS);
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
                            1 => pixels.tiles::<V, 1>(group, count),
                            2 => pixels.tiles::<V, 2>(group, count),
                            _ => pixels.tiles::<V, 4>(group, count),
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
        let (pixels, groups) = (0..self.output.rows * self.output.columns, 0..self.groups.len());
        if self.weights.len() > self.input.bytes() && groups.len() >= 2 * parts {
            Part { pixels, groups: parallel::part(groups, part, parts) }
        } else {
            Part { pixels: parallel::part(pixels, part, parts), groups }
        }
    }
}

/// A part of the output.
struct Part {
    pixels: Range<usize>,
    /// Indices of groups of outputs.
    groups: Range<usize>,
}

/// Some pixels of a convolution.
struct Pixels<'a> {
    dense: &'a Dense,
    input: &'a [u8],
    output: Shared<'a, u8>,
    /// The first of the pixels.
    at: usize,
}

impl Pixels<'_> {
    /// Computes a tile of `count` pixels.
    #[inline(always)]
    unsafe fn tiles<V: Dots, const N: usize>(self, group: Group, count: usize) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            match count {
                1 => self.tile::<V, N, 1>(group),
                2 => self.tile::<V, N, 2>(group),
                3 => self.tile::<V, N, 3>(group),
                4 => self.tile::<V, N, 4>(group),
                5 => self.tile::<V, N, 5>(group),
                _ => self.tile::<V, N, 6>(group),
            }
        }
    }

    /// Computes a tile of `P` pixels and `N` vectors of outputs.
    #[inline(always)]
    unsafe fn tile<V: Dots, const N: usize, const P: usize>(self, group: Group) {
        // Never so. It tells the compiler not to make code for such tiles.
        if P > V::PIXELS || N > V::VECTORS {
            return;
        }
        let Self { dense, input, output, at } = self;
        let (columns, stride) = (dense.output.columns, dense.stride);
        let (mut row, mut column) = (at / columns, at % columns);
        let mut from = [std::ptr::null(); P];
        let mut to = [std::ptr::null_mut(); P];
        for (from, to) in from.iter_mut().zip(&mut to) {
            // Relative to the border, at which the first window starts.
            let start = row * stride * dense.input.pitch() + column * stride * dense.input.depth;
            *from = input[start..].as_ptr();
            *to = output.at(dense.output.pixel(row, column) + group.output, N * V::WIDTH);
            column += 1;
            if column == columns {
                (row, column) = (row + 1, 0);
            }
        }
        // SAFETY: a window starts inside the input, whose rows hold all its runs, with slack after the last; the
        // weights were laid out for all runs and steps of this group.
        unsafe {
            let bias = dense.bias.as_ptr().add(group.output);
            let mut sums = [[V::start(bias); N]; P];
            for sums in &mut sums {
                for (index, sum) in sums.iter_mut().enumerate() {
                    *sum = V::start(bias.add(index * V::WIDTH));
                }
            }
            let mut weights = dense.weights.as_ptr().add(group.weights);
            for run in 0..dense.runs {
                let start = run * dense.input.pitch();
                let mut byte = 0;
                while byte < dense.run {
                    let inputs = from.map(|from| V::input(from.add(start + byte)));
                    let left = dense.run - byte;
                    part::<V, N, P, 0>(&mut sums, inputs, weights);
                    if V::PART < STEP {
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
                    weights = weights.add(N * V::WIDTH * STEP);
                    byte += STEP;
                }
            }
            let factors = dense.factors.as_ptr().add(group.output);
            for (sums, to) in sums.into_iter().zip(to) {
                V::store::<N>(sums, factors, dense.zero, to);
            }
        }
    }
}

/// Adds the products of one part of a step.
#[inline(always)]
unsafe fn part<V: Dots, const N: usize, const P: usize, const INDEX: i32>(
    sums: &mut [[V; N]; P],
    inputs: [V::Input; P],
    weights: *const i8,
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

impl Bytes for Dense {
    fn name(&self) -> &'static str {
        "IntegerDense"
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
        self.weights.len().saturating_mul(self.output.rows * self.output.columns)
    }

    fn compute(&self, input: &[u8], output: Shared<u8>, part: usize, parts: usize) {
        let part = self.part(part, parts);
        // SAFETY: the processor has the instruction set, for which `new` laid out the weights: instructions come from
        // `Instructions::available`.
        unsafe {
            match self.lane {
                #[cfg(target_arch = "x86_64")]
                Lane::Vnni => self.run_vnni(input, output, part),
                #[cfg(target_arch = "x86_64")]
                Lane::Avx2 => self.run_avx2(input, output, part),
                #[cfg(target_arch = "x86_64")]
                Lane::Wide => self.run_wide(input, output, part),
                #[cfg(target_arch = "aarch64")]
                Lane::DotProduct => self.run_dot_product(input, output, part),
                #[cfg(target_arch = "aarch64")]
                Lane::Neon => self.run::<vectors::Neon>(input, output, part),
                Lane::Scalar => self.run::<vectors::Scalar>(input, output, part),
            }
        }
    }
}
