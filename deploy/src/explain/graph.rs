//! Turns a graph that ends in global average pooling and a linear classifier into one that returns the class activation
//! maps: the classifier becomes a 1×1 convolution and is applied at every place instead of to the mean.

use anyhow::{Context, Result, bail, ensure};
use models::architecture::Op;
use models::card::ModelCard;
use models::onnx;
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

/// Name of the output: float `[N, classes · rows · columns]`.
pub(super) const MAPS: &str = "class_activation_maps";

/// The classifier's weights as `[classes, features, 1, 1]`, and their shape.
const KERNEL: &str = "class_activation_maps.kernel";
const KERNEL_SHAPE: &str = "class_activation_maps.kernel_shape";

/// The maps before they are flattened.
const PLANES: &str = "class_activation_maps.planes";

/// Replaces the outputs of a model by its class activation maps, and returns their rows and columns.
pub(super) fn expose_maps(model: &mut ModelProto, card: &ModelCard) -> Result<[usize; 2]> {
    let layers = card.network()?.layers();
    let pool = layers.iter().find(|layer| layer.op == Op::GlobalAveragePool).context("it has no average pooling")?;
    let size = [pool.input.height, pool.input.width];
    let graph = model.graph.as_mut().context("it has no graph")?;
    let pooling = graph.node.iter().find(|node| node.op_type == "GlobalAveragePool");
    let features = pooling.and_then(|node| node.input.first()).context("it has no GlobalAveragePool")?.clone();
    let node = |op: &str, inputs: &[&str], output: &str| NodeProto {
        name: output.to_owned(),
        op_type: op.to_owned(),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    };
    let mut planes = features.clone();
    // Where the classifier comes before the pooling, the features already are the maps.
    if pool.input.channels != card.labels.len() || classifier(graph).is_some() {
        let (weight, bias) = classifier(graph).context("no linear classifier (Gemm) follows its pooling")?;
        let shape = [card.labels.len(), pool.input.channels, 1, 1].map(|extent| extent as i64);
        graph.initializer.push(TensorProto {
            name: KERNEL_SHAPE.to_owned(),
            data_type: DataType::Int64 as i32,
            dims: vec![4],
            raw_data: shape.iter().flat_map(|extent| extent.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
        graph.node.push(node("Reshape", &[&weight, KERNEL_SHAPE], KERNEL));
        let inputs: Vec<&str> = [features.as_str(), KERNEL].into_iter().chain(bias.as_deref()).collect();
        graph.node.push(node("Conv", &inputs, PLANES));
        PLANES.clone_into(&mut planes);
    }
    graph.node.push(node("Flatten", &[&planes], MAPS));
    let score = graph.output.first().context("it has no outputs")?.clone();
    let extent = card.labels.len() * size[0] * size[1];
    graph.output = vec![ValueInfoProto { name: MAPS.to_owned(), ..resized(score, extent)? }];
    onnx::remove_unused(graph);
    Ok(size)
}

/// The names of the classifier's weights `[classes, features]` and bias.
fn classifier(graph: &GraphProto) -> Option<(String, Option<String>)> {
    let gemm = graph.node.iter().rfind(|node| node.op_type == "Gemm")?;
    let transposed = gemm.attribute.iter().any(|attribute| attribute.name == "transB" && attribute.i == Some(1));
    transposed.then(|| Some((gemm.input.get(1)?.clone(), gemm.input.get(2).cloned())))?
}

/// An output `[N, classes]` with another second extent.
fn resized(mut output: ValueInfoProto, extent: usize) -> Result<ValueInfoProto> {
    use models::onnx::proto::tensor_shape_proto::dimension::Value;
    use models::onnx::proto::type_proto;
    let Some(type_proto::Value::TensorType(tensor)) = output.r#type.as_mut().and_then(|kind| kind.value.as_mut())
    else {
        bail!("its output is not a tensor");
    };
    let shape = tensor.shape.as_mut().context("its output has no shape")?;
    ensure!(shape.dim.len() == 2, "its output has {} axes: expected 2", shape.dim.len());
    shape.dim[1].value = Some(Value::DimValue(extent as i64));
    Ok(output)
}
