//! ONNX Runtime, through its shared library.

use super::binding::Binding;
use super::library::{self, Library};
use super::prepared::{self, DirectCall};
use super::{Backend, ImageBatch, ModelFile, Options, Runtime, filled};
use anyhow::{Context, Result, anyhow, bail, ensure};
use models::onnx;
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::proto::{ModelProto, TensorProto};
use ndarray::{Array2, ArrayView4, Axis, s};
use ort::session::SessionInputs;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use ort::value::{DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef};
use std::fmt::Debug;

/// A model loaded into ONNX Runtime.
pub struct Session {
    inner: ort::session::Session,
    output: String,
    classes: usize,
    batch: Option<usize>,
    /// Bound memory for CUDA; `None` on the CPU, where nothing is copied.
    binding: Option<Binding>,
    at_once: usize,
    runtime: Runtime,
}

impl Session {
    /// Loads a model on the CPU. `as_written` leaves out ONNX Runtime's optimisations of the graph.
    pub fn on_cpu(source: ModelFile, options: &Options, as_written: bool) -> Result<Self> {
        let library = library::load()?;
        let session = commit(builder(library, options, as_written)?, source)?;
        let provider = <ort::ep::CPU as ort::ep::ExecutionProvider>::NAME;
        let runtime = runtime(library, options, as_written, provider.to_owned(), "cpu".to_owned());
        Ok(Self::new(session, source, runtime))
    }

    /// Loads a model on the CUDA device of this number.
    #[cfg(feature = "cuda")]
    pub fn on_cuda(source: ModelFile, options: &Options, number: u16, as_written: bool) -> Result<Self> {
        use super::cuda;
        let library = library::load()?;
        let builder = cuda::register(library, builder(library, options, as_written)?, number, options.cuda)?;
        let (session, provider) = cuda::commit_and_read_back(builder, source)?;
        let binding = Binding::of_cuda(&session, &source.interface.output, number)?;
        let runtime = runtime(library, options, as_written, provider, format!("cuda:{number}"));
        Ok(Self { binding: Some(binding), ..Self::new(session, source, runtime) })
    }

    fn new(session: ort::session::Session, source: ModelFile, runtime: Runtime) -> Self {
        Self {
            inner: session,
            output: source.interface.output.clone(),
            classes: source.interface.classes,
            batch: source.interface.batch,
            binding: None,
            at_once: source.interface.at_once,
            runtime,
        }
    }
}

/// Describes what runs.
fn runtime(library: &Library, options: &Options, as_written: bool, provider: String, device: String) -> Runtime {
    let name = if as_written { "onnxruntime as written" } else { "onnxruntime" };
    Runtime { name: name.to_owned(), version: library.version.clone(), provider, device, threads: options.threads() }
}

/// Sets up a session, before any execution provider is added.
pub(crate) fn builder(library: &Library, options: &Options, as_written: bool) -> Result<SessionBuilder> {
    let level = if as_written { GraphOptimizationLevel::Disable } else { GraphOptimizationLevel::Level3 };
    let set_up = || -> ort::Result<SessionBuilder> {
        let builder = ort::session::Session::builder(library.environment())?
            // By default, ort lets ONNX Runtime choose a provider, and then nobody could say what runs.
            .with_auto_device(AutoDevicePolicy::PreferCPU)?
            .with_optimization_level(level)?
            .with_intra_threads(options.threads())?;
        Ok(builder)
    };
    set_up().context("ONNX Runtime cannot be set up")
}

/// Returns the graph as ONNX Runtime runs it on the CPU: after its optimisations, with operators of its own such as
/// `QLinearConv`. Fails for graphs with 2 GB of weights or more.
pub fn rewritten(name: &str, bytes: &[u8]) -> Result<ModelProto> {
    let library = library::load()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rewritten.onnx");
    let context = || format!("ONNX Runtime cannot load {name}");
    let mut builder = builder(library, &Options::default(), false)?
        .with_optimized_model_path(&path)
        .map_err(ort::Error::<()>::from)
        .with_context(context)?;
    builder.commit_from_memory(bytes).with_context(context)?;
    onnx::parse(&onnx::read(&path)?)
}

/// Computes the outputs of a graph without inputs. The types of its outputs need not be declared.
pub fn computed(model: &ModelProto) -> Result<Vec<TensorProto>> {
    let library = library::load()?;
    let context = "its constant part does not run in ONNX Runtime";
    let mut builder = builder(library, &Options::default(), true)?;
    let mut session = builder.commit_from_memory(&onnx::encode(model)).context(context)?;
    let outputs = session.run(SessionInputs::<0>::ValueArray([])).context(context)?;
    outputs.iter().map(|(name, value)| stored(name, &value)).collect()
}

