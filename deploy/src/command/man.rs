//! `deploy man`: the manual, from the same words as `--help`.

use super::print;
use anyhow::{Context, Result};
use clap::{Args, Command, CommandFactory, ValueHint};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use models::files::write_whole;
use std::path::PathBuf;

/// Writes the manual: one page per command into a folder, or the first page to standard output
#[derive(Args)]
#[command(after_help = "\
Examples:
  deploy man | man -l -
  deploy man ~/.local/share/man/man1      and then: man deploy-predict")]
pub struct Arguments {
    /// The folder for deploy.1, deploy-predict.1 and so on; it is made if it is not there
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    folder: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    // `help` says what the pages say.
    let mut program = crate::Cli::command().disable_help_subcommand(true);
    program.build();
    let Some(folder) = &arguments.folder else {
        return print(&String::from_utf8_lossy(&page(program)?.1)).map(drop);
    };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let commands: Vec<_> = program.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    for command in std::iter::once(program).chain(commands) {
        let (name, text) = page(command)?;
        write_whole(&folder.join(name), &text)?;
    }
    Ok(())
}

/// A command's page and the name of its file.
fn page(command: Command) -> Result<(String, Vec<u8>)> {
    let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_commands = command.has_subcommands();
    let page = Man::new(command);
    let file = page.get_filename();
    let title = file.strip_suffix(".1").unwrap_or(&file);
    // clap_mangen would write an empty date as nothing, so that the version became the date. There is no date, so that
    // the same program writes the same pages.
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(".TH {title} 1 \"\" \"deploy {version}\" \"deploy manual\"\n").into_bytes();
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if has_commands {
        page.render_subcommands_section(&mut text)?;
    }
    // clap_mangen would fill the lines of the examples like those of a paragraph.
    self::notes(&notes).to_writer(&mut text)?;
    Ok((file, text))
}

/// What follows the options in `--help`: paragraphs, and examples, whose lines are indented and stay as they are.
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
