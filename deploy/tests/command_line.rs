//! The binary as a user meets it: output, exit codes and messages.
#![cfg(feature = "tract")]

mod example;

use assert_cmd::Command;
use example::{Example, LABELS, logits_by_hand, pictures, write_data_set};
use models::evaluation::{argmax, softmax};
use ndarray::Axis;
use serde_json::Value;
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder with a model, three pictures, a test set, and files that are no good.
struct Scene {
    folder: TempDir,
}

/// What a command said.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: TempDir::new().unwrap() };
        Example::default().write(scene.folder.path());
        for (n, picture) in pictures(3, 1).outer_iter().enumerate() {
            let picture = [b"P5 6 8 255\n".to_vec(), picture.iter().copied().collect()].concat();
            std::fs::write(scene.path(&format!("picture-{n}.pgm")), picture).unwrap();
        }
        let answers = answers(90);
        // One of ten is labelled wrongly.
        let label = |n: usize| (answers[n] + usize::from(n.is_multiple_of(10))) % LABELS.len();
        write_data_set(scene.folder.path(), 90, |n| u8::try_from(label(n)).unwrap());
        std::fs::write(scene.path("notes.png"), "this is text\n").unwrap();
        std::fs::write(scene.path("short.onnx"), &Example::default().bytes()[..200]).unwrap();
        std::fs::write(scene.path("empty.onnx"), "").unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn deploy(&self, arguments: &str) -> Said {
        let mut command = Command::cargo_bin("deploy").unwrap();
        let output = command.current_dir(self.folder.path()).args(arguments.split_whitespace()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let said = Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) };
        assert!(!said.stderr.contains("panicked"), "{arguments}: {}", said.stderr);
        said
    }

    /// Runs a command that must fail with this code and these words on standard error, and no output.
    fn assert_fails(&self, arguments: &str, code: i32, words: &[&str]) {
        let said = self.deploy(arguments);
        assert_eq!(said.code, Some(code), "{arguments}: {}{}", said.stdout, said.stderr);
        for word in words {
            assert!(said.stderr.contains(word), "{arguments}: '{word}' is not in: {}", said.stderr);
        }
        let error = said.stderr.lines().any(|line| line.starts_with("error: "));
        assert!(error, "{arguments}: {}", said.stderr);
        assert!(said.stdout.is_empty(), "{arguments}: {}", said.stdout);
    }
}

fn answers(count: usize) -> Vec<usize> {
    logits_by_hand(pictures(count, 1).view()).rows().into_iter().map(argmax).collect()
}

const TRACT: &str = "--model example.onnx --backend tract";

