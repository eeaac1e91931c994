//! The operator as tract sees it.

use super::kernel::{Depthwise, Lane};
use std::sync::Arc;
use tract_onnx::prelude::*;
#[allow(clippy::wildcard_imports)] // Its macros need what they do not name.
use tract_onnx::tract_core::internal::*;

/// A depthwise convolution of kernels of 3×3 with its clamp: one input `[C, H, W]` or `[1, C, H, W]`, float.
#[derive(Clone, Debug)]
pub(super) struct DepthwiseOperator {
    pub depthwise: Arc<Depthwise>,
    pub lanes: Arc<[Lane]>,
    /// Shape of the output, of as many axes as the input.
    pub shape: TVec<usize>,
}

impl PartialEq for DepthwiseOperator {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.depthwise == other.depthwise
    }
}

impl Eq for DepthwiseOperator {}

impl Op for DepthwiseOperator {
    fn name(&self) -> StaticName {
        "Depthwise3x3".into()
    }

    fn validation(&self) -> Validation {
        Validation::Rounding
    }

    op_as_typed_op!();
}

impl EvalOp for DepthwiseOperator {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        // SAFETY: every number is written below.
        let mut output = unsafe { Tensor::uninitialized::<f32>(&self.shape)? };
        let planes = input.try_as_plain_ram()?.as_slice::<f32>()?;
        let expected = self.depthwise.input_channels() * self.depthwise.input.iter().product::<usize>();
        ensure!(planes.len() == expected, "{} numbers: expected {expected}", planes.len());
        self.depthwise.run(&self.lanes, planes, output.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for DepthwiseOperator {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs.len() == 1 && inputs[0].datum_type == f32::datum_type());
        Ok(tvec!(f32::fact(&self.shape)))
    }

    as_op!();
}
