//! ONNX Runtime's CUDA execution provider: registered so that failure is an error, and verified afterwards.
//!
//! ONNX Runtime silently runs nodes on the CPU that CUDA cannot run. Only the profile of a run shows which provider ran
//! each node.

use super::library::{self, Library};
use super::ort::commit;
use super::status::Found;
use super::{ModelFile, nvidia};
use crate::interface::Interface;
use anyhow::{Context, Result, anyhow, bail, ensure};
use models::card::GraphInput;
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::proto::type_proto::{Tensor, Value};
use models::onnx::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TypeProto, ValueInfoProto};
use ndarray::Array4;
use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{CUDA, ExecutionProvider};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::{PrimitiveTensorElementType, TensorRef};
use prost::Message;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// How cuDNN chooses convolution algorithms (`cudnn_conv_algo_search` in ONNX Runtime).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Tries all algorithms on the first run of each shape. The fastest in the end, and ONNX Runtime's default.
    Exhaustive,
    /// Uses cuDNN's heuristics.
    Heuristic,
    /// Always uses the same algorithm.
    Default,
}

impl Search {
    /// The names that a user can type.
    pub const NAMES: [&str; 3] = ["exhaustive", "heuristic", "default"];
}

impl FromStr for Search {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "exhaustive" => Ok(Self::Exhaustive),
            "heuristic" => Ok(Self::Heuristic),
            "default" => Ok(Self::Default),
            _ => bail!("expected exhaustive, heuristic or default"),
        }
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Exhaustive => "exhaustive",
            Self::Heuristic => "heuristic",
            Self::Default => "default",
        })
    }
}

/// Options for running a model on CUDA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// How convolution algorithms are chosen; `None` for ONNX Runtime's default, exhaustive.
    pub search: Option<Search>,
    /// Most bytes that ONNX Runtime allocates for tensors (`gpu_mem_limit`); `None` for no limit. Memory that CUDA and
    /// cuDNN need themselves comes on top.
    pub memory: Option<u64>,
}

impl Tuning {
    fn provider(self, number: u16) -> Result<CUDA> {
        // By default, ONNX Runtime lets newer GPUs round the factors of a convolution to 10 bits of mantissa (TF32).
        // The answers would no longer be those of fp32.
        let mut provider = CUDA::default().with_device_id(i32::from(number)).with_tf32(false);
        if let Some(search) = self.search {
            provider = provider.with_conv_algorithm_search(match search {
                Search::Exhaustive => ConvAlgorithmSearch::Exhaustive,
                Search::Heuristic => ConvAlgorithmSearch::Heuristic,
                Search::Default => ConvAlgorithmSearch::Default,
            });
        }
        if let Some(bytes) = self.memory {
            provider = provider.with_memory_limit(usize::try_from(bytes)?);
        }
        Ok(provider)
    }
}

/// Adds the CUDA execution provider for device `number`.
pub fn register(library: &Library, builder: SessionBuilder, number: u16, tuning: Tuning) -> Result<SessionBuilder> {
    // ONNX Runtime's own message would only say that CUDA was not compiled in, and not what to do.
    if !library.providers().iter().any(|name| name == CUDA::NAME) {
        bail!(
            "ONNX Runtime cannot use cuda:{number}: {} was built without CUDA. Run scripts/setup --cuda --only \
             onnxruntime, or set {} to the library of a GPU build",
            library.path.display(),
            super::library::VARIABLE
        );
    }
    nvidia::load(&library.path);
    let provider = tuning.provider(number)?.build().error_on_failure();
    builder.with_execution_providers([provider]).map_err(|error| unusable(library, number, &error))
}

/// The error for a device that cannot be used: its cause as far as known, what to do about it, and ONNX Runtime's
/// message.
fn unusable(library: &Library, number: u16, reason: &impl ToString) -> anyhow::Error {
    let reason = reason.to_string();
    let advice = nvidia::load(&library.path).advice().unwrap_or_else(|| {
        "CUDA's libraries and a driver were found: nvidia-smi shows whether the driver works, is new enough, and has a \
         device of this number"
            .to_owned()
    });
    anyhow!("ONNX Runtime cannot use cuda:{number}: {advice}\n  ONNX Runtime says: {}", without_source(&reason))
}

/// ONNX Runtime's message without the source location at its beginning.
fn without_source(reason: &str) -> &str {
    let reason = reason.trim();
    reason.split_once("[ONNXRuntimeError] : ").map_or(reason, |(_, rest)| rest)
}

/// Checks that CUDA really works, by running a model of one node, and returns NVIDIA's libraries. `is_available` would
/// only say what the library was compiled with.
pub fn find(number: u16) -> Result<Found> {
    let library = library::load()?;
    let builder = Session::builder(library.environment())?;
    let mut builder = register(library, builder, number, Tuning::default())?;
    let committed = builder.commit_from_memory(&one_node(DataType::Float, "Relu"));
    let mut session = committed.map_err(|error| unusable(library, number, &error))?;
    // A device that is too old for the kernels only fails now.
    run_black::<f32>(&mut session, (1, 1, 1, 1)).map_err(|error| unusable(library, number, &format!("{error:#}")))?;
    let libraries = nvidia::load(&library.path).origin();
    Ok(Found {
        version: Some(library.version.clone()),
        library: Some(libraries),
        providers: vec![CUDA::NAME.to_owned()],
    })
}

