//! A run's folder: `runs/<name>/` with the resolved recipe, the history and the checkpoints.

use crate::recipe::Recipe;
use anyhow::{Context, Result, bail, ensure};
use models::files;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Where runs go unless `--out` says otherwise, in the current folder.
const RUNS: &str = "runs";

/// The resolved recipe's file.
const RECIPE: &str = "recipe.toml";

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
    /// Share of the held-out images that are classified rightly.
    pub held_out_accuracy: Option<f64>,
    /// Loss on the test images.
    pub test_loss: f64,
    /// Share of the test images that are classified rightly.
    pub test_accuracy: f64,
}

/// A run's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    folder: PathBuf,
}

impl Run {
    /// Makes the folder of a new run: `out`, or the first free one of `runs/<name>`, `runs/<name>-2`, …
    pub fn create(out: Option<&Path>, name: &str) -> Result<Self> {
        let folder = match out {
            Some(folder) => folder.to_owned(),
            None => free_folder(Path::new(RUNS), name),
        };
        let run = Self { folder };
        ensure!(!run.last().exists(), "{} already holds a run: choose another folder with --out", run.folder.display());
        std::fs::create_dir_all(&run.folder)
            .with_context(|| format!("cannot make the run's folder {}", run.folder.display()))?;
        Ok(run)
    }

    /// The folder of a run that is there.
    pub fn open(folder: &Path) -> Result<Self> {
        let run = Self { folder: folder.to_owned() };
        ensure!(run.last().is_file(), "{} holds no run: it has no last.safetensors", folder.display());
        Ok(run)
    }

    /// The newest run in `runs/` of the current folder.
    pub fn newest() -> Result<Self> {
        let finished = |folder: &PathBuf| {
            let run = Self { folder: folder.clone() };
            std::fs::metadata(run.last()).and_then(|metadata| metadata.modified()).ok()
        };
        let folders = std::fs::read_dir(RUNS).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let newest = folders.filter_map(|folder| Some((finished(&folder)?, folder))).max();
        match newest {
            Some((_, folder)) => Ok(Self { folder }),
            None => bail!("there is no run in {RUNS}/ here: name a run's folder or a checkpoint, or train first"),
        }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The checkpoint of the last epoch.
    #[must_use]
    pub fn last(&self) -> PathBuf {
        self.folder.join("last.safetensors")
    }

    /// The checkpoint of the epoch with the best held-out accuracy: the one that ships.
    #[must_use]
    pub fn best(&self) -> PathBuf {
        self.folder.join("best.safetensors")
    }

    /// Checks that `recipe.toml` still is what the run was started with. Editing it changes nothing, since the
    /// checkpoint holds the recipe: whoever did so expects something that will not happen.
    pub fn check_recipe(&self, recipe: &Recipe) -> Result<()> {
        let path = self.folder.join(RECIPE);
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
        let own = Recipe::parse(&text).with_context(|| format!("{} is not a valid recipe", path.display()))?;
        ensure!(
            own == *recipe,
            "{} is not the recipe the run was started with: a run goes on as it began. Undo the change, or start a new run with --recipe",
            path.display()
        );
        Ok(())
    }

    /// Writes `recipe.toml`.
    pub fn write_recipe(&self, toml: &str) -> Result<()> {
        files::write_whole(&self.folder.join(RECIPE), toml.as_bytes())
    }

    fn history(&self) -> PathBuf {
        self.folder.join("history.csv")
    }

    /// Seconds of each epoch in `history.csv`, for a run that goes on: they are in no checkpoint, which holds nothing
    /// that the clock decides. Missing or unreadable ones count as 0.
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
        Some(path) if path.is_dir() => Run { folder: path.to_owned() },
        Some(path) => return Ok(path.to_owned()),
        None => Run::newest()?,
    };
    let path = run.best();
    ensure!(path.is_file(), "{} holds no checkpoint best.safetensors: is it a run's folder?", run.folder.display());
    Ok(path)
}

fn free_folder(parent: &Path, name: &str) -> PathBuf {
    let numbered = (2..).map(|number| parent.join(format!("{name}-{number}")));
    let mut candidates = std::iter::once(parent.join(name)).chain(numbered);
    candidates.find(|folder| !folder.exists()).unwrap_or_else(|| parent.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_a_run_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let run = Run::create(Some(&out), "quick").unwrap();
        Run::create(Some(&out), "quick").unwrap();
        std::fs::write(run.last(), b"x").unwrap();
        let message = Run::create(Some(&out), "quick").unwrap_err().to_string();
        assert!(message.contains("already holds a run"), "{message}");
    }

    #[test]
    fn names_are_numbered_until_one_is_free() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(free_folder(folder.path(), "quick"), folder.path().join("quick"));
        std::fs::create_dir(folder.path().join("quick")).unwrap();
        assert_eq!(free_folder(folder.path(), "quick"), folder.path().join("quick-2"));
    }
}
