//! Matrix products by tract-linalg.

use super::{Matrix, Multiplier};
use anyhow::{Context, Result};
use tract_core::internal::{TensorView, TractResult};
use tract_core::prelude::*;
use tract_core::tract_linalg::BinOp;
use tract_core::tract_linalg::MmmDispatch;
use tract_core::tract_linalg::mmm::{AsInputValue, FusedSpec, MMMInputValue, MatMatMul, Query};

/// A matrix packed for the kernel that tract-linalg prefers on this processor.
#[derive(Debug)]
pub(super) struct Linalg {
    kernel: Box<dyn MatMatMul>,
    /// Index of the kernel's packing.
    packing: usize,
    weights: Box<dyn MMMInputValue>,
    depth: usize,
    bias: Tensor,
    least: Tensor,
    most: Tensor,
}

impl Linalg {
    /// Prepares products with this many pixels.
    pub fn new(matrix: Matrix, pixels: usize) -> Result<Self> {
        let Matrix { weights, depth, bias, clamp: [least, most] } = matrix;
        let outputs = bias.len();
        let mut query = Query::plain(f32::datum_type(), Some(outputs), Some(depth), Some(pixels));
        query.allow_extractor = false;
        let (kernel, packing, _) = MmmDispatch::native().pick(&query).context("tract-linalg cannot multiply floats")?;
        let weights = Tensor::from_shape(&[outputs, depth], &weights)?;
        let weights = kernel.packings()[packing].0.prepare_one(&weights, 1, 0)?;
        Ok(Self { kernel, packing, weights, depth, bias: tensor1(&bias), least: tensor0(least), most: tensor0(most) })
    }
}

impl Multiplier for Linalg {
    fn multiply(&self, pixels: usize, input: &Tensor, output: &mut Tensor) -> TractResult<()> {
        let outputs = self.bias.len();
        assert_eq!(input.len(), self.depth * pixels, "numbers of the input");
        assert_eq!(output.len(), outputs * pixels, "numbers of the output");
        let strides = [pixels as isize, 1];
        // SAFETY: both views have the sizes that were checked above. The kernel writes only to the second, which is
        // mutably borrowed, and reads panels of the packing that they were made with.
        unsafe {
            let shape = [self.depth, pixels];
            let input = TensorView::from_bytes(input, 0, &shape, &strides);
            let packed = self.kernel.packings()[self.packing].1.prepare_one_view(&input, 0, 1)?;
            let shape = [outputs, pixels];
            let store = self.kernel.c_view(Some(0), Some(1)).wrap(&TensorView::from_bytes(output, 0, &shape, &strides));
            let product = FusedSpec::AddMatMul {
                a: AsInputValue::Borrowed(&*self.weights),
                b: AsInputValue::Borrowed(&*packed),
                packing: self.packing,
            };
            let steps = [
                product,
                FusedSpec::BinPerRow(self.bias.view(), BinOp::Add),
                FusedSpec::BinScalar(&self.least, BinOp::Max),
                FusedSpec::BinScalar(&self.most, BinOp::Min),
                FusedSpec::Store(store),
            ];
            self.kernel.run(outputs, pixels, &steps)
        }
    }
}
