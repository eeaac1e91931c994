//! The models of a server. A model whose files change is opened again, while requests go on with the old one.

use super::failure::Failure;
use super::metrics::Metrics;
use super::pool::{Batching, Pool, Source};
use crate::backend::{Options, Runtime};
use crate::document::Document;
use crate::embedded;
use crate::interface::Scores;
use crate::stamp::{Broken, Stamp};
use anyhow::{Context, Result, ensure};
use models::card::{Input, ModelCard};
use models::onnx::{self, external};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The version of every model in the protocol. Files have no versions.
pub(super) const VERSION: &str = "1";

/// What to serve: a name and a file, or the embedded model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelChoice {
    /// The name in addresses.
    pub name: String,
    /// The file; `None` for the embedded model.
    pub path: Option<PathBuf>,
}

/// The files of a model, each with its state: the model itself, then those with its tensors.
type Files = Vec<(PathBuf, Option<Stamp>)>;

/// Files with their state now.
fn stamped(paths: impl IntoIterator<Item = PathBuf>) -> Files {
    let with_stamp = |path: PathBuf| {
        let stamp = Stamp::of(&path);
        (path, stamp)
    };
    paths.into_iter().map(with_stamp).collect()
}

/// Reads a model. Returns it with its files, in a state from before they were read, so that no change is missed.
fn read(path: &Path) -> Result<(Vec<u8>, Files)> {
    let mut files = stamped([path.to_owned()]);
    let bytes = onnx::read_file(path)?;
    // What is not a model is refused later, with the reason.
    if let Ok(model) = onnx::parse(&bytes) {
        files.extend(stamped(external::files(&model).iter().map(|file| path.with_file_name(file))));
    }
    Ok((external::embedded(bytes, path)?, files))
}

/// A model that is ready to answer.
pub(super) struct Ready {
    /// Its threads.
    pub pool: Pool,
    /// The images it takes.
    pub input: Input,
    /// Name of the graph's input.
    pub input_name: String,
    /// Name of each class.
    pub labels: Vec<String>,
    /// What its scores are.
    pub scores: Scores,
    /// Its card, if it has one.
    pub card: Option<ModelCard>,
    /// A document without results.
    pub document: Document,
    /// What the user should know about the model, such as why `auto` did not take a better engine.
    notes: Vec<String>,
    /// Empty for the embedded model.
    files: Files,
}

impl Ready {
    fn open(choice: &ModelChoice, running: &Running) -> Result<Self> {
        let (name, (bytes, files)) = match &choice.path {
            Some(path) => (path.display().to_string(), read(path)?),
            None => (embedded::NAME.to_owned(), (embedded::MODEL.to_vec(), Files::new())),
        };
        let signature = onnx::parse(&bytes).and_then(|model| onnx::signature(&model));
        let signature = signature.with_context(|| format!("{name} cannot be used"))?;
        let input = signature.inputs.into_iter().next().with_context(|| format!("{name} has no input"))?;
        let Running { options, waiting, batching, metrics } = running;
        let source = Source { name, bytes, options: *options };
        let (pool, model) = Pool::start(source, *waiting, *batching, metrics.runs(&choice.name))?;
        let mut document = Document::new(&model, &[]);
        document.runtime = Runtime { threads: pool.threads, ..document.runtime };
        // They are for whoever runs the server, not for its clients.
        let notes = std::mem::take(&mut document.notes);
        Ok(Self {
            input: model.input().clone(),
            input_name: input.name,
            labels: model.labels().to_vec(),
            scores: model.scores(),
            card: model.card().cloned(),
            document,
            notes,
            pool,
            files,
        })
    }
}

/// One of the models, which may be replaced at any time.
struct Slot {
    choice: ModelChoice,
    ready: RwLock<Arc<Ready>>,
    /// The last state that could not be opened, so that it is reported once.
    broken: Mutex<Option<Broken<Files>>>,
}

/// The models by name.
pub(super) struct Registry {
    slots: BTreeMap<String, Slot>,
    /// The model that is used if a request names none.
    first: String,
    running: Running,
}

/// How models are run.
pub(super) struct Running {
    /// The engine.
    pub options: Options,
    /// Most requests that wait for each model.
    pub waiting: usize,
    /// How many images run together.
    pub batching: Batching,
    /// Where runs are counted.
    pub metrics: Arc<Metrics>,
}

impl Registry {
    /// Opens all models, at least one. Fails if one cannot be opened, or if two have the same name.
    pub fn open(choices: Vec<ModelChoice>, running: Running) -> Result<Self> {
        let first = choices.first().context("expected at least one model")?.name.clone();
        let mut slots = BTreeMap::new();
        for choice in choices {
            let ready = RwLock::new(Arc::new(Ready::open(&choice, &running)?));
            let name = choice.name.clone();
            let twice = slots.insert(name.clone(), Slot { choice, ready, broken: Mutex::default() });
            ensure!(twice.is_none(), "two models have the name {name}: name them with --model NAME=FILE");
        }
        Ok(Self { slots, first, running })
    }

    /// The names of all models, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.keys().map(String::as_str)
    }

    /// The name of the model that is used if a request names none.
    pub fn first(&self) -> &str {
        &self.first
    }

    /// What runs each model, and the notes on it, one line each.
    pub fn report(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for slot in self.slots.values() {
            let ready = slot.ready.read().unwrap_or_else(PoisonError::into_inner);
            lines.extend(ready.notes.iter().map(|note| format!("note: {note}")));
            lines.push(format!("{}: {}", ready.document.model, ready.document.runtime));
        }
        lines
    }

    /// The model of this name, or the first one.
    pub fn find(&self, name: Option<&str>) -> Result<Arc<Ready>, Failure> {
        let name = name.unwrap_or(&self.first);
        let slot = self.slots.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.names().collect();
            Failure::unknown(format!("no model is named '{name}': the models are {}", names.join(", ")))
        })?;
        Ok(Arc::clone(&slot.ready.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Opens changed files again. A file that cannot be opened is reported, and the old model stays.
    pub fn refresh(&self) {
        for (name, slot) in &self.slots {
            self.refresh_slot(name, slot);
        }
    }

    fn refresh_slot(&self, name: &str, slot: &Slot) {
        let Some(path) = &slot.choice.path else { return };
        let known = slot.ready.read().unwrap_or_else(PoisonError::into_inner).files.clone();
        let found = stamped(known.iter().map(|(path, _)| path.clone()));
        let mut broken = slot.broken.lock().unwrap_or_else(PoisonError::into_inner);
        // Without the model itself there is nothing to open. Its new version may need fewer files than the old one.
        let is_there = found.first().is_some_and(|(_, stamp)| stamp.is_some());
        if !is_there || found == known || broken.as_ref().is_some_and(|failure| failure.stands(&found)) {
            return;
        }
        match Ready::open(&slot.choice, &self.running) {
            Ok(ready) => {
                let runtime = ready.document.runtime.to_string();
                *slot.ready.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ready);
                tracing::info!(model = name, file = %path.display(), runtime, "the file has changed and was opened again");
            }
            Err(error) => {
                if !broken.as_ref().is_some_and(|failure| failure.is_of(&found)) {
                    tracing::error!(
                        model = name,
                        error = format!("{error:#}"),
                        "the changed file cannot be used: the old model stays"
                    );
                }
                *broken = Some(Broken::new(found));
            }
        }
    }
}
