//! NEON, which every aarch64 processor has, with or without the dot products of ARMv8.2.
//!
//! Both multiply only bytes of the same signedness, so the input is read as q − 128, and 128 · Σ w is added to the bias.

use super::super::rescaling::Rescaling;
use super::{Columns, Dense, Depthwise, Dots, Products, Shared, Taps, dense, depthwise};
#[allow(clippy::wildcard_imports)] // Each name says what it is.
use std::arch::aarch64::*;
use std::arch::asm;

/// Input bytes of a step.
const STEP: usize = 16;

/// q − 128 for 16 bytes q.
#[inline(always)]
unsafe fn signed(from: *const u8) -> int8x16_t {
    // SAFETY: guaranteed by the caller.
    unsafe { vreinterpretq_s8_u8(veorq_u8(vld1q_u8(from), vdupq_n_u8(0x80))) }
}

/// The steps of the output's scale for four sums. Rounds to the nearest integer, ties to even; what does not fit
/// saturates, here and later.
#[inline(always)]
unsafe fn steps(sums: int32x4_t, rescaling: &Rescaling, channel: usize) -> int16x4_t {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let steps = vmulq_f32(vcvtq_f32_s32(sums), vld1q_f32(rescaling.factors(channel)));
        vqmovn_s32(vcvtnq_s32_f32(steps))
    }
}

/// The bytes for 8 numbers of steps.
#[inline(always)]
unsafe fn bytes(steps: int16x8_t, rescaling: &Rescaling) -> uint8x8_t {
    // SAFETY: every aarch64 processor has NEON.
    unsafe { vqmovun_s16(vqaddq_s16(steps, vdupq_n_s16(i16::from(rescaling.zero)))) }
}

/// Writes the bytes for four sums per vector: pairs of vectors, or a single one.
#[inline(always)]
unsafe fn store<const N: usize>(sums: [int32x4_t; N], rescaling: &Rescaling, channel: usize, to: *mut u8) {
    let (pairs, rest) = sums.as_chunks::<2>();
    // SAFETY: guaranteed by the caller.
    unsafe {
        for (index, [low, high]) in pairs.iter().enumerate() {
            let low = steps(*low, rescaling, channel + 8 * index);
            let high = steps(*high, rescaling, channel + 8 * index + 4);
            vst1_u8(to.add(8 * index), bytes(vcombine_s16(low, high), rescaling));
        }
        if let &[sums] = rest {
            let steps = steps(sums, rescaling, channel + 8 * pairs.len());
            let four = vreinterpret_u32_u8(bytes(vcombine_s16(steps, steps), rescaling));
            to.add(8 * pairs.len()).cast::<u32>().write_unaligned(vget_lane_u32::<0>(four));
        }
    }
}

/// Four outputs, with a vector of products for each, which are added up at the end.
#[derive(Clone, Copy, Debug)]
pub struct Neon([int32x4_t; 4]);

impl Dots for Neon {
    const WIDTH: usize = 4;
    const VECTORS: usize = 2;
    const PIXELS: usize = 2;
    const STEP: usize = STEP;
    const PART: usize = STEP;

    type Value = u8;
    type StoredWeight = i8;
    type Sum = i32;
    type Beginning = [i32; 4];
    type Ending = Rescaling;

    fn beginning(bias: i32, weights: impl Iterator<Item = i8>) -> [i32; 4] {
        [DotProduct::beginning(bias, weights), 0, 0, 0]
    }

    fn zero(rescaling: &Rescaling) -> u8 {
        rescaling.zero
    }

    compiled!(Dense, dense::Part, Neon, u8);
}

impl Products for Neon {
    type Input = int8x16_t;
    type Weights = [int8x16_t; 4];

    #[inline(always)]
    unsafe fn start(beginning: *const [i32; 4]) -> Self {
        let (a, b, c, d);
        // From intrinsics, the compiler makes copies of the registers for each pixel, which are more instructions.
        // SAFETY: the caller has four beginnings; every aarch64 processor has these instructions.
        unsafe {
            asm!(
                "ldp {a:q}, {b:q}, [{beginning}]",
                "ldp {c:q}, {d:q}, [{beginning}, #32]",
                a = out(vreg) a,
                b = out(vreg) b,
                c = out(vreg) c,
                d = out(vreg) d,
                beginning = in(reg) beginning,
                options(readonly, nostack, preserves_flags)
            );
        }
        Self([a, b, c, d])
    }

