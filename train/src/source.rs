//! Reads a data set from disk for training.

use crate::checkpoint::DataFacts;
use crate::data::{Images, TrainingData};
use crate::recipe::DataForm;
use anyhow::{Context, Result, bail};
use models::card::{Content, Input};
use models::dataset::{self, Catalogue, Dataset, ReadProgress, ReadSplit, SplitOptions, Splits, sample};
use models::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Most images of a set without labels that are tested.
const MOST_TESTED: usize = 1000;

/// What the classes of a data set are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Classes {
    /// What the images are labelled with.
    #[default]
    Labels,
    /// Each image is a class of its own. Sub-folders have no meaning.
    EachImage,
}

/// A data set: its name, the content of its images, and its splits.
pub struct DataSource {
    /// The name of its folder, such as `mnist`.
    pub name: String,
    /// The absolute path it was read from, because a run may be resumed from another working directory.
    pub folder: PathBuf,
    /// Class names, in order.
    pub labels: Vec<String>,
    /// What the images show.
    pub content: Content,
    /// The training split.
    pub train: Dataset,
    /// The validation split, on which the best checkpoint is chosen; `None` if the folder has none or it is ignored.
    pub validation: Option<Dataset>,
    /// The test split.
    pub test: Dataset,
    /// Whether images are held out class by class, as the test images of class folders are. The images of IDX files,
    /// many more, are held out at random.
    pub held_out_by_class: bool,
    /// Whether near-duplicates stay on one side of every split.
    pub near_duplicates_together: bool,
    /// What the classes are.
    pub classes: Classes,
    /// Whether the folder has its own test split. Otherwise a fifth of each class is kept for the test.
    pub has_test: bool,
    /// Notes for the user, for example about files that were skipped or could not be read.
    pub notes: Vec<String>,
}

/// How to read a data folder for training. By default the folder itself decides everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choices<'a> {
    /// The class names in order; `None` takes them from the folder.
    pub labels: Option<&'a [String]>,
    /// What the images show.
    pub content: ContentChoice,
    /// Ignores a validation split, so that images are held out of the training split instead.
    pub ignore_validation: bool,
    /// Whether images are held out class by class; `None` if they are in class folders.
    pub held_out_by_class: Option<bool>,
    /// Whether near-duplicates stay on one side of every split; `None`, as in new runs, means that they do.
    pub near_duplicates_together: Option<bool>,
    /// What the classes are.
    pub classes: Classes,
}

/// Where the information about what the images show comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentChoice {
    /// The data: digits if the training images are MNIST's.
    #[default]
    FromData,
    /// The user, who says that each image shows a digit.
    Digits,
    /// The user, or the run that is being resumed.
    Given(Content),
}

impl<'a> Choices<'a> {
    /// The choices that a run was started with.
    #[must_use]
    pub fn from_facts(facts: &'a DataFacts) -> Self {
        let content = ContentChoice::Given(facts.input.content);
        let ignore_validation = !facts.validation;
        Self {
            labels: Some(&facts.labels),
            content,
            ignore_validation,
            held_out_by_class: Some(facts.held_out_by_class),
            near_duplicates_together: Some(facts.near_duplicates_together),
            classes: facts.classes,
        }
    }
}

impl DataSource {
    /// Looks at a data folder to adapt a recipe to it. No image is decoded.
    pub fn form(folder: &Path, choices: Choices) -> Result<DataForm> {
        if choices.classes == Classes::EachImage {
            let count = dataset::images_in(folder)?.0.len();
            return Ok(DataForm { are_files: true, class_sizes: vec![1; count], ..DataForm::default() });
        }
        let catalogue = Catalogue::open(folder)?;
        let are_digits = match choices.content {
            ContentChoice::FromData => catalogue.content()? != Content::Image,
            ContentChoice::Digits => true,
            ContentChoice::Given(content) => content != Content::Image,
        };
        let has_validation = catalogue.has_validation() && !choices.ignore_validation;
        let class_sizes = catalogue.class_sizes()?;
        Ok(DataForm { are_digits, has_validation, are_files: catalogue.has_class_folders(), class_sizes })
    }