/// A model of one node, for tensors of any shape.
fn one_node(element: DataType, operator: &str) -> Vec<u8> {
    let value = |name: &str| ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            value: Some(Value::TensorType(Tensor { elem_type: element as i32, shape: None })),
            ..TypeProto::default()
        }),
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

/// Loads the model and returns which providers run it. Errors if CUDA runs none of its nodes.
pub fn commit_and_read_back(builder: SessionBuilder, source: ModelFile) -> Result<(Session, String)> {
    let (session, nodes) = profiled(builder, source)?;
    let provider = sentence(&nodes);
    ensure!(
        nodes.contains_key(CUDA::NAME),
        "ONNX Runtime runs no node of {} on CUDA, only on: {provider}",
        source.name
    );
    Ok((session, provider))
}

/// Loads the model, runs one black image under ONNX Runtime's profiler and counts the nodes of each provider.
fn profiled(builder: SessionBuilder, source: ModelFile) -> Result<(Session, BTreeMap<String, usize>)> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder for ONNX Runtime's profile")?;
    let builder = builder.with_profiling(folder.path().join("profile")).map_err(ort::Error::<()>::from)?;
    let mut session = commit(builder, source)?;
    let Interface { takes, image: [channels, height, width], batch, .. } = *source.interface;
    let shape = (batch.unwrap_or(1), channels, height, width);
    let outcome = match takes {
        GraphInput::Images => run_black::<u8>(&mut session, shape),
        GraphInput::Normalised => run_black::<f32>(&mut session, shape),
    };
    outcome.with_context(|| format!("ONNX Runtime cannot run {}", source.name))?;
    let profile = session.end_profiling()?;
    let profile = std::fs::read(&profile).with_context(|| format!("cannot read ONNX Runtime's profile {profile}"))?;
    let nodes = nodes_by_provider(&profile)?;
    Ok((session, nodes))
}

fn run_black<T>(session: &mut Session, shape: (usize, usize, usize, usize)) -> Result<()>
where
    T: PrimitiveTensorElementType + Clone + fmt::Debug + Default + 'static,
{
    let black = Array4::from_elem(shape, T::default());
    session.run(ort::inputs![TensorRef::from_array_view(black.view())?])?;
    Ok(())
}

/// Counts the nodes that ran by provider, from a profile.
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

/// Names a single provider; several are listed with their numbers of nodes.
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
    use crate::interface::Scores;
    use models::card::{Content, Input};

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
    fn searches_are_read_as_they_are_written() {
        for search in [Search::Exhaustive, Search::Heuristic, Search::Default] {
            assert_eq!(search.to_string().parse::<Search>().unwrap(), search);
        }
        assert!("fast".parse::<Search>().unwrap_err().to_string().contains("exhaustive, heuristic or default"));
    }

    #[test]
    fn a_message_of_onnxruntime_is_shown_without_its_source_location() {
        let message = "/onnxruntime_src/a.cc:2043 f() [ONNXRuntimeError] : 1 : FAIL : Failed to load library x ";
        assert_eq!(without_source(message), "1 : FAIL : Failed to load library x");
        assert_eq!(without_source(" no such thing "), "no such thing");
    }

    #[test]
    fn what_really_runs_is_read_back() {
        let library = match crate::backend::library::load() {
            Ok(library) => library,
            Err(reason) => return println!("skipped: what_really_runs_is_read_back: {reason}"),
        };
        let input = Input { name: "x".into(), ..Input::new(1, 2, 3, Content::Image) };
        let (output, scores) = ("y".into(), Scores::Logits);
        let (takes, image) = (GraphInput::Images, [1, 2, 3]);
        let interface = Interface {
            input,
            takes,
            image,
            batch: None,
            at_once: 1,
            output,
            scores,
            reason: String::new(),
            origin: None,
            doubt: None,
            classes: 2,
            notes: Vec::new(),
        };
        let bytes = one_node(DataType::Uint8, "Abs");
        let model = models::onnx::parse(&bytes).unwrap();
        let source = ModelFile { name: "one node", bytes: &bytes, model: &model, interface: &interface };
        // Without CUDA registered, only the CPU provider may show up.
        let builder = || crate::backend::ort::builder(library, &Options::default(), false).unwrap();
        let (_, nodes) = profiled(builder(), source).unwrap();
        assert_eq!(nodes, BTreeMap::from([("CPUExecutionProvider".to_owned(), 1)]));
        let message = commit_and_read_back(builder(), source).unwrap_err().to_string();
        assert!(message.contains("no node of one node on CUDA, only on: CPUExecutionProvider"), "{message}");
        // A graph of `--preprocess none --batch 4`.
        let bytes = one_node(DataType::Float, "Abs");
        let interface =
            Interface { takes: GraphInput::Normalised, image: [1, 4, 4], batch: Some(4), ..interface.clone() };
        let source = ModelFile { bytes: &bytes, interface: &interface, ..source };
        assert_eq!(profiled(builder(), source).unwrap().1.len(), 1);
    }
}
