//! Turns what the user names (files, folders, patterns, standard input) into a list of images.

use anyhow::{Context, Result, ensure};
use glob::{MatchOptions, Pattern};
use models::card::Input;
use models::digit::Reading;
use models::image_file::Reader;
use models::{dataset, files};
use std::fs;
use std::path::{Path, PathBuf, is_separator};

/// The argument that stands for standard input.
pub const STANDARD_INPUT: &str = "-";

/// What makes an argument a pattern.
const WILDCARDS: [char; 3] = ['*', '?', '['];

/// Patterns match as in a shell: `*` stops at a path separator and skips hidden files.
const AS_IN_A_SHELL: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Where one image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// A file with any extension.
    File(PathBuf),
    /// Standard input, read to its end.
    StandardInput,
    /// An image file in memory.
    Memory {
        /// Its name in results and messages.
        name: String,
        /// The contents of the file.
        bytes: Vec<u8>,
    },
}

impl ImageSource {
    /// Its name in results and messages: the path as [`files::name`] writes it, or `-`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => files::name(path),
            Self::StandardInput => STANDARD_INPUT.to_owned(),
            Self::Memory { name, .. } => name.clone(),
        }
    }

    /// The file's path; `None` for standard input and memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::StandardInput | Self::Memory { .. } => None,
        }
    }

    /// Reads the image in every way that is plausible for a model's input ([`Reader::readings`]).
    pub fn read(&self, reader: &Reader, input: &Input) -> Result<Vec<Reading>> {
        match self {
            Self::File(path) => reader.readings(path, input),
            Self::StandardInput => reader.read_from("standard input", std::io::stdin().lock(), input),
            Self::Memory { name, bytes } => reader.from_bytes(name, bytes, input),
        }
    }

    /// Size of the file in bytes; 0 if unknown.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::File(path) => fs::metadata(path).map_or(0, |metadata| metadata.len()),
            Self::StandardInput => 0,
            Self::Memory { bytes, .. } => bytes.len() as u64,
        }
    }
}

/// The images that the user named.
#[derive(Debug, Default)]
pub struct Inputs {
    /// In the order in which they were named; those of a folder or a pattern are sorted.
    pub sources: Vec<ImageSource>,
    /// What was skipped in folders, for people.
    pub notes: Vec<String>,
}

impl Inputs {
    /// Lists what the arguments name, without opening any image.
    ///
    /// A folder stands for the images in and below it, `-` for standard input. An argument with `*`, `?` or `[` that is
    /// not the name of a file is a pattern as in a shell, with `**` for any number of folders. A folder without images
    /// and a pattern without a match are errors. A missing file is not an error here: reading it will report it.
    pub fn from_arguments(arguments: &[PathBuf]) -> Result<Self> {
        let mut inputs = Self::default();
        for argument in arguments {
            if argument.as_os_str() == STANDARD_INPUT {
                inputs.sources.push(ImageSource::StandardInput);
            } else if let Some(pattern) = pattern(argument) {
                inputs.add_matches(pattern)?;
            } else {
                inputs.add(argument)?;
            }
        }
        Ok(inputs)
    }

    /// Adds a file, or the images of a folder.
    fn add(&mut self, path: &Path) -> Result<()> {
        if path.is_dir() {
            let (images, notes) = dataset::images_in(path)?;
            self.sources.extend(images.into_iter().map(ImageSource::File));
            self.notes.extend(notes);
        } else {
            self.sources.push(ImageSource::File(path.to_owned()));
        }
        Ok(())
    }

    fn add_matches(&mut self, pattern: &str) -> Result<()> {
        let before = self.sources.len();
        let mut added: Vec<PathBuf> = Vec::new();
        for path in matches(pattern)? {
            // `**` matches a folder and also what is in it, which would be listed twice.
            if !added.iter().any(|folder| path.starts_with(folder)) {
                self.add(&path)?;
                if path.is_dir() {
                    added.push(path);
                }
            }
        }
        ensure!(self.sources.len() > before, "{pattern}: no file has this name or matches this pattern");
        Ok(())
    }
}

/// Returns the argument as a pattern, unless a file has that very name.
fn pattern(argument: &Path) -> Option<&str> {
    let text = argument.to_str()?;
    let is_free = || fs::symlink_metadata(argument).is_err();
    (text.contains(WILDCARDS) && is_free()).then_some(text)
}

/// The paths that a pattern matches, sorted. The glob crate's own search panics at a name that is not UTF-8.
fn matches(pattern: &str) -> Result<Vec<PathBuf>> {
    // `**` stands for folders; at the end of a pattern it matches files too.
    let whole = if pattern.ends_with("**") { format!("{pattern}/*") } else { pattern.to_owned() };
    let mut found = vec![PathBuf::new()];
    for part in Path::new(&whole).components() {
        let name = part.as_os_str().to_string_lossy();
        let names = Pattern::new(if name == "**" { "*" } else { &name });
        let names = names.with_context(|| format!("{pattern}: file not found, and not a valid pattern"))?;
        if name == "**" {
            let mut next = 0;
            while let Some(folder) = found.get(next) {
                // As in a shell, not through symlinks, which may lead back.
                let is_folder = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
                let inside = entries(folder, &names)?;
                found.extend(inside.into_iter().filter(is_folder));
                next += 1;
            }
        } else if name.contains(WILDCARDS) {
            let inside: Result<Vec<_>> = found.iter().map(|folder| entries(folder, &names)).collect();
            found = inside?.concat();
        } else {
            for path in &mut found {
                path.push(part);
            }
            found.retain(|path| fs::symlink_metadata(path).is_ok());
        }
        found.sort_unstable();
        found.dedup();
    }
    if whole.ends_with(is_separator) {
        found.retain(|path| path.is_dir());
    }
    Ok(found)
}

