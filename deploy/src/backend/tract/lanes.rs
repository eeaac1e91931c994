//! Vectors of numbers that the processor computes at once: one trait, with an implementation per width and instruction
//! set.

// The intrinsics must be inlined into a function that is compiled for them; otherwise the compiler may emit calls.
#![allow(clippy::inline_always)]

/// The instruction sets that we have code for, fastest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// 16 numbers at once.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 8 numbers at once.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 4 numbers at once, with AVX2's instructions.
    #[cfg(target_arch = "x86_64")]
    Avx2Half,
    /// 4 numbers at once, with SSE2 or NEON, which all processors of these architectures have.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    Baseline,
    /// 4 numbers at once, with NEON, which most 32-bit ARM processors have. Only for code in assembly language.
    #[cfg(target_arch = "arm")]
    Neon,
    /// One number at a time.
    Scalar,
}

impl Lane {
    /// The instruction sets of this processor, fastest first.
    pub fn available() -> Vec<Self> {
        let mut lanes = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                lanes.push(Self::Avx512);
            }
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                lanes.extend([Self::Avx2, Self::Avx2Half]);
            }
        }
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        lanes.push(Self::Baseline);
        #[cfg(target_arch = "arm")]
        if has_neon() {
            lanes.push(Self::Neon);
        }
        lanes.push(Self::Scalar);
        lanes
    }

    /// The instruction set's name.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx2Half => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Self::Baseline => "SSE2",
            #[cfg(target_arch = "aarch64")]
            Self::Baseline => "NEON",
            #[cfg(target_arch = "arm")]
            Self::Neon => "NEON",
            Self::Scalar => "scalar",
        }
    }

    /// How many numbers it computes at once.
    pub fn width(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 16,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 8,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Half => 4,
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Self::Baseline => 4,
            #[cfg(target_arch = "arm")]
            Self::Neon => 4,
            Self::Scalar => 1,
        }
    }
}

/// Whether the processor has NEON. The standard library's own test is not stable for 32-bit ARM.
#[cfg(target_arch = "arm")]
pub(super) fn has_neon() -> bool {
    /// `HWCAP_NEON` in Linux.
    const NEON: libc::c_ulong = 1 << 12;
    // SAFETY: this only reads what the kernel told the process when it started.
    unsafe { libc::getauxval(libc::AT_HWCAP) & NEON != 0 }
}

/// A vector of `WIDTH` numbers.
///
/// # Safety
/// Every function needs the instruction set of its type, and `load` and `store` need `WIDTH` valid numbers at the
/// address. All are inlined into a caller that is compiled for that instruction set.
pub(super) trait Lanes: Copy {
    /// Numbers in a vector.
    const WIDTH: usize;

    /// Sets all numbers to `value`.
    unsafe fn splat(value: f32) -> Self;

    /// Reads the numbers at an address, which need not be aligned.
    unsafe fn load(from: *const f32) -> Self;

    /// Writes the numbers to an address, which need not be aligned.
    unsafe fn store(self, to: *mut f32);

    /// `self + a · b`, rounded only once if the instruction set has a fused multiply-add.
    unsafe fn plus_product(self, a: Self, b: Self) -> Self;

    /// Clamps the numbers to `least` and `most`.
    unsafe fn clamped(self, least: Self, most: Self) -> Self;
}

impl Lanes for f32 {
    const WIDTH: usize = 1;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        value
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe { from.read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: guaranteed by the caller.
        unsafe { to.write(self) }
    }

    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        // Without a hardware instruction, `mul_add` would be a slow function call.
        if cfg!(target_feature = "fma") || cfg!(target_arch = "aarch64") { a.mul_add(b, self) } else { a * b + self }
    }

    #[inline(always)]
    unsafe fn clamped(self, least: Self, most: Self) -> Self {
        let raised = if self < least { least } else { self };
        if raised > most { most } else { raised }
    }
}

