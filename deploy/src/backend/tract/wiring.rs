//! Builds a tract model from a chain, with an operator of our own for every step.

use super::chain::{Chain, Convolution, Step};
use super::convolution;
use super::lanes::Lane;
use super::operator::Operator;
use super::pooled::{Mean, Reshaped, Softmax};
use super::rounded::Rounded;
use anyhow::{Context, Result, bail, ensure};
use models::preprocess::Preprocessor;
use std::mem;
use tract_core::prelude::*;

/// Builds a model for one image of this type and shape. Its outputs are the values after all steps if `every` is set,
/// otherwise only the last.
pub(super) fn model(chain: Chain, input: TypedFact, lanes: &[Lane], every: bool) -> Result<TypedModel> {
    let shape = input.shape.as_concrete().context("its input has no fixed shape")?.to_vec();
    let mut wiring = Wiring { model: TypedModel::default(), lanes, wire: OutletId::new(0, 0), shape, count: 0 };
    wiring.wire = wiring.model.add_source("image", input)?;
    let mut wires = Vec::new();
    for step in chain.steps {
        let shape = wiring.shape.clone();
        wiring.step(step).with_context(|| format!("its step {} does not accept the shape {shape:?}", wiring.count))?;
        wires.push(wiring.wire);
    }
    let Wiring { mut model, wire, .. } = wiring;
    model.select_output_outlets(if every { &wires } else { std::slice::from_ref(&wire) })?;
    Ok(model)
}

struct Wiring<'a> {
    model: TypedModel,
    lanes: &'a [Lane],
    wire: OutletId,
    /// Shape of the value on the wire.
    shape: Vec<usize>,
    /// Number of nodes so far, which names them.
    count: usize,
}

impl Wiring<'_> {
    fn node(&mut self, operator: Operator) -> Result<()> {
        self.count += 1;
        self.shape = operator.shape().to_vec();
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

    fn step(&mut self, step: Step) -> Result<()> {
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
                let lane = self.lanes.first().copied().unwrap_or(Lane::Scalar);
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
                // A 1×1 convolution of one pixel.
                let product = convolution::Convolution {
                    input: [inputs, 1, 1],
                    output: [1, 1],
                    groups: 1,
                    kernel: 1,
                    stride: 1,
                    padding: [0, 0],
                    weights,
                    bias,
                    clamp: [f32::NEG_INFINITY, f32::INFINITY],
                };
                self.node(product.operator(self.lanes, &[1, outputs])?)
            }
            Step::Softmax => {
                let classes = self.shape.iter().product();
                let shape = self.shape.clone();
                self.node(Operator::new(Softmax { classes }, &shape))
            }
        }
    }

    fn convolution(&mut self, mut convolution: Convolution) -> Result<()> {
        let [channels, height, width] = self.planes()?;
        let (weights, bias) = (mem::take(&mut convolution.weights), mem::take(&mut convolution.bias));
        let Convolution { inputs_per_group, kernel, stride, padding, groups, clamp, .. } = convolution;
        ensure!(inputs_per_group.checked_mul(groups) == Some(channels), "{inputs_per_group} inputs of {groups} groups");
        let extent = |extent: usize| {
            let room = extent.checked_add(padding.checked_mul(2)?)?.checked_sub(kernel)?;
            Some(room / stride + 1)
        };
        let (rows, columns) = (extent(height), extent(width));
        let (Some(rows), Some(columns)) = (rows, columns) else { bail!("its kernel of {kernel} is larger") };
        let shape = [1, bias.len(), rows, columns];
        let (input, output, padding) = ([channels, height, width], [rows, columns], [padding, padding]);
        let convolution =
            convolution::Convolution { input, output, groups, kernel, stride, padding, weights, bias, clamp };
        self.node(convolution.operator(self.lanes, &shape)?)
    }
}
