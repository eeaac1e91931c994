//! Labelled images on disk, read in the same way for training, for evaluation and for checking an exported file.
//!
//! A [`Catalogue`] lists the contents of a folder: IDX files, as of MNIST (`idx_files`), or one sub-folder of images
//! per class (`class_folders`; `decode` reads their images). `layout` finds the class folders and the splits by their
//! usual names. Reading a [`Split`] gives a [`Dataset`], and reading all [`Splits`] keeps near-duplicates (`duplicates`)
//! on one side. [`test_set`] chooses the images to evaluate a model on, and
//! recognises its training images by a [`sample()`].

mod catalogue;
mod class_folders;
mod decode;
mod duplicates;
mod exemplars;
mod idx_files;
mod labels;
mod layout;
mod listing;
mod noise;
mod sample;
mod splits;
mod test_set;

pub use catalogue::{Catalogue, Choose, ReadOptions, ReadProgress, ReadSplit, name};
pub use decode::unlabelled;
pub use duplicates::choose;
pub use exemplars::exemplars;
pub use idx_files::load;
pub use labels::{UnknownClasses, numbered, read_labels, read_names};
pub use listing::{images_below, images_in, is_hidden};
pub use noise::noise;
pub use sample::sample;
pub use splits::{SplitOptions, Splits};
pub use test_set::{TestSet, Trained, test_set, trained_on};

use crate::card::Polarity;
use crate::fingerprint::Fingerprint;
use anyhow::{Result, ensure};
use ndarray::{Array4, ArrayView4, Axis, Slice};
use std::path::{Path, PathBuf};

/// Most bytes of one split's images, which are all kept in memory. 8 GiB are 57,000 RGB images of 224×224 px.
pub(crate) const MAX_BYTES: u64 = 8 << 30;

/// At most `count` places among `total`, evenly spaced. The first ones could show only one class.
pub fn evenly(total: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(total);
    (0..count).map(move |index| index * total / count)
}

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Images to train on.
    Train,
    /// Images to choose the best checkpoint by, if the folder has a split for it.
    Validation,
    /// Images for the final evaluation only.
    Test,
}

impl Split {
    /// Name for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// Images with their labels.
#[derive(Clone, Debug)]
pub struct Dataset {
    images: Array4<u8>,
    labels: Vec<usize>,
    /// Either empty or one per image.
    files: Vec<PathBuf>,
    /// Either empty or one per image: near-duplicates have the same number.
    groups: Vec<usize>,
}

impl Dataset {
    /// Joins `images` `[N, C, H, W]` with their labels. Fails if their numbers differ or if there are no images.
    pub fn new(images: Array4<u8>, labels: Vec<usize>) -> Result<Self> {
        let count = images.len_of(Axis(0));
        ensure!(count == labels.len(), "{count} images, but {} labels", labels.len());
        ensure!(!images.is_empty(), "expected at least one image");
        let images = if images.is_standard_layout() { images } else { images.as_standard_layout().into_owned() };
        Ok(Self { images, labels, files: Vec::new(), groups: Vec::new() })
    }

    /// Adds the file that each image was read from. Fails if there is not exactly one per image.
    pub fn with_files(self, files: Vec<PathBuf>) -> Result<Self> {
        ensure!(files.len() == self.len(), "{} images, but {} files", self.len(), files.len());
        Ok(Self { files, ..self })
    }

    /// The file that an image was read from; `None` if the images came from IDX files.
    #[must_use]
    pub fn file(&self, image: usize) -> Option<&Path> {
        self.files.get(image).map(PathBuf::as_path)
    }

    /// The group of each image: images with the same number are near-duplicates of each other. If nobody looked for
    /// near-duplicates, each image has a number of its own.
    #[must_use]
    pub fn groups(&self) -> Vec<usize> {
        if self.groups.is_empty() { (0..self.len()).collect() } else { self.groups.clone() }
    }

    /// The images, `[N, C, H, W]`, values 0 to 255, contiguous.
    #[must_use]
    pub fn images(&self) -> ArrayView4<'_, u8> {
        self.images.view()
    }

