//! Static post-training quantization to 8 bits (Jacob et al., arXiv 1712.05877; Krishnamoorthi, arXiv 1806.08342).
//!
//! A real number r is stored as q with r = scale · (q − zero point). Activations are uint8 with one scale and zero
//! point per tensor, chosen by an observer that sees the activations on training images. Weights are int8 with one
//! scale per output channel and no zero point. Biases are int32 with scale (input scale · weight scale), the scale in
//! which integer convolutions accumulate. The classifier, a thousandth of the arithmetic, computes in floats; only its
//! weights are stored in 8 bits.
//!
//! Quantization works on the folded weights and the layer list, not on a finished graph: the layer list says which
//! activations ReLU6 bounds, and every tensor is named after its layer.

use super::body;
use super::fold;
use super::observer::Histogram;
use anyhow::{Context, Result, ensure};
use models::architecture::{Convolution, Form, Op};
use models::card::{ModelCard, RangeObserver};
use std::collections::BTreeMap;
use tch::Tensor;

/// Name of the network's input among the activations; the others are named after their layer.
pub(super) const INPUT: &str = "pixels";

/// Largest magnitude of a quantized weight.
///
/// CPUs with AVX2 or AVX-512 but without VNNI add pairs of uint8 · int8 products in 16 bits. With 8-bit weights these
/// sums can overflow (2 · 255 · 127 > 32,767), and ONNX Runtime's results depend on the CPU. With 7-bit weights they
/// cannot (2 · 255 · 64 = 32,640). ONNX Runtime's quantization documentation calls this `reduce_range`.
const LARGEST_WEIGHT: i8 = 64;

/// Largest magnitude where no 16-bit sums occur: depthwise convolutions add their few products in 32 bits, and the
/// classifier computes in floats.
const LARGEST_WEIGHT_ALONE: i8 = 127;

/// Largest magnitude of a quantized bias; leaves headroom for the products that are added to it.
const LARGEST_BIAS: f64 = (1_u32 << 30) as f64;

/// Quantization parameters of an activation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Step between two values.
    pub scale: f32,
    /// The stored value that represents 0.
    pub zero_point: u8,
}

impl Range {
    /// The parameters for values from `low` to `high`. The range is widened to include 0.
    #[must_use]
    pub fn between(low: f64, high: f64) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        // If only 0 was seen, any step works.
        let scale = if high > low { ((high - low) / 255.0) as f32 } else { 1.0 };
        let zero_point = (-low / f64::from(scale)).round().clamp(0.0, 255.0) as u8;
        Self { scale, zero_point }
    }

    /// `value` after quantization and dequantization.
    #[must_use]
    pub fn nearest(self, value: f64) -> f64 {
        let (scale, zero) = (f64::from(self.scale), f64::from(self.zero_point));
        ((value / scale).round_ties_even() + zero).clamp(0.0, 255.0).mul_add(scale, -zero * scale)
    }

    /// Quantizes and dequantizes a tensor as `QuantizeLinear` and `DequantizeLinear` do.
    fn nearest_all(self, values: &Tensor) -> Result<Tensor> {
        let (scale, zero) = (f64::from(self.scale), f64::from(self.zero_point));
        let stored = values.f_div_scalar(scale)?.f_round()?.f_clamp(-zero, 255.0 - zero)?;
        Ok(stored.f_mul_scalar(scale)?)
    }
}

/// A layer's quantized weights and bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// `[output, input / groups, kernel, kernel]`, or `[output, input]` for the classifier.
    pub shape: Vec<i64>,
    /// Row-major.
    pub weight: Vec<i8>,
    /// One scale per output channel, `[output]`.
    pub scales: Vec<f32>,
    /// `None` for a convolution without batch norm.
    pub bias: Option<Bias>,
}

/// A layer's bias.
#[derive(Clone, Debug, PartialEq)]
pub enum Bias {
    /// The bias of a layer that computes in integers.
    Int32 {
        /// The stored biases, `[output]`.
        values: Vec<i32>,
        /// Scales, `[output]`: the input's scale times the weight's.
        scales: Vec<f32>,
    },
    /// The classifier's bias, `[output]`.
    Fp32(Vec<f32>),
}

impl Bias {
    /// The bias as floats.
    fn dequantized(&self) -> Vec<f32> {
        match self {
            Self::Int32 { values, scales } => {
                values.iter().zip(scales).map(|(&value, scale)| value as f32 * scale).collect()
            }
            Self::Fp32(values) => values.clone(),
        }
    }
}

