//! Limits on what a model file may ask for. Its graph is followed before an engine sees the file: a file that could
//! exhaust the machine's memory or run for hours is refused, with what it asks for and what the limit is.
//!
//! [`check`] looks at the contents of the file (`tensors` compares the stored numbers with the declared shapes).
//! [`Footprint::estimate`] computes the shape of every value in the graph. `value` and `node` define the types for this.
//! [`integers`] are the numbers that follow from those shapes.
//! `rules` lists the operators; `elementwise`, `windows`, `layout` and `products` compute their output shapes.

mod elementwise;
mod footprint;
mod known;
mod layout;
mod node;
mod products;
mod rules;
mod tensors;
mod value;
mod windows;

pub use footprint::Footprint;
pub use known::integers;

use super::proto::{AttributeProto, GraphProto, ModelProto, TensorProto, ValueInfoProto};
use anyhow::{Context, Result, ensure};
use std::collections::HashSet;

/// The most that a model may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes, and also stored tensors. `ResNet`-152 in QDQ form has about 1,800 nodes. tract's load time grows with the
    /// square of their number: it takes 13 s to load 2,000 convolutions.
    pub nodes: usize,
    /// Elements of one tensor.
    pub elements: u64,
    /// Bytes of all constants: stored tensors, and values computed only from constants, which an engine computes when
    /// it loads the file. tract temporarily has two copies of each.
    pub constants: u64,
    /// Bytes alive at once in a run: constants, values between nodes, and the patches of a convolution.
    pub memory: u64,
    /// Bytes of all values of a run together, whether or not they are alive at once: the engine may choose the order
    /// of the nodes.
    pub values: u64,
    /// Multiply-adds for one image. The `vit_l_16` of torchvision has 6.2 × 10^10 at 224 px.
    pub multiply_adds_per_image: u64,
    /// Multiply-adds of a run: `ResNet`-50 on 1,024 images of 224×224 px.
    pub multiply_adds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nodes: 2_500,
            elements: 1 << 30,
            constants: 2 << 30,
            memory: 8 << 30,
            values: 64 << 30,
            multiply_adds_per_image: 1 << 36,
            multiply_adds: 1 << 42,
        }
    }
}

/// Number of elements in a tensor of this shape. A scalar (rank 0) has one.
fn elements(shape: &[u64]) -> u64 {
    shape.iter().fold(1, |product: u64, &extent| product.saturating_mul(extent))
}

/// Bytes that a tensor takes in a file, computed from its shape and element type.
pub(super) fn stored_bytes(tensor: &TensorProto) -> Result<u64> {
    tensors::stored_bytes(tensor, &Limits::default())
}

/// Refuses a file that contains more than one graph of nodes and tensors, since `Footprint` could not follow the rest.
pub fn check(model: &ModelProto, limits: &Limits) -> Result<()> {
    let graph = model.graph.as_ref().context("it has no graph")?;
    ensure!(model.functions.is_empty(), "it defines functions of its own: expected the standard operators only");
    ensure!(model.training_info.is_empty(), "it contains a training graph: expected an inference graph only");
    let (nodes, tensors) = (graph.node.len(), graph.initializer.len());
    ensure!(nodes <= limits.nodes, "it has {nodes} nodes: expected at most {}", limits.nodes);
    ensure!(tensors <= limits.nodes, "it has {tensors} tensors: expected at most {}", limits.nodes);
    ensure!(graph.sparse_initializer.is_empty(), "it contains sparse tensors: expected dense ones");
    names_are_unique(graph)?;
    for node in &graph.node {
        let name = &node.op_type;
        let mut attributes = HashSet::new();
        for attribute in &node.attribute {
            let twice = !attributes.insert(&attribute.name);
            ensure!(!twice, "its {name} node has the attribute '{}' twice", attribute.name);
            contains_no_graph(attribute).with_context(|| format!("its {name} node cannot be used"))?;
        }
    }
    Ok(())
}

/// Checks that every value has one origin: with two, readers might disagree on which one counts.
fn names_are_unique(graph: &GraphProto) -> Result<()> {
    let outputs = || graph.node.iter().flat_map(|node| &node.output).filter(|name| !name.is_empty());
    // An input may have a stored tensor of its name as its default, but nothing else may have that name.
    for others in [graph.initializer.iter().map(|tensor| &tensor.name).collect::<Vec<_>>(), names(&graph.input)] {
        let mut seen = HashSet::new();
        for name in others.into_iter().chain(outputs()) {
            ensure!(seen.insert(name), "two of its inputs, tensors or node outputs have the name '{name}'");
        }
    }
    Ok(())
}

