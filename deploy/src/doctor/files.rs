//! The files by which Linux tells of itself.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Those below a folder: `/`, or what a test made.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    /// Those of this system.
    #[must_use]
    pub fn system() -> Self {
        Self::below(Path::new("/"))
    }

    /// Those below a folder that stands for `/`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The text at an absolute path, without white space and zero bytes around it (those of the device tree end with
    /// one); empty if it cannot be read, as a sensor that is switched off.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        let bytes = std::fs::read(self.path(path)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()
    }

    /// The same, unless it is empty.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        Some(self.read(path)).filter(|text| !text.is_empty())
    }

    /// The number in a file that holds nothing else.
    #[must_use]
    pub fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.read(path).parse().ok()
    }

    /// The paths of what a folder holds whose names begin so, sorted by the number at their end if there is one;
    /// none if there is no such folder.
    #[must_use]
    pub fn entries(&self, folder: &str, prefix: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort_by_key(|name| (name[prefix.len()..].parse::<u32>().unwrap_or(u32::MAX), name.clone()));
        names.iter().map(|name| format!("{folder}/{name}")).collect()
    }

    /// Whether there is something at an absolute path.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A tree of files to be read in place of the system's.
    pub(crate) fn tree(files: &[(&str, &str)]) -> (TempDir, Files) {
        let folder = TempDir::new().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let files = Files::below(folder.path());
        (folder, files)
    }

    #[test]
    fn what_is_not_there_reads_as_nothing() {
        let (_folder, files) = tree(&[("/a/zone10", "7\n"), ("/a/zone9", "Pi\0"), ("/a/other", "")]);
        assert_eq!((files.read("/a/zone9"), files.number("/a/zone10")), ("Pi".to_owned(), Some(7)));
        assert_eq!(files.entries("/a", "zone"), ["/a/zone9", "/a/zone10"]);
        assert_eq!(
            (files.read("/b/c"), files.text("/a/other"), files.number::<u8>("/a/zone9")),
            (String::new(), None, None)
        );
        assert!(files.entries("/b", "").is_empty() && !files.exists("/b") && files.exists("/a/other"));
    }
}
