//! `deploy predict` as a user sees it: its inputs, every output format, and errors.
#![cfg(feature = "tract")]

mod example;
mod scene;

use deploy::embedded;
use example::{Example, LABELS, images, logits_by_hand};
use models::evaluation::{argmax, softmax};
use models::image_file;
use models::onnx::proto::ModelProto;
use ndarray::{Array3, Axis};
use prost::Message;
use scene::{Said, Scene, TRACT, answers};
use serde_json::Value;
use std::fs;
#[cfg(unix)]
use std::io::{BufRead, BufReader};

/// The beginning of a PNG file whose header claims 60,000×60,000 px.
const HUGE_PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\xea\x60\0\0\xea\x60\x08\0\0\0\0\xa5\xb9\x2a\x9e\0\0\0\x04IDAT\x78\x9c\0\0";

/// Puts `count` [`images`] into the sub-folder `photos`, as `00.png` and so on.
fn add_photos(scene: &Scene, count: usize) {
    fs::create_dir_all(scene.path("photos")).unwrap();
    for (n, pixels) in images(count, 1).outer_iter().enumerate() {
        fs::write(scene.path(&format!("photos/{n:02}.png")), image_file::png(pixels).unwrap()).unwrap();
    }
}

fn labels_of(said: &Said) -> Vec<String> {
    let predictions = said.json()["predictions"].as_array().unwrap().clone();
    predictions.iter().map(|prediction| prediction["label"].as_str().unwrap().to_owned()).collect()
}

fn expected_labels(count: usize) -> Vec<&'static str> {
    answers(count).into_iter().map(|class| LABELS[class]).collect()
}

