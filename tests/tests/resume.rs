//! A run that was killed, was stopped or ran out of disk space can be resumed, and ends with exactly the same bytes as
//! an uninterrupted run.
//!
//! Every run is a separate process with one thread: libtorch's results depend on the number of threads, and its random
//! generator is shared by the whole process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Environment variable: number of SIGKILLs in the test, by default 6. Use a hundred or more for a thorough run.
const KILLS: &str = "RESUME_KILLS";

/// Epochs of a run: many short ones, so that a kill often hits the writing of a checkpoint.
const EPOCHS: usize = 20;

/// A recipe with everything that has state or draws random numbers.
const RECIPE: &str = r#"
name = "resumed"
epochs = 20
batch_size = 50
hold_out = 50
ema = 0.9
norm_images = 100
clip_norm = 5.0
label_smoothing = 0.1
[network]
arch = "mobilenet-v1"
width = 0.25
resolution = 32
[optimizer]
kind = "sgd"
lr = 0.05
momentum = 0.9
nesterov = true
weight_decay = 5e-4
[schedule]
kind = "one-cycle"
warm_up = 0.3
[augmentation]
rotation = 10.0
shift = 0.1
erasing = 0.2
stroke_width = 0.5
low_resolution = 0.3
grain = 0.3
[outliers]
share = 0.1
"#;

struct Place {
    folder: tempfile::TempDir,
    data: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = tests::subset(folder.path(), 500, 100).unwrap();
        fs::write(folder.path().join("recipe.toml"), format!("seed = {}\n{RECIPE}", tests::seed())).unwrap();
        Self { folder, data }
    }

    fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    fn train(&self) -> Command {
        let mut command = Command::new(tests::program("train").unwrap());
        command.current_dir(self.folder.path()).args(["--threads", "1"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts the run, or resumes it if it has a checkpoint.
    fn start_or_resume(&self) -> Command {
        let mut command = self.train();
        if self.run().join("last.safetensors").exists() {
            command.arg("--resume").arg("run");
        } else {
            let _ = fs::remove_dir_all(self.run());
            command.args(["--recipe", "recipe.toml", "--out", "run", "--data"]).arg(&self.data);
        }
        command
    }

    /// The results that must be byte-identical: both checkpoints, and the history without its last column, the seconds.
    fn results(&self) -> (Vec<u8>, Vec<u8>, Vec<String>) {
        let read = |name: &str| fs::read(self.run().join(name)).unwrap();
        let history = fs::read_to_string(self.run().join("history.csv")).unwrap();
        let lines = history.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned()).collect();
        (read("last.safetensors"), read("best.safetensors"), lines)
    }
}

fn finish(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Compares the results with the uninterrupted run. Checkpoints contain the data folder, which differs between tests,
/// so it is masked.
fn assert_same(found: &(Vec<u8>, Vec<u8>, Vec<String>), place: &Place) {
    let expected = uninterrupted();
    let own = place.folder.path().to_str().unwrap();
    let neutral = |bytes: &[u8], folder: &str| -> Vec<u8> {
        let folder = folder.as_bytes();
        let mut bytes = bytes.to_vec();
        let positions: Vec<usize> =
            (0..bytes.len().min(20_000)).filter(|&at| bytes[at..].starts_with(folder)).collect();
        for at in positions {
            bytes[at..at + folder.len()].fill(b'.');
        }
        bytes
    };
    assert_eq!(found.2, expected.results.2);
    assert!(neutral(&found.0, own) == neutral(&expected.results.0, &expected.folder), "last.safetensors differs");
    assert!(neutral(&found.1, own) == neutral(&expected.results.1, &expected.folder), "best.safetensors differs");
}

struct Uninterrupted {
    results: (Vec<u8>, Vec<u8>, Vec<String>),
    folder: String,
    time: Duration,
}

/// The reference run, made once.
fn uninterrupted() -> &'static Uninterrupted {
    static RUN: OnceLock<Uninterrupted> = OnceLock::new();
    RUN.get_or_init(|| {
        let place = Place::new();
        let started = Instant::now();
        finish(place.start_or_resume());
        let results = place.results();
        assert_eq!(results.2.len(), EPOCHS + 1);
        Uninterrupted { results, folder: place.folder.path().to_str().unwrap().to_owned(), time: started.elapsed() }
    })
}

fn spawn(mut command: Command) -> Child {
    command.spawn().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    let place = Place::new();
    finish(place.start_or_resume());
    assert_same(&place.results(), &place);

    let other = Place::new();
    let mut command = other.start_or_resume();
    command.args(["--seed", &(tests::seed() + 1).to_string()]);
    finish(command);
    assert!(other.results().0 != place.results().0);
}

#[test]
fn a_run_killed_at_many_moments_ends_with_the_same_bytes() {
    let kills: u32 = std::env::var(KILLS).ok().and_then(|kills| kills.parse().ok()).unwrap_or(6);
    let time = uninterrupted().time;
    let place = Place::new();
    let mut killed = 0;
    let mut position = 0.37_f64;
    while killed < kills {
        let mut child = spawn(place.start_or_resume());
        // The golden ratio spreads the kills over the run, so that no two happen at the same moment.
        position = (position + 0.618_034) % 1.0;
        sleep(time.mul_f64(0.05 + 0.3 * position));
        child.kill().unwrap();
        let finished = child.wait().unwrap().success();
        killed += 1;
        if finished && killed < kills {
            assert_same(&place.results(), &place);
            fs::remove_dir_all(place.run()).unwrap();
        }
    }
    finish(place.start_or_resume());
    assert_same(&place.results(), &place);
    let left = fs::read_dir(place.run())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".writing-"));
    assert_eq!(left.count(), 0, "a killed writer's temporary files are still there");
}

