//! AVX-512 with VNNI: `vpdpbusd` adds the products of four unsigned and four signed bytes to each of 16 sums.

use super::super::rescaling::Rescaling;
use super::{Columns, Dense, Depthwise, Dots, Products, Shared, Taps, dense, depthwise};
#[allow(clippy::wildcard_imports)] // Each name says what it is.
use std::arch::x86_64::*;

#[derive(Clone, Copy, Debug)]
pub struct Vnni(__m512i);

impl Dots for Vnni {
    const WIDTH: usize = 16;
    const VECTORS: usize = 4;
    const PIXELS: usize = 6;
    const STEP: usize = 16;
    const PART: usize = 4;

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

    compiled!(Dense, dense::Part, Vnni, u8, "avx512f,avx512bw,avx512vnni");
}

impl Products for Vnni {
    /// Broadcasting four bytes from memory costs nothing, so they are read when they are used.
    type Input = *const u8;
    type Weights = __m512i;

    #[inline(always)]
    unsafe fn start(beginning: *const i32) -> Self {
        // SAFETY: guaranteed by the caller.
        Self(unsafe { _mm512_loadu_epi32(beginning) })
    }

    #[inline(always)]
    unsafe fn input(from: *const u8) -> *const u8 {
        from
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m512i {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_loadu_epi8(from) }
    }

    #[inline(always)]
    unsafe fn plus<const INDEX: i32>(self, input: *const u8, weights: __m512i) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let four = input.add(4 * INDEX as usize).cast::<i32>().read_unaligned();
            Self(_mm512_dpbusd_epi32(self.0, _mm512_set1_epi32(four), weights))
        }
    }

    #[inline(always)]
    unsafe fn store<const N: usize>(sums: [Self; N], rescaling: &Rescaling, output: usize, to: *mut u8) {
        for (index, Self(sums)) in sums.into_iter().enumerate() {
            // SAFETY: guaranteed by the caller.
            unsafe { store(sums, rescaling, output + 16 * index, to.add(16 * index)) }
        }
    }
}

#[inline(always)]
unsafe fn store(sums: __m512i, rescaling: &Rescaling, channel: usize, to: *mut u8) {
    let [least, most] = Rescaling::bounds(rescaling.zero);
    // SAFETY: guaranteed by the caller.
    unsafe {
        let steps = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(rescaling.factors(channel)));
        let steps = _mm512_min_ps(_mm512_max_ps(steps, _mm512_set1_ps(least)), _mm512_set1_ps(most));
        // Rounds to the nearest integer, ties to even.
        let steps = _mm512_add_epi32(_mm512_cvtps_epi32(steps), _mm512_set1_epi32(i32::from(rescaling.zero)));
        _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(steps));
    }
}

#[derive(Clone, Copy, Debug)]
pub struct VnniTaps(__m512i);

impl Taps for VnniTaps {
    const WIDTH: usize = 16;

    type Value = u8;
    type Weight = i8;
    type Sum = i32;
    type Ending = Rescaling;

    fn place(channel: usize, row: usize) -> usize {
        channel * 4 + row
    }

    fn zero(rescaling: &Rescaling) -> u8 {
        rescaling.zero
    }

    compiled!(Depthwise, depthwise::Part, VnniTaps, u8, "avx512f,avx512bw,avx512vnni");
}

impl Columns for VnniTaps {
    /// The four rows of a channel next to each other.
    type Column = __m512i;

    #[inline(always)]
    unsafe fn start(beginning: *const i32) -> Self {
        // SAFETY: guaranteed by the caller.
        Self(unsafe { _mm512_loadu_epi32(beginning) })
    }

    #[inline(always)]
    unsafe fn column(rows: [*const u8; 4]) -> __m512i {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let [first, second, third, fourth] = rows.map(|row| _mm_loadu_si128(row.cast()));
            let rows = _mm512_castsi128_si512(first);
            let rows = _mm512_inserti32x4::<1>(rows, second);
            let rows = _mm512_inserti32x4::<2>(rows, third);
            let rows = _mm512_inserti32x4::<3>(rows, fourth);
            // Four channels of each row into each quarter, and then the rows of a channel next to each other.
            let quarters = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
            let bytes = _mm512_broadcast_i32x4(_mm_set_epi8(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0));
            _mm512_shuffle_epi8(_mm512_permutexvar_epi32(quarters, rows), bytes)
        }
    }

    #[inline(always)]
    unsafe fn plus<const SHIFT: usize>(self, column: __m512i, weights: *const i8) -> Self {
        // SAFETY: guaranteed by the caller.
        Self(unsafe { _mm512_dpbusd_epi32(self.0, column, _mm512_loadu_epi8(weights.add(64 * SHIFT))) })
    }

    #[inline(always)]
    unsafe fn store(self, rescaling: &Rescaling, channel: usize, to: *mut u8) {
        // SAFETY: guaranteed by the caller.
        unsafe { store(self.0, rescaling, channel, to) }
    }
}