    /// Reads a data folder ([`Catalogue`]) for a network with this resolution.
    pub fn read(folder: &Path, resolution: usize, choices: Choices, progress: ReadProgress) -> Result<Self> {
        if choices.classes == Classes::EachImage {
            return Self::read_unlabelled(folder, resolution, progress);
        }
        let mut catalogue = Catalogue::open(folder)?;
        let mut notes = catalogue.notes().to_vec();
        if catalogue.test_folder().is_none() {
            notes.push(format!("{} has no test split: a fifth of each class is kept for the test", folder.display()));
        }
        let labels = match choices.labels {
            Some(labels) => {
                catalogue = catalogue.renamed();
                labels.to_vec()
            }
            None => catalogue.labels()?,
        };
        let content = match choices.content {
            ContentChoice::FromData => catalogue.content()?,
            ContentChoice::Digits => catalogue.digits()?,
            ContentChoice::Given(content) => content,
        };
        let input = catalogue.input(resolution, content)?;
        let options = SplitOptions {
            validation: !choices.ignore_validation,
            together: choices.near_duplicates_together.unwrap_or(true),
        };
        let Splits { train, validation, test, notes: of_reading } =
            Splits::read(&catalogue, &labels, &input, options, progress)?;
        notes.extend(of_reading);
        if catalogue.has_validation() && choices.ignore_validation {
            notes.push(format!("{}: the validation split is not used", folder.display()));
        }
        notes.dedup();
        Ok(Self {
            name: catalogue.name().to_owned(),
            folder: std::path::absolute(folder).with_context(|| format!("cannot find {}", folder.display()))?,
            labels,
            content,
            train,
            validation,
            test,
            held_out_by_class: choices.held_out_by_class.unwrap_or_else(|| catalogue.has_class_folders()),
            near_duplicates_together: options.together,
            classes: Classes::Labels,
            has_test: catalogue.test_folder().is_some(),
            notes,
        })
    }

    /// Reads the images in and below a folder, each as a class of its own. Some of them, without augmentation, are the
    /// test images.
    fn read_unlabelled(folder: &Path, resolution: usize, progress: ReadProgress) -> Result<Self> {
        let (ReadSplit { set: train, mut notes }, labels) = dataset::exemplars(folder, resolution, progress)?;
        let test = train.select(&dataset::evenly(train.len(), MOST_TESTED).collect::<Vec<_>>())?;
        notes.push(format!(
            "{}: each image is a class of its own. The test is whether the network recognises {} of them without \
             augmentation, so its accuracy says nothing about other images",
            folder.display(),
            test.len()
        ));
        Ok(Self {
            name: dataset::name(folder),
            folder: std::path::absolute(folder).with_context(|| format!("cannot find {}", folder.display()))?,
            labels,
            content: Content::Image,
            train,
            validation: None,
            test,
            held_out_by_class: true,
            near_duplicates_together: true,
            classes: Classes::EachImage,
            has_test: true,
            notes,
        })
    }

    /// The same data for each of `count` folds of a cross-validation: each tests on another part of every class and
    /// trains on the others. A test split of the folder's own is left out. Errors if a class has fewer images.
    pub fn folds(&self, count: usize) -> Result<impl Iterator<Item = Result<Self>>> {
        let (all, folds) = self.assigned(count)?;
        let fold = move |fold: usize| {
            let places = |fold: usize, is_in: bool| -> Vec<usize> {
                (0..all.len()).filter(|&image| (folds[image] == fold) == is_in).collect()
            };
            Ok(Self {
                name: self.name.clone(),
                folder: self.folder.clone(),
                labels: self.labels.clone(),
                content: self.content,
                train: all.select(&places(fold, false))?,
                validation: None,
                test: all.select(&places(fold, true))?,
                held_out_by_class: self.held_out_by_class,
                near_duplicates_together: self.near_duplicates_together,
                classes: self.classes,
                has_test: true,
                notes: Vec::new(),
            })
        };
        Ok((0..count).map(fold))
    }

    /// The training images of the smallest of [`Self::folds`].
    pub fn smallest_fold(&self, count: usize) -> Result<usize> {
        let (all, folds) = self.assigned(count)?;
        let tested = (0..count).map(|fold| folds.iter().filter(|own| **own == fold).count());
        Ok(all.len() - tested.max().unwrap_or(0))
    }

    /// All images that are divided into folds, and the fold that tests each of them.
    fn assigned(&self, count: usize) -> Result<(Dataset, Vec<usize>)> {
        let mut parts = vec![&self.train];
        parts.extend(&self.validation);
        if !self.has_test {
            parts.push(&self.test);
        }
        let all = Dataset::joined(&parts)?;
        // Near-duplicates share the fold of the first of them.
        let mut seen = vec![0; self.labels.len()];
        let (mut fold_of, mut distinct) = (HashMap::new(), HashSet::new());
        let mut folds = Vec::with_capacity(all.len());
        for (&label, group) in all.labels().iter().zip(all.groups()) {
            distinct.insert((label, group));
            folds.push(*fold_of.entry(group).or_insert_with(|| {
                seen[label] += 1;
                (seen[label] - 1) % count
            }));
        }
        let size = |label: usize| distinct.iter().filter(|(of, _)| *of == label).count();
        let sizes = (0..self.labels.len()).map(size).collect::<Vec<usize>>();
        if let Some((label, size)) = self.labels.iter().zip(&sizes).find(|(_, size)| **size < count) {
            bail!(
                "{}: the class {label} has {size} distinct images: expected at least one for each of {count} folds",
                self.folder.display()
            );
        }
        Ok((all, folds))
    }

