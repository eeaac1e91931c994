//! What computes a convolution in integers.

#[cfg(target_arch = "arm")]
use super::super::lanes::has_neon;
use super::rescaling::{Range, Rescaling};
use super::vectors;
use super::{Constants, Convolution, Layouts, Numbers, Whole};

/// The instruction sets that there is code for.
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
    #[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
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
        #[cfg(target_arch = "arm")]
        if has_neon() {
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
            #[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
            Self::Neon => "NEON",
            Self::Scalar => "scalar",
        }
    }

    /// Returns the kernel of a convolution whose input and output stand for these ranges. Returns `None` if it cannot be
    /// computed in integers.
    pub fn kernel(
        self,
        convolution: &Convolution,
        layouts: Layouts,
        (input, output): (Range, Range),
    ) -> Option<Whole<u8>> {
        let constants = layouts.fit(convolution).then(|| constants(convolution, input, output))??;
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => layouts.kernel::<vectors::Vnni, vectors::VnniTaps>(convolution, constants),
            // Two neighbouring products must fit into 16 bits.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 if constants.weights.iter().all(|weight| weight.unsigned_abs() <= 64) => {
                layouts.kernel::<vectors::Avx2, vectors::Avx2Taps>(convolution, constants)
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => layouts.kernel::<vectors::Wide, vectors::Avx2Taps>(convolution, constants),
            #[cfg(target_arch = "aarch64")]
            Self::DotProduct => layouts.kernel::<vectors::DotProduct, vectors::NeonTaps>(convolution, constants),
            // Steps of 32 channels, without much padding.
            #[cfg(target_arch = "aarch64")]
            Self::Neon
                if convolution.kernel == 1
                    && convolution.inputs_per_group.next_multiple_of(32) * 4 <= convolution.inputs_per_group * 5
                    && vectors::NeonFour::can_add(constants.weights.chunks(convolution.inputs_per_group)) =>
            {
                layouts.kernel::<vectors::NeonFour, vectors::NeonTaps>(convolution, constants)
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => layouts.kernel::<vectors::Neon, vectors::NeonTaps>(convolution, constants),
            #[cfg(target_arch = "arm")]
            Self::Neon => layouts.kernel::<vectors::ByteDots, vectors::ByteTaps>(convolution, constants),
            Self::Scalar => layouts.kernel::<vectors::Scalar, vectors::ScalarTaps>(convolution, constants),
        }
    }
}

/// Converts the constants of a convolution, so that zero points need no attention later. `None` if one is stored as a
/// float, or a sum might not fit into 32 bits.
pub(super) fn constants(
    convolution: &Convolution,
    input: Range,
    output: Range,
) -> Option<Constants<'_, i8, i32, Rescaling>> {
    let Convolution { weights: Numbers::Bytes(weights), bias, clamp: [least, most], .. } = convolution else {
        return None;
    };
    let outputs = weights.scales.len();
    let per_output = weights.values.len().checked_div(outputs)?;
    let bounded = *least != f32::NEG_INFINITY || *most != f32::INFINITY;
    if bounded || !weights.values.len().is_multiple_of(outputs) || outputs != bias.len() {
        return None;
    }
    let summed: Vec<f32> = weights.scales.iter().map(|scale| scale * input.scale).collect();
    // A product that is almost 0 loses its last digits.
    if !summed.iter().all(|scale| scale.is_normal()) {
        return None;
    }
    let bias = match bias {
        Numbers::Integers(bias) if bias.scales == summed => bias.values.clone(),
        Numbers::Floats(bias) if bias.iter().all(|&bias| bias == 0.0) => vec![0; outputs],
        _ => return None,
    };
    let mut whole = Vec::with_capacity(outputs);
    for (weights, bias) in weights.values.chunks(per_output.max(1)).zip(bias) {
        // -128 has no counterpart, which the products of signed bytes on ARM need.
        let magnitude: i64 = weights.iter().map(|&weight| i64::from(weight.unsigned_abs())).sum();
        if weights.contains(&i8::MIN) || magnitude * 512 + i64::from(bias.unsigned_abs()) > i64::from(i32::MAX) {
            return None;
        }
        // Σ (q − z) · w = Σ q · w − z · Σ w
        let sum: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
        whole.push((i64::from(bias) - i64::from(input.zero) * sum) as i32);
    }
    let ending = Rescaling::new(&summed, output)?;
    (whole.len() == outputs).then(|| Constants { weights: &weights.values, bias: whole, ending })
}
