//! Images that come one after the other: streams, and folders that are watched.
#![cfg(all(feature = "tract", unix))]

mod example;
mod scene;

use example::{LABELS, images};
use image::{ImageFormat, RgbImage};
use models::image_file;
use scene::{Scene, TRACT, answers};
use serde_json::Value;
#[cfg(feature = "watch")]
use std::fs;
use std::io::{BufRead, BufReader, Cursor, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
#[cfg(feature = "watch")]
use std::thread;
#[cfg(feature = "watch")]
use std::time::Duration;

/// The first images of the example, as PNG files.
fn files(count: usize) -> Vec<Vec<u8>> {
    images(count, 1).outer_iter().map(|pixels| image_file::png(pixels).unwrap()).collect()
}

/// The numbers and labels of the lines of a stream.
fn lines(text: &str) -> Vec<(u64, String)> {
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["frame"].as_u64().unwrap(), line["label"].as_str().unwrap_or("error").to_owned())
    };
    text.lines().map(line).collect()
}

fn expected(count: usize) -> Vec<(u64, String)> {
    answers(count).into_iter().enumerate().map(|(n, class)| (n as u64 + 1, LABELS[class].to_owned())).collect()
}

#[test]
fn every_image_of_a_stream_is_answered_in_order() {
    let scene = Scene::new();
    let said = scene.deploy_with_input(&format!("predict --stream - {TRACT}"), files(100).concat());
    assert_eq!((said.code, lines(&said.stdout)), (Some(0), expected(100)), "{}", said.stderr);
    assert!(said.stderr.contains("100 images: 100 answered, 0 skipped"), "{}", said.stderr);
    // Each answer is that of the same file.
    std::fs::write(scene.path("0.png"), &files(1)[0]).unwrap();
    let mut one: Value = scene.deploy(&format!("predict 0.png {TRACT} --format json")).json()["predictions"][0].take();
    one["file"] = "image 1 of standard input".into();
    one["frame"] = 1.into();
    assert_eq!(serde_json::from_str::<Value>(said.stdout.lines().next().unwrap()).unwrap(), one);

    std::fs::write(scene.path("all.png"), files(25).concat()).unwrap();
    let said = scene.deploy(&format!("predict --stream all.png --every 10 {TRACT}"));
    let tenth: Vec<_> = expected(25).into_iter().step_by(10).collect();
    assert_eq!((said.code, lines(&said.stdout)), (Some(0), tenth), "{}", said.stderr);
    assert!(said.stderr.contains("25 images: 3 answered, 22 skipped"), "{}", said.stderr);
}

#[test]
fn a_damaged_image_is_reported_and_the_stream_goes_on() {
    let scene = Scene::new();
    let mut jpeg = Cursor::new(Vec::new());
    RgbImage::from_pixel(64, 64, image::Rgb([9, 90, 200])).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
    let jpeg = jpeg.into_inner();
    let stream = [b"--b\r\n\r\n", &files(1)[0][..], &jpeg[..jpeg.len() / 2], &jpeg, &files(1)[0]].concat();
    let said = scene.deploy_with_input(&format!("predict --stream - {TRACT}"), stream);
    let labels: Vec<_> = lines(&said.stdout).into_iter().map(|(_, label)| label).collect();
    assert!(said.code == Some(1) && labels.len() == 4 && labels[1] == "error", "{}{}", said.stdout, said.stderr);
    assert!(labels[2] != "error" && labels[0] == labels[3], "{labels:?}");
    assert!(
        said.stderr.contains("error: image 2 of standard input is not an image that can be read"),
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("1 of 4 images could not be used"), "{}", said.stderr);
}

#[test]
fn a_stream_without_images_is_an_error() {
    let scene = Scene::new();
    for stream in [&b""[..], b"this is text"] {
        let said = scene.deploy_with_input(&format!("predict --stream - {TRACT}"), stream.to_vec());
        assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""));
        assert!(said.stderr.contains("standard input contains no JPEG or PNG image"), "{}", said.stderr);
    }
    for (arguments, code, word) in [
        ("predict --stream missing", 1, "cannot read missing"),
        ("predict --stream - a.png", 2, "cannot be used with"),
        ("predict --stream - --format csv", 2, "--stream prints a JSON object per line"),
        ("predict --latest a.png", 2, "--stream"),
        ("predict --every 2 a.png", 2, "--stream"),
    ] {
        scene.assert_fails(arguments, code, &[word]);
    }
}

