//! The ONNX file format: the official protobuf messages ([`proto`]), reading a model file, and what it may ask for
//! ([`limits`]).

pub mod limits;
#[allow(missing_docs, clippy::pedantic, rustdoc::all)]
pub mod proto;
mod wire;

use anyhow::{Context, Result, bail, ensure};
use prost::Message;
use proto::tensor_proto::DataType;
use proto::tensor_shape_proto::Dimension;
use proto::tensor_shape_proto::dimension::Value;
use proto::type_proto;
use proto::{ModelProto, TensorProto, ValueInfoProto};
use serde::Serialize;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Largest model file that is read: some fifty times the largest MobileNetV1.
const MAX_FILE: u64 = 1 << 30;

/// Reads a model file's bytes, whole. Whether they are a model, [`parse`] says.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let context = || format!("cannot read {}", path.display());
    let metadata = std::fs::metadata(path).with_context(context)?;
    let told = metadata.len();
    ensure!(told <= MAX_FILE, "{} has {told} bytes: expected at most {MAX_FILE}", path.display());
    ensure!(!metadata.is_dir(), "{} is a folder: expected an ONNX file", path.display());
    // A pipe does not tell its length, and a file can grow.
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(context)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).with_context(context)?;
    ensure!(bytes.len() as u64 <= MAX_FILE, "{} has more than {MAX_FILE} bytes: expected a model", path.display());
    Ok(bytes)
}

/// Decodes a model. Arbitrary bytes can pass for a protobuf message, so a graph with nodes is asked for too.
pub fn parse(bytes: &[u8]) -> Result<ModelProto> {
    ensure!(!bytes.is_empty(), "it is empty: expected an ONNX model");
    wire::check(bytes)?;
    let model = ModelProto::decode(bytes).context("it is no whole ONNX model (protobuf): is it truncated?")?;
    let has_nodes = model.graph.as_ref().is_some_and(|graph| !graph.node.is_empty());
    ensure!(has_nodes, "it is no ONNX model: it has no graph");
    Ok(model)
}

/// The bytes of a model file.
#[must_use]
pub fn encode(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}

/// The opset of the standard operators that a model asks for.
#[must_use]
pub fn opset(model: &ModelProto) -> Option<i64> {
    model.opset_import.iter().find(|opset| matches!(&*opset.domain, "" | "ai.onnx")).map(|opset| opset.version)
}

/// Numbers in the initialisers: the folded weights, biases and constants.
#[must_use]
pub fn parameters(model: &ModelProto) -> u64 {
    let initializers = model.graph.iter().flat_map(|graph| &graph.initializer);
    initializers
        .map(|tensor: &TensorProto| tensor.dims.iter().map(|&extent| extent.max(0) as u64).product::<u64>())
        .sum()
}

/// An input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Element type as ONNX names it, such as `uint8` or `float`.
    pub element: String,
    /// Extents; `None` where the file leaves one open.
    pub shape: Vec<Option<usize>>,
}

impl fmt::Display for TensorInfo {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let extent = |extent: &Option<usize>| extent.map_or_else(|| "N".to_owned(), |extent| extent.to_string());
        let shape: Vec<_> = self.shape.iter().map(extent).collect();
        write!(f, "{} {} [{}]", self.name, self.element, shape.join(", "))
    }
}

/// What a model takes and yields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// Inputs that a caller must give (initialisers excluded).
    pub inputs: Vec<TensorInfo>,
    /// Outputs.
    pub outputs: Vec<TensorInfo>,
}

/// Reads the signature of a model.
pub fn signature(model: &ModelProto) -> Result<Signature> {
    let graph = model.graph.as_ref().context("it has no graph")?;
    let constant = |value: &&ValueInfoProto| graph.initializer.iter().any(|tensor| tensor.name == value.name);
    let inputs = graph.input.iter().filter(|value| !constant(value)).map(tensor_info).collect::<Result<_>>()?;
    let outputs = graph.output.iter().map(tensor_info).collect::<Result<_>>()?;
    Ok(Signature { inputs, outputs })
}

fn tensor_info(value: &ValueInfoProto) -> Result<TensorInfo> {
    let kind = value.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = kind else {
        bail!("'{}' is no tensor", value.name);
    };
    let element = DataType::try_from(tensor.elem_type)
        .map_or_else(|_| format!("type {}", tensor.elem_type), |kind| kind.as_str_name().to_lowercase());
    let shape = tensor.shape.iter().flat_map(|shape| &shape.dim);
    let extent = |dim: &Dimension| match dim.value {
        Some(Value::DimValue(extent)) => usize::try_from(extent).ok(),
        _ => None,
    };
    Ok(TensorInfo { name: value.name.clone(), element, shape: shape.map(extent).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_model_is_refused_with_a_reason() {
        for (bytes, word) in [
            (&b""[..], "empty"),
            (b"this is text, no protobuf message", "no whole ONNX model"),
            (&[0x08, 0x08], "no graph"),
        ] {
            let message = format!("{:#}", parse(bytes).unwrap_err());
            assert!(message.contains(word), "{message}");
        }
        let message = format!("{:#}", read(Path::new("no/such.onnx")).unwrap_err());
        assert!(message.contains("no/such.onnx"), "{message}");
    }
}
