//! A run belongs to one process, ends when told to, and can be extended.
//!
//! Every run is a separate process on a folder of generated images.

#![cfg(unix)]

use image::GrayImage;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::FromRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Number of attempts in a test that depends on timing.
const TRIES: u32 = 6;

/// Creates a working folder with 80 images of two classes in `images`: one has a bright upper half, the other a bright
/// lower half.
fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for class in 0..2_u32 {
        let images = folder.path().join("images").join(["upper", "lower"][class as usize]);
        fs::create_dir_all(&images).unwrap();
        for index in 0..40_u32 {
            let value =
                |x: u32, y: u32| ((x * 7 + y * 13 + index * 29) % 80 + if y / 8 == class { 150 } else { 0 }) as u8;
            let image = GrayImage::from_fn(16, 16, |x, y| image::Luma([value(x, y)]));
            image.save(images.join(format!("{index}.png"))).unwrap();
        }
    }
    folder
}

fn train(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(tests::program("train").unwrap());
    command.current_dir(folder).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    // If the tests were started with nohup, the program would inherit that SIGHUP is ignored.
    // SAFETY: `signal` may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
            Ok(())
        });
    }
    command
}

/// A new run with many short epochs.
fn start(folder: &Path, epochs: &str, more: &[&str]) -> Command {
    let data = ["--recipe", "quick", "--data", "images", "--hold-out", "8", "--batch-size", "8"];
    let network = ["--resolution", "32", "--width", "0.25", "--epochs", epochs];
    train(folder, &[&data[..], &network, more].concat())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn succeed(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

fn refused(mut command: Command, words: &[&str]) {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    for word in words {
        assert!(text(&output).contains(word), "expected '{word}' in: {}", text(&output));
    }
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: only sends a signal to our own child.
    assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), signal) }, 0);
}

/// Starts a run and waits until it has finished its first epoch.
fn started(folder: &Path, more: &[&str]) -> Child {
    let mut child = start(folder, "1000", &[&["--out", "run"], more].concat()).spawn().unwrap();
    let limit = Instant::now() + Duration::from_mins(2);
    while !folder.join("run/history.csv").exists() {
        assert!(
            child.try_wait().unwrap().is_none() && Instant::now() < limit,
            "the run has not come to its first epoch"
        );
        sleep(Duration::from_millis(10));
    }
    child
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_second_signal_ends_a_run_at_once_quietly_and_without_half_written_files() {
    for number in 0..TRIES {
        let place = place();
        // With two threads: the program must be able to exit while both are working.
        let child = started(place.path(), &["--threads", "2"]);
        let kind = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP][number as usize % 3];
        sleep(Duration::from_millis(u64::from(number * 37 % 100)));
        signal(&child, kind);
        sleep(Duration::from_millis(u64::from(number * 3)));
        signal(&child, kind);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "try {number}: {:?} {}", output.status, text(&output));
        // The only messages are the notes on the data, from before training.
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.lines().all(|line| line.starts_with("note: ")), "{}", text(&output));
        let names = names(&place.path().join("run"));
        assert!(!names.iter().any(|name| name.starts_with('.')), "{names:?}");
    }
}

#[test]
fn a_run_that_is_being_trained_can_be_read_but_not_trained_by_another_process() {
    let place = place();
    let folder = place.path();
    let mut first = started(folder, &["--threads", "1"]);
    let process = format!("run is being trained by process {}", first.id());
    refused(start(folder, "1", &["--out", "run"]), &[&process, "--out"]);
    refused(train(folder, &["--resume", "run"]), &[&process]);
    refused(train(folder, &["--resume", "run", "--epochs", "2000"]), &[&process]);
    assert!(succeed(train(folder, &["eval", "run"])).contains("accuracy"));
    // The export itself may fail, because such a young network may not pass its checks. Only the lock matters here.
    let export = train(folder, &["export", "run", "-o", "model.onnx"]).output().unwrap();
    assert!(!text(&export).contains("is being trained"), "{}", text(&export));
    let list = |folder| -> Value {
        serde_json::from_str(&succeed(train(folder, &["list", "run", "--format", "json"]))).unwrap()
    };
    assert_eq!(list(folder)[0]["state"], "running");
    // The lock ends with the process that holds it, even if it is killed.
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(list(folder)[0]["state"], "interrupted");
    let done = list(folder)[0]["epochs"].as_u64().unwrap();
    let log = succeed(train(folder, &["--resume", "run", "--epochs", &(done + 2).to_string()]));
    assert!(log.contains(&format!("at epoch {} of {}", done + 1, done + 2)), "{log}");
    assert_eq!(list(folder)[0]["state"], "finished");
}

