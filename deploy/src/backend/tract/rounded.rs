//! Rounds to the values that 8 bits can represent, as `QuantizeLinear` followed by `DequantizeLinear` does.

use super::channels_last::ROUNDING;
use super::lanes::Lane;
use super::operator::Floats;

/// Rounds floats to multiples of `scale` that a byte with the zero point `zero` can store.
#[derive(Clone, Debug)]
pub(super) struct Rounded {
    pub scale: f32,
    pub zero: u8,
    /// Number of floats.
    pub count: usize,
    /// The widest lane of the processor.
    pub lane: Lane,
}

impl Rounded {
    /// Compiled once for each instruction set, so that the compiler vectorises it.
    #[inline(always)]
    #[allow(clippy::inline_always)] // It must end up in the function that is compiled for the instruction set.
    fn round(&self, input: &[f32], output: &mut [f32]) {
        let (least, most) = (-f32::from(self.zero), f32::from(u8::MAX - self.zero));
        for (to, value) in output.iter_mut().zip(input) {
            // `max` and `min` return the bound for a NaN, and compile to one instruction each.
            let steps = (value / self.scale).max(least).min(most);
            *to = ((steps + ROUNDING) - ROUNDING) * self.scale;
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn round_avx512(&self, input: &[f32], output: &mut [f32]) {
        self.round(input, output);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn round_avx2(&self, input: &[f32], output: &mut [f32]) {
        self.round(input, output);
    }
}

impl Floats for Rounded {
    fn name(&self) -> &'static str {
        "Rounded"
    }

    fn count(&self) -> usize {
        self.count
    }

    fn compute(&self, input: &[f32], output: &mut [f32]) {
        match self.lane {
            // SAFETY: the processor has this lane: lanes come from `Lane::available`.
            #[cfg(target_arch = "x86_64")]
            Lane::Avx512 => unsafe { self.round_avx512(input, output) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Lane::Avx2 | Lane::Avx2Half => unsafe { self.round_avx2(input, output) },
            _ => self.round(input, output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ONNX's `QuantizeLinear`: x / scale, rounded half to even, plus the zero point, saturated to 0 to 255.
    #[test]
    fn floats_are_rounded_as_onnx_says() {
        let input = [0.25, 0.75, 1.25, -0.25, -0.74, -5.2, 122.4, 1e30, f32::NEG_INFINITY];
        for lane in Lane::available() {
            let rounded = Rounded { scale: 0.5, zero: 10, count: 9, lane };
            let mut output = [f32::NAN; 9];
            rounded.compute(&input, &mut output);
            let expected = [0.0, 1.0, 1.0, 0.0, -0.5, -5.0, 122.5, 122.5, -5.0];
            assert_eq!(output, expected, "{lane:?}");
        }
    }
}