#[test]
fn predict_prints_a_line_per_image_and_says_what_runs() {
    let scene = Scene::new();
    let said = scene.deploy(&format!("predict picture-0.pgm picture-1.pgm picture-2.pgm {TRACT} --threads 2"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stderr.starts_with("example.onnx: tract 0."), "{}", said.stderr);
    assert!(said.stderr.contains("tract 0.23.9, tract-linalg with own convolutions on"), "{}", said.stderr);
    let answers = answers(3);
    let lines: Vec<_> = said.stdout.lines().collect();
    assert_eq!(lines.len(), 3);
    for (n, line) in lines.iter().enumerate() {
        assert!(line.starts_with(&format!("picture-{n}.pgm  {}  ", LABELS[answers[n]])), "{line}");
        assert!(line.matches('%').count() == 3 && line.ends_with("%)"), "{line}");
    }
}

#[test]
fn predict_prints_one_json_document() {
    let scene = Scene::new();
    let said = scene.deploy(&format!("predict picture-1.pgm picture-2.pgm {TRACT} --top-k 2 --format json"));
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    let document = said.json();
    assert_eq!(document["model"], "example.onnx");
    assert_eq!(document["runtime"]["name"], "tract");
    assert_eq!(document["predictions"].as_array().unwrap().len(), 2);
    let expected = softmax(logits_by_hand(images(3, 1).view()).view());
    let prediction = &document["predictions"][1];
    let class = argmax(expected.index_axis(Axis(0), 2));
    assert_eq!(prediction["file"], "picture-2.pgm");
    assert_eq!((&prediction["class"], &prediction["label"]), (&Value::from(class), &Value::from(LABELS[class])));
    let probability = prediction["probability"].as_f64().unwrap();
    assert!((probability - f64::from(expected[[2, class]])).abs() < 1e-5);
    assert_eq!(prediction["top"].as_array().unwrap().len(), 2);
    assert_eq!(prediction["top"][0]["label"], prediction["label"]);
}

#[test]
fn a_bad_image_is_named_and_the_rest_is_done() {
    let scene = Scene::new();
    let images = "notes.png picture-0.pgm no-such.png picture-1.pgm";
    let said = scene.deploy(&format!("predict {images} {TRACT}"));
    assert_eq!(said.code, Some(1));
    assert_eq!(said.stdout.lines().count(), 2, "{}", said.stdout);
    for word in ["notes.png is not an image", "cannot read no-such.png", "2 of 4 images could not be used"] {
        assert!(said.stderr.contains(word), "{}", said.stderr);
    }
    let said = scene.deploy(&format!("predict {images} {TRACT} --format json"));
    assert_eq!(said.code, Some(1));
    let document = said.json();
    assert_eq!(document["predictions"].as_array().unwrap().len(), 2);
    assert_eq!(document["errors"][0]["file"], "notes.png");
    assert!(document["errors"][1]["error"].as_str().unwrap().contains("no-such.png"));
}

#[test]
fn more_answers_than_classes_cannot_be_had() {
    let scene = Scene::new();
    scene.assert_fails(&format!("predict picture-0.pgm {TRACT} --top-k 4"), 1, &["expected 1 to 3"]);
    let zero = format!("predict picture-0.pgm {TRACT} --top-k 0");
    scene.assert_fails(&zero, 2, &["'0'", "--top-k <K>", "expected a whole number from 1 to"]);
}

#[test]
#[cfg(unix)]
fn a_reader_that_stops_early_is_not_an_error() {
    let scene = Scene::new();
    // The read end is closed before the first write.
    let script = format!(
        "'{}' predict picture-0.pgm picture-1.pgm {TRACT} 2>err; echo $? > code",
        assert_cmd::cargo::cargo_bin("deploy").display()
    );
    let status = std::process::Command::new("bash")
        .current_dir(scene.folder.path())
        .args(["-c", &format!("({script}) | true")])
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(std::fs::read_to_string(scene.path("code")).unwrap(), "0\n");
    let stderr = std::fs::read_to_string(scene.path("err")).unwrap();
    assert!(stderr.starts_with("example.onnx: tract") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn a_folder_of_any_size_gives_the_same_answers_in_order_with_any_threads_and_batch() {
    let scene = Scene::new();
    add_photos(&scene, 90);
    let whole = scene.deploy(&format!("predict photos {TRACT} --threads 1 --format json"));
    assert_eq!(
        (whole.code, labels_of(&whole)),
        (Some(0), expected_labels(90).into_iter().map(str::to_owned).collect())
    );
    for options in ["--threads 2", "--threads 3 --batch 7", "--threads 1 --batch 1", "--threads 2 --batch 1000"] {
        let said = scene.deploy(&format!("predict photos {TRACT} --format json {options}"));
        assert_eq!(said.json()["predictions"], whole.json()["predictions"], "{options}");
    }
}

#[test]
fn files_folders_patterns_and_standard_input_are_read_in_the_order_given() {
    let scene = Scene::new();
    add_photos(&scene, 3);
    fs::write(scene.path("photos/.hidden.png"), "").unwrap();
    fs::write(scene.path("photos/notes.txt"), "").unwrap();
    let third = image_file::png(images(3, 1).index_axis(Axis(0), 2)).unwrap();
    let arguments = format!("predict picture-1.pgm photos - picture-[02].pgm {TRACT} --format json");
    let document = scene.deploy_with_input(&arguments, third);
    assert_eq!(document.code, Some(0), "{}", document.stderr);
    let files: Vec<_> =
        document.json()["predictions"].as_array().unwrap().iter().map(|one| one["file"].clone()).collect();
    let expected =
        ["picture-1.pgm", "photos/00.png", "photos/01.png", "photos/02.png", "-", "picture-0.pgm", "picture-2.pgm"];
    assert_eq!(files, expected);
    let all = expected_labels(3);
    assert_eq!(labels_of(&document), [1, 0, 1, 2, 2, 0, 2].map(|n| all[n]));
    let note = "photos: skipped files other than PNG, JPEG, WebP, BMP, PNM: 1 hidden, 1 .txt";
    assert_eq!(document.stderr, format!("note: {note}\n"));
    assert_eq!(document.json()["notes"][0], note);
}

#[test]
fn what_names_no_image_is_an_error() {
    let scene = Scene::new();
    fs::create_dir(scene.path("empty")).unwrap();
    scene.assert_fails(
        &format!("predict picture-0.pgm *.jpg {TRACT}"),
        1,
        &["*.jpg: no file has this name or matches"],
    );
    scene.assert_fails(&format!("predict picture-0.pgm empty {TRACT}"), 1, &["the folder empty contains no images"]);
    scene.assert_fails(&format!("predict - picture-0.pgm - {TRACT}"), 2, &["- is given twice"]);
}

#[test]
fn standard_input_that_is_not_an_image_is_named() {
    let scene = Scene::new();
    let said = scene.deploy_with_input(&format!("predict - {TRACT}"), b"no picture".to_vec());
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""));
    assert!(said.stderr.contains("error: standard input is not an image"), "{}", said.stderr);
    assert!(said.stderr.ends_with("error: 1 of 1 image could not be used\n"), "{}", said.stderr);
}

#[test]
fn json_lines_come_one_per_image_in_order_errors_too() {
    let scene = Scene::new();
    let files = "picture-0.pgm notes.png picture-1.pgm missing.png picture-2.pgm";
    let said = scene.deploy(&format!("predict {files} {TRACT} --format jsonl --batch 2"));
    assert_eq!(said.code, Some(1));
    let lines: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().map(|line| line["file"].as_str().unwrap()).eq(files.split(' ')), "{}", said.stdout);
    let whole = scene.deploy(&format!("predict {files} {TRACT} --format json")).json();
    for (line, prediction) in [(0, 0), (2, 1), (4, 2)] {
        assert_eq!(lines[line], whole["predictions"][prediction]);
    }
    assert_eq!((&lines[1], &lines[3]), (&whole["errors"][0], &whole["errors"][1]));
    for word in ["example.onnx: tract 0.", "error: notes.png is not an image", "2 of 5 images could not be used"] {
        assert!(said.stderr.contains(word), "{}", said.stderr);
    }
}

