//! Where a model comes from: our own training, or a file of another exporter.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How the weights were trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Name of the data set, such as `mnist`.
    pub data_set: String,
    /// Number of images the weights were trained on.
    pub images: usize,
    /// Fingerprints of a few training images ([`crate::dataset::sample()`]), to recognise them later. Empty in files
    /// written before this field existed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<String>,
    /// Name of the recipe.
    pub recipe: String,
    /// The run's seed.
    pub seed: u64,
    /// Number of epochs trained to reach these weights.
    pub epochs: usize,
    /// Accuracy on the held-out part of the training set, 0 to 1.
    pub held_out_accuracy: Option<f64>,
    /// Accuracy on the test images, measured in libtorch, 0 to 1.
    pub test_accuracy: Option<f64>,
    /// Library and device that trained them, such as `libtorch 2.13.0, cpu`.
    pub trained_with: String,
    /// The file that the first weights came from; `None` if they were drawn at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_from: Option<Origin>,
}

/// What is known of a file of another exporter, from which `deploy adopt` made a file that follows our contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// The file.
    pub source: Origin,
    /// The program that wrote it, such as `pytorch 2.13.0`; empty if it does not say.
    pub producer: String,
    /// Who said how an image becomes the network's input: flags, and the names of files.
    pub described_by: Vec<String>,
}

impl Adopted {
    /// All names in it.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        [&self.source.file, &self.source.sha256, &self.producer].into_iter().chain(&self.described_by)
    }
}

/// A file of weights or of a network that a model started from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its name, without its folder.
    pub file: String,
    /// Its SHA-256, as 64 hexadecimal digits.
    pub sha256: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} (SHA-256 {})", self.file, self.sha256)
    }
}

impl Training {
    /// All names in it.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        let origin = self.started_from.iter().flat_map(|origin| [&origin.file, &origin.sha256]);
        origin.chain(&self.sample).chain([&self.data_set, &self.recipe, &self.trained_with])
    }

    pub(super) fn validate(&self) -> Result<()> {
        for (name, share) in [("held-out", self.held_out_accuracy), ("test", self.test_accuracy)] {
            let fits = share.is_none_or(|share| (0.0..=1.0).contains(&share));
            ensure!(fits, "{name} accuracy {}: expected 0 to 1", share.unwrap_or_default());
        }
        Ok(())
    }
}
