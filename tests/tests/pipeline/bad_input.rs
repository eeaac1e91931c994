//! Broken input: the exit code, the message, and no partial files.

use assert_cmd::Command;
use models::architecture::Kind;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use train::export;

fn fails(command: &mut Command, code: i32, words: &[&str]) {
    let assert = command.assert().failure().code(code);
    let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(!message.contains("panicked"), "{message}");
    for word in words {
        assert!(message.contains(word), "expected '{word}' in:\n{message}");
    }
}

fn program(name: &'static str) -> Command {
    Command::new(tests::program(name).unwrap())
}

/// All files below a folder, to check that nothing was left behind.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// An exported model, made once.
fn model() -> &'static [u8] {
    static MODEL: OnceLock<Vec<u8>> = OnceLock::new();
    MODEL.get_or_init(|| export::to_bytes(&tests::trained(Kind::MobilenetV1).unwrap()).unwrap())
}

#[test]
fn broken_data_files_are_named_and_no_run_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let data = tests::subset(folder.path(), 600, 300).unwrap();
    let images = data.join("train-images-idx3-ubyte");
    let whole = fs::read(&images).unwrap();
    let out = folder.path().join("run");
    let mut wrong_magic = whole.clone();
    wrong_magic[2] = 0x0d;
    for (bytes, word) in [
        (Some(&[][..]), "the file is empty"),
        (Some(&whole[..5_000]), "truncated"),
        (Some(&wrong_magic), "magic number 0x00000d03"),
        (None, "has no file train-images-idx3-ubyte"),
    ] {
        match bytes {
            Some(bytes) => fs::write(&images, bytes).unwrap(),
            None => fs::remove_file(&images).unwrap(),
        }
        let mut command = program("train");
        command.arg("--data").arg(&data).arg("--out").arg(&out);
        fails(&mut command, 1, &["error: ", "train-images-idx3-ubyte", word]);
        assert!(!out.exists(), "{word}");
    }
    let mut command = program("train");
    fails(command.args(["--data", "no/such/folder", "--out"]).arg(&out), 1, &["no/such/folder", "--data"]);
}

#[test]
fn an_image_that_is_text_is_named_and_the_others_are_predicted() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    fs::write(file("model.onnx"), model()).unwrap();
    fs::write(file("text.png"), "this is not an image").unwrap();
    image::GrayImage::from_fn(28, 28, |x, _| image::Luma([if x == 14 { 255 } else { 0 }]))
        .save(file("one.png"))
        .unwrap();
    let mut command = program("deploy");
    command.arg("predict").arg(file("text.png")).arg(file("one.png")).arg("--model").arg(file("model.onnx"));
    let assert = command.assert().code(1);
    let output = assert.get_output();
    assert!(String::from_utf8_lossy(&output.stderr).contains("text.png"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("one.png"));
}

#[test]
fn broken_models_are_refused_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    for (bytes, word) in [(&model()[..model().len() / 2], "truncated"), (b"", "empty"), (b"not a model", "model")] {
        fs::write(&path, bytes).unwrap();
        for command in ["eval", "parity", "inspect"] {
            fails(program("deploy").args([command, "--model"]).arg(&path), 1, &["error: ", "model.onnx", word]);
        }
    }
    fails(program("deploy").args(["eval", "--model", "missing.onnx"]), 1, &["missing.onnx"]);
}

/// Without a model card the graph itself determines the input.
#[test]
fn a_model_without_a_card_is_still_usable() {
    use models::onnx;
    use prost::Message;

    let folder = tempfile::tempdir().unwrap();
    let data = tests::subset(folder.path(), 600, 300).unwrap();
    let mut proto = onnx::parse(model()).unwrap();
    proto.metadata_props.clear();
    let path = folder.path().join("foreign.onnx");
    fs::write(&path, proto.encode_to_vec()).unwrap();
    let mut command = program("deploy");
    let assert = command.args(["eval", "--model"]).arg(&path).arg("--data").arg(&data).assert().success();
    let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(message.contains("note: "), "{message}");
    // There is no default data set for such a model.
    fails(program("deploy").args(["eval", "--model"]).arg(&path), 1, &["--data"]);
}

#[test]
fn folders_that_cannot_be_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = tests::subset(folder.path(), 600, 300).unwrap();
    // A file in place of a folder makes root fail too, who ignores permissions.
    let blocked = folder.path().join("file");
    fs::write(&blocked, "").unwrap();
    let mut command = program("train");
    command.arg("--data").arg(&data).arg("--out").arg(blocked.join("run")).args(["--hold-out", "100"]);
    fails(&mut command, 1, &["error: ", "file/run"]);
}

#[test]
fn a_checkpoint_that_is_none_exports_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("best.safetensors");
    let output = folder.path().join("model.onnx");
    for (bytes, word) in
        [(&b"garbage"[..], "truncated"), (&[2, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'], "train did not write it")]
    {
        fs::write(&checkpoint, bytes).unwrap();
        let mut command = program("train");
        command.arg("export").arg(&checkpoint).arg("-o").arg(&output);
        fails(&mut command, 1, &["best.safetensors", word]);
        assert_eq!(files_below(folder.path()), std::slice::from_ref(&checkpoint));
    }
    fails(program("train").args(["export", "no/such/run"]), 1, &["no/such/run"]);
    fails(program("train").arg("export").current_dir(folder.path()), 1, &["no run in runs/"]);
}

#[test]
fn impossible_wishes_are_refused() {
    for (arguments, words) in [
        (&["--width", "2"][..], &["--width", "expected a number above 0 and at most 1"][..]),
        (&["--resolution", "0"], &["--resolution", "expected a whole number from 8 to 4,096"]),
        (&["--batch-size", "1"], &["--batch-size", "expected a whole number from 2 to"]),
        (&["--lr", "0"], &["--lr", "expected a number above 0"]),
        (&["--lr", "-1"], &["'-1'", "--lr", "expected a number above 0"]),
        (&["--epochs", "many"], &["--epochs", "expected a whole number from 1 to"]),
        (&["summary", "--classes", "1"], &["--classes", "expected a whole number from 2 to"]),
    ] {
        fails(program("train").args(arguments), 2, words);
    }
    fails(
        program("train").args(["--recipe", "fast"]),
        1,
        &["recipe 'fast' does not exist", "quick, best, photos, body, tutorial"],
    );
    for arguments in
        [&["--wdith", "1"][..], &["--device", "gpu"], &["--threads", "0"], &["--resume", "x", "--seed", "1"]]
    {
        fails(program("train").args(arguments), 2, &["error: ", "--help"]);
    }
    if train::device::cuda_count() == 0 {
        fails(program("train").args(["--device", "cuda"]), 1, &["CUDA cannot be used"]);
    } else {
        println!("skipped: `--device cuda` without a GPU, since this machine has one");
    }
}
