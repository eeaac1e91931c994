//! Convolutions of feature maps that are stored pixel by pixel ("channels last", NHWC), in integers and in floats.
//!
//! With the channels of a pixel next to each other (`layout`), a convolution reads its input without rearranging it,
//! and a tile of a few pixels and many outputs keeps all sums in registers (`dense`, `depthwise`). `vectors` has the
//! instructions of each processor. `entry` stores planes in this way, and returns them; `ending` is the pooling and the
//! classifier.
//!
//! `train export --precision int8` writes every convolution between a `DequantizeLinear` and a `QuantizeLinear`: its
//! input q stands for the number s · (q − z). So a convolution of the quantized values is a sum of products of bytes,
//! which processors compute several times faster than products of floats (`integers`). Between the layers, values stay
//! bytes. Every instruction set computes the same integers and rounds them in the same way (`rescaling`), so the results
//! do not depend on the processor. ONNX Runtime's `QLinearConv`, into which it turns these nodes, does the same: the sum
//! is converted to a float, multiplied by (input scale · weight scale) / output scale, and rounded to the nearest
//! integer, ties to even.

mod dense;
mod depthwise;
mod ending;
mod entry;
mod integers;
mod layout;
mod rescaling;
mod vectors;

#[cfg(test)]
mod tests;

pub(super) use ending::{Linear, Mean};
pub(super) use entry::{Dequantized, Interleaved, Planes, Quantized};
pub(super) use integers::Instructions;
pub(super) use layout::Layout;
pub(super) use rescaling::{ROUNDING, Range};

use super::chain::{Convolution, Numbers};
use super::lanes::Lane;
use super::operator::{Kernel, numbers};
use super::parallel::{self, Shared};
use dense::Dense;
use depthwise::Depthwise;
use std::fmt::Debug;
use tract_core::internal::TractResult;
use tract_core::prelude::*;
use vectors::{Dots, Taps};

/// Channels that all instruction sets can compute at once; feature maps have a multiple of it.
const CHANNELS: usize = 16;

/// Whether padding adds at most a few times the memory that is needed. Without this limit, a hostile file could take far
/// more memory than the checks of the graph allow for.
fn is_little_more(padded: usize, needed: usize) -> bool {
    padded <= needed.saturating_mul(4).saturating_add(1 << 20)
}

/// How a convolution's input and output are stored. The border of the input must be as wide as the padding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layouts {
    pub input: Layout,
    pub output: Layout,
}

/// The constants of a convolution.
struct Constants<'a, W, S, E> {
    /// `[outputs, inputs / groups, kernel, kernel]`.
    weights: &'a [W],
    /// What the sums start with, `[outputs]`.
    bias: Vec<S>,
    /// How sums become values.
    ending: E,
}

impl Layouts {
    /// Whether a convolution reads and writes only what these layouts have.
    fn fit(&self, convolution: &Convolution) -> bool {
        let &Convolution { kernel, stride, padding, groups, inputs_per_group, .. } = convolution;
        let Self { input, output } = self;
        let fits = |from: usize, to: usize| {
            let needed = to.checked_sub(1).and_then(|steps| steps.checked_mul(stride)?.checked_add(kernel));
            needed.is_some_and(|needed| needed <= from + 2 * padding)
        };
        let product = |factors: [usize; 3]| factors.into_iter().try_fold(1, usize::checked_mul);
        let weights = product([kernel, kernel, output.channels]).and_then(|count| count.checked_mul(inputs_per_group));
        // What a dense convolution stores of them, with the padding of outputs and pixels.
        let stored = product([output.channels.next_multiple_of(CHANNELS), kernel * kernel, input.depth]);
        input.border == padding
            && fits(input.rows, output.rows)
            && fits(input.columns, output.columns)
            && input.channels > 0
            && output.channels > 0
            && convolution.bias.len() == output.channels
            && inputs_per_group.checked_mul(groups) == Some(input.channels)
            && weights == Some(convolution.weights.len())
            && (groups > 1 || stored.is_some_and(|stored| is_little_more(stored, convolution.weights.len())))
    }

