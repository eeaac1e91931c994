//! A data set as it is on disk, read for training.

use crate::checkpoint::DataFacts;
use crate::data::{Images, TrainingData};
use anyhow::{Context, Result};
use models::card::{Content, Input};
use models::dataset::{Catalogue, Dataset, Progress, Reading, Split};
use std::path::{Path, PathBuf};

/// A data set: what it is called, what its pictures show, and its two parts.
pub struct Source {
    /// Its name, such as `mnist`: the folder's.
    pub name: String,
    /// Where it was read from, from the root of the file system on: a run may be resumed from another folder.
    pub folder: PathBuf,
    /// Name of each class.
    pub labels: Vec<String>,
    /// What the pictures show.
    pub content: Content,
    /// What a network learns from.
    pub train: Dataset,
    /// What it is judged on.
    pub test: Dataset,
    /// What the user should know: which files were skipped or could not be read.
    pub notes: Vec<String>,
}

impl Source {
    /// Reads a data folder ([`Catalogue`]) for a network of this resolution. The classes are `labels`, or what the
    /// folder itself says.
    pub fn read(folder: &Path, resolution: usize, labels: Option<&[String]>, progress: Progress) -> Result<Self> {
        let catalogue = Catalogue::open(folder)?;
        let labels = match labels {
            Some(labels) => labels.to_vec(),
            None => catalogue.labels()?,
        };
        let input = catalogue.input(resolution)?;
        let train = catalogue.read(Split::Train, &labels, &input, progress)?;
        let test = catalogue.read(Split::Test, &labels, &input, progress)?;
        let (Reading { set: train, notes: of_train }, Reading { set: test, notes: of_test }) = (train, test);
        Ok(Self {
            name: catalogue.name().to_owned(),
            folder: std::path::absolute(folder).with_context(|| format!("cannot find {}", folder.display()))?,
            labels,
            content: input.content,
            train,
            test,
            notes: [catalogue.notes(), &of_train, &of_test].concat(),
        })
    }

    /// What a model trained on it takes.
    #[must_use]
    pub fn input(&self) -> Input {
        let (_, channels, height, width) = self.train.images().dim();
        Input::new(channels, height, width, self.content)
    }
}

impl DataFacts {
    /// What a run must know of its data to find them again, and to tell others apart.
    #[must_use]
    pub fn of(source: &Source, data: &TrainingData) -> Self {
        Self {
            name: source.name.clone(),
            folder: source.folder.clone(),
            labels: source.labels.clone(),
            input: source.input(),
            preprocessing: data.preprocessing.clone(),
            fitted: data.fit.len(),
            held_out: data.held_out.as_ref().map_or(0, Images::len),
            fingerprint: source.train.fingerprint(),
        }
    }

    /// How a data set differs from the one a run was started with (`self`), as its end in a sentence; `None` if it is
    /// the same, wherever it lies.
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
            return Some(format!("its pictures are {}, the run's are {}", form(&found.input), form(&self.input)));
        }
        if count(self) != count(found) {
            return Some(format!("it has {} training pictures, the run had {}", count(found), count(self)));
        }
        if self.fingerprint != found.fingerprint {
            return Some(format!(
                "its training pictures or their labels have changed (fingerprint {}, the run's is {})",
                found.fingerprint, self.fingerprint
            ));
        }
        let same = Self { folder: self.folder.clone(), ..found.clone() } == *self;
        (!same).then(|| "its name or what its pictures show is not the run's".to_owned())
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
            input: Input::new(3, 64, 64, Content::Picture),
            preprocessing: Preprocessing { mean: vec![0.5; 3], std: vec![0.25; 3] },
            fitted: 90,
            held_out: 10,
            fingerprint: "0123456789abcdef".into(),
        }
    }

    #[test]
    fn data_may_move_but_not_change() {
        let run = facts();
        assert_eq!(run.difference(&DataFacts { folder: "elsewhere".into(), ..facts() }), None);
        let labels = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let input = Input { channels: 1, ..facts().input };
        for (found, word) in [
            (DataFacts { labels: labels(&["cat", "cow"]), ..facts() }, "class 1 is cow, the run's is ox"),
            (DataFacts { labels: labels(&["cat", "ox", "pig"]), ..facts() }, "3 classes, the run had 2"),
            (DataFacts { input, ..facts() }, "pictures are 1x64x64, the run's are 3x64x64"),
            (DataFacts { fitted: 89, ..facts() }, "99 training pictures, the run had 100"),
            (DataFacts { fingerprint: "0".into(), ..facts() }, "have changed (fingerprint 0"),
            (DataFacts { name: "other".into(), ..facts() }, "its name"),
        ] {
            let difference = run.difference(&found).unwrap();
            assert!(difference.contains(word), "{difference}");
        }
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
        let message = Source::read(folder.path(), 32, None, &|_, _| ()).err().unwrap().to_string();
        assert!(message.contains("the test pictures are [1, 5, 5]") && message.contains("[1, 4, 4]"), "{message}");
    }
}
