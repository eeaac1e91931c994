//! Every script has a `--help` and refuses unknown options, before it downloads or builds anything.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The executable scripts, sorted by name.
fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("scripts");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<PathBuf> =
        paths.filter(|path| path.metadata().unwrap().permissions().mode() & 0o111 != 0).collect();
    scripts.sort();
    assert!(scripts.len() >= 10, "{scripts:?}");
    scripts
}

/// Runs a script without cargo, pip or any network program in its PATH, since it must not need them.
fn run(script: &Path, argument: &str) -> (String, Output) {
    let tools = tempfile::tempdir().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for tool in ["bash", "cat", "dirname", "realpath", "uname", "sed", "nproc"] {
        let found = std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|path| path.exists());
        std::os::unix::fs::symlink(found.unwrap(), tools.path().join(tool)).unwrap();
    }
    let home = tempfile::tempdir().unwrap();
    let output = Command::new("bash")
        .arg(script)
        .arg(argument)
        .env("PATH", tools.path())
        .env("HOME", home.path())
        .env("MOBILENET_CACHE", home.path().join("cache"))
        .output()
        .unwrap();
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "{} {argument} wrote something", script.display());
    (script.file_name().unwrap().to_str().unwrap().to_owned(), output)
}

#[test]
fn help_is_printed_and_nothing_is_done() {
    for script in scripts() {
        for option in ["--help", "-h"] {
            let (name, output) = run(&script, option);
            let text = String::from_utf8(output.stdout).unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && error.is_empty(), "{name} {option}: {error}");
            assert!(text.contains("Usage: ") && text.contains(&name), "{name} {option}: {text}");
        }
    }
}

#[test]
fn an_unknown_option_is_wrong_usage() {
    for script in scripts() {
        let (name, output) = run(&script, "--no-such-option");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {error}");
        assert!(error.contains("--no-such-option") && error.contains("--help"), "{name}: {error}");
        assert!(output.stdout.is_empty(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
}