fn names(values: &[ValueInfoProto]) -> Vec<&String> {
    values.iter().map(|value| &value.name).collect()
}

/// Refuses attributes that `Footprint` cannot follow. A subgraph, for one, may run any number of times.
fn contains_no_graph(attribute: &AttributeProto) -> Result<()> {
    ensure!(
        attribute.g.is_none() && attribute.graphs.is_empty(),
        "it contains a subgraph ('{}'): expected no control flow (If, Loop, Scan) in a classifier. PyTorch writes \
         fewer of them with torch.onnx.export(…, dynamo=True)",
        attribute.name
    );
    ensure!(
        attribute.sparse_tensor.is_none() && attribute.sparse_tensors.is_empty(),
        "it contains sparse tensors ('{}'): expected dense ones",
        attribute.name
    );
    ensure!(attribute.ref_attr_name.is_empty(), "'{}' refers to a function's attribute", attribute.name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::nodes::{Nodes, integer, integers, tensor, text};
    use crate::onnx::proto::OperatorSetIdProto;
    use crate::onnx::proto::tensor_proto::DataType;

    /// The shape of a node's first output in opset 22. Its inputs are a float tensor of the first shape, then constants:
    /// small lists of whole numbers, or floats of a shape.
    fn shape(operator: &str, input: &[usize], others: &[Other], attributes: Vec<AttributeProto>) -> Result<Vec<u64>> {
        let mut nodes = Nodes::default();
        let mut names = vec!["x".to_owned()];
        for (index, other) in others.iter().enumerate() {
            let name = format!("constant {index}");
            match other {
                Other::Numbers(numbers) => nodes.indices(&name, numbers),
                Other::Floats(shape) => {
                    let elements = shape.iter().product::<i64>();
                    nodes.floats(&name, shape, &vec![0.0; usize::try_from(elements)?]);
                }
            }
            names.push(name);
        }
        nodes.node(operator, &names.iter().map(String::as_str).collect::<Vec<_>>(), "y", attributes);
        let Some((&first, rest)) = input.split_first() else { anyhow::bail!("no input") };
        let graph = GraphProto {
            node: nodes.nodes,
            initializer: nodes.initializers,
            input: vec![tensor("x", DataType::Float, Some(first), rest)],
            output: vec![ValueInfoProto { name: "y".into(), ..ValueInfoProto::default() }],
            ..GraphProto::default()
        };
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 22 }];
        let model = ModelProto { graph: Some(graph), opset_import, ..ModelProto::default() };
        Ok(Footprint::estimate(&model, 1, &Limits::default())?.outputs.remove("y").unwrap_or_default())
    }

    /// Name, operator, input, constants, attributes, and the output's shape.
    type Case = (&'static str, &'static str, Vec<usize>, Vec<Other>, Vec<AttributeProto>, Vec<u64>);

    enum Other {
        Numbers(&'static [i64]),
        Floats(&'static [i64]),
    }

    /// The shapes of the node tests of onnx 1.23.2 (`onnx/backend/test/case/node`), by their names.
    #[test]
    fn outputs_have_the_shapes_of_the_standards_tests() {
        use Other::{Floats, Numbers};
        let window = |kernel: usize, stride: usize, pads: [usize; 4], ceil: i64| {
            let mut attributes = vec![integers("kernel_shape", &[kernel; 2]), integers("strides", &[stride; 2])];
            attributes.extend([integers("pads", &pads), integer("ceil_mode", ceil)]);
            attributes
        };
        let cases: Vec<Case> = vec![
            ("maxpool_2d_ceil", "MaxPool", vec![1, 1, 4, 4], vec![], window(3, 2, [0; 4], 1), vec![1, 1, 2, 2]),
            (
                "maxpool_2d_ceil_output_size_reduce_by_one",
                "MaxPool",
                vec![1, 1, 2, 2],
                vec![],
                window(1, 2, [0; 4], 1),
                vec![1, 1, 1, 1],
            ),
            (
                "averagepool_2d_ceil_last_window_starts_on_pad",
                "AveragePool",
                vec![1, 3, 2, 2],
                vec![],
                window(3, 3, [1; 4], 1),
                vec![1, 3, 1, 1],
            ),
            ("convtranspose", "ConvTranspose", vec![1, 1, 3, 3], vec![Floats(&[1, 2, 3, 3])], vec![], vec![1, 2, 5, 5]),
            (
                "convtranspose_pads",
                "ConvTranspose",
                vec![1, 1, 3, 3],
                vec![Floats(&[1, 2, 3, 3])],
                vec![integers("strides", &[3, 2]), integers("pads", &[1, 2, 1, 2])],
                vec![1, 2, 7, 3],
            ),
            (
                "einsum_batch_matmul",
                "Einsum",
                vec![5, 2, 3],
                vec![Floats(&[5, 3, 4])],
                vec![text("equation", "bij, bjk -> bik")],
                vec![5, 2, 4],
            ),
            ("einsum_transpose", "Einsum", vec![3, 4], vec![], vec![text("equation", "ij->ji")], vec![4, 3]),
            ("mod_int64_fmod", "Mod", vec![6], vec![Floats(&[6])], vec![integer("fmod", 1)], vec![6]),
            (
                "simple_rnn_defaults",
                "RNN",
                vec![1, 3, 2],
                vec![Floats(&[1, 4, 2]), Floats(&[1, 4, 4])],
                vec![integer("hidden_size", 4)],
                vec![1, 1, 3, 4],
            ),
            (
                "lstm_batchwise",
                "LSTM",
                vec![3, 1, 2],
                vec![Floats(&[1, 28, 2]), Floats(&[1, 28, 7])],
                vec![integer("hidden_size", 7), integer("layout", 1)],
                vec![3, 1, 1, 7],
            ),
            (
                "onehot_with_axis",
                "OneHot",
                vec![2, 2],
                vec![Numbers(&[10]), Numbers(&[1, 3])],
                vec![integer("axis", 1)],
                vec![2, 10, 2],
            ),
            ("gathernd_example_int32", "GatherND", vec![2, 2], vec![Numbers(&[0, 1])], vec![], vec![]),
            ("transpose_default", "Transpose", vec![2, 3, 4], vec![], vec![], vec![4, 3, 2]),
        ];
        for (name, operator, input, others, attributes, expected) in cases {
            assert_eq!(shape(operator, &input, &others, attributes).unwrap(), expected, "{name}");
        }
        // Hugging Face's EfficientNet averages the whole image with such a window.
        assert_eq!(shape("AveragePool", &[1, 640, 7, 7], &[], window(640, 640, [0; 4], 1)).unwrap(), [1, 640, 1, 1]);
        assert!(shape("AveragePool", &[1, 640, 7, 7], &[], window(640, 640, [0; 4], 0)).is_err());
        for equation in ["ij", "ij,jk->ik", "ijk->ij", "ij->ik"] {
            assert!(shape("Einsum", &[2, 3], &[], vec![text("equation", equation)]).is_err(), "{equation}");
        }
    }

    /// Of the shape `[N, 7]`, only the number of columns is the same for every batch.
    #[test]
    fn numbers_that_the_batch_changes_stay_nodes() {
        let mut nodes = Nodes::default();
        nodes.indices("first", &[0]);
        nodes.indices("second", &[1]);
        let names = [("rows", "first"), ("columns", "second")];
        nodes.node("Shape", &["x"], "shape", vec![]);
        for (name, index) in names {
            nodes.node("Gather", &["shape", index], name, vec![]);
        }
        nodes.node("Expand", &["x", "rows"], "y", vec![]);
        let graph = GraphProto {
            node: nodes.nodes,
            initializer: nodes.initializers,
            input: vec![tensor("x", DataType::Float, None, &[7])],
            output: vec![ValueInfoProto { name: "y".into(), ..ValueInfoProto::default() }],
            ..GraphProto::default()
        };
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
        let model = ModelProto { graph: Some(graph), opset_import, ..ModelProto::default() };
        let limits = Limits::default();
        let known = |batches: &[usize]| -> Vec<(String, Vec<u8>)> {
            super::integers(&model, batches, &limits)
                .unwrap()
                .into_iter()
                .map(|tensor| (tensor.name, tensor.raw_data))
                .collect()
        };
        let columns = ("columns".to_owned(), 7_i64.to_le_bytes().to_vec());
        assert_eq!(known(&[1, 7]), std::slice::from_ref(&columns));
        let of_one = known(&[1]);
        assert!(of_one.len() == 3 && of_one.contains(&columns), "{of_one:?}");
    }
}
