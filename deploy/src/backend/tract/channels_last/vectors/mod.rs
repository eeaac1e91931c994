//! Vectors of sums, with an implementation per instruction set: [`Dots`] and [`Taps`] say how weights are stored, and
//! [`Products`] and [`Columns`] are the arithmetic.
//!
//! # Safety
//! Every function needs the instruction set of its type. All are inlined into a caller that is compiled for it.

// The intrinsics must be inlined into a function that is compiled for them; otherwise the compiler may emit calls.
#![allow(clippy::inline_always)]

use super::dense::{self, Dense};
use super::depthwise::{self, Depthwise};
use super::parallel::Shared;
use std::fmt::Debug;
use tract_core::prelude::Datum;

/// Writes the function `run` of a vector of sums, which must be compiled for its instruction set.
macro_rules! compiled {
    ($convolution:ident, $part:path, $vector:ty, $value:ty $(, $features:literal)?) => {
        unsafe fn run(
            convolution: &$convolution<Self>,
            input: &[$value],
            output: Shared<$value>,
            part: $part,
        ) {
            $(#[target_feature(enable = $features)])?
            unsafe fn compiled(
                convolution: &$convolution<$vector>,
                input: &[$value],
                output: Shared<$value>,
                part: $part,
            ) {
                // SAFETY: guaranteed by the caller; this function is compiled for the instruction set.
                unsafe { convolution.run(input, output, part) }
            }
            // SAFETY: guaranteed by the caller.
            unsafe { compiled(convolution, input, output, part) }
        }
    };
}

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "arm")]
mod armv7;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod floats;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod vnni;

#[cfg(target_arch = "aarch64")]
pub use aarch64::{DotProduct, Neon, NeonFour, NeonTaps};
#[cfg(target_arch = "arm")]
pub use armv7::{ByteDots, ByteTaps, FloatDots, FloatTaps};
#[cfg(target_arch = "x86_64")]
pub use avx2::{Avx2, Avx2Taps, Wide};
#[cfg(target_arch = "x86_64")]
pub use floats::{Avx2Dots, Avx2FloatTaps, Avx512Dots, Avx512Taps};
pub use scalar::{Scalar, ScalarTaps};
#[cfg(target_arch = "x86_64")]
pub use vnni::{Vnni, VnniTaps};

/// The sums of `WIDTH` outputs for one pixel, in a dense convolution. Each step adds the products of `STEP` input values,
/// in one part or in four.
pub trait Dots: Copy + Debug + Send + Sync + 'static {
    /// Outputs of a vector.
    const WIDTH: usize;
    /// Most vectors of a tile: 1, 2 or 4. Their outputs divide [`super::CHANNELS`], or are a multiple of it.
    const VECTORS: usize;
    /// Most pixels of a tile, so that its sums stay in registers; at most 6.
    const PIXELS: usize;
    /// Input values of a step.
    const STEP: usize;
    /// Input values of a part: all of a step, or a quarter.
    const PART: usize;

    type Value: Datum + Copy;
    type StoredWeight: Debug + Copy + Default + Send + Sync;
    type Sum: Debug + Copy + Default + Send + Sync;
    /// What the sum of an output starts with.
    type Beginning: Debug + Copy + Default + Send + Sync;
    /// What turns sums into values.
    type Ending: Debug + Send + Sync;

    /// Where the weight of an output for a value of a part is stored.
    fn place(output: usize, value: usize) -> usize {
        output * Self::PART + value
    }

    /// What the sum of an output starts with, if this is its bias and these are all its weights.
    fn beginning(bias: Self::Sum, weights: impl Iterator<Item = Self::StoredWeight>) -> Self::Beginning;

    /// What stands for 0.
    fn zero(ending: &Self::Ending) -> Self::Value;

    /// Computes a part of a convolution, in code that is compiled for the instruction set.
    unsafe fn run(dense: &Dense<Self>, input: &[Self::Value], output: Shared<Self::Value>, part: dense::Part);
}

/// How the products of [`Dots`] are computed and added, by the tiles of [`Dense`].
pub trait Products: Dots {
    /// `STEP` values of a pixel.
    type Input: Copy;

    /// `PART` weights of each of the `WIDTH` outputs.
    type Weights: Copy;

    /// Whether [`Products::prepare`] is called once for each pixel. Then there are only convolutions with 1×1 kernels.
    const PREPARED: bool = false;

    /// Copies the values of a pixel, whole steps of them, in the form that [`Products::input`] takes.
    unsafe fn prepare(from: *const Self::Value, to: *mut Self::Value, steps: usize) {
        // SAFETY: guaranteed by the caller.
        unsafe { to.copy_from_nonoverlapping(from, steps * Self::STEP) }
    }

    unsafe fn start(beginning: *const Self::Beginning) -> Self;

    unsafe fn input(from: *const Self::Value) -> Self::Input;

    unsafe fn weights(from: *const Self::StoredWeight) -> Self::Weights;

    /// Adds the products of part number `INDEX` of the input.
    unsafe fn plus<const INDEX: i32>(self, input: Self::Input, weights: Self::Weights) -> Self;

    /// Writes the values of a pixel, from this output on.
    unsafe fn store<const N: usize>(sums: [Self; N], ending: &Self::Ending, output: usize, to: *mut Self::Value);
}

/// The sums of `WIDTH` channels for one pixel, in a depthwise convolution with 3×3 kernels.
pub trait Taps: Copy + Debug + Send + Sync + 'static {
    /// Channels of a vector, which divide [`super::CHANNELS`].
    const WIDTH: usize;

    type Value: Datum + Copy;
    type Weight: Debug + Copy + Default + Send + Sync;
    type Sum: Debug + Copy + Default + Send + Sync;
    /// What turns sums into values.
    type Ending: Debug + Send + Sync;

    /// Where the weight of a channel for one of four rows is stored, among 4 · `WIDTH`.
    fn place(channel: usize, row: usize) -> usize {
        row * Self::WIDTH + channel
    }

    /// What stands for 0.
    fn zero(ending: &Self::Ending) -> Self::Value;

    /// Computes a part of a convolution, in code that is compiled for the instruction set.
    unsafe fn run(
        depthwise: &Depthwise<Self>,
        input: &[Self::Value],
        output: Shared<Self::Value>,
        part: depthwise::Part,
    );
}

/// How the products of [`Taps`] are computed and added, by the lines of [`Depthwise`].
pub trait Columns: Taps {
    /// One column of four rows, in a form that can be multiplied.
    type Column: Copy;

    /// Starts with the bias of the channels.
    unsafe fn start(bias: *const Self::Sum) -> Self;

    /// Reads `WIDTH` values of each of four rows.
    unsafe fn column(rows: [*const Self::Value; 4]) -> Self::Column;

    /// Adds the products of three rows of a column, from row `SHIFT` (0 or 1) on. `weights` points to 4 · `WIDTH`
    /// weights, of which the last row's are 0, and then to as many moved by one row.
    unsafe fn plus<const SHIFT: usize>(self, column: Self::Column, weights: *const Self::Weight) -> Self;

    /// Writes the values, from this channel on.
    unsafe fn store(self, ending: &Self::Ending, channel: usize, to: *mut Self::Value);
}
