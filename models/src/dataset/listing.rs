//! Lists image files in and below a folder, and counts what is skipped.

use crate::image_file;
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

/// All image files in and below a folder, sorted by path, and notes on what was skipped: hidden files and folders,
/// files without an image extension, and symlinks to folders already listed.
///
/// Fails if a folder cannot be listed, or if there are no images.
pub fn images_in(folder: &Path) -> Result<(Vec<PathBuf>, Vec<String>)> {
    let mut skipped = Skipped::default();
    let mut images = images_within(folder, HashSet::new(), &mut skipped)?;
    ensure!(!images.is_empty(), "the folder {}", skipped.no_images(folder));
    images.sort_unstable();
    Ok((images, skipped.notes(folder)))
}

/// Like [`images_in`], without notes, and without the folders that cannot be listed. There may be none.
#[must_use]
pub fn images_below(folder: &Path) -> Vec<PathBuf> {
    let listed = walk(folder, HashSet::new(), &mut Skipped::default(), |_| Ok(()));
    let mut images = listed.unwrap_or_default();
    images.sort_unstable();
    images
}

/// All image files in and below a folder. Symlinks are followed, but each folder is listed only once, so cycles end.
/// Folders in `seen` are skipped.
pub(super) fn images_within(folder: &Path, seen: HashSet<PathBuf>, skipped: &mut Skipped) -> Result<Vec<PathBuf>> {
    walk(folder, seen, skipped, Err)
}

/// Calls `unlisted` with the error of each folder that cannot be listed, and ends if it returns an error.
fn walk(
    folder: &Path,
    mut seen: HashSet<PathBuf>,
    skipped: &mut Skipped,
    unlisted: impl Fn(anyhow::Error) -> Result<()>,
) -> Result<Vec<PathBuf>> {
    let (mut found, mut pending) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = pending.pop() {
        let listed = resolved(&folder).and_then(|real| {
            if seen.insert(real) {
                return entries(&folder, skipped);
            }
            skipped.links += 1;
            Ok(Vec::new())
        });
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => {
                unlisted(error)?;
                continue;
            }
        };
        for entry in listed {
            if entry.is_folder {
                pending.push(entry.path);
            } else if entry.is_image() {
                found.push(entry.path);
            } else {
                skipped.file(&entry.path);
            }
        }
    }
    Ok(found)
}

/// The path of a folder with all symlinks resolved.
pub(super) fn resolved(folder: &Path) -> Result<PathBuf> {
    folder.canonicalize().with_context(|| format!("cannot follow {}", folder.display()))
}

/// An entry of a folder.
pub(super) struct Entry {
    /// Path of the entry.
    pub path: PathBuf,
    /// Its name, for comparisons only: bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Whether it is a folder or a symlink to one.
    pub is_folder: bool,
    /// Whether it can be read as a file. False for a pipe, which might never end. True for a broken symlink, so that
    /// reading it reports the error.
    is_file: bool,
}

impl Entry {
    /// Whether it is an image, judged by its extension.
    pub fn is_image(&self) -> bool {
        self.is_file && image_file::has_image_ending(&self.path)
    }
}

/// Folders that a system creates beside or inside a user's folders: by macOS in ZIP archives, by Synology for thumbnails,
/// by Windows and Linux in the root of a disk.
const SYSTEM_FOLDERS: [&str; 5] = ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"];

/// Whether an entry of this name is not listed: a hidden one, or a folder that a system creates. Ignores case: Windows
/// also writes `$Recycle.Bin`.
#[must_use]
pub fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || SYSTEM_FOLDERS.iter().any(|folder| name.eq_ignore_ascii_case(folder))
}

/// The entries of a folder, sorted by name. Hidden ones are skipped.
pub(super) fn entries(folder: &Path, skipped: &mut Skipped) -> Result<Vec<Entry>> {
    let context = || format!("cannot list {}", folder.display());
    let mut listed = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name();
        if is_hidden(&name) {
            skipped.hidden += 1;
        } else {
            listed.push((name, entry));
        }
    }
    listed.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let entry = |(name, entry): (OsString, fs::DirEntry)| {
        let path = entry.path();
        // The listing already has the type of everything but symlinks. Asking for each file's metadata would double the
        // time.
        let kind = match entry.file_type() {
            Ok(kind) if !kind.is_symlink() => Ok(kind),
            _ => fs::metadata(&path).map(|metadata| metadata.file_type()),
        };
        let is_folder = kind.as_ref().is_ok_and(fs::FileType::is_dir);
        let is_file = kind.map_or(true, |kind| kind.is_file());
        Entry { path, name: name.to_string_lossy().into_owned(), is_folder, is_file }
    };
    Ok(listed.into_iter().map(entry).collect())
}