#[test]
fn predict_prints_a_line_per_picture_and_says_what_runs() {
    let scene = Scene::new();
    let said = scene.deploy(&format!("predict picture-0.pgm picture-1.pgm picture-2.pgm {TRACT} --threads 2"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stderr.starts_with("example.onnx: tract 0."), "{}", said.stderr);
    assert!(said.stderr.contains("tract-linalg on cpu, 2 threads"), "{}", said.stderr);
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
    let expected = softmax(logits_by_hand(pictures(3, 1).view()).view());
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
fn a_bad_picture_is_named_and_the_rest_is_done() {
    let scene = Scene::new();
    let pictures = "notes.png picture-0.pgm no-such.png picture-1.pgm";
    let said = scene.deploy(&format!("predict {pictures} {TRACT}"));
    assert_eq!(said.code, Some(1));
    assert_eq!(said.stdout.lines().count(), 2, "{}", said.stdout);
    for word in ["notes.png is not a picture", "cannot read no-such.png", "2 of 4 pictures could not be used"] {
        assert!(said.stderr.contains(word), "{}", said.stderr);
    }
    let said = scene.deploy(&format!("predict {pictures} {TRACT} --format json"));
    assert_eq!(said.code, Some(1));
    let document = said.json();
    assert_eq!(document["predictions"].as_array().unwrap().len(), 2);
    assert_eq!(document["errors"][0]["file"], "notes.png");
    assert!(document["errors"][1]["error"].as_str().unwrap().contains("no-such.png"));
}

#[test]
fn a_file_without_a_card_is_used_and_said_so() {
    let scene = Scene::new();
    std::fs::write(scene.path("bare.onnx"), Example::without_card().bytes()).unwrap();
    let said = scene.deploy("predict picture-0.pgm --model bare.onnx --backend tract");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stderr.contains("note: the file has no model card: assumed grey pictures"), "{}", said.stderr);
    scene.assert_fails("eval --model bare.onnx --backend tract", 1, &["give --data"]);
}

#[test]
fn eval_counts_right_answers() {
    let scene = Scene::new();
    let said = scene.deploy(&format!("eval {TRACT} --data ."));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    for word in ["90.00 % (81 of 90;", "90 test images", "true \\ answer", "images/s", "tract-linalg on cpu"] {
        assert!(said.stdout.contains(word), "{}", said.stdout);
    }
    let document = scene.deploy(&format!("eval {TRACT} --data . --format json")).json();
    assert_eq!((&document["correct"], &document["images"]), (&Value::from(81), &Value::from(90)));
    assert_eq!(document["labels"][2], "cat");
    assert_eq!(document["confusion"]["counts"].as_array().unwrap().len(), 3);
}

#[test]
fn eval_says_what_data_it_lacks() {
    let scene = Scene::new();
    scene.assert_fails(&format!("eval {TRACT}"), 1, &["'insects'", "scripts/setup", "--data"]);
    scene.assert_fails(&format!("eval {TRACT} --data nowhere"), 1, &["no folder nowhere"]);
    std::fs::write(scene.path("t10k-labels-idx1-ubyte"), [0, 0, 8, 1, 0, 0, 0, 90, 1]).unwrap();
    scene.assert_fails(&format!("eval {TRACT} --data ."), 1, &["t10k-labels-idx1-ubyte", "truncated"]);
}

#[test]
#[cfg(feature = "ort")]
fn parity_compares_both_runtimes() {
    if !example::onnxruntime_for("parity_compares_both_runtimes") {
        return;
    }
    let scene = Scene::new();
    let said = scene.deploy("parity --model example.onnx --data .");
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    for word in ["90 test images", "onnxruntime 1.", "tract 0.", "0, 0 beyond a near tie", "verdict", "agree"] {
        assert!(said.stdout.contains(word), "{}", said.stdout);
    }
    let document = scene.deploy("parity --model example.onnx --data . --images 10 --format json").json();
    assert_eq!((&document["images"], &document["within_tolerance"]), (&Value::from(10), &Value::from(true)));
    scene.assert_fails("parity --model example.onnx --data . --images 91", 1, &["expected 1 to 90"]);
}

#[test]
fn inspect_shows_the_file_without_running_it() {
    let scene = Scene::new();
    let said = scene.deploy("inspect --model example.onnx");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    for word in [
        "image uint8 [N, 1, 8, 6]",
        "logits float [N, 3]",
        "by hand",
        "opset 13, IR version 8",
        "Conv 1",
        "ant, bee, cat",
        "insects, 12,345 images",
        "test 50.00 %",
    ] {
        assert!(said.stdout.contains(word), "{word} in {}", said.stdout);
    }
    let document = scene.deploy("inspect --model example.onnx --format json").json();
    assert_eq!((&document["parameters"], &document["nodes"]), (&Value::from(1 + 36 + 12), &Value::from(8)));
    assert_eq!(document["card"]["labels"][0], "ant");
}

#[test]
fn inspect_works_where_the_card_is_missing_or_broken() {
    let scene = Scene::new();
    std::fs::write(scene.path("bare.onnx"), Example::without_card().bytes()).unwrap();
    let said = scene.deploy("inspect --model bare.onnx");
    assert!(said.code == Some(0) && said.stdout.contains("Model card: none"), "{}", said.stdout);
    let mut model = Example::default().model();
    model.metadata_props[0].value = r#"{"format": 99}"#.to_owned();
    std::fs::write(scene.path("new.onnx"), prost::Message::encode_to_vec(&model)).unwrap();
    let said = scene.deploy("inspect --model new.onnx");
    assert!(said.code == Some(0) && said.stdout.contains("format 99 is not known"), "{}", said.stdout);
}

#[test]
fn backends_lists_what_there_is() {
    let said = Scene::new().deploy("backends");
    assert_eq!(said.code, Some(0));
    for word in ["tract ", "onnxruntime ", "cuda ", "auto takes "] {
        assert!(said.stdout.contains(word), "{}", said.stdout);
    }
}

#[test]
fn a_model_that_is_no_model_is_named() {
    let scene = Scene::new();
    for command in ["predict picture-0.pgm --backend tract", "eval --backend tract --data .", "inspect"] {
        scene.assert_fails(&format!("{command} --model no-such.onnx"), 1, &["cannot read no-such.onnx"]);
        scene.assert_fails(&format!("{command} --model short.onnx"), 1, &["short.onnx cannot be used", "truncated"]);
        scene.assert_fails(&format!("{command} --model empty.onnx"), 1, &["empty.onnx cannot be used", "empty"]);
        scene.assert_fails(&format!("{command} --model notes.png"), 1, &["notes.png cannot be used", "no whole ONNX"]);
        scene.assert_fails(&format!("{command} --model ."), 1, &["a folder"]);
    }
}

#[test]
#[cfg(feature = "ort")]
fn a_model_that_onnxruntime_cannot_load_is_told_once() {
    if !example::onnxruntime_for("a_model_that_onnxruntime_cannot_load_is_told_once") {
        return;
    }
    let scene = Scene::new();
    let mut model = Example::default().model();
    model.graph.as_mut().unwrap().initializer[0].dims = vec![2];
    std::fs::write(scene.path("odd.onnx"), prost::Message::encode_to_vec(&model)).unwrap();
    let said = scene.deploy("predict picture-0.pgm --model odd.onnx");
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.starts_with("error: ONNX Runtime cannot load odd.onnx: "), "{}", said.stderr);
    assert_eq!(said.stderr.trim_end().lines().count(), 1, "{}", said.stderr);
}

