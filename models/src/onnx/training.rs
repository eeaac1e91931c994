//! Detects nodes in training mode and random operators. Their results depend on chance or on the other images of the
//! batch, so the same image can get different answers.

use super::proto::{GraphProto, NodeProto, TensorProto};
use anyhow::{Result, bail, ensure};

/// Advice at the end of each error message.
const REMEDY: &str = "Export the network for inference: call model.eval() before torch.onnx.export";

/// Fails if the graph has a node in training mode, or one that draws random numbers.
pub fn check(graph: &GraphProto, opset: i64) -> Result<()> {
    for node in graph.node.iter().filter(|node| matches!(node.domain.as_str(), "" | "ai.onnx")) {
        let name = &node.name;
        match node.op_type.as_str() {
            "BatchNormalization" => ensure!(
                !normalises_by_batch(node, opset),
                "its BatchNormalization node '{name}' is in training mode, so an answer depends on the other images of \
                 its batch. {REMEDY}"
            ),
            "Dropout" => ensure!(
                !drops(node, graph, opset),
                "its Dropout node '{name}' is in training mode, so answers are random. {REMEDY}"
            ),
            operator @ ("Bernoulli" | "Multinomial" | "RandomNormal" | "RandomNormalLike" | "RandomUniform"
            | "RandomUniformLike") => {
                bail!("its {operator} node '{name}' draws random numbers, so answers are random. {REMEDY}")
            }
            _ => {}
        }
    }
    Ok(())
}

/// Since opset 14 training mode is an attribute. Before, a node in training mode had outputs for mean and variance.
fn normalises_by_batch(node: &NodeProto, opset: i64) -> bool {
    let attribute = node.attribute.iter().find(|attribute| attribute.name == "training_mode");
    let told = attribute.is_some_and(|attribute| attribute.i.unwrap_or(0) != 0);
    told || opset < 14 && node.output.iter().skip(1).any(|name| !name.is_empty())
}

/// Since opset 12 the third input selects training mode. Before, Dropout never drops anything at inference.
fn drops(node: &NodeProto, graph: &GraphProto, opset: i64) -> bool {
    let mode = node.input.get(2).filter(|name| opset >= 12 && !name.is_empty());
    // A value that is only known at run time may be true, so it counts as true.
    mode.is_some_and(|name| constant(name, graph).is_none_or(is_true))
}

fn constant<'a>(name: &str, graph: &'a GraphProto) -> Option<&'a TensorProto> {
    let stored = graph.initializer.iter().find(|tensor| tensor.name == name);
    let made = || {
        let node = graph.node.iter().find(|node| node.op_type == "Constant" && node.output.iter().any(|it| it == name));
        node?.attribute.iter().find_map(|attribute| attribute.t.as_ref())
    };
    stored.or_else(made)
}

fn is_true(tensor: &TensorProto) -> bool {
    tensor.raw_data.iter().any(|&byte| byte != 0) || tensor.int32_data.iter().any(|&number| number != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::AttributeProto;

    fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        NodeProto { op_type: operator.into(), input: names(inputs), output: names(outputs), ..NodeProto::default() }
    }

    fn checked(node: NodeProto, opset: i64) -> Result<()> {
        let flag =
            |name: &str, value: u8| TensorProto { name: name.into(), raw_data: vec![value], ..TensorProto::default() };
        let value = AttributeProto { t: Some(flag("", 1)), ..AttributeProto::default() };
        let made = NodeProto { attribute: vec![value], ..node_of_constant() };
        let graph = GraphProto {
            node: vec![made, node],
            initializer: vec![flag("yes", 1), flag("no", 0)],
            ..GraphProto::default()
        };
        check(&graph, opset)
    }

    fn node_of_constant() -> NodeProto {
        node("Constant", &[], &["made"])
    }

    /// Training mode as defined in ONNX's `Operators.md`.
    #[test]
    fn batch_norm_and_dropout_are_refused_in_training_mode_only() {
        let mode = |i| AttributeProto { name: "training_mode".into(), i: Some(i), ..AttributeProto::default() };
        let norm = |attribute, outputs: &[&str]| NodeProto {
            attribute,
            ..node("BatchNormalization", &["x", "s", "b", "m", "v"], outputs)
        };
        checked(norm(vec![], &["y"]), 9).unwrap();
        checked(norm(vec![], &["y", "", ""]), 9).unwrap();
        checked(norm(vec![mode(0)], &["y"]), 15).unwrap();
        for (node, opset) in
            [(norm(vec![mode(1)], &["y", "m2", "v2"]), 15), (norm(vec![], &["y", "m2", "v2", "sm", "sv"]), 9)]
        {
            let message = checked(node, opset).unwrap_err().to_string();
            assert!(message.contains("in training mode") && message.contains("model.eval()"), "{message}");
        }
        for (mode, refused) in [("no", false), ("", false), ("yes", true), ("made", true), ("computed", true)] {
            assert_eq!(checked(node("Dropout", &["x", "ratio", mode], &["y"]), 13).is_err(), refused, "{mode}");
        }
        checked(node("Dropout", &["x"], &["y", "mask"]), 10).unwrap();
    }

    #[test]
    fn random_numbers_are_refused() {
        for operator in ["RandomNormal", "RandomUniformLike", "Bernoulli", "Multinomial"] {
            let message = checked(node(operator, &["x"], &["y"]), 15).unwrap_err().to_string();
            assert!(message.contains("draws random numbers"), "{message}");
        }
        let own = NodeProto { domain: "my.own".into(), ..node("Bernoulli", &["x"], &["y"]) };
        checked(own, 15).unwrap();
    }
}
