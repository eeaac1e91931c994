//! The binary as a user sees it: a folder to run it in, and its output.
//!
//! Each test file compiles this module and uses its own part of it.
#![allow(dead_code, missing_docs)]

use crate::example::{Example, LABELS, images, logits_by_hand, write_data_set};
use assert_cmd::Command;
use models::evaluation::argmax;
use serde_json::Value;
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder with a model, three images, a test set, and invalid files.
pub struct Scene {
    pub folder: TempDir,
}

/// The result of a command.
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// Runs a command, which must not panic.
    pub fn by(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let said = Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) };
        assert!(!said.stderr.contains("panicked"), "{command:?}: {}", said.stderr);
        said
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }
}

impl Scene {
    pub fn new() -> Self {
        let scene = Self { folder: TempDir::new().unwrap() };
        Example::default().write(scene.folder.path());
        for (n, image) in images(3, 1).outer_iter().enumerate() {
            let image = [b"P5 6 8 255\n".to_vec(), image.iter().copied().collect()].concat();
            std::fs::write(scene.path(&format!("picture-{n}.pgm")), image).unwrap();
        }
        let answers = answers(90);
        // Every tenth image is labelled wrongly.
        let label = |n: usize| (answers[n] + usize::from(n.is_multiple_of(10))) % LABELS.len();
        write_data_set(scene.folder.path(), 90, |n| u8::try_from(label(n)).unwrap());
        std::fs::write(scene.path("notes.png"), "this is text\n").unwrap();
        std::fs::write(scene.path("short.onnx"), &Example::default().bytes()[..200]).unwrap();
        std::fs::write(scene.path("empty.onnx"), "").unwrap();
        scene
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn deploy(&self, arguments: &str) -> Said {
        self.deploy_with_input(arguments, Vec::new())
    }

    /// Runs a command with these bytes on standard input.
    pub fn deploy_with_input(&self, arguments: &str, input: Vec<u8>) -> Said {
        let mut command = Command::cargo_bin("deploy").unwrap();
        Said::by(command.current_dir(self.folder.path()).args(arguments.split_whitespace()).write_stdin(input))
    }

    /// Runs a command that must fail with this code, these words on standard error, and no output.
    pub fn assert_fails(&self, arguments: &str, code: i32, words: &[&str]) {
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

/// The classes of the first [`images`], computed by hand.
pub fn answers(count: usize) -> Vec<usize> {
    logits_by_hand(images(count, 1).view()).rows().into_iter().map(argmax).collect()
}

pub const TRACT: &str = "--model example.onnx --backend tract";
