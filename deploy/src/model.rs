//! A model file and the engine that runs it; every command works with it.

use crate::backend::prepared::DirectCall;
use crate::backend::{self, Backend, Engine, ImageBatch, ModelFile, Options, Runtime, Selection};
use crate::interface::{Doubt, Interface, Scores};
use anyhow::{Context, Result, ensure};
use models::card::{EnergyRange, GraphInput, Input, ModelCard};
use models::onnx::proto::ModelProto;
use models::{dataset, onnx, preprocess};
use ndarray::{Array2, Array4, ArrayView4, Axis, s};
use serde::Serialize;
use std::path::Path;

/// A loaded model, ready to run.
pub struct Model {
    name: String,
    card: Option<ModelCard>,
    interface: Interface,
    labels: Vec<String>,
    engine: Engine,
    backend: Box<dyn Backend>,
    notes: Vec<String>,
}

impl Model {
    /// Opens a model file.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        Self::from_bytes(&path.display().to_string(), &onnx::read(path)?, options)
    }

    /// Opens a model from memory. `name` is its name in messages.
    pub fn from_bytes(name: &str, bytes: &[u8], options: &Options) -> Result<Self> {
        let Described { model, card, mut interface } = Described::new(name, bytes)?;
        let source = ModelFile { name, bytes, model: &model, interface: &interface };
        let (mut backend, engine, mut notes) = backend::open(source, options)?;
        if interface.origin.is_some() {
            judge(&mut interface, card.as_ref(), backend.as_mut()).with_context(|| format!("{name} cannot be used"))?;
        }
        notes.extend(interface.notes.iter().cloned());
        let labels = card.as_ref().map_or_else(|| numbered(interface.classes), |card| card.labels.clone());
        Ok(Self { name: name.to_owned(), card, interface, labels, engine, backend, notes })
    }

    /// The model's name in messages: its path.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model's card, if it has one.
    #[must_use]
    pub fn card(&self) -> Option<&ModelCard> {
        self.card.as_ref()
    }

    /// The energies of images that the model knows, by which it can tell that an image shows something else. `None` if
    /// the card has none, or if the file returns only probabilities, which have no energy.
    #[must_use]
    pub fn energies(&self) -> Option<EnergyRange> {
        let card = self.card.as_ref().filter(|_| self.interface.scores == Scores::Logits)?;
        card.confidence?.energy
    }

    /// The images that the model takes.
    #[must_use]
    pub fn input(&self) -> &Input {
        &self.interface.input
    }

    /// The name of each class, in the order of the logits; at least one.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// What the file's scores are. [`Model::logits`] returns logits either way.
    #[must_use]
    pub fn scores(&self) -> Scores {
        self.interface.scores
    }

    /// The engine that really runs.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        self.backend.runtime()
    }

    /// What the user should know: why `auto` did not take a better engine, and what was assumed about a file without
    /// a card.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the logits `[N, classes]`, all finite, of images `[N, C, H, W]` with values 0 to 255 and any N.
    ///
    /// For a model that returns probabilities only, these are their logarithms. Errors if the images have another size
    /// than the model's, the engine fails, or its output has a wrong shape or numbers that are not finite.
    pub fn logits(&mut self, images: ArrayView4<u8>) -> Result<Array2<f32>> {
        let count = images.dim().0;
        let taken = self.taken(images)?;
        let run = self.backend.run(taken.view());
        let logits = run.with_context(|| format!("{} failed in {}", self.name, self.backend.runtime().name))?;
        ensure!(
            logits.dim() == (count, self.labels.len()),
            "{} returned scores of the shape {:?}: expected [{count}, {}]",
            self.name,
            logits.dim(),
            self.labels.len()
        );
        let logits = self.interface.scores.into_logits(logits);
        let broken = logits.rows().into_iter().position(|row| row.iter().any(|logit| !logit.is_finite()));
        if let Some(image) = broken {
            anyhow::bail!("{} returned numbers that are not finite (image {image}): the model is broken", self.name);
        }
        Ok(logits)
    }

    /// Returns models that answer like this one, each on a single thread. Empty if the runtime has none
    /// ([`Backend::workers`]).
    pub(crate) fn workers(&self) -> Vec<Self> {
        let worker = |backend| Self {
            name: self.name.clone(),
            card: self.card.clone(),
            interface: self.interface.clone(),
            labels: self.labels.clone(),
            engine: self.engine,
            backend,
            notes: Vec::new(),
        };
        self.backend.workers().into_iter().map(worker).collect()
    }

    /// Prepares the engine's own call on these images, for timing. They are as [`Model::logits`] takes them.
    pub(crate) fn prepared<'a>(&'a mut self, images: ArrayView4<'a, u8>) -> Result<DirectCall<'a>> {
        let taken = self.taken(images)?;
        match self.engine.code()?.prepared {
            Some(prepare) => prepare(self.backend.as_mut(), taken.view()),
            None => Ok(Box::new(move || self.backend.run(taken.view()).map(drop))),
        }
    }

    /// Converts images to what the graph takes. Errors if their size is not the model's.
    fn taken<'a>(&self, images: ArrayView4<'a, u8>) -> Result<GraphImages<'a>> {
        let (_, channels, height, width) = images.dim();
        let Input { channels: c, height: h, width: w, .. } = self.interface.input;
        ensure!(
            (channels, height, width) == (c, h, w),
            "the images are [{channels}, {height}, {width}]: {} expects [{c}, {h}, {w}]",
            self.name
        );
        GraphImages::new(images, self.card.as_ref(), self.interface.takes)
    }
}