    /// The input of a model trained on it.
    #[must_use]
    pub fn input(&self) -> Input {
        let (_, channels, height, width) = self.train.images().dim();
        Input::new(channels, height, width, self.content)
    }
}

impl DataFacts {
    /// The facts that a run records to find its data again and to tell it from other data.
    #[must_use]
    pub fn new(source: &DataSource, data: &TrainingData) -> Self {
        Self {
            name: source.name.clone(),
            folder: source.folder.clone(),
            labels: source.labels.clone(),
            input: source.input(),
            preprocessing: data.preprocessing.clone(),
            fitted: data.fit.len(),
            held_out: data.held_out.as_ref().map_or(0, Images::len),
            fingerprint: match &source.validation {
                None => source.train.fingerprint(),
                Some(validation) => {
                    let both = source.train.fingerprint() + &validation.fingerprint();
                    Fingerprint::new(both.as_bytes()).to_string()
                }
            },
            test_fingerprint: Some(source.test.fingerprint()),
            sample: sample(&source.train),
            validation: source.validation.is_some(),
            held_out_by_class: source.held_out_by_class,
            near_duplicates_together: source.near_duplicates_together,
            classes: source.classes,
        }
    }

    /// Whether two runs were trained and tested on the same images. Fingerprints depend on the images' size, so at
    /// different resolutions the folder, the classes and the number of images decide.
    #[must_use]
    pub fn has_the_images_of(&self, other: &Self) -> bool {
        let size = |facts: &Self| (facts.input.channels, facts.input.height, facts.input.width);
        let place = |facts: &Self| (facts.folder.clone(), facts.labels.clone(), facts.fitted + facts.held_out);
        if size(self) == size(other) {
            self.fingerprint == other.fingerprint && self.has_the_test_of(other)
        } else {
            place(self) == place(other)
        }
    }

