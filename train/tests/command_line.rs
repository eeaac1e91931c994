//! Tests of the command line: flags, recipes, completions and man pages.

use assert_cmd::Command as Program;
use std::path::Path;
use std::process::{Command, Output};

fn train(arguments: &[&str]) -> Output {
    Program::cargo_bin("train").unwrap().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs `train` with wrong usage and returns the error message.
fn usage_error(arguments: &[&str]) -> String {
    let output = train(arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    message
}

#[test]
fn a_wrong_value_names_its_flag_and_what_it_takes() {
    for (arguments, flag, expected) in [
        (&["--width", "x"][..], "--width <ALPHA>", "expected a number above 0 and at most 1"),
        (&["--width", "2"], "--width <ALPHA>", "expected a number above 0 and at most 1"),
        (&["--lr=-0.1"], "--lr <RATE>", "expected a number above 0"),
        (&["--momentum", "-1"], "--momentum <SHARE>", "expected a number of at least 0 and below 1"),
        (&["--resolution", "99999999999999999999"], "--resolution <PIXELS>", "expected a whole number from 8 to 4,096"),
        (&["--stem-stride", "3"], "--stem-stride <N>", "expected a whole number from 1 to 2"),
        (&["--seed", "1.5"], "--seed <N>", "expected a whole number from 0 to 2⁶³ − 1"),
        (&["--threads", "0"], "--threads <N>", "expected a whole number from 1 to 1,024"),
        (&["--arch", "mobilenet"], "--arch <NAME>", "mobilenet-v1, tutorial"),
        (&["--device", "gpu"], "--device <NAME>", "expected auto, cpu, cuda or cuda:N"),
        (&["summary", "--channels", "0"], "--channels <N>", "expected a whole number from 1 to 64"),
        (&["summary", "--stem-stride", "-1"], "--stem-stride <N>", "expected a whole number from 1 to 2"),
    ] {
        let message = usage_error(arguments);
        assert!(message.contains(flag) && message.contains(expected), "{message}");
        for jargon in ["invalid digit", "invalid float", "target type", "unexpected argument"] {
            assert!(!message.contains(jargon), "{message}");
        }
    }
}

#[test]
fn the_help_shows_the_defaults_of_both_recipes() {
    let help = text(&train(&["--help"]).stdout);
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let quick: toml::Table = toml::from_str(include_str!("../recipes/quick.toml")).unwrap();
    let photos: toml::Table = toml::from_str(include_str!("../recipes/photos.toml")).unwrap();
    let chosen = || "from the data".to_owned();
    for (flag, photos, quick) in [
        ("--epochs", chosen(), quick["epochs"].to_string()),
        ("--batch-size", chosen(), quick["batch_size"].to_string()),
        ("--width", photos["network"]["width"].to_string(), quick["network"]["width"].to_string()),
        ("--stem-stride", photos["network"]["stem_stride"].to_string(), quick["network"]["stem_stride"].to_string()),
        ("--lr", photos["optimizer"]["lr"].to_string(), quick["optimizer"]["lr"].to_string()),
        ("--hold-out", chosen(), quick["hold_out"].to_string()),
        ("--from", chosen(), "none".to_owned()),
    ] {
        let (_, after) = words.split_once(&format!(" {flag} <")).unwrap();
        let (about, _) = after.split_once(']').unwrap();
        let expected = format!("[default: the recipe's; photos: {photos}; quick: {quick}");
        assert!(about.contains(&expected), "{flag}: {about}");
    }
}

#[test]
fn a_printed_recipe_can_be_trained_and_a_wrong_one_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let printed = train(&["recipe", "best"]).stdout;
    std::fs::write(&path, &printed).unwrap();
    assert_eq!(text(&train(&["recipe", path.to_str().unwrap()]).stdout), text(&printed));
    std::fs::write(&path, "epochs = 3\n[optimizer]\nkind = \"adamw\"\n").unwrap();
    let resolved = text(&train(&["recipe", path.to_str().unwrap()]).stdout);
    for line in ["name = \"mine\"", "epochs = 3", "lr = 0.001", "width = 0.25"] {
        assert!(resolved.lines().any(|found| found == line), "{line} in {resolved}");
    }
    std::fs::write(&path, "lr = 0.1\n").unwrap();
    let output = train(&["--recipe", path.to_str().unwrap()]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        message.contains("mine.toml is not a valid recipe: line 1: `lr` belongs in the table [optimizer]"),
        "{message}"
    );
}

/// Runs the completion in bash itself, as the tab key does.
#[test]
fn bash_completes_commands_flags_and_values() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.bash");
    std::fs::write(&path, train(&["completions", "bash"]).stdout).unwrap();
    for (words, answer) in [
        (&["train", "summ"][..], "summary"),
        (&["train", "--stem"], "--stem-stride"),
        (&["train", "--recipe", "qu"], "quick"),
        (&["train", "--device", "cp"], "cpu"),
        (&["train", "--arch", "tu"], "tutorial"),
        (&["train", "recipe", "be"], "best"),
        (&["train", "summary", "--format", "j"], "json"),
    ] {
        let last = words.len() - 1;
        let line = format!(
            "set -eu; compopt() {{ :; }}; source '{}'; COMP_WORDS=({}); COMP_CWORD={last}; _train train '{}' '{}'; echo \"${{COMPREPLY[*]}}\"",
            path.display(),
            words.join(" "),
            words[last],
            words[last - 1]
        );
        let output = match Command::new("bash").args(["-c", &line]).output() {
            Ok(output) => output,
            Err(error) => return println!("skipped: bash_completes_commands_flags_and_values: bash: {error}"),
        };
        assert!(output.stderr.is_empty(), "{words:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout).trim(), answer, "{words:?}");
    }
}

#[test]
fn every_command_has_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    assert!(train(&["man", pages.to_str().unwrap()]).status.success());
    let page = |name: &str| std::fs::read_to_string(Path::new(&pages).join(name)).unwrap();
    assert!(page("train.1").starts_with(".TH train 1 \"\" \"train "), "{}", page("train.1"));
    for command in ["eval", "export", "report", "summary", "recipe", "devices", "completions", "man"] {
        assert!(page(&format!("train-{command}.1")).contains(".SH OPTIONS"), "{command}");
    }
    assert_eq!(train(&["man"]).stdout, page("train.1").into_bytes());
}
