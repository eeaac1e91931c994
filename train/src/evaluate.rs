//! Evaluates a network in libtorch.

use crate::checkpoint::Checkpoint;
use crate::data::{Images, TensorPreprocessor};
use crate::network::Network;
use anyhow::{Context, Result, ensure};
use models::architecture::{Architecture, Shape};
use models::dataset::ReadProgress;
use ndarray::Array2;
use tch::{Device, Kind, Reduction, Tensor};

/// Most images per forward pass.
const BATCH: usize = 500;

/// Bytes that the activations of a forward pass may take. Training steps of large networks have smaller batches, so an
/// evaluation that needed more than they do could end a run after its first epoch.
const BYTES: usize = 1 << 29;

/// Loss and accuracy over a set of images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy, without label smoothing.
    pub loss: f64,
    /// Accuracy, 0 to 1.
    pub accuracy: f64,
}

/// Runs the network in evaluation mode over all `images`. Calls `proceed` before every batch with the number of images
/// done; if it returns false, stops and returns `None`.
pub fn evaluate(
    network: &Network,
    preprocessor: &TensorPreprocessor,
    images: &Images,
    proceed: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Evaluation>> {
    let Some(logits) = logits_while(network, preprocessor, &images.images, proceed)? else { return Ok(None) };
    Answers { logits, labels: images.labels.shallow_clone() }.evaluation().map(Some)
}

/// A network's logits on labelled images.
pub struct Answers {
    /// Float `[N, classes]`.
    logits: Tensor,
    /// i64 `[N]`.
    labels: Tensor,
}

impl Answers {
    /// Loss and accuracy.
    pub fn evaluation(&self) -> Result<Evaluation> {
        let Self { logits, labels } = self;
        let loss = logits.f_cross_entropy_loss::<Tensor>(labels, None, Reduction::Mean, -100, 0.0)?;
        let right = logits.f_argmax(1, false)?.f_eq_tensor(labels)?.f_sum(Kind::Int64)?;
        Ok(Evaluation {
            loss: loss.f_double_value(&[])?,
            accuracy: right.f_int64_value(&[])? as f64 / labels.numel().max(1) as f64,
        })
    }

    /// The logits, `[N, classes]`.
    pub fn logits(&self) -> Result<Array2<f32>> {
        to_array(&self.logits)
    }
}

/// Copies a float tensor `[N, classes]` from any device to an array.
pub fn to_array(tensor: &Tensor) -> Result<Array2<f32>> {
    let (rows, columns) = tensor.size2()?;
    let values = Vec::<f32>::try_from(tensor.f_to(Device::Cpu)?.f_contiguous()?.f_view([-1])?)?;
    Ok(Array2::from_shape_vec((rows as usize, columns as usize), values)?)
}

/// Runs a checkpoint's exported network on images, on their device, exactly as the evaluation during training does.
/// `progress` receives the number of images done and the total. Errors if the images do not have the network's input
/// shape.
pub fn answers(checkpoint: &Checkpoint, images: &Images, progress: ReadProgress) -> Result<Answers> {
    let (card, device) = (checkpoint.card(), images.images.device());
    let preprocessor = TensorPreprocessor::new(&card.preprocessing, card.network()?.resolution, device)?;
    let network = checkpoint.shipped(device)?;
    let shape = &images.images.size()[1..];
    let wanted = [card.input.channels as i64, card.input.height as i64, card.input.width as i64];
    ensure!(shape == wanted, "the test images are {shape:?} (channels, height, width): the network expects {wanted:?}");
    let total = images.len();
    let logits = logits_while(&network, &preprocessor, &images.images, &mut |done| {
        progress(done, total);
        true
    })?;
    let logits = logits.context("the evaluation was stopped")?;
    Ok(Answers { logits, labels: images.labels.shallow_clone() })
}

/// Class activation map `[rows, columns]` of one class for a u8 image `[1, C, H, W]` on the network's device.
pub fn activation_map(
    network: &Network,
    preprocessor: &TensorPreprocessor,
    image: &Tensor,
    class: usize,
) -> Result<Array2<f32>> {
    let maps = network.activation_maps(&preprocessor.evaluation(image)?)?;
    to_array(&maps.f_select(0, 0)?.f_select(0, class as i64)?)
}

/// Logits `[N, classes]` of u8 images `[N, C, H, W]` in evaluation mode. Network and images must be on the same device.
pub fn logits(network: &Network, preprocessor: &TensorPreprocessor, images: &Tensor) -> Result<Tensor> {
    let logits = logits_while(network, preprocessor, images, &mut |_| true)?;
    logits.context("the evaluation was stopped")
}

/// Images per forward pass of a network. It does not depend on the machine, so neither do the results.
fn batch_size(architecture: &Architecture) -> usize {
    let elements = |shape: &Shape| shape.channels * shape.height * shape.width;
    // A layer's input, and its output before and after the batch norm, as f32.
    let floats = architecture.layers().iter().map(|layer| elements(&layer.input) + 2 * elements(&layer.output)).max();
    (BYTES / (4 * floats.unwrap_or(1))).clamp(1, BATCH)
}

fn logits_while(
    network: &Network,
    preprocessor: &TensorPreprocessor,
    images: &Tensor,
    proceed: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<Tensor>> {
    let _guard = tch::no_grad_guard();
    let total = images.size()[0];
    let most = batch_size(network.architecture());
    let mut parts = Vec::new();
    let mut start = 0;
    while start < total {
        if !proceed(start as usize) {
            return Ok(None);
        }
        let count = (total - start).min(most as i64);
        let batch = images.f_narrow(0, start, count)?;
        parts.push(network.forward(&preprocessor.evaluation(&batch)?, false)?);
        start += count;
    }
    Ok(Some(Tensor::f_cat(&parts, 0)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::architecture::Kind as Body;

    #[test]
    fn large_networks_are_evaluated_in_smaller_batches() {
        let of = |width, resolution| {
            let (channels, classes, stem_stride) = (3, 10, 2);
            batch_size(&Architecture { kind: Body::MobilenetV1, width, resolution, channels, classes, stem_stride })
        };
        assert_eq!(of(0.25, 64), BATCH);
        // The pointwise layer of the first block: 32 channels in, 64 out, at 112×112 px.
        assert_eq!(of(1.0, 224), BYTES / (4 * (32 + 2 * 64) * 112 * 112));
        assert_eq!(of(1.0, 4096), 1);
    }
}
