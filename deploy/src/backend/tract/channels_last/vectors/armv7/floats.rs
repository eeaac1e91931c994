//! Floats.

use super::{Block, Dense, Depthwise, Dots, Line, Row, Shared, Taps, Tiles, dense, depthwise, row, tiles};
use std::arch::global_asm;

global_asm!(include_str!("dense_floats.s"), options(raw));
global_asm!(include_str!("depthwise_floats.s"), options(raw));

// SAFETY: these are defined in the files above with these arguments. They need NEON.
unsafe extern "C" {
    fn deploy_dense_floats_1(tiles: &Tiles<FloatDots, [f32; 2]>);
    fn deploy_dense_floats_2(tiles: &Tiles<FloatDots, [f32; 2]>);
    fn deploy_dense_floats_3(tiles: &Tiles<FloatDots, [f32; 2]>);
    fn deploy_dense_floats_4(tiles: &Tiles<FloatDots, [f32; 2]>);
    fn deploy_depthwise_floats_1(row: &Row<FloatTaps, [f32; 2]>);
    fn deploy_depthwise_floats_2(row: &Row<FloatTaps, [f32; 2]>);
}

/// Eight outputs.
#[derive(Clone, Copy, Debug)]
pub struct FloatDots;

impl Dots for FloatDots {
    const WIDTH: usize = 8;
    const VECTORS: usize = 1;
    const PIXELS: usize = 4;
    const STEP: usize = 1;
    const PART: usize = 1;

    type Value = f32;
    type StoredWeight = f32;
    type Sum = f32;
    type Beginning = f32;
    type Ending = [f32; 2];

    fn beginning(bias: f32, _: impl Iterator<Item = f32>) -> f32 {
        bias
    }

    fn zero(_: &[f32; 2]) -> f32 {
        0.0
    }

    unsafe fn run(dense: &Dense<Self>, input: &[f32], output: Shared<f32>, part: dense::Part) {
        let codes = [
            deploy_dense_floats_1 as _,
            deploy_dense_floats_2 as _,
            deploy_dense_floats_3 as _,
            deploy_dense_floats_4 as _,
        ];
        // SAFETY: guaranteed by the caller; this computes exactly what it is given.
        unsafe { dense.each(input, output, part, |block: Block<Self>| tiles(&block, 4, *block.ending, codes)) }
    }
}

/// Four channels.
#[derive(Clone, Copy, Debug)]
pub struct FloatTaps;

impl Taps for FloatTaps {
    const WIDTH: usize = 4;

    type Value = f32;
    type Weight = f32;
    type Sum = f32;
    type Ending = [f32; 2];

    fn zero(_: &[f32; 2]) -> f32 {
        0.0
    }

    unsafe fn run(depthwise: &Depthwise<Self>, input: &[f32], output: Shared<f32>, part: depthwise::Part) {
        let codes = [deploy_depthwise_floats_1 as _, deploy_depthwise_floats_2 as _];
        // SAFETY: guaranteed by the caller; this computes exactly what it is given.
        unsafe { depthwise.each(input, output, part, |line: Line<Self>| row(&line, *line.ending, codes)) }
    }
}