/// A tensor as a file stores it.
fn stored(name: &str, value: &DynValue) -> Result<TensorProto> {
    fn raw<T: PrimitiveTensorElementType + Copy, const N: usize>(
        value: &DynValue,
        element: DataType,
        bytes: impl Fn(T) -> [u8; N],
    ) -> Result<(DataType, Vec<i64>, Vec<u8>)> {
        let (shape, numbers) = value.try_extract_tensor::<T>()?;
        Ok((element, shape.to_vec(), numbers.iter().copied().flat_map(bytes).collect()))
    }
    use TensorElementType as E;
    let (element, dims, raw_data) = match value.dtype().tensor_type() {
        Some(E::Float32) => raw(value, DataType::Float, f32::to_le_bytes),
        Some(E::Float64) => raw(value, DataType::Double, f64::to_le_bytes),
        Some(E::Int64) => raw(value, DataType::Int64, i64::to_le_bytes),
        Some(E::Int32) => raw(value, DataType::Int32, i32::to_le_bytes),
        Some(E::Int8) => raw(value, DataType::Int8, i8::to_le_bytes),
        Some(E::Uint8) => raw(value, DataType::Uint8, u8::to_le_bytes),
        Some(E::Bool) => raw(value, DataType::Bool, |truth: bool| [u8::from(truth)]),
        other => bail!("'{name}' is {other:?}: expected numbers of 8, 32 or 64 bits"),
    }?;
    let (name, data_type) = (name.to_owned(), element as i32);
    Ok(TensorProto { name, data_type, dims, raw_data, ..TensorProto::default() })
}

/// Loads the model into a session.
pub(crate) fn commit(mut builder: SessionBuilder, source: ModelFile) -> Result<ort::session::Session> {
    builder.commit_from_memory(source.bytes).with_context(|| format!("ONNX Runtime cannot load {}", source.name))
}

impl Backend for Session {
    fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn run(&mut self, images: ImageBatch) -> Result<Array2<f32>> {
        match images {
            ImageBatch::Bytes(images) => self.run_all(images),
            ImageBatch::Normalised(images) => self.run_all(images),
        }
    }
}

impl Session {
    /// Prepares ONNX Runtime's own call on these images.
    pub(super) fn prepared<'a>(backend: &'a mut dyn Backend, images: ImageBatch) -> Result<DirectCall<'a>> {
        let Self { inner, at_once, batch, .. } = prepared::opened(backend)?;
        match images {
            ImageBatch::Bytes(images) => prepared::in_ort(inner, *at_once, *batch, images),
            ImageBatch::Normalised(images) => prepared::in_ort(inner, *at_once, *batch, images),
        }
    }

    /// ONNX Runtime's own session.
    pub(crate) fn inner(&mut self) -> &mut ort::session::Session {
        &mut self.inner
    }

    fn run_all<T>(&mut self, images: ArrayView4<T>) -> Result<Array2<f32>>
    where
        T: PrimitiveTensorElementType + Copy + Debug + Default + 'static,
    {
        let count = images.dim().0;
        let mut scores = Array2::zeros((count, self.classes));
        let mut done = 0;
        for batch in images.axis_chunks_iter(Axis(0), self.at_once) {
            let wanted = batch.dim().0;
            let batch = filled(batch, self.batch);
            let outputs = match &mut self.binding {
                Some(binding) => binding.run(&mut self.inner, batch.view()),
                None => TensorRef::from_array_view(batch.view())
                    .and_then(|input| self.inner.run(ort::inputs![input]))
                    .map_err(Into::into),
            };
            let outputs = outputs.context("ONNX Runtime cannot run it")?;
            let output = outputs.get(&self.output).with_context(|| format!("it did not return '{}'", self.output))?;
            let output = output.try_extract_array::<f32>()?;
            let &[rows, classes] = output.shape() else {
                return Err(anyhow!("'{}' has the shape {:?}: expected [N, classes]", self.output, output.shape()));
            };
            ensure!(
                rows == batch.dim().0 && classes == scores.dim().1,
                "'{}' has the shape {:?}: expected [{}, {}]",
                self.output,
                output.shape(),
                batch.dim().0,
                scores.dim().1
            );
            scores.slice_mut(s![done..done + wanted, ..]).assign(&output.slice(s![..wanted, ..]));
            done += wanted;
        }
        Ok(scores)
    }
}
