//! Outputs that name the classes, as Azure Custom Vision writes them: `ZipMap` makes a map from names to scores.

use super::super::facts::{Facts, Source};
use models::onnx;
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::proto::type_proto::{Tensor, Value};
use models::onnx::proto::{ModelProto, TypeProto, ValueInfoProto};

/// Makes the scores of such a map the only output. Returns the names of the classes. Without such a map, returns `None`
/// and leaves the file unchanged.
pub fn unpacked(model: &mut ModelProto) -> Option<Source> {
    let graph = model.graph.as_mut()?;
    let is_output = |name: &String| graph.output.iter().any(|output| output.name == *name);
    let map = graph.node.iter().find(|node| node.op_type == "ZipMap" && node.output.iter().any(is_output))?;
    let names = map.attribute.iter().find(|attribute| attribute.name == "classlabels_strings")?;
    let labels = names.strings.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    let scores = map.input.first()?.clone();
    let kind = Tensor { elem_type: DataType::Float as i32, shape: None };
    let kind = TypeProto { value: Some(Value::TensorType(kind)), ..TypeProto::default() };
    graph.output = vec![ValueInfoProto { name: scores, r#type: Some(kind) }];
    onnx::remove_unused(graph);
    Some(Source { name: "the file's ZipMap".to_owned(), facts: Facts { labels: Some(labels), ..Facts::default() } })
}
