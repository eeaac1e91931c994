//! Shell completions and man pages, generated from the text of `--help`, for this program and for `train`.

use crate::text::print;
use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use models::files::write_whole;
use std::path::PathBuf;

/// What `completions` takes.
#[derive(Args)]
pub struct Completions {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// The examples below the options of `completions` in `--help`.
#[must_use]
pub fn completions_examples(program: &str) -> String {
    format!(
        "Examples:\n  \
        {program} completions bash > /etc/bash_completion.d/{program}\n  \
        {program} completions zsh > ~/.zfunc/_{program}            (a folder of $fpath)\n  \
        {program} completions fish > ~/.config/fish/completions/{program}.fish"
    )
}

impl Completions {
    /// Prints the script.
    pub fn run(&self, mut program: Command) -> Result<()> {
        let name = program.get_name().to_owned();
        // Generated in memory first: clap_complete panics if it cannot write, for example to a pipe whose reader has
        // gone.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, name, &mut script);
        print(&String::from_utf8_lossy(&script)).map(drop)
    }
}

/// What `man` takes.
#[derive(Args)]
pub struct Pages {
    /// Folder for the pages, one per command; created if it does not exist
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    folder: Option<PathBuf>,
}

/// The examples below the options of `man` in `--help`.
#[must_use]
pub fn pages_examples(program: &str, command: &str) -> String {
    format!(
        "Examples:\n  \
        {program} man | man -l -\n  \
        {program} man ~/.local/share/man/man1      and then: man {program}-{command}"
    )
}

impl Pages {
    /// Prints the first page, or writes all of them.
    pub fn run(&self, program: Command) -> Result<()> {
        // The pages already say what the `help` command would.
        let mut program = program.disable_help_subcommand(true);
        program.build();
        let Some(folder) = &self.folder else {
            let page = page(program.clone(), &program)?.1;
            return print(&String::from_utf8_lossy(&page)).map(drop);
        };
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let commands = program.get_subcommands().filter(|command| !command.is_hide_set());
        for command in std::iter::once(&program).chain(commands) {
            let (name, text) = page(command.clone(), &program)?;
            write_whole(&folder.join(name), &text)?;
        }
        Ok(())
    }
}

/// Renders a command's page. Returns the name of its file and its text.
fn page(command: Command, program: &Command) -> Result<(String, Vec<u8>)> {
    let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_commands = command.has_subcommands();
    let page = Man::new(command);
    let file = page.get_filename();
    let title = file.strip_suffix(".1").unwrap_or(&file);
    // clap_mangen writes an empty date as nothing, so the version would take its place. The date is empty so that the
    // same program always writes the same pages.
    let (name, version) = (program.get_name(), program.get_version().unwrap_or_default());
    let mut text = format!(".TH {title} 1 \"\" \"{name} {version}\" \"{name} manual\"\n").into_bytes();
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if has_commands {
        page.render_subcommands_section(&mut text)?;
    }
    // clap_mangen would reflow the lines of the examples like a paragraph.
    self::notes(&notes).to_writer(&mut text)?;
    Ok((file, text))
}

/// Renders what follows the options in `--help`: paragraphs, and examples whose indented lines are kept as they are.
fn notes(help: &str) -> Roff {
    let mut page = Roff::new();
    let mut in_section = false;
    for part in help.split("\n\n") {
        let (title, lines) = match part.strip_prefix("Examples:\n").or_else(|| part.strip_prefix("Example:\n")) {
            Some(lines) => ("EXAMPLES", lines),
            None => ("NOTES", part),
        };
        if lines.trim().is_empty() {
            continue;
        }
        if title == "EXAMPLES" || !in_section {
            page.control("SH", [title]);
        } else {
            page.control("PP", []);
        }
        in_section = title == "NOTES";
        let indented = lines.lines().all(|line| line.starts_with("  "));
        if indented {
            page.control("nf", []);
        }
        for line in lines.lines() {
            page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        if indented {
            page.control("fi", []);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_filled_and_examples_stay_as_they_are() {
        let page =
            notes("One\nparagraph.\n\nAnother.\n\nExamples:\n  deploy a   first\n  deploy b\n\nThe end.").to_roff();
        let expected = ".SH NOTES\nOne\nparagraph.\n.PP\nAnother.\n.SH EXAMPLES\n.nf\ndeploy a   first\ndeploy b\n.fi\n.SH NOTES\nThe end.\n";
        assert_eq!(page, expected);
        assert_eq!(notes("").to_roff(), "");
    }
}
