//! Lists a folder of images with one sub-folder per class, without reading them.
//!
//! The class folders are either directly in the folder, in which case a fifth of each class is kept for the test, or in
//! the folders of its splits ([`super::layout`]).

use super::Split;
use super::layout::Layout;
use super::listing::{self, Entry, Skipped, entries};
use crate::fingerprint::Fingerprint;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization;

/// One in this many images of each class is kept for the test if the folder has no test split.
const TEST_SHARE: usize = 5;

/// A listed image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ImagePath {
    /// Sort key of the images; see [`rank`].
    rank: u64,
    /// Path of the file.
    pub path: PathBuf,
    /// Index into [`ClassFolders::classes`].
    pub class: usize,
}

/// The listed images of all classes and splits.
#[derive(Debug)]
pub(super) struct ClassFolders {
    /// The names of the class folders, sorted.
    pub classes: Vec<String>,
    /// Notes for the user: files and folders that will not be read, and what serves as the test split.
    pub notes: Vec<String>,
    /// Where the test images come from.
    pub test_source: TestSource,
    train: Option<Vec<ImagePath>>,
    validation: Option<Vec<ImagePath>>,
    test: Option<Vec<ImagePath>>,
    /// A class with a single image, which cannot be split.
    lonely: Option<String>,
}

/// Where the test images of a folder come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TestSource {
    /// The folder of the test split, or of the validation split if there is no test split.
    Folder(PathBuf),
    /// A fifth of each class.
    Fifth,
}

/// The images of one split, by class name.
type Part = BTreeMap<String, Vec<ImagePath>>;

impl ClassFolders {
    /// Lists the folder `given`. Fails if it has no class folders, or if a class folder has no images.
    pub fn list(given: &Path) -> Result<Self> {
        let Layout { root, splits, by_word, beside } = Layout::find(given)?;
        let mut skipped = Skipped::default();
        let entries = entries(&root, &mut skipped)?;
        let folders: Vec<&Entry> = entries.iter().filter(|entry| entry.is_folder).collect();
        ensure!(
            !folders.is_empty(),
            "{} contains neither IDX files (such as train-images-idx3-ubyte) nor a sub-folder of images per class{}: put \
             the images of each class into its own folder, or name another folder with --data",
            root.display(),
            if entries.iter().any(Entry::is_image) { ", only images outside class folders" } else { "" }
        );
        skipped.beside(&entries);
        skipped.folders = beside;
        let mut notes = Vec::new();
        if root != given {
            notes.push(format!("the classes are the folders in {}", root.display()));
        }
        if splits.is_empty() {
            let whole = classes(&root, &folders, &[&root], &mut skipped)?;
            notes.extend(skipped.notes(&root));
            return Self::divided(whole, notes);
        }
        if by_word {
            let names: Vec<String> = splits.iter().map(|(_, folder)| folder.display().to_string()).collect();
            notes.push(format!("these folders are used as the splits of a data set: {}", names.join(", ")));
        }
        let mut read = |split: Split| {
            let folder = splits.iter().find(|(known, _)| *known == split).map(|(_, folder)| folder);
            folder.map(|folder| Ok((folder.clone(), part(&root, folder, &mut skipped)?))).transpose()
        };
        let (train, validation, test): (Result<_>, Result<_>, Result<_>) =
            (read(Split::Train), read(Split::Validation), read(Split::Test));
        let (train, mut validation, mut test) = (train?, validation?, test?);
        notes.extend(skipped.notes(&root));
        if test.is_none() && validation.is_some() {
            test = validation.take();
            if let Some((folder, _)) = &test {
                notes.push(format!("{} is used as the test split: the data set has no other", folder.display()));
            }
        }
        match (train, test) {
            (Some((_, train)), None) => Self::divided(train, notes),
            (train, Some((folder, test))) => {
                let source = TestSource::Folder(folder);
                let parts = [train, validation].map(|split| split.map(|(_, part)| part));
                let [train, validation] = parts;
                Self::joined(&root, [train, validation, Some(test)], source, notes, None)
            }
            (None, None) => bail!("{} contains no class folders", root.display()),
        }
    }

    /// Keeps a fifth of each class for the test.
    fn divided(whole: Part, notes: Vec<String>) -> Result<Self> {
        let lonely = whole.iter().find(|(_, images)| images.len() == 1).map(|(class, _)| class.clone());
        let (train, test) = split(whole);
        Self::joined(Path::new(""), [Some(train), None, Some(test)], TestSource::Fifth, notes, lonely)
    }