#[test]
fn runs_that_start_at_the_same_time_get_folders_of_their_own() {
    let place = place();
    let children: Vec<Child> = (0..3).map(|_| start(place.path(), "1", &["--threads", "1"]).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
    assert_eq!(names(&place.path().join("runs")), ["quick", "quick-2", "quick-3"]);
}

#[test]
fn a_folder_of_something_else_gets_no_run() {
    let place = place();
    refused(start(place.path(), "1", &["--out", "images"]), &["images is not empty (it contains ", "--out"]);
    assert_eq!(names(&place.path().join("images")), ["lower", "upper"]);
}

/// Both checkpoints, for comparing byte by byte.
fn checkpoints(run: &Path) -> [Vec<u8>; 2] {
    ["last.safetensors", "best.safetensors"].map(|name| fs::read(run.join(name)).unwrap())
}

#[test]
fn a_finished_run_is_extended_and_resumes_bit_for_bit_with_the_threads_it_had() {
    let place = place();
    let folder = place.path();
    for run in ["one", "two"] {
        let log = succeed(start(folder, "2", &["--threads", "1", "--out", run]));
        assert!(log.contains("recipe") && log.contains("2 epochs, batch size 8"), "{log}");
        assert!(log.contains("best checkpoint: epoch ") && log.contains("weakest class: "), "{log}");
    }
    let log = succeed(train(folder, &["--resume", "one"]));
    assert!(log.contains("one is finished: 2 epochs done") && log.contains("train --resume one --epochs 3"), "{log}");
    refused(train(folder, &["--resume", "one", "--epochs", "2"]), &["--epochs 2", "has already done 2 epochs"]);

    let log = succeed(train(folder, &["--resume", "one", "--epochs", "5"]));
    assert!(log.contains("at epoch 3 of 5") && log.contains("2 epochs planned before"), "{log}");
    assert!(log.contains("step 0 of 7, 1 thread as before"), "{log}");
    assert!(fs::read_to_string(folder.join("one/recipe.toml")).unwrap().contains("epochs = 5\n"));
    assert_eq!(fs::read_to_string(folder.join("one/history.csv")).unwrap().lines().count(), 6);

    // Interrupts the other run on its way.
    let mut child = train(folder, &["--resume", "two", "--epochs", "5"]).spawn().unwrap();
    while fs::read_to_string(folder.join("two/history.csv")).unwrap().lines().count() < 4 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was interrupted");
        sleep(Duration::from_millis(2));
    }
    signal(&child, libc::SIGINT);
    let status = child.wait().unwrap();
    if status.code() == Some(130) {
        succeed(train(folder, &["--resume", "two"]));
    } else {
        // The run finished before the signal arrived.
        assert!(status.success());
    }
    assert!(checkpoints(&folder.join("one")) == checkpoints(&folder.join("two")), "the checkpoints differ");

    let log = succeed(train(folder, &["--resume", "two", "--epochs", "6", "--threads", "2"]));
    assert!(log.contains("on cpu, 1 thread,") && log.contains("will differ in the last digits"), "{log}");
}

#[test]
fn the_newest_run_is_the_one_that_was_started_last() {
    let place = place();
    let folder = place.path();
    for run in ["runs/old", "runs/new"] {
        succeed(start(folder, "1", &["--threads", "1", "--out", run]));
    }
    // The time of the last write must not count.
    succeed(train(folder, &["--resume", "runs/old", "--epochs", "2"]));
    for command in [&["eval"][..], &["report"], &["export", "-o", "model.onnx"]] {
        let log = text(&train(folder, command).output().unwrap());
        assert!(log.contains("note: the newest run is runs/new"), "{log}");
    }
    let list = succeed(train(folder, &["list"]));
    assert!(list.lines().all(|line| line.chars().count() <= 80), "{list}");
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[1].starts_with("old ") && lines[2].starts_with("new ") && lines[1].contains("2/2"), "{list}");
    let table = succeed(train(folder, &["compare", "runs/old", "runs/new"]));
    assert!(table.contains("epochs") && table.contains("test accuracy") && !table.contains("seed"), "{table}");
    let page = fs::read_to_string(folder.join("runs/compare.html")).unwrap();
    assert!(page.contains("old and new compared") && !page.contains("NaN"), "{page}");
}

/// Runs a training on a terminal with this many columns. Returns everything written to the terminal.
fn on_a_terminal(folder: &Path, kind: &str, columns: u16) -> String {
    let (mut ours, mut theirs) = (0, 0);
    let mut size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `openpty` gets two live descriptors to write and a live size to read; each descriptor then has exactly
    // one owner.
    let (mut terminal, output) = unsafe {
        let null = std::ptr::null_mut();
        assert_eq!(libc::openpty(&raw mut ours, &raw mut theirs, null, null.cast(), &raw mut size), 0);
        (File::from_raw_fd(ours), File::from_raw_fd(theirs))
    };
    let mut command = start(folder, "2", &["--threads", "1"]);
    command.env("TERM", kind).stdout(output.try_clone().unwrap()).stderr(output);
    let mut child = command.spawn().unwrap();
    // The command still holds the other end of the terminal open.
    drop(command);
    let mut bytes = Vec::new();
    // Reading a terminal whose other end is closed returns an error instead of end of file.
    let _ = terminal.read_to_end(&mut bytes);
    assert!(child.wait().unwrap().success());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn every_terminal_shows_the_epochs() {
    let place = place();
    let dumb = on_a_terminal(place.path(), "dumb", 80);
    assert!(dumb.contains("epoch 1/2  train loss") && dumb.contains("epoch 2/2  train loss"), "{dumb}");
    assert!(!dumb.contains('\u{1b}'), "{dumb:?}");
    for columns in [20, 40, 200] {
        let log = on_a_terminal(place.path(), "xterm", columns);
        assert!(log.contains("epoch 1/2  train loss") && log.contains("epoch 2/2  train loss"), "{log:?}");
        // The progress bar, which is redrawn, must fit on the line.
        let drawn = log.split(['\r', '\n', '\u{1b}']).filter(|part| part.contains('█') || part.contains('░'));
        for bar in drawn {
            // The rest of the escape sequence that erases the line.
            let bar = bar.trim_start_matches("[2K");
            assert!(bar.chars().count() <= usize::from(columns), "{columns}: {bar:?}");
        }
    }
}
