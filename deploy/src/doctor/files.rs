//! The files in which Linux describes the machine.

use std::path::PathBuf;
use std::str::FromStr;

/// The files below a folder: `/`, or one that a test made.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    /// The files of this system.
    #[must_use]
    pub fn system() -> Self {
        Self { root: PathBuf::from("/") }
    }

    /// The text at an absolute path, without white space and zero bytes around it (device tree files end with one).
    /// Empty if it cannot be read, like the file of a sensor that is switched off.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        let bytes = std::fs::read(self.path(path)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()
    }

    /// The number in a file that contains nothing else.
    #[must_use]
    pub fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.read(path).parse().ok()
    }

    /// The paths of a folder's entries whose names start with `prefix`, sorted by the number after it. Empty if the
    /// folder does not exist.
    #[must_use]
    pub fn entries(&self, folder: &str, prefix: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort_by_key(|name| (name[prefix.len()..].parse::<u32>().unwrap_or(u32::MAX), name.clone()));
        names.iter().map(|name| format!("{folder}/{name}")).collect()
    }

    /// Whether an absolute path exists.
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

    /// A folder with these files, to be read in place of the system's.
    pub(crate) fn tree(files: &[(&str, &str)]) -> (TempDir, Files) {
        let folder = TempDir::new().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let files = Files { root: folder.path().to_owned() };
        (folder, files)
    }

    #[test]
    fn what_does_not_exist_reads_as_nothing() {
        let (_folder, files) = tree(&[("/a/zone10", "7\n"), ("/a/zone9", "Pi\0"), ("/a/other", "")]);
        assert_eq!((files.read("/a/zone9"), files.number("/a/zone10")), ("Pi".to_owned(), Some(7)));
        assert_eq!(files.entries("/a", "zone"), ["/a/zone9", "/a/zone10"]);
        assert_eq!((files.read("/b/c"), files.number::<u8>("/a/zone9")), (String::new(), None));
        assert!(files.entries("/b", "").is_empty() && !files.exists("/b") && files.exists("/a/other"));
    }
}
