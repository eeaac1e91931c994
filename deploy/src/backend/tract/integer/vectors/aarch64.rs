//! NEON, which every aarch64 processor has, with or without the dot products of ARMv8.2.
//!
//! Both multiply only bytes of the same signedness, so the input is read as q − 128, and 128 · Σ w is added to the bias.

use super::{Dots, STEP, Taps};
#[allow(clippy::wildcard_imports)] // Each name says what it is.
use std::arch::aarch64::*;
use std::arch::asm;

/// q − 128 for 16 bytes q.
#[inline(always)]
unsafe fn signed(from: *const u8) -> int8x16_t {
    // SAFETY: guaranteed by the caller.
    unsafe { vreinterpretq_s8_u8(veorq_u8(vld1q_u8(from), vdupq_n_u8(0x80))) }
}

/// The bytes for 8 sums, as 16-bit numbers before the last saturation. Rounds to the nearest integer, ties to even;
/// what does not fit saturates.
#[inline(always)]
unsafe fn steps(sums: [int32x4_t; 2], factors: *const f32, zero: u8) -> int16x8_t {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let low = vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sums[0]), vld1q_f32(factors)));
        let high = vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sums[1]), vld1q_f32(factors.add(4))));
        vqaddq_s16(vqmovn_high_s32(vqmovn_s32(low), high), vdupq_n_s16(i16::from(zero)))
    }
}

/// Four outputs, with a vector of products for each, which are added up at the end.
#[derive(Clone, Copy)]
pub struct Neon([int32x4_t; 4]);

impl Dots for Neon {
    const WIDTH: usize = 4;
    const VECTORS: usize = 2;
    const PIXELS: usize = 3;
    const PART: usize = STEP;

    type Input = int8x16_t;
    type Weights = *const i8;

    fn correction(weights: i32) -> i32 {
        128 * weights
    }

    #[inline(always)]
    unsafe fn start(bias: *const i32) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let zero = vdupq_n_s32(0);
            Self([
                vld1q_lane_s32::<0>(bias, zero),
                vld1q_lane_s32::<0>(bias.add(1), zero),
                vld1q_lane_s32::<0>(bias.add(2), zero),
                vld1q_lane_s32::<0>(bias.add(3), zero),
            ])
        }
    }

    #[inline(always)]
    unsafe fn input(from: *const u8) -> int8x16_t {
        // SAFETY: guaranteed by the caller.
        unsafe { signed(from) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> *const i8 {
        from
    }

    #[inline(always)]
    unsafe fn plus<const INDEX: i32>(self, input: int8x16_t, weights: *const i8) -> Self {
        let Self(mut sums) = self;
        for (output, sum) in sums.iter_mut().enumerate() {
            // SAFETY: guaranteed by the caller. Two products of signed bytes fit into 16 bits: no weight is -128.
            unsafe {
                let weights = vld1q_s8(weights.add(STEP * output));
                let products = vmull_s8(vget_low_s8(input), vget_low_s8(weights));
                *sum = vpadalq_s16(*sum, vmlal_high_s8(products, input, weights));
            }
        }
        Self(sums)
    }

    #[inline(always)]
    unsafe fn store<const N: usize>(sums: [Self; N], factors: *const f32, zero: u8, to: *mut u8) {
        // SAFETY: guaranteed by the caller.
        let all = sums.map(|Self([a, b, c, d])| unsafe { vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d)) });
        for (index, pair) in all.as_chunks::<2>().0.iter().enumerate() {
            // SAFETY: guaranteed by the caller.
            unsafe { vst1_u8(to.add(8 * index), vqmovun_s16(steps(*pair, factors.add(8 * index), zero))) }
        }
    }
}

/// The sums of four outputs. `sdot` adds the products of four bytes to each.
#[derive(Clone, Copy)]
pub struct DotProduct(int32x4_t);

impl Dots for DotProduct {
    const WIDTH: usize = 4;
    const VECTORS: usize = 4;
    const PIXELS: usize = 4;
    const PART: usize = 4;

    type Input = int8x16_t;
    type Weights = int8x16_t;

    fn correction(weights: i32) -> i32 {
        128 * weights
    }

    #[inline(always)]
    unsafe fn start(bias: *const i32) -> Self {
        // SAFETY: guaranteed by the caller.
        Self(unsafe { vld1q_s32(bias) })
    }

    #[inline(always)]
    unsafe fn input(from: *const u8) -> int8x16_t {
        // SAFETY: guaranteed by the caller.
        unsafe { signed(from) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> int8x16_t {
        // SAFETY: guaranteed by the caller.
        unsafe { vld1q_s8(from) }
    }

    #[inline(always)]
    unsafe fn plus<const INDEX: i32>(self, input: int8x16_t, weights: int8x16_t) -> Self {
        let Self(mut sums) = self;
        // The intrinsic `vdotq_laneq_s32` is not stable yet.
        // SAFETY: the caller has the instruction, which only changes this register.
        unsafe {
            asm!(
                "sdot {sums:v}.4s, {weights:v}.16b, {input:v}.4b[{index}]",
                sums = inout(vreg) sums,
                weights = in(vreg) weights,
                input = in(vreg) input,
                index = const INDEX,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        Self(sums)
    }

    #[inline(always)]
    unsafe fn store<const N: usize>(sums: [Self; N], factors: *const f32, zero: u8, to: *mut u8) {
        let all = sums.map(|Self(sums)| sums);
        for (index, pair) in all.as_chunks::<2>().0.iter().enumerate() {
            // SAFETY: guaranteed by the caller.
            unsafe { vst1_u8(to.add(8 * index), vqmovun_s16(steps(*pair, factors.add(8 * index), zero))) }
        }
    }
}

/// Eight channels.
#[derive(Clone, Copy)]
pub struct NeonTaps([int32x4_t; 2]);

impl Taps for NeonTaps {
    const WIDTH: usize = 8;

    /// Each row as 16-bit numbers.
    type Column = [int16x8_t; 4];
    type Weight = i16;

    fn place(channel: usize, row: usize) -> usize {
        row * 8 + channel
    }

    #[inline(always)]
    unsafe fn start(bias: *const i32) -> Self {
        // SAFETY: guaranteed by the caller.
        Self(unsafe { [vld1q_s32(bias), vld1q_s32(bias.add(4))] })
    }

    #[inline(always)]
    unsafe fn column(rows: [*const u8; 4]) -> [int16x8_t; 4] {
        // SAFETY: guaranteed by the caller.
        rows.map(|row| unsafe { vreinterpretq_s16_u16(vmovl_u8(vld1_u8(row))) })
    }

    #[inline(always)]
    unsafe fn plus<const SHIFT: usize>(self, column: [int16x8_t; 4], weights: *const i16) -> Self {
        let Self([mut low, mut high]) = self;
        for (row, bytes) in column[SHIFT..SHIFT + 3].iter().enumerate() {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let weights = vld1q_s16(weights.add(8 * row));
                low = vmlal_s16(low, vget_low_s16(*bytes), vget_low_s16(weights));
                high = vmlal_high_s16(high, *bytes, weights);
            }
        }
        Self([low, high])
    }

    #[inline(always)]
    unsafe fn store(self, factors: *const f32, zero: u8, to: *mut u8) {
        // SAFETY: guaranteed by the caller.
        unsafe { vst1_u8(to, vqmovun_s16(steps(self.0, factors, zero))) }
    }
}
