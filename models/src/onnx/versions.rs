//! The versions of the file format and of the operator sets that this program supports. Runtimes react to other
//! versions unpredictably, from an obscure message to a wrong answer.

use super::proto::ModelProto;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The oldest supported opset: the first whose operators broadcast as they do today.
pub const OLDEST_OPSET: i64 = 7;

/// The newest supported opset: that of ONNX 1.23 and ONNX Runtime 1.32.
pub const NEWEST_OPSET: i64 = 28;

/// The newest supported version of the file format (IR): that of ONNX 1.23 and ONNX Runtime 1.32.
pub const NEWEST_IR: i64 = 14;

/// Most operators listed in an error message.
const NAMED: usize = 5;

/// The supported operator sets: the standard one and ONNX Runtime's.
fn is_known(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx" | "com.microsoft")
}

/// Fails if the model uses a version or an operator set that is not supported.
pub fn check(model: &ModelProto) -> Result<()> {
    let ir = model.ir_version;
    ensure!(
        (0..=NEWEST_IR).contains(&ir),
        "its IR version {ir} is unknown: expected at most {NEWEST_IR}. Save it with an older version of the program \
         that wrote it"
    );
    let mut domains = HashSet::new();
    for opset in &model.opset_import {
        let domain = if opset.domain == "ai.onnx" { "" } else { &opset.domain };
        ensure!(domains.insert(domain), "it imports two versions of one operator set ('{domain}')");
    }
    let opset = super::opset(model);
    // Checked first: a model with only unknown operators need not import the standard set.
    operators_are_known(model)?;
    let opset = opset.context("it does not declare its opset")?;
    let problem = match opset {
        ..OLDEST_OPSET => "too old",
        OLDEST_OPSET..=NEWEST_OPSET => return Ok(()),
        _ => "too new",
    };
    bail!(
        "its opset {opset} is {problem}: expected {OLDEST_OPSET} to {NEWEST_OPSET}. Export it again with such an opset \
         (opset_version=17 of torch.onnx.export), or convert it with onnx.version_converter"
    )
}

fn operators_are_known(model: &ModelProto) -> Result<()> {
    let mut unknown: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for node in model.graph.iter().flat_map(|graph| &graph.node).filter(|node| !is_known(&node.domain)) {
        unknown.entry(&node.domain).or_default().insert(&node.op_type);
    }
    let Some((domain, operators)) = unknown.first_key_value() else { return Ok(()) };
    let more = if operators.len() > NAMED { ", …" } else { "" };
    let named = operators.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    let what = match *domain {
        "ai.onnx.ml" => " (classical machine learning, such as scikit-learn's)",
        "ai.onnx.training" | "ai.onnx.preview.training" => " (training)",
        _ => "",
    };
    bail!(
        "its operators {named}{more} belong to the domain {domain}{what}: expected an image classifier with standard \
         ONNX operators"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{GraphProto, NodeProto, OperatorSetIdProto};

    fn model(ir_version: i64, opset: i64, domain: &str) -> ModelProto {
        let node = NodeProto { op_type: "Relu".into(), domain: domain.into(), ..NodeProto::default() };
        ModelProto {
            ir_version,
            opset_import: vec![OperatorSetIdProto { version: opset, ..OperatorSetIdProto::default() }],
            graph: Some(GraphProto { node: vec![node], ..GraphProto::default() }),
            ..ModelProto::default()
        }
    }

    #[test]
    fn other_versions_and_domains_are_named_with_what_is_supported() {
        for known in [model(8, 7, ""), model(0, 13, "ai.onnx"), model(14, 28, "com.microsoft")] {
            check(&known).unwrap();
        }
        for (model, word) in [
            (model(15, 13, ""), "IR version 15"),
            (model(-1, 13, ""), "IR version -1"),
            (model(8, 6, ""), "its opset 6 is too old: expected 7 to 28"),
            (model(8, 99, ""), "its opset 99 is too new: expected 7 to 28"),
            (
                model(8, 13, "ai.onnx.ml"),
                "its operators Relu belong to the domain ai.onnx.ml (classical machine learning",
            ),
            (model(8, 99, "my.own"), "the domain my.own: expected"),
            (ModelProto { opset_import: Vec::new(), ..model(8, 13, "") }, "does not declare its opset"),
        ] {
            let message = check(&model).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}
