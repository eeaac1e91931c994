//! The arithmetic: a matrix product in tiles of as many outputs and pixels as fit into the registers.
//!
//! The pixels are cut into tiles a few vectors wide. Each tile is copied into a panel, row after row of the tile, so
//! that its numbers are contiguous in the order of use. The weights are laid out in the same way once, when the model
//! is loaded. As many panels are made at a time as fit into the second-level cache; then all weights pass over them.

// Must be inlined into the one function that is compiled for an instruction set (see `lanes`).
#![allow(clippy::inline_always)]

use super::super::lanes::{Half, Lane, Lanes};
use super::super::operator::numbers;
use super::{Matrix, Multiplier};
use std::arch::x86_64::{__m256, __m512};
use std::cell::RefCell;
use tract_core::internal::TractResult;
use tract_core::prelude::*;

/// Numbers in the panels that are made at a time: 256 KiB.
const PANELS: usize = 1 << 16;

/// A matrix laid out for the tiles of an instruction set.
#[derive(Clone, Debug)]
pub(super) struct Product {
    lane: Lane,
    /// `[ceil(outputs / OUT), depth, OUT]` for `OUT` outputs per tile, padded with zeros.
    weights: Vec<f32>,
    /// `[outputs]`, padded with zeros to a multiple of the outputs per tile.
    bias: Vec<f32>,
    outputs: usize,
    depth: usize,
    clamp: [f32; 2],
}

impl Product {
    /// The best of these lanes for this many pixels; `None` if there is no code for any of them.
    pub fn lane(lanes: &[Lane], pixels: usize) -> Option<Lane> {
        let usable = |lane: &&Lane| matches!(lane, Lane::Avx512 | Lane::Avx2 | Lane::Avx2Half);
        let filled = lanes.iter().filter(usable).find(|lane| lane.width() <= pixels);
        filled.or(lanes.iter().rfind(usable)).copied()
    }

    /// Lays out the matrix for tiles of this lane.
    pub fn new(lane: Lane, matrix: &Matrix) -> Self {
        let Matrix { weights, depth, bias, clamp } = matrix;
        let (outputs, at_once) = (bias.len(), outputs_at_once(lane));
        let groups = outputs.div_ceil(at_once);
        let mut values = vec![0.0; groups * depth * at_once];
        for (output, row) in weights.chunks_exact(*depth).enumerate() {
            let group = output / at_once * depth * at_once;
            let places = values[group + output % at_once..].iter_mut().step_by(at_once);
            for (place, weight) in places.zip(row) {
                *place = *weight;
            }
        }
        let mut bias = bias.clone();
        bias.resize(groups * at_once, 0.0);
        Self { lane, weights: values, bias, outputs, depth: *depth, clamp: *clamp }
    }

    #[target_feature(enable = "avx512f")]
    fn run_avx512(&self, pixels: usize, input: &[f32], output: &mut [f32]) {
        // SAFETY: this function is compiled for the instruction set.
        unsafe { self.run::<__m512, AVX512_OUTPUTS, 3>(pixels, input, output) }
    }

    #[target_feature(enable = "avx2,fma")]
    fn run_avx2(&self, pixels: usize, input: &[f32], output: &mut [f32]) {
        // SAFETY: this function is compiled for the instruction set.
        unsafe { self.run::<__m256, AVX2_OUTPUTS, 2>(pixels, input, output) }
    }

    #[target_feature(enable = "avx2,fma")]
    fn run_avx2_half(&self, pixels: usize, input: &[f32], output: &mut [f32]) {
        // SAFETY: this function is compiled for the instruction set.
        unsafe { self.run::<Half, HALF_OUTPUTS, 1>(pixels, input, output) }
    }
}

impl Multiplier for Product {
    fn multiply(&self, pixels: usize, input: &Tensor, output: &mut Tensor) -> TractResult<()> {
        let input = numbers(input)?;
        let mut output = output.try_as_plain_ram_mut()?;
        let output = output.as_slice_mut::<f32>()?;
        // SAFETY: the processor has this lane: lanes come from `Lane::available`.
        unsafe {
            match self.lane {
                Lane::Avx512 => self.run_avx512(pixels, input, output),
                Lane::Avx2 => self.run_avx2(pixels, input, output),
                _ => self.run_avx2_half(pixels, input, output),
            }
        }
        Ok(())
    }
}

/// Outputs per tile, chosen so that the sums of a tile fill the registers.
const AVX512_OUTPUTS: usize = 8;
const AVX2_OUTPUTS: usize = 6;
const HALF_OUTPUTS: usize = 12;

fn outputs_at_once(lane: Lane) -> usize {
    match lane {
        Lane::Avx512 => AVX512_OUTPUTS,
        Lane::Avx2 => AVX2_OUTPUTS,
        _ => HALF_OUTPUTS,
    }
}