/// What a folder contains under matching names. Empty if it is not a folder.
fn entries(folder: &Path, names: &Pattern) -> Result<Vec<PathBuf>> {
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if !listed.is_dir() {
        return Ok(Vec::new());
    }
    let context = || format!("cannot list {}", listed.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(listed).with_context(context)? {
        let name = entry.with_context(context)?.file_name();
        if names.matches_with(&name.to_string_lossy(), AS_IN_A_SHELL) {
            paths.push(folder.join(name));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these empty files, and what arguments within it name, relative to it.
    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(files: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for file in files {
                let path = folder.path().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            Self(folder)
        }

        fn list(&self, arguments: &[&str]) -> Result<Inputs> {
            let at = |argument: &&str| if *argument == "-" { argument.into() } else { self.0.path().join(argument) };
            Inputs::from_arguments(&arguments.iter().map(at).collect::<Vec<_>>())
        }

        fn names(&self, arguments: &[&str]) -> Vec<String> {
            let inputs = self.list(arguments).unwrap();
            let prefix = format!("{}/", self.0.path().display());
            inputs.sources.iter().map(|source| source.name().replace(&prefix, "")).collect()
        }

        fn error(&self, arguments: &[&str]) -> String {
            format!("{:#}", self.list(arguments).unwrap_err())
        }
    }

    #[test]
    fn what_is_named_keeps_its_order_and_folders_are_sorted() {
        let folder = Folder::new(&["z.png", "in/b.png", "in/deep/a.jpg", "in/notes.txt", "in/.hidden.png"]);
        let names = folder.names(&["z.png", "in", "-", "missing.png"]);
        assert_eq!(names, ["z.png", "in/b.png", "in/deep/a.jpg", "-", "missing.png"]);
        let notes = folder.list(&["in"]).unwrap().notes;
        assert!(notes.len() == 1 && notes[0].ends_with("PNM: 1 hidden, 1 .txt"));
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        let folder = Folder::new(&["b.jpg", "a.jpg", "c.png", ".d.jpg", "in/e.jpg", "in/deep/f.jpg", "g.JPG"]);
        assert_eq!(folder.names(&["*.jpg"]), ["a.jpg", "b.jpg"]);
        assert_eq!(folder.names(&["?.[jp][pn]g"]), ["a.jpg", "b.jpg", "c.png"]);
        assert_eq!(folder.names(&["in/**/*.jpg"]), ["in/deep/f.jpg", "in/e.jpg"]);
        for every in ["in*", "in/**", "in/**/*", "i?/*"] {
            let mut names = folder.names(&[every]);
            names.sort_unstable();
            assert_eq!(names, ["in/deep/f.jpg", "in/e.jpg"], "{every}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_name_that_is_not_utf_8_matches_too() {
        use std::os::unix::ffi::OsStrExt;
        let folder = Folder::new(&["a.png", ".b.png", "in/c.png"]);
        fs::write(folder.0.path().join(std::ffi::OsStr::from_bytes(b"\xff.png")), "").unwrap();
        assert_eq!(folder.names(&["*.png"]), ["a.png", r"\xff.png"]);
        assert_eq!(folder.names(&["*/"]), ["in/c.png"]);
        std::os::unix::fs::symlink("..", folder.0.path().join("in/back")).unwrap();
        assert_eq!(folder.names(&["**/*.png"]), ["a.png", "in/c.png", r"\xff.png"]);
    }

    #[test]
    fn the_exact_name_of_a_file_is_not_a_pattern() {
        let folder = Folder::new(&["a[1].png", "a1.png", "b*.png", "bc.png"]);
        assert_eq!(folder.names(&["a[1].png", "b*.png"]), ["a[1].png", "b*.png"]);
        fs::remove_file(folder.0.path().join("a[1].png")).unwrap();
        assert_eq!(folder.names(&["a[1].png"]), ["a1.png"]);
    }

    #[test]
    fn what_names_nothing_is_an_error() {
        let folder = Folder::new(&["a.png", "none/notes.txt"]);
        for (argument, words) in [
            ("*.jpg", &["no file has this name or matches", "*.jpg"][..]),
            ("a[.png", &["a[.png: file not found", "not a valid pattern"]),
            ("none", &["none contains no images (PNG, ", "only 1 .txt"]),
            ("non*", &["none contains no images"]),
        ] {
            let message = folder.error(&["a.png", argument]);
            assert!(words.iter().all(|word| message.contains(word)), "{argument}: {message}");
        }
    }
}