/// What a model's scores are: logits or probabilities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scored {
    /// The output that holds them.
    pub output: String,
    /// What they are.
    pub holds: Scores,
    /// How this was decided, for people.
    pub reason: String,
    /// What may still be wrong.
    pub doubt: Option<Doubt>,
}

impl Scored {
    /// Finds out what a model's scores are; `name` is its name in messages. A file without a card is run on two images
    /// to find out. Errors say why this program cannot run the model.
    pub fn new(name: &str, bytes: &[u8]) -> Result<Self> {
        let mut interface = Described::read(bytes)?.interface;
        if interface.origin.is_some() {
            let options = Options { engine: Selection::AutoOnCpu, ..Options::default() };
            interface = Model::from_bytes(name, bytes, &options)?.interface;
        }
        let Interface { output, scores, reason, doubt, .. } = interface;
        Ok(Self { output, holds: scores, reason, doubt })
    }
}

/// Runs a dark and a bright image together, and then the dark one alone, to find out what the model's scores are.
fn judge(interface: &mut Interface, card: Option<&ModelCard>, backend: &mut dyn Backend) -> Result<()> {
    let Input { channels, height, width, .. } = interface.input;
    let mut images = dataset::noise((2, channels, height, width), 1);
    images.index_axis_mut(Axis(0), 0).mapv_inplace(|value| value / 4);
    images.index_axis_mut(Axis(0), 1).mapv_inplace(|value| 255 - value / 2);
    let mut run = |images: ArrayView4<u8>| {
        let taken = GraphImages::new(images, card, interface.takes)?;
        backend.run(taken.view()).context("a test run failed")
    };
    let (rows, alone) = (run(images.view())?, run(images.slice(s![..1, .., .., ..]))?);
    interface.judge(rows.view(), alone.view())
}

/// What a model file says about itself, before it is run.
pub(crate) struct Described {
    /// The file, decoded.
    pub model: ModelProto,
    /// Its card, if it has one.
    pub card: Option<ModelCard>,
    /// What it takes and returns.
    pub interface: Interface,
}

impl Described {
    /// Reads a model from memory. `name` is its name in messages.
    pub fn new(name: &str, bytes: &[u8]) -> Result<Self> {
        Self::read(bytes).with_context(|| format!("{name} cannot be used"))
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let model = onnx::parse(bytes)?;
        let card = ModelCard::from_model(&model)?;
        let interface = Interface::read(&model, card.as_ref())?;
        Ok(Self { model, card, interface })
    }
}

/// Images as a graph takes them, normalised here if the graph does not do it.
pub(crate) enum GraphImages<'a> {
    Bytes(ArrayView4<'a, u8>),
    Normalised(Array4<f32>),
}

impl<'a> GraphImages<'a> {
    /// Converts images `[N, C, H, W]` to what the graph takes.
    pub fn new(images: ArrayView4<'a, u8>, card: Option<&ModelCard>, takes: GraphInput) -> Result<Self> {
        Ok(match (card, takes) {
            (Some(card), GraphInput::Normalised) => {
                Self::Normalised(preprocess::normalised(images, &card.preprocessing, card.network()?.resolution)?)
            }
            _ => Self::Bytes(images),
        })
    }

    pub fn view(&self) -> ImageBatch<'_> {
        match self {
            Self::Bytes(images) => ImageBatch::Bytes(*images),
            Self::Normalised(images) => ImageBatch::Normalised(images.view()),
        }
    }
}

/// Labels for a model that does not name its classes: their numbers.
fn numbered(classes: usize) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
}
