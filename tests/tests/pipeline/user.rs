//! The pipeline as a user runs it: train → export → inspect → eval → parity → predict.

use assert_cmd::Command;
use image::GrayImage;
use models::architecture::Kind;
use models::dataset::{self, Split};
use serde_json::Value;
use std::path::Path;

fn program(name: &'static str, folder: &Path) -> Command {
    let mut command = Command::new(tests::program(name).unwrap());
    command.current_dir(folder);
    command
}

fn output(command: &mut Command) -> String {
    let assert = command.assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&output(command.args(["--format", "json"]))).unwrap()
}

#[test]
fn a_user_trains_exports_and_deploys() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = tests::subset(folder, 10_000, 1_000).unwrap();
    std::fs::write(folder.join("small.toml"), tests::small_recipe(Kind::MobilenetV1)).unwrap();

    let train = || program("train", folder);
    let deploy = || program("deploy", folder);

    let seed = (tests::seed() + 6).to_string();
    let log = output(
        train()
            .args(["--recipe", "small.toml", "--epochs", "2", "--threads", "1", "--seed", &seed])
            .args(["--content", "digit", "--data"])
            .arg(&data),
    );
    assert!(log.contains("9,500 training images and 500 held out"), "{log}");
    assert!(log.contains("step 50/190") && log.contains("img/s"), "{log}");
    assert!(log.contains("train export runs/small"), "{log}");
    let recipe = std::fs::read_to_string(folder.join("runs/small/recipe.toml")).unwrap();
    assert!(recipe.contains(&format!("seed = {seed}\n")), "{recipe}");
    let history = std::fs::read_to_string(folder.join("runs/small/history.csv")).unwrap();
    assert_eq!(history.lines().count(), 3, "{history}");

    // Without a name, the newest run is exported.
    let log = output(train().args(["export", "-o", "model.onnx"]));
    assert!(log.contains("tract") && log.contains("onnxruntime") && log.contains("max diff"), "{log}");
    train().args(["export", "-o", "model.onnx"]).assert().failure().code(1);
    train().args(["export", "-o", "model.onnx", "--overwrite"]).assert().success();
    // To standard output, which must contain only the model; and the same bytes again.
    let piped = train().args(["export", "-o", "-"]).assert().success();
    assert_eq!(piped.get_output().stdout, std::fs::read(folder.join("model.onnx")).unwrap());
    assert!(String::from_utf8_lossy(&piped.get_output().stderr).contains("onnxruntime"));

    let inspected = json(deploy().args(["inspect", "--model", "model.onnx"]));
    assert_eq!(inspected["card"]["training"]["seed"].to_string(), seed, "{inspected}");
    assert_eq!(inspected["card"]["input"]["content"]["polarity"], "light-on-dark");

    // Calibrated with the held-out images, as the card, the report of the export and `deploy inspect` say.
    let confidence = &inspected["card"]["confidence"];
    assert_eq!((&confidence["images"], &confidence["from"]), (&500.into(), &"held-out".into()), "{inspected}");
    let temperature = confidence["temperature"].as_f64().unwrap();
    let threshold = confidence["energy"]["reject_below"].as_f64().unwrap();
    let shown = output(deploy().args(["inspect", "--model", "model.onnx"]));
    for text in [&log, &shown] {
        assert!(text.contains(&format!("{temperature}, by which the trained network's logits are divided")), "{text}");
        assert!(text.contains("(500 held-out images)") && text.contains(&format!("below {threshold}")), "{text}");
    }
    let off = json(train().args(["export", "-o", "off.onnx", "--temperature", "off"]));
    assert_eq!(off["confidence"]["temperature"], 1.0, "{off}");
    assert_eq!(off["confidence"]["ece_after"], confidence["ece_before"], "{off}");
    let sharp = json(train().args(["export", "-o", "sharp.onnx", "--temperature", "0.5"]));
    assert_eq!(sharp["confidence"]["temperature"], 0.5, "{sharp}");
    let wrong = train().args(["export", "-o", "unused.onnx", "--temperature", "0"]).assert().failure().code(2);
    let message = String::from_utf8_lossy(&wrong.get_output().stderr);
    assert!(message.contains("--temperature") && message.contains("fit, off or a number from 0.01"), "{message}");
    training_images_are_needed_only_for_the_temperature(folder, &data);

    // A flag without effect is a usage error.
    let unused = train().args(["export", "-o", "unused.onnx", "--observer", "mse"]).assert().failure().code(2);
    assert!(String::from_utf8_lossy(&unused.get_output().stderr).contains("--precision int8"));
    let small = ["export", "-o", "small.onnx", "--precision", "int8", "--calibrate", "200", "--observer", "percentile"];
    let report = json(train().args(small));
    assert_eq!(
        (report["check"]["accuracy"]["set"].as_str(), report["check"]["accuracy"]["images"].as_u64()),
        (Some("held-out"), Some(500))
    );
    let inspected = json(deploy().args(["inspect", "--model", "small.onnx", "--rewritten"]));
    assert_eq!(inspected["card"]["precision"], "int8", "{inspected}");
    assert_eq!(inspected["card"]["calibration"]["images"], 200, "{inspected}");
    assert_eq!(inspected["rewritten"]["com.microsoft.QLinearConv"], 27, "{inspected}");
    deploy().args(["parity", "--model", "small.onnx", "--data"]).arg(&data).assert().success();

    let right: Vec<u64> = ["tract", "ort"]
        .map(|backend| {
            let eval = ["eval", "--model", "model.onnx", "--backend", backend, "--data"];
            json(deploy().args(eval).arg(&data))["correct"].as_u64().unwrap()
        })
        .into();
    tests::learnt("the programs on 1,000 test images", right[0] as f64 / 1000.0, 0.8).unwrap();
    // Near ties may differ, as `deploy parity` allows; `tests/folder.rs` compares with `train eval`.
    assert!(right[0].abs_diff(right[1]) <= 1, "{right:?}");

    let parity = output(deploy().args(["parity", "--model", "model.onnx", "--data"]).arg(&data));
    assert!(parity.contains("tract") && parity.contains("onnxruntime"), "{parity}");

    predict_finds_the_digits(folder, &data, &["--model", "model.onnx"], 0.7);
}

