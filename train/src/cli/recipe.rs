//! `train recipe`.

use crate::recipe::{self, BUILT_IN, NAMES};
use anyhow::Result;
use clap::Args;
use clap::builder::StringValueParser;
use deploy::named::Named;
use deploy::text;
use std::fmt::Write;
use std::process::ExitCode;

/// Show a recipe with every key explained, or list the built-in ones
#[derive(Args)]
#[command(after_help = "\
Your own recipe sets only the keys that it changes. The others come from quick, or \
from the recipe named in its line `base`. train/recipes/README.md has the rules.

Examples:
  train recipe                       the built-in recipes
  train recipe quick > mine.toml     a recipe to start from
  train recipe mine.toml             your recipe with every key filled in")]
pub(super) struct Arguments {
    /// Built-in recipe or a TOML file; it is printed with the values of its base filled in
    #[arg(value_name = "NAME|FILE", value_parser = Named::with(NAMES.clone(), StringValueParser::new()), hide_possible_values = true)]
    recipe: Option<String>,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let text = match &self.recipe {
            Some(recipe) => recipe::document(recipe)?,
            None => list(),
        };
        text::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Lists the built-in recipes, each with its leading comment.
fn list() -> String {
    let mut text = String::new();
    for (name, recipe) in BUILT_IN {
        let lines: Vec<_> = recipe.lines().map_while(|line| line.strip_prefix("# ")).collect();
        let _ = write!(text, "{name}\n  {}\n\n", lines.join("\n  "));
    }
    text + "train recipe NAME prints one of them with every key explained.\n"
}