    /// Whether the test images are the same. Older checkpoints do not tell, and count as the same.
    #[must_use]
    pub fn has_the_test_of(&self, other: &Self) -> bool {
        match (&self.test_fingerprint, &other.test_fingerprint) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        }
    }

    /// Describes how a data set differs from the one that a run was started with (`self`), as the end of a sentence.
    /// Test images are not compared. `None` if it is the same, even if its folder has moved.
    #[must_use]
    pub fn difference(&self, found: &Self) -> Option<String> {
        let form = |Input { channels, height, width, .. }: &Input| format!("{channels}x{height}x{width}");
        let count = |facts: &Self| facts.fitted + facts.held_out;
        if self.labels != found.labels {
            let pairs = found.labels.iter().zip(&self.labels).enumerate();
            return Some(match pairs.into_iter().find(|(_, (found, own))| found != own) {
                Some((class, (found, own))) => format!("its class {class} is {found}, the run's is {own}"),
                None => format!("it has {} classes, the run had {}", found.labels.len(), self.labels.len()),
            });
        }
        if form(&self.input) != form(&found.input) {
            return Some(format!("its images are {}, the run's are {}", form(&found.input), form(&self.input)));
        }
        if count(self) != count(found) {
            return Some(format!("it has {} training images, the run had {}", count(found), count(self)));
        }
        if self.fingerprint != found.fingerprint {
            return Some(format!(
                "its training images or their labels have changed (fingerprint {}, the run's is {})",
                found.fingerprint, self.fingerprint
            ));
        }
        // The folder's path and name do not count, nor do the facts that older checkpoints lack.
        let place = Self {
            folder: self.folder.clone(),
            name: self.name.clone(),
            sample: self.sample.clone(),
            test_fingerprint: self.test_fingerprint.clone(),
            ..found.clone()
        };
        (place != *self).then(|| "its content or its splits differ from the run's".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::card::Preprocessing;

    fn facts() -> DataFacts {
        DataFacts {
            name: "made".into(),
            folder: "made".into(),
            labels: vec!["cat".into(), "ox".into()],
            input: Input::new(3, 64, 64, Content::Image),
            preprocessing: Preprocessing { mean: vec![0.5; 3], std: vec![0.25; 3] },
            fitted: 90,
            held_out: 10,
            fingerprint: "0123456789abcdef".into(),
            test_fingerprint: None,
            sample: Vec::new(),
            validation: false,
            held_out_by_class: true,
            near_duplicates_together: true,
            classes: Classes::Labels,
        }
    }

    #[test]
    fn data_may_move_but_not_change() {
        let run = facts();
        let tested = |on: &str| DataFacts { test_fingerprint: Some(on.into()), ..facts() };
        assert!(tested("1").has_the_images_of(&tested("1")) && tested("1").has_the_images_of(&facts()));
        assert!(!tested("1").has_the_images_of(&tested("2")));
        assert_eq!(tested("1").difference(&tested("2")), None);
        let moved = DataFacts { folder: "elsewhere".into(), name: "other".into(), sample: vec!["0".into()], ..facts() };
        assert_eq!(run.difference(&moved), None);
        let labels = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let input = Input { channels: 1, ..facts().input };
        for (found, word) in [
            (DataFacts { labels: labels(&["cat", "cow"]), ..facts() }, "class 1 is cow, the run's is ox"),
            (DataFacts { labels: labels(&["cat", "ox", "pig"]), ..facts() }, "3 classes, the run had 2"),
            (DataFacts { input, ..facts() }, "images are 1x64x64, the run's are 3x64x64"),
            (DataFacts { fitted: 89, ..facts() }, "99 training images, the run had 100"),
            (DataFacts { fingerprint: "0".into(), ..facts() }, "have changed (fingerprint 0"),
            (DataFacts { validation: true, ..facts() }, "its content or its splits differ"),
        ] {
            let difference = run.difference(&found).unwrap();
            assert!(difference.contains(word), "{difference}");
        }
    }

    #[test]
    fn runs_at_other_resolutions_can_have_the_same_images() {
        let run = facts();
        let larger = DataFacts { input: Input::new(3, 96, 96, Content::Image), fingerprint: "1".into(), ..facts() };
        assert!(run.has_the_images_of(&DataFacts { folder: "moved".into(), fitted: 80, ..facts() }));
        assert!(run.has_the_images_of(&DataFacts { fitted: 80, held_out: 20, ..larger.clone() }));
        assert!(!run.has_the_images_of(&DataFacts { fingerprint: "1".into(), ..facts() }));
        assert!(!run.has_the_images_of(&DataFacts { fitted: 91, ..larger.clone() }));
        assert!(!run.has_the_images_of(&DataFacts { folder: "other".into(), ..larger }));
    }

    #[test]
    fn every_image_is_tested_in_one_fold() {
        let set = |first: u8, count: usize| {
            let images = ndarray::Array4::from_shape_fn((count, 1, 2, 2), |(n, ..)| first + n as u8);
            Dataset::new(images, (0..count).map(|n| usize::from(n % 3 == 0)).collect()).unwrap()
        };
        let source = DataSource {
            name: "made".into(),
            folder: "made".into(),
            labels: vec!["a".into(), "b".into()],
            content: Content::Image,
            train: set(0, 12),
            validation: None,
            test: set(100, 3),
            held_out_by_class: true,
            near_duplicates_together: true,
            classes: Classes::Labels,
            has_test: false,
            notes: Vec::new(),
        };
        let tested = |source: &DataSource| {
            let folds: Vec<DataSource> = source.folds(5).unwrap().map(Result::unwrap).collect();
            let first =
                |set: &Dataset| -> Vec<u8> { set.images().outer_iter().map(|image| image[[0, 0, 0]]).collect() };
            let mut tested = Vec::new();
            for fold in &folds {
                assert!(fold.test.labels().contains(&0) && fold.test.labels().contains(&1));
                let mut both = [first(&fold.train), first(&fold.test)].concat();
                both.sort_unstable();
                assert!(both.windows(2).all(|pair| pair[0] < pair[1]), "{both:?}");
                tested.extend(first(&fold.test));
            }
            tested.sort_unstable();
            tested
        };
        assert_eq!(tested(&source), (0..12).chain(100..103).collect::<Vec<u8>>());
        let message = source.folds(6).err().unwrap().to_string();
        assert!(
            message.contains("the class b has 5 distinct images: expected at least one for each of 6 folds"),
            "{message}"
        );
        // Four images of class b remain.
        let own = DataSource { has_test: true, ..source };
        assert!(own.folds(5).is_err());
        assert_eq!(own.folds(4).unwrap().count(), 4);
    }

    #[test]
    fn two_parts_of_different_sizes_are_no_data_set() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, extents: &[u8], count: usize| {
            let mut bytes = vec![0, 0, 8, extents.len() as u8];
            bytes.extend(extents.iter().flat_map(|&extent| [0, 0, 0, extent]));
            bytes.extend((0..count).map(|value| value as u8 % 2));
            std::fs::write(folder.path().join(name), bytes).unwrap();
        };
        for (part, side) in [("train", 4), ("t10k", 5)] {
            write(&format!("{part}-images-idx3-ubyte"), &[2, side, side], 2 * usize::from(side).pow(2));
            write(&format!("{part}-labels-idx1-ubyte"), &[2], 2);
        }
        let message = DataSource::read(folder.path(), 32, Choices::default(), &|_, _| ()).err().unwrap().to_string();
        assert!(message.contains("the test images are [1, 5, 5]") && message.contains("[1, 4, 4]"), "{message}");
    }
}
