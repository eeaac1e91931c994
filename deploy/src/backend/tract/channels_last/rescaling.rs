//! From sums to bytes: the only rounding of a quantized network.

use super::CHANNELS;

/// What the bytes of a feature map stand for: q means `scale` · (q − `zero`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub scale: f32,
    pub zero: u8,
}

/// Adding this to a float rounds it to the nearest integer, ties to even, as `QuantizeLinear` requires: above 2^23, floats
/// have no fractional part. The last 8 bits of this number are 0, so those of the sum are the integer's. The compiler
/// vectorises this, but not `round_ties_even`.
pub const ROUNDING: f32 = 12_582_912.0; // 1.5 · 2^23

/// Turns the sums of a convolution into bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Rescaling {
    /// A factor for each channel, padded to a multiple of [`CHANNELS`].
    factors: Vec<f32>,
    pub zero: u8,
}

impl Rescaling {
    /// `summed` holds the scale of each channel's sums. `None` if a factor is not a number.
    pub fn new(summed: &[f32], output: Range) -> Option<Self> {
        let mut factors: Vec<f32> = summed.iter().map(|scale| scale / output.scale).collect();
        factors.resize(summed.len().next_multiple_of(CHANNELS), 0.0);
        factors.iter().all(|factor| factor.is_finite()).then_some(Self { factors, zero: output.zero })
    }

    /// Where the factors from this channel on are.
    pub fn factors(&self, channel: usize) -> *const f32 {
        self.factors[channel..].as_ptr()
    }

    /// The byte for a channel's sum: what all instruction sets compute.
    #[inline(always)]
    #[allow(clippy::inline_always)] // It must end up in the function that is compiled for the instruction set.
    pub fn byte(&self, channel: usize, sum: i32) -> u8 {
        nearest(sum as f32 * self.factors[channel], self.zero)
    }

    /// The bounds of a sum in steps of the output's scale, so that the byte lies between 0 and 255.
    pub fn bounds(zero: u8) -> [f32; 2] {
        [-f32::from(zero), f32::from(u8::MAX - zero)]
    }
}

/// The byte nearest to a number of steps.
#[inline(always)]
#[allow(clippy::inline_always)] // It must end up in the function that is compiled for the instruction set.
pub fn nearest(steps: f32, zero: u8) -> u8 {
    let [least, most] = Rescaling::bounds(zero);
    // `max` and `min` return the bound for a NaN, and compile to one instruction each.
    let rounded = steps.max(least).min(most) + ROUNDING;
    (rounded.to_bits() as u8).wrapping_add(zero)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rescaling(factor: f32, zero: u8) -> Rescaling {
        Rescaling::new(&[factor], Range { scale: 1.0, zero }).unwrap()
    }

    /// ONNX's `QuantizeLinear`: x / scale, rounded half to even, plus the zero point, saturated to 0 to 255.
    #[test]
    fn sums_are_rounded_as_onnx_says() {
        for (sum, expected) in [(1, 10), (3, 12), (5, 12), (-1, 10), (-3, 8), (-100, 0), (9000, 255), (i32::MAX, 255)] {
            assert_eq!(rescaling(0.5, 10).byte(0, sum), expected, "{sum}");
        }
        let rescaling = rescaling(1e30, 7);
        assert_eq!((rescaling.byte(0, i32::MIN), rescaling.byte(0, 0)), (0, 7));
        assert_eq!(nearest(f32::NAN, 3), 0);
    }
}
