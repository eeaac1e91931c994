//! `deploy backends`: which engines work here, and why the others do not?

use super::text::{counted, fields};
use super::{Format, print, print_json};
use anyhow::Result;
use clap::Args;
use deploy::backend::status::{self, Status};
use deploy::backend::{Engine, Options, Selection};
use serde::Serialize;

/// Shows which engines are compiled in and found, and why something is unavailable
#[derive(Args)]
pub struct Arguments {
    /// Text for people, or one JSON document for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The document that `--format json` prints.
#[derive(Serialize)]
struct Document {
    /// Threads used by default.
    threads: usize,
    backends: Vec<Status>,
    /// What `--backend auto` uses.
    auto: Option<Engine>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let backends = status::all();
    let auto = Selection::Auto.settle().ok().map(|(engine, _)| engine);
    let document = Document { threads: Options::default().threads(), backends, auto };
    match arguments.format {
        Format::Text => print(&text(&document))?,
        Format::Json => print_json(&document)?,
    };
    Ok(())
}

fn text(document: &Document) -> String {
    let mut lines = status::lines(&document.backends);
    let auto = document.auto.map_or_else(|| "nothing: no engine is available".to_owned(), |engine| engine.to_string());
    lines.push(("auto uses", auto));
    lines.push(("default", counted(document.threads, "thread")));
    fields(&lines)
}
