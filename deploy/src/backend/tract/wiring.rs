//! Builds a tract model from a chain, with an operator of our own for every step.

use super::chain::{Chain, Convolution, Numbers, Step};
use super::channels_last::{self, Dequantized, Interleaved, Layout, Layouts, Linear, Planes, Quantized, Range};
use super::convolution;
use super::lanes::Lane;
use super::operator::{Kernel, Operator};
use super::pooled::{Mean, Reshaped, Softmax};
use super::processor::Processor;
use super::rounded::Rounded;
use anyhow::{Context, Result, bail, ensure};
use models::preprocess::Preprocessor;
use std::collections::VecDeque;
use std::mem;
use tract_core::prelude::*;

/// A model, with what is known of it.
pub(super) struct Wired {
    pub model: TypedModel,
    /// The graph's name for each of the model's outputs.
    pub values: Vec<String>,
    /// Whether it computes convolutions in integers.
    pub integers: bool,
    /// Whether several threads compute one image faster.
    pub divisible: bool,
}

/// Builds a model for one image of this type and shape. Its outputs are the values after all steps if `every` is set,
/// otherwise only the last. Integer convolutions are fused with the rounding after them, so the value between the two
/// is missing.
pub(super) fn model(chain: Chain, input: TypedFact, processor: &Processor, every: bool) -> Result<Wired> {
    let shape = input.shape.as_concrete().context("its input has no fixed shape")?.to_vec();
    let mut wiring = Wiring {
        model: TypedModel::default(),
        processor,
        wire: OutletId::new(0, 0),
        shape,
        form: Form::Planes,
        count: 0,
        steps: chain.steps.into(),
        integers: false,
        divisible: false,
    };
    wiring.wire = wiring.model.add_source("image", input)?;
    let (mut wires, mut values) = (Vec::new(), Vec::new());
    let total = chain.values.len();
    while let Some(step) = wiring.steps.pop_front() {
        let shape = wiring.shape.clone();
        wiring.step(step).with_context(|| format!("its step {} does not accept the shape {shape:?}", wiring.count))?;
        let done = total - wiring.steps.len();
        if every || done == total {
            let (wire, form) = (wiring.wire, wiring.form);
            wiring.separate()?;
            wires.push(wiring.wire);
            values.push(chain.values[done - 1].clone());
            if done < total {
                (wiring.wire, wiring.form) = (wire, form);
            }
        }
    }
    let Wiring { mut model, integers, divisible, .. } = wiring;
    model.select_output_outlets(&wires)?;
    Ok(Wired { model, values, integers, divisible })
}

/// How the value on the wire is stored.
#[derive(Clone, Copy)]
enum Form {
    /// Floats in the order of the shape.
    Planes,
    /// A feature map of floats.
    Floats(Layout),
    /// A feature map of bytes, which stand for floats.
    Bytes(Layout, Range),
}

struct Wiring<'a> {
    model: TypedModel,
    processor: &'a Processor,
    wire: OutletId,
    /// Shape of the value on the wire.
    shape: Vec<usize>,
    form: Form,
    /// Number of nodes so far, which names them.
    count: usize,
    /// What follows.
    steps: VecDeque<Step>,
    integers: bool,
    divisible: bool,
}

