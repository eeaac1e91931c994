//! What the network is worth in libtorch.

use crate::data::{Images, Preprocessor};
use crate::network::Network;
use anyhow::Result;
use tch::{Kind, Reduction, Tensor};

/// Images in one forward pass.
const BATCH: usize = 500;

/// Loss and accuracy over a set of images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy, without label smoothing.
    pub loss: f64,
    /// Share of right answers, 0 to 1.
    pub accuracy: f64,
}

/// Runs the network in evaluation mode over all `images`.
pub fn evaluate(network: &Network, preprocessor: &Preprocessor, images: &Images) -> Result<Evaluation> {
    let logits = logits(network, preprocessor, &images.images)?;
    let loss = logits.f_cross_entropy_loss::<Tensor>(&images.labels, None, Reduction::Mean, -100, 0.0)?;
    let right = logits.f_argmax(1, false)?.f_eq_tensor(&images.labels)?.f_sum(Kind::Int64)?;
    Ok(Evaluation {
        loss: loss.f_double_value(&[])?,
        accuracy: right.f_int64_value(&[])? as f64 / images.len().max(1) as f64,
    })
}

/// Logits `[N, classes]` of u8 images `[N, C, H, W]` in evaluation mode, on the network's device.
pub fn logits(network: &Network, preprocessor: &Preprocessor, images: &Tensor) -> Result<Tensor> {
    let _guard = tch::no_grad_guard();
    let total = images.size()[0];
    let mut parts = Vec::new();
    let mut start = 0;
    while start < total {
        let count = (total - start).min(BATCH as i64);
        let batch = images.f_narrow(0, start, count)?;
        parts.push(network.forward(&preprocessor.evaluation(&batch)?, false)?);
        start += count;
    }
    Ok(Tensor::f_cat(&parts, 0)?)
}