    /// Merges the training, validation and test splits, and numbers their classes. Fails if a class has no training
    /// images.
    fn joined(
        root: &Path,
        parts: [Option<Part>; 3],
        test_source: TestSource,
        notes: Vec<String>,
        lonely: Option<String>,
    ) -> Result<Self> {
        // The training split determines the classes. A folder used only for evaluation needs none.
        let deciding = if parts[0].is_some() { &parts[..1] } else { &parts[1..] };
        let classes: BTreeSet<String> = deciding.iter().flatten().flat_map(Part::keys).cloned().collect();
        let classes: Vec<String> = classes.into_iter().collect();
        for (part, name) in parts.iter().zip(["training", "validation", "test"]) {
            let unlearnt = part.iter().flat_map(Part::keys).filter(|class| !classes.contains(class));
            let unlearnt: Vec<&str> = unlearnt.map(String::as_str).collect();
            ensure!(
                unlearnt.is_empty(),
                "{}: these classes have {name} images, but no training images: {}. Add some, or remove the classes",
                root.display(),
                unlearnt.join(", ")
            );
        }
        let numbered = |part: Part| {
            let images = part.into_iter().flat_map(|(name, images)| {
                let class = classes.iter().position(|class| *class == name).unwrap_or_default();
                images.into_iter().map(move |image| ImagePath { class, ..image })
            });
            let mut images: Vec<ImagePath> = images.collect();
            images.sort_unstable();
            images
        };
        let [train, validation, test] = parts.map(|part| part.map(numbered));
        Ok(Self { classes, notes, test_source, train, validation, test, lonely })
    }

    /// The images of one split, in an order that mixes the classes, so the first few are a fair sample.
    pub fn images(&self, root: &Path, split: Split) -> Result<&[ImagePath]> {
        let found = match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        };
        let found = found.as_deref().with_context(|| {
            format!(
                "{root} has no {} split: put the class folders into {root}/train and {root}/test, or directly into \
                 {root}, and one image in {TEST_SHARE} is kept for the test",
                split.name(),
                root = root.display()
            )
        })?;
        if let (Some(class), Split::Train) = (&self.lonely, split) {
            bail!(
                "{}: the class folder {class} contains one image: expected at least two, one for training and one for \
                 the test",
                root.display()
            );
        }
        Ok(found)
    }

    /// Whether there is a validation split.
    pub fn has_validation(&self) -> bool {
        self.validation.is_some()
    }

    /// All images of a folder without a test split: first the training images, then those kept for the test.
    pub fn all(&self) -> Vec<ImagePath> {
        [&self.train, &self.test].into_iter().flatten().flatten().cloned().collect()
    }
}

/// Lists the class folders of one split.
fn part(root: &Path, folder: &Path, skipped: &mut Skipped) -> Result<Part> {
    let entries = entries(folder, skipped)?;
    skipped.beside(&entries);
    let folders: Vec<&Entry> = entries.iter().filter(|entry| entry.is_folder).collect();
    ensure!(!folders.is_empty(), "{} contains no class folders", folder.display());
    classes(folder, &folders, &[root, folder], skipped)
}

/// Lists the images of each class folder in `folders`, all inside `parent`. Symlinks back to the folders `above` are
/// skipped.
fn classes(parent: &Path, folders: &[&Entry], above: &[&Path], skipped: &mut Skipped) -> Result<Part> {
    let above = above.iter().map(|folder| listing::resolved(folder)).collect::<Result<HashSet<PathBuf>>>()?;
    let mut part = Part::new();
    for Entry { path: folder, .. } in folders {
        let name = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name =
            name.with_context(|| format!("the name of the class folder {} is not UTF-8: rename it", folder.display()))?;
        let mut within = Skipped::default();
        let paths = listing::images_within(folder, above.clone(), &mut within)?;
        ensure!(!paths.is_empty(), "the class folder {}: add images or remove it", within.no_images(folder));
        skipped.add(within);
        let image = |path: PathBuf| ImagePath { rank: rank(parent, &path), path, class: 0 };
        let images = paths.into_iter().map(image).collect();
        // macOS writes an accented letter as two characters, Linux and Windows as one.
        let name: String = name.nfc().collect();
        ensure!(
            part.insert(name, images).is_none(),
            "{}: another class folder has the same name, with accented letters written in another way (Unicode NFC and \
             NFD): merge them",
            folder.display()
        );
    }
    Ok(part)
}

/// Splits each class into training and test images.
///
/// The choice depends only on an image's path inside the data folder ([`rank`]). So training, a resumed run, evaluation
/// and deployment agree on every machine without storing anything. It must not depend on a run's seed, or a model could
/// be tested on images that another run trained on. Images added later can move a few others between the splits: train
/// again, or keep `train` and `test` in separate folders.
fn split(whole: Part) -> (Part, Part) {
    let (mut train, mut test) = (Part::new(), Part::new());
    for (class, mut images) in whole {
        images.sort_unstable();
        let kept = ((images.len() + TEST_SHARE / 2) / TEST_SHARE).max(1).min(images.len() - 1);
        train.insert(class.clone(), images.split_off(kept));
        test.insert(class, images);
    }
    (train, test)
}