    /// Returns the kernel with these vectors. Returns `None` if the convolution is neither dense nor depthwise with 3×3
    /// kernels.
    fn kernel<D: Dots, T: Taps<Value = D::Value, Sum = D::Sum, Ending = D::Ending>>(
        self,
        convolution: &Convolution,
        constants: Constants<D::StoredWeight, D::Sum, D::Ending>,
    ) -> Option<Whole<D::Value>>
    where
        T::Weight: From<D::StoredWeight>,
    {
        let &Convolution { kernel, stride, groups, .. } = convolution;
        let Self { input, output } = self;
        if groups == 1 {
            return Some(Whole(Box::new(Dense::<D>::new(self, kernel, stride, constants))));
        }
        let own_channel = groups == input.channels && groups == output.channels && input.depth == output.depth;
        (own_channel && kernel == 3 && matches!(stride, 1 | 2))
            .then(|| Whole(Box::new(Depthwise::<T>::new(self, stride, constants)) as Box<dyn Parts<D::Value>>))
    }
}

/// Returns the kernel of a convolution in floats. Returns `None` if we have no fast code for it on this processor.
#[cfg(any(target_arch = "x86_64", target_arch = "arm"))]
pub(super) fn floats(convolution: &Convolution, layouts: Layouts, lanes: &[Lane]) -> Option<Whole<f32>> {
    let (Numbers::Floats(weights), Numbers::Floats(bias)) = (&convolution.weights, &convolution.bias) else {
        return None;
    };
    if !layouts.fit(convolution) {
        return None;
    }
    // If a sum is infinite, the padding channels are not 0, and a larger kernel would multiply them.
    let padded = layouts.input.depth >= CHANNELS && layouts.input.depth > layouts.input.channels;
    if convolution.groups == 1 && convolution.kernel > 1 && padded {
        return None;
    }
    let constants = Constants { weights: &weights[..], bias: bias.clone(), ending: convolution.clamp };
    match lanes.first()? {
        #[cfg(target_arch = "x86_64")]
        Lane::Avx512 => layouts.kernel::<vectors::Avx512Dots, vectors::Avx512Taps>(convolution, constants),
        #[cfg(target_arch = "x86_64")]
        Lane::Avx2 => layouts.kernel::<vectors::Avx2Dots, vectors::Avx2FloatTaps>(convolution, constants),
        #[cfg(target_arch = "arm")]
        Lane::Neon => layouts.kernel::<vectors::FloatDots, vectors::FloatTaps>(convolution, constants),
        _ => None,
    }
}

/// Elsewhere, tract-linalg's products are as fast.
#[cfg(not(any(target_arch = "x86_64", target_arch = "arm")))]
pub(super) fn floats(_: &Convolution, _: Layouts, _: &[Lane]) -> Option<Whole<f32>> {
    None
}

/// Computes a feature map from another, in parts.
trait Parts<T>: Debug + Send + Sync + 'static {
    /// The operator's name.
    fn name(&self) -> &'static str;

    fn layouts(&self) -> Layouts;

    /// What stands for 0 in the output, which it surrounds.
    fn zero(&self) -> T;

    /// About how many multiply-adds it takes.
    fn operations(&self) -> usize;

    /// Computes part number `part` of `parts` of the output.
    fn compute(&self, input: &[T], output: Shared<T>, part: usize, parts: usize);
}

/// Computes all parts.
#[derive(Debug)]
pub(super) struct Whole<T>(Box<dyn Parts<T>>);

impl<T: Datum + Copy> Kernel for Whole<T> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn takes(&self) -> (DatumType, usize) {
        (T::datum_type(), self.0.layouts().input.len())
    }

    fn gives(&self) -> DatumType {
        T::datum_type()
    }

    fn operations(&self) -> usize {
        self.0.operations()
    }

    fn run(&self, input: &Tensor, output: &mut Tensor) -> TractResult<()> {
        let input = numbers::<T>(input)?;
        let mut output = output.try_as_plain_ram_mut()?;
        let output = output.as_slice_mut::<T>()?;
        let Layouts { input: taken, output: given } = self.0.layouts();
        assert!(input.len() == taken.len() && output.len() == given.len(), "feature maps of other sizes");
        given.surround(output, self.0.zero());
        let (output, parts) = (Shared::new(output), parallel::parts(self.0.operations()));
        parallel::each(parts, |part| self.0.compute(input, output, part, parts));
        Ok(())
    }
}
