//! Builds a tract model from a chain, with an operator of our own for every step.

use super::chain::{Chain, Convolution, Numbers, Step};
use super::convolution;
use super::integer::{self, Dequantized, Instructions, Layout, Linear, Quantized, Range};
use super::lanes::Lane;
use super::operator::{Kernel, Operator};
use super::pooled::{Mean, Reshaped, Softmax};
use super::rounded::Rounded;
use anyhow::{Context, Result, bail, ensure};
use models::preprocess::Preprocessor;
use std::collections::VecDeque;
use std::mem;
use tract_core::prelude::*;

/// The instruction sets to use.
#[derive(Clone, Debug)]
pub(super) struct Processor {
    /// For floats, fastest first.
    pub lanes: Vec<Lane>,
    /// For integers.
    pub instructions: Instructions,
}

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
        stored: None,
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
            let (wire, stored) = (wiring.wire, wiring.stored);
            wiring.dequantized()?;
            wires.push(wiring.wire);
            values.push(chain.values[done - 1].clone());
            if done < total {
                (wiring.wire, wiring.stored) = (wire, stored);
            }
        }
    }
    let Wiring { mut model, integers, divisible, .. } = wiring;
    model.select_output_outlets(&wires)?;
    Ok(Wired { model, values, integers, divisible })
}

struct Wiring<'a> {
    model: TypedModel,
    processor: &'a Processor,
    wire: OutletId,
    /// Shape of the value on the wire.
    shape: Vec<usize>,
    /// How the value on the wire is stored, and what it stands for, if it consists of bytes; otherwise of floats.
    stored: Option<(Layout, Range)>,
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
        self.stored = None;
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

    /// Adds a node whose output consists of bytes, which are stored like this and stand for this shape.
    fn bytes(&mut self, kernel: impl Kernel, stored: (Layout, Range), shape: &[usize]) -> Result<()> {
        self.node(Operator::new(kernel, &[stored.0.bytes()]))?;
        (self.shape, self.stored) = (shape.to_vec(), Some(stored));
        Ok(())
    }

    /// Turns bytes on the wire into floats.
    fn dequantized(&mut self) -> Result<()> {
        match self.stored {
            Some((layout, range)) => self.node(Operator::new(Dequantized { range, layout }, &self.shape.clone())),
            None => Ok(()),
        }
    }

    fn step(&mut self, step: Step) -> Result<()> {
        match (&step, self.stored) {
            (Step::Rounded { scale, zero }, None) => {
                let range = Range { scale: *scale, zero: *zero };
                if self.quantized(range)? {
                    return Ok(());
                }
            }
            (Step::Convolution(convolution), Some(stored)) => {
                if self.integer(convolution, stored)? {
                    return Ok(());
                }
            }
            (Step::Mean, Some((layout, range))) => {
                if let Some(mean) = integer::Mean::new(layout, range) {
                    return self.node(Operator::new(mean, &[1, layout.channels, 1, 1]));
                }
            }
            _ => (),
        }
        self.dequantized()?;
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
                ensure!(weights.len() == outputs * inputs, "{} weights for {outputs} outputs", weights.len());
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

    /// Rounds the floats on the wire to bytes. Returns false, and does nothing, unless an integer convolution follows.
    fn quantized(&mut self, range: Range) -> Result<bool> {
        let Some(Step::Convolution(next)) = self.steps.front() else { return Ok(false) };
        let shape = self.shape.clone();
        let planes = self.planes()?;
        let layout = if next.groups == 1 { Layout::image } else { Layout::new };
        let Some(layout) = layout(planes, next.padding) else { return Ok(false) };
        if self.built(next, (layout, range), 1)?.is_none() {
            return Ok(false);
        }
        self.bytes(Quantized { range, layout, lane: self.lane() }, (layout, range), &shape)?;
        Ok(true)
    }

    /// Computes a convolution of the bytes on the wire, and the rounding after it. Returns false, and does nothing, if
    /// it must be computed in floats.
    fn integer(&mut self, convolution: &Convolution, stored: (Layout, Range)) -> Result<bool> {
        let Some((kernel, stored)) = self.built(convolution, stored, 0)? else { return Ok(false) };
        self.steps.pop_front();
        self.integers = true;
        self.bytes(kernel, stored, &[1, stored.0.channels, stored.0.rows, stored.0.columns])?;
        Ok(true)
    }

    /// What computes a convolution of bytes, and how its output is stored. `after` is the index of what should be
    /// the rounding after it. `None` if the convolution must be computed in floats.
    fn built(
        &self,
        convolution: &Convolution,
        input: (Layout, Range),
        after: usize,
    ) -> Result<Option<(impl Kernel + use<>, (Layout, Range))>> {
        let Some(&Step::Rounded { scale, zero }) = self.steps.get(after) else { return Ok(None) };
        let [rows, columns] = self.extents(convolution)?;
        let border = match self.steps.get(after + 1) {
            Some(Step::Convolution(next)) => next.padding,
            _ => 0,
        };
        let Some(layout) = Layout::new([convolution.bias.len(), rows, columns], border) else { return Ok(None) };
        let output = (layout, Range { scale, zero });
        let kernel = integer::kernel(convolution, input, output, self.processor.instructions);
        Ok(kernel.map(|kernel| (kernel, output)))
    }
}
