//! Images that were classified wrongly: lists them by name and copies them into a folder.

use crate::inputs::ImageSource;
use anyhow::{Context, Result, bail, ensure};
use models::dataset::Dataset;
use models::{evaluation, files, image_file};
use ndarray::Axis;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest part of a file name that comes from a label, in bytes.
const LONGEST_LABEL: usize = 60;

/// Longest file name on common file systems, in bytes.
const LONGEST_NAME: usize = 255;

/// An image that was classified wrongly.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mistake {
    /// Its index among the evaluated images, from 0.
    pub index: usize,
    /// Its file; `None` for an image in IDX files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The true class.
    pub truth: String,
    /// The class it was taken for.
    pub answer: String,
    /// Probability of the answer, 0 to 1.
    pub probability: f32,
    /// The class with the next lower probability; `None` if the model has only one class.
    pub second: Option<String>,
    /// Its probability, 0 to 1.
    pub second_probability: Option<f32>,
}

impl Mistake {
    /// The image's name in lists: its file, or its index.
    #[must_use]
    pub fn image(&self) -> String {
        self.file.clone().unwrap_or_else(|| format!("image {}", self.index))
    }
}

/// Adds file names and labels to wrong answers. `file` returns the file of an image.
#[must_use]
pub fn named<'a>(
    wrong: &[evaluation::Mistake],
    labels: &[String],
    file: impl Fn(usize) -> Option<&'a Path>,
) -> Vec<Mistake> {
    let label = |class: usize| labels.get(class).cloned().unwrap_or_else(|| class.to_string());
    let mistake = |wrong: &evaluation::Mistake| Mistake {
        index: wrong.image,
        file: file(wrong.image).map(|path| ImageSource::File(path.to_owned()).name()),
        truth: label(wrong.truth),
        answer: label(wrong.answer),
        probability: wrong.probability,
        second: wrong.second.map(|(class, _)| label(class)),
        second_probability: wrong.second.map(|(_, probability)| probability),
    };
    wrong.iter().map(mistake).collect()
}

/// Checks, without changing anything, that mistakes can be saved in `folder`: it must be missing or empty, and not
/// inside the folder of the `data`.
pub fn check_target(folder: &Path, data: &Path) -> Result<()> {
    if let Ok(metadata) = fs::symlink_metadata(folder) {
        let entries = fs::read_dir(folder);
        ensure!(metadata.is_dir() || entries.is_ok(), "--save-mistakes {}: it is not a folder", folder.display());
        let mut entries = entries.with_context(|| format!("--save-mistakes: cannot list {}", folder.display()))?;
        ensure!(
            entries.next().is_none(),
            "--save-mistakes {}: the folder is not empty; name a new one",
            folder.display()
        );
    }
    ensure!(
        !files::is_within(folder, data)?,
        "--save-mistakes {}: it is inside the data, {}, where the copies would become images of the data set",
        folder.display(),
        data.display()
    );
    Ok(())
}

/// Copies the images to `folder/TRUE/ANSWER-NAME`, all or none. Images from IDX files become PNG files.
pub fn save(mistakes: &[Mistake], set: &Dataset, folder: &Path) -> Result<()> {
    files::write_folder(folder, |staging| {
        let mut classes = Classes::default();
        let mut taken = HashSet::new();
        for mistake in mistakes {
            let class = staging.join(classes.folder(&mistake.truth));
            fs::create_dir_all(&class).with_context(|| format!("cannot make the folder {}", class.display()))?;
            let file = set.file(mistake.index);
            let (stem, ending) = match file {
                Some(file) => (
                    file.file_stem().map(ToOwned::to_owned).unwrap_or_default(),
                    file.extension().map(ToOwned::to_owned).unwrap_or_default(),
                ),
                None => (format!("image-{}", mistake.index).into(), "png".into()),
            };
            let path = free(&class, &safe(&mistake.answer), stem, &ending, mistake.index, &mut taken);
            if let Some(file) = file {
                let context = || format!("cannot copy {} to {}", file.display(), folder.display());
                fs::copy(file, &path).with_context(context)?;
            } else {
                ensure!(mistake.index < set.len(), "the data set has no image {}", mistake.index);
                let png = image_file::png(set.images().index_axis(Axis(0), mistake.index))?;
                fs::write(&path, png).with_context(|| format!("cannot write {}", folder.display()))?;
            }
        }
        Ok(())
    })
}

/// The folders of the true classes. Labels that become the same name get a number.
#[derive(Default)]
struct Classes {
    folders: HashMap<String, String>,
    taken: HashSet<String>,
}

impl Classes {
    fn folder(&mut self, label: &str) -> String {
        if let Some(folder) = self.folders.get(label) {
            return folder.clone();
        }
        let name = safe(label);
        let mut folder = name.clone();
        // Some file systems ignore case.
        for number in 2.. {
            if self.taken.insert(folder.to_lowercase()) {
                break;
            }
            folder = format!("{name}-{number}");
        }
        self.folders.insert(label.to_owned(), folder.clone());
        folder
    }
}

