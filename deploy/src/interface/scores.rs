//! Decides whether a model's output holds logits or probabilities.
//!
//! The graph shows what computes the scores, and a test run shows whether they add up to 1. A file without a card is
//! judged by both, since softmax can be written in many ways and be followed by many nodes. Names of outputs decide
//! only what the numbers leave open.

use anyhow::{Result, bail, ensure};
use models::card::PROBABILITIES;
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::proto::{GraphProto, NodeProto};
use ndarray::{Array2, ArrayView1, ArrayView2};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

/// How far from 1 an image's probabilities may add up: fp16 and 8-bit rounding over a thousand classes.
const SUM_TOLERANCE: f32 = 1e-2;

/// What the scores of a model's output are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scores {
    /// Raw scores; softmax turns them into probabilities.
    Logits,
    /// Probabilities; their logarithms serve as logits.
    Probabilities,
}

impl Scores {
    /// The names used on the command line.
    pub const NAMES: [&str; 2] = ["logits", "probabilities"];

    /// Turns scores into logits: the logarithms of probabilities.
    pub(crate) fn into_logits(self, mut scores: Array2<f32>) -> Array2<f32> {
        if self == Self::Probabilities {
            // A probability that f32 rounds to 0 still needs a finite logarithm.
            scores.mapv_inplace(|share| if share < f32::MIN_POSITIVE { f32::MIN_POSITIVE } else { share }.ln());
        }
        scores
    }
}

impl FromStr for Scores {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "logits" => Self::Logits,
            "probabilities" => Self::Probabilities,
            _ => bail!("expected logits or probabilities"),
        })
    }
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Logits => "logits",
            Self::Probabilities => "probabilities",
        })
    }
}

/// What the nodes before an output say about its scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// Softmax, followed at most by nodes that keep every number.
    Softmax,
    /// The logarithm of softmax, followed at most by such nodes.
    LogSoftmax,
    /// Sigmoid, followed at most by such nodes.
    Sigmoid,
    /// Softmax or sigmoid, followed by nodes that compute with its numbers.
    Changed,
    /// The largest of some scores, in their order: the classes they belong to are lost.
    Sorted,
    /// Any other operator.
    Other,
}

/// Where an output comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub maker: Maker,
    /// Describes it for people, such as `Softmax, then Cast, Identity`.
    pub path: String,
}

/// Operators that keep every number of their first input.
const KEEPING: [&str; 10] = [
    "Identity",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Dropout",
    "QuantizeLinear",
    "DequantizeLinear",
    "Cast",
];

/// Operators that mix numbers with weights or across an image. A softmax or sigmoid before them is an inner part of the
/// network.
const MIXING: [&str; 16] = [
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "QLinearConv",
    "FusedConv",
    "Gemm",
    "QGemm",
    "MatMul",
    "MatMulInteger",
    "QLinearMatMul",
    "AveragePool",
    "MaxPool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "QLinearGlobalAveragePool",
    "BatchNormalization",
];

impl Origin {
    /// Walks back from an output through the nodes that keep its numbers.
    pub fn find(graph: &GraphProto, output: &str) -> Self {
        let makers: HashMap<&str, &NodeProto> =
            graph.node.iter().flat_map(|node| node.output.iter().map(move |name| (name.as_str(), node))).collect();
        let (mut value, mut after) = (output, Vec::new());
        // In a cyclic graph, the walk ends after as many steps as there are nodes.
        for _ in 0..=graph.node.len() {
            let Some(node) = makers.get(value).copied() else { break };
            if keeps(node, value) {
                after.push(node.op_type.as_str());
                value = node.input.first().map_or("", String::as_str);
                continue;
            }
            let maker = match node.op_type.as_str() {
                "Softmax" | "QLinearSoftmax" => Maker::Softmax,
                "LogSoftmax" => Maker::LogSoftmax,
                "Sigmoid" | "HardSigmoid" | "QLinearSigmoid" => Maker::Sigmoid,
                "TopK" => Maker::Sorted,
                _ if comes_from_probabilities(node, &makers) => Maker::Changed,
                _ => Maker::Other,
            };
            after.reverse();
            let then = if after.is_empty() { String::new() } else { format!(", then {}", after.join(", ")) };
            return Self { maker, path: format!("{}{then}", node.op_type) };
        }
        Self { maker: Maker::Other, path: "no node".to_owned() }
    }
}

impl Origin {
    /// Why an output of sorted scores cannot be used.
    pub fn sorted(&self, output: &str) -> String {
        format!(
            "its output '{output}' is made by {}, which sorts the scores, so nobody knows which class one belongs to: export \
             the network without it, or choose another output",
            self.path
        )
    }
}

/// Whether a node passes every number on to this output, at most rounded.
fn keeps(node: &NodeProto, output: &str) -> bool {
    let float = |number: Option<i64>| {
        let kinds = [DataType::Float, DataType::Float16, DataType::Bfloat16, DataType::Double];
        kinds.iter().any(|&kind| Some(kind as i64) == number)
    };
    let to = node.attribute.iter().find(|attribute| attribute.name == "to").and_then(|attribute| attribute.i);
    KEEPING.contains(&node.op_type.as_str())
        && node.output.first().is_some_and(|first| first == output)
        && (node.op_type != "Cast" || float(to))
}

