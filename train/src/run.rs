//! A run's folder: `runs/<name>/` with the resolved recipe, the history and the checkpoints.

use crate::lock::{self, Lock};
use crate::recipe::Recipe;
use anyhow::{Context, Result, bail, ensure};
use models::files;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Default folder for runs, relative to the current folder; `--out` overrides it.
pub const RUNS: &str = "runs";

/// File name of the resolved recipe.
pub const RECIPE: &str = "recipe.toml";

/// File name of the table of epochs.
const HISTORY: &str = "history.csv";

/// File names of the checkpoints.
const LAST: &str = "last.safetensors";
const BEST: &str = "best.safetensors";

/// Prefix of the names of TensorBoard event files.
const EVENTS: &str = "events.out.tfevents.";

/// Results of one epoch, as stored in checkpoints and the history.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: usize,
    /// Learning rate of its last step.
    pub learning_rate: f64,
    /// Mean loss of its steps.
    pub train_loss: f64,
    /// Loss on the held-out images; `None` without any.
    pub held_out_loss: Option<f64>,
    /// Share of the held-out images that are classified correctly, 0 to 1; `None` without any.
    pub held_out_accuracy: Option<f64>,
    /// Loss on the test images.
    pub test_loss: f64,
    /// Share of the test images that are classified correctly, 0 to 1.
    pub test_accuracy: f64,
}

/// A run's folder. If it was created or resumed, it stays locked until this is dropped.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    lock: Option<Lock>,
}

