//! ONNX Runtime's CUDA execution provider: registered so that failure is an error, and read back afterwards.
//!
//! ONNX Runtime runs on the processor what CUDA cannot run, without a word. What really runs is known only from a
//! profile of a run, node by node.

use super::Source;
use super::ort::commit;
use anyhow::{Context, Result, anyhow, ensure};
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::proto::type_proto::{Tensor, Value};
use models::onnx::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TypeProto, ValueInfoProto};
use ndarray::Array4;
use ort::environment::Environment;
use ort::ep::{CUDA, ExecutionProvider};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::TensorRef;
use prost::Message;
use std::collections::BTreeMap;

/// Adds the CUDA execution provider for the device of this number.
pub fn register(builder: SessionBuilder, number: usize) -> Result<SessionBuilder> {
    let provider = CUDA::default().with_device_id(i32::try_from(number)?).build().error_on_failure();
    builder.with_execution_providers([provider]).map_err(|error| unusable(number, &error))
}

/// The error of a device that cannot be used, with what to do about it.
fn unusable(number: usize, reason: &impl ToString) -> anyhow::Error {
    let reason = reason.to_string();
    let reason = reason.trim();
    anyhow!(
        "ONNX Runtime cannot use cuda:{number}: {reason}\n  It needs its GPU library (scripts/setup --cuda), CUDA's \
         libraries and a driver"
    )
}

/// Whether CUDA works at all, by way of a model of one node. `is_available` would only tell what the library was
/// compiled with.
pub fn probe(environment: &Environment, number: usize) -> Result<()> {
    let mut builder = register(Session::builder(environment)?, number)?;
    builder.commit_from_memory(&one_node(DataType::Float, "Relu")).map_err(|error| unusable(number, &error))?;
    Ok(())
}

/// A model of one node, on tensors of any shape.
fn one_node(element: DataType, operator: &str) -> Vec<u8> {
    let value = |name: &str| ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            value: Some(Value::TensorType(Tensor { elem_type: element as i32, shape: None })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    };
    let node = NodeProto {
        input: vec!["x".to_owned()],
        output: vec!["y".to_owned()],
        op_type: operator.to_owned(),
        ..NodeProto::default()
    };
    let model = ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { version: 13, ..OperatorSetIdProto::default() }],
        graph: Some(GraphProto {
            name: "one node".to_owned(),
            node: vec![node],
            input: vec![value("x")],
            output: vec![value("y")],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

/// Loads the model and says which provider runs it. A model that CUDA has no part in is an error.
pub fn commit_and_read_back(builder: SessionBuilder, source: Source) -> Result<(Session, String)> {
    let (session, nodes) = profiled(builder, source)?;
    let provider = sentence(&nodes);
    ensure!(nodes.contains_key(CUDA::NAME), "ONNX Runtime runs no node of {} on CUDA, but: {provider}", source.name);
    Ok((session, provider))
}

/// Loads the model, runs one black picture under ONNX Runtime's profiler and counts the nodes of each provider.
fn profiled(builder: SessionBuilder, source: Source) -> Result<(Session, BTreeMap<String, usize>)> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder for ONNX Runtime's profile")?;
    let builder = builder.with_profiling(folder.path().join("profile")).map_err(ort::Error::<()>::from)?;
    let mut session = commit(builder, source)?;
    let input = &source.interface.input;
    let black = Array4::<u8>::zeros((1, input.channels, input.height, input.width));
    session.run(ort::inputs![TensorRef::from_array_view(black.view())?])?;
    let profile = session.end_profiling()?;
    let profile = std::fs::read(&profile).with_context(|| format!("cannot read ONNX Runtime's profile {profile}"))?;
    let nodes = nodes_by_provider(&profile)?;
    Ok((session, nodes))
}

/// Nodes that ran, by provider, from a profile.
fn nodes_by_provider(profile: &[u8]) -> Result<BTreeMap<String, usize>> {
    #[derive(serde::Deserialize)]
    struct Event {
        #[serde(default)]
        args: Arguments,
    }
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Arguments {
        provider: Option<String>,
    }
    let events: Vec<Event> = serde_json::from_slice(profile).context("ONNX Runtime's profile cannot be read")?;
    let mut nodes = BTreeMap::new();
    for provider in events.into_iter().filter_map(|event| event.args.provider) {
        *nodes.entry(provider).or_default() += 1;
    }
    Ok(nodes)
}

/// One provider by its name, several with what they run.
fn sentence(nodes: &BTreeMap<String, usize>) -> String {
    match nodes.len() {
        1 => nodes.keys().cloned().collect(),
        0 => "no node ran".to_owned(),
        _ => nodes.iter().rev().map(|(name, count)| format!("{name} (nodes: {count})")).collect::<Vec<_>>().join(" + "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Options;
    use crate::interface::{Interface, Scores};
    use models::card::{Content, Input, Takes};

    #[test]
    fn providers_are_counted_from_a_profile() {
        let profile = br#"[
            {"cat": "Session", "name": "model_loading", "args": {}},
            {"cat": "Node", "name": "a", "args": {"op_name": "Conv", "provider": "CUDAExecutionProvider"}},
            {"cat": "Node", "name": "b", "args": {"op_name": "Cast", "provider": "CPUExecutionProvider"}},
            {"cat": "Node", "name": "c", "args": {"op_name": "Conv", "provider": "CUDAExecutionProvider"}}
        ]"#;
        let nodes = nodes_by_provider(profile).unwrap();
        assert_eq!(sentence(&nodes), "CUDAExecutionProvider (nodes: 2) + CPUExecutionProvider (nodes: 1)");
        assert!(nodes_by_provider(b"[").is_err());
    }

    #[test]
    fn what_really_runs_is_read_back() {
        let library = match crate::backend::library::load() {
            Ok(library) => library,
            Err(reason) => return println!("skipped: what_really_runs_is_read_back: {reason}"),
        };
        let input = Input { name: "x".into(), ..Input::new(1, 2, 3, Content::Picture) };
        let (output, scores) = ("y".into(), Scores::Logits);
        let (takes, picture) = (Takes::Pictures, [1, 2, 3]);
        let interface =
            Interface { input, takes, picture, batch: None, at_once: 1, output, scores, classes: 2, notes: Vec::new() };
        let bytes = one_node(DataType::Uint8, "Abs");
        let source = Source { name: "one node", bytes: &bytes, interface: &interface };
        // Without registering CUDA the processor must be what is read back.
        let builder = || crate::backend::ort::builder(library, &Options::default()).unwrap();
        let (_, nodes) = profiled(builder(), source).unwrap();
        assert_eq!(nodes, BTreeMap::from([("CPUExecutionProvider".to_owned(), 1)]));
        let message = commit_and_read_back(builder(), source).unwrap_err().to_string();
        assert!(message.contains("no node of one node on CUDA, but: CPUExecutionProvider"), "{message}");
    }
}