/// With other images than the run's, an export with `--temperature off` still works, and its card makes no claim.
fn training_images_are_needed_only_for_the_temperature(folder: &Path, data: &Path) {
    let other = folder.join("other");
    std::fs::create_dir(&other).unwrap();
    let other = tests::subset(&other, 1_000, 300).unwrap();
    assert_ne!(other, data);
    let export = |options: &[&str]| {
        let mut command = program("train", folder);
        command.args(["export", "-o", "other.onnx", "--data"]).arg(&other).args(options);
        command
    };
    let refused = export(&[]).assert().failure().code(1);
    let message = String::from_utf8_lossy(&refused.get_output().stderr);
    assert!(message.contains("--temperature off") && message.contains("is not the data the run was trained on"));
    let exported = export(&["--temperature", "off"]).assert().success();
    let notes = String::from_utf8_lossy(&exported.get_output().stderr);
    assert!(notes.contains("note: the model card says nothing about"), "{notes}");
    let card = &json(program("deploy", folder).args(["inspect", "--model", "other.onnx"]))["card"];
    assert!(card["confidence"].is_null(), "{card}");
}

/// As on a machine without any setup: tract and the embedded model.
#[test]
fn deploy_predicts_with_the_model_it_carries_in_itself() {
    let folder = tempfile::tempdir().unwrap();
    let data = tests::subset(folder.path(), 10, 20).unwrap();
    predict_finds_the_digits(folder.path(), &data, &[], 0.9);
    let inspected = json(program("deploy", folder.path()).arg("inspect"));
    assert_eq!(inspected["card"]["training"]["data_set"], "mnist");
    assert_eq!(inspected["card"]["training"]["recipe"], "quick");
    assert!(inspected["bytes"].as_u64().unwrap() <= 1_000_000, "{inspected}");
}

/// Predicts test images saved as PNG files, unchanged and as large dark-on-light drawings. At least the share `least`
/// must be right.
fn predict_finds_the_digits(folder: &Path, data: &Path, model: &[&str], least: f64) {
    let test = dataset::load(data, Split::Test).unwrap();
    let mut files = Vec::new();
    for index in 0..20 {
        let pixels = test.images().index_axis(ndarray::Axis(0), index).iter().copied().collect();
        let image = GrayImage::from_raw(28, 28, pixels).unwrap();
        let mut drawing = image::imageops::resize(&image, 140, 140, image::imageops::FilterType::CatmullRom);
        image::imageops::invert(&mut drawing);
        for (kind, image) in [("small", image), ("large", drawing)] {
            let name = format!("{kind}-{index}.png");
            image.save(folder.join(&name)).unwrap();
            files.push((name, test.labels()[index].to_string()));
        }
    }
    for backend in ["tract", "ort"] {
        let mut command = program("deploy", folder);
        command.args(["predict", "--backend", backend]).args(model).args(files.iter().map(|(name, _)| name));
        let predictions = json(&mut command);
        let found = predictions["predictions"].as_array().unwrap();
        assert_eq!(found.len(), files.len());
        let right = found.iter().zip(&files).filter(|(found, (_, label))| found["label"] == label.as_str()).count();
        tests::learnt(&format!("predict, {backend}"), right as f64 / files.len() as f64, least).unwrap();
    }
}

#[test]
fn the_summary_prints_the_papers_figures() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = output(program("train", here).args(["summary", "--channels", "3", "--classes", "1000"]));
    assert!(text.contains("568,740,352") && text.contains("4,231,976"), "{text}");
    let document = json(program("train", here).args(["summary", "--arch", "tutorial"]));
    assert_eq!(document["total"]["multiply_adds"], 766_739_456_u64);
    assert_eq!(document["total"]["parameters"], 6_612_224);
}

#[test]
fn devices_say_why_cuda_is_off() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let devices = json(program("train", here).arg("devices"));
    assert_eq!(devices["libtorch"], "2.13.0");
    let usable = devices["cuda"].as_array().is_some_and(|devices| !devices.is_empty());
    assert_eq!(devices["why_no_cuda"].is_null(), usable, "{devices}");
}