/// Whether this node computes with the result of a softmax or sigmoid.
fn comes_from_probabilities(node: &NodeProto, makers: &HashMap<&str, &NodeProto>) -> bool {
    let (mut open, mut seen) = (vec![node], HashSet::new());
    while let Some(node) = open.pop() {
        if matches!(node.op_type.as_str(), "Softmax" | "Sigmoid" | "QLinearSoftmax" | "QLinearSigmoid") {
            return true;
        }
        if !MIXING.contains(&node.op_type.as_str()) {
            let before = node.input.iter().filter_map(|name| makers.get(name.as_str()).map(|&node| (name, node)));
            open.extend(before.filter(|&(name, _)| seen.insert(name.as_str())).map(|(_, node)| node));
        }
    }
    false
}

/// What the scores of a file without a card are, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub scores: Scores,
    pub reason: String,
    pub doubt: Option<Doubt>,
}

/// Why scores that were taken for logits may be something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// All scores of a test run are equal.
    Equal,
    /// All scores of a test run lie between 0 and 1, as independent probabilities do.
    InRange,
}

impl Doubt {
    /// The doubt about this output, for people.
    #[must_use]
    pub fn about(self, output: &str) -> String {
        match self {
            Self::Equal => format!("all scores of a test run are equal: '{output}' says nothing about an image"),
            Self::InRange => format!(
                "all scores of a test run lie between 0 and 1: if '{output}' holds independent probabilities, its \
                 percentages are wrong"
            ),
        }
    }
}

/// Decides from where an output comes and from its scores for a few images, `[N, classes]`.
pub(crate) fn decide(output: &str, origin: &Origin, rows: ArrayView2<f32>) -> Result<Decision> {
    let all = |test: fn(ArrayView1<f32>) -> bool| rows.nrows() > 0 && rows.rows().into_iter().all(test);
    let (adds_up, logarithms) = (all(is_distribution), all(|row| is_distribution(row.mapv(f32::exp).view())));
    let (non_negative, in_range) =
        (rows.iter().all(|&score| score >= 0.0), all(|row| row.iter().all(|score| (0.0..=1.0).contains(score))));
    let from = format!("made by {}", origin.path);
    let decided = |scores, reason: &str| Ok(Decision { scores, reason: format!("{from}; {reason}"), doubt: None });
    match origin.maker {
        Maker::Sigmoid => bail!(
            "its output '{output}' is {from}: one independent probability per class, which do not add up to 1. Expected \
             logits or the probabilities of one class per image: export the network without its last Sigmoid"
        ),
        Maker::Sorted => bail!(origin.sorted(output)),
        _ if adds_up => {
            decided(Scores::Probabilities, "in a test run the scores of each image are ≥ 0 and add up to 1")
        }
        _ if logarithms => decided(Scores::Logits, "in a test run they are logarithms of probabilities"),
        Maker::Softmax | Maker::LogSoftmax => bail!(
            "its output '{output}' is {from}, but in a test run the probabilities of an image add up to {}: expected 1. \
             Softmax goes along a wrong axis, or several images share it",
            sums(rows, origin.maker == Maker::LogSoftmax)
        ),
        Maker::Changed if non_negative => bail!(
            "its output '{output}' is {from}, which computes with probabilities, but in a test run the scores of an image \
             add up to {}: expected 1, or logits. Export the network without what follows its Softmax or Sigmoid",
            sums(rows, false)
        ),
        Maker::Changed | Maker::Other => {
            ensure!(
                output != PROBABILITIES,
                "its output '{output}' is {from}, and in a test run the scores of an image add up to {}: expected 1, as \
                 the name says",
                sums(rows, false)
            );
            let decision = decided(Scores::Logits, "in a test run the scores of an image do not add up to 1")?;
            let equal = rows.iter().all(|score| Some(score) == rows.first());
            let doubt = if equal { Some(Doubt::Equal) } else { in_range.then_some(Doubt::InRange) };
            Ok(Decision { doubt, ..decision })
        }
    }
}

/// Whether an image's scores are a probability distribution over the classes.
fn is_distribution(row: ArrayView1<f32>) -> bool {
    row.iter().all(|&score| score >= -SUM_TOLERANCE / 10.0) && (row.sum() - 1.0).abs() <= SUM_TOLERANCE
}

