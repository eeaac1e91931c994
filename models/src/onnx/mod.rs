//! The ONNX file format: the official protobuf messages ([`proto`]), and reading a model file together with the tensors
//! it keeps in other files ([`external`]).
//!
//! Three checks reject models that this program cannot run safely: unknown versions and operators ([`versions`]), nodes
//! in training mode or with random results ([`training`]), and models that need too much memory or time ([`limits`]).

pub mod external;
pub mod limits;
pub mod nodes;
#[allow(missing_docs, clippy::pedantic, rustdoc::all)]
pub mod proto;
pub mod training;
pub mod versions;
mod wire;

use anyhow::{Context, Result, bail, ensure};
use prost::Message;
use proto::tensor_proto::DataType;
use proto::tensor_shape_proto::dimension::Value;
use proto::type_proto::Value as Kind;
use proto::{GraphProto, ModelProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Largest accepted model file, in bytes: about 60 times the full-width MobileNetV1 for ImageNet (17 MB).
const MAX_FILE: u64 = 1 << 30;

/// Reads a model file, together with the tensors it keeps in files beside it. Does not check that it is a model;
/// [`parse`] does.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    external::embedded(read_file(path)?, path)
}

/// Reads the bytes of a model file unchanged, without tensors in other files. Fails if it has more than 1 GiB.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    let context = || format!("cannot read {}", path.display());
    let metadata = std::fs::metadata(path).with_context(context)?;
    let told = metadata.len();
    ensure!(told <= MAX_FILE, "{} has {told} bytes: expected at most {MAX_FILE}", path.display());
    ensure!(!metadata.is_dir(), "{} is a folder: expected an ONNX file", path.display());
    // The reported length is not enough: a pipe has none, and a file can grow.
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(context)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).with_context(context)?;
    ensure!(
        bytes.len() as u64 <= MAX_FILE,
        "{} is too large for a model: expected at most {MAX_FILE} bytes",
        path.display()
    );
    Ok(bytes)
}

/// Decodes a model. Arbitrary bytes can pass for a protobuf message, so a graph with at least one node is required.
pub fn parse(bytes: &[u8]) -> Result<ModelProto> {
    ensure!(!bytes.is_empty(), "it is empty: expected an ONNX model");
    if let Some((_, _, what)) =
        OTHER_FORMATS.iter().find(|(at, mark, _)| bytes[*at.min(&bytes.len())..].starts_with(mark))
    {
        bail!("it is not an ONNX model but {what}");
    }
    wire::check(bytes)?;
    let model = ModelProto::decode(bytes).map_err(|error| {
        // Only its text tells this error from others.
        let reason = if error.to_string().ends_with("not UTF-8 encoded") {
            "one of its texts is not UTF-8, or it is not an ONNX model: write that text again, as in Python with \
             onnx.load and onnx.save"
        } else {
            "it is not a complete ONNX model (protobuf): is it truncated?"
        };
        anyhow::Error::new(error).context(reason)
    })?;
    let has_nodes = model.graph.as_ref().is_some_and(|graph| !graph.node.is_empty());
    ensure!(has_nodes, "it is not an ONNX model: it has no graph");
    Ok(model)
}

/// Files that are often passed instead of ONNX: offset of the magic bytes, the magic bytes, and what the file is.
const OTHER_FORMATS: [(usize, &[u8], &str); 8] = [
    (0, b"version https://git-lfs", "a pointer of Git LFS: fetch the file itself with git lfs pull"),
    (0, b"PK\x03\x04", "a zip archive, such as PyTorch's .pt: export the network with torch.onnx.export"),
    (0, b"\x89HDF", "an HDF5 file, such as Keras writes: convert it with tf2onnx"),
    (4, b"TFL3", "a TensorFlow Lite model: convert it with tf2onnx"),
    (4, b"ORTM", "a model in ONNX Runtime's own format: use the .onnx file that it was made from"),
    (0, b"<!DOCTYPE", "a web page: the download failed"),
    (0, b"<html", "a web page: the download failed"),
    (0, b"\x1f\x8b", "a gzip archive: unpack it first"),
];

/// Encodes a model as the bytes of a model file.
#[must_use]
pub fn encode(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}

/// The version of the standard operator set that a model imports.
#[must_use]
pub fn opset(model: &ModelProto) -> Option<i64> {
    model.opset_import.iter().find(|opset| matches!(&*opset.domain, "" | "ai.onnx")).map(|opset| opset.version)
}

/// Number of values in the initialisers: folded weights, biases and constants.
#[must_use]
pub fn parameters(model: &ModelProto) -> u64 {
    let initializers = model.graph.iter().flat_map(|graph| &graph.initializer);
    let numbers = |tensor: &TensorProto| {
        tensor.dims.iter().fold(1, |product: u64, &extent| product.saturating_mul(extent.max(0).unsigned_abs()))
    };
    initializers.map(numbers).fold(0, u64::saturating_add)
}

/// Removes nodes and initialisers that no output needs.
pub fn remove_unused(graph: &mut GraphProto) {
    let mut producers = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        producers.extend(node.output.iter().map(|name| (name.as_str(), index)));
    }
    let mut open: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    let (mut needed, mut kept) = (HashSet::new(), HashSet::new());
    while let Some(name) = open.pop() {
        needed.insert(name.to_owned());
        if let Some(&index) = producers.get(name)
            && kept.insert(index)
        {
            open.extend(graph.node[index].input.iter().map(String::as_str));
        }
    }
    let mut index = 0..;
    graph.node.retain(|_| index.next().is_some_and(|index| kept.contains(&index)));
    graph.initializer.retain(|initializer| needed.contains(&initializer.name));
}