#[test]
fn csv_has_a_header_and_can_be_read_back_with_any_names() {
    let scene = Scene::new();
    fs::rename(scene.path("picture-0.pgm"), scene.path("a,\"b\".pgm")).unwrap();
    let said = scene.deploy(&format!("predict a,\"b\".pgm notes.png picture-1.pgm {TRACT} --format csv --top-k 2"));
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let mut table = csv::Reader::from_reader(said.stdout.as_bytes());
    let header: Vec<_> = table.headers().unwrap().iter().map(str::to_owned).collect();
    let first = ["file", "label", "probability", "class"];
    assert_eq!(header, [&first[..], &["label_1", "probability_1", "label_2", "probability_2", "error"]].concat());
    let records: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let files: Vec<_> = records.iter().map(|record| &record[0]).collect();
    assert_eq!(files, ["a,\"b\".pgm", "notes.png", "picture-1.pgm"]);
    let expected = softmax(logits_by_hand(images(1, 1).view()).view());
    let class = answers(1)[0];
    assert_eq!((&records[0][1], &records[0][3], &records[0][4]), (LABELS[class], &*class.to_string(), LABELS[class]));
    for column in [2, 5] {
        assert!((records[0][column].parse::<f32>().unwrap() - expected[[0, class]]).abs() < 1e-5);
    }
    assert_eq!(&records[0][8], "");
    assert!((1..8).all(|column| records[1][column].is_empty()) && records[1][8].contains("not an image"));
}

#[test]
fn what_is_not_likely_enough_is_unknown_in_every_format() {
    let scene = Scene::new();
    let sure = LABELS[answers(1)[0]];
    let predict = |rest: &str| scene.deploy(&format!("predict picture-0.pgm {TRACT} --top-k 1 {rest}"));
    let document = predict("--threshold 1 --format json").json();
    let prediction = &document["predictions"][0];
    assert_eq!((&prediction["label"], &prediction["class"]), (&Value::from("unknown"), &Value::Null));
    assert_eq!(
        (&prediction["top"][0]["label"], &prediction["top"][0]["probability"]),
        (&Value::from(sure), &prediction["probability"])
    );
    let line: Value = serde_json::from_str(&predict("--threshold 1 --format jsonl").stdout).unwrap();
    assert_eq!(line, *prediction);
    let table = predict("--threshold 1 --format csv").stdout;
    assert!(table.lines().nth(1).unwrap().starts_with("picture-0.pgm,unknown,0."), "{table}");
    let text = predict("--threshold 1").stdout;
    assert!(text.starts_with("picture-0.pgm  unknown  ") && text.contains(&format!("({sure}")), "{text}");
    let text = predict("--threshold 0").stdout;
    assert!(text.starts_with(&format!("picture-0.pgm  {sure} ")), "{text}");
    scene.assert_fails(
        &format!("predict picture-0.pgm {TRACT} --threshold 1.5"),
        2,
        &["expected a number from 0 to 1"],
    );
}