impl Run {
    /// Creates and locks the folder of a new run: `out`, or the first free one of `runs/<name>`, `runs/<name>-2`, …
    /// Errors if `out` already contains a run or other files.
    pub fn create(out: Option<&Path>, name: &str) -> Result<Self> {
        let folder = match out {
            Some(folder) => {
                check_vacant(folder)?;
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("cannot make the run's folder {}", folder.display()))?;
                folder.to_owned()
            }
            None => new_folder(Path::new(RUNS), name)?,
        };
        let lock = Lock::acquire(&folder, lock::seconds(SystemTime::now()))?;
        // Another process may have written a checkpoint here before we got the lock.
        check_without_checkpoint(&folder)?;
        files::sweep(&folder);
        Ok(Self { folder, lock: Some(lock) })
    }

    /// Opens the folder of an existing run for reading. Another process may be training it.
    pub fn open(folder: &Path) -> Result<Self> {
        let run = Self::at(folder);
        ensure!(run.last().is_file(), "{} is not a run's folder: it has no {LAST}", folder.display());
        Ok(run)
    }

    /// Opens an existing run to train it further, and locks it. Errors if another process is training it.
    pub fn resume(folder: &Path) -> Result<Self> {
        let mut run = Self::open(folder)?;
        run.lock = Some(Lock::acquire(folder, run.started())?);
        // The lock is ours, so any unfinished file here is left over from a dead process.
        files::sweep(folder);
        Ok(run)
    }

    /// The most recently started run in `runs/` of the current folder. Prints its folder to standard error.
    pub fn newest() -> Result<Self> {
        let newest = Self::all(Path::new(RUNS)).pop();
        let Some(run) = newest else {
            bail!("no run in {RUNS}/: give a run's folder or a checkpoint, or train first");
        };
        // Ignores a closed standard error instead of panicking.
        let _ = writeln!(std::io::stderr(), "note: the newest run is {}", run.folder.display());
        run.check_has_epoch()?;
        Ok(run)
    }

    /// The runs in a folder, sorted by start time, newest last.
    #[must_use]
    pub fn all(parent: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(parent).into_iter().flatten();
        let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut runs: Vec<Self> = folders.filter(|folder| is_run(folder)).map(|folder| Self::at(&folder)).collect();
        runs.sort_by(|a, b| a.started().total_cmp(&b.started()).then_with(|| a.folder.cmp(&b.folder)));
        runs
    }

    /// Wraps a folder without checking that it contains a run.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), lock: None }
    }

    /// When the run was started, in seconds since 1970. For old runs without a lock file, the modification time of the
    /// recipe.
    #[must_use]
    pub fn started(&self) -> f64 {
        let written = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        match lock::last_holder(&self.folder) {
            Some(holder) => holder.started,
            None => written(&self.folder.join(RECIPE)).or_else(|| written(&self.folder)).map_or(0.0, lock::seconds),
        }
    }

    /// If this process holds the run's lock, checks that it still owns the folder.
    pub fn check_owned(&self) -> Result<()> {
        self.lock.as_ref().map_or(Ok(()), Lock::check)
    }

    /// Returns an error that says what to do if the run has not finished an epoch yet.
    pub fn check_has_epoch(&self) -> Result<()> {
        let folder = self.folder.display();
        if self.best().is_file() {
            return Ok(());
        }
        ensure!(is_run(&self.folder), "{folder} is not a run's folder: it has neither {LAST} nor {BEST}");
        let why = match lock::holder(&self.folder) {
            Some(Some(holder)) => format!("it is being trained by {holder}"),
            Some(None) => "it is being trained by another process".to_owned(),
            None if self.last().is_file() => format!("continue it with train --resume {folder}"),
            None => "it ended before its first checkpoint".to_owned(),
        };
        bail!("{folder} has no finished epoch yet ({why}): `train list` shows the other runs")
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Path of the last checkpoint.
    #[must_use]
    pub fn last(&self) -> PathBuf {
        self.folder.join(LAST)
    }

    /// Path of the best checkpoint: the epoch with the best held-out accuracy. This one is exported.
    #[must_use]
    pub fn best(&self) -> PathBuf {
        self.folder.join(BEST)
    }

    /// Path of the report, a single HTML page.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.folder.join("report.html")
    }

    /// Whether the report exists and is at least as new as the last checkpoint.
    #[must_use]
    pub fn has_report(&self) -> bool {
        let written = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        written(&self.report()) >= written(&self.last())
    }

    /// Checks that `recipe.toml` still matches the run's recipe, except for `epochs` if the run is resumed with a new
    /// value. Editing the file would have no effect, since the checkpoint contains the recipe; the error says so.
    pub fn check_recipe(&self, recipe: &Recipe, epochs: Option<usize>) -> Result<()> {
        let path = self.folder.join(RECIPE);
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
        let own = Recipe::of_run(&text).with_context(|| format!("{} is not a valid recipe", path.display()))?;
        if own == *recipe || epochs.is_some_and(|epochs| own == Recipe { epochs, ..recipe.clone() }) {
            return Ok(());
        }
        ensure!(
            own != Recipe { epochs: own.epochs, ..recipe.clone() },
            "{} says epochs = {}, but the run has {}: to change that, run train --resume {} --epochs {}",
            path.display(),
            own.epochs,
            recipe.epochs,
            self.folder.display(),
            own.epochs
        );
        bail!(
            "{} is not the recipe the run was started with, and a run cannot change its recipe: undo the change, or start a new run with --recipe",
            path.display()
        );
    }

    /// Writes `recipe.toml`.
    pub fn write_recipe(&self, toml: &str) -> Result<()> {
        files::write_whole(&self.folder.join(RECIPE), toml.as_bytes())
    }

    fn history(&self) -> PathBuf {
        self.folder.join(HISTORY)
    }

    /// Training time of each epoch in seconds, from `history.csv`, since checkpoints hold nothing that depends on the
    /// clock. Unreadable values count as 0; a missing file gives an empty list.
    #[must_use]
    pub fn seconds(&self) -> Vec<f64> {
        let text = std::fs::read_to_string(self.history()).unwrap_or_default();
        let last = |line: &str| line.rsplit(',').next().and_then(|field| field.parse().ok()).unwrap_or(0.0);
        text.lines().skip(1).map(last).collect()
    }

    /// Writes `history.csv`: one line per epoch, with its training time in seconds.
    pub fn write_history(&self, history: &[Epoch], seconds: &[f64]) -> Result<()> {
        let mut csv = String::from(
            "epoch,learning_rate,train_loss,held_out_loss,held_out_accuracy,test_loss,test_accuracy,seconds\n",
        );
        let optional = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.6}"));
        for (epoch, seconds) in history.iter().zip(seconds) {
            writeln!(
                csv,
                "{},{:.8},{:.6},{},{},{:.6},{:.6},{:.1}",
                epoch.epoch,
                epoch.learning_rate,
                epoch.train_loss,
                optional(epoch.held_out_loss),
                optional(epoch.held_out_accuracy),
                epoch.test_loss,
                epoch.test_accuracy,
                seconds,
            )?;
        }
        files::write_whole(&self.history(), csv.as_bytes())
    }
}

