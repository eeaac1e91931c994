//! A folder of pictures with one sub-folder per class, listed but not read.
//!
//! The class folders lie either straight in the folder, and a fifth of each class is kept for the test, or in its
//! sub-folders `train` and `test`.

use super::Split;
use super::listing::{self, Entry, Skipped, entries};
use crate::fingerprint::Fingerprint;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// One picture in so many of a class is kept for the test where the folder does not say which.
const TEST_SHARE: usize = 5;

/// A listed picture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Picture {
    /// Its place in the order of the pictures; see [`rank`].
    rank: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Its class, counted in [`ClassFolders::classes`].
    pub class: usize,
}

/// What a folder of class folders holds.
#[derive(Debug)]
pub(super) struct ClassFolders {
    /// The names of the class folders, sorted.
    pub classes: Vec<String>,
    /// What somebody should know: which files and folders are not read.
    pub notes: Vec<String>,
    train: Option<Vec<Picture>>,
    test: Option<Vec<Picture>>,
}

/// The pictures of each class of one part.
type Part = BTreeMap<String, Vec<Picture>>;

impl ClassFolders {
    /// Lists `root`, which must be a folder.
    pub fn list(root: &Path) -> Result<Self> {
        let mut skipped = Skipped::default();
        let entries = entries(root, &mut skipped)?;
        let folders: Vec<&Entry> = entries.iter().filter(|entry| entry.is_folder).collect();
        ensure!(
            !folders.is_empty(),
            "{} holds neither IDX files (train-images-idx3-ubyte and so on) nor sub-folders of pictures, one per \
             class{}: name another folder with --data",
            root.display(),
            if entries.iter().any(Entry::is_picture) { ", only pictures that lie in no class folder" } else { "" }
        );
        skipped.beside(&entries);
        let [train, test] = [Split::Train, Split::Test].map(|split| {
            folders.iter().find(|folder| folder.name.eq_ignore_ascii_case(split.name()) && is_part(folder))
        });
        let (train, test) = if train.is_none() && test.is_none() {
            let (train, test) = split(root, classes(root, &folders, &[root], &mut skipped)?)?;
            (Some(train), Some(test))
        } else {
            let used = |folder: &Entry| [train, test].iter().flatten().any(|part| part.path == folder.path);
            skipped.folders = folders.iter().filter(|folder| !used(folder)).map(|folder| folder.path.clone()).collect();
            let mut part =
                |folder: Option<&&Entry>| folder.map(|folder| part(root, &folder.path, &mut skipped)).transpose();
            (part(train)?, part(test)?)
        };
        let notes = skipped.notes(root);
        Self::joined(root, train, test, notes)
    }

    /// Numbers the classes of both parts.
    fn joined(root: &Path, train: Option<Part>, test: Option<Part>, notes: Vec<String>) -> Result<Self> {
        // What is learnt decides; a folder for evaluation alone may do without.
        let classes: Vec<String> = train.as_ref().or(test.as_ref()).into_iter().flat_map(Part::keys).cloned().collect();
        let unlearnt = test.iter().flat_map(Part::keys).find(|class| !classes.contains(class));
        if let Some(class) = unlearnt {
            bail!(
                "{}: class {class} has pictures in test/, but none in train/: add some, or remove it",
                root.display()
            );
        }
        let numbered = |part: Part| {
            let pictures = part.into_iter().flat_map(|(name, pictures)| {
                let class = classes.iter().position(|class| *class == name).unwrap_or_default();
                pictures.into_iter().map(move |picture| Picture { class, ..picture })
            });
            let mut pictures: Vec<Picture> = pictures.collect();
            pictures.sort_unstable();
            pictures
        };
        let (train, test) = (train.map(numbered), test.map(numbered));
        Ok(Self { classes, notes, train, test })
    }