/// Counts of files and folders that are not read, by reason.
#[derive(Default)]
pub(super) struct Skipped {
    /// Entries for which [`is_hidden`] is true.
    hidden: usize,
    /// Files without an image extension: their number by extension.
    endings: BTreeMap<String, usize>,
    /// Symlinks to folders that have already been listed.
    links: usize,
    /// Images outside the class folders.
    pub loose: usize,
    /// Whole folders, each with the reason.
    pub folders: Vec<(PathBuf, &'static str)>,
}

impl Skipped {
    /// Counts the files beside the class folders.
    pub fn beside(&mut self, entries: &[Entry]) {
        for entry in entries.iter().filter(|entry| !entry.is_folder) {
            if entry.is_image() { self.loose += 1 } else { self.file(&entry.path) }
        }
    }

    fn file(&mut self, path: &Path) {
        let ending = path.extension().map(|ending| format!(".{}", ending.to_string_lossy().to_lowercase()));
        *self.endings.entry(ending.unwrap_or_else(|| "without an extension".to_owned())).or_default() += 1;
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: Self) {
        self.hidden += other.hidden;
        self.links += other.links;
        self.loose += other.loose;
        self.folders.extend(other.folders);
        for (ending, count) in other.endings {
            *self.endings.entry(ending).or_default() += count;
        }
    }

    /// Summary of the files skipped because of their name, and of symlinks, such as `3 hidden, 12 .txt`; `None` if
    /// there are none.
    pub fn names(&self) -> Option<String> {
        let hidden = (self.hidden > 0).then(|| format!("{} hidden", self.hidden));
        let links = (self.links > 0).then(|| format!("{} linked to folders already read", self.links));
        let endings = self.endings.iter().map(|(ending, count)| format!("{count} {ending}"));
        let parts: Vec<String> = hidden.into_iter().chain(endings).chain(links).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// Message that a folder has no images, with what it has instead.
    pub fn no_images(&self, folder: &Path) -> String {
        let others = self.names().map_or_else(String::new, |others| format!(", only {others}"));
        format!("{} contains no images ({}){others}", folder.display(), image_file::FORMATS)
    }

    /// Notes for the user who gave the folder `root`.
    pub fn notes(&self, root: &Path) -> Vec<String> {
        let root = root.display();
        let formats = image_file::FORMATS;
        let names = self.names().map(|names| format!("{root}: skipped files other than {formats}: {names}"));
        let loose = (self.loose > 0).then(|| format!("{root}: skipped {} images outside class folders", self.loose));
        let folders = self.folders.iter().map(|(folder, reason)| format!("skipped {}: {reason}", folder.display()));
        names.into_iter().chain(loose).chain(folders).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_of_a_folder_are_sorted_and_the_rest_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("b/deep")).unwrap();
        fs::create_dir(root.join("empty")).unwrap();
        for file in ["c.png", "b/z.jpg", "b/deep/y.webp", "a.PNG", ".hidden.png", "b/notes.txt", "empty/one.txt"] {
            fs::write(root.join(file), "").unwrap();
        }
        let (images, notes) = images_in(root).unwrap();
        let names: Vec<_> = images.iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.PNG", "b/deep/y.webp", "b/z.jpg", "c.png"]);
        assert!(notes.len() == 1 && notes[0].ends_with("1 hidden, 2 .txt"), "{notes:?}");
        let message = images_in(&root.join("empty")).unwrap_err().to_string();
        assert!(message.contains("empty contains no images (PNG, ") && message.ends_with(", only 1 .txt"), "{message}");
        assert!(images_in(&root.join("missing")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_once_and_never_in_a_circle() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("class/deep")).unwrap();
        fs::create_dir(root.join("elsewhere")).unwrap();
        for file in ["class/a.png", "class/deep/b.jpg", "elsewhere/c.png", "class/.hidden.png", "class/notes.TXT"] {
            fs::write(root.join(file), "").unwrap();
        }
        symlink(root.join("class"), root.join("class/deep/circle")).unwrap();
        symlink(root, root.join("class/up")).unwrap();
        symlink(root.join("elsewhere"), root.join("class/one")).unwrap();
        symlink(root.join("elsewhere"), root.join("class/two")).unwrap();
        symlink(root.join("nowhere"), root.join("class/broken.png")).unwrap();
        let mut skipped = Skipped::default();
        let outside = HashSet::from([resolved(root).unwrap()]);
        let mut found = images_within(&root.join("class"), outside, &mut skipped).unwrap();
        found.sort_unstable();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.png", "broken.png", "b.jpg", "c.png"]);
        assert_eq!(skipped.names().unwrap(), "1 hidden, 1 .txt, 3 linked to folders already read");
    }
}
