//! `deploy eval` as a user sees it.
#![cfg(feature = "tract")]

mod example;
mod scene;

use example::LABELS;
use scene::{Scene, TRACT};
use serde_json::Value;

#[test]
fn the_text_holds_every_figure() {
    let scene = Scene::new();
    let said = scene.deploy(&format!("eval {TRACT} --data ."));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    for word in [
        "90.00 % (81 of 90; 95 % interval 82.08 to 94.65 %)",
        "loss ",
        "calibration  ECE ",
        "class  images  precision   recall       F1",
        "true \\ answer",
        "most frequent mistakes",
        " taken for ",
        "confidence ",
        " answers ",
        "images/s",
    ] {
        assert!(said.stdout.contains(word), "'{word}' is not in {}", said.stdout);
    }
}

#[test]
fn the_document_holds_every_figure() {
    let scene = Scene::new();
    let document = scene.deploy(&format!("eval {TRACT} --data . --format json")).json();
    assert_eq!((&document["correct"], &document["images"]), (&Value::from(81), &Value::from(90)));
    assert_eq!(document["classes"].as_array().unwrap().len(), LABELS.len());
    assert_eq!(document["calibration"]["bins"].as_array().unwrap().len(), 15);
    assert!(document["loss"].as_f64().unwrap() > 0.0 && document["accuracy_interval"][0].as_f64().unwrap() > 0.8);
    assert_eq!((&document["runtime"]["name"], &document["runtimes"]), (&"tract".into(), &Value::Null));
}

#[test]
fn a_part_of_the_test_set_is_used_on_request() {
    let scene = Scene::new();
    let document = scene.deploy(&format!("eval {TRACT} --data . --images 20 --format json")).json();
    assert_eq!((&document["correct"], &document["images"]), (&Value::from(18), &Value::from(20)));
    scene.assert_fails(&format!("eval {TRACT} --data . --images 91"), 1, &["expected 1 to 90"]);
    scene.assert_fails(
        &format!("eval {TRACT} --data . --images 0"),
        2,
        &["'0'", "--images <N>", "a whole number from 1 to"],
    );
}

#[test]
fn the_confusion_matrix_is_saved_as_an_image() {
    let scene = Scene::new();
    let said = scene.deploy(&format!("eval {TRACT} --data . --save-confusion out/matrix.svg"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stderr.contains("confusion matrix: out/matrix.svg"), "{}", said.stderr);
    let svg = std::fs::read_to_string(scene.path("out/matrix.svg")).unwrap();
    for word in ["<svg ", "example.onnx: 90.00 % of 90 images", "cat taken for bee: 4 of 29 (13.79 %)", "</svg>"] {
        assert!(svg.contains(word), "'{word}' is not in {svg}");
    }
    scene.assert_fails(&format!("eval {TRACT} --data . --save-confusion matrix.png"), 2, &["ends in .svg"]);
}

#[test]
fn several_runtimes_are_measured_on_request() {
    let scene = Scene::new();
    let eval = "eval --model example.onnx --data . --runtimes";
    let document = scene.deploy(&format!("{eval} tract --format json")).json();
    assert_eq!(document["runtimes"][0]["engine"], "tract");
    assert_eq!((&document["runtimes"][0]["correct"], &document["correct"]), (&Value::from(81), &Value::from(81)));
    let said = scene.deploy(&format!("{eval} all"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("tract 0."), "{}", said.stdout);
    if cfg!(not(feature = "cuda")) {
        assert!(said.stderr.contains("note: left out: ort-cuda: this program was built without"), "{}", said.stderr);
        scene.assert_fails(&format!("{eval} tract,ort-cuda"), 1, &["ort-cuda cannot be used", "--features"]);
    }
    if cfg!(feature = "onnx") && example::onnxruntime_for("several_runtimes_are_measured_on_request") {
        let said = scene.deploy(&format!("{eval} ort,tract,tract-stock,ort-as-written --threads 1"));
        for word in [
            "ort: onnxruntime 1.",
            "tract: tract 0.",
            "ort-as-written: onnxruntime as written 1.",
            "tract-stock: tract as released 0.",
            "1 thread ",
            "90.00 %",
        ] {
            assert!(said.stdout.contains(word), "'{word}' is not in {}", said.stdout);
        }
    }
    for (arguments, word) in [
        ("tract --backend tract", "--backend"),
        ("tract,tract", "twice"),
        ("tract,caffe", "'caffe'"),
        ("tract --device cpu", "--device"),
    ] {
        scene.assert_fails(&format!("{eval} {arguments}"), 2, &[word]);
    }
}