    /// The pictures of one part, in an order that mixes the classes: the first few are a fair sample.
    pub fn pictures(&self, root: &Path, split: Split) -> Result<&[Picture]> {
        let (found, other) = match split {
            Split::Train => (&self.train, Split::Test),
            Split::Test => (&self.test, Split::Train),
        };
        found.as_deref().with_context(|| {
            format!(
                "{root} has class folders in {}/, but none in {}/: add them, or put the class folders straight into \
                 {root}, and one picture in {TEST_SHARE} is kept for the test",
                other.name(),
                split.name(),
                root = root.display()
            )
        })
    }
}

/// Whether a folder named `train` or `test` is a part of the set rather than a class of that name: it holds folders,
/// and no picture of its own.
fn is_part(folder: &Entry) -> bool {
    let Ok(entries) = entries(&folder.path, &mut Skipped::default()) else { return false };
    entries.iter().any(|entry| entry.is_folder) && !entries.iter().any(Entry::is_picture)
}

/// Lists the class folders of one part.
fn part(root: &Path, folder: &Path, skipped: &mut Skipped) -> Result<Part> {
    let entries = entries(folder, skipped)?;
    skipped.beside(&entries);
    let folders: Vec<&Entry> = entries.iter().filter(|entry| entry.is_folder).collect();
    classes(folder, &folders, &[root, folder], skipped)
}

/// Lists the pictures of the class `folders` in `parent`. Links to the folders `above` them lead back.
fn classes(parent: &Path, folders: &[&Entry], above: &[&Path], skipped: &mut Skipped) -> Result<Part> {
    let above = above.iter().map(|folder| listing::resolved(folder)).collect::<Result<HashSet<PathBuf>>>()?;
    let mut part = Part::new();
    for Entry { path: folder, .. } in folders {
        let name = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name = name.with_context(|| format!("the name of the class folder {} is no UTF-8", folder.display()))?;
        let mut within = Skipped::default();
        let paths = listing::pictures_below(folder, above.clone(), &mut within)?;
        ensure!(!paths.is_empty(), "the class folder {}: fill it or remove it", within.no_pictures(folder));
        skipped.add(within);
        let picture = |path: PathBuf| Picture { rank: rank(parent, &path), path, class: 0 };
        part.insert(name, paths.into_iter().map(picture).collect());
    }
    Ok(part)
}

/// Parts each class into what is learnt from and what is kept for the test.
///
/// Which picture goes where follows from its name alone ([`rank`]): so training, a resumed run, evaluation and
/// deployment see the same two parts on every machine without anything being written down. A run's seed has no say, or
/// a model would be judged on pictures that it learnt from as soon as two runs' seeds differ. Pictures that are added
/// later may move a few others between the parts: train again, or keep `train` and `test` apart by hand.
fn split(root: &Path, whole: Part) -> Result<(Part, Part)> {
    let (mut train, mut test) = (Part::new(), Part::new());
    for (class, mut pictures) in whole {
        ensure!(
            pictures.len() >= 2,
            "the class folder {} holds one picture: expected at least two, one to learn from and one for the test",
            root.join(&class).display()
        );
        pictures.sort_unstable();
        let kept = ((pictures.len() + TEST_SHARE / 2) / TEST_SHARE).max(1);
        train.insert(class.clone(), pictures.split_off(kept));
        test.insert(class, pictures);
    }
    Ok((train, test))
}