    /// The class of each image.
    #[must_use]
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// Number of images; at least one.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // A data set is never empty.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The largest label plus one.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.labels.iter().max().map_or(0, |&label| label + 1)
    }

    /// Whether ink is lighter or darker than its background, if the images are drawings: ink covers less than half of
    /// an image.
    #[must_use]
    pub fn polarity(&self) -> Polarity {
        let sum: u64 = self.images.iter().map(|&value| u64::from(value)).sum();
        if 2 * sum < 255 * self.images.len() as u64 { Polarity::LightOnDark } else { Polarity::DarkOnLight }
    }

    /// The first `count` images, but at least one; all of them if there are fewer.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        let count = count.clamp(1, self.len());
        let images = self.images.slice_axis(Axis(0), Slice::from(..count)).into_owned();
        Self {
            images,
            labels: self.labels[..count].to_vec(),
            files: self.files.iter().take(count).cloned().collect(),
            groups: self.groups.iter().take(count).copied().collect(),
        }
    }

    /// The images at these indices, at least one, each below [`Dataset::len`].
    pub fn select(&self, places: &[usize]) -> Result<Self> {
        let images = self.images.select(Axis(0), places);
        Ok(Self {
            files: places.iter().filter_map(|&place| self.files.get(place).cloned()).collect(),
            groups: places.iter().filter_map(|&place| self.groups.get(place).copied()).collect(),
            ..Self::new(images, places.iter().map(|&place| self.labels[place]).collect())?
        })
    }

    /// Removes all images except those at these increasing indices, without a second copy in memory. Fails if there are
    /// none.
    fn keep(&mut self, places: &[usize]) -> Result<()> {
        ensure!(!places.is_empty(), "expected at least one image");
        let (_, channels, height, width) = self.images.dim();
        let length = channels * height * width;
        let (mut pixels, _) = std::mem::take(&mut self.images).into_raw_vec_and_offset();
        for (to, &from) in places.iter().enumerate() {
            pixels.copy_within(from * length..(from + 1) * length, to * length);
        }
        pixels.truncate(places.len() * length);
        pixels.shrink_to_fit();
        self.images = Array4::from_shape_vec((places.len(), channels, height, width), pixels)?;
        self.labels = places.iter().map(|&place| self.labels[place]).collect();
        self.files = places.iter().filter_map(|&place| self.files.get(place).cloned()).collect();
        self.groups = places.iter().filter_map(|&place| self.groups.get(place).copied()).collect();
        Ok(())
    }

    /// The images of all `parts`, one after the other. Fails if their sizes differ. What only some of the parts know is
    /// lost: their files, or their near-duplicates.
    pub fn joined(parts: &[&Self]) -> Result<Self> {
        let views: Vec<_> = parts.iter().map(|part| part.images.view()).collect();
        let labels = parts.iter().flat_map(|part| &part.labels).copied().collect();
        let mut set = Self::new(ndarray::concatenate(Axis(0), &views)?, labels)?;
        if parts.iter().all(|part| !part.files.is_empty()) {
            set.files = parts.iter().flat_map(|part| &part.files).cloned().collect();
        }
        if parts.iter().all(|part| !part.groups.is_empty()) {
            set.groups = parts.iter().flat_map(|part| &part.groups).copied().collect();
        }
        Ok(set)
    }

    /// Replaces each label `c` by `classes[c]`.
    fn with_labels(self, classes: &[usize]) -> Self {
        let labels = self.labels.iter().map(|&label| classes[label]).collect();
        Self { labels, ..self }
    }

    /// A hash of all pixels, labels, shapes and their order, as 16 hexadecimal digits. Used to check that a run is
    /// resumed with the data it was started with.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let numbers = self.images.shape().iter().chain(&self.labels);
        let numbers: Vec<u8> = numbers.flat_map(|&number| (number as u64).to_le_bytes()).collect();
        // The array is always contiguous, so the default is never used.
        let pixels = self.images.as_slice().unwrap_or_default();
        Fingerprint::new(&numbers).and(pixels).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_shows_in_the_fingerprint() {
        let set = |shape: (usize, usize, usize, usize), pixel: u8, labels: [usize; 2]| {
            let mut images = Array4::zeros(shape);
            images[[1, 0, 0, 1]] = pixel;
            Dataset::new(images, labels.to_vec()).unwrap().fingerprint()
        };
        let original = set((2, 1, 2, 3), 7, [0, 1]);
        assert_eq!(original, set((2, 1, 2, 3), 7, [0, 1]));
        assert_eq!(original.len(), 16);
        for changed in [set((2, 1, 2, 3), 8, [0, 1]), set((2, 1, 2, 3), 7, [1, 0]), set((2, 1, 3, 2), 7, [0, 1])] {
            assert_ne!(original, changed);
        }
    }
}
