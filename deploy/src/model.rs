//! A model file together with what runs it: what every command works with.

use crate::backend::prepared::Prepared;
use crate::backend::{self, Backend, Device, Options, Pictures, Runtime, Source};
use crate::interface::{Interface, Scores};
use anyhow::{Context, Result, ensure};
use models::card::{Input, ModelCard, Takes};
use models::onnx::proto::ModelProto;
use models::{dataset, onnx, preprocess};
use ndarray::{Array2, Array4, ArrayView4, Axis, s};
use serde::Serialize;
use std::path::Path;

/// A model that is ready to answer.
pub struct Model {
    name: String,
    card: Option<ModelCard>,
    interface: Interface,
    labels: Vec<String>,
    backend: Box<dyn Backend>,
    notes: Vec<String>,
}

impl Model {
    /// Opens a model file.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        Self::from_bytes(&path.display().to_string(), &onnx::read(path)?, options)
    }

    /// Opens a model from memory; `name` is what messages call it.
    pub fn from_bytes(name: &str, bytes: &[u8], options: &Options) -> Result<Self> {
        let Described { model, card, mut interface } = Described::of(name, bytes)?;
        let source = Source { name, bytes, model: &model, interface: &interface };
        let (mut backend, mut notes) = backend::open(source, options)?;
        if interface.origin.is_some() {
            judge(&mut interface, card.as_ref(), backend.as_mut()).with_context(|| format!("{name} cannot be used"))?;
        }
        notes.extend(interface.notes.iter().cloned());
        let labels = card.as_ref().map_or_else(|| numbered(interface.classes), |card| card.labels.clone());
        Ok(Self { name: name.to_owned(), card, interface, labels, backend, notes })
    }

    /// What messages call this model: its path.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model's card, if it has one.
    #[must_use]
    pub fn card(&self) -> Option<&ModelCard> {
        self.card.as_ref()
    }

    /// What the model takes.
    #[must_use]
    pub fn input(&self) -> &Input {
        &self.interface.input
    }

    /// The name of each class, in the order of the logits; at least one.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// What really runs.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        self.backend.runtime()
    }

    /// What a user should know: why `auto` did not take the better runtime, and what was assumed of a file without a
    /// card.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The logits of pictures `[N, C, H, W]` with values 0 to 255 and any N: `[N, classes]`, all of them finite.
    ///
    /// Of a model that yields probabilities only, they are the logarithms of these.
    pub fn logits(&mut self, images: ArrayView4<u8>) -> Result<Array2<f32>> {
        let pictures = images.dim().0;
        let taken = self.taken(images)?;
        let run = self.backend.run(taken.view());
        let mut logits = run.with_context(|| format!("{} failed in {}", self.name, self.backend.runtime().name))?;
        ensure!(
            logits.dim() == (pictures, self.labels.len()),
            "{} yields {:?} scores for {pictures} pictures of {} classes",
            self.name,
            logits.dim(),
            self.labels.len()
        );
        if self.interface.scores == Scores::Probabilities {
            // A probability that f32 rounds to 0 still needs a finite logarithm.
            logits.mapv_inplace(|probability| {
                if probability < f32::MIN_POSITIVE { f32::MIN_POSITIVE } else { probability }.ln()
            });
        }
        let broken = logits.rows().into_iter().position(|row| row.iter().any(|logit| !logit.is_finite()));
        if let Some(picture) = broken {
            anyhow::bail!("{} returns numbers that are not finite (picture {picture}): it is broken", self.name);
        }
        Ok(logits)
    }

    /// Models that answer as this one does, each with a thread of its own, if its runtime has them
    /// ([`Backend::workers`]).
    pub(crate) fn workers(&self) -> Vec<Self> {
        let worker = |backend| Self {
            name: self.name.clone(),
            card: self.card.clone(),
            interface: self.interface.clone(),
            labels: self.labels.clone(),
            backend,
            notes: Vec::new(),
        };
        self.backend.workers().into_iter().map(worker).collect()
    }

    /// The runtime's own call on pictures as [`Model::logits`] takes them, to be timed.
    pub(crate) fn prepared(&mut self, images: ArrayView4<u8>) -> Result<Prepared<'_>> {
        let taken = self.taken(images)?;
        self.backend.prepared(taken.view())
    }

    /// The pictures as the graph takes them. Pictures of another size than the model's are an error.
    fn taken<'a>(&self, images: ArrayView4<'a, u8>) -> Result<Taken<'a>> {
        let (_, channels, height, width) = images.dim();
        let Input { channels: c, height: h, width: w, .. } = self.interface.input;
        ensure!(
            (channels, height, width) == (c, h, w),
            "the pictures are [{channels}, {height}, {width}]: {} takes [{c}, {h}, {w}]",
            self.name
        );
        Taken::of(images, self.card.as_ref(), self.interface.takes)
    }
}

