//! Shell completions and man pages, as shells and `man` read them.
#![cfg(feature = "manual")]

use assert_cmd::Command as Deploy;
use std::path::Path;
use std::process::{Command, Output};

/// The commands that `--help` lists.
const COMMANDS: &[&str] = &[
    #[cfg(feature = "adopt")]
    "adopt",
    "backends",
    "bench",
    "completions",
    "doctor",
    "eval",
    "inspect",
    "man",
    "parity",
    "predict",
    #[cfg(feature = "serve")]
    "serve",
    #[cfg(feature = "watch")]
    "watch",
];

fn deploy(arguments: &[&str]) -> Output {
    Deploy::cargo_bin("deploy").unwrap().args(arguments).output().unwrap()
}

/// Output of a program. If it is not installed, prints that the test is skipped and returns `None`.
fn said(test: &str, command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("skipped: {test}: {}: {error}", command.get_program().display());
            None
        }
    }
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let script = deploy(&["completions", "bash"]).stdout;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deploy.bash");
    std::fs::write(&path, script).unwrap();
    let completed = |words: &[&str]| {
        let last = words.len() - 1;
        // What bash itself does when the tab key is pressed.
        let line = format!(
            "set -eu; source '{}'; COMP_WORDS=({}); COMP_CWORD={last}; _deploy deploy '{}' '{}'; echo \"${{COMPREPLY[*]}}\"",
            path.display(),
            words.join(" "),
            words[last],
            words[last - 1]
        );
        let output = said("bash_completes_commands_flags_and_values", Command::new("bash").args(["-c", &line]))?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && error.is_empty(), "{words:?}: {error}");
        Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    };
    for (words, answer) in [
        (&["deploy", "do"][..], "doctor"),
        (&["deploy", "pred"], "predict"),
        (&["deploy", "doctor", "--sec"], "--seconds"),
        (&["deploy", "backends", "--format", "j"], "json"),
        (&["deploy", "predict", "--backend", "au"], "auto"),
        (&["deploy", "eval", "--device", "cuda"], "cuda"),
        (&["deploy", "bench", "--backend", "tract-"], "tract-stock"),
        (&["deploy", "eval", "--runtimes", "ort-a"], "ort-as-written"),
        (&["deploy", "parity", "--compared", "ort-cu"], "ort-cuda"),
    ] {
        let Some(found) = completed(words) else { return };
        assert_eq!(found, answer, "{words:?}");
    }
}

#[test]
fn each_shell_has_its_script() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = String::from_utf8(deploy(&["completions", shell]).stdout).unwrap();
        assert!(COMMANDS.iter().all(|command| script.contains(command)), "{shell}");
    }
    assert_eq!(deploy(&["completions", "tcsh"]).status.code(), Some(2));
    assert_eq!(deploy(&["completions"]).status.code(), Some(2));
}

#[test]
fn each_command_has_a_page_that_man_likes() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man/man1");
    let output = deploy(&["man", pages.to_str().unwrap()]);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut names: Vec<_> =
        std::fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let mut expected: Vec<_> = COMMANDS.iter().map(|command| format!("deploy-{command}.1")).collect();
    expected.push("deploy.1".to_owned());
    expected.sort();
    assert_eq!(names, expected);
    for name in &names {
        let Some(text) = formatted(&pages.join(name)) else { return };
        for section in ["NAME", "SYNOPSIS", "OPTIONS"] {
            assert!(text.contains(section), "{name}: {text}");
        }
    }
    let first = formatted(&pages.join("deploy.1")).unwrap();
    assert!(first.starts_with("deploy(1)") && first.contains("deploy manual"), "{first}");
    let bench = formatted(&pages.join("deploy-bench.1")).unwrap();
    assert!(bench.contains("deploy bench model.onnx                             the everyday engines"), "{bench}");
    assert_eq!(deploy(&["man"]).stdout, std::fs::read(pages.join("deploy.1")).unwrap());
}

/// A page as `man` shows it; it must give no warnings.
fn formatted(page: &Path) -> Option<String> {
    let mut man = Command::new("man");
    man.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "100").args(["--warnings", "-l"]).arg(page);
    let output = said("each_command_has_a_page_that_man_likes", &mut man)?;
    let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && warnings.is_empty(), "{}: {warnings}", page.display());
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let folder = file.path().join("man1");
    let output = deploy(&["man", folder.to_str().unwrap()]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && error.contains("cannot make the folder"), "{error}");
}
