//! Finds the class folders and the splits in a folder of images.
//!
//! Splits are recognised by their usual names, in any case and with numbers and added words such as `set` or `images`:
//! `train`, `Training_Set`, `test-images`, `val2017`. A folder with such a name is a split if it holds class folders. If
//! it holds images directly, it may be a class of that name. Folders with other words in their names, such as
//! `pets_train` and `pets_test`, are splits if they have class folders in common.

use super::Split;
use super::listing::{self, Entry, Skipped, entries};
use anyhow::{Result, bail, ensure};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// How many levels below the given folder the class folders are searched.
const DEPTH: usize = 3;

/// Words that may be added to a split's name, and names of folders that merely wrap others.
const COMMON: [&str; 14] = [
    "data", "dataset", "set", "split", "images", "image", "imgs", "img", "pictures", "photos", "samples", "seg", "png",
    "jpg",
];

/// The meaning of a folder's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Split(Split),
    /// The validation split if there is also a `test` folder, otherwise the test split.
    Evaluation,
}

impl Name {
    fn find(folder: &str) -> Option<Self> {
        Self::of(&words(folder).filter(|word| !COMMON.contains(&word.as_str())).collect::<String>())
    }

    /// The meaning of the only word in a name that has one.
    fn within(folder: &str) -> Option<Self> {
        let mut names = words(folder).filter_map(|word| Self::of(&word));
        names.next().filter(|_| names.next().is_none())
    }

    fn of(word: &str) -> Option<Self> {
        let ending = COMMON.iter().find_map(|ending| word.strip_suffix(ending).filter(|start| !start.is_empty()));
        match ending.unwrap_or(word) {
            "train" | "training" | "trn" => Some(Self::Split(Split::Train)),
            "test" | "tests" | "testing" | "tst" => Some(Self::Split(Split::Test)),
            "val" | "valid" | "validation" | "validate" | "dev" | "devel" | "development" | "holdout" | "heldout" => {
                Some(Self::Split(Split::Validation))
            }
            "eval" | "evaluation" => Some(Self::Evaluation),
            _ => None,
        }
    }
}

/// The words of a name in lower case, without numbers.
fn words(name: &str) -> impl Iterator<Item = String> {
    let lower = name.to_lowercase();
    let words: Vec<String> = lower
        .split(|char: char| !char.is_alphanumeric())
        .map(|word| word.trim_matches(|char: char| char.is_ascii_digit()).to_owned())
        .filter(|word| !word.is_empty())
        .collect();
    words.into_iter()
}

/// Locations of a data set's class folders.
#[derive(Debug)]
pub(super) struct Layout {
    /// The folder that holds the class folders or the splits: the given one or one below it.
    pub root: PathBuf,
    /// The folders of the splits; empty if the class folders are in `root`.
    pub splits: Vec<(Split, PathBuf)>,
    /// Whether the splits only have the word of a split among others in their names, as `pets_train` does.
    pub by_word: bool,
    /// Folders beside the splits that will not be read, each with the reason.
    pub beside: Vec<(PathBuf, &'static str)>,
}

impl Layout {
    /// Finds the class folders in and below `given`. Fails if the layout is ambiguous, and says how to resolve it.
    pub fn find(given: &Path) -> Result<Self> {
        let mut root = given.to_owned();
        for _ in 0..DEPTH {
            match wrapped(&root, DEPTH)? {
                Some(inner) => root = inner,
                None => break,
            }
        }
        let folders = folders(&root)?;
        let mut named: Vec<(&Entry, Name)> =
            folders.iter().filter_map(|folder| Some((folder, Name::find(&folder.name)?))).collect();
        let by_word = named.is_empty();
        if by_word {
            named = prefixed(&folders)?;
        }
        let holding: Vec<_> = named.iter().filter(|(folder, _)| has_folders(folder)).collect();
        let plain = Self { root: root.clone(), splits: Vec::new(), by_word: false, beside: Vec::new() };
        if holding.is_empty() {
            let kinds = named.iter().map(|(_, name)| *name).collect::<Vec<_>>();
            let is_split_by_name = kinds.len() > 1 && kinds.len() == folders.len();
            ensure!(
                !is_split_by_name || kinds.iter().all(|kind| *kind == kinds[0]),
                "{}: {} look like splits of a data set, but contain images without class folders: put the images of \
                 each class into its own folder, such as {}",
                root.display(),
                names(named.iter().map(|(folder, _)| *folder)),
                named[0].0.path.join("CLASS").display()
            );
            return Ok(plain);
        }
        if let [(only, _)] = holding[..] {
            if has_images(only) {
                // A class with this name: its images are in the folder and in its sub-folders.
                return Ok(plain);
            }
            let other =
                folders.iter().filter(|folder| Name::find(&folder.name).is_none()).find(|folder| has_images(folder));
            if let (1, Some(other)) = (named.len(), other) {
                bail!(
                    "{}: {}/ could be a split with class folders, or a class like {}/: rename it if it is a class; \
                     otherwise move {}/ away",
                    root.display(),
                    only.name,
                    other.name,
                    other.name
                );
            }
        }
        Self { root, by_word, ..plain }.with_splits(&folders, &holding)
    }