#[test]
fn ctrl_c_finishes_the_step_and_the_printed_command_goes_on() {
    let place = Place::new();
    let mut child = spawn(place.start_or_resume());
    // Waits for the middle of the run, however fast this machine is at the moment.
    let epochs = || fs::read_to_string(place.run().join("history.csv")).map_or(0, |history| history.lines().count());
    while epochs() < EPOCHS / 2 {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it was interrupted");
        sleep(Duration::from_millis(10));
    }
    // SAFETY: only sends a signal to our own child.
    assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT) }, 0);
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(130), "{log}{}", stderr(&output));
    assert!(log.ends_with("train --resume run\n"), "{log}");
    let mut command = place.train();
    finish({
        command.args(["--resume", "run"]);
        command
    });
    assert_same(&place.results(), &place);
}

/// A limit on file sizes simulates a full disk: writing fails in the middle of a checkpoint.
#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_last_good_one() {
    let place = Place::new();
    let mut first = spawn(place.start_or_resume());
    while !place.run().join("last.safetensors").exists() {
        assert!(first.try_wait().unwrap().is_none(), "the run ended before its first checkpoint");
        sleep(Duration::from_millis(20));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let good = fs::read(place.run().join("last.safetensors")).unwrap();

    let mut shell = Command::new("sh");
    // Ignore the signal, so that the write fails instead of the process being killed. The limit is in blocks of 512
    // bytes.
    shell.args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" --threads 1 --resume run"]);
    shell.arg(tests::program("train").unwrap()).current_dir(place.folder.path());
    let output = shell.output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("cannot write") && message.contains("safetensors"), "{message}");
    assert!(fs::read(place.run().join("last.safetensors")).unwrap() == good);
    finish(place.start_or_resume());
    assert_same(&place.results(), &place);
}

#[test]
fn checkpoints_that_do_not_fit_are_refused_and_stay_as_they_are() {
    let place = Place::new();
    let mut command = place.start_or_resume();
    command.args(["--epochs", "1"]);
    finish(command);
    let last = place.run().join("last.safetensors");
    let good = fs::read(&last).unwrap();
    let refused = |words: &[&str], arguments: &[&str]| {
        let mut command = place.train();
        command.args(["--resume", "run"]).args(arguments);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        for word in words {
            assert!(stderr(&output).contains(word), "expected '{word}' in: {}", stderr(&output));
        }
    };

    fs::write(&last, &good[..good.len() / 2]).unwrap();
    refused(&["last.safetensors", "truncated"], &[]);
    fs::write(&last, &good).unwrap();

    let recipe = fs::read_to_string(place.run().join("recipe.toml")).unwrap();
    fs::write(place.run().join("recipe.toml"), recipe.replace("ema = 0.9", "ema = 0.5")).unwrap();
    refused(&["recipe.toml", "is not the recipe the run was started with"], &[]);
    fs::write(place.run().join("recipe.toml"), &recipe).unwrap();

    let elsewhere = tempfile::tempdir().unwrap();
    let other = tests::subset(elsewhere.path(), 600, 100).unwrap();
    refused(&["is not the data the run was started with", "600 training images"], &["--data", other.to_str().unwrap()]);
    assert!(fs::read(&last).unwrap() == good);
}

#[test]
fn a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_checkpoint() {
    let place = Place::new();
    let mut command = place.start_or_resume();
    command.args(["--lr", "1e30"]);
    let output = command.output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for word in ["the loss became", "in step", "of epoch", "learning rate", "Try a lower --lr"] {
        assert!(message.contains(word), "expected '{word}' in: {message}");
    }
}

/// If the run's folder cannot be created, training does not start.
#[test]
fn a_place_that_is_a_file_is_refused_before_the_first_step() {
    let place = Place::new();
    fs::write(place.folder.path().join("file"), "").unwrap();
    let mut command = place.train();
    command.args(["--recipe", "recipe.toml", "--out", "file/run", "--data"]).arg(&place.data);
    let started = Instant::now();
    let output = command.output().unwrap();
    assert!(stderr(&output).contains("file/run"), "{}", stderr(&output));
    assert!(started.elapsed() < uninterrupted().time, "it trained first");
    assert!(Path::new(&place.folder.path().join("file")).is_file());
}
