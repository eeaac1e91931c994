//! Whether a file has changed since it was last seen.

use std::fs::{self, Metadata};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// The state of a regular file. Writing or replacing the file changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    identity: Identity,
    modified: Option<SystemTime>,
    /// Length in bytes.
    pub bytes: u64,
}

impl Stamp {
    /// The state of a file. `None` if it cannot be found or is not a regular file: a pipe might never end.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok().filter(Metadata::is_file)?;
        let (identity, modified) = (Identity::of(&metadata), metadata.modified().ok());
        Some(Self { identity, modified, bytes: metadata.len() })
    }

    /// The same state without device and inode, which network file systems may number anew at any time.
    #[cfg(feature = "watch")]
    pub fn anonymous(self) -> Self {
        Self { identity: Identity(0, 0), ..self }
    }
}

/// How long to wait before trying unchanged files again that could not be used: their permissions may be different by
/// then, or memory may be free.
const RETRY: Duration = Duration::from_mins(1);

/// A state of files that could not be used.
#[derive(Clone, Copy, Debug)]
pub struct Broken<S> {
    state: S,
    tried: Instant,
}

impl<S: PartialEq> Broken<S> {
    /// Records that this state was tried just now.
    pub fn new(state: S) -> Self {
        Self { state, tried: Instant::now() }
    }

    /// Whether this is the state that failed.
    pub fn is_of(&self, state: &S) -> bool {
        self.state == *state
    }

    /// Whether this is the state that failed, and it is too early to try it again.
    pub fn stands(&self, state: &S) -> bool {
        self.is_of(state) && self.tried.elapsed() < RETRY
    }
}

/// Which file or folder has a name: its device and inode, where there are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(u64, u64);

impl Identity {
    #[cfg(unix)]
    pub fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(metadata.dev(), metadata.ino())
    }

    #[cfg(not(unix))]
    pub fn of(_: &Metadata) -> Self {
        Self(0, 0)
    }
}