/// Sort key of an image: a number that looks random but depends only on the path below `root`.
fn rank(root: &Path, path: &Path) -> u64 {
    let below = path.strip_prefix(root).unwrap_or(path);
    let names = below.components().map(|component| component.as_os_str().as_encoded_bytes());
    // Joined by hand because the path separator differs between systems.
    names.fold(Fingerprint::default(), |rank, name| rank.and(name).and(b"/")).spread()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Creates empty files; a name that ends in a slash creates a folder.
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
        let images = list.images(root, split).unwrap().iter();
        images.map(|image| image.path.strip_prefix(root).unwrap().display().to_string()).collect()
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
        // No range of names goes to one split alone, and neither split is in the order of the names.
        for hundred in 0..10 {
            let kept = count(&test, &format!("ox/img_0{hundred}"));
            assert!((5..=40).contains(&kept), "{kept} of hundred {hundred}");
        }
        assert!(!train.is_sorted() && !test.is_sorted());
        let firsts = lists[0].images(one.path(), Split::Train).unwrap()[..600].iter();
        assert!(firsts.filter(|image| image.class != 2).count() > 1);
    }

    fn listed(names: &[&str]) -> (tempfile::TempDir, ClassFolders) {
        let folder = folder(names);
        let list = ClassFolders::list(folder.path()).unwrap();
        (folder, list)
    }

    #[test]
    fn splits_are_the_folders_own_if_it_has_them() {
        let (folder, list) = listed(&[
            "train/a/1.png",
            "train/b/2.png",
            "test/b/3.png",
            "val/a/4.png",
            "train/x.png.txt",
            "more/a/5.png",
        ]);
        assert_eq!(list.classes, ["a", "b"]);
        assert_eq!(names(&list, folder.path(), Split::Test), ["test/b/3.png"]);
        assert_eq!(names(&list, folder.path(), Split::Validation), ["val/a/4.png"]);
        assert_eq!(list.images(folder.path(), Split::Test).unwrap()[0].class, 1);
        let notes = list.notes.join("\n");
        assert!(notes.contains("1 .txt") && notes.contains("more: it is outside the data set"), "{notes}");
    }

    /// ZIP archives made on macOS, folders of a Synology disk, and whole disks.
    #[test]
    fn folders_that_a_system_created_are_not_data() {
        let (folder, list) = listed(&[
            "pets/train/a/1.png",
            "pets/train/a/@eaDir/1.png/SYNOPHOTO_THUMB_XL.jpg",
            "pets/train/b/1.png",
            "pets/train/__MACOSX/a/._1.png",
            "pets/test/a/2.png",
            "__MACOSX/pets/train/a/._1.png",
            "__MACOSX/pets/test/a/._2.png",
            "System Volume Information/c/1.png",
            "$Recycle.Bin/d/1.png",
            "lost+found/",
        ]);
        assert_eq!(list.classes, ["a", "b"]);
        assert_eq!(list.images(folder.path(), Split::Train).unwrap().len(), 2);
        assert_eq!(names(&list, folder.path(), Split::Test), ["pets/test/a/2.png"]);
    }

    /// Names and nesting as found in common archives.
    #[test]
    fn splits_are_found_by_all_their_usual_names() {
        for (train, test) in [
            ("training", "testing"),
            ("Train", "TEST"),
            ("training_set/training_set", "test_set/test_set"),
            ("seg_train/seg_train", "seg_test/seg_test"),
            ("images/train", "images/val"),
            ("train/images", "test/images"),
            ("pets/Images/Training", "pets/Images/Validation"),
            ("train", "eval"),
        ] {
            let files = [(train, "cat", 1), (train, "dog", 2), (test, "cat", 3), (test, "dog", 4)];
            let files = files.map(|(split, class, number)| format!("{split}/{class}/{number}.png"));
            let (folder, list) = listed(&files.each_ref().map(String::as_str));
            assert_eq!(list.classes, ["cat", "dog"], "{train}");
            let mut found = names(&list, folder.path(), Split::Test);
            found.sort_unstable();
            assert_eq!(found, files[2..], "{train}");
            assert!(!list.has_validation() && list.test_source == TestSource::Folder(folder.path().join(test)));
        }
        let (folder, list) = listed(&["train/a/1.png", "train/b/1.png", "eval/a/2.png", "test/a/3.png"]);
        assert_eq!(names(&list, folder.path(), Split::Validation), ["eval/a/2.png"]);
    }

    #[test]
    fn without_a_test_split_validation_or_a_fifth_serves() {
        let (folder, list) = listed(&["train/a/1.png", "train/b/2.png", "valid/b/3.png", "test/4.png"]);
        assert_eq!(names(&list, folder.path(), Split::Test), ["valid/b/3.png"]);
        let notes = list.notes.join("\n");
        assert!(
            notes.contains("valid is used as the test split") && notes.contains("test: its images are not in"),
            "{notes}"
        );
        let (_folder, list) = listed(&["train/a/1.png", "train/a/2.png", "train/b/1.png", "train/b/2.png"]);
        assert_eq!((list.classes.len(), &list.test_source, list.all().len()), (2, &TestSource::Fifth, 4));
    }

    #[test]
    fn a_class_may_be_called_train() {
        for files in [
            &["train/1.png", "train/2.png", "bus/1.png", "bus/2.png"][..],
            &["train/1.png", "train/steam/2.png", "bus/1.png", "bus/2.png"],
        ] {
            assert_eq!(listed(files).1.classes, ["bus", "train"]);
        }
        assert_eq!(listed(&["test/1.png", "bus/1.png", "train/1.png"]).1.classes, ["bus", "test", "train"]);
    }

    #[test]
    fn what_could_be_a_class_or_a_split_is_refused() {
        for (names, word) in [
            (&["train/1.png", "train/2.png", "test/1.png"][..], "contain images without class folders"),
            // As for object detection.
            (
                &["images/train/1.png", "images/val/2.png", "labels/train/1.txt", "labels/val/2.txt"],
                "images/train, images/val contain images without class folders",
            ),
            (&["train/steam/1.png", "train/diesel/2.png", "bus/1.png"], "train/ could be a split"),
            (&["cat/train/1.png", "cat/test/2.png", "dog/train/3.png", "dog/test/4.png"], "inside the class folders"),
            (&["train/a/1.png", "Training/a/2.png", "test/a/3.png"], "are both named like the train split"),
            (&["a/train/x/1.png", "a/test/x/1.png", "b/train/y/1.png", "b/test/y/1.png"], "several data sets: a/, b/"),
        ] {
            let message = error(names);
            assert!(message.contains(word), "expected '{word}' in: {message}");
        }
    }

    #[test]
    fn folders_that_are_splits_by_one_of_their_words_are_named() {
        let files = ["a train/2023/1.png", "a train/2024/2.png", "b test/2023/3.png", "b test/2024/4.png"];
        let (_folder, list) = listed(&files);
        assert_eq!(list.classes, ["2023", "2024"]);
        let [note] = &list.notes[..] else { panic!("{:?}", list.notes) };
        assert!(note.contains("used as the splits") && note.contains("a train") && note.contains("b test"), "{note}");
    }

    #[test]
    fn accented_letters_are_the_same_in_both_unicode_forms() {
        let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
        let (_folder, list) = listed(&[
            &format!("train/{decomposed}/1.png"),
            "train/tea/2.png",
            &format!("test/{composed}/3.png"),
            "test/tea/4.png",
        ]);
        assert_eq!(list.classes, [composed, "tea"]);
        let message = error(&[&format!("{decomposed}/1.png"), &format!("{composed}/2.png")]);
        assert!(message.contains("another class folder has the same name"), "{message}");
    }

    #[test]
    fn a_folder_for_evaluation_needs_no_training_images() {
        let (folder, list) = listed(&["test/a/1.png"]);
        assert_eq!(list.images(folder.path(), Split::Test).unwrap().len(), 1);
        let message = list.images(folder.path(), Split::Train).unwrap_err().to_string();
        assert!(message.contains("has no train split"), "{message}");
        let (folder, list) = listed(&["a/1.png", "b/1.png", "b/2.png"]);
        assert_eq!(list.all().len(), 3);
        let message = list.images(folder.path(), Split::Train).unwrap_err().to_string();
        assert!(message.contains("folder a contains one image: expected at least two"), "{message}");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (names, words) in [
            (&["a/"][..], &["class folder", "/a contains no images (PNG, JPEG"][..]),
            (&["a/1.png", "a/2.png", "b/1.tiff", "b/2.tiff"], &["/b contains no images", "only 2 .tiff"]),
            (
                &["train/a/1.png", "test/a/1.png", "test/b/1.png", "test/c/1.png"],
                &["these classes have test images, but no training images: b, c"],
            ),
            (&["1.png"], &["neither IDX files", "only images outside class folders: put the images of each class"]),
            (&[], &["neither IDX files", "--data"]),
            (&["train/a/1.png", "test/a/"], &["test/a contains no images"]),
        ] {
            let message = error(names);
            for word in words {
                assert!(message.contains(word), "expected '{word}' in: {message}");
            }
        }
    }
}