/// The energy is a property of logits; that of probabilities is 0.
#[test]
fn a_file_that_returns_only_probabilities_knows_no_unknown_images() {
    let scene = Scene::new();
    let mut model = ModelProto::decode(embedded::MODEL).unwrap();
    model.graph.as_mut().unwrap().output.retain(|output| output.name == "probabilities");
    fs::write(scene.path("odds.onnx"), model.encode_to_vec()).unwrap();
    let one = Array3::from_shape_fn(
        (1, 28, 28),
        |(_, y, x)| if (4..24).contains(&y) && x.abs_diff(14) < 2 { 250 } else { 0 },
    );
    fs::write(scene.path("one.png"), image_file::png(one.view()).unwrap()).unwrap();
    for model in ["", "--model odds.onnx"] {
        let said = scene.deploy(&format!("predict one.png {model} --backend tract --format json"));
        assert_eq!(labels_of(&said), ["1"], "{}", said.stderr);
    }
    let arguments = "predict one.png --model odds.onnx --backend tract --unknown on";
    scene.assert_fails(arguments, 2, &["--unknown has no effect: odds.onnx cannot tell unknown images"]);
}

#[test]
fn an_image_of_too_many_pixels_is_refused_by_its_header() {
    let scene = Scene::new();
    fs::write(scene.path("huge.png"), HUGE_PNG).unwrap();
    let said = scene.deploy(&format!("predict huge.png picture-0.pgm {TRACT}"));
    assert_eq!((said.code, said.stdout.lines().count()), (Some(1), 1), "{}", said.stderr);
    assert!(
        said.stderr.contains("huge.png") && said.stderr.contains("60000x60000 = 3600000000 pixels"),
        "{}",
        said.stderr
    );
    let said = scene.deploy(&format!("predict picture-0.pgm {TRACT} --max-pixels 47"));
    assert!(said.code == Some(1) && said.stderr.contains("6x8 = 48 pixels: expected at most 47"), "{}", said.stderr);
    assert_eq!(scene.deploy(&format!("predict picture-0.pgm {TRACT} --max-pixels 48")).code, Some(0));
    scene.assert_fails(&format!("predict picture-0.pgm {TRACT} --max-pixels 0"), 2, &["--max-pixels"]);
}

