//! The folded network in libtorch, with a hook on every activation that an int8 graph quantizes.

use super::fold::Weights;
use super::quantize::INPUT;
use crate::data::Preprocessor;
use anyhow::{Context, Result};
use models::architecture::{Architecture, Convolution, Op};
use models::card::ModelCard;
use std::collections::BTreeMap;
use tch::{Device, Tensor};

/// Images per forward pass.
const BATCH: i64 = 50;

/// Computes the same as the nodes of the exported graph, with the same weights: convolutions, ReLU6, pooling and
/// classifier.
pub(super) struct Body {
    steps: Vec<Step>,
}

struct Step {
    name: String,
    op: Op,
    weight: Option<Tensor>,
    bias: Option<Tensor>,
}

impl Body {
    /// Builds the network from folded weights. Errors if a layer has none.
    pub fn new(architecture: &Architecture, mut weights: BTreeMap<String, Weights>) -> Result<Self> {
        let mut steps = Vec::new();
        for layer in architecture.layers() {
            let (mut weight, mut bias) = (None, None);
            if layer.op != Op::GlobalAveragePool {
                let own =
                    weights.remove(&layer.name).with_context(|| format!("no weights for layer {}", layer.name))?;
                weight = Some(Tensor::f_from_slice(&own.weight)?.f_view(own.shape.as_slice())?);
                bias = own.bias.map(|bias| Tensor::f_from_slice(&bias)).transpose()?;
            }
            steps.push(Step { name: layer.name, op: layer.op, weight, bias });
        }
        Ok(Self { steps })
    }

    /// Logits `[N, classes]` of the network's input `[N, C, resolution, resolution]`. Every activation that an int8
    /// graph quantizes is passed to `tap` with its name and replaced by what `tap` returns.
    pub fn forward(&self, x: &Tensor, mut tap: impl FnMut(&str, Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        let mut x = tap(INPUT, x.shallow_clone())?;
        for Step { name, op, weight, bias } in &self.steps {
            x = match (op, weight) {
                (&Op::Convolution(convolution), Some(weight)) => {
                    let Convolution { stride, padding, groups, normalised, .. } = convolution;
                    let (stride, padding) = ([stride as i64; 2], [padding as i64; 2]);
                    let x = x.f_conv2d(weight, bias.as_ref(), stride, padding, [1, 1], groups as i64)?;
                    if normalised { tap(name, x.f_relu6()?)? } else { x }
                }
                (_, Some(weight)) => x.f_linear(weight, bias.as_ref())?,
                (_, None) => x.f_adaptive_avg_pool2d([1, 1])?.f_flatten(1, -1)?,
            };
        }
        Ok(x)
    }
}

/// Preprocesses u8 images `[N, C, H, W]` for the network and passes them to `run` batch by batch.
pub(super) fn for_batches(card: &ModelCard, images: &Tensor, mut run: impl FnMut(&Tensor) -> Result<()>) -> Result<()> {
    let preprocessor = Preprocessor::new(&card.preprocessing, card.architecture.resolution, Device::Cpu)?;
    let total = images.size()[0];
    let mut start = 0;
    while start < total {
        let count = BATCH.min(total - start);
        run(&preprocessor.evaluation(&images.f_narrow(0, start, count)?)?)?;
        start += count;
    }
    Ok(())
}