    #[inline(always)]
    unsafe fn input(from: *const u8) -> int8x16_t {
        // SAFETY: guaranteed by the caller.
        unsafe { signed(from) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::Weights {
        // SAFETY: guaranteed by the caller.
        unsafe { [vld1q_s8(from), vld1q_s8(from.add(16)), vld1q_s8(from.add(32)), vld1q_s8(from.add(48))] }
    }

    #[inline(always)]
    unsafe fn plus<const INDEX: i32>(self, input: int8x16_t, weights: Self::Weights) -> Self {
        let Self([mut a, mut b, mut c, mut d]) = self;
        let [of_a, of_b, of_c, of_d] = weights;
        // Two products of signed bytes fit into 16 bits, since no weight is -128. From intrinsics, the compiler makes
        // code that runs out of registers.
        // SAFETY: every aarch64 processor has these instructions, which only change these registers.
        unsafe {
            asm!(
                "smull {p:v}.8h, {of_a:v}.8b, {input:v}.8b",
                "smull {q:v}.8h, {of_b:v}.8b, {input:v}.8b",
                "smull {r:v}.8h, {of_c:v}.8b, {input:v}.8b",
                "smull {s:v}.8h, {of_d:v}.8b, {input:v}.8b",
                "smlal2 {p:v}.8h, {of_a:v}.16b, {input:v}.16b",
                "smlal2 {q:v}.8h, {of_b:v}.16b, {input:v}.16b",
                "smlal2 {r:v}.8h, {of_c:v}.16b, {input:v}.16b",
                "smlal2 {s:v}.8h, {of_d:v}.16b, {input:v}.16b",
                "sadalp {a:v}.4s, {p:v}.8h",
                "sadalp {b:v}.4s, {q:v}.8h",
                "sadalp {c:v}.4s, {r:v}.8h",
                "sadalp {d:v}.4s, {s:v}.8h",
                a = inout(vreg) a,
                b = inout(vreg) b,
                c = inout(vreg) c,
                d = inout(vreg) d,
                of_a = in(vreg) of_a,
                of_b = in(vreg) of_b,
                of_c = in(vreg) of_c,
                of_d = in(vreg) of_d,
                input = in(vreg) input,
                p = out(vreg) _,
                q = out(vreg) _,
                r = out(vreg) _,
                s = out(vreg) _,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        Self([a, b, c, d])
    }

    #[inline(always)]
    unsafe fn store<const N: usize>(sums: [Self; N], rescaling: &Rescaling, output: usize, to: *mut u8) {
        // SAFETY: guaranteed by the caller.
        let all = sums.map(|Self([a, b, c, d])| unsafe { vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d)) });
        // SAFETY: guaranteed by the caller.
        unsafe { store(all, rescaling, output, to) }
    }
}

/// Like [`Neon`], with four products in 16 bits: an eighth fewer instructions. Only for weights that
/// [`NeonFour::can_add`].
#[derive(Clone, Copy, Debug)]
pub struct NeonFour([int32x4_t; 4]);

impl NeonFour {
    /// Whether the products of these weights, each group of them for one output, never exceed 16 bits when those of
    /// every eighth value are added: 128 · 255 < 2^15.
    pub fn can_add<'a>(mut groups: impl Iterator<Item = &'a [i8]>) -> bool {
        let magnitude = |step: &[i8], lane: usize| -> u32 {
            step.iter().skip(lane).step_by(8).map(|weight| u32::from(weight.unsigned_abs())).sum()
        };
        groups.all(|group| group.chunks(2 * STEP).all(|step| (0..8).all(|lane| magnitude(step, lane) <= 255)))
    }
}

impl Dots for NeonFour {
    const WIDTH: usize = 4;
    const VECTORS: usize = 1;
    const PIXELS: usize = 4;
    const STEP: usize = 2 * STEP;
    const PART: usize = 2 * STEP;

    type Value = u8;
    type StoredWeight = i8;
    type Sum = i32;
    type Beginning = [i32; 4];
    type Ending = Rescaling;

    fn beginning(bias: i32, weights: impl Iterator<Item = i8>) -> [i32; 4] {
        Neon::beginning(bias, weights)
    }

    fn zero(rescaling: &Rescaling) -> u8 {
        rescaling.zero
    }

    compiled!(Dense, dense::Part, NeonFour, u8);
}

impl Products for NeonFour {
    /// Read when they are used: the compiler would read those of all pixels at once, and run out of registers.
    type Input = *const u8;
    type Weights = [int8x16x2_t; 4];

    const PREPARED: bool = true;

    /// Every group of outputs reads a pixel again, so q − 128 is computed beforehand.
    #[inline(always)]
    unsafe fn prepare(from: *const u8, to: *mut u8, steps: usize) {
        for place in (0..steps * Self::STEP).step_by(STEP) {
            // SAFETY: guaranteed by the caller.
            unsafe { vst1q_u8(to.add(place), vreinterpretq_u8_s8(signed(from.add(place)))) }
        }
    }

    #[inline(always)]
    unsafe fn start(beginning: *const [i32; 4]) -> Self {
        // SAFETY: guaranteed by the caller.
        Self(unsafe { Neon::start(beginning) }.0)
    }

