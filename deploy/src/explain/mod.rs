//! Class activation maps: which parts of an image speak for a class (Zhou et al., arXiv 1512.04150).
//!
//! After global average pooling and a linear classifier, a class's logit is the mean over all places of what the
//! classifier makes of the features at that place. The map is exact: its mean is the logit. `graph` turns a model into
//! one that returns these numbers, and the engine runs it like any other model; `picture` draws them.

mod graph;
mod picture;

pub use picture::overlay;

use crate::backend::{self, Backend, Options};
use crate::inputs::ImageSource;
use crate::interface::{Interface, Scores};
use crate::model::{Described, GraphImages};
use crate::saved_inputs::SavedInputs;
use anyhow::{Context, Result};
use models::card::ModelCard;
use models::{files, image_file, onnx};
use ndarray::{Array3, ArrayView2, ArrayView3, Axis, s};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A model that returns class activation maps.
pub struct Explainer {
    backend: Mutex<Box<dyn Backend>>,
    card: ModelCard,
    interface: Interface,
    /// Rows and columns of a map.
    size: [usize; 2],
}

impl Explainer {
    /// Opens a model from memory in an engine. `name` is its name in messages. Errors if it has no card, or if no linear
    /// classifier follows a global average pooling.
    pub fn new(name: &str, bytes: &[u8], options: &Options) -> Result<Self> {
        let explained = || {
            let Described { mut model, card, interface } = Described::new(name, bytes)?;
            let card = card.context("it has no model card")?;
            let size = graph::expose_maps(&mut model, &card)?;
            let [rows, columns] = size;
            let interface = Interface {
                output: graph::MAPS.to_owned(),
                scores: Scores::Logits,
                classes: card.labels.len() * rows * columns,
                ..interface
            };
            let bytes = onnx::encode(&model);
            let source = backend::ModelFile { name, bytes: &bytes, model: &model, interface: &interface };
            let (backend, ..) = backend::open(source, options)?;
            Ok::<_, anyhow::Error>(Self { backend: Mutex::new(backend), card, interface, size })
        };
        explained().with_context(|| format!("{name} cannot be explained"))
    }

    /// The map of every class, `[classes, rows, columns]`, for an image `[C, H, W]` with values 0 to 255. The mean of a
    /// map is the class's logit.
    pub fn maps(&self, image: ArrayView3<u8>) -> Result<Array3<f32>> {
        let taken = GraphImages::new(image.insert_axis(Axis(0)), Some(&self.card), self.interface.takes)?;
        let mut backend = self.backend.lock().unwrap_or_else(PoisonError::into_inner);
        let flat = backend.run(taken.view())?;
        let [rows, columns] = self.size;
        Ok(flat.row(0).to_shape((self.card.labels.len(), rows, columns))?.to_owned())
    }
}

impl fmt::Debug for Explainer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Explainer").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Writes a picture of each image with the map of its most probable class over it.
#[derive(Debug)]
pub struct Explanations {
    explainer: Explainer,
    files: SavedInputs,
}

impl Explanations {
    /// Creates the folder if it is missing. Errors as [`SavedInputs::plan`] does.
    pub fn plan(explainer: Explainer, folder: &Path, sources: &[ImageSource]) -> Result<Self> {
        Ok(Self { explainer, files: SavedInputs::plan(folder, sources)? })
    }

    /// Draws the map of a class over the image `[C, H, W]` with this index and returns the file's path.
    pub fn write(&self, number: usize, image: ArrayView3<u8>, class: usize) -> Result<PathBuf> {
        let maps = self.explainer.maps(image)?;
        let map: ArrayView2<f32> = maps.slice(s![class, .., ..]);
        let path = self.files.path(number)?;
        files::write_whole(&path, &image_file::png(overlay(image, map).view())?)?;
        Ok(path)
    }
}
