//! What a user sees if ONNX Runtime's library is missing, old or broken.
#![cfg(feature = "ort")]

mod example;
mod scene;

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin;
use example::Example;
use scene::Said;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const TEST_LIMIT: Duration = Duration::from_mins(1);

/// A folder with a model, an image and what a test adds.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        Example::default().write(folder.path());
        let pixels = example::images(1, 1).into_raw_vec_and_offset().0;
        let image = [b"P5 6 8 255\n".to_vec(), pixels].concat();
        std::fs::write(folder.path().join("one.pgm"), image).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Copies the program into the folder, in another process. If this process wrote the file, a test that starts a
    /// program at that moment would inherit the open file, and the copy could not be run ("text file busy").
    fn program(&self) -> PathBuf {
        let copy = self.path("deploy");
        let status = std::process::Command::new("cp").arg(cargo_bin("deploy")).arg(&copy).status().unwrap();
        assert!(status.success());
        copy
    }

    /// Runs a program in the folder, with the variable naming the library, if any.
    fn run_program(&self, program: &Path, library: Option<&Path>, arguments: &[&str]) -> Said {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env_remove("ORT_DYLIB_PATH").timeout(TEST_LIMIT).args(arguments);
        if let Some(library) = library {
            command.env("ORT_DYLIB_PATH", library);
        }
        Said::by(&mut command)
    }

    fn predict(&self, library: &Path, backend: &str) -> Said {
        let arguments = ["predict", "one.pgm", "--model", "example.onnx", "--backend", backend];
        self.run_program(&cargo_bin("deploy"), Some(library), &arguments)
    }

    /// Checks a library that cannot be used: an error for ort, tract with a note for auto, a reason in the list, and
    /// never a panic.
    fn assert_useless(&self, library: &Path, reason: &str) {
        let said = self.predict(library, "ort");
        assert_eq!(said.code, Some(1), "{}", said.stderr);
        let place = format!("ORT_DYLIB_PATH={}: ", library.display());
        assert!(said.stderr.starts_with("error: no usable ONNX Runtime"), "{}", said.stderr);
        assert!(said.stderr.contains(&place) && said.stderr.contains(reason), "{}", said.stderr);
        assert!(said.stdout.is_empty(), "{}", said.stdout);

        if cfg!(feature = "tract") {
            let said = self.predict(library, "auto");
            assert_eq!(said.code, Some(0), "{}", said.stderr);
            assert!(
                said.stderr.contains("ort cannot be used, so tract runs: no usable ONNX Runtime"),
                "{}",
                said.stderr
            );
            assert!(said.stderr.contains(&place) && said.stderr.contains(reason), "{}", said.stderr);
            assert!(said.stderr.contains("example.onnx: tract "), "{}", said.stderr);
            assert!(said.stdout.starts_with("one.pgm  "), "{}", said.stdout);
        }

        let said = self.run_program(&cargo_bin("deploy"), Some(library), &["backends"]);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        assert!(said.stdout.contains(reason), "{}", said.stdout);
    }

    /// Compiles a library from C. Without a compiler, prints why the test is skipped and returns `None`.
    fn compile(&self, test: &str, source: &str) -> Option<PathBuf> {
        let (file, library) = (self.path("fake.c"), self.path("fake.so"));
        std::fs::write(&file, source).unwrap();
        let gcc = std::process::Command::new("gcc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&file).status();
        match gcc {
            Ok(status) if status.success() => Some(library),
            outcome => {
                println!("skipped: {test}: gcc cannot compile a library: {outcome:?}");
                None
            }
        }
    }
}

#[test]
fn a_missing_library_is_named() {
    let scene = Scene::new();
    scene.assert_useless(&scene.path("no/such/library.so"), "No such file");
}

#[test]
fn a_folder_is_not_a_library() {
    let scene = Scene::new();
    scene.assert_useless(scene.folder.path(), "a folder: expected the file libonnxruntime.so");
}

#[test]
fn a_text_file_is_not_a_library() {
    let scene = Scene::new();
    let path = scene.path("libonnxruntime.so");
    std::fs::write(&path, "I am text, and long enough to be taken for the header of a library, am I not?\n").unwrap();
    scene.assert_useless(&path, "not a shared library but a text file");
    std::fs::write(&path, "").unwrap();
    scene.assert_useless(&path, "an empty file");
}