    #[inline(always)]
    unsafe fn input(from: *const u8) -> *const u8 {
        from
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::Weights {
        // SAFETY: guaranteed by the caller.
        [0, 1, 2, 3].map(|output| unsafe {
            let from = from.add(2 * STEP * output);
            int8x16x2_t(vld1q_s8(from), vld1q_s8(from.add(STEP)))
        })
    }

    #[inline(always)]
    unsafe fn plus<const INDEX: i32>(self, input: *const u8, weights: Self::Weights) -> Self {
        let Self([mut a, mut b, mut c, mut d]) = self;
        let [of_a, of_b, of_c, of_d] = weights;
        // SAFETY: every aarch64 processor has these instructions, which read 32 bytes and only change these registers.
        unsafe {
            asm!(
                "ldp {first:q}, {second:q}, [{input}]",
                "smull {p:v}.8h, {a1:v}.8b, {first:v}.8b",
                "smull {q:v}.8h, {b1:v}.8b, {first:v}.8b",
                "smull {r:v}.8h, {c1:v}.8b, {first:v}.8b",
                "smull {s:v}.8h, {d1:v}.8b, {first:v}.8b",
                "smlal2 {p:v}.8h, {a1:v}.16b, {first:v}.16b",
                "smlal2 {q:v}.8h, {b1:v}.16b, {first:v}.16b",
                "smlal2 {r:v}.8h, {c1:v}.16b, {first:v}.16b",
                "smlal2 {s:v}.8h, {d1:v}.16b, {first:v}.16b",
                "smlal {p:v}.8h, {a2:v}.8b, {second:v}.8b",
                "smlal {q:v}.8h, {b2:v}.8b, {second:v}.8b",
                "smlal {r:v}.8h, {c2:v}.8b, {second:v}.8b",
                "smlal {s:v}.8h, {d2:v}.8b, {second:v}.8b",
                "smlal2 {p:v}.8h, {a2:v}.16b, {second:v}.16b",
                "smlal2 {q:v}.8h, {b2:v}.16b, {second:v}.16b",
                "smlal2 {r:v}.8h, {c2:v}.16b, {second:v}.16b",
                "smlal2 {s:v}.8h, {d2:v}.16b, {second:v}.16b",
                "sadalp {a:v}.4s, {p:v}.8h",
                "sadalp {b:v}.4s, {q:v}.8h",
                "sadalp {c:v}.4s, {r:v}.8h",
                "sadalp {d:v}.4s, {s:v}.8h",
                a = inout(vreg) a,
                b = inout(vreg) b,
                c = inout(vreg) c,
                d = inout(vreg) d,
                a1 = in(vreg) of_a.0,
                b1 = in(vreg) of_b.0,
                c1 = in(vreg) of_c.0,
                d1 = in(vreg) of_d.0,
                a2 = in(vreg) of_a.1,
                b2 = in(vreg) of_b.1,
                c2 = in(vreg) of_c.1,
                d2 = in(vreg) of_d.1,
                input = in(reg) input,
                first = out(vreg) _,
                second = out(vreg) _,
                p = out(vreg) _,
                q = out(vreg) _,
                r = out(vreg) _,
                s = out(vreg) _,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        Self([a, b, c, d])
    }

    #[inline(always)]
    unsafe fn store<const N: usize>(sums: [Self; N], rescaling: &Rescaling, output: usize, to: *mut u8) {
        // SAFETY: guaranteed by the caller.
        unsafe { Neon::store(sums.map(|Self(sums)| Neon(sums)), rescaling, output, to) }
    }
}

/// The sums of four outputs. `sdot` adds the products of four bytes to each.
#[derive(Clone, Copy, Debug)]
pub struct DotProduct(int32x4_t);

impl Dots for DotProduct {
    const WIDTH: usize = 4;
    const VECTORS: usize = 4;
    const PIXELS: usize = 4;
    const STEP: usize = STEP;
    const PART: usize = 4;

    type Value = u8;
    type StoredWeight = i8;
    type Sum = i32;
    type Beginning = i32;
    type Ending = Rescaling;

    fn beginning(bias: i32, weights: impl Iterator<Item = i8>) -> i32 {
        bias + 128 * weights.map(i32::from).sum::<i32>()
    }

    fn zero(rescaling: &Rescaling) -> u8 {
        rescaling.zero
    }

    compiled!(Dense, dense::Part, DotProduct, u8, "dotprod");
}

impl Products for DotProduct {
    type Input = int8x16_t;
    type Weights = int8x16_t;

    #[inline(always)]
    unsafe fn start(beginning: *const i32) -> Self {
        // SAFETY: guaranteed by the caller.
        Self(unsafe { vld1q_s32(beginning) })
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
    unsafe fn store<const N: usize>(sums: [Self; N], rescaling: &Rescaling, output: usize, to: *mut u8) {
        // SAFETY: guaranteed by the caller.
        unsafe { store(sums.map(|Self(sums)| sums), rescaling, output, to) }
    }
}

/// Eight channels.
#[derive(Clone, Copy, Debug)]
pub struct NeonTaps([int32x4_t; 2]);

impl Taps for NeonTaps {
    const WIDTH: usize = 8;

    type Value = u8;
    type Weight = i16;
    type Sum = i32;
    type Ending = Rescaling;

    fn zero(rescaling: &Rescaling) -> u8 {
        rescaling.zero
    }

    compiled!(Depthwise, depthwise::Part, NeonTaps, u8);
}

impl Columns for NeonTaps {
    /// Each row as 16-bit numbers.
    type Column = [int16x8_t; 4];

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
    unsafe fn store(self, rescaling: &Rescaling, channel: usize, to: *mut u8) {
        // SAFETY: guaranteed by the caller.
        unsafe { store(self.0, rescaling, channel, to) }
    }
}
