//! Reads the images for both runtimes: a test set, a folder of images, or noise.

use super::super::text::{counted, printable};
use super::super::{progress, say, say_notes, test_set};
use anyhow::{Result, ensure};
use clap::{Args, ValueHint};
use deploy::arguments::whole;
use deploy::model::Model;
use models::dataset;
use models::image_file::Reader;
use ndarray::{Array4, Axis};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Which images.
#[derive(Args)]
pub(super) struct Arguments {
    /// Folder with a data set, whose test images are compared: IDX files, or a sub-folder of images per class
    /// [default: the one that scripts/setup fetched for the model's data set]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with_all = ["folder", "random"])]
    data: Option<PathBuf>,

    /// Compare on the images in and below a folder instead; they need no labels
    #[arg(long = "pictures", value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "random")]
    folder: Option<PathBuf>,

    /// Compare on N images of random pixels instead, which prove little about real images
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=1_000_000_000), conflicts_with = "images")]
    random: Option<u32>,

    /// Seed of the random pixels [default: 0]
    #[arg(long, value_name = "S", value_parser = whole::<u64>(0..=u64::MAX), requires = "random")]
    seed: Option<u64>,

    /// Compare only the first N images [default: all, or 4 with --layers]
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=1_000_000_000))]
    images: Option<u32>,
}

/// Images as the model takes them, and their names.
pub(super) struct ImageSet {
    /// `[N, C, H, W]`, N at least 1.
    pub images: Array4<u8>,
    /// Where they come from: a folder, or `noise`.
    pub source: String,
    kind: Kind,
}

enum Kind {
    /// The images' classes, and the names of all classes.
    Labelled(Vec<usize>, Vec<String>),
    Files(Vec<PathBuf>),
    Noise,
}

/// What is known about an image besides its index.
#[derive(Clone, Serialize)]
pub(super) struct Name {
    /// Its class, if it comes from a data set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its file, if it comes from a folder without labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl ImageSet {
    /// Reads the images that the user asked for. Of a data set or a folder, at most `--images`, or else `default`.
    pub fn read(arguments: &Arguments, model: &mut Model, default: Option<usize>) -> Result<Self> {
        let asked = arguments.images.map(|images| images as usize);
        let limit = asked.or(default);
        let read = match (&arguments.folder, arguments.random) {
            (Some(folder), _) => Self::in_folder(folder, limit, model),
            (None, Some(count)) => Self::noise(count as usize, arguments.seed.unwrap_or(0), model),
            (None, None) => Self::of_test_set(arguments.data.as_deref(), limit, model),
        }?;
        if let Some(asked) = asked {
            let all = read.images.len_of(Axis(0));
            ensure!(asked <= all, "--images {asked}: expected 1 to {all}, the number of images");
        }
        Ok(read)
    }

    fn of_test_set(folder: Option<&Path>, limit: Option<usize>, model: &mut Model) -> Result<Self> {
        let (folder, tests) = test_set(model, folder, false)?;
        let set = tests.set;
        let set = if let Some(limit) = limit { set.first(limit) } else { set };
        let kind = Kind::Labelled(set.labels().to_vec(), model.labels().to_vec());
        Ok(Self { images: set.images().to_owned(), source: folder.display().to_string(), kind })
    }

    /// Reads the images of a folder. Those that cannot be read are reported and left out.
    fn in_folder(folder: &Path, limit: Option<usize>, model: &Model) -> Result<Self> {
        let (files, notes) = dataset::images_in(folder)?;
        say_notes(&notes);
        let input = model.input();
        let (mut pixels, mut kept) = (Vec::new(), Vec::new());
        let wanted = limit.unwrap_or(files.len()).min(files.len());
        let bar = progress(wanted);
        for file in files {
            if kept.len() >= wanted {
                break;
            }
            match Reader::default().read(&file, input) {
                Ok(image) => {
                    pixels.extend(image);
                    kept.push(file);
                    bar.inc(1);
                }
                Err(error) => bar.suspend(|| say(&format!("note: left out: {error:#}"))),
            }
        }
        bar.finish_and_clear();
        ensure!(!kept.is_empty(), "no image in {} can be read", folder.display());
        let images = Array4::from_shape_vec((kept.len(), input.channels, input.height, input.width), pixels)?;
        Ok(Self { images, source: folder.display().to_string(), kind: Kind::Files(kept) })
    }

    fn noise(count: usize, seed: u64, model: &Model) -> Result<Self> {
        let input = model.input();
        let bytes =
            [count, input.channels, input.height, input.width].iter().try_fold(1_usize, |a, &b| a.checked_mul(b));
        let fits = bytes.is_some_and(|bytes| bytes as u64 <= 1 << 32);
        ensure!(fits, "--random {count}: this many images would need more than 4 GB of memory");
        say("note: random pixels prove little about real images: compare on those too");
        let images = dataset::noise((count, input.channels, input.height, input.width), seed);
        Ok(Self { images, source: format!("random pixels of seed {seed}"), kind: Kind::Noise })
    }

    /// Describes the images: `photos, 12 images`.
    pub fn line(&self) -> String {
        let thing = match self.kind {
            Kind::Labelled(..) => "test image",
            Kind::Files(_) => "image",
            Kind::Noise => "random image",
        };
        format!("{}, {}", self.source, counted(self.images.len_of(Axis(0)), thing))
    }

    /// What is known about the image with this index.
    pub fn name(&self, image: usize) -> Name {
        let (label, file) = match &self.kind {
            Kind::Labelled(classes, labels) => (classes.get(image).map(|&class| label(labels, class)), None),
            Kind::Files(files) => (None, files.get(image).map(|file| file.display().to_string())),
            Kind::Noise => (None, None),
        };
        Name { label, file }
    }
}

impl Name {
    /// Names the image in a line of text: `12, label 7` or `12, photos/x.png`.
    pub fn line(&self, image: usize) -> String {
        match (&self.label, &self.file) {
            (Some(label), _) => format!("{image}, label {}", printable(label)),
            (None, Some(file)) => format!("{image}, {}", printable(file)),
            (None, None) => image.to_string(),
        }
    }

    /// The name as part of a file name.
    pub fn slug(&self) -> String {
        let stem = |file: &String| Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let label = self.label.as_ref().map(|label| format!("label-{label}"));
        let name = label.or_else(|| self.file.as_ref().and_then(stem)).unwrap_or_else(|| "noise".to_owned());
        let safe = |char: char| if char.is_alphanumeric() || "-_".contains(char) { char } else { '_' };
        name.chars().take(60).map(safe).collect()
    }
}

/// Label of a class, or its index if it has none.
pub(super) fn label(labels: &[String], class: usize) -> String {
    labels.get(class).cloned().unwrap_or_else(|| class.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_parts_of_file_names() {
        let name = |label: Option<&str>, file: Option<&str>| Name {
            label: label.map(str::to_owned),
            file: file.map(str::to_owned),
        };
        for (name, slug, line) in [
            (name(Some("T-shirt/top"), None), "label-T-shirt_top", "7, label T-shirt/top"),
            (name(None, Some("a/b/photo 1.jpeg")), "photo_1", "7, a/b/photo 1.jpeg"),
            (name(None, Some("a/../..")), "noise", "7, a/../.."),
            (name(None, None), "noise", "7"),
        ] {
            assert_eq!((name.slug().as_str(), name.line(7).as_str()), (slug, line));
        }
    }
}
