//! The IDX files of MNIST and of data sets in the same format: `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`,
//! and the same names with `t10k`, plain or gzipped.

use super::{Dataset, Split};
use crate::fingerprint::Fingerprint;
use crate::idx;
use anyhow::{Context, Result, ensure};
use ndarray::Array4;
use std::path::{Path, PathBuf};

/// Fingerprint of the pixels of `train-images-idx3-ubyte`, whose SHA-256 is in `scripts/setup`.
const MNIST: u64 = 0xb6e6_1966_0867_1562;

/// What a file contains.
#[derive(Clone, Copy)]
enum Content {
    Images,
    Labels,
}

const CONTENTS: [Content; 2] = [Content::Images, Content::Labels];

/// Reads one split of the IDX data set in `folder`, unmodified: images `[N, 1, H, W]`. Fails if a file is missing or
/// damaged, or if the numbers of images and labels differ.
pub fn load(folder: &Path, split: Split) -> Result<Dataset> {
    let images_path = path(folder, split, Content::Images)?;
    let labels_path = path(folder, split, Content::Labels)?;
    let images = idx::read(&images_path, 3)?;
    let labels = idx::read(&labels_path, 1)?;
    ensure!(
        images.extents[0] == labels.extents[0],
        "{}: number of images {}, but {}: number of labels {}: expected as many labels as images",
        images_path.display(),
        images.extents[0],
        labels_path.display(),
        labels.extents[0],
    );
    ensure!(!images.data.is_empty(), "{} contains no images", images_path.display());
    let shape = (images.extents[0], 1, images.extents[1], images.extents[2]);
    Dataset::new(Array4::from_shape_vec(shape, images.data)?, labels.data.into_iter().map(usize::from).collect())
}

/// Whether `folder` has any file of an IDX data set.
pub(super) fn are_in(folder: &Path) -> bool {
    let files = [Split::Train, Split::Test].map(|split| CONTENTS.map(|content| find(folder, split, content)));
    files.iter().flatten().any(Option::is_some)
}

/// Height and width of the images of one split.
pub(super) fn size(folder: &Path, split: Split) -> Result<(usize, usize)> {
    let extents = idx::extents(&path(folder, split, Content::Images)?, 3)?;
    Ok((extents[1], extents[2]))
}

/// The label bytes of one split, or `None` if the folder does not have it.
pub(super) fn labels(folder: &Path, split: Split) -> Result<Option<Vec<u8>>> {
    find(folder, split, Content::Labels).map(|path| Ok(idx::read(&path, 1)?.data)).transpose()
}

/// Whether these are the 60,000 MNIST training images, judged by content. The folder's name is ignored.
pub(super) fn are_mnist(folder: &Path) -> Result<bool> {
    let path = path(folder, Split::Train, Content::Images)?;
    if idx::extents(&path, 3)? != [60_000, 28, 28] {
        return Ok(false);
    }
    Ok(Fingerprint::new(&idx::read(&path, 3)?.data).value() == MNIST)
}

/// The file's path. Fails with the expected name if there is none.
fn path(folder: &Path, split: Split, content: Content) -> Result<PathBuf> {
    find(folder, split, content).with_context(|| {
        let [name, ..] = names(split, content);
        format!("{} has no file {name} (or {name}.gz)", folder.display())
    })
}

fn find(folder: &Path, split: Split, content: Content) -> Option<PathBuf> {
    names(split, content).into_iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// Possible file names. Copies in circulation have either a dash or a dot before `idx`.
fn names(split: Split, content: Content) -> [String; 4] {
    let part = match split {
        Split::Train => "train",
        // IDX data sets have no validation split.
        Split::Validation => "validation",
        Split::Test => "t10k",
    };
    let (kind, dimensions) = match content {
        Content::Images => ("images", 3),
        Content::Labels => ("labels", 1),
    };
    let (dashed, dotted) =
        (format!("{part}-{kind}-idx{dimensions}-ubyte"), format!("{part}-{kind}.idx{dimensions}-ubyte"));
    [dashed.clone(), format!("{dashed}.gz"), dotted.clone(), format!("{dotted}.gz")]
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
    fn images_and_labels_are_joined() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!are_in(folder.path()));
        write(folder.path(), "t10k-images.idx3-ubyte", &[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        write(folder.path(), "t10k-labels-idx1-ubyte", &[2], &[9, 0]);
        assert!(are_in(folder.path()));
        let set = load(folder.path(), Split::Test).unwrap();
        assert_eq!(set.images().shape(), [2, 1, 1, 3]);
        assert_eq!(size(folder.path(), Split::Test).unwrap(), (1, 3));
        assert_eq!(set.images()[[1, 0, 0, 2]], 6);
        assert_eq!((set.labels(), set.classes()), (&[9, 0][..], 10));
        let message = load(folder.path(), Split::Train).unwrap_err().to_string();
        assert!(message.contains("has no file train-images-idx3-ubyte (or "), "{message}");
    }

    #[test]
    fn a_label_too_few_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "t10k-images-idx3-ubyte", &[2, 1, 1], &[1, 2]);
        write(folder.path(), "t10k-labels-idx1-ubyte", &[1], &[9]);
        let message = load(folder.path(), Split::Test).unwrap_err().to_string();
        assert!(message.contains("number of images 2") && message.contains("number of labels 1"), "{message}");
    }

    #[test]
    fn other_images_are_not_mnist() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "train-images-idx3-ubyte", &[2, 1, 1], &[1, 2]);
        assert!(!are_mnist(folder.path()).unwrap());
        write(folder.path(), "train-images-idx3-ubyte", &[60_000, 28, 28], &vec![0; 60_000 * 28 * 28]);
        assert!(!are_mnist(folder.path()).unwrap());
        assert_eq!(labels(folder.path(), Split::Test).unwrap(), None);
    }
}