#[test]
fn wrong_usage_exits_with_2() {
    let scene = Scene::new();
    scene.assert_fails("predict --model example.onnx", 2, &["<IMG>..."]);
    scene.assert_fails(&format!("predict picture-0.pgm {TRACT} --no-such-flag"), 2, &["--no-such-flag"]);
    scene.assert_fails("predict picture-0.pgm --model example.onnx --backend caffe", 2, &["auto, tract or ort"]);
    scene.assert_fails("predict picture-0.pgm --model example.onnx --device gpu", 2, &["auto, cpu, cuda or cuda:N"]);
    scene.assert_fails("predict picture-0.pgm --model example.onnx --device cuda:x", 2, &["no device number"]);
    scene.assert_fails(&format!("predict picture-0.pgm {TRACT} --threads 0"), 2, &["--threads"]);
    scene.assert_fails(&format!("predict picture-0.pgm {TRACT} --device cuda"), 2, &["use --backend ort"]);
    scene.assert_fails("backends --model example.onnx", 2, &["--model"]);
    scene.assert_fails("fly", 2, &["fly"]);
}

#[test]
fn more_answers_than_classes_cannot_be_had() {
    let scene = Scene::new();
    for k in [0, 4] {
        scene.assert_fails(&format!("predict picture-0.pgm {TRACT} --top-k {k}"), 1, &["expected 1 to 3"]);
    }
}

#[test]
#[cfg(not(feature = "cuda"))]
fn cuda_without_cuda_says_how_to_get_it() {
    let words = ["built without CUDA", "--features cuda"];
    Scene::new().assert_fails("predict picture-0.pgm --model example.onnx --device cuda:1", 1, &words);
}

#[test]
#[cfg(unix)]
fn a_reader_that_has_had_enough_is_no_error() {
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