/// A running command, killed when dropped, and its output line by line.
struct Running(Child, BufReader<ChildStdout>);

impl Running {
    fn start(scene: &Scene, arguments: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deploy"));
        command.current_dir(scene.folder.path()).args(arguments.split_whitespace());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self(process, output)
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The latest image must not wait for a camera to send another one.
#[test]
fn an_image_is_answered_before_the_next_one_comes() {
    let scene = Scene::new();
    let mut running = Running::start(&scene, &format!("predict --stream - --latest {TRACT}"));
    let mut camera = running.0.stdin.take().unwrap();
    for (file, (number, label)) in files(5).iter().zip(expected(5)) {
        camera.write_all(file).unwrap();
        let line = running.line();
        assert_eq!((line["frame"].as_u64(), line["label"].as_str()), (Some(number), Some(label.as_str())));
    }
}

#[cfg(feature = "watch")]
impl Running {
    /// Starts to watch the folder `new` and waits until it is watched.
    fn watch(scene: &Scene, options: &str) -> Self {
        let mut running = Self::start(scene, &format!("watch new --format jsonl {TRACT} {options}"));
        let mut messages = BufReader::new(running.0.stderr.take().unwrap()).lines();
        assert!(messages.any(|line| line.unwrap() == "watching new"));
        thread::spawn(move || messages.for_each(drop));
        running
    }

    /// The next answer is for this file, with the label of the example's image of this number.
    fn assert_next(&mut self, file: &str, number: usize) {
        let line = self.line();
        let label = LABELS[answers(number + 1)[number]];
        assert_eq!((line["file"].as_str(), line["label"].as_str()), (Some(&*format!("new/{file}")), Some(label)));
    }
}

#[cfg(feature = "watch")]
fn watched_folder(scene: &Scene) -> Vec<Vec<u8>> {
    fs::create_dir_all(scene.path("new/old")).unwrap();
    let files = files(10);
    fs::write(scene.path("new/old/there.png"), &files[0]).unwrap();
    files
}

#[cfg(feature = "watch")]
#[test]
fn images_are_answered_as_they_arrive() {
    let scene = Scene::new();
    let files = watched_folder(&scene);
    let mut running = Running::watch(&scene, "");
    let put = |name: &str, number: usize| fs::write(scene.path(&format!("new/{name}")), &files[number]).unwrap();
    put("a.png", 1);
    running.assert_next("a.png", 1);
    // Written slowly: answered once, when complete.
    let mut slow = fs::File::create(scene.path("new/slow.png")).unwrap();
    slow.write_all(&files[2][..40]).unwrap();
    thread::sleep(Duration::from_millis(1500));
    slow.write_all(&files[2][40..]).unwrap();
    drop(slow);
    running.assert_next("slow.png", 2);
    // As rsync does it: a hidden file that is renamed.
    put(".b.png.x3kQ", 3);
    fs::rename(scene.path("new/.b.png.x3kQ"), scene.path("new/b.png")).unwrap();
    running.assert_next("b.png", 3);
    put("notes.txt", 4);
    put(".hidden.png", 4);
    put("a.png", 5);
    running.assert_next("a.png", 5);
    // In a new folder, in one that is moved in with its images, and as another name of a file.
    fs::create_dir(scene.path("new/deep")).unwrap();
    put("deep/c.png", 6);
    running.assert_next("deep/c.png", 6);
    fs::create_dir_all(scene.path("elsewhere/deeper")).unwrap();
    fs::write(scene.path("elsewhere/deeper/d.png"), &files[7]).unwrap();
    fs::rename(scene.path("elsewhere"), scene.path("new/moved")).unwrap();
    running.assert_next("moved/deeper/d.png", 7);
    fs::hard_link(scene.path("new/old/there.png"), scene.path("new/linked.png")).unwrap();
    running.assert_next("linked.png", 0);
    // A link to a folder, and what arrives there later.
    fs::create_dir(scene.path("other")).unwrap();
    fs::write(scene.path("other/e.png"), &files[9]).unwrap();
    std::os::unix::fs::symlink(scene.path("other"), scene.path("new/link")).unwrap();
    running.assert_next("link/e.png", 9);
    fs::write(scene.path("other/f.png"), &files[4]).unwrap();
    running.assert_next("link/f.png", 4);
    fs::write(scene.path("new/broken.png"), "text").unwrap();
    assert!(running.line()["error"].as_str().unwrap().contains("new/broken.png is not an image"));
    // Looking at an image is not news.
    fs::OpenOptions::new().append(true).open(scene.path("new/a.png")).unwrap();
    put("last.png", 8);
    running.assert_next("last.png", 8);
    fs::remove_dir_all(scene.path("new")).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(1));
}

/// Files that others write all the time must not keep new images waiting.
#[cfg(feature = "watch")]
#[test]
fn busy_files_do_not_hold_images_up() {
    let scene = Scene::new();
    let files = watched_folder(&scene);
    let mut running = Running::watch(&scene, "");
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            let mut busy =
                ["one.log", "two.png"].map(|name| fs::File::create(scene.path(&format!("new/{name}"))).unwrap());
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                for file in &mut busy {
                    file.write_all(b"x").unwrap();
                }
            }
        });
        for (number, file) in files.iter().enumerate().skip(1) {
            let name = format!("{number}.png");
            fs::write(scene.path(&format!("new/{name}")), file).unwrap();
            running.assert_next(&name, number);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[cfg(feature = "watch")]
#[test]
fn a_folder_without_events_is_polled() {
    let scene = Scene::new();
    let files = watched_folder(&scene);
    let mut running = Running::watch(&scene, "--poll 0.2 --existing");
    running.assert_next("old/there.png", 0);
    fs::write(scene.path("new/a.png"), &files[1]).unwrap();
    running.assert_next("a.png", 1);
    fs::write(scene.path("new/a.png"), &files[2]).unwrap();
    running.assert_next("a.png", 2);
    // Another inode, such as a network folder may give to the same file.
    let modified = fs::metadata(scene.path("new/a.png")).unwrap().modified().unwrap();
    fs::copy(scene.path("new/a.png"), scene.path("copy")).unwrap();
    fs::OpenOptions::new().write(true).open(scene.path("copy")).unwrap().set_modified(modified).unwrap();
    fs::rename(scene.path("copy"), scene.path("new/a.png")).unwrap();
    fs::write(scene.path("new/b.png"), &files[3]).unwrap();
    running.assert_next("b.png", 3);
}

/// An image that is written while its new folder is not yet watched must be found all the same.
#[cfg(feature = "watch")]
#[test]
fn no_image_of_a_new_folder_is_lost() {
    let scene = Scene::new();
    let files = watched_folder(&scene);
    let mut running = Running::watch(&scene, "");
    let names: Vec<String> = (0..200).map(|number| format!("new/{number:03}/a.png")).collect();
    for (number, name) in names.iter().enumerate() {
        fs::create_dir(scene.path(name).parent().unwrap()).unwrap();
        thread::sleep(Duration::from_micros(number as u64));
        fs::write(scene.path(name), &files[1]).unwrap();
    }
    let mut found: Vec<_> = names.iter().map(|_| running.line()["file"].as_str().unwrap().to_owned()).collect();
    found.sort_unstable();
    assert_eq!(found, names);
}

#[cfg(feature = "watch")]
#[test]
fn what_cannot_be_watched_is_refused() {
    let scene = Scene::new();
    for (arguments, code, word) in [
        ("watch missing", 1, "cannot watch missing"),
        ("watch picture-0.pgm", 1, "it is not a folder"),
        ("watch . --format json", 2, "use jsonl"),
        ("watch . --poll 0", 2, "0.1"),
    ] {
        scene.assert_fails(arguments, code, &[word]);
    }
}
