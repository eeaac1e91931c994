//! `deploy backends`: which runtimes work here, and why the others do not?

use super::text::{counted, fields};
use super::{Format, print, print_json};
use anyhow::Result;
use clap::Args;
use deploy::backend::Options;
use deploy::backend::status::{self, Status};
use serde::Serialize;

/// Shows which runtimes are compiled in and found, and why something is unavailable
#[derive(Args)]
pub struct Arguments {
    /// For people, or one document for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The document that `--format json` prints.
#[derive(Serialize)]
struct Document {
    /// Threads used by default.
    threads: usize,
    backends: [Status; 3],
    /// What `--backend auto --device auto` uses.
    auto: Option<&'static str>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let backends = status::all();
    let auto = match &backends {
        [_, _, cuda] if cuda.available => Some("onnxruntime on cuda:0"),
        [_, onnxruntime, _] if onnxruntime.available => Some("onnxruntime on cpu"),
        [tract, _, _] if tract.available => Some("tract on cpu"),
        _ => None,
    };
    let document = Document { threads: Options::default().threads(), backends, auto };
    match arguments.format {
        Format::Text => print(&text(&document))?,
        Format::Json => print_json(&document)?,
    };
    Ok(())
}

fn text(document: &Document) -> String {
    let mut lines: Vec<(&str, String)> = document.backends.iter().map(|status| (status.name, status.text())).collect();
    lines.push(("auto takes", document.auto.unwrap_or("nothing: no runtime is available").to_owned()));
    lines.push(("default", counted(document.threads, "thread")));
    fields(&lines)
}
