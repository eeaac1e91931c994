//! Floats, with the vectors of `lanes`.

use super::super::super::lanes::Lanes;
use super::{Columns, Dense, Depthwise, Dots, Products, Shared, Taps, dense, depthwise};
use std::arch::x86_64::{__m256, __m512};

/// Writes both vectors of sums for a lane.
macro_rules! floats {
    ($dots:ident, $taps:ident, $lane:ty, $vectors:literal, $features:literal) => {
        #[derive(Clone, Copy, Debug)]
        pub struct $dots($lane);

        impl Dots for $dots {
            const WIDTH: usize = <$lane>::WIDTH;
            const VECTORS: usize = $vectors;
            const PIXELS: usize = 6;
            const STEP: usize = 4;
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

            compiled!(Dense, dense::Part, $dots, f32, $features);
        }

        impl Products for $dots {
            /// Broadcasting a float from memory costs nothing, so they are read when they are used.
            type Input = *const f32;
            type Weights = $lane;

            #[inline(always)]
            unsafe fn start(beginning: *const f32) -> Self {
                // SAFETY: guaranteed by the caller.
                Self(unsafe { <$lane>::load(beginning) })
            }

            #[inline(always)]
            unsafe fn input(from: *const f32) -> *const f32 {
                from
            }

            #[inline(always)]
            unsafe fn weights(from: *const f32) -> $lane {
                // SAFETY: guaranteed by the caller.
                unsafe { <$lane>::load(from) }
            }

            #[inline(always)]
            unsafe fn plus<const INDEX: i32>(self, input: *const f32, weights: $lane) -> Self {
                // SAFETY: guaranteed by the caller.
                Self(unsafe { self.0.plus_product(<$lane>::splat(*input.add(INDEX as usize)), weights) })
            }

            #[inline(always)]
            unsafe fn store<const N: usize>(sums: [Self; N], [least, most]: &[f32; 2], _: usize, to: *mut f32) {
                for (index, Self(sums)) in sums.into_iter().enumerate() {
                    // SAFETY: guaranteed by the caller.
                    unsafe {
                        let clamped = sums.clamped(<$lane>::splat(*least), <$lane>::splat(*most));
                        clamped.store(to.add(<$lane>::WIDTH * index));
                    }
                }
            }
        }

        #[derive(Clone, Copy, Debug)]
        pub struct $taps($lane);

        impl Taps for $taps {
            const WIDTH: usize = <$lane>::WIDTH;

            type Value = f32;
            type Weight = f32;
            type Sum = f32;
            type Ending = [f32; 2];

            fn zero(_: &[f32; 2]) -> f32 {
                0.0
            }

            compiled!(Depthwise, depthwise::Part, $taps, f32, $features);
        }

        impl Columns for $taps {
            type Column = [$lane; 4];

            #[inline(always)]
            unsafe fn start(bias: *const f32) -> Self {
                // SAFETY: guaranteed by the caller.
                Self(unsafe { <$lane>::load(bias) })
            }

            #[inline(always)]
            unsafe fn column(rows: [*const f32; 4]) -> Self::Column {
                // SAFETY: guaranteed by the caller.
                rows.map(|row| unsafe { <$lane>::load(row) })
            }

            #[inline(always)]
            unsafe fn plus<const SHIFT: usize>(self, column: Self::Column, weights: *const f32) -> Self {
                let Self(mut sums) = self;
                for (row, values) in column[SHIFT..SHIFT + 3].iter().enumerate() {
                    // SAFETY: guaranteed by the caller.
                    sums = unsafe { sums.plus_product(*values, <$lane>::load(weights.add(row * Self::WIDTH))) };
                }
                Self(sums)
            }

            #[inline(always)]
            unsafe fn store(self, [least, most]: &[f32; 2], _: usize, to: *mut f32) {
                // SAFETY: guaranteed by the caller.
                unsafe { self.0.clamped(<$lane>::splat(*least), <$lane>::splat(*most)).store(to) }
            }
        }
    };
}

floats!(Avx512Dots, Avx512Taps, __m512, 4, "avx512f");
floats!(Avx2Dots, Avx2FloatTaps, __m256, 2, "avx2,fma");
