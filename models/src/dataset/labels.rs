//! The names of the classes of IDX files, which hold numbers only.

use anyhow::{Context, Result, bail, ensure};
use std::collections::HashSet;
use std::path::Path;

/// File beside the IDX files that names their classes.
const FILE: &str = "labels.txt";

/// The classes of well-known sets, by the name of their folder.
const KNOWN: [(&str, &str); 1] = [("fashion-mnist", include_str!("../../labels/fashion-mnist.txt"))];

/// The names of the `classes` of the IDX files in `folder`: from `labels.txt` there, from what is known of a set of
/// this `name`, or the numbers.
pub(super) fn of_idx_files(folder: &Path, name: &str, classes: usize) -> Result<Vec<String>> {
    let file = folder.join(FILE);
    if file.is_file() {
        return read_labels(&file);
    }
    let known = KNOWN.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, text)| lines(text));
    Ok(match known {
        Some(labels) if labels.len() == classes => labels,
        _ => (0..classes).map(|class| class.to_string()).collect(),
    })
}

/// Reads a file of class names: one a line, in the order of the classes; empty lines do not count.
pub fn read_labels(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let labels = lines(&text);
    ensure!(
        labels.len() >= 2,
        "{} holds {} class names: expected at least two, one a line",
        path.display(),
        labels.len()
    );
    let mut known = HashSet::new();
    if let Some(twice) = labels.iter().find(|label| !known.insert(label.as_str())) {
        bail!("{} names the class {twice} twice", path.display());
    }
    Ok(labels)
}

fn lines(text: &str) -> Vec<String> {
    // Some editors begin a file with a byte-order mark.
    text.trim_start_matches('\u{feff}')
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

/// The first few labels, for a message.
pub(super) fn first(labels: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = labels[..labels.len().min(SHOWN)].join(", ");
    if labels.len() > SHOWN { format!("{shown}, …") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_named_by_the_file_by_the_sets_name_or_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let labels = |name: &str, classes: usize| of_idx_files(folder.path(), name, classes);
        assert_eq!(labels("letters", 3).unwrap(), ["0", "1", "2"]);
        assert_eq!(labels("Fashion-MNIST", 10).unwrap()[9], "Ankle boot");
        // Eleven classes are not those of Fashion-MNIST, whatever the folder's name.
        assert_eq!(labels("fashion-mnist", 11).unwrap()[10], "10");
        let file = folder.path().join("labels.txt");
        std::fs::write(&file, "\u{feff}a\r\nb\n\n c \n").unwrap();
        assert_eq!(labels("fashion-mnist", 3).unwrap(), ["a", "b", "c"]);
        for (text, word) in [("a\nb\na\n", "names the class a twice"), ("a\n", "holds 1 class names")] {
            std::fs::write(&file, text).unwrap();
            let message = labels("letters", 3).unwrap_err().to_string();
            assert!(message.contains("labels.txt") && message.contains(word), "{message}");
        }
    }
}
