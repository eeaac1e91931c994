//! Finds new images in and below a folder as they arrive.
//!
//! Events of the system are only hints where to look. What counts is the state of a file, its stamp: a file is
//! reported once per state, so an event that comes twice, or that a scan has overtaken, does no harm.

use crate::stamp::{Identity, Stamp};
use anyhow::{Context, Result, anyhow, ensure};
use models::{dataset, files, image_file};
use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// A file whose end of writing the system does not report is complete once it has not changed for this long.
const SETTLED: Duration = Duration::from_secs(1);

/// How often the folder itself is looked at while nothing happens.
const IDLE: Duration = Duration::from_secs(5);

/// Most events that wait. If there are more, the folder is listed.
const MOST_EVENTS: usize = 4096;

/// How to watch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether images that are already there count as new.
    pub existing: bool,
    /// Lists the folder at this interval instead of relying on events of the system.
    pub poll: Option<Duration>,
}

/// A folder that is watched.
#[derive(Debug)]
pub struct Watch {
    root: PathBuf,
    /// The folder as events name it.
    absolute: PathBuf,
    /// Of the folder itself. If another folder takes its place, the watcher would not notice. Polling would, and does
    /// not compare it.
    identity: Identity,
    poll: Option<Duration>,
    /// Sends events as long as it exists. `None` if the folder is polled.
    watcher: Option<RecommendedWatcher>,
    events: Receiver<notify::Result<Event>>,
    /// Whether there were more events than could be kept.
    lost: Arc<AtomicBool>,
    /// The state of each image that was reported, or that was there at the start.
    seen: HashMap<PathBuf, Stamp>,
    /// Images that may still be growing, and since when they have not.
    growing: HashMap<PathBuf, (Stamp, Instant)>,
    last_scan: Instant,
}

