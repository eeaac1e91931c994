//! CUDA without a GPU: what a user sees. The tests need the feature `cuda`. Those with ONNX Runtime's GPU build need
//! its library, named by `GPU_ONNXRUNTIME`: `capi/libonnxruntime.so.1.31.1` of the wheel `onnxruntime-gpu`.
#![cfg(feature = "cuda")]

mod example;
mod scene;

use assert_cmd::Command;
use example::Example;
use scene::Said;
use std::path::PathBuf;
use tempfile::TempDir;

/// The environment variable that names the library of a GPU build.
const VARIABLE: &str = "GPU_ONNXRUNTIME";

/// A folder with a model and an image, and the library to use.
struct Scene {
    folder: TempDir,
    library: Option<PathBuf>,
}

impl Scene {
    fn new(library: Option<PathBuf>) -> Self {
        let folder = TempDir::new().unwrap();
        Example::default().write(folder.path());
        let image = [b"P5 6 8 255\n".to_vec(), example::images(1, 1).into_iter().collect()].concat();
        std::fs::write(folder.path().join("one.pgm"), image).unwrap();
        Self { folder, library }
    }

    /// A scene with the library of a GPU build on a machine without a driver. Elsewhere it prints why the test is
    /// skipped and returns `None`.
    fn without_driver(test: &str) -> Option<Self> {
        let Some(library) = std::env::var_os(VARIABLE) else {
            println!("skipped: {test}: {VARIABLE} does not name ONNX Runtime's GPU library");
            return None;
        };
        let library = PathBuf::from(library);
        assert!(library.is_file(), "{VARIABLE}: there is no {}", library.display());
        let scene = Self::new(Some(library));
        if scene.deploy("backends").stdout.contains("auto uses       ort-cuda") {
            println!("skipped: {test}: this machine has a GPU that works");
            return None;
        }
        Some(scene)
    }

    fn deploy(&self, arguments: &str) -> Said {
        let mut command = Command::cargo_bin("deploy").unwrap();
        if let Some(library) = &self.library {
            command.env("ORT_DYLIB_PATH", library);
        }
        Said::by(command.current_dir(self.folder.path()).args(arguments.split_whitespace()))
    }
}

/// Checks that a message names the cause (driver or libraries) and what to do about it.
fn assert_names_the_cause(message: &str) {
    let driver = message.contains("no NVIDIA driver found (libcuda.so.1)") && message.contains("nvidia-smi");
    assert!(driver, "{message}");
    if message.contains("libraries are missing") {
        assert!(message.contains(".so.") && message.contains("scripts/setup --cuda"), "{message}");
    }
    assert!(message.contains("ONNX Runtime says: ") && !message.contains(".cc:"), "{message}");
}

const PREDICT: &str = "predict one.pgm --model example.onnx";

#[test]
fn without_a_driver_cuda_is_an_error_that_names_the_cause() {
    let Some(scene) = Scene::without_driver("without_a_driver_cuda_is_an_error_that_names_the_cause") else { return };
    for command in [PREDICT, "bench --model example.onnx --rounds 1", "bench --model example.onnx --backend ort"] {
        for device in ["cuda", "cuda:3"] {
            let said = scene.deploy(&format!("{command} --device {device}"));
            assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{}", said.stderr);
            assert!(said.stderr.starts_with("error: "), "{}", said.stderr);
            assert!(said.stderr.contains("ONNX Runtime cannot use cuda:"), "{}", said.stderr);
            assert_names_the_cause(&said.stderr);
        }
    }
}

#[test]
fn without_a_driver_auto_falls_back_and_says_why() {
    let Some(scene) = Scene::without_driver("without_a_driver_auto_falls_back_and_says_why") else { return };
    for flags in ["", " --cudnn-search heuristic --cuda-memory 1000000"] {
        let said = scene.deploy(&format!("{PREDICT}{flags}"));
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        assert!(said.stdout.starts_with("one.pgm  "), "{}", said.stdout);
        assert!(said.stderr.contains("note: ort-cuda cannot be used, so ort runs: "), "{}", said.stderr);
        assert!(said.stderr.contains("CPUExecutionProvider on cpu"), "{}", said.stderr);
        assert_names_the_cause(&said.stderr);
    }
}

#[test]
fn without_a_driver_the_list_of_backends_says_why() {
    let Some(scene) = Scene::without_driver("without_a_driver_the_list_of_backends_says_why") else { return };
    let said = scene.deploy("backends");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("CUDAExecutionProvider, CPUExecutionProvider"), "{}", said.stdout);
    assert!(said.stdout.contains("auto uses       ort\n"), "{}", said.stdout);
    assert_names_the_cause(&said.stdout);
}

#[test]
fn a_library_without_cuda_is_named() {
    let test = "a_library_without_cuda_is_named";
    if !example::onnxruntime_for(test) {
        return;
    }
    if deploy::backend::library::load().unwrap().providers().iter().any(|name| name.starts_with("CUDA")) {
        return println!("skipped: {test}: ONNX Runtime here is a GPU build");
    }
    let said = Scene::new(None).deploy(&format!("{PREDICT} --device cuda"));
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""));
    for words in ["libonnxruntime.so", "was built without CUDA", "scripts/setup --cuda", "ORT_DYLIB_PATH"] {
        assert!(said.stderr.contains(words), "{words} in {}", said.stderr);
    }
}

#[test]
fn options_of_cuda_that_would_have_no_effect_are_wrong_usage() {
    let scene = Scene::new(None);
    for option in ["--cudnn-search heuristic", "--cuda-memory 1000000"] {
        for place in ["--backend tract", "--device cpu", "--backend ort", "--backend ort --device cpu"] {
            let said = scene.deploy(&format!("{PREDICT} {place} {option}"));
            assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{place} {option}: {}", said.stderr);
            assert!(said.stderr.contains("have no effect without CUDA"), "{}", said.stderr);
            let said = scene.deploy(&format!("bench --model example.onnx {place} {option}"));
            assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{place} {option}: {}", said.stderr);
        }
    }
    for (option, words) in [
        ("--cudnn-search fast", "exhaustive, heuristic or default"),
        ("--cuda-memory 0", "--cuda-memory"),
        ("--cuda-memory lots", "--cuda-memory"),
    ] {
        let said = scene.deploy(&format!("{PREDICT} --backend ort --device cuda {option}"));
        assert_eq!(said.code, Some(2), "{option}: {}", said.stderr);
        assert!(said.stderr.contains(words), "{}", said.stderr);
    }
}
