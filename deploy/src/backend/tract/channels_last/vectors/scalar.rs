//! Plain Rust, which every other instruction set must agree with.

use super::super::rescaling::Rescaling;
use super::{Columns, Dense, Depthwise, Dots, Products, Shared, Taps, dense, depthwise};

/// Outputs of a vector.
const WIDTH: usize = 4;

/// Input bytes of a step.
const STEP: usize = 16;

#[derive(Clone, Copy, Debug)]
pub struct Scalar([i32; WIDTH]);

impl Dots for Scalar {
    const WIDTH: usize = WIDTH;
    const VECTORS: usize = 4;
    const PIXELS: usize = 1;
    const STEP: usize = STEP;
    const PART: usize = STEP;

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

    compiled!(Dense, dense::Part, Scalar, u8);
}

impl Products for Scalar {
    type Input = [u8; STEP];
    type Weights = [[i8; STEP]; WIDTH];

    #[inline(always)]
    unsafe fn start(beginning: *const i32) -> Self {
        // SAFETY: guaranteed by the caller.
        Self(unsafe { beginning.cast::<[i32; WIDTH]>().read() })
    }

    #[inline(always)]
    unsafe fn input(from: *const u8) -> Self::Input {
        // SAFETY: guaranteed by the caller.
        unsafe { from.cast::<Self::Input>().read() }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::Weights {
        // SAFETY: guaranteed by the caller.
        unsafe { from.cast::<Self::Weights>().read() }
    }

    #[inline(always)]
    unsafe fn plus<const INDEX: i32>(self, input: Self::Input, weights: Self::Weights) -> Self {
        let Self(mut sums) = self;
        for (sum, weights) in sums.iter_mut().zip(weights) {
            *sum += input.iter().zip(weights).map(|(&q, weight)| i32::from(q) * i32::from(weight)).sum::<i32>();
        }
        Self(sums)
    }

    #[inline(always)]
    unsafe fn store<const N: usize>(sums: [Self; N], rescaling: &Rescaling, output: usize, to: *mut u8) {
        for (index, &sum) in sums.iter().flat_map(|Self(sums)| sums).enumerate() {
            // SAFETY: guaranteed by the caller.
            unsafe { to.add(index).write(rescaling.byte(output + index, sum)) }
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct ScalarTaps([i32; WIDTH]);

impl Taps for ScalarTaps {
    const WIDTH: usize = WIDTH;

    type Value = u8;
    type Weight = i8;
    type Sum = i32;
    type Ending = Rescaling;

    fn zero(rescaling: &Rescaling) -> u8 {
        rescaling.zero
    }

    compiled!(Depthwise, depthwise::Part, ScalarTaps, u8);
}

impl Columns for ScalarTaps {
    type Column = [[u8; WIDTH]; 4];

    #[inline(always)]
    unsafe fn start(bias: *const i32) -> Self {
        // SAFETY: guaranteed by the caller.
        Self(unsafe { bias.cast::<[i32; WIDTH]>().read() })
    }

    #[inline(always)]
    unsafe fn column(rows: [*const u8; 4]) -> Self::Column {
        // SAFETY: guaranteed by the caller.
        rows.map(|row| unsafe { row.cast::<[u8; WIDTH]>().read() })
    }

    #[inline(always)]
    unsafe fn plus<const SHIFT: usize>(self, column: Self::Column, weights: *const i8) -> Self {
        // SAFETY: guaranteed by the caller.
        let weights = unsafe { weights.cast::<[[i8; WIDTH]; 3]>().read() };
        let Self(mut sums) = self;
        for (row, weights) in column[SHIFT..].iter().zip(weights) {
            for ((sum, &q), weight) in sums.iter_mut().zip(row).zip(weights) {
                *sum += i32::from(q) * i32::from(weight);
            }
        }
        Self(sums)
    }

    #[inline(always)]
    unsafe fn store(self, rescaling: &Rescaling, channel: usize, to: *mut u8) {
        for (index, sum) in self.0.into_iter().enumerate() {
            // SAFETY: guaranteed by the caller.
            unsafe { to.add(index).write(rescaling.byte(channel + index, sum)) }
        }
    }
}