impl Watch {
    /// Starts to watch a folder and all folders below it, also those that are created later.
    pub fn new(folder: &Path, options: Options) -> Result<Self> {
        let name = files::name(folder);
        let metadata = fs::metadata(folder).with_context(|| format!("cannot watch {name}"))?;
        ensure!(metadata.is_dir(), "cannot watch {name}: it is not a folder");
        fs::read_dir(folder).with_context(|| format!("cannot watch {name}"))?;
        let (sender, events) = sync_channel(MOST_EVENTS);
        let lost = Arc::new(AtomicBool::new(false));
        let is_lost = Arc::clone(&lost);
        // Does not wait for room: this would also block a call of the watcher.
        let handler = move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, is_news) && sender.try_send(event).is_err() {
                is_lost.store(true, Ordering::Relaxed);
            }
        };
        let watcher = match options.poll {
            Some(_) => None,
            None => Some(
                notify::recommended_watcher(handler)
                    .and_then(|mut watcher| watcher.watch(folder, RecursiveMode::Recursive).map(|()| watcher))
                    .map_err(|error| refused(&name, error))?,
            ),
        };
        let mut watch = Self {
            root: folder.to_owned(),
            absolute: std::path::absolute(folder).with_context(|| format!("cannot watch {name}"))?,
            identity: Identity::of(&metadata),
            poll: options.poll,
            watcher,
            events,
            lost,
            seen: HashMap::new(),
            growing: HashMap::new(),
            last_scan: Instant::now(),
        };
        // Only now, so that no image can arrive unnoticed between the two.
        for path in dataset::images_below(folder) {
            if options.existing {
                watch.add_growing(path);
            } else if let Some(stamp) = watch.content(&path) {
                watch.seen.insert(path, stamp);
            }
        }
        Ok(watch)
    }

    /// Waits for new images and returns their paths, sorted, at least one. Errors if the folder is gone.
    pub fn wait(&mut self) -> Result<Vec<PathBuf>> {
        loop {
            let mut ready = self.hear()?;
            ready.extend(self.settled());
            let is_due = match self.poll {
                Some(interval) => self.last_scan.elapsed() >= interval,
                None => self.last_scan.elapsed() >= SETTLED && self.lost.swap(false, Ordering::Relaxed),
            };
            if is_due {
                let root = self.root.clone();
                // New folders may be among what was lost.
                self.follow(&root)?;
                self.scan(&root);
            }
            if !ready.is_empty() {
                ready.sort_unstable();
                ready.dedup();
                return Ok(ready);
            }
        }
    }

    /// Waits for events, for at most as long as nothing else is due. Returns the images that they complete.
    fn hear(&mut self) -> Result<Vec<PathBuf>> {
        let is_soon = !self.growing.is_empty() || self.lost.load(Ordering::Relaxed);
        let soon = if is_soon { SETTLED / 4 } else { IDLE };
        if let Some(interval) = self.poll {
            std::thread::sleep(soon.min(interval.saturating_sub(self.last_scan.elapsed())));
            self.check_root()?;
            return Ok(Vec::new());
        }
        let first = match self.events.recv_timeout(soon) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => {
                // A renamed folder above this one causes no event.
                self.check_root()?;
                None
            }
            Err(RecvTimeoutError::Disconnected) => return Err(anyhow!("the system stopped reporting changes")),
        };
        let mut ready = Vec::new();
        // Events that come in the meantime have their turn later.
        let next: Vec<_> = first.into_iter().chain(self.events.try_iter().take(MOST_EVENTS)).collect();
        for event in next {
            ready.extend(self.images_of(event.map_err(|error| refused(&files::name(&self.root), error))?)?);
        }
        Ok(ready)
    }

    /// The images that an event completes.
    fn images_of(&mut self, event: Event) -> Result<Vec<PathBuf>> {
        if event.need_rescan() {
            // The system had to drop events.
            self.lost.store(true, Ordering::Relaxed);
            return Ok(Vec::new());
        }
        let complete = completes(event.kind);
        if matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) {
            self.check_root()?;
        }
        let mut ready = Vec::new();
        for path in event.paths {
            // Named as the user named the folder.
            let path = path.strip_prefix(&self.absolute).map_or_else(|_| path.clone(), |below| self.root.join(below));
            if path.is_dir() {
                if matches!(event.kind, EventKind::Create(_)) || complete {
                    // The watcher follows no new link on its own, and adds a new folder only after this event.
                    self.follow(&path)?;
                    // Images may have arrived in it before it was watched, or with it.
                    self.scan(&path);
                }
                continue;
            }
            let Some(stamp) = self.content(&path).filter(|_| self.is_image(&path)) else {
                self.seen.remove(&path);
                continue;
            };
            if complete {
                ready.extend(self.report(path, stamp));
            } else if !ends_of_writing_are_reported() || is_linked(&path) {
                self.add_growing(path);
            }
        }
        Ok(ready)
    }

    /// Watches a folder and all folders below it, unless they are polled.
    fn follow(&mut self, folder: &Path) -> Result<()> {
        let Some(watcher) = &mut self.watcher else { return Ok(()) };
        match watcher.watch(folder, RecursiveMode::Recursive) {
            // It or a folder in it was removed in the meantime: the others are watched again with the root.
            Err(error) if is_of(&error, io::ErrorKind::NotFound) => self.lost.store(true, Ordering::Relaxed),
            // A folder that cannot be read ends neither the watch nor that of the folders beside it.
            Err(error) if is_of(&error, io::ErrorKind::PermissionDenied) => {
                for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        self.follow(&entry.path())?;
                    }
                }
            }
            watched => watched.map_err(|error| refused(&files::name(folder), error))?,
        }
        Ok(())
    }

    /// Whether a path names an image that [`dataset::images_below`] would list.
    fn is_image(&self, path: &Path) -> bool {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        !below.iter().any(dataset::is_hidden) && image_file::has_image_ending(path)
    }

    /// Adds the images in and below a folder that are new or have changed to those that may still be growing.
    fn scan(&mut self, folder: &Path) {
        // A folder that is gone again has no images. One that cannot be read must not hide the others.
        let found = dataset::images_below(folder);
        if folder == self.root {
            self.last_scan = Instant::now();
            // An image in a folder that cannot be read for a while is not new afterwards.
            let is_gone = |path: &Path| fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            self.seen.retain(|path, _| found.binary_search(path).is_ok() || !is_gone(path));
        }
        for path in found {
            if self.is_image(&path) {
                self.add_growing(path);
            }
        }
    }

    fn add_growing(&mut self, path: PathBuf) {
        let Some(stamp) = self.content(&path) else { return };
        let is_known = self.growing.get(&path).is_some_and(|(known, _)| *known == stamp);
        if self.seen.get(&path) != Some(&stamp) && !is_known {
            self.growing.insert(path, (stamp, Instant::now()));
        }
    }

    /// The images that have stopped growing.
    fn settled(&mut self) -> Vec<PathBuf> {
        let mut ready = Vec::new();
        for path in self.growing.keys().cloned().collect::<Vec<_>>() {
            let (before, since) = self.growing[&path];
            match self.content(&path) {
                None => drop(self.growing.remove(&path)),
                Some(now) if now != before => drop(self.growing.insert(path, (now, Instant::now()))),
                Some(_) if since.elapsed() >= SETTLED => ready.extend(self.report(path, before)),
                Some(_) => {}
            }
        }
        ready
    }

    /// The path, unless it was already reported in this state.
    fn report(&mut self, path: PathBuf, stamp: Stamp) -> Option<PathBuf> {
        self.growing.remove(&path);
        (self.seen.insert(path.clone(), stamp) != Some(stamp)).then_some(path)
    }

    /// The state of an image file. `None` if it is empty: its content is yet to come.
    fn content(&self, path: &Path) -> Option<Stamp> {
        let stamp = Stamp::of(path).filter(|stamp| stamp.bytes > 0)?;
        // What is polled may lie on a network.
        Some(if self.poll.is_some() { stamp.anonymous() } else { stamp })
    }

    fn check_root(&self) -> Result<()> {
        let is_there = match fs::metadata(&self.root) {
            Ok(metadata) => self.poll.is_some() || Identity::of(&metadata) == self.identity,
            // A server that does not answer for a while may come back.
            Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        };
        ensure!(is_there, "{} was removed or renamed", files::name(&self.root));
        Ok(())
    }
}

