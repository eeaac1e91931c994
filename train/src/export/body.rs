//! Runs the network in libtorch with the numbers of an exported file.

use super::fold::Weights;
use super::quantize::INPUT;
use crate::data::TensorPreprocessor;
use crate::network::Network;
use anyhow::Result;
use models::card::ModelCard;
use std::collections::BTreeMap;
use tch::{Device, Tensor};

/// Images per forward pass.
const BATCH: usize = 50;

/// Logits `[N, classes]` of u8 images `[N, C, H, W]`, computed with these folded weights. Every activation that an int8
/// graph quantizes is passed to `tap` with its name and replaced by what `tap` returns.
pub(super) fn logits(
    card: &ModelCard,
    weights: &BTreeMap<String, Weights>,
    images: &Tensor,
    mut tap: impl FnMut(&str, Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let _guard = tch::no_grad_guard();
    let network = Network::folded(card.network()?, weights)?;
    let preprocessor = TensorPreprocessor::new(&card.preprocessing, card.network()?.resolution, Device::Cpu)?;
    let total = images.size()[0];
    let mut parts = Vec::new();
    for start in (0..total).step_by(BATCH) {
        let images = images.f_narrow(0, start, (total - start).min(BATCH as i64))?;
        let pixels = tap(INPUT, preprocessor.evaluation(&images)?)?;
        parts.push(network.tapped(&pixels, &mut tap)?);
    }
    Ok(Tensor::f_cat(&parts, 0)?)
}
