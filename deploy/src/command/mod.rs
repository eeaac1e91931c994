//! The commands, one file each. Each turns flags into a call of the library and prints the result as text or JSON.

#[cfg(feature = "adopt")]
pub mod adopt;
pub mod answers;
pub mod backends;
pub mod bench;
pub mod doctor;
pub mod eval;
pub mod inspect;
pub mod parity;
pub mod predict;
#[cfg(feature = "serve")]
pub mod serve;
#[cfg(feature = "watch")]
pub mod watch;

use anyhow::{Context, Result, anyhow, ensure};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, ValueEnum, ValueHint};
use deploy::arguments::whole;
#[cfg(feature = "cuda")]
use deploy::backend::cuda::{Search, Tuning};
use deploy::backend::{Device, ENGINES, Engine, Options, Selection};
use deploy::embedded;
use deploy::explain::Explainer;
use deploy::model::Model;
use deploy::named::Named;
use deploy::predict::Chooser;
pub use deploy::text::{self, print, print_json};
use indicatif::{ProgressBar, ProgressStyle};
use models::dataset::{self, Dataset, ReadOptions, TestSet, Trained, UnknownClasses};
use models::onnx::{self, external};
use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

/// How a result is printed: for people, or as one document for programs.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
// Help on single values would spread every flag of `--help` over several lines.
#[allow(missing_docs)]
pub enum Format {
    Text,
    Json,
}

/// Which model, and how it is to be run.
#[derive(Args)]
pub struct ModelArguments<M: Args + ModelSource = ModelFlag> {
    #[command(flatten)]
    model: M,

    #[arg(
        long,
        value_name = "NAME",
        default_value = AUTO,
        value_parser = Named::new::<Selection>(names([AUTO])),
        hide_possible_values = true,
        help = backend_help()
    )]
    backend: Selection,

    /// Where to run: auto (where the engine runs), cpu, cuda or cuda:N
    #[arg(
        long,
        value_name = "NAME",
        default_value_t = Device::Auto,
        value_parser = Named::new::<Device>(&Device::NAMES),
        hide_possible_values = true
    )]
    device: Device,

    #[command(flatten)]
    cuda: CudaArguments,

    /// CPU threads [default: one per hardware thread]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..=1024))]
    threads: Option<u16>,
}

/// What selects the best engine.
const AUTO: &str = "auto";

/// Help for `--backend`: in which order `auto` tries the engines, and all names.
fn backend_help() -> String {
    let order: Vec<_> = Engine::everyday().rev().map(|engine| engine.to_string()).collect();
    let names = Engine::names();
    format!("{AUTO} (the first usable of {}), or an engine by name: {names}", order.join(", "))
}