    fn with_splits(mut self, folders: &[Entry], holding: &[&(&Entry, Name)]) -> Result<Self> {
        let has_test = holding.iter().any(|(_, name)| *name == Name::Split(Split::Test));
        for (folder, name) in holding {
            let split = match name {
                Name::Split(split) => *split,
                Name::Evaluation if has_test => Split::Validation,
                Name::Evaluation => Split::Test,
            };
            if let Some((_, other)) = self.splits.iter().find(|(known, _)| *known == split) {
                bail!(
                    "{} and {} are both named like the {} split: keep one, or merge them",
                    other.display(),
                    folder.path.display(),
                    split.name()
                );
            }
            self.splits.push((split, folder.path.clone()));
        }
        for folder in folders {
            if !self.splits.iter().any(|(_, path)| *path == folder.path) {
                let reason = if Name::find(&folder.name).is_some() {
                    "its images are not in class folders, so they have no labels"
                } else {
                    "it is outside the data set's splits"
                };
                self.beside.push((folder.path.clone(), reason));
            }
        }
        for (_, path) in &mut self.splits {
            // Some archives have training_set/training_set/, others train/images/.
            let inner = self::folders(path)?;
            let has_images = listing::entries(path, &mut Skipped::default())?.iter().any(Entry::is_image);
            if let ([only], false) = (&inner[..], has_images) {
                let same =
                    path.file_name().is_some_and(|name| Name::find(&name.to_string_lossy()) == Name::find(&only.name));
                if (same && Name::find(&only.name).is_some() || is_common(&only.name)) && has_folders(only) {
                    path.clone_from(&only.path);
                }
            }
        }
        Ok(self)
    }
}

/// The folder in `root` that holds the whole data set, if `root` itself has neither classes nor splits.
fn wrapped(root: &Path, depth: usize) -> Result<Option<PathBuf>> {
    let listed = entries(root, &mut Skipped::default())?;
    let folders: Vec<&Entry> = listed.iter().filter(|entry| entry.is_folder).collect();
    if listed.iter().any(Entry::is_image) || folders.iter().any(|folder| Name::find(&folder.name).is_some()) {
        return Ok(None);
    }
    let mut holders = Vec::new();
    for folder in &folders {
        let inner = self::folders(&folder.path)?;
        let mut found = Vec::new();
        for name in inner.iter().filter_map(|inner| Name::find(&inner.name)) {
            if !found.contains(&name) {
                found.push(name);
            }
        }
        let with_classes = inner.iter().any(|inner| Name::find(&inner.name).is_some() && has_folders(inner));
        if found.len() >= 2 || (with_classes && folders.len() == 1) {
            holders.push((*folder, with_classes));
        }
    }
    let inner = |folder: &Entry| -> Result<String> {
        let paths = self::folders(&folder.path)?.into_iter().map(|inner| format!("{}/{}", folder.name, inner.name));
        Ok(paths.collect::<Vec<_>>().join(", "))
    };
    match holders[..] {
        [] => {
            let [only] = folders[..] else { return Ok(None) };
            let inner = self::folders(&only.path)?;
            if is_common(&only.name) && inner.len() >= 2 && !has_images(only) {
                return Ok(Some(only.path.clone()));
            }
            if depth == 0 { Ok(None) } else { wrapped(&only.path, depth - 1) }
        }
        [(only, true)] => {
            let others = folders.iter().filter(|folder| folder.path != only.path);
            for other in others {
                let below = listing::images_within(&other.path, HashSet::new(), &mut Skipped::default())?;
                ensure!(
                    below.is_empty(),
                    "{}: {}/ contains the splits of a data set, and {}/ beside it contains images: name one of them as \
                     the folder",
                    root.display(),
                    only.name,
                    other.name
                );
            }
            Ok(Some(only.path.clone()))
        }
        _ if holders.iter().all(|(_, with_classes)| *with_classes) => bail!(
            "{} contains several data sets: {}. Name one of them as the folder",
            root.display(),
            names(holders.iter().map(|(folder, _)| *folder))
        ),
        [(folder, _), ..] if is_common(&folder.name) => bail!(
            "{}: {} contain images without class folders: put the images of each class into its own folder, such as \
             train/CLASS and test/CLASS",
            root.display(),
            inner(folder)?
        ),
        [(folder, _), ..] => bail!(
            "{}: the splits are inside the class folders ({}): put the class folders inside the splits, such as \
             train/{} and test/{}",
            root.display(),
            inner(folder)?,
            folder.name,
            folder.name
        ),
    }
}

/// The folders that have the word of a split in their names, if they are different splits with classes in common.
fn prefixed(folders: &[Entry]) -> Result<Vec<(&Entry, Name)>> {
    let named: Vec<(&Entry, Name)> =
        folders.iter().filter_map(|folder| Some((folder, Name::within(&folder.name)?))).collect();
    let [(first, name), others @ ..] = &named[..] else { return Ok(Vec::new()) };
    let classes = |folder: &Entry| -> Result<HashSet<String>> {
        Ok(self::folders(&folder.path)?.into_iter().map(|class| class.name).collect())
    };
    let own = classes(first)?;
    let mut are_splits = !others.is_empty() && !has_images(first);
    for (folder, other) in others {
        are_splits &= other != name && !has_images(folder) && !own.is_disjoint(&classes(folder)?);
    }
    Ok(if are_splits { named } else { Vec::new() })
}

fn is_common(name: &str) -> bool {
    COMMON.contains(&name.to_lowercase().as_str())
}

fn names<'a>(folders: impl Iterator<Item = &'a Entry>) -> String {
    folders.map(|folder| format!("{}/", folder.name)).collect::<Vec<_>>().join(", ")
}