/// Library headers as in the ELF specification, with another machine, class, byte order or type.
#[test]
#[cfg(target_os = "linux")]
fn a_library_for_another_machine_says_which() {
    let scene = Scene::new();
    let path = scene.path("libonnxruntime.so");
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    // SPARC V9, which this program is never built for: e_machine is the 16-bit number at byte 18.
    let mut other = own.clone();
    other[18..20].copy_from_slice(&43_u16.to_ne_bytes());
    std::fs::write(&path, &other).unwrap();
    scene
        .assert_useless(&path, &format!("built for machine 43, 64-bit; this program needs {}", std::env::consts::ARCH));
    let mut program = own;
    program[16..18].copy_from_slice(&2_u16.to_ne_bytes());
    std::fs::write(&path, &program).unwrap();
    scene.assert_useless(&path, "a program: expected a shared library");
}

#[test]
#[cfg(unix)]
fn a_pipe_is_refused_and_not_waited_for() {
    let scene = Scene::new();
    let path = scene.path("libonnxruntime.so");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    scene.assert_useless(&path, "a pipe or a device: expected the file libonnxruntime.so");
}

#[test]
fn a_truncated_library_is_refused_before_it_is_loaded() {
    let scene = Scene::new();
    let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let path = scene.path("libonnxruntime.so");
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    scene.assert_useless(&path, "truncated");
}

#[test]
fn another_library_is_recognised() {
    let scene = Scene::new();
    let source = "int nothing(void) { return 0; }";
    let Some(library) = scene.compile("another_library_is_recognised", source) else { return };
    scene.assert_useless(&library, "lacks OrtGetApiBase");
}

#[test]
fn the_version_of_a_library_that_is_too_old_is_reported() {
    let scene = Scene::new();
    let source = r#"
        static const void *get_api(unsigned version) { return 0; }
        static const char *get_version(void) { return "1.10.0"; }
        static const struct { const void *(*api)(unsigned); const char *(*version)(void); } base =
            { get_api, get_version };
        const void *OrtGetApiBase(void) { return &base; }"#;
    let Some(library) = scene.compile("the_version_of_a_library_that_is_too_old_is_reported", source) else { return };
    scene.assert_useless(&library, "ONNX Runtime 1.10.0 is too old: expected 1.24 or newer");
}

#[test]
fn a_library_that_returns_nothing_is_refused() {
    let scene = Scene::new();
    let test = "a_library_that_returns_nothing_is_refused";
    let Some(library) = scene.compile(test, "const void *OrtGetApiBase(void) { return 0; }") else { return };
    scene.assert_useless(&library, "returns nothing");
}

#[test]
fn without_a_variable_every_usual_place_is_named() {
    let scene = Scene::new();
    // Run outside the repository, so that its .deps is not found.
    let program = scene.program();
    let predict = ["predict", "one.pgm", "--model", "example.onnx", "--backend", "ort"];
    let said = scene.run_program(&program, None, &predict);
    if said.code == Some(0) {
        println!("skipped: without_a_variable_every_usual_place_is_named: ONNX Runtime is installed in the system");
        return;
    }
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    for place in [
        &*format!("\n  {}: not found", scene.path("libonnxruntime.so").display()),
        "\n  .deps/onnxruntime/libonnxruntime.so: not found",
        "\n  the system's loader, libonnxruntime.so: ",
        "\n  the system's loader, libonnxruntime.so.1: ",
        "\n  Run scripts/setup in this project's folder. Elsewhere",
        "; set ORT_DYLIB_PATH to it",
    ] {
        assert!(said.stderr.contains(place), "{place} in {}", said.stderr);
    }
}

#[test]
#[cfg(unix)]
fn a_library_beside_the_program_is_taken() {
    let test = "a_library_beside_the_program_is_taken";
    if !example::onnxruntime_for(test) {
        return;
    }
    let library = deploy::backend::library::load().unwrap();
    if !library.path.is_absolute() {
        println!("skipped: {test}: the system's loader finds ONNX Runtime, its file is unknown");
        return;
    }
    let scene = Scene::new();
    let program = scene.program();
    std::os::unix::fs::symlink(&library.path, scene.path("libonnxruntime.so")).unwrap();
    let said = scene.run_program(&program, None, &["backends"]);
    assert!(
        said.stdout.contains(&format!("library: {}", scene.path("libonnxruntime.so").display())),
        "{}",
        said.stdout
    );
}
