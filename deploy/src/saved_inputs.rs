//! Saves what the network saw of each image as a PNG file.

use crate::inputs::ImageSource;
use anyhow::{Context, Result, ensure};
use models::{files, image_file};
use ndarray::ArrayView3;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

/// Where each image's network input is saved.
#[derive(Debug)]
pub struct SavedInputs {
    folder: PathBuf,
    names: Vec<OsString>,
}

impl SavedInputs {
    /// Creates the folder if it is missing, and gives every image its own file name in it.
    ///
    /// Errors if one of the images lies in the folder, since saving could replace it.
    pub fn plan(folder: &Path, sources: &[ImageSource]) -> Result<Self> {
        let context = || format!("cannot write into {}", files::name(folder));
        fs::create_dir_all(folder).with_context(context)?;
        let real = folder.canonicalize().with_context(context)?;
        let mut parents = HashSet::new();
        for source in sources {
            let ImageSource::File(path) = source else { continue };
            let parent = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            ensure!(
                !parents.insert(parent) || parent.canonicalize().ok().as_ref() != Some(&real),
                "{} is in the folder {}, where a saved file could replace it: name another folder",
                files::name(path),
                files::name(folder)
            );
        }
        Ok(Self { folder: folder.to_owned(), names: names(sources) })
    }

    /// Path of the file of the image with this index.
    pub fn path(&self, number: usize) -> Result<PathBuf> {
        let name = self.names.get(number).with_context(|| format!("image {number} has no name to be saved under"))?;
        Ok(self.folder.join(name))
    }

    /// Writes the input `[C, H, W]` of the image with this index and returns the file's path.
    pub fn write(&self, number: usize, input: ArrayView3<u8>) -> Result<PathBuf> {
        let path = self.path(number)?;
        files::write_whole(&path, &image_file::png(input)?)?;
        Ok(path)
    }
}

/// The image's own name with the extension `.png`. If a name occurs again, it gets a number: `seven-2.png`. Names that
/// differ only in case count as equal, as they do on some file systems.
fn names(sources: &[ImageSource]) -> Vec<OsString> {
    let mut taken = HashSet::new();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let lower = |name: &OsStr| files::name(Path::new(name)).to_lowercase();
    let name = |source: &ImageSource| {
        let stem = match source {
            ImageSource::File(path) => path.file_stem().unwrap_or_default(),
            ImageSource::StandardInput => OsStr::new("stdin"),
            ImageSource::Memory { name, .. } => Path::new(name).file_stem().unwrap_or_default(),
        };
        let number = numbers.entry(lower(stem)).or_default();
        loop {
            *number += 1;
            let mut name = stem.to_owned();
            name.push(if *number == 1 { ".png".to_owned() } else { format!("-{number}.png") });
            if taken.insert(lower(&name)) {
                return name;
            }
        }
    };
    sources.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    fn sources(names: &[&str]) -> Vec<ImageSource> {
        names
            .iter()
            .map(|name| if *name == "-" { ImageSource::StandardInput } else { ImageSource::File(name.into()) })
            .collect()
    }

    #[test]
    fn no_two_images_share_a_name() {
        let found =
            names(&sources(&["a/7.png", "b/7.jpg", "7-2.png", "c/7.bmp", "-", "stdin.png", "B/X.png", "x.pgm"]));
        let expected = ["7.png", "7-2.png", "7-2-2.png", "7-3.png", "stdin.png", "stdin-2.png", "X.png", "x-2.png"];
        assert_eq!(found, expected);
    }

    #[test]
    #[cfg(unix)]
    fn names_that_are_not_utf8_stay_what_they_are() {
        use std::os::unix::ffi::OsStrExt;
        let sources = [&b"in/a\xff.png"[..], b"in/a\xfe.jpg", br"in/a\xff.png"];
        let found = names(&sources.map(|path| ImageSource::File(OsStr::from_bytes(path).into())));
        assert_eq!(found, [&b"a\xff.png"[..], b"a\xfe.png", br"a\xff.png"].map(OsStr::from_bytes));
    }

    #[test]
    fn images_are_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("photos/new")).unwrap();
        let read = [ImageSource::StandardInput, ImageSource::File(at("photos/a.png"))];
        let message = SavedInputs::plan(&at("photos/new/.."), &read).unwrap_err().to_string();
        assert!(message.contains("photos/a.png is in the folder") && message.contains("another"));
        let saved = SavedInputs::plan(&at("photos/new"), &read).unwrap();
        let path = saved.write(1, Array3::zeros((1, 4, 4)).view()).unwrap();
        assert_eq!(path, at("photos/new/a.png"));
        assert!(fs::read(path).unwrap().starts_with(b"\x89PNG"));
        fs::write(at("file"), "").unwrap();
        assert!(SavedInputs::plan(&at("file"), &read).unwrap_err().to_string().contains("cannot write into"));
    }
}
