//! Class names for IDX files, which only contain numbers.

use crate::fingerprint::Fingerprint;
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashSet;
use std::path::Path;

/// The file beside the IDX files that names their classes.
const FILE: &str = "labels.txt";

/// Class names of well-known data sets, by the fingerprint of their training labels.
const KNOWN: [(&str, &str); 1] = [("b9f71c71bae5f277", include_str!("../../labels/fashion-mnist.txt"))];

/// What the numbers in IDX files mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// The class names, starting with class 0.
    Given(Vec<String>),
    /// No names are known, so the numbers are the names.
    Numbers,
}

impl Names {
    /// Class names for the IDX files in `folder`: from its `labels.txt`, or from the built-in list, by the training
    /// labels.
    pub fn of_idx_files(folder: &Path, training_labels: Option<&[u8]>) -> Result<Self> {
        let file = folder.join(FILE);
        if file.is_file() {
            return Ok(Self::Given(read_labels(&file)?));
        }
        let fingerprint = training_labels.map(|labels| Fingerprint::new(labels).to_string());
        let known = KNOWN.iter().find(|(known, _)| Some(*known) == fingerprint.as_deref());
        Ok(known.map_or(Self::Numbers, |(_, text)| Self::Given(text.lines().map(str::to_owned).collect())))
    }

    /// The name of class `class`. Fails if the given names end before it.
    pub fn name(&self, class: usize) -> Result<String> {
        match self {
            Self::Given(names) => names.get(class).cloned().with_context(|| {
                format!("label {class} has no name: {FILE} names {} classes, counting from 0", names.len())
            }),
            Self::Numbers => Ok(class.to_string()),
        }
    }
}

/// Error: a folder has classes that the model does not know.
#[derive(Clone, Debug)]
pub struct UnknownClasses(String);

impl UnknownClasses {
    /// `unknown` are the classes of `folder` that are not in `known`.
    pub(super) fn new(folder: &Path, unknown: &[String], known: &[String]) -> Self {
        let (folder, unknown, known) = (folder.display(), listed(unknown), first(known));
        Self(format!("{folder}: unknown classes: {unknown}; expected some of {known}"))
    }
}

impl std::fmt::Display for UnknownClasses {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnknownClasses {}

/// Reads a file of class names, one per line, in class order. Fails for fewer than two names, for duplicates, and for
/// empty lines, except at the end.
pub fn read_labels(path: &Path) -> Result<Vec<String>> {
    let labels = read_names(path)?;
    let mut known = HashSet::new();
    if let Some(twice) = labels.iter().find(|label| !known.insert(label.as_str())) {
        bail!("{} names the class {twice} twice", path.display());
    }
    Ok(labels)
}

/// Numbers names that occur more than once, as two do in common lists of ImageNet's classes: the second `crane` becomes
/// `crane (2)`. Also returns these names.
#[must_use]
pub fn numbered(mut labels: Vec<String>) -> (Vec<String>, Vec<String>) {
    let mut used: HashSet<String> = labels.iter().cloned().collect();
    let (mut seen, mut numbered) = (HashSet::new(), Vec::new());
    for label in &mut labels {
        if !seen.insert(label.clone()) {
            let mut number = 2;
            while !used.insert(format!("{label} ({number})")) {
                number += 1;
            }
            *label = format!("{label} ({number})");
            numbered.push(label.clone());
        }
    }
    (labels, numbered)
}

/// Reads a file of names, one per line, which can occur more than once. Fails as [`read_labels`] does otherwise.
pub fn read_names(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    // Some editors start a file with a byte-order mark.
    let labels: Vec<String> =
        text.trim_start_matches('\u{feff}').trim_end().lines().map(|line| line.trim().to_owned()).collect();
    if let Some(line) = labels.iter().position(String::is_empty) {
        bail!("{}: line {} is empty: expected a class name on each line", path.display(), line + 1);
    }
    ensure!(
        labels.len() >= 2,
        "{} contains {} class names: expected at least two, one per line",
        path.display(),
        labels.len()
    );
    Ok(labels)
}

/// Up to twenty labels, for a message.
pub(super) fn listed(labels: &[String]) -> String {
    const SHOWN: usize = 20;
    let shown = labels[..labels.len().min(SHOWN)].join(", ");
    if labels.len() > SHOWN { format!("{shown} and {} more", labels.len() - SHOWN) } else { shown }
}

/// Up to ten labels, for a message.
pub(super) fn first(labels: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = labels[..labels.len().min(SHOWN)].join(", ");
    if labels.len() > SHOWN { format!("{shown}, …") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_named_by_the_file_or_are_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let names = || Names::of_idx_files(folder.path(), Some(&[0, 1, 2]));
        assert_eq!(names().unwrap(), Names::Numbers);
        assert_eq!(names().unwrap().name(7).unwrap(), "7");
        let file = folder.path().join("labels.txt");
        std::fs::write(&file, "\u{feff}a\r\nb\n c \n\n").unwrap();
        assert_eq!(names().unwrap(), Names::Given(["a", "b", "c"].map(str::to_owned).to_vec()));
        let message = names().unwrap().name(3).unwrap_err().to_string();
        assert!(message.contains("label 3 has no name: labels.txt names 3"), "{message}");
        for (text, word) in [
            ("a\nb\na\n", "names the class a twice"),
            ("a\n", "contains 1 class names"),
            ("a\n\nb\n", "line 2 is empty"),
            ("\na\nb\n", "line 1 is empty"),
            ("\n", "contains 0 class names"),
        ] {
            std::fs::write(&file, text).unwrap();
            let message = names().unwrap_err().to_string();
            assert!(message.contains("labels.txt") && message.contains(word), "{text:?}: {message}");
        }
    }

    #[test]
    fn repeated_names_are_numbered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels.txt");
        std::fs::write(&file, "crane\nox\ncrane (2)\ncrane\ncrane\n").unwrap();
        let (labels, numbered) = numbered(read_names(&file).unwrap());
        assert_eq!(labels, ["crane", "ox", "crane (2)", "crane (3)", "crane (4)"]);
        assert_eq!(numbered, ["crane (3)", "crane (4)"]);
    }
}
