//! The lock on a run's folder: only one process at a time trains a run.
//!
//! `run.lock` records when the run was started and which process trains it. The file alone locks nothing: a run is
//! locked while a process holds the kernel's lock on the file (`flock`), which the kernel releases when the process
//! ends, however it ends.

use crate::tensorboard::host;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write, stderr};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Name of the lock file.
pub const NAME: &str = "run.lock";

/// Number of retries for the lock, and the delay between them. Retries are needed because [`holder`] takes the lock for
/// an instant to see whether it is free.
const TRIES: usize = 20;
const WAIT: Duration = Duration::from_millis(20);

/// The contents of the lock file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// When the run was started, in seconds since 1970. Comes first and never changes, so that rewriting the rest in
    /// place cannot lose it.
    pub started: f64,
    /// ID of the last process that trained the run.
    pub process: u32,
    /// The machine it ran on.
    pub host: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "process {}", self.process)?;
        if self.host == host() { Ok(()) } else { write!(f, " on {}", self.host) }
    }
}

/// A held lock, released on drop.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    folder: PathBuf,
    own: Holder,
}

impl Lock {
    /// Locks the folder of a run that was started at `started`, in seconds since 1970. Errors if another process holds
    /// the lock. If the file system does not support locks, prints a note and continues without one.
    pub fn acquire(folder: &Path, started: f64) -> Result<Self> {
        let path = folder.join(NAME);
        let context = || format!("cannot write {}", path.display());
        let mut options = File::options();
        let mut file = options.create(true).read(true).write(true).truncate(false).open(&path).with_context(context)?;
        let mut tries = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries < TRIES => {
                    tries += 1;
                    sleep(WAIT);
                }
                Err(TryLockError::WouldBlock) => bail!(is_being_trained(folder, read(&mut file).ok().as_ref())),
                Err(TryLockError::Error(error)) if cannot_lock(&error) => {
                    // Ignores a closed standard error instead of panicking.
                    let _ = writeln!(
                        stderr(),
                        "note: files cannot be locked in {} ({error}): make sure that only one training run writes there",
                        folder.display()
                    );
                    break;
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
        let own = Holder { started, process: std::process::id(), host: host() };
        let text = toml::to_string(&own)?;
        file.rewind()
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.set_len(text.len() as u64))
            .with_context(context)?;
        Ok(Self { _file: file, folder: folder.to_owned(), own })
    }

    /// Errors if the folder is no longer the one that was locked, because it was removed or taken over by another
    /// process.
    pub fn check(&self) -> Result<()> {
        let other = last_holder(&self.folder).filter(|holder| *holder != self.own);
        ensure!(
            self.folder.is_dir() && other.is_none(),
            "{} was removed or replaced during training: the run stops and writes nothing more",
            self.folder.display()
        );
        Ok(())
    }
}

/// The contents of a run's lock file; `None` if it is missing or unreadable.
#[must_use]
pub fn last_holder(folder: &Path) -> Option<Holder> {
    read(&mut File::open(folder.join(NAME)).ok()?).ok()
}

/// The process that trains a run now: `None` if none does, `Some(None)` if one does but its identity is unknown.
#[must_use]
pub fn holder(folder: &Path) -> Option<Option<Holder>> {
    let mut file = File::open(folder.join(NAME)).ok()?;
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| read(&mut file).ok())
}

/// The error message that a run is locked: by whom, and what to do.
#[must_use]
pub fn is_being_trained(folder: &Path, holder: Option<&Holder>) -> String {
    let who = holder.map_or_else(|| "another process".to_owned(), ToString::to_string);
    format!(
        "{} is being trained by {who}: wait until it ends, stop it, or train into another folder with --out",
        folder.display()
    )
}

/// Converts a time to seconds since 1970.
#[must_use]
pub fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn read(file: &mut File) -> Result<Holder> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(toml::from_str(&text)?)
}

/// Whether an error means that the file system or kernel does not support locks.
fn cannot_lock(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::Unsupported
        || matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::ENOSYS | libc::EOPNOTSUPP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_one_lock_and_its_end_frees_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holder(folder.path()), None);
        let lock = Lock::acquire(folder.path(), 12.5).unwrap();
        let found = holder(folder.path()).unwrap().unwrap();
        assert_eq!((found.started, found.process), (12.5, std::process::id()));
        let message = format!("{:#}", Lock::acquire(folder.path(), 13.0).unwrap_err());
        assert!(message.contains(&format!("is being trained by process {}", std::process::id())), "{message}");
        lock.check().unwrap();
        drop(lock);
        assert_eq!(holder(folder.path()), None);
        assert_eq!(last_holder(folder.path()).unwrap().started, 12.5);
    }

    #[test]
    fn a_broken_file_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        for content in [
            &b""[..],
            b"\xff",
            b"started = \"x\"",
            b"process = 1\nmore than what will be written, by far: ................................",
        ] {
            std::fs::write(folder.path().join(NAME), content).unwrap();
            let _lock = Lock::acquire(folder.path(), 7.0).unwrap();
            assert_eq!(last_holder(folder.path()).unwrap().started, 7.0);
        }
    }

    #[test]
    fn a_folder_that_was_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        std::fs::create_dir(&run).unwrap();
        let lock = Lock::acquire(&run, 1.0).unwrap();
        std::fs::remove_dir_all(&run).unwrap();
        assert!(lock.check().is_err());
        std::fs::create_dir(&run).unwrap();
        let _other = Lock::acquire(&run, 2.0).unwrap();
        assert!(lock.check().unwrap_err().to_string().contains("removed or replaced"));
    }
}