/// What the scores of a model are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scored {
    /// The output that is read.
    pub output: String,
    /// What it holds.
    pub holds: Scores,
    /// Why, for people.
    pub reason: String,
}

impl Scored {
    /// Says what the scores of a model are; `name` is what messages call it. A file without a card is run on two images
    /// to find out. The error says why this program cannot run the model.
    pub fn of(name: &str, bytes: &[u8]) -> Result<Self> {
        let mut interface = Described::read(bytes)?.interface;
        if interface.origin.is_some() {
            let options = Options { device: Device::Cpu, ..Options::default() };
            interface = Model::from_bytes(name, bytes, &options)?.interface;
        }
        Ok(Self { output: interface.output, holds: interface.scores, reason: interface.reason })
    }
}

/// Runs a dark and a bright image together, and the first alone, to see what the model's scores are.
fn judge(interface: &mut Interface, card: Option<&ModelCard>, backend: &mut dyn Backend) -> Result<()> {
    let Input { channels, height, width, .. } = interface.input;
    let mut images = dataset::noise((2, channels, height, width), 1);
    images.index_axis_mut(Axis(0), 0).mapv_inplace(|value| value / 4);
    images.index_axis_mut(Axis(0), 1).mapv_inplace(|value| 255 - value / 2);
    let mut run = |images: ArrayView4<u8>| {
        let taken = Taken::of(images, card, interface.takes)?;
        backend.run(taken.view()).context("a test run failed")
    };
    let (rows, alone) = (run(images.view())?, run(images.slice(s![..1, .., .., ..]))?);
    interface.judge(rows.view(), alone.view())
}

/// What a model file says, before anything runs it.
pub(crate) struct Described {
    /// The file, decoded.
    pub model: ModelProto,
    /// Its card, if it has one.
    pub card: Option<ModelCard>,
    /// What it takes and yields.
    pub interface: Interface,
}

impl Described {
    /// Reads a model from memory; `name` is what messages call it.
    pub fn of(name: &str, bytes: &[u8]) -> Result<Self> {
        Self::read(bytes).with_context(|| format!("{name} cannot be used"))
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let model = onnx::parse(bytes)?;
        let card = ModelCard::of(&model)?;
        let interface = Interface::of(&model, card.as_ref())?;
        Ok(Self { model, card, interface })
    }
}

/// Pictures as a graph takes them, made so if it leaves that to the caller.
pub(crate) enum Taken<'a> {
    Bytes(ArrayView4<'a, u8>),
    Normalised(Array4<f32>),
}

impl<'a> Taken<'a> {
    /// Makes pictures `[N, C, H, W]` into what the graph takes.
    pub fn of(images: ArrayView4<'a, u8>, card: Option<&ModelCard>, takes: Takes) -> Result<Self> {
        Ok(match (card, takes) {
            (Some(card), Takes::Normalised) => {
                Self::Normalised(preprocess::normalised(images, &card.preprocessing, card.architecture.resolution)?)
            }
            _ => Self::Bytes(images),
        })
    }

    pub fn view(&self) -> Pictures<'_> {
        match self {
            Self::Bytes(pictures) => Pictures::Bytes(*pictures),
            Self::Normalised(pictures) => Pictures::Normalised(pictures.view()),
        }
    }
}

/// The classes of a model that does not name them.
fn numbered(classes: usize) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
}