/// The smallest and the largest sum of an image's scores, for people.
fn sums(rows: ArrayView2<f32>, logarithms: bool) -> String {
    let sum = |row: ArrayView1<f32>| if logarithms { row.mapv(f32::exp).sum() } else { row.sum() };
    let sums = rows.rows().into_iter().map(sum);
    let (least, most) =
        sums.fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), sum| (least.min(sum), most.max(sum)));
    let [least, most] = [least, most].map(|sum| format!("{sum:.3}"));
    if least == most { least } else { format!("{least} and {most}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::onnx::proto::AttributeProto;
    use ndarray::array;

    /// The origin of `out` in a graph of nodes written as `Operator input output`.
    fn origin(nodes: &[&str]) -> Origin {
        let node = |text: &&str| {
            let words: Vec<&str> = text.split(' ').collect();
            let to = words[0].strip_prefix("Cast").map(|to| to.parse().unwrap());
            NodeProto {
                op_type: if to.is_some() { "Cast" } else { words[0] }.to_owned(),
                input: words[1..words.len() - 1].iter().map(|&name| name.to_owned()).collect(),
                output: vec![words[words.len() - 1].to_owned()],
                attribute: to
                    .map(|i| AttributeProto { name: "to".into(), i: Some(i), ..Default::default() })
                    .into_iter()
                    .collect(),
                ..NodeProto::default()
            }
        };
        Origin::find(&GraphProto { node: nodes.iter().map(node).collect(), ..GraphProto::default() }, "out")
    }

    #[test]
    fn the_walk_goes_back_to_what_makes_the_scores() {
        for (nodes, maker, path) in [
            (&["Gemm x w z", "Softmax z out"][..], Maker::Softmax, "Softmax"),
            (&["Softmax z p", "Identity p out"], Maker::Softmax, "Softmax, then Identity"),
            (&["Softmax z p", "Cast1 p q", "Reshape q s out"], Maker::Softmax, "Softmax, then Cast, Reshape"),
            (&["Softmax z p", "Squeeze p q", "Dropout q out"], Maker::Softmax, "Softmax, then Squeeze, Dropout"),
            (&["Softmax z p", "Cast7 p out"], Maker::Changed, "Cast"),
            (&["LogSoftmax z p", "Flatten p out"], Maker::LogSoftmax, "LogSoftmax, then Flatten"),
            (&["Sigmoid z out"], Maker::Sigmoid, "Sigmoid"),
            (&["Softmax z p", "TopK p k out"], Maker::Sorted, "TopK"),
            (&["Softmax z p", "Mul p t out"], Maker::Changed, "Mul"),
            (&["Softmax z p", "Slice p q", "Identity q out"], Maker::Changed, "Slice, then Identity"),
            // Attention and squeeze-and-excite use softmax and sigmoid within the network.
            (&["Softmax a b", "MatMul b v c", "Add c r out"], Maker::Other, "Add"),
            (
                &["Sigmoid a b", "Mul x b c", "GlobalAveragePool c d", "Flatten d out"],
                Maker::Other,
                "GlobalAveragePool, then Flatten",
            ),
            (&["Identity out out"], Maker::Other, "no node"),
            (&["Add a b a", "Add a b out"], Maker::Other, "Add"),
            (&[], Maker::Other, "no node"),
        ] {
            assert_eq!(origin(nodes), Origin { maker, path: path.to_owned() }, "{nodes:?}");
        }
    }

    fn decided(maker: Maker, rows: &ndarray::Array2<f32>) -> Result<Decision> {
        decide("out", &Origin { maker, path: "X".to_owned() }, rows.view())
    }

    #[test]
    fn scores_that_add_up_to_1_are_probabilities_whichever_node_computes_them() {
        let rows = array![[0.2, 0.3, 0.5], [0.0, 0.001, 0.999]];
        for maker in [Maker::Softmax, Maker::Changed, Maker::Other] {
            assert_eq!(decided(maker, &rows).unwrap().scores, Scores::Probabilities, "{maker:?}");
        }
        let logits = array![[0.2, 0.3, 0.5], [-1.0, 0.0, 2.0]];
        for maker in [Maker::Changed, Maker::Other] {
            let decision = decided(maker, &logits).unwrap();
            assert_eq!((decision.scores, decision.doubt), (Scores::Logits, None), "{maker:?}");
        }
        let logarithms = rows.mapv(|share: f32| share.max(1e-9).ln());
        for maker in [Maker::LogSoftmax, Maker::Changed, Maker::Other] {
            let decision = decided(maker, &logarithms).unwrap();
            assert!(decision.scores == Scores::Logits && decision.reason.contains("logarithms"), "{decision:?}");
        }
    }

    #[test]
    fn what_is_neither_logits_nor_probabilities_is_refused() {
        let (shares, percent) = (array![[0.9, 0.8], [0.1, 0.3]], array![[20.0, 80.0], [50.0, 50.0]]);
        for (maker, rows, word) in [
            (Maker::Softmax, &shares, "add up to 0.400 and 1.700: expected 1. Softmax goes along a wrong axis"),
            (Maker::LogSoftmax, &shares, "expected 1"),
            (Maker::Sigmoid, &shares, "without its last Sigmoid"),
            (Maker::Changed, &percent, "add up to 100.000: expected 1, or logits"),
        ] {
            let message = decided(maker, rows).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
        let other = Origin { maker: Maker::Other, path: "Gemm".to_owned() };
        let message = decide("probabilities", &other, shares.view()).unwrap_err().to_string();
        assert!(message.contains("as the name says"), "{message}");
        assert_eq!(decided(Maker::Other, &shares).unwrap().doubt, Some(Doubt::InRange));
        assert_eq!(decided(Maker::Other, &array![[2.0, 2.0], [2.0, 2.0]]).unwrap().doubt, Some(Doubt::Equal));
    }
}
