//! Images without labels: each is a class of its own.

use super::{ReadOptions, ReadSplit, decode, duplicates, images_in};
use crate::architecture::MAX_CLASSES;
use crate::card::{Content, Input};
use anyhow::{Result, ensure};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Reads the images in and below a folder, resized to `resolution`, as a set without labels: each image is a class of its
/// own (Dosovitskiy et al., arXiv 1406.6909), named by its path below the folder. Of near-duplicates, only the first is
/// kept. The images become grey if none is stored in colour. Also returns the names of the classes. Fails if fewer than
/// two images are left, or if too many cannot be read.
pub fn exemplars<'a>(
    folder: &Path,
    resolution: usize,
    options: impl Into<ReadOptions<'a>>,
) -> Result<(ReadSplit, Vec<String>)> {
    let (paths, _) = images_in(folder)?;
    ensure!(
        paths.len() <= MAX_CLASSES,
        "{} contains {} images: expected at most {MAX_CLASSES}, because each is a class of its own",
        folder.display(),
        paths.len()
    );
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let channels = if decode::any_in_colour(&paths) { 3 } else { 1 };
    let input = Input::new(channels, resolution, resolution, Content::Image);
    let ReadSplit { mut set, mut notes } = decode::unlabelled(folder, &input, paths.len(), options)?;
    let mut seen = HashSet::new();
    let groups = duplicates::groups(&[&set]);
    let firsts: Vec<usize> = (0..set.len()).filter(|&image| seen.insert(groups[image])).collect();
    if firsts.len() < set.len() {
        let copies = set.len() - firsts.len();
        notes.push(format!("{}: near-duplicates of other images, left out: {copies}", folder.display()));
        set.keep(&firsts)?;
    }
    ensure!(set.len() >= 2, "{} contains 1 distinct image: expected at least two", folder.display());
    set.labels = (0..set.len()).collect();
    let name = |file: &PathBuf| file.strip_prefix(folder).unwrap_or(file).display().to_string();
    let names = set.files.iter().map(name).collect();
    Ok((ReadSplit { set, notes }, names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::ReadProgress;
    use image::{Rgb, RgbImage};
    use std::fs;

    #[test]
    fn each_image_is_a_class_and_copies_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, level: u8| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let pixel = |x: u32, y: u32| Rgb([level, (x * 8) as u8, (y * 8) as u8 ^ level]);
            RgbImage::from_fn(30, 20, pixel).save(path).unwrap();
        };
        for (name, level) in [("b.png", 10), ("cats/1.png", 90), ("cats/2.png", 10), ("a.png", 200)] {
            write(name, level);
        }
        let progress: ReadProgress = &|_, _| ();
        let (ReadSplit { set, notes }, names) = exemplars(folder.path(), 16, progress).unwrap();
        assert_eq!(names, ["a.png", "b.png", "cats/1.png"]);
        assert_eq!((set.labels(), set.images().dim()), (&[0, 1, 2][..], (3, 3, 16, 16)));
        assert!(notes[0].ends_with("near-duplicates of other images, left out: 1"), "{notes:?}");
        for name in ["a.png", "cats/1.png"] {
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        let message = exemplars(folder.path(), 16, progress).unwrap_err().to_string();
        assert!(message.ends_with("contains 1 distinct image: expected at least two"), "{message}");
    }
}
