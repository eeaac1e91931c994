//! Converts bytes to the network's input, as `Cast`, `Mul`, `Add` and `Resize` do at the start of a graph.

use super::operator::{Kernel, numbers};
use models::preprocess::Preprocessor;
use tract_core::internal::TractResult;
use tract_core::prelude::*;

impl Kernel for Preprocessor {
    fn name(&self) -> &'static str {
        "Pixels"
    }

    fn takes(&self) -> (DatumType, usize) {
        (u8::datum_type(), self.input_shape().iter().product())
    }

    fn run(&self, input: &Tensor, output: &mut Tensor) -> TractResult<()> {
        self.prepare(numbers::<u8>(input)?, output.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
        Ok(())
    }
}
