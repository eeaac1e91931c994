//! Folds batch norm into convolutions. In evaluation mode it is one multiplication and one addition per channel, which
//! merge into the preceding convolution, so the exported graph contains no batch norm.

use crate::flat::Flat;
use crate::network::{BATCH_NORM_EPSILON, Network};
use anyhow::{Context, Result, ensure};
use half::f16;
use models::architecture::Op;
use std::collections::BTreeMap;
use tch::{Device, Kind};

/// A layer's weights for the exported graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// `[output, input / groups, kernel, kernel]`, or `[output, input]` for the classifier.
    pub shape: Vec<i64>,
    /// Row-major.
    pub weight: Vec<f32>,
    /// `[output]`; `None` for a convolution without batch norm.
    pub bias: Option<Vec<f32>>,
}

/// Returns the folded weights of every layer that has any, by layer name. Errors if a weight is not finite.
///
/// w′ = w · γ/√(σ² + ε) and b′ = β − μ · γ/√(σ² + ε), where γ and β are the norm's scale and shift and μ and σ² its
/// running mean and variance. Computed in f64 and rounded once.
pub fn fold(network: &Network) -> Result<BTreeMap<String, Weights>> {
    let mut values = values(network.parameters())?;
    values.extend(self::values(network.statistics())?);
    let mut take = |name: String| values.remove(&name).with_context(|| format!("the network has no tensor {name}"));
    let mut folded = BTreeMap::new();
    for layer in network.architecture().layers() {
        let name = &layer.name;
        let weights = match layer.op {
            Op::GlobalAveragePool => continue,
            Op::Linear => {
                let (shape, weight) = take(format!("{name}.weight"))?;
                Weights { shape, weight, bias: Some(take(format!("{name}.bias"))?.1) }
            }
            Op::Convolution(convolution) if !convolution.normalised => {
                let (shape, weight) = take(format!("{name}.weight"))?;
                Weights { shape, weight, bias: None }
            }
            Op::Convolution(_) => {
                let (shape, mut weight) = take(format!("{name}.weight"))?;
                let mut norm = |part: &str| Ok::<_, anyhow::Error>(take(format!("{name}.norm.{part}"))?.1);
                let (scale, shift, mean, variance) = (norm("scale")?, norm("shift")?, norm("mean")?, norm("variance")?);
                let mut bias = Vec::with_capacity(scale.len());
                let per_channel = weight.len() / scale.len();
                for (channel, weights) in weight.chunks_exact_mut(per_channel).enumerate() {
                    let factor = f64::from(scale[channel]) / (f64::from(variance[channel]) + BATCH_NORM_EPSILON).sqrt();
                    for weight in weights {
                        *weight = (f64::from(*weight) * factor) as f32;
                    }
                    bias.push((f64::from(shift[channel]) - f64::from(mean[channel]) * factor) as f32);
                }
                Weights { shape, weight, bias: Some(bias) }
            }
        };
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        ensure!(
            finite(&weights.weight) && weights.bias.as_deref().is_none_or(finite),
            "layer {name} has weights that are not finite: the training diverged"
        );
        folded.insert(layer.name, weights);
    }
    Ok(folded)
}

/// Rounds the weights to fp16 and back, as in an fp16 file. Biases stay in fp32.
#[must_use]
pub fn rounded_to_fp16(weights: &BTreeMap<String, Weights>) -> BTreeMap<String, Weights> {
    let mut rounded = weights.clone();
    for Weights { weight, .. } in rounded.values_mut() {
        for weight in weight {
            *weight = f16::from_f32(*weight).to_f32();
        }
    }
    rounded
}

/// Shape and values of a tensor.
type Shaped = (Vec<i64>, Vec<f32>);

/// Shape and values of every tensor in a buffer, by name.
fn values(flat: &Flat) -> Result<BTreeMap<String, Shaped>> {
    let all = Vec::<f32>::try_from(flat.buffer().f_to(Device::Cpu)?.f_to_kind(Kind::Float)?)?;
    let mut rest = all.as_slice();
    let mut values = BTreeMap::new();
    for spec in flat.specs() {
        let (own, after) =
            rest.split_at_checked(spec.len() as usize).context("a buffer is shorter than its tensors")?;
        values.insert(spec.name.clone(), (spec.shape.clone(), own.to_vec()));
        rest = after;
    }
    Ok(values)
}
