//! Quantized networks, computed in integers.
//!
//! `train export --precision int8` writes every convolution between a `DequantizeLinear` and a `QuantizeLinear`: its
//! input q stands for the number s · (q − z). So a convolution of the quantized values is a sum of products of bytes,
//! which processors compute several times faster than products of floats. Between the layers, values stay bytes.
//!
//! A feature map is stored pixel by pixel (`layout`), with the channels of a pixel next to each other, so that the
//! products of four channels add up in one instruction. `quantized` brings floats into this form and back,
//! `dense` and `depthwise` compute the convolutions, and `ending` the pooling and the classifier. `vectors` wraps the
//! instructions. Every instruction set computes the same integers and rounds them with the same operations on floats
//! ([`Rescaling`]), so that results do not depend on the processor.
//!
//! ONNX Runtime's `QLinearConv`, into which it turns these nodes, rounds in the same way: the sum is converted to a
//! float, multiplied by (input scale · weight scale) / output scale, and rounded to the nearest integer, ties to even.

mod dense;
mod depthwise;
mod ending;
mod layout;
mod quantized;
mod rescaling;
mod vectors;

#[cfg(test)]
mod tests;

pub(super) use ending::{Linear, Mean};
pub(super) use layout::Layout;
pub(super) use quantized::{Dequantized, Quantized};
pub(super) use rescaling::Range;
pub(super) use vectors::Instructions;

use super::chain::{Convolution, Numbers};
use super::operator::{Kernel, numbers};
use super::parallel::{self, Shared};
use rescaling::Rescaling;
use tract_core::internal::TractResult;
use tract_core::prelude::*;

/// Channels that all instruction sets can compute at once; feature maps have a multiple of it.
const CHANNELS: usize = 16;

/// Returns what computes a convolution whose input and output are stored like this and stand for these ranges. The
/// border of the input must be as wide as the convolution's padding. `None` if the convolution cannot be computed in
/// integers.
pub(super) fn kernel(
    convolution: &Convolution,
    (input, input_range): (Layout, Range),
    (output, output_range): (Layout, Range),
    instructions: Instructions,
) -> Option<impl Kernel + use<>> {
    let &Convolution { kernel, stride, groups, .. } = convolution;
    let fits = |from: usize, to: usize| {
        let needed = to.checked_sub(1).and_then(|steps| steps.checked_mul(stride)?.checked_add(kernel));
        needed.is_some_and(|needed| needed <= from + 2 * input.border)
    };
    let sound = fits(input.rows, output.rows)
        && fits(input.columns, output.columns)
        && convolution.bias.len() == output.channels
        && convolution.inputs_per_group.checked_mul(groups) == Some(input.channels);
    if !sound {
        return None;
    }
    let integers = Integers::new(convolution, input_range, output_range)?;
    if groups == 1 {
        let dense = dense::Dense::new(instructions, (input, output), (kernel, stride), integers);
        return Some(Whole(Box::new(dense)));
    }
    let own_channel = groups == input.channels && groups == output.channels && input.depth == output.depth;
    if own_channel && kernel == 3 && matches!(stride, 1 | 2) {
        let depthwise = depthwise::Depthwise::new(instructions, (input, output), stride, integers);
        return Some(Whole(Box::new(depthwise)));
    }
    None
}

/// The integers of a convolution.
struct Integers {
    /// `[outputs, inputs / groups, kernel, kernel]`.
    weights: Vec<i8>,
    /// Added to the sums of the products of the input's bytes, `[outputs]`.
    bias: Vec<i32>,
    rescaling: Rescaling,
}

impl Integers {
    /// Converts the numbers of a convolution, so that zero points need no attention later. `None` if a number is stored
    /// as a float, or a sum might not fit into 32 bits.
    fn new(convolution: &Convolution, input: Range, output: Range) -> Option<Self> {
        let Convolution { weights: Numbers::Bytes(weights), bias, clamp: [least, most], .. } = convolution else {
            return None;
        };
        if *least != f32::NEG_INFINITY || *most != f32::INFINITY {
            return None;
        }
        let outputs = weights.scales.len();
        let per_output = convolution.inputs_per_group * convolution.kernel * convolution.kernel;
        if weights.values.len() != per_output.checked_mul(outputs)? || outputs != bias.len() {
            return None;
        }
        let summed: Vec<f32> = weights.scales.iter().map(|scale| scale * input.scale).collect();
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
        let rescaling = Rescaling::new(&summed, output)?;
        (whole.len() == outputs).then(|| Self { weights: weights.values.clone(), bias: whole, rescaling })
    }
}

/// Computes bytes from bytes.
trait Bytes: std::fmt::Debug + Send + Sync + 'static {
    /// The operator's name.
    fn name(&self) -> &'static str;

    /// How the input is stored.
    fn takes(&self) -> Layout;

    /// How the output is stored.
    fn gives(&self) -> Layout;

    /// The byte that stands for 0 in the output, which surrounds it.
    fn zero(&self) -> u8;

    /// About how many multiply-adds it takes.
    fn operations(&self) -> usize;

    /// Computes part number `part` of `parts` of the output.
    fn compute(&self, input: &[u8], output: Shared<u8>, part: usize, parts: usize);
}

/// Computes all parts.
#[derive(Debug)]
struct Whole(Box<dyn Bytes>);

impl Kernel for Whole {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn takes(&self) -> (DatumType, usize) {
        (u8::datum_type(), self.0.takes().bytes())
    }

    fn gives(&self) -> DatumType {
        u8::datum_type()
    }

    fn operations(&self) -> usize {
        self.0.operations()
    }

    fn run(&self, input: &Tensor, output: &mut Tensor) -> TractResult<()> {
        let (layout, input) = (self.0.gives(), numbers(input)?);
        let mut output = output.try_as_plain_ram_mut()?;
        let output = output.as_slice_mut::<u8>()?;
        layout.surround(output, self.0.zero());
        let (output, parts) = (Shared::new(output), parallel::parts(self.0.operations()));
        parallel::each(parts, |part| self.0.compute(input, output, part, parts));
        Ok(())
    }
}
