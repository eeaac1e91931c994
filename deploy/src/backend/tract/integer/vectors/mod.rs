//! Vectors of sums: two traits, with an implementation per instruction set.
//!
//! # Safety
//! Every function needs the instruction set of its type. All are inlined into a caller that is compiled for it.

// The intrinsics must be inlined into a function that is compiled for them; otherwise the compiler may emit calls.
#![allow(clippy::inline_always)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod vnni;

#[cfg(target_arch = "aarch64")]
pub use aarch64::{DotProduct, Neon, NeonTaps};
#[cfg(target_arch = "x86_64")]
pub use avx2::{Avx2, Avx2Taps, Wide};
pub use scalar::{Scalar, ScalarTaps};
#[cfg(target_arch = "x86_64")]
pub use vnni::{Vnni, VnniTaps};

/// The instruction sets that integer networks have code for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// AVX-512 with VNNI, which adds four products of bytes to a sum.
    #[cfg(target_arch = "x86_64")]
    Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// NEON with the dot products of ARMv8.2, which add four products of bytes to a sum.
    #[cfg(target_arch = "aarch64")]
    DotProduct,
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// Plain Rust.
    Scalar,
}

impl Instructions {
    /// Those of this processor, fastest first.
    pub fn available() -> Vec<Self> {
        let mut available = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as detected;
            if detected!("avx512f") && detected!("avx512bw") && detected!("avx512vnni") {
                available.push(Self::Vnni);
            }
            if detected!("avx2") {
                available.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                available.push(Self::DotProduct);
            }
            available.push(Self::Neon);
        }
        available.push(Self::Scalar);
        available
    }

    /// The instruction set's name.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => "AVX-512 VNNI",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            #[cfg(target_arch = "aarch64")]
            Self::DotProduct => "NEON dot product",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "NEON",
            Self::Scalar => "scalar",
        }
    }
}

/// Input bytes of a pixel that are read at once.
pub const STEP: usize = 16;

/// The sums of `WIDTH` outputs for one pixel, in a dense convolution. Each step adds the products of [`STEP`] input
/// bytes, in one or several parts.
pub trait Dots: Copy {
    /// Outputs of a vector.
    const WIDTH: usize;
    /// Most vectors of a tile: 1, 2 or 4, whose outputs divide or are divided by [`super::CHANNELS`].
    const VECTORS: usize;
    /// Most pixels of a tile, so that its sums stay in registers; at most 6.
    const PIXELS: usize;
    /// Input bytes of a part, which divide [`STEP`].
    const PART: usize;

    /// [`STEP`] bytes of a pixel.
    type Input: Copy;

    /// `PART` weights of each of the `WIDTH` outputs.
    type Weights: Copy;

    /// Where the weight of an output for a byte of a part is stored.
    fn place(output: usize, byte: usize) -> usize {
        output * Self::PART + byte
    }

    /// What to add to the bias of an output whose weights have this sum, because of how the input is read.
    fn correction(weights: i32) -> i32 {
        let _ = weights;
        0
    }

    /// Starts with the bias of the outputs.
    unsafe fn start(bias: *const i32) -> Self;

    unsafe fn input(from: *const u8) -> Self::Input;

    unsafe fn weights(from: *const i8) -> Self::Weights;

    /// Adds the products of part number `INDEX` of the input.
    unsafe fn plus<const INDEX: i32>(self, input: Self::Input, weights: Self::Weights) -> Self;

    /// Rescales the sums of a pixel, and writes a byte for each.
    unsafe fn store<const N: usize>(sums: [Self; N], factors: *const f32, zero: u8, to: *mut u8);
}

/// The sums of `WIDTH` channels for one pixel, in a depthwise convolution with 3×3 kernels.
pub trait Taps: Copy {
    /// Channels of a vector, which divide [`super::CHANNELS`].
    const WIDTH: usize;

    /// One column of four rows, in a form that can be multiplied.
    type Column: Copy;

    /// A stored weight.
    type Weight: Copy + Default + From<i8>;

    /// Where the weight of a channel for one of four rows is stored, among 4 · `WIDTH`.
    fn place(channel: usize, row: usize) -> usize;

    /// Starts with the bias of the channels.
    unsafe fn start(bias: *const i32) -> Self;

    /// Reads `WIDTH` bytes of each of four rows.
    unsafe fn column(rows: [*const u8; 4]) -> Self::Column;

    /// Adds the products of three rows of a column, from row `SHIFT` (0 or 1) on. `weights` points to 4 · `WIDTH`
    /// weights, of which the last row's are 0, and then to as many moved by one row.
    unsafe fn plus<const SHIFT: usize>(self, column: Self::Column, weights: *const Self::Weight) -> Self;

    /// Rescales the sums, and writes a byte for each.
    unsafe fn store(self, factors: *const f32, zero: u8, to: *mut u8);
}
