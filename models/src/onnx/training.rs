//! Detects nodes in training mode and random operators. Their results depend on chance or on the other images of the
//! batch, so the same image can get different answers.

use super::proto::{GraphProto, NodeProto, TensorProto};
use anyhow::{Result, bail, ensure};
use std::collections::HashSet;

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

/// Turns nodes in training mode into what they are at inference, as `model.eval()` does: `BatchNormalization` uses its
/// stored statistics, and `Dropout` drops nothing. Returns what was changed, for people. Leaves alone nodes whose further
/// outputs are used; [`check`] refuses them.
pub fn to_inference(graph: &mut GraphProto, opset: i64) -> Vec<String> {
    let inputs = graph.node.iter().flat_map(|node| &node.input);
    let used: HashSet<String> = inputs.chain(graph.output.iter().map(|output| &output.name)).cloned().collect();
    let mut graph_nodes = std::mem::take(&mut graph.node);
    let (mut norms, mut dropouts) = (0, 0);
    for node in &mut graph_nodes {
        let alone = node.output.iter().skip(1).all(|name| name.is_empty() || !used.contains(name));
        let standard = matches!(node.domain.as_str(), "" | "ai.onnx");
        match node.op_type.as_str() {
            "BatchNormalization" if standard && alone && normalises_by_batch(node, opset) => {
                node.attribute.retain(|attribute| attribute.name != "training_mode");
                node.output.truncate(1);
                norms += 1;
            }
            "Dropout" if standard && alone && opset >= 12 && node.input.len() > 2 => {
                node.input.truncate(1);
                node.output.truncate(1);
                dropouts += 1;
            }
            _ => {}
        }
    }
    graph.node = graph_nodes;
    let changed =
        [(norms, "BatchNormalization", "uses its stored mean and variance"), (dropouts, "Dropout", "drops nothing")];
    let told = changed.iter().filter(|(count, ..)| *count > 0);
    told.map(|(count, operator, what)| {
        format!("the file was exported in training mode: {operator} ({count} times) now {what}, as after model.eval()")
    })
    .collect()
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
    fn training_mode_is_removed_unless_its_results_are_used() {
        let mode = AttributeProto { name: "training_mode".into(), i: Some(1), ..AttributeProto::default() };
        let norm = NodeProto {
            attribute: vec![mode],
            ..node("BatchNormalization", &["x", "s", "b", "m", "v"], &["y", "m2", "v2"])
        };
        let dropout = node("Dropout", &["y", "ratio", "yes"], &["z", "mask"]);
        let mut graph = GraphProto { node: vec![norm.clone(), dropout.clone()], ..GraphProto::default() };
        assert_eq!(to_inference(&mut graph, 17).len(), 2);
        check(&graph, 17).unwrap();
        assert_eq!((graph.node[0].output.len(), graph.node[1].input.len()), (1, 1));
        assert!(to_inference(&mut graph, 17).is_empty());
        let user = node("Mul", &["z", "mask"], &["out"]);
        let mut graph = GraphProto { node: vec![dropout, user], ..GraphProto::default() };
        assert!(to_inference(&mut graph, 17).is_empty());
        assert!(check(&graph, 17).is_err());
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
