//! TensorBoard's own reader can read the event files of `train --tensorboard`.
//!
//! The reader is the Python package `tensorboard`, which is installed once, in a separate folder in the user's cache.
//! If pip cannot install it, the test is skipped and prints the reason.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use train::run::Epoch;
use train::tensorboard::TensorBoard;
use train::trainer::{StepReport, TrainingObserver};

/// Version of the package, and name of its folder.
const VERSION: &str = "2.21.0";

/// Prints all scalars in a folder as JSON: `{tag: [[step, value], …]}`.
const READER: &str = r"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0})
events.Reload()
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()['scalars']}))
";

/// The folder with the package, for `PYTHONPATH`; installs it if necessary.
///
/// This is not a virtual environment, because on Debian creating one needs a separate package.
fn packages() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("MOBILENET_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("mobilenet")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/mobilenet")))
        .context("neither MOBILENET_CACHE nor HOME is set")?;
    let folder = cache.join("python-tensorboard");
    let packages = folder.join(VERSION);
    if !packages.is_dir() {
        // Installs under a temporary name, in case this run is killed or another test does the same.
        std::fs::create_dir_all(&folder)?;
        let making = tempfile::Builder::new().prefix(".making-").tempdir_in(&folder)?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
        run(Command::new("python3").args(pip).arg(making.path()).arg(format!("tensorboard=={VERSION}")))?;
        // Another test may have been faster.
        let _ = std::fs::rename(making.path(), &packages);
        ensure!(packages.is_dir(), "{} cannot be made", packages.display());
    }
    Ok(packages)
}

/// Runs a program and returns its standard output. Fails with the last line it printed.
fn run(command: &mut Command) -> Result<String> {
    let program = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    let last = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.lines().rfind(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned())
    };
    // Some programs report errors on standard output.
    let reason = || last(&output.stderr).or_else(|| last(&output.stdout)).unwrap_or_else(|| output.status.to_string());
    ensure!(output.status.success(), "{program}: {}", reason());
    Ok(String::from_utf8(output.stdout)?)
}

fn report(epoch: usize, step: usize, loss: f64) -> StepReport {
    StepReport {
        epoch,
        epochs: 3,
        step,
        steps: 20,
        taken: 20,
        loss,
        learning_rate: 0.1 / loss,
        images: 640,
        logged: false,
    }
}

fn epoch(epoch: usize, accuracy: f64) -> Epoch {
    Epoch {
        epoch,
        learning_rate: 0.01,
        train_loss: 0.5,
        held_out_loss: None,
        held_out_accuracy: Some(accuracy),
        test_loss: 1.0 - accuracy,
        test_accuracy: accuracy,
    }
}

/// Writes the events of a run that is killed in its second epoch, leaving half a record, and resumed from the end of
/// the first.
fn write_events(folder: &Path) {
    let mut first = TensorBoard::create(folder, 0).unwrap();
    first.steps(&report(1, 10, 2.0));
    first.steps(&report(1, 20, 1.5));
    first.epoch(&epoch(1, 0.75), 3, 1.0);
    first.steps(&report(2, 10, 7.0));
    let mut torn = std::fs::OpenOptions::new().append(true).open(first.path()).unwrap();
    torn.write_all(&[200, 0, 0, 0, 0, 0]).unwrap();
    let mut second = TensorBoard::create(folder, 20).unwrap();
    second.steps(&report(2, 5, 1.25));
    second.steps(&report(2, 20, 1.0));
    second.epoch(&epoch(2, 0.875), 3, 1.0);
}

fn scalars(packages: &Path, folder: &Path) -> Value {
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", packages).args(["-c", READER]).arg(folder);
    serde_json::from_str(&run(&mut python).unwrap()).unwrap()
}

#[test]
fn tensorboard_reads_every_scalar_of_a_run_that_was_killed_and_resumed() {
    let packages = match packages() {
        Ok(packages) => packages,
        Err(reason) => {
            // Not `println`, which the test harness captures.
            let _ = writeln!(std::io::stderr(), "skipped: TensorBoard {VERSION} cannot be installed: {reason:#}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    write_events(folder.path());
    let found = scalars(&packages, folder.path());

    // Step 30, which was repeated after the resume, is discarded.
    assert_eq!(found["loss/train"], serde_json::json!([[10, 2.0], [20, 1.5], [25, 1.25], [40, 1.0]]), "{found}");
    assert_eq!(found["accuracy/test"], serde_json::json!([[20, 0.75], [40, 0.875]]), "{found}");
    assert_eq!(found["accuracy/held-out"], found["accuracy/test"]);
    assert_eq!(found["loss/test"], serde_json::json!([[20, 0.25], [40, 0.125]]), "{found}");
    assert!(found["loss/held-out"].is_null(), "there was none");
    for tag in ["learning_rate", "images_per_second"] {
        let steps: Vec<_> = found[tag].as_array().unwrap().iter().map(|point| point[0].as_i64().unwrap()).collect();
        assert_eq!(steps, [10, 20, 25, 40], "{tag}");
    }
    assert_eq!(found["learning_rate"][3], serde_json::json!([40, f64::from(0.1_f32)]));
    assert!(found["images_per_second"][0][1].as_f64().unwrap() > 0.0, "{found}");
}
