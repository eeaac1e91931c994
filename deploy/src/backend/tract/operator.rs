//! Wraps our own operators for tract.

use super::parallel::LEAST;
use super::spare;
use std::fmt;
use std::sync::Arc;
#[allow(clippy::wildcard_imports)] // Its macros need what they do not name.
use tract_core::internal::*;

/// Computes a tensor from another, both of fixed sizes.
pub(super) trait Kernel: fmt::Debug + Send + Sync + 'static {
    /// The operator's name.
    fn name(&self) -> &'static str;

    /// Element type and number of elements of the input.
    fn takes(&self) -> (DatumType, usize);

    /// Element type of the output.
    fn gives(&self) -> DatumType {
        f32::datum_type()
    }

    /// About how many multiply-adds it takes, if it can be computed in parts.
    fn operations(&self) -> usize {
        0
    }

    /// Computes all of `output` from `input`, which has the type and size of [`Kernel::takes`].
    fn run(&self, input: &Tensor, output: &mut Tensor) -> TractResult<()>;
}

/// A [`Kernel`] from floats to floats.
pub(super) trait Floats: fmt::Debug + Send + Sync + 'static {
    /// The operator's name.
    fn name(&self) -> &'static str;

    /// Number of input floats.
    fn count(&self) -> usize;

    /// Computes all of `output` from [`Floats::count`] floats.
    fn compute(&self, input: &[f32], output: &mut [f32]);
}

impl<T: Floats> Kernel for T {
    fn name(&self) -> &'static str {
        Floats::name(self)
    }

    fn takes(&self) -> (DatumType, usize) {
        (f32::datum_type(), self.count())
    }

    fn run(&self, input: &Tensor, output: &mut Tensor) -> TractResult<()> {
        self.compute(numbers(input)?, output.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
        Ok(())
    }
}

/// A [`Kernel`] with the shape of its output.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    kernel: Arc<dyn Kernel>,
    shape: TVec<usize>,
}

impl Operator {
    pub fn new(kernel: impl Kernel, shape: &[usize]) -> Self {
        Self { kernel: Arc::new(kernel), shape: shape.into() }
    }

    /// Whether several threads compute it faster.
    pub fn is_divisible(&self) -> bool {
        self.kernel.operations() >= 2 * LEAST
    }

    /// Shape of the output.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
}

impl PartialEq for Operator {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kernel, &other.kernel) && self.shape == other.shape
    }
}

impl Eq for Operator {}

impl Op for Operator {
    fn name(&self) -> StaticName {
        self.kernel.name().into()
    }

    fn validation(&self) -> Validation {
        Validation::Rounding
    }

    op_as_typed_op!();
}

impl EvalOp for Operator {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let (found, expected) = ((input.datum_type(), input.len()), self.kernel.takes());
        ensure!(found == expected, "{}: expected {expected:?} numbers, found {found:?}", self.kernel.name());
        let mut output = spare::taken(self.kernel.gives(), &self.shape)?;
        let room = Arc::get_mut(&mut output).context("a tensor that is in use")?;
        // The kernel overwrites every number of the recycled tensor.
        self.kernel.run(&input, room)?;
        spare::given_back(input.into_arc_tensor());
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Operator {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs.len() == 1 && inputs[0].datum_type == self.kernel.takes().0);
        Ok(tvec!(self.kernel.gives().fact(&self.shape)))
    }

    as_op!();
}

/// A tensor's numbers as a slice.
pub(super) fn numbers<T: Datum>(tensor: &Tensor) -> TractResult<&[T]> {
    tensor.try_as_plain_ram()?.as_slice::<T>()
}
