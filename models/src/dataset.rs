//! Labelled pictures from disk: the IDX files of MNIST and of the sets that copy its form.

use crate::idx;
use anyhow::{Result, bail, ensure};
use ndarray::{Array4, ArrayView4, Axis, Slice};
use std::path::{Path, PathBuf};

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What a network learns from.
    Train,
    /// What it is judged on, and nothing else.
    Test,
}

impl Split {
    /// How the MNIST files of this part begin.
    fn prefix(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "t10k",
        }
    }
}

/// Pictures with their labels.
#[derive(Clone, Debug)]
pub struct Dataset {
    images: Array4<u8>,
    labels: Vec<usize>,
}

impl Dataset {
    /// Joins `images` `[N, C, H, W]`, at least one, with as many labels.
    pub fn new(images: Array4<u8>, labels: Vec<usize>) -> Result<Self> {
        let pictures = images.len_of(Axis(0));
        ensure!(pictures == labels.len(), "{pictures} pictures, but {} labels", labels.len());
        ensure!(!images.is_empty(), "there are no pictures");
        Ok(Self { images: images.as_standard_layout().into_owned(), labels })
    }

    /// The pictures, `[N, C, H, W]`, each value 0 to 255, contiguous.
    #[must_use]
    pub fn images(&self) -> ArrayView4<'_, u8> {
        self.images.view()
    }

    /// The class of each picture.
    #[must_use]
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// How many pictures; at least one.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // A data set without pictures cannot be made.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The smallest number of classes that covers every label.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.labels.iter().max().map_or(0, |&label| label + 1)
    }

    /// Only the first `count` pictures, or all if there are fewer.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        let count = count.clamp(1, self.len());
        let images = self.images.slice_axis(Axis(0), Slice::from(..count)).into_owned();
        Self { images, labels: self.labels[..count].to_vec() }
    }
}

/// Reads one part of an IDX data set (`train-images-idx3-ubyte` and so on, plain or `.gz`) from `folder`.
pub fn load(folder: &Path, split: Split) -> Result<Dataset> {
    let images_path = find(folder, split, "images", 3)?;
    let labels_path = find(folder, split, "labels", 1)?;
    let images = idx::read(&images_path, 3)?;
    let labels = idx::read(&labels_path, 1)?;
    ensure!(
        images.extents[0] == labels.extents[0],
        "{} holds {} pictures, but {} holds {} labels",
        images_path.display(),
        images.extents[0],
        labels_path.display(),
        labels.extents[0],
    );
    ensure!(!images.data.is_empty(), "{} holds no pictures", images_path.display());
    let shape = (images.extents[0], 1, images.extents[1], images.extents[2]);
    Dataset::new(Array4::from_shape_vec(shape, images.data)?, labels.data.into_iter().map(usize::from).collect())
}

/// The file of one part: plain or gzipped, with a dash or a dot before `idx`, as the copies in circulation have it.
fn find(folder: &Path, split: Split, content: &str, dimensions: usize) -> Result<PathBuf> {
    let prefix = split.prefix();
    let name = format!("{prefix}-{content}-idx{dimensions}-ubyte");
    let candidates = [
        name.clone(),
        format!("{name}.gz"),
        format!("{prefix}-{content}.idx{dimensions}-ubyte"),
        format!("{prefix}-{content}.idx{dimensions}-ubyte.gz"),
    ];
    if let Some(path) = candidates.iter().map(|candidate| folder.join(candidate)).find(|path| path.is_file()) {
        return Ok(path);
    }
    if folder.is_dir() {
        bail!(
            "{} has no file {name} (or {name}.gz): run scripts/setup, or name another folder with --data",
            folder.display()
        );
    }
    bail!("there is no folder {}: run scripts/setup, or name another one with --data", folder.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, extents: &[u32], data: &[u8]) {
        let mut bytes = vec![0, 0, 8, u8::try_from(extents.len()).unwrap()];
        bytes.extend(extents.iter().flat_map(|extent| extent.to_be_bytes()));
        bytes.extend(data);
        std::fs::write(folder.join(name), bytes).unwrap();
    }

    #[test]
    fn pictures_and_labels_are_joined() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "t10k-images-idx3-ubyte", &[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        write(folder.path(), "t10k-labels-idx1-ubyte", &[2], &[9, 0]);
        let set = load(folder.path(), Split::Test).unwrap();
        assert_eq!(set.images().shape(), [2, 1, 1, 3]);
        assert_eq!(set.images()[[1, 0, 0, 2]], 6);
        assert_eq!((set.labels(), set.classes()), (&[9, 0][..], 10));
        let message = load(folder.path(), Split::Train).unwrap_err().to_string();
        assert!(message.contains("train-images-idx3-ubyte") && message.contains("scripts/setup"), "{message}");
    }

    #[test]
    fn a_label_too_few_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "t10k-images-idx3-ubyte", &[2, 1, 1], &[1, 2]);
        write(folder.path(), "t10k-labels-idx1-ubyte", &[1], &[9]);
        let message = load(folder.path(), Split::Test).unwrap_err().to_string();
        assert!(message.contains("holds 2 pictures") && message.contains("holds 1 labels"), "{message}");
    }
}
