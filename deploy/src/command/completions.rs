//! `deploy completions`: what a shell needs to complete this program's commands and flags.

use super::print;
use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Prints a script with which a shell completes commands and flags
#[derive(Args)]
#[command(after_help = "\
Examples:
  deploy completions bash > /etc/bash_completion.d/deploy
  deploy completions zsh > ~/.zfunc/_deploy            (a folder of $fpath)
  deploy completions fish > ~/.config/fish/completions/deploy.fish

The Debian package brings those of bash, zsh and fish.")]
pub struct Arguments {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    // Into memory first: clap_complete panics if it cannot write, as into a pipe whose reader has gone.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::Cli::command(), "deploy", &mut script);
    print(&String::from_utf8_lossy(&script)).map(drop)
}