#[test]
fn inputs_are_saved_under_names_of_their_own() {
    let scene = Scene::new();
    add_photos(&scene, 2);
    fs::create_dir(scene.path("more")).unwrap();
    fs::copy(scene.path("picture-2.pgm"), scene.path("more/00.pgm")).unwrap();
    let said = scene.deploy(&format!("predict photos more notes.png {TRACT} --save-input seen --format csv"));
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let mut saved: Vec<_> = fs::read_dir(scene.path("seen")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    saved.sort_unstable();
    assert_eq!(saved, ["00-2.png", "00.png", "01.png"]);
    let mut table = csv::Reader::from_reader(said.stdout.as_bytes());
    assert_eq!(&table.headers().unwrap()[10], "input");
    let column: Vec<_> = table.records().map(|record| record.unwrap()[10].to_owned()).collect();
    assert_eq!(column, ["seen/00.png", "seen/01.png", "seen/00-2.png", ""]);
    // The network sees the saved inputs as it saw the originals.
    let again = scene.deploy(&format!("predict seen/00.png seen/01.png seen/00-2.png {TRACT} --format json"));
    assert_eq!(labels_of(&again), expected_labels(3));

    scene.assert_fails(&format!("predict photos {TRACT} --save-input photos"), 1, &["name another folder"]);
    scene.assert_fails(&format!("predict photos {TRACT} --save-input notes.png"), 1, &["cannot write into notes.png"]);
}

#[test]
fn an_answer_is_explained_by_a_picture() {
    let scene = Scene::new();
    add_photos(&scene, 2);
    // The embedded model ends in global average pooling and a linear classifier.
    let said = scene.deploy("predict photos --backend tract --explain why --format csv --unknown off");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let mut table = csv::Reader::from_reader(said.stdout.as_bytes());
    assert_eq!(&table.headers().unwrap()[10], "explanation");
    for (record, file) in table.records().zip(["why/00.png", "why/01.png"]) {
        assert_eq!(&record.unwrap()[10], file);
        let form = image_file::form(&scene.path(file)).unwrap();
        assert_eq!((form.width, form.height), (224, 224));
    }
    // The example is a plain linear model.
    scene.assert_fails(
        &format!("predict photos {TRACT} --explain why"),
        1,
        &["cannot be explained", "no linear classifier (Gemm) follows its pooling"],
    );
    scene.assert_fails(
        "predict photos --backend tract --unknown off --explain new --save-input ./new",
        1,
        &["--save-input and --explain both name ./new", "name two folders"],
    );
}

#[test]
fn colours_are_predicted_and_saved_in_colour() {
    let scene = Scene::new();
    fs::write(scene.path("colour.onnx"), Example { channels: 3, ..Example::default() }.bytes()).unwrap();
    let pixels = images(1, 3);
    fs::write(scene.path("colour.png"), image_file::png(pixels.index_axis(Axis(0), 0)).unwrap()).unwrap();
    let model = "--model colour.onnx --backend tract";
    let said = scene.deploy(&format!("predict colour.png {model} --save-input seen --format json"));
    let class = argmax(logits_by_hand(pixels.view()).row(0));
    assert_eq!(labels_of(&said), [LABELS[class]], "{}", said.stderr);
    assert_eq!(said.json()["predictions"][0]["input"], "seen/colour.png");
    assert_eq!(fs::read(scene.path("seen/colour.png")).unwrap(), fs::read(scene.path("colour.png")).unwrap());
}

#[test]
fn a_polarity_is_for_models_of_digits() {
    let scene = Scene::new();
    for polarity in ["auto", "light-on-dark", "dark-on-light"] {
        let arguments = format!("predict picture-0.pgm {TRACT} --polarity {polarity}");
        scene.assert_fails(&arguments, 2, &["--polarity has no effect: example.onnx"]);
    }
    scene.assert_fails(&format!("predict picture-0.pgm {TRACT} --polarity grey"), 2, &["light-on-dark"]);
    // A light bar and a dark bar: only the user knows which of them is ink.
    let bars = Array3::from_shape_fn((1, 60, 60), |(_, y, x)| match (x, y) {
        (10..20, 10..50) => 250,
        (30..50, 20..30) => 5,
        _ => 128,
    });
    fs::write(scene.path("bars.png"), image_file::png(bars.view()).unwrap()).unwrap();
    let saved = |polarity: &str| {
        let said =
            scene.deploy(&format!("predict bars.png --backend tract --polarity {polarity} --save-input {polarity}"));
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        fs::read(scene.path(&format!("{polarity}/bars.png"))).unwrap()
    };
    let [auto, light, dark] = ["auto", "light-on-dark", "dark-on-light"].map(saved);
    assert_ne!(light, dark);
    assert!(auto == light || auto == dark);
}

/// Starts the binary with standard output and standard error in pipes.
#[cfg(unix)]
fn start(scene: &Scene, arguments: &str) -> std::process::Child {
    use std::process::{Command, Stdio};
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("deploy"));
    command.current_dir(scene.folder.path()).args(arguments.split_whitespace());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// An image that never arrives: a pipe that nobody writes into.
#[cfg(unix)]
fn add_endless(scene: &Scene) {
    assert!(std::process::Command::new("mkfifo").arg(scene.path("endless.png")).status().unwrap().success());
}

#[test]
#[cfg(unix)]
fn a_reader_that_leaves_early_ends_the_work() {
    let scene = Scene::new();
    add_photos(&scene, 60);
    add_endless(&scene);
    // More lines than a pipe holds, followed by an image that the program would wait for if it went on.
    let images = "photos ".repeat(100) + "endless.png";
    let mut child = start(&scene, &format!("predict {images} {TRACT} --format jsonl --batch 1 --threads 2"));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["file"], "photos/00.png");
    for _ in 0..600 {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(0), 1), "{stderr}");
}