impl Wiring<'_> {
    fn node(&mut self, operator: Operator) -> Result<()> {
        self.count += 1;
        self.shape = operator.shape().to_vec();
        self.form = Form::Planes;
        self.divisible |= operator.is_divisible();
        self.wire = self.model.wire_node(self.count.to_string(), operator, &[self.wire])?[0];
        Ok(())
    }

    /// Channels, rows and columns of the value on the wire.
    fn planes(&self) -> Result<[usize; 3]> {
        match self.shape[..] {
            [1, channels, height, width] => Ok([channels, height, width]),
            _ => bail!("expected [1, C, H, W]"),
        }
    }

    /// Adds a node whose output is stored in this form and stands for `[1, C, H, W]`.
    fn stored(&mut self, kernel: impl Kernel, form: Form) -> Result<()> {
        let (Form::Floats(layout) | Form::Bytes(layout, _)) = form else { bail!("expected a feature map") };
        self.node(Operator::new(kernel, &[layout.len()]))?;
        (self.shape, self.form) = (vec![1, layout.channels, layout.rows, layout.columns], form);
        Ok(())
    }

    /// Turns a feature map on the wire into planes.
    fn separate(&mut self) -> Result<()> {
        let shape = self.shape.clone();
        match self.form {
            Form::Planes => Ok(()),
            Form::Floats(layout) => self.node(Operator::new(Planes { layout }, &shape)),
            Form::Bytes(layout, range) => self.node(Operator::new(Dequantized { range, layout }, &shape)),
        }
    }

    fn step(&mut self, step: Step) -> Result<()> {
        let done = match (&step, self.form) {
            (&Step::Rounded { scale, zero }, Form::Planes) => self.quantized(Range { scale, zero })?,
            (Step::Convolution(convolution), Form::Bytes(layout, range)) => {
                self.integer(convolution, (layout, range))?
            }
            (Step::Convolution(convolution), _) => self.floats(convolution)?,
            (Step::Mean, Form::Bytes(layout, range)) => self.mean(channels_last::Mean::Bytes(layout, range), layout)?,
            (Step::Mean, Form::Floats(layout)) => self.mean(channels_last::Mean::Floats(layout), layout)?,
            _ => false,
        };
        if done {
            return Ok(());
        }
        self.separate()?;
        match step {
            Step::Pixels { scale, shift, factors } => {
                let taken = self.planes()?;
                let preparation = Preprocessor::new(taken, scale, shift, factors.unwrap_or([1.0; 2]))?;
                let ([channels, ..], [rows, columns]) = (taken, preparation.output_size());
                self.node(Operator::new(preparation, &[1, channels, rows, columns]))
            }
            Step::Convolution(convolution) => self.convolution(convolution),
            Step::Rounded { scale, zero } => {
                let count = self.shape.iter().product();
                let lane = self.lane();
                self.node(Operator::new(Rounded { scale, zero, count, lane }, &self.shape.clone()))
            }
            Step::Mean => {
                let [channels, height, width] = self.planes()?;
                let mean = Mean { channels, pixels: height * width };
                self.node(Operator::new(mean, &[1, channels, 1, 1]))
            }
            Step::Flattened => {
                let count = self.shape.iter().product();
                self.node(Operator::new(Reshaped { count }, &[1, count]))
            }
            Step::Linear { weights, bias } => {
                let outputs = bias.len();
                let inputs = self.shape.iter().product::<usize>();
                ensure!(
                    inputs > 0 && weights.len() == outputs * inputs,
                    "{} weights for {outputs} outputs",
                    weights.len()
                );
                if let Numbers::Bytes(weights) = weights {
                    let linear = Linear { weights, bias, inputs, lane: self.lane() };
                    return self.node(Operator::new(linear, &[1, outputs]));
                }
                // A 1×1 convolution of one pixel.
                let product = convolution::Convolution {
                    input: [inputs, 1, 1],
                    output: [1, 1],
                    groups: 1,
                    kernel: 1,
                    stride: 1,
                    padding: [0, 0],
                    weights: weights.floats(),
                    bias,
                    clamp: [f32::NEG_INFINITY, f32::INFINITY],
                };
                self.node(product.operator(&self.processor.lanes, &[1, outputs])?)
            }
            Step::Softmax => {
                let classes = self.shape.iter().product();
                let shape = self.shape.clone();
                self.node(Operator::new(Softmax { classes }, &shape))
            }
        }
    }

    /// The widest lane.
    fn lane(&self) -> Lane {
        self.processor.lanes.first().copied().unwrap_or(Lane::Scalar)
    }

    /// Rows and columns of a convolution's output. Errors if the convolution does not fit the value on the wire.
    fn extents(&self, convolution: &Convolution) -> Result<[usize; 2]> {
        let [channels, height, width] = self.planes()?;
        let &Convolution { inputs_per_group, kernel, stride, padding, groups, .. } = convolution;
        ensure!(inputs_per_group.checked_mul(groups) == Some(channels), "{inputs_per_group} inputs of {groups} groups");
        let extent = |extent: usize| {
            let room = extent.checked_add(padding.checked_mul(2)?)?.checked_sub(kernel)?;
            Some(room / stride + 1)
        };
        let (Some(rows), Some(columns)) = (extent(height), extent(width)) else {
            bail!("its kernel of {kernel} is larger")
        };
        Ok([rows, columns])
    }

    fn convolution(&mut self, mut convolution: Convolution) -> Result<()> {
        let (input, output) = (self.planes()?, self.extents(&convolution)?);
        let floats = |numbers: &mut Numbers| mem::replace(numbers, Numbers::Floats(Vec::new())).floats();
        let (weights, bias) = (floats(&mut convolution.weights), floats(&mut convolution.bias));
        let Convolution { kernel, stride, padding, groups, clamp, .. } = convolution;
        let (shape, padding) = ([1, bias.len(), output[0], output[1]], [padding, padding]);
        let convolution =
            convolution::Convolution { input, output, groups, kernel, stride, padding, weights, bias, clamp };
        self.node(convolution.operator(&self.processor.lanes, &shape)?)
    }

    fn mean(&mut self, mean: channels_last::Mean, layout: Layout) -> Result<bool> {
        self.node(Operator::new(mean, &[1, layout.channels, 1, 1]))?;
        Ok(true)
    }

    /// The border that a convolution needs around its input. Returns `None` if the padding is larger than the kernel can
    /// reach, which would waste memory.
    fn border(convolution: &Convolution) -> Option<usize> {
        (convolution.padding < convolution.kernel).then_some(convolution.padding)
    }

    /// The layout of a feature map that is not stored as such yet, for this convolution.
    fn entry(&self, convolution: &Convolution) -> Result<Option<Layout>> {
        let Some(border) = Self::border(convolution) else { return Ok(None) };
        let layout = if convolution.groups == 1 { Layout::image } else { Layout::new };
        Ok(layout(self.planes()?, border))
    }

    /// The layout of a convolution's output, if this is the step after the convolution.
    fn exit(&self, convolution: &Convolution, next: Option<&Step>) -> Result<Option<Layout>> {
        let [rows, columns] = self.extents(convolution)?;
        let border = match next {
            Some(Step::Convolution(next)) => Self::border(next).unwrap_or(0),
            _ => 0,
        };
        Ok(Layout::new([convolution.bias.len(), rows, columns], border))
    }

    /// Computes a convolution of floats as a feature map. Returns false, and does nothing, if it must be computed in
    /// another way.
    fn floats(&mut self, convolution: &Convolution) -> Result<bool> {
        let input = match self.form {
            Form::Floats(layout) if layout.border == convolution.padding => Some(layout),
            _ => self.entry(convolution)?,
        };
        let output = self.exit(convolution, self.steps.front())?;
        let (Some(input), Some(output)) = (input, output) else { return Ok(false) };
        let kernel = channels_last::floats(convolution, Layouts { input, output }, &self.processor.lanes);
        let Some(kernel) = kernel else { return Ok(false) };
        if !matches!(self.form, Form::Floats(layout) if layout == input) {
            self.separate()?;
            self.stored(Interleaved { layout: input }, Form::Floats(input))?;
        }
        self.stored(kernel, Form::Floats(output))?;
        Ok(true)
    }

    /// Rounds the floats on the wire to bytes. Returns false, and does nothing, unless an integer convolution follows.
    fn quantized(&mut self, range: Range) -> Result<bool> {
        let Some(Step::Convolution(next)) = self.steps.front() else { return Ok(false) };
        let Some(layout) = self.entry(next)? else { return Ok(false) };
        if self.built(next, (layout, range), 1)?.is_none() {
            return Ok(false);
        }
        self.stored(Quantized { range, layout, lane: self.lane() }, Form::Bytes(layout, range))?;
        Ok(true)
    }

    /// Computes a convolution of the bytes on the wire, and the rounding after it. Returns false, and does nothing, if
    /// it must be computed in floats.
    fn integer(&mut self, convolution: &Convolution, input: (Layout, Range)) -> Result<bool> {
        let Some((kernel, form)) = self.built(convolution, input, 0)? else { return Ok(false) };
        self.steps.pop_front();
        self.integers = true;
        self.stored(kernel, form)?;
        Ok(true)
    }

    /// Returns the kernel of a convolution of bytes, and how its output is stored. `after` is the index of what should be the
    /// rounding after it. `None` if the convolution must be computed in floats.
    fn built(
        &self,
        convolution: &Convolution,
        (input, taken): (Layout, Range),
        after: usize,
    ) -> Result<Option<(channels_last::Whole<u8>, Form)>> {
        let Some(&Step::Rounded { scale, zero }) = self.steps.get(after) else { return Ok(None) };
        let Some(output) = self.exit(convolution, self.steps.get(after + 1))? else { return Ok(None) };
        let given = Range { scale, zero };
        let Some(instructions) = self.processor.instructions else { return Ok(None) };
        let kernel = instructions.kernel(convolution, Layouts { input, output }, (taken, given));
        Ok(kernel.map(|kernel| (kernel, Form::Bytes(output, given))))
    }
}