/// Whether the system reports when a program has written a file and closed it, so that there is nothing to guess.
fn ends_of_writing_are_reported() -> bool {
    cfg!(any(target_os = "linux", target_os = "android"))
}

/// Whether an event says that a file is complete.
fn completes(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
    )
}

/// Whether an event can matter. Reading is not news, and neither is writing if its end will be reported.
fn is_news(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(_) => completes(event.kind),
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => !ends_of_writing_are_reported(),
        _ => true,
    }
}

/// Whether a name is a link, to a file that may have been complete before.
fn is_linked(path: &Path) -> bool {
    #[cfg(unix)]
    let has_other_names = |metadata: fs::Metadata| std::os::unix::fs::MetadataExt::nlink(&metadata) > 1;
    #[cfg(not(unix))]
    let has_other_names = |_| false;
    path.is_symlink() || fs::metadata(path).is_ok_and(has_other_names)
}

/// Whether an error of the watcher is of this kind.
fn is_of(error: &notify::Error, kind: io::ErrorKind) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => kind == io::ErrorKind::NotFound,
        ErrorKind::Io(error) => error.kind() == kind,
        _ => false,
    }
}

/// An error of the watcher, with what to do.
fn refused(folder: &str, error: notify::Error) -> anyhow::Error {
    let is_full = matches!(error.kind, ErrorKind::MaxFilesWatch);
    let is_forbidden = is_of(&error, io::ErrorKind::PermissionDenied);
    let error = anyhow!(error).context(format!("cannot watch {folder}"));
    if is_full {
        error.context("the system allows no more watches: raise fs.inotify.max_user_watches, or use --poll")
    } else if is_forbidden {
        error.context("a folder in it cannot be read: change its permissions, or use --poll, which skips it")
    } else {
        error
    }
}

/// Whether a folder lies on a file system that other machines can change without an event here.
#[cfg(target_os = "linux")]
#[must_use]
pub fn is_remote(folder: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    // Of linux/magic.h: NFS, SMB (three versions), FUSE, 9P, Ceph, AFS and vboxsf.
    const REMOTE: [u32; 9] =
        [0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x6573_5546, 0x0102_1997, 0x00C3_6400, 0x5346_414F, 0x786F_4256];
    let Ok(path) = std::ffi::CString::new(folder.as_os_str().as_bytes()) else { return false };
    let mut facts = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path ends with 0, and `statfs` fills the buffer if it returns 0.
    let kind = unsafe { (libc::statfs(path.as_ptr(), facts.as_mut_ptr()) == 0).then(|| facts.assume_init().f_type) };
    kind.is_some_and(|kind| REMOTE.contains(&(kind as u32)))
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn is_remote(_: &Path) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use notify::event::Flag;
    use std::thread;

    #[test]
    fn folders_are_watched_again_after_lost_events() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("deep");
        fs::create_dir(&deep).unwrap();
        let mut watch = Watch::new(folder.path(), Options::default()).unwrap();
        // As if the event of its creation had been dropped.
        watch.watcher.as_mut().unwrap().unwatch(&deep).unwrap();
        watch.images_of(Event::new(EventKind::Other).set_flag(Flag::Rescan)).unwrap();
        let image = deep.join("a.png");
        let found = thread::scope(|scope| {
            scope.spawn(|| {
                // Later than the scan that finds what is already there.
                thread::sleep(3 * SETTLED);
                fs::write(&image, "pixels").unwrap();
            });
            watch.wait().unwrap()
        });
        assert_eq!(found, [image]);
    }
}