/// Puts constants in place of the nodes that compute them, and removes what is then unused. A node with several outputs
/// stays, and so does one that computes an output of the graph.
pub fn put_constants(graph: &mut GraphProto, constants: Vec<TensorProto>) {
    let mut constants: HashMap<String, TensorProto> =
        constants.into_iter().map(|constant| (constant.name.clone(), constant)).collect();
    let outputs: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    let GraphProto { node, initializer, .. } = &mut *graph;
    node.retain(|node| {
        let [name] = &node.output[..] else { return true };
        let constant = constants.remove(name).filter(|_| !outputs.contains(name));
        let stays = constant.is_none();
        initializer.extend(constant);
        stays
    });
    remove_unused(graph);
}

/// An input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorInfo {
    /// Name of the input or output.
    pub name: String,
    /// Element type in ONNX's notation, such as `uint8` or `float`. For other kinds of value this is the full type,
    /// such as `sequence(map(int64, float))`.
    pub element: String,
    /// Size of each dimension; `None` for one that the file leaves open. The whole shape is `None` if the file does not
    /// give the rank, or if this is not a tensor.
    pub shape: Option<Vec<Option<usize>>>,
}

impl TensorInfo {
    /// The shape, if its rank is `N`.
    #[must_use]
    pub fn axes<const N: usize>(&self) -> Option<[Option<usize>; N]> {
        self.shape.as_deref()?.try_into().ok()
    }
}

impl fmt::Display for TensorInfo {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", self.name, self.element)?;
        let Some(shape) = &self.shape else { return Ok(()) };
        let extent = |extent: &Option<usize>| extent.map_or_else(|| "N".to_owned(), |extent| extent.to_string());
        write!(f, " [{}]", shape.iter().map(extent).collect::<Vec<_>>().join(", "))
    }
}

/// The inputs and outputs of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// Inputs that the caller must provide; initialisers are excluded.
    pub inputs: Vec<TensorInfo>,
    /// Outputs.
    pub outputs: Vec<TensorInfo>,
}

/// Reads the signature of a model. Fails if it has no graph.
pub fn signature(model: &ModelProto) -> Result<Signature> {
    let graph = model.graph.as_ref().context("it has no graph")?;
    let constant = |value: &&ValueInfoProto| graph.initializer.iter().any(|tensor| tensor.name == value.name);
    let inputs = graph.input.iter().filter(|value| !constant(value)).map(tensor_info).collect();
    Ok(Signature { inputs, outputs: graph.output.iter().map(tensor_info).collect() })
}

fn tensor_info(value: &ValueInfoProto) -> TensorInfo {
    let kind = value.r#type.as_ref();
    let shape = match kind.and_then(|kind| kind.value.as_ref()) {
        Some(Kind::TensorType(tensor)) => tensor.shape.as_ref().map(extents),
        _ => None,
    };
    TensorInfo { name: value.name.clone(), element: kind.map_or_else(|| UNKNOWN.to_owned(), type_name), shape }
}

/// A type that is missing in the file or unknown to this program.
const UNKNOWN: &str = "(unknown type)";

fn extents(shape: &TensorShapeProto) -> Vec<Option<usize>> {
    let extent = |value: &Option<Value>| match value {
        Some(Value::DimValue(extent)) => usize::try_from(*extent).ok(),
        _ => None,
    };
    shape.dim.iter().map(|dim| extent(&dim.value)).collect()
}

/// A type as text: the element type of a tensor, or a composed type such as `sequence(map(int64, float))`.
fn type_name(kind: &TypeProto) -> String {
    let inner = |kind: &Option<Box<TypeProto>>| kind.as_deref().map_or_else(|| UNKNOWN.to_owned(), type_name);
    match &kind.value {
        Some(Kind::TensorType(tensor)) => element_name(tensor.elem_type),
        Some(Kind::SparseTensorType(tensor)) => format!("sparse({})", element_name(tensor.elem_type)),
        Some(Kind::SequenceType(sequence)) => format!("sequence({})", inner(&sequence.elem_type)),
        Some(Kind::MapType(map)) => format!("map({}, {})", element_name(map.key_type), inner(&map.value_type)),
        Some(Kind::OptionalType(optional)) => format!("optional({})", inner(&optional.elem_type)),
        None => UNKNOWN.to_owned(),
    }
}

/// An element type in ONNX's notation.
fn element_name(number: i32) -> String {
    DataType::try_from(number).map_or_else(|_| format!("type {number}"), |kind| kind.as_str_name().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_model_is_refused_with_a_reason() {
        for (bytes, word) in [
            (&b""[..], "empty"),
            (b"this is text, no protobuf message", "not a complete ONNX model"),
            (&[0x08, 0x08], "no graph"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
            (b"\x1c\0\0\0TFL3\x14\0", "TensorFlow Lite"),
        ] {
            let message = format!("{:#}", parse(bytes).unwrap_err());
            assert!(message.contains(word), "{message}");
        }
        let message = format!("{:#}", read(Path::new("no/such.onnx")).unwrap_err());
        assert!(message.contains("no/such.onnx"), "{message}");
    }

    #[test]
    fn a_text_in_another_encoding_is_named() {
        let model = include_bytes!("../../pretrained/mnist-quick.onnx");
        // Two bytes of GBK in a field of the model: its `doc_string`, which is skipped, and `producer_name`.
        let with = |key: u8| parse(&[&model[..], &[key, 2, 0xd6, 0xd0]].concat());
        with(6 << 3 | 2).unwrap();
        let message = format!("{:#}", with(2 << 3 | 2).unwrap_err());
        assert!(message.contains("producer_name") && !message.contains("truncated"), "{message}");
    }
}