/// The names of all engines, after other ones.
pub fn names<const N: usize>(others: [&'static str; N]) -> Vec<&'static str> {
    others.into_iter().chain(ENGINES.iter().map(|engine| engine.name)).collect()
}

impl<M: Args + ModelSource> ModelArguments<M> {
    /// Whether the user named a model.
    pub fn is_named(&self) -> bool {
        self.model.path().is_some()
    }

    /// Opens the model and prints its notes to standard error.
    pub fn open(&self) -> Result<Model> {
        open(&self.model, &self.options()?)
    }

    /// Opens the model, and the same model with class activation maps as its output.
    pub fn open_explained(&self) -> Result<(Model, Explainer)> {
        // Read once: it may be a pipe.
        let ((name, bytes), options) = (self.model.read()?, self.options()?);
        let model = Model::from_bytes(&name, &bytes, &options)?;
        say_notes(model.notes());
        Ok((model, Explainer::new(&name, &bytes, &options)?))
    }

    fn options(&self) -> Result<Options> {
        let (engine, threads) = (self.backend.on(self.device).map_err(usage)?, self.threads.map(usize::from));
        let options = self.cuda.applied(Options::new(engine, threads));
        options.validate().map_err(usage)?;
        Ok(options)
    }
}

/// How CUDA runs a model.
#[derive(Args)]
pub struct CudaArguments {
    /// How cuDNN chooses its convolutions: exhaustive (tries all: slow first run), heuristic (quick) or default (no
    /// search) [default: exhaustive]
    #[cfg(feature = "cuda")]
    #[arg(long, value_name = "NAME", value_parser = Named::new::<Search>(&Search::NAMES), hide_possible_values = true)]
    cudnn_search: Option<Search>,

    /// Most CUDA memory for ONNX Runtime's tensors, in bytes; libraries and their workspaces are not counted [default:
    /// no limit]
    #[cfg(feature = "cuda")]
    #[arg(long, value_name = "BYTES", value_parser = whole::<u64>(1..=i64::MAX as u64))]
    cuda_memory: Option<u64>,
}

impl CudaArguments {
    /// Returns the options with these flags applied.
    #[cfg_attr(not(feature = "cuda"), allow(clippy::unused_self))]
    pub fn applied(&self, options: Options) -> Options {
        #[cfg(feature = "cuda")]
        let options = Options { cuda: Tuning { search: self.cudnn_search, memory: self.cuda_memory }, ..options };
        options
    }

    /// The options that open a model on this engine, with these flags applied if they have an effect.
    pub fn on(&self, engine: Engine, threads: Option<usize>) -> Options {
        let options = engine.options(threads);
        if engine.registration.cuda { self.applied(options) } else { options }
    }

    /// Refuses these flags if they have no effect on any of these engines.
    pub fn validate(&self, engines: &[Engine]) -> Result<()> {
        let on_cuda = engines.iter().find(|engine| engine.registration.cuda).or(engines.first());
        on_cuda.map_or(Ok(()), |engine| self.applied(engine.options(None)).validate().map_err(usage))
    }

    /// The same flags as arguments for another process.
    #[cfg_attr(not(feature = "cuda"), allow(clippy::unused_self))]
    pub fn flags(&self) -> Vec<String> {
        #[cfg(feature = "cuda")]
        let flags = {
            let search = self.cudnn_search.map(|search| format!("--cudnn-search={search}"));
            let memory = self.cuda_memory.map(|bytes| format!("--cuda-memory={bytes}"));
            search.into_iter().chain(memory).collect()
        };
        #[cfg(not(feature = "cuda"))]
        let flags = Vec::new();
        flags
    }
}

/// Names the embedded model, which was chosen when the program was built.
const MODEL_HELP: &str = concat!(
    "The model, as written by train export [default: ",
    env!("DEPLOY_MODEL_NAME"),
    ", embedded in this program]"
);

/// Where a model comes from.
pub trait ModelSource {
    /// Path of the model; `None` for the embedded one.
    fn path(&self) -> Option<&Path>;

    /// Returns the model's name for messages and its bytes, including tensors that it keeps in other files.
    fn read(&self) -> Result<(String, Cow<'static, [u8]>)> {
        let (name, bytes) = self.read_file()?;
        Ok((name, self.complete(bytes)?))
    }

    /// Returns the model's name for messages and the bytes of its file, without tensors in other files.
    fn read_file(&self) -> Result<(String, Cow<'static, [u8]>)> {
        match self.path() {
            Some(path) => Ok((path.display().to_string(), onnx::read_file(path)?.into())),
            None => Ok((embedded::NAME.to_owned(), embedded::MODEL.into())),
        }
    }

    /// Adds tensors from other files to the bytes of the model's file. The file may be a pipe, so it is read only once.
    fn complete(&self, bytes: Cow<'static, [u8]>) -> Result<Cow<'static, [u8]>> {
        match self.path() {
            Some(path) => Ok(external::embedded(bytes.into_owned(), path)?.into()),
            None => Ok(bytes),
        }
    }
}

/// The model as a flag, for a command that takes other files.
#[derive(Args)]
pub struct ModelFlag {
    #[arg(long = "model", value_name = "FILE", help = MODEL_HELP, value_hint = ValueHint::FilePath)]
    path: Option<PathBuf>,
}

/// The model as an operand, or as a flag, as all commands take it.
#[derive(Args)]
pub struct ModelOperand {
    #[arg(value_name = "MODEL", help = MODEL_HELP, value_hint = ValueHint::FilePath, conflicts_with = "flag")]
    operand: Option<PathBuf>,

    /// The same as a flag
    #[arg(long = "model", value_name = "FILE", value_hint = ValueHint::FilePath)]
    flag: Option<PathBuf>,
}

impl ModelSource for ModelFlag {
    fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

impl ModelSource for ModelOperand {
    fn path(&self) -> Option<&Path> {
        self.operand.as_deref().or(self.flag.as_deref())
    }
}

/// A path, or the embedded model.
impl ModelSource for Option<&Path> {
    fn path(&self) -> Option<&Path> {
        *self
    }
}

/// Opens a model and prints its notes to standard error.
pub fn open(file: &impl ModelSource, options: &Options) -> Result<Model> {
    let (name, bytes) = file.read()?;
    let model = Model::from_bytes(&name, &bytes, options)?;
    say_notes(model.notes());
    Ok(model)
}

/// Opens a model in each of these engines. Prints the notes of the first one.
pub fn open_in(file: &impl ModelSource, engines: &[Engine], options: impl Fn(Engine) -> Options) -> Result<Vec<Model>> {
    let (name, bytes) = file.read()?;
    let mut models: Vec<Model> = Vec::new();
    for &engine in engines {
        engine.check().with_context(|| format!("{engine} cannot be used"))?;
        models.push(Model::from_bytes(&name, &bytes, &options(engine))?);
    }
    // The notes on the file are the same in all engines.
    if let Some(model) = models.first() {
        say_notes(model.notes());
    }
    Ok(models)
}

/// The engines that the list of an option names, and notes on those that `all` leaves out.
pub fn listed(option: &str, list: &str) -> Result<(Vec<Engine>, Vec<String>)> {
    if list == "all" {
        let (here, absent) = Engine::available(Engine::all());
        ensure!(!here.is_empty(), "no engine is available: see deploy backends");
        return Ok((here, absent.iter().map(|absent| format!("left out: {absent}")).collect()));
    }
    let mut engines: Vec<Engine> = Vec::new();
    for name in list.split(',') {
        let engine = name.trim().parse();
        let engine: Engine = engine.map_err(|error| usage(format!("{option}: '{name}': {error} or all")))?;
        ensure!(!engines.contains(&engine), usage(format!("{option} names {engine} twice")));
        engines.push(engine);
    }
    Ok((engines, Vec::new()))
}

/// A usage error for flags that contradict each other. The program exits with 2.
pub fn usage(message: impl Display) -> anyhow::Error {
    crate::Cli::command().error(ErrorKind::ArgumentConflict, message).into()
}

/// Reads the test images for a model, from the given folder or from the data set named in the model's card, as fetched
/// by `scripts/setup`. Returns the folder too. `embedded` tells whether the model is the one built into the program.
///
/// If the model reads digits, it chooses among the readings of each image, as in `predict`.
pub fn test_set(model: &mut Model, folder: Option<&Path>, embedded: bool) -> Result<(PathBuf, TestSet)> {
    let given = folder.is_some();
    let folder = match folder {
        Some(folder) => folder.to_owned(),
        None => fetched(model)?,
    };
    let (name, labels, input, card) =
        (model.name().to_owned(), model.labels().to_vec(), model.input().clone(), model.card().cloned());
    let training = card.as_ref().and_then(|card| card.training.as_ref());
    let trained = training.map(|training| Trained {
        name: &training.data_set,
        sample: &training.sample,
        fingerprint: None,
        own: !given,
        near_duplicates_together: true,
    });
    let bar = progress_of("reading", 0);
    let progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let chooser = Chooser::new(model);
    let options = ReadOptions { progress: &progress, choose: &|readings| chooser.choose(readings) };
    let set = dataset::test_set(&folder, &labels, &input, trained, options);
    bar.finish_and_clear();
    let set = set.map_err(|error| {
        if embedded && error.is::<UnknownClasses>() {
            anyhow!("{error:#}. The model is {name}, embedded in this program: name your own with --model FILE")
        } else {
            error
        }
    })?;
    say_notes(&set.notes);
    Ok((folder, set))
}

/// The first images of a test set, as `--images` asks for.
pub fn first(data: Dataset, images: Option<usize>) -> Result<Dataset> {
    let Some(images) = images else { return Ok(data) };
    let all = data.len();
    ensure!((1..=all).contains(&images), "--images {images}: expected 1 to {all}, the images of the test set");
    Ok(data.first(images))
}

fn fetched(model: &Model) -> Result<PathBuf> {
    let training = model.card().and_then(|card| card.training.as_ref());
    let training = training.with_context(|| format!("{} does not name its data set: give --data", model.name()))?;
    let name = &training.data_set;
    // The name comes from the model file, so it must not be a path to somewhere else.
    let mut components = Path::new(name).components();
    let plain = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    ensure!(plain, "the card's data set '{}' is not a plain name: give --data", text::printable(name));
    let remedy = if name == "mnist" { "run scripts/setup, or give its folder" } else { "give its folder" };
    models::files::fetched(name)
        .with_context(|| format!("the data set '{}' is not in .deps/: {remedy} with --data", text::printable(name)))
}

/// A progress bar, visible only on a terminal.
pub fn progress(length: usize) -> ProgressBar {
    progress_of("", length)
}

/// A progress bar with a description in front of it.
pub fn progress_of(what: &'static str, length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64).with_prefix(what);
    let template = if what.is_empty() {
        "{wide_bar} {human_pos}/{human_len}  {per_sec}  {eta} left"
    } else {
        "{prefix} {wide_bar} {human_pos}/{human_len}  {per_sec}  {eta} left"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Prints notes for the user to standard error. Some contain names from a model file, so they are made printable.
pub fn say_notes(notes: &[String]) {
    for note in notes {
        say(&format!("note: {}", text::printable_lines(note)));
    }
}

/// Prints a line to standard error. Does not panic if standard error is closed.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_named_once_each() {
        let (engines, notes) = listed("--runtimes", "tract, ort,ort-cuda:1").unwrap();
        assert_eq!((format!("{engines:?}"), notes.len()), ("[tract, ort, ort-cuda:1]".to_owned(), 0));
        for (list, word) in [("tract,tract", "twice"), ("", "expected tract"), ("caffe", "'caffe'"), ("auto", "'auto'")]
        {
            let error = listed("--runtimes", list).unwrap_err();
            assert!(error.is::<clap::Error>() && error.to_string().contains(word), "{list}: {error}");
        }
    }

    #[test]
    fn all_names_every_engine_or_says_why_not() {
        let Ok((engines, notes)) = listed("--runtimes", "all") else { return };
        let names = |note: &str| Some(note.strip_prefix("left out: ")?.split_once(": ")?.0.to_owned());
        let told: Vec<_> = notes.iter().filter_map(|note| names(note)).collect();
        let told: Vec<_> = told.iter().flat_map(|names| names.split(", ")).collect();
        for engine in Engine::all() {
            assert!(engines.contains(&engine) != told.contains(&engine.registration.name), "{engines:?} {notes:?}");
        }
    }
}