/// Turns a label into a part of a file name that every system accepts.
fn safe(label: &str) -> String {
    let replaced = |char: char| if char.is_control() || "/\\:*?\"<>|".contains(char) { '_' } else { char };
    let mut name: String = label.chars().map(replaced).collect();
    while name.len() > LONGEST_LABEL || name.ends_with(['.', ' ']) {
        name.pop();
    }
    let name = name.trim_start_matches('.');
    if name.is_empty() { "_".to_owned() } else { name.to_owned() }
}

/// Returns `folder/ANSWER-STEM.ENDING`, with a number if that is taken.
fn free(
    folder: &Path,
    answer: &str,
    stem: OsString,
    ending: &OsString,
    index: usize,
    taken: &mut HashSet<PathBuf>,
) -> PathBuf {
    let room = LONGEST_NAME.saturating_sub(answer.len() + ending.len() + 12);
    let stem = if stem.len() > room { format!("image-{index}").into() } else { stem };
    let mut number = 1;
    loop {
        let mut name = OsString::from(format!("{answer}-"));
        name.push(&stem);
        if number > 1 {
            name.push(format!("-{number}"));
        }
        if !ending.is_empty() {
            name.push(".");
            name.push(ending);
        }
        if taken.insert(folder.join(name.to_ascii_lowercase())) {
            return folder.join(name);
        }
        number += 1;
    }
}

/// The outcome of `--save-mistakes`, as a line for standard error.
#[must_use]
pub fn saved_line(mistakes: &[Mistake], folder: &Path) -> String {
    match mistakes.len() {
        0 => format!("no mistakes: nothing to save in {}", folder.display()),
        count => format!("{} saved in {}", crate::text::counted(count, "mistake"), folder.display()),
    }
}

/// Saves the mistakes, if there are any, and returns the line for standard error.
pub fn save_all(mistakes: &[Mistake], set: &Dataset, folder: &Path) -> Result<String> {
    if !mistakes.is_empty() {
        if mistakes.iter().any(|mistake| mistake.index >= set.len()) {
            bail!("the mistakes belong to another data set");
        }
        save(mistakes, set, folder)?;
    }
    Ok(saved_line(mistakes, folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    fn mistake(index: usize, truth: &str, answer: &str) -> Mistake {
        Mistake {
            index,
            file: None,
            truth: truth.into(),
            answer: answer.into(),
            probability: 0.9,
            second: None,
            second_probability: None,
        }
    }

    fn listed(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = models::dataset::images_in(folder)
            .unwrap()
            .0
            .iter()
            .map(|path| path.strip_prefix(folder).unwrap().display().to_string())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn mistakes_are_copied_by_class_and_never_over_each_other() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let files = ["data/cat/a.png", "data/cat/deep/a.png", "data/cat/A.png", "data/a_b/x.jpeg", "data/o.png"];
        let long = format!("data/cat/{}.png", "x".repeat(250));
        let files: Vec<PathBuf> = files.iter().copied().chain([long.as_str()]).map(at).collect();
        for file in &files {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, file.display().to_string()).unwrap();
        }
        let set = Dataset::new(Array4::zeros((6, 1, 2, 2)), vec![0; 6]).unwrap().with_files(files.clone()).unwrap();
        let mistakes = [
            mistake(0, "cat", "dog"),
            mistake(1, "cat", "dog"),
            mistake(2, "cat", "dog"),
            mistake(3, "a/b", "../.."),
            mistake(4, "a_b", "dog"),
            mistake(5, "cat", "dog"),
        ];
        check_target(&at("out/new"), &at("data")).unwrap();
        save(&mistakes, &set, &at("out/new")).unwrap();
        assert_eq!(
            listed(&at("out/new")),
            [
                "a_b-2/dog-o.png",
                "a_b/_-x.jpeg",
                "cat/dog-A-3.png",
                "cat/dog-a-2.png",
                "cat/dog-a.png",
                "cat/dog-image-5.png"
            ]
        );
        assert_eq!(fs::read_to_string(at("out/new/cat/dog-a-2.png")).unwrap(), files[1].display().to_string());
        // If one image cannot be copied, nothing is left behind.
        fs::remove_file(&files[4]).unwrap();
        let message = format!("{:#}", save(&mistakes, &set, &at("out/again")).unwrap_err());
        assert!(message.contains("data/o.png") && !at("out/again").exists(), "{message}");
        assert_eq!(fs::read_dir(at("out")).unwrap().count(), 1);
        for (folder, word) in
            [("out/new", "is not empty"), ("data/cat/mistakes", "inside the data"), ("data/a_b/x.jpeg", "not a folder")]
        {
            let message = check_target(&at(folder), &at("data")).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn images_of_idx_files_become_png_files() {
        let place = tempfile::tempdir().unwrap();
        let set = Dataset::new(Array4::from_elem((2, 1, 3, 3), 7), vec![0, 1]).unwrap();
        let line = save_all(&[mistake(1, "7", "1")], &set, &place.path().join("out")).unwrap();
        assert!(line.starts_with("1 mistake saved in"), "{line}");
        assert_eq!(listed(&place.path().join("out")), ["7/1-image-1.png"]);
        assert!(fs::read(place.path().join("out/7/1-image-1.png")).unwrap().starts_with(b"\x89PNG"));
    }
}
