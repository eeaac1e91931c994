//! AVX2: pairs of products in 16 bits, added to 8 sums.

use super::super::rescaling::Rescaling;
use super::{Columns, Dense, Depthwise, Dots, Products, Shared, Taps, dense, depthwise};
#[allow(clippy::wildcard_imports)] // Each name says what it is.
use std::arch::x86_64::*;

/// Adds pairs of products of bytes in 16 bits, where they fit: the magnitudes of two neighbouring weights must add up
/// to 128 at most (255 · 128 < 2^15). `train export` writes weights up to 64.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(__m256i);

/// For larger weights: extends the bytes to 16 bits before it multiplies them.
#[derive(Clone, Copy, Debug)]
pub struct Wide(__m256i);

/// What differs between the two: how four products are added to each of 8 sums.
macro_rules! dots {
    ($type:ident, $four_products:ident) => {
        impl Dots for $type {
            const WIDTH: usize = 8;
            const VECTORS: usize = 4;
            const PIXELS: usize = 3;
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

            compiled!(Dense, dense::Part, $type, u8, "avx2");
        }

        impl Products for $type {
            /// Broadcasting four bytes from memory costs nothing, so they are read when they are used.
            type Input = *const u8;
            type Weights = __m256i;

            #[inline(always)]
            unsafe fn start(beginning: *const i32) -> Self {
                // SAFETY: guaranteed by the caller.
                Self(unsafe { _mm256_loadu_si256(beginning.cast()) })
            }

            #[inline(always)]
            unsafe fn input(from: *const u8) -> *const u8 {
                from
            }

            #[inline(always)]
            unsafe fn weights(from: *const i8) -> __m256i {
                // SAFETY: guaranteed by the caller.
                unsafe { _mm256_loadu_si256(from.cast()) }
            }

            #[inline(always)]
            unsafe fn plus<const INDEX: i32>(self, input: *const u8, weights: __m256i) -> Self {
                // SAFETY: guaranteed by the caller.
                unsafe {
                    let four = input.add(4 * INDEX as usize).cast::<i32>().read_unaligned();
                    Self(_mm256_add_epi32(self.0, $four_products(_mm256_set1_epi32(four), weights)))
                }
            }

            #[inline(always)]
            unsafe fn store<const N: usize>(sums: [Self; N], rescaling: &Rescaling, output: usize, to: *mut u8) {
                for (index, Self(sums)) in sums.into_iter().enumerate() {
                    // SAFETY: guaranteed by the caller.
                    unsafe { store(sums, rescaling, output + 8 * index, to.add(8 * index)) }
                }
            }
        }
    };
}

dots!(Avx2, pairs_in_16_bits);
dots!(Wide, extended);

#[inline(always)]
unsafe fn pairs_in_16_bits(input: __m256i, weights: __m256i) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe { _mm256_madd_epi16(_mm256_maddubs_epi16(input, weights), _mm256_set1_epi16(1)) }
}

#[inline(always)]
unsafe fn extended(input: __m256i, weights: __m256i) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        // The bytes with even and odd places, as 16-bit numbers.
        let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights));
        let odd = _mm256_srai_epi16::<8>(weights);
        let even = _mm256_madd_epi16(_mm256_and_si256(input, _mm256_set1_epi16(0xff)), even);
        _mm256_add_epi32(even, _mm256_madd_epi16(_mm256_srli_epi16::<8>(input), odd))
    }
}

#[inline(always)]
unsafe fn store(sums: __m256i, rescaling: &Rescaling, channel: usize, to: *mut u8) {
    let [least, most] = Rescaling::bounds(rescaling.zero);
    // SAFETY: guaranteed by the caller.
    unsafe {
        let steps = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(rescaling.factors(channel)));
        let steps = _mm256_min_ps(_mm256_max_ps(steps, _mm256_set1_ps(least)), _mm256_set1_ps(most));
        // Rounds to the nearest integer, ties to even.
        let steps = _mm256_add_epi32(_mm256_cvtps_epi32(steps), _mm256_set1_epi32(i32::from(rescaling.zero)));
        // All fit into a byte, so nothing saturates.
        let words = _mm_packus_epi32(_mm256_castsi256_si128(steps), _mm256_extracti128_si256::<1>(steps));
        _mm_storel_epi64(to.cast(), _mm_packus_epi16(words, words));
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Avx2Taps(__m256i);

impl Taps for Avx2Taps {
    const WIDTH: usize = 8;

    type Value = u8;
    type Weight = i16;
    type Sum = i32;
    type Ending = Rescaling;

    fn place(channel: usize, row: usize) -> usize {
        row / 2 * 16 + channel * 2 + row % 2
    }

    fn zero(rescaling: &Rescaling) -> u8 {
        rescaling.zero
    }

    compiled!(Depthwise, depthwise::Part, Avx2Taps, u8, "avx2");
}

impl Columns for Avx2Taps {
    /// As 16-bit numbers: the first two rows of each channel next to each other, and the other two.
    type Column = [__m256i; 2];

    #[inline(always)]
    unsafe fn start(beginning: *const i32) -> Self {
        // SAFETY: guaranteed by the caller.
        Self(unsafe { _mm256_loadu_si256(beginning.cast()) })
    }

    #[inline(always)]
    unsafe fn column(rows: [*const u8; 4]) -> [__m256i; 2] {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let [first, second, third, fourth] = rows.map(|row| _mm_loadl_epi64(row.cast()));
            [
                _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(first, second)),
                _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(third, fourth)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn plus<const SHIFT: usize>(self, column: [__m256i; 2], weights: *const i16) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let weights = weights.add(32 * SHIFT);
            let upper = _mm256_madd_epi16(column[0], _mm256_loadu_si256(weights.cast()));
            let lower = _mm256_madd_epi16(column[1], _mm256_loadu_si256(weights.add(16).cast()));
            Self(_mm256_add_epi32(_mm256_add_epi32(self.0, upper), lower))
        }
    }

    #[inline(always)]
    unsafe fn store(self, rescaling: &Rescaling, channel: usize, to: *mut u8) {
        // SAFETY: guaranteed by the caller.
        unsafe { store(self.0, rescaling, channel, to) }
    }
}