thread_local! {
    /// Kept for the next product: memory fresh from the system costs more than filling it.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Product {
    /// Computes the product in tiles of `OUT` outputs and up to `VEC` vectors of pixels.
    ///
    /// # Safety
    /// The processor must have the instruction set of `L`.
    #[inline(always)]
    unsafe fn run<L: Lanes, const OUT: usize, const VEC: usize>(
        &self,
        pixels: usize,
        input: &[f32],
        output: &mut [f32],
    ) {
        let Self { weights, bias, outputs, depth, clamp, .. } = self;
        let (outputs, depth) = (*outputs, *depth);
        assert_eq!(input.len(), depth * pixels, "numbers of the input");
        assert_eq!(output.len(), outputs * pixels, "numbers of the output");
        assert!(
            bias.len().is_multiple_of(OUT) && weights.len() == bias.len() * depth,
            "a matrix laid out for other tiles"
        );
        let mut scratch = SCRATCH.take();
        // At least one tile, however deep the matrix is.
        let at_once = (PANELS / depth.max(1) / L::WIDTH).max(VEC) * L::WIDTH;
        let mut from = 0;
        while from < pixels {
            let to = pixels.min(from + at_once);
            scratch.resize((to - from).div_ceil(L::WIDTH) * L::WIDTH * depth, 0.0);
            for_tiles::<L, VEC>(to - from, |column, width| {
                let panel = scratch[column * depth..][..width * depth].chunks_exact_mut(width);
                let count = width.min(to - from - column);
                for (line, row) in panel.zip(input.chunks_exact(pixels)) {
                    line[..count].copy_from_slice(&row[from + column..][..count]);
                    line[count..].fill(0.0);
                }
            });
            let groups = weights.chunks_exact(depth * OUT).zip(bias.chunks_exact(OUT));
            for (group, (values, bias)) in groups.enumerate() {
                let rows = OUT.min(outputs - group * OUT);
                for_tiles::<L, VEC>(to - from, |column, width| {
                    let panel = &scratch[column * depth..][..width * depth];
                    let place = group * OUT * pixels + from + column;
                    let room = Room { rows, columns: width.min(to - from - column), pitch: pixels };
                    // SAFETY: the caller guarantees the instruction set; the sizes were checked above.
                    unsafe {
                        match width / L::WIDTH {
                            1 => tile::<L, OUT, 1>(values, bias, panel, *clamp, &mut output[place..], room),
                            2 => tile::<L, OUT, 2>(values, bias, panel, *clamp, &mut output[place..], room),
                            _ => tile::<L, OUT, VEC>(values, bias, panel, *clamp, &mut output[place..], room),
                        }
                    }
                });
            }
            from = to;
        }
        SCRATCH.set(scratch);
    }
}

/// Cuts this many pixels into tiles. Calls `each` with every tile's first column and its width, a multiple of
/// `L::WIDTH`.
#[inline(always)]
fn for_tiles<L: Lanes, const VEC: usize>(pixels: usize, mut each: impl FnMut(usize, usize)) {
    let mut left = pixels.div_ceil(L::WIDTH);
    let mut column = 0;
    while left > 0 {
        // Avoid a full tile followed by one of a single vector, in which the processor waits for its own results.
        let lanes = if left == VEC + 1 { left.div_ceil(2) } else { left.min(VEC) };
        each(column, lanes * L::WIDTH);
        (column, left) = (column + lanes * L::WIDTH, left - lanes);
    }
}

/// Where a tile's results go.
#[derive(Clone, Copy)]
struct Room {
    rows: usize,
    columns: usize,
    /// Numbers from the start of one output row to the next.
    pitch: usize,
}

/// Computes one tile: `OUT` outputs of `VEC` vectors of pixels.
///
/// # Safety
/// The processor must have the instruction set of `L`. `panel` must have one row of `VEC * L::WIDTH` numbers for every
/// `OUT` numbers of `weights`, and `output` must have space for the `room`.
#[inline(always)]
unsafe fn tile<L: Lanes, const OUT: usize, const VEC: usize>(
    weights: &[f32],
    bias: &[f32],
    panel: &[f32],
    [least, most]: [f32; 2],
    output: &mut [f32],
    room: Room,
) {
    let depth = weights.len() / OUT;
    debug_assert_eq!(panel.len(), depth * VEC * L::WIDTH);
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut sums = [[L::splat(0.0); VEC]; OUT];
        for (sum, bias) in sums.iter_mut().zip(bias) {
            *sum = [L::splat(*bias); VEC];
        }
        let (mut weights, mut panel) = (weights.as_ptr(), panel.as_ptr());
        for _ in 0..depth {
            let mut pixels = [L::splat(0.0); VEC];
            for (index, pixels) in pixels.iter_mut().enumerate() {
                *pixels = L::load(panel.add(index * L::WIDTH));
            }
            for (index, sums) in sums.iter_mut().enumerate() {
                let weight = L::splat(*weights.add(index));
                for (sum, pixels) in sums.iter_mut().zip(pixels) {
                    *sum = sum.plus_product(pixels, weight);
                }
            }
            weights = weights.add(OUT);
            panel = panel.add(VEC * L::WIDTH);
        }
        let (least, most) = (L::splat(least), L::splat(most));
        let whole = room.columns == VEC * L::WIDTH;
        for (row, sums) in sums.iter().enumerate().take(room.rows) {
            let row = &mut output[row * room.pitch..][..room.columns];
            if whole {
                for (index, sum) in sums.iter().enumerate() {
                    sum.clamped(least, most).store(row.as_mut_ptr().add(index * L::WIDTH));
                }
            } else {
                // Large enough for the widest tile.
                let mut edge = [0.0_f32; 4 * 16];
                for (index, sum) in sums.iter().enumerate() {
                    sum.clamped(least, most).store(edge.as_mut_ptr().add(index * L::WIDTH));
                }
                row.copy_from_slice(&edge[..room.columns]);
            }
        }
    }
}