/// A quantized network: activation ranges and weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    ranges: BTreeMap<String, Range>,
    /// The weights of every layer that has any, by layer name.
    pub layers: BTreeMap<String, Weights>,
}

impl Quantized {
    /// The quantization parameters of an activation, by name. Errors if there is no such activation.
    pub fn range(&self, name: &str) -> Result<Range> {
        self.ranges.get(name).copied().with_context(|| format!("no range for the activation {name}"))
    }

    /// The quantization parameters of every activation, with its name.
    pub fn ranges(&self) -> impl Iterator<Item = (&str, Range)> {
        self.ranges.iter().map(|(name, range)| (name.as_str(), *range))
    }

    /// The dequantized weights, which the graph computes with.
    fn dequantized(&self) -> BTreeMap<String, fold::Weights> {
        let layers = self.layers.iter().map(|(name, Weights { shape, weight, scales, bias })| {
            let per_channel = weight.len() / scales.len().max(1);
            let weight = weight.chunks(per_channel.max(1)).zip(scales);
            let weight = weight.flat_map(|(weights, scale)| weights.iter().map(move |&w| f32::from(w) * scale));
            let bias = bias.as_ref().map(Bias::dequantized);
            (name.clone(), fold::Weights { shape: shape.clone(), weight: weight.collect(), bias })
        });
        layers.collect()
    }

    /// Simulates the int8 graph in libtorch: logits `[N, classes]` of u8 images `[N, C, H, W]`.
    pub fn logits(&self, card: &ModelCard, images: &Tensor) -> Result<Tensor> {
        body::logits(card, &self.dequantized(), images, |name, value| self.range(name)?.nearest_all(&value))
    }
}

/// Quantizes folded weights and calibrates the activation ranges on `images`, u8 `[N, C, H, W]`. Errors if there are no
/// images.
pub fn quantize(
    card: &ModelCard,
    folded: &BTreeMap<String, fold::Weights>,
    images: &Tensor,
    observer: RangeObserver,
) -> Result<Quantized> {
    let ranges = calibrate(card, folded, images, observer)?;
    let mut layers = BTreeMap::new();
    let mut input = INPUT.to_owned();
    for layer in card.network()?.layers() {
        let name = layer.name;
        let Some(own) = folded.get(&name) else {
            ensure!(layer.op == Op::GlobalAveragePool, "no weights for layer {name}");
            continue;
        };
        let weights = match layer.op {
            Op::Convolution(Convolution { form, normalised: true, .. }) => {
                let range = ranges.get(&input).with_context(|| format!("no range for the activation {input}"))?;
                let largest = if form == Form::Depthwise { LARGEST_WEIGHT_ALONE } else { LARGEST_WEIGHT };
                input.clone_from(&name);
                quantized_weights(own, Some(*range), largest)
            }
            _ => quantized_weights(own, None, LARGEST_WEIGHT_ALONE),
        };
        layers.insert(name, weights);
    }
    Ok(Quantized { ranges, layers })
}

/// Quantizes the weights of one layer. `input` holds the quantization parameters of its input if it computes in
/// integers, `None` if it computes in floats. `largest` is the largest magnitude of a stored weight.
fn quantized_weights(folded: &fold::Weights, input: Option<Range>, largest: i8) -> Weights {
    let channels = folded.shape.first().map_or(1, |&channels| channels.max(1) as usize);
    let per_channel = (folded.weight.len() / channels).max(1);
    let mut scales = Vec::with_capacity(channels);
    let mut weight = Vec::with_capacity(folded.weight.len());
    for (channel, weights) in folded.weight.chunks(per_channel).enumerate() {
        let magnitude = weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
        // In a channel with tiny weights, the scale would be too small to store the bias.
        let needed = match (input, &folded.bias) {
            (Some(input), Some(bias)) => f64::from(bias[channel].abs()) / (LARGEST_BIAS * f64::from(input.scale)),
            _ => 0.0,
        };
        let scale = (f64::from(magnitude) / f64::from(largest)).max(needed) as f32;
        let scale = if scale > 0.0 { scale } else { 1.0 };
        let limit = f32::from(largest);
        weight.extend(weights.iter().map(|weight| (weight / scale).round_ties_even().clamp(-limit, limit) as i8));
        scales.push(scale);
    }
    let bias = folded.bias.as_ref().map(|bias| match input {
        Some(input) => {
            let scales: Vec<f32> = scales.iter().map(|scale| scale * input.scale).collect();
            let values = bias.iter().zip(&scales);
            let values = values.map(|(&bias, &scale)| (f64::from(bias) / f64::from(scale)).round_ties_even() as i32);
            Bias::Int32 { values: values.collect(), scales }
        }
        None => Bias::Fp32(bias.clone()),
    });
    Weights { shape: folded.shape.clone(), weight, scales, bias }
}