#[test]
#[cfg(unix)]
fn answers_do_not_wait_for_the_last_image_and_a_signal_ends_the_work() {
    use std::os::unix::process::ExitStatusExt;
    let scene = Scene::new();
    add_photos(&scene, 60);
    add_endless(&scene);
    let mut child = start(&scene, &format!("predict photos endless.png {TRACT} --format jsonl --batch 1 --threads 2"));
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(60);
    let documents: Vec<Value> = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!(documents.len(), 60);
    // Like Ctrl-C, but with a signal that is not ignored even if the tests were started with SIGINT ignored. SAFETY:
    // sends a signal to our own child process.
    assert_eq!(unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGTERM) }, 0);
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
}

#[test]
fn a_model_given_as_an_image_is_explained() {
    let scene = Scene::new();
    scene.assert_fails("predict picture-0.pgm example.onnx", 2, &["deploy predict picture-0.pgm --model example.onnx"]);
    scene.assert_fails("predict example.onnx", 2, &["example.onnx is a model, not an image", "--model"]);
    scene.assert_fails("predict example.onnx --model example.onnx", 2, &["--model already names example.onnx"]);
}

#[test]
fn the_model_in_the_program_says_of_photographs_that_it_reads_digits() {
    let scene = Scene::new();
    // Three hues, each from dark to light. It has the model's size, so that no digit is searched for.
    let hue = [[0.9, 0.6, 0.3], [0.3, 0.8, 0.4], [0.4, 0.6, 1.0]];
    let light = |y: usize| 50.0 + 200.0 * y as f32 / 28.0;
    let photograph = Array3::from_shape_fn((3, 28, 28), |(channel, y, x)| (light(y) * hue[3 * x / 28][channel]) as u8);
    fs::write(scene.path("photograph.png"), image_file::png(photograph.view()).unwrap()).unwrap();
    let note = "photograph.png looks like a photograph, but the embedded model reads only digits";
    assert!(scene.deploy("predict picture-0.pgm photograph.png --backend tract").stderr.contains(note));
    for quiet in ["picture-0.pgm --backend tract", &format!("photograph.png {TRACT}")] {
        assert!(!scene.deploy(&format!("predict {quiet}")).stderr.contains("photograph,"), "{quiet}");
    }
}

#[test]
#[cfg(unix)]
fn names_that_are_not_utf8_stay_apart() {
    use std::os::unix::ffi::OsStrExt;
    let scene = Scene::new();
    let image = fs::read(scene.path("picture-0.pgm")).unwrap();
    fs::create_dir(scene.path("names")).unwrap();
    for name in [&b"a\xfe.pgm"[..], b"a\xff.pgm", br"a\xff.pgm", b"a\n.pgm"] {
        fs::write(scene.path("names").join(std::ffi::OsStr::from_bytes(name)), &image).unwrap();
    }
    let said = scene.deploy(&format!("predict names {TRACT} --format jsonl"));
    let files = said.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["file"].clone());
    let mut files: Vec<String> = files.map(|file| file.as_str().unwrap().to_owned()).collect();
    files.sort_unstable();
    assert_eq!(files, ["names/a\n.pgm", r"names/a\x5cxff.pgm", r"names/a\xfe.pgm", r"names/a\xff.pgm"]);
    let text = scene.deploy(&format!("predict names {TRACT}")).stdout;
    assert_eq!((text.lines().count(), text.contains(r"names/a\x0a.pgm")), (4, true), "{text}");
}