/// Where a picture stands in the order of all: a number that looks random but follows from its path below `root`.
fn rank(root: &Path, path: &Path) -> u64 {
    let below = path.strip_prefix(root).unwrap_or(path);
    let names = below.components().map(|component| component.as_os_str().as_encoded_bytes());
    // Joined by hand: the separator differs between systems.
    names.fold(Fingerprint::default(), |rank, name| rank.and(name).and(b"/")).spread()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Makes empty files; a name that ends in a slash makes a folder.
    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            if name.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
        }
        folder
    }

    fn error(names: &[&str]) -> String {
        ClassFolders::list(folder(names).path()).unwrap_err().to_string()
    }

    fn numbered(class: &str, count: usize) -> Vec<String> {
        (0..count).map(|number| format!("{class}/img_{number:04}.jpg")).collect()
    }

    fn names(list: &ClassFolders, root: &Path, split: Split) -> Vec<String> {
        let pictures = list.pictures(root, split).unwrap().iter();
        pictures.map(|picture| picture.path.strip_prefix(root).unwrap().display().to_string()).collect()
    }

    #[test]
    fn a_fifth_of_each_class_is_kept_for_the_test_wherever_the_folder_lies() {
        let files = [numbered("ox", 1000), numbered("cat", 7), numbered("ant", 2)].concat();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let (one, other) = (folder(&files), folder(&files));
        let lists = [&one, &other].map(|folder| ClassFolders::list(folder.path()).unwrap());
        assert_eq!(lists[0].classes, ["ant", "cat", "ox"]);
        let [train, test] = [Split::Train, Split::Test].map(|split| names(&lists[0], one.path(), split));
        assert_eq!(test, names(&lists[1], other.path(), Split::Test));
        let count = |part: &[String], class: &str| part.iter().filter(|name| name.starts_with(class)).count();
        assert_eq!(["ox", "cat", "ant"].map(|class| count(&test, class)), [200, 1, 1]);
        assert_eq!(["ox", "cat", "ant"].map(|class| count(&train, class)), [800, 6, 1]);
        assert!(train.iter().all(|name| !test.contains(name)));
        // No run of names goes one way, and the order of neither part follows the names.
        for hundred in 0..10 {
            let kept = count(&test, &format!("ox/img_0{hundred}"));
            assert!((5..=40).contains(&kept), "{kept} of hundred {hundred}");
        }
        assert!(!train.is_sorted() && !test.is_sorted());
        let firsts = lists[0].pictures(one.path(), Split::Train).unwrap()[..600].iter();
        assert!(firsts.filter(|picture| picture.class != 2).count() > 1);
    }

    #[test]
    fn train_and_test_are_the_folders_own_if_it_has_them() {
        let folder = folder(&["train/a/1.png", "train/b/2.png", "test/b/3.png", "val/a/4.png", "train/x.png.txt"]);
        let list = ClassFolders::list(folder.path()).unwrap();
        assert_eq!(list.classes, ["a", "b"]);
        assert_eq!(names(&list, folder.path(), Split::Test), ["test/b/3.png"]);
        assert_eq!(list.pictures(folder.path(), Split::Test).unwrap()[0].class, 1);
        let notes = list.notes.join("\n");
        assert!(notes.contains("1 .txt") && notes.contains("val: beside train/ and test/"), "{notes}");
    }

    #[test]
    fn a_class_may_be_called_train() {
        let folder = folder(&["train/1.png", "train/2.png", "bus/1.png", "bus/2.png"]);
        assert_eq!(ClassFolders::list(folder.path()).unwrap().classes, ["bus", "train"]);
    }

    #[test]
    fn a_folder_for_evaluation_needs_no_training_pictures() {
        let folder = folder(&["test/a/1.png"]);
        let list = ClassFolders::list(folder.path()).unwrap();
        assert_eq!(list.pictures(folder.path(), Split::Test).unwrap().len(), 1);
        let message = list.pictures(folder.path(), Split::Train).unwrap_err().to_string();
        assert!(message.contains("class folders in test/, but none in train/"), "{message}");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (names, words) in [
            (&["a/"][..], &["class folder", "/a holds no pictures (PNG, JPEG"][..]),
            (&["a/1.png", "a/2.png", "b/1.tiff", "b/2.tiff"], &["/b holds no pictures", "only 2 .tiff"]),
            (&["a/1.png", "b/1.png", "b/2.png"], &["/a holds one picture", "at least two"]),
            (
                &["train/a/1.png", "test/a/1.png", "test/b/1.png"],
                &["class b has pictures in test/, but none in train/"],
            ),
            (&["1.png"], &["neither IDX files", "only pictures that lie in no class folder"]),
            (&[], &["neither IDX files", "--data"]),
            (&["train/a/1.png", "test/a/"], &["test/a holds no pictures"]),
        ] {
            let message = error(names);
            for word in words {
                assert!(message.contains(word), "expected '{word}' in: {message}");
            }
        }
    }
}