fn folders(folder: &Path) -> Result<Vec<Entry>> {
    let listed = entries(folder, &mut Skipped::default())?;
    Ok(listed.into_iter().filter(|entry| entry.is_folder).collect())
}

/// Whether a folder has sub-folders. An unreadable folder counts as having none; the error is reported when it is read.
fn has_folders(folder: &Entry) -> bool {
    folders(&folder.path).is_ok_and(|folders| !folders.is_empty())
}

/// Whether a folder directly contains images.
fn has_images(folder: &Entry) -> bool {
    entries(&folder.path, &mut Skipped::default()).is_ok_and(|listed| listed.iter().any(Entry::is_image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_with_a_word_in_front_hold_the_same_classes() {
        let splits = |paths: &[&str]| {
            let root = tempfile::tempdir().unwrap();
            for path in paths {
                std::fs::create_dir_all(root.path().join(path)).unwrap();
                std::fs::write(root.path().join(path).join("1.png"), "").unwrap();
            }
            Layout::find(root.path()).unwrap().splits.into_iter().map(|(split, _)| split).collect::<Vec<_>>()
        };
        let both = [Split::Test, Split::Train];
        assert_eq!(splits(&["pets_train/cat", "pets_train/ox", "pets_test/cat", "pets_test/ox"]), both);
        assert_eq!(splits(&["train_224/cat", "train_224/ox", "test_224/cat", "test_224/ox"]), both);
        // Classes whose images are in sub-folders.
        assert_eq!(splits(&["bullet train/a", "bullet train/b", "test tube/c", "test tube/d"]), []);
        assert_eq!(splits(&["bullet train/a", "bullet train/b", "steam train/a", "steam train/b"]), []);
        assert_eq!(splits(&["bullet train", "test tube"]), []);
    }

    #[test]
    fn splits_are_known_by_their_usual_names() {
        let (train, validation, test) =
            (Name::Split(Split::Train), Name::Split(Split::Validation), Name::Split(Split::Test));
        for (names, expected) in [
            (
                &["train", "Training", "TRAIN", "training_set", "train-images", "TrainData", "seg_train", "trainset"][..],
                Some(train),
            ),
            (&["train_224", "train2017", "2024-train", "Train 01"], Some(train)),
            (&["test", "Testing", "test_set", "TestImages", "tests", "224_test_images"], Some(test)),
            (
                &["val", "valid", "Validation", "dev", "val_set", "held-out", "holdout", "validation images"],
                Some(validation),
            ),
            (&["eval", "Evaluation"], Some(Name::Evaluation)),
            (&["cat", "trains", "contest", "tested", "validity", "images", "set", "bullet train", ""], None),
        ] {
            for name in names {
                assert_eq!(Name::find(name), expected, "{name}");
            }
        }
    }
}