/// Resolves a run's folder or a checkpoint's path to a checkpoint. `None` means the newest run. A folder means its best
/// checkpoint.
pub fn checkpoint_path(named: Option<&Path>) -> Result<PathBuf> {
    let run = match named {
        Some(path) if path.is_dir() => Run::at(path),
        Some(path) => return Ok(path.to_owned()),
        None => Run::newest()?,
    };
    run.check_has_epoch()?;
    Ok(run.best())
}

/// Checks that a run can be created in a folder: it does not exist, is empty, or contains only files left by a run that
/// ended before its first checkpoint.
pub fn check_vacant(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    ensure!(folder.is_dir(), "{} is a file: choose a folder for the run with --out", folder.display());
    if let Some(holder) = lock::holder(folder) {
        bail!(lock::is_being_trained(folder, holder.as_ref()));
    }
    check_without_checkpoint(folder)?;
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let known = [RECIPE, HISTORY, lock::NAME].contains(&name.as_ref());
        ensure!(
            known || name.starts_with('.') || name.starts_with(EVENTS),
            "{} is not empty (it contains {name}) and is not a run's folder: choose a new folder with --out",
            folder.display()
        );
    }
    Ok(())
}

fn check_without_checkpoint(folder: &Path) -> Result<()> {
    let run = Run::at(folder);
    ensure!(
        !run.last().exists(),
        "{} already contains a run: continue it with --resume, or choose another folder with --out",
        folder.display()
    );
    Ok(())
}

/// Whether a folder belongs to a run, possibly one without a checkpoint.
#[must_use]
pub fn is_run(folder: &Path) -> bool {
    [LAST, BEST, RECIPE, lock::NAME].iter().any(|name| folder.join(name).is_file())
}

/// Creates the first folder of `name`, `name-2`, … that does not exist. Atomic: no two processes get the same one.
fn new_folder(parent: &Path, name: &str) -> Result<PathBuf> {
    let context = |folder: &Path| format!("cannot make the run's folder {}", folder.display());
    std::fs::create_dir_all(parent).with_context(|| context(parent))?;
    let mut number = 1;
    loop {
        let folder = parent.join(if number == 1 { name.to_owned() } else { format!("{name}-{number}") });
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error).with_context(|| context(&folder)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_a_run_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let run = Run::create(Some(&out), "quick").unwrap();
        let message = Run::create(Some(&out), "quick").unwrap_err().to_string();
        assert!(message.contains("is being trained by process"), "{message}");
        run.write_recipe("").unwrap();
        drop(run);
        // The first run ended before its first checkpoint, so the folder can be reused.
        let run = Run::create(Some(&out), "quick").unwrap();
        std::fs::write(run.last(), b"x").unwrap();
        drop(run);
        let message = Run::create(Some(&out), "quick").unwrap_err().to_string();
        assert!(message.contains("already contains a run"), "{message}");
    }

    #[test]
    fn a_folder_with_other_files_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("cat")).unwrap();
        let message = Run::create(Some(folder.path()), "quick").unwrap_err().to_string();
        assert!(message.contains("is not empty (it contains cat)"), "{message}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let message = Run::create(Some(&file), "quick").unwrap_err().to_string();
        assert!(message.contains("is a file"), "{message}");
    }

    #[test]
    fn names_are_numbered_and_nobody_gets_the_same_twice() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().join("runs");
        let mut made: Vec<PathBuf> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| new_folder(&parent, "quick").unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        made.sort();
        made.dedup();
        assert_eq!(made.len(), 8);
        assert_eq!((&made[0], &made[1]), (&parent.join("quick"), &parent.join("quick-2")));
    }

    /// Runs are sorted by start time, not by the time of the last write.
    #[test]
    fn runs_are_sorted_by_their_start() {
        let folder = tempfile::tempdir().unwrap();
        for (name, started) in [("b", 2.0), ("a", 3.0), ("c", 1.0)] {
            let run = folder.path().join(name);
            std::fs::create_dir(&run).unwrap();
            drop(Lock::acquire(&run, started).unwrap());
        }
        std::fs::create_dir(folder.path().join("no-run")).unwrap();
        std::fs::write(folder.path().join("c/last.safetensors"), "").unwrap();
        let names: Vec<_> =
            Run::all(folder.path()).iter().map(|run| run.folder.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["c", "b", "a"]);
    }
}
