//! timm's names for the weights of MobileNetV1, whose architecture equals ours.

use crate::checkpoint;
use anyhow::{Context, Result, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;
use tch::Tensor;

/// timm's blocks in order, as `blocks.STAGE.INDEX` (`mobilenetv1_100` and narrower ones).
const TIMM_BLOCKS: [&str; 13] =
    ["0.0", "1.0", "1.1", "2.0", "2.1", "3.0", "3.1", "3.2", "3.3", "3.4", "3.5", "4.0", "4.1"];

/// The parts of a batch norm, as timm and as we name them.
const NORM: [(&str, &str); 4] =
    [("weight", "scale"), ("bias", "shift"), ("running_mean", "mean"), ("running_var", "variance")];

/// End of the names of timm's counters of batches, which have no effect on the answers.
const COUNTER: &str = "num_batches_tracked";

/// Reads timm's tensors by our names. Errors if one has a name that timm's MobileNetV1 does not use.
pub(super) fn read(bytes: &[u8]) -> Result<HashMap<String, Tensor>> {
    let file = SafeTensors::deserialize(bytes).context(checkpoint::INCOMPLETE)?;
    let mut tensors = HashMap::new();
    let mut unknown = Vec::new();
    for (name, view) in file.iter().filter(|(name, _)| !name.ends_with(COUNTER)) {
        match renamed(name) {
            Some(own) => {
                tensors.insert(own, checkpoint::tensor(&view).with_context(|| format!("tensor {name}"))?);
            }
            None => unknown.push(name.to_owned()),
        }
    }
    unknown.sort_unstable();
    ensure!(
        unknown.is_empty(),
        "expected a checkpoint of train, or timm's MobileNetV1 (conv_stem.weight, blocks.0.0.conv_dw.weight, …), but these \
         tensors belong to neither: {}{}",
        unknown.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", "),
        if unknown.len() > 5 { format!(" and {} more", unknown.len() - 5) } else { String::new() }
    );
    Ok(tensors)
}

/// Writes the tensors that have a name of timm's, with or without the classifier.
pub(crate) fn write(tensors: &HashMap<String, Tensor>, classifier: bool) -> Result<Vec<u8>> {
    let mut named = Vec::new();
    for name in names().filter(|name| classifier || !name.starts_with("classifier.")) {
        let tensor = renamed(&name).and_then(|own| tensors.get(&own));
        let tensor = tensor.with_context(|| format!("the network has no tensor for {name}"))?;
        named.push(checkpoint::named_bytes(&name, tensor)?);
    }
    let views = named
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(safetensors::serialize(views, None)?)
}

/// timm's names of all tensors, in order.
fn names() -> impl Iterator<Item = String> {
    let norm = |norm: String| NORM.iter().map(move |(part, _)| format!("{norm}.{part}"));
    let block = move |place: &&str| {
        let place = format!("blocks.{place}");
        let (depthwise, pointwise) = (format!("{place}.conv_dw.weight"), format!("{place}.conv_pw.weight"));
        let parts = norm(format!("{place}.bn1")).chain([pointwise]).chain(norm(format!("{place}.bn2")));
        std::iter::once(depthwise).chain(parts).collect::<Vec<_>>()
    };
    std::iter::once("conv_stem.weight".to_owned())
        .chain(norm("bn1".to_owned()))
        .chain(TIMM_BLOCKS.iter().flat_map(block))
        .chain(["weight", "bias"].map(|part| format!("classifier.{part}")))
}

/// Our name for a tensor of timm's.
fn renamed(name: &str) -> Option<String> {
    let norm = |layer: String, part: &str| {
        NORM.iter().find(|(theirs, _)| *theirs == part).map(|(_, ours)| format!("{layer}.norm.{ours}"))
    };
    if name == "conv_stem.weight" {
        return Some("stem.weight".to_owned());
    }
    if let Some(part) = name.strip_prefix("bn1.") {
        return norm("stem".to_owned(), part);
    }
    if let Some(part) = name.strip_prefix("classifier.") {
        return ["weight", "bias"].contains(&part).then(|| format!("classifier.{part}"));
    }
    let below = name.strip_prefix("blocks.")?;
    let (index, part) = TIMM_BLOCKS
        .iter()
        .enumerate()
        .find_map(|(index, block)| Some((index, below.strip_prefix(block)?.strip_prefix('.')?)))?;
    let block = |kind: &str| format!("block{}.{kind}", index + 1);
    match part.split_once('.')? {
        ("conv_dw", "weight") => Some(block("depthwise") + ".weight"),
        ("conv_pw", "weight") => Some(block("pointwise") + ".weight"),
        ("bn1", part) => norm(block("depthwise"), part),
        ("bn2", part) => norm(block("pointwise"), part),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `len(timm.create_model("mobilenetv1_100").state_dict())` without the counters of its 27 batch norms.
    #[test]
    fn every_tensor_of_timms_has_a_name_of_ours() {
        let ours: std::collections::BTreeSet<String> = names().map(|name| renamed(&name).unwrap()).collect();
        assert_eq!(ours.len(), 164 - 27);
        let network =
            crate::network::Network::zeros(&models::architecture::Architecture::imagenet(0.25, 32), tch::Device::Cpu)
                .unwrap();
        let own = network.parameters().specs().iter().chain(network.statistics().specs()).map(|spec| spec.name.clone());
        assert_eq!(ours, own.collect());
    }

    #[test]
    fn timms_names_are_ours() {
        for (theirs, ours) in [
            ("conv_stem.weight", "stem.weight"),
            ("bn1.running_var", "stem.norm.variance"),
            ("blocks.0.0.conv_dw.weight", "block1.depthwise.weight"),
            ("blocks.3.5.bn2.bias", "block11.pointwise.norm.shift"),
            ("blocks.4.1.conv_pw.weight", "block13.pointwise.weight"),
            ("classifier.bias", "classifier.bias"),
        ] {
            assert_eq!(renamed(theirs).as_deref(), Some(ours), "{theirs}");
        }
        for theirs in ["blocks.5.0.conv_dw.weight", "blocks.0.0.se.conv_reduce.weight", "conv_head.weight", "bn1.other"]
        {
            assert_eq!(renamed(theirs), None, "{theirs}");
        }
    }
}
