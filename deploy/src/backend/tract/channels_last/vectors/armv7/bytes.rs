//! Bytes.

use super::super::super::rescaling::{ROUNDING, Rescaling};
use super::{Block, Dense, Depthwise, Dots, Line, Row, Shared, Taps, Tiles, dense, depthwise, row, tiles};
use std::arch::global_asm;

global_asm!(include_str!("dense_bytes.s"), options(raw));
global_asm!(include_str!("depthwise_bytes.s"), options(raw));

// SAFETY: these are defined in the files above with these arguments. They need NEON.
unsafe extern "C" {
    fn deploy_dense_bytes_1(tiles: &Tiles<ByteDots, Steps>);
    fn deploy_dense_bytes_2(tiles: &Tiles<ByteDots, Steps>);
    fn deploy_dense_bytes_3(tiles: &Tiles<ByteDots, Steps>);
    fn deploy_dense_bytes_4(tiles: &Tiles<ByteDots, Steps>);
    fn deploy_depthwise_bytes_1(row: &Row<ByteTaps, Steps>);
    fn deploy_depthwise_bytes_2(row: &Row<ByteTaps, Steps>);
}

/// Values of a step.
const STEP: usize = 8;

/// How sums become bytes.
#[derive(Clone, Copy)]
#[repr(C)]
struct Steps {
    /// From the first of the outputs on.
    factors: *const f32,
    bounds: [f32; 2],
    rounding: f32,
    zero: u32,
}

impl Steps {
    fn new(rescaling: &Rescaling, output: usize) -> Self {
        let zero = rescaling.zero;
        let bounds = Rescaling::bounds(zero);
        Self { factors: rescaling.factors(output), bounds, rounding: ROUNDING, zero: u32::from(zero) }
    }
}

/// Eight outputs.
#[derive(Clone, Copy, Debug)]
pub struct ByteDots;

impl Dots for ByteDots {
    const WIDTH: usize = 8;
    const VECTORS: usize = 1;
    const PIXELS: usize = 4;
    const STEP: usize = STEP;
    const PART: usize = 1;

    type Value = u8;
    type StoredWeight = i8;
    type Sum = i32;
    type Beginning = i32;
    type Ending = Rescaling;

    fn beginning(bias: i32, _: impl Iterator<Item = i8>) -> i32 {
        bias
    }

    fn zero(rescaling: &Rescaling) -> u8 {
        rescaling.zero
    }

    unsafe fn run(dense: &Dense<Self>, input: &[u8], output: Shared<u8>, part: dense::Part) {
        let codes = [
            deploy_dense_bytes_1 as _,
            deploy_dense_bytes_2 as _,
            deploy_dense_bytes_3 as _,
            deploy_dense_bytes_4 as _,
        ];
        let each = |mut block: Block<Self>| {
            // The weights of the last step are padded with zeros. The input has at least as many values there.
            block.run = block.run.next_multiple_of(STEP);
            let steps = Steps::new(block.ending, block.output);
            // SAFETY: guaranteed by the caller; this computes exactly what it is given.
            unsafe { tiles(&block, STEP, steps, codes) }
        };
        // SAFETY: guaranteed by the caller.
        unsafe { dense.each(input, output, part, each) }
    }
}

/// Four channels.
#[derive(Clone, Copy, Debug)]
pub struct ByteTaps;

impl Taps for ByteTaps {
    const WIDTH: usize = 4;

    type Value = u8;
    type Weight = i16;
    type Sum = i32;
    type Ending = Rescaling;

    fn zero(rescaling: &Rescaling) -> u8 {
        rescaling.zero
    }

    unsafe fn run(depthwise: &Depthwise<Self>, input: &[u8], output: Shared<u8>, part: depthwise::Part) {
        let codes = [deploy_depthwise_bytes_1 as _, deploy_depthwise_bytes_2 as _];
        let each = |line: Line<Self>| {
            // SAFETY: guaranteed by the caller; this computes exactly what it is given.
            unsafe { row(&line, Steps::new(line.ending, line.channel), codes) }
        };
        // SAFETY: guaranteed by the caller.
        unsafe { depthwise.each(input, output, part, each) }
    }
}