/// Finds the range of every activation by running the fp32 network on `images`.
fn calibrate(
    card: &ModelCard,
    folded: &BTreeMap<String, fold::Weights>,
    images: &Tensor,
    observer: RangeObserver,
) -> Result<BTreeMap<String, Range>> {
    ensure!(images.size()[0] > 0, "there are no images to calibrate with");
    let (scale, shift) = card.preprocessing.scale_and_shift();
    let (mut low, mut high) = (0.0_f64, 0.0_f64);
    for (scale, shift) in scale.into_iter().zip(shift) {
        let (black, white) = (f64::from(shift), f64::from(255.0 * scale + shift));
        (low, high) = (low.min(black), high.max(white));
    }
    let mut histograms: BTreeMap<String, Histogram> = BTreeMap::new();
    // Only what the tap sees counts.
    let _ = body::logits(card, folded, images, |name, value| {
        // The input lies between black and white, every other activation between 0 and 6 (ReLU6).
        let (low, high) = if name == INPUT { (low, high) } else { (0.0, 6.0) };
        let histogram = histograms.entry(name.to_owned()).or_insert_with(|| Histogram::new(low, high));
        histogram.add(&value)?;
        Ok(value)
    })?;
    Ok(histograms.into_iter().map(|(name, histogram)| (name, histogram.range(observer))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples from the documentation of the ONNX operator: scale 2, zero point 128, ties to even, saturation.
    #[test]
    fn values_are_rounded_as_quantize_linear_does() {
        let range = Range { scale: 2.0, zero_point: 128 };
        let values = [0.0, 2.0, 3.0, 1000.0, -254.0, -1000.0, 1.0, 5.0];
        let expected = [128, 129, 130, 255, 1, 0, 128, 130].map(|q: i32| f64::from(2 * (q - 128)));
        let tensor = range.nearest_all(&Tensor::from_slice(&values)).unwrap();
        for (index, (value, expected)) in values.into_iter().zip(expected).enumerate() {
            assert_eq!(range.nearest(value), expected, "{value}");
            assert_eq!(tensor.double_value(&[index as i64]), expected, "{value}");
        }
    }

    #[test]
    fn a_range_holds_zero_exactly() {
        assert_eq!(Range::between(0.0, 6.0), Range { scale: 6.0 / 255.0, zero_point: 0 });
        assert_eq!(Range::between(-1.0, 1.55), Range { scale: 0.01, zero_point: 100 });
        assert_eq!(Range::between(0.0, 0.0).nearest(0.0), 0.0);
        // The range is widened to include 0, because padding is 0.
        assert_eq!(Range::between(2.0, 6.0), Range::between(0.0, 6.0));
    }

    #[test]
    fn each_channel_has_its_own_scale_and_its_bias_fits() {
        let folded = fold::Weights {
            shape: vec![3, 2, 1, 1],
            weight: vec![0.5, -1.0, 0.001, 0.0005, 0.0, 0.0],
            bias: Some(vec![1.0, -2.0, 3.0]),
        };
        let input = Range::between(0.0, 6.0);
        let Weights { weight, scales, bias, .. } = quantized_weights(&folded, Some(input), 64);
        assert_eq!(weight, [32, -64, 64, 32, 0, 0]);
        assert_eq!(scales[..2], [1.0 / 64.0, 0.001 / 64.0]);
        let Some(Bias::Int32 { values, scales }) = bias else { panic!("{bias:?}") };
        for ((value, scale), expected) in values.iter().zip(&scales).zip([1.0, -2.0, 3.0]) {
            let found = f64::from(*value) * f64::from(*scale);
            assert!((found - expected).abs() <= f64::from(*scale), "{found} for {expected}");
            assert!(f64::from(value.unsigned_abs()) <= LARGEST_BIAS * 1.001);
        }
        let classifier = quantized_weights(&folded, None, 127);
        assert_eq!(classifier.weight[..2], [64, -127]);
        assert_eq!(classifier.bias, folded.bias.map(Bias::Fp32));
    }
}
