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

/// Where runs go unless `--out` says otherwise, in the current folder.
pub const RUNS: &str = "runs";

/// The resolved recipe's file.
pub const RECIPE: &str = "recipe.toml";

/// The epochs so far as a table.
const HISTORY: &str = "history.csv";

/// The checkpoints.
const LAST: &str = "last.safetensors";
const BEST: &str = "best.safetensors";

/// How the names of TensorBoard's files begin.
const EVENTS: &str = "events.out.tfevents.";

/// One epoch of a run, as checkpoints and the history keep it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: usize,
    /// Learning rate of its last step.
    pub learning_rate: f64,
    /// Mean loss of its steps.
    pub train_loss: f64,
    /// Loss on the held-out images, if any are.
    pub held_out_loss: Option<f64>,
    /// Share of the held-out images that are classified correctly.
    pub held_out_accuracy: Option<f64>,
    /// Loss on the test images.
    pub test_loss: f64,
    /// Share of the test images that are classified correctly.
    pub test_accuracy: f64,
}

/// A run's folder. One that was created or resumed is locked as long as this lives.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    lock: Option<Lock>,
}

impl Run {
    /// Makes and locks the folder of a new run: `out`, or the first free one of `runs/<name>`, `runs/<name>-2`, …
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
        // Another training may have used the folder before it was locked.
        check_without_checkpoint(&folder)?;
        files::sweep(&folder);
        Ok(Self { folder, lock: Some(lock) })
    }

    /// The folder of an existing run, to look at. Another process may be training it.
    pub fn open(folder: &Path) -> Result<Self> {
        let run = Self::at(folder);
        ensure!(run.last().is_file(), "{} holds no run: it has no {LAST}", folder.display());
        Ok(run)
    }

    /// Opens an existing run to train it further, and locks it.
    pub fn resume(folder: &Path) -> Result<Self> {
        let mut run = Self::open(folder)?;
        run.lock = Some(Lock::acquire(folder, run.started())?);
        // Whoever wrote here before is gone.
        files::sweep(folder);
        Ok(run)
    }

    /// The newest run in `runs/` of the current folder: the one that was started last. Says on standard error which.
    pub fn newest() -> Result<Self> {
        let newest = Self::all(Path::new(RUNS)).pop();
        let Some(run) = newest else {
            bail!("found no run in {RUNS}/: name a run's folder or a checkpoint, or train first");
        };
        // A closed standard error is no reason to panic.
        let _ = writeln!(std::io::stderr(), "note: the newest run is {}", run.folder.display());
        run.check_has_epoch()?;
        Ok(run)
    }

    /// The runs in a folder, the one that was started last at the end.
    #[must_use]
    pub fn all(parent: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(parent).into_iter().flatten();
        let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut runs: Vec<Self> = folders.filter(|folder| is_run(folder)).map(|folder| Self::at(&folder)).collect();
        runs.sort_by(|a, b| a.started().total_cmp(&b.started()).then_with(|| a.folder.cmp(&b.folder)));
        runs
    }

    /// A folder, whatever it holds.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), lock: None }
    }

    /// When the run was started, in seconds since 1970. Of runs older than their lock it is when the recipe was written.
    #[must_use]
    pub fn started(&self) -> f64 {
        let written = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        match lock::last_holder(&self.folder) {
            Some(holder) => holder.started,
            None => written(&self.folder.join(RECIPE)).or_else(|| written(&self.folder)).map_or(0.0, lock::seconds),
        }
    }

    /// Makes sure that a process which trains the run still owns its folder.
    pub fn check_owned(&self) -> Result<()> {
        self.lock.as_ref().map_or(Ok(()), Lock::check)
    }

    /// An error if the run has not finished an epoch yet, with what to do.
    pub fn check_has_epoch(&self) -> Result<()> {
        let folder = self.folder.display();
        if self.best().is_file() {
            return Ok(());
        }
        ensure!(is_run(&self.folder), "{folder} holds no run: it has neither {LAST} nor {BEST}");
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

    /// The checkpoint of the last epoch.
    #[must_use]
    pub fn last(&self) -> PathBuf {
        self.folder.join(LAST)
    }

    /// The checkpoint of the epoch with the best held-out accuracy: the one that is exported.
    #[must_use]
    pub fn best(&self) -> PathBuf {
        self.folder.join(BEST)
    }

    /// The report: one page.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.folder.join("report.html")
    }

    /// Whether the report is there and younger than the last checkpoint.
    #[must_use]
    pub fn has_report(&self) -> bool {
        let written = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        written(&self.report()) >= written(&self.last())
    }

    /// Checks that `recipe.toml` still is what the run was started with, but for the `epochs` it is now resumed with.
    /// Editing the file changes nothing, since the checkpoint holds the recipe.
    pub fn check_recipe(&self, recipe: &Recipe, epochs: Option<usize>) -> Result<()> {
        let path = self.folder.join(RECIPE);
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
        let own = Recipe::parse(&text).with_context(|| format!("{} is not a valid recipe", path.display()))?;
        if own == *recipe || epochs.is_some_and(|epochs| own == Recipe { epochs, ..recipe.clone() }) {
            return Ok(());
        }
        ensure!(
            own != Recipe { epochs: own.epochs, ..recipe.clone() },
            "{} says epochs = {}, but the run has {}: to change that, train --resume {} --epochs {}",
            path.display(),
            own.epochs,
            recipe.epochs,
            self.folder.display(),
            own.epochs
        );
        bail!(
            "{} is not the recipe the run was started with, and a run continues as it began: undo the change, or start a new run with --recipe",
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

    /// Seconds of each epoch in `history.csv`, for a run that is resumed: checkpoints hold nothing that depends on
    /// the clock. Missing or unreadable ones count as 0.
    #[must_use]
    pub fn seconds(&self) -> Vec<f64> {
        let text = std::fs::read_to_string(self.history()).unwrap_or_default();
        let last = |line: &str| line.rsplit(',').next().and_then(|field| field.parse().ok()).unwrap_or(0.0);
        text.lines().skip(1).map(last).collect()
    }

    /// Writes `history.csv`: one line per epoch, with the seconds it was trained for.
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

/// The checkpoint that is meant by a run's folder, a checkpoint's path, or nothing (the newest run).
pub fn checkpoint_path(named: Option<&Path>) -> Result<PathBuf> {
    let run = match named {
        Some(path) if path.is_dir() => Run::at(path),
        Some(path) => return Ok(path.to_owned()),
        None => Run::newest()?,
    };
    run.check_has_epoch()?;
    Ok(run.best())
}

/// Makes sure that a run can be made in a folder: it does not exist, is empty, or holds only what a training leaves that
/// ended before its first checkpoint.
pub fn check_vacant(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    ensure!(folder.is_dir(), "{} is a file: the run needs a folder, choose another with --out", folder.display());
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
            "{} is not empty (it holds {name}) and holds no run: choose a new folder with --out",
            folder.display()
        );
    }
    Ok(())
}

fn check_without_checkpoint(folder: &Path) -> Result<()> {
    let run = Run::at(folder);
    ensure!(
        !run.last().exists(),
        "{} already holds a run: continue it with --resume, or choose another folder with --out",
        folder.display()
    );
    Ok(())
}

/// Whether a folder is that of a run, perhaps one without a checkpoint.
#[must_use]
pub fn is_run(folder: &Path) -> bool {
    [LAST, BEST, RECIPE, lock::NAME].iter().any(|name| folder.join(name).is_file())
}

/// Makes the first folder that is not there of `name`, `name-2`, … No two processes get the same one.
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
        // It ended before its first checkpoint.
        let run = Run::create(Some(&out), "quick").unwrap();
        std::fs::write(run.last(), b"x").unwrap();
        drop(run);
        let message = Run::create(Some(&out), "quick").unwrap_err().to_string();
        assert!(message.contains("already holds a run"), "{message}");
    }

    #[test]
    fn a_folder_with_other_files_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("cat")).unwrap();
        let message = Run::create(Some(folder.path()), "quick").unwrap_err().to_string();
        assert!(message.contains("is not empty (it holds cat)"), "{message}");
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

    /// The run that was started last, not the one that was written last.
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
