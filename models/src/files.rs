//! Atomic file writes, and where `scripts/setup` puts its downloads.

use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Prefix of temporary file names.
const TEMPORARY: &str = ".writing-";

/// The temporary files that this process is currently writing.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Writes a file atomically: at every moment, even in a power cut, `path` holds either its old content or all of
/// `bytes`. The bytes go to a temporary file beside it, which is flushed to disk and renamed. Missing folders are
/// created.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    write_checked(path, bytes, |_| Ok(()))
}

/// Like [`write_whole`], but calls `check` with the temporary file before renaming it. If `check` fails, the temporary
/// file is removed and `path` stays as it was.
pub fn write_checked<T>(path: &Path, bytes: &[u8], check: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    // A device or a pipe, such as /dev/stdout, is written to, not replaced.
    let is_special = path.starts_with("/dev")
        || path.starts_with("/proc")
        || fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    let temporary = std::env::temp_dir();
    let folder = match path.parent() {
        _ if is_special => &temporary,
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let context = || format!("cannot write {}", path.display());
    fs::create_dir_all(folder).with_context(context)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    // `tempfile` creates private files; the finished file should follow the umask like any other.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).with_context(context)?;
    // The lock tells `sweep` in another process that this file is still being written. On file systems without locks,
    // `sweep` removes it regardless.
    let _ = file.as_file().try_lock();
    let _unfinished = Unfinished::new(file.path());
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).with_context(context)?;
    let outcome = check(file.path())?;
    if is_special {
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| file.write_all(bytes))
            .with_context(context)?;
        return Ok(outcome);
    }
    file.persist(path).with_context(context)?;
    // The rename itself must reach the disk too. Not every file system supports this, and the data is already safe.
    if let Ok(folder) = fs::File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(outcome)
}

/// Creates a folder atomically. It must be missing or empty. `fill` writes into a temporary folder beside it, which is
/// then renamed.
pub fn write_folder<T>(path: &Path, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let context = || format!("cannot write the folder {}", path.display());
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).with_context(context)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let staging = builder.tempdir_in(parent).with_context(context)?;
    let outcome = fill(staging.path())?;
    if path.is_dir() {
        // Fails if the folder is not empty.
        fs::remove_dir(path).with_context(context)?;
    }
    fs::rename(staging.path(), path).with_context(context)?;
    // It has been renamed, so there is nothing left to clean up.
    let _ = staging.keep();
    Ok(outcome)
}

/// Keeps a path in [`UNFINISHED`] until dropped.
struct Unfinished(PathBuf);

impl Unfinished {
    fn new(path: &Path) -> Self {
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).retain(|path| *path != self.0);
    }
}

/// Removes the files that this process has not finished writing. Call it before exiting without running destructors.
pub fn discard_unfinished() {
    for path in UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let _ = fs::remove_file(path);
    }
}

/// Removes the temporary files that a killed process left in `folder`. Files that another process is still writing are
/// kept.
pub fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let file = fs::File::open(entry.path());
            let in_use = file.is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)));
            if !in_use {
                // A failure here only leaves an unused file behind.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Whether a path, which need not exist, is `folder` or below it once all symlinks are followed. Fails if `folder`
/// cannot be found, or if a parent of the path cannot be read.
pub fn is_within(path: &Path, folder: &Path) -> Result<bool> {
    let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
    let mut place = std::path::absolute(path)?;
    // The nearest parent that exists decides.
    loop {
        match place.canonicalize() {
            Ok(place) => return Ok(place.starts_with(&folder)),
            Err(error) if error.kind() == ErrorKind::NotFound => match fs::read_link(&place) {
                // A link to a path that does not exist yet.
                Ok(target) => place = place.with_file_name(target),
                Err(_) => ensure!(place.pop(), "{}: {error}", path.display()),
            },
            Err(error) => bail!("{}: {error}", path.display()),
        }
    }
}

/// A path as text, unique for each path: bytes that are not UTF-8 are written as `\xff`, and a backslash before an `x`
/// as `\x5c`. All other characters are kept.
#[must_use]
pub fn name(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text += &chunk.valid().replace("\\x", "\\x5cx");
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Path of a download of `scripts/setup`: `.deps/<name>` in the nearest ancestor of the current folder that has it,
/// then of the running program, so that `target/release/train` works from anywhere. `None` if there is none.
#[must_use]
pub fn fetched(name: &str) -> Option<PathBuf> {
    let starts = [std::env::current_dir().ok(), std::env::current_exe().ok()];
    starts
        .iter()
        .flatten()
        .flat_map(|start| start.ancestors())
        .map(|folder| folder.join(".deps").join(name))
        .find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_path_is_within_a_folder_if_its_links_lead_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("data/a")).unwrap();
        std::os::unix::fs::symlink("data/new", at("link")).unwrap();
        for (name, expected) in
            [("data", true), ("data/a", true), ("data/x/y", true), ("link", true), ("data2", false), ("out/x", false)]
        {
            assert_eq!(is_within(&at(name), &at("data")).unwrap(), expected, "{name}");
        }
        assert!(is_within(&at("out"), &at("missing")).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn a_pipe_is_written_to_and_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        write_whole(&pipe, b"text").unwrap();
        assert_eq!(reader.join().unwrap(), b"text");
        assert!(!fs::metadata(&pipe).unwrap().is_file());
    }

    #[test]
    fn a_failed_check_leaves_what_was_there_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/model.onnx");
        write_whole(&path, b"good").unwrap();
        let error = write_checked(&path, b"bad", |temporary| -> Result<()> {
            assert_eq!(fs::read(temporary).unwrap(), b"bad");
            anyhow::bail!("it differs")
        });
        assert_eq!(error.unwrap_err().to_string(), "it differs");
        assert_eq!(fs::read(&path).unwrap(), b"good");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    #[cfg(unix)]
    fn a_name_leads_back_to_its_path() {
        use std::os::unix::ffi::OsStrExt;
        for (bytes, expected) in [
            (&b"a b/\xc3\xa9\n.png"[..], "a b/\u{e9}\n.png"),
            (b"a\xff.png", r"a\xff.png"),
            (b"a\xfe\xfd.png", r"a\xfe\xfd.png"),
            (br"a\xff.png", r"a\x5cxff.png"),
            (br"a\x5cxff.png", r"a\x5cx5cxff.png"),
            (br"a\b\\c.png", r"a\b\\c.png"),
            (b"a\\\xff", r"a\\xff"),
        ] {
            assert_eq!(name(Path::new(std::ffi::OsStr::from_bytes(bytes))), expected);
        }
    }

    #[test]
    fn a_sweep_spares_what_another_writer_has_not_finished() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(".writing-left");
        fs::write(&left, b"half").unwrap();
        write_checked(&folder.path().join("model.onnx"), b"good", |temporary| {
            sweep(folder.path());
            assert!(temporary.exists() && !left.exists());
            Ok(())
        })
        .unwrap();
        assert_eq!(fs::read(folder.path().join("model.onnx")).unwrap(), b"good");
    }

    #[test]
    fn an_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), b"").unwrap();
        let message = write_whole(&folder.path().join("file/model.onnx"), b"").unwrap_err().to_string();
        assert!(message.contains("file/model.onnx"), "{message}");
    }
}