/// Implements the trait for a type with the given intrinsics.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! lanes {
    ($type:ty, $width:literal, $splat:ident, $load:ident, $store:ident, $plus_product:ident, $larger:ident, $smaller:ident) => {
        impl Lanes for $type {
            const WIDTH: usize = $width;

            #[inline(always)]
            unsafe fn splat(value: f32) -> Self {
                // SAFETY: the caller has the instruction set.
                unsafe { $splat(value) }
            }

            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                // SAFETY: the caller has the instruction set, and `from` points to enough numbers.
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                // SAFETY: the caller has the instruction set, and `to` points to enough space.
                unsafe { $store(to, self) }
            }

            #[inline(always)]
            unsafe fn plus_product(self, a: Self, b: Self) -> Self {
                // SAFETY: the caller has the instruction set.
                unsafe { $plus_product(self, a, b) }
            }

            #[inline(always)]
            unsafe fn clamped(self, least: Self, most: Self) -> Self {
                // SAFETY: the caller has the instruction set.
                unsafe { $smaller($larger(self, least), most) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::Half;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    #[allow(clippy::wildcard_imports)] // Each name says what it is.
    use std::arch::x86_64::*;

    // SSE2, which every x86-64 processor has. It has no fused multiply-add.
    lanes!(__m128, 4, _mm_set1_ps, _mm_loadu_ps, _mm_storeu_ps, multiply_and_add, _mm_max_ps, _mm_min_ps);
    // AVX2 with FMA.
    lanes!(__m256, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, fused_256, _mm256_max_ps, _mm256_min_ps);
    // AVX-512F.
    lanes!(__m512, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, fused_512, _mm512_max_ps, _mm512_min_ps);

    /// Four numbers, for use in code compiled for AVX2 and FMA. Switching to SSE2 instructions there would cost dearly.
    #[derive(Clone, Copy)]
    pub struct Half(__m128);
    lanes!(Half, 4, splat_half, load_half, store_half, fused_half, larger_half, smaller_half);

    #[inline(always)]
    unsafe fn splat_half(value: f32) -> Half {
        // SAFETY: every x86-64 processor has SSE.
        Half(unsafe { _mm_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load_half(from: *const f32) -> Half {
        // SAFETY: the caller guarantees enough numbers.
        Half(unsafe { _mm_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn store_half(to: *mut f32, Half(values): Half) {
        // SAFETY: the caller guarantees enough space.
        unsafe { _mm_storeu_ps(to, values) }
    }

    #[inline(always)]
    unsafe fn fused_half(Half(sum): Half, Half(a): Half, Half(b): Half) -> Half {
        // SAFETY: the caller has FMA.
        Half(unsafe { _mm_fmadd_ps(a, b, sum) })
    }

    #[inline(always)]
    unsafe fn larger_half(Half(a): Half, Half(b): Half) -> Half {
        // SAFETY: every x86-64 processor has SSE.
        Half(unsafe { _mm_max_ps(a, b) })
    }

    #[inline(always)]
    unsafe fn smaller_half(Half(a): Half, Half(b): Half) -> Half {
        // SAFETY: every x86-64 processor has SSE.
        Half(unsafe { _mm_min_ps(a, b) })
    }

    #[inline(always)]
    unsafe fn multiply_and_add(sum: __m128, a: __m128, b: __m128) -> __m128 {
        // SAFETY: every x86-64 processor has SSE2.
        unsafe { _mm_add_ps(sum, _mm_mul_ps(a, b)) }
    }

    #[inline(always)]
    unsafe fn fused_256(sum: __m256, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller has FMA.
        unsafe { _mm256_fmadd_ps(a, b, sum) }
    }

    #[inline(always)]
    unsafe fn fused_512(sum: __m512, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller has AVX-512F.
        unsafe { _mm512_fmadd_ps(a, b, sum) }
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use super::Lanes;
    use std::arch::aarch64::{float32x4_t, vdupq_n_f32, vfmaq_f32, vld1q_f32, vmaxq_f32, vminq_f32, vst1q_f32};

    // NEON, which every aarch64 processor has.
    lanes!(float32x4_t, 4, vdupq_n_f32, vld1q_f32, vst1q_f32, vfmaq_f32, vmaxq_f32, vminq_f32);
}
