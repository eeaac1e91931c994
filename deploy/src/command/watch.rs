//! `deploy watch`: answers new images of a folder as they arrive.

use super::answers::AnswerArguments;
use super::predict::Format;
use super::{ModelArguments, say, text, usage};
use anyhow::{Result, ensure};
use clap::{Args, ValueHint};
use deploy::arguments::number;
use deploy::inputs::{ImageSource, Inputs};
use deploy::predict::predict;
use deploy::watch::{Options, Watch, is_remote};
use models::files;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
An image is answered when the program that writes it closes or renames it, and again when it is replaced. Hidden files, \
and files without the extension of an image, are ignored. Where the system does not report the end of writing (with \
--poll, and for the first files of a new folder), a file counts as complete once it has not changed for a second. An \
image that cannot be used is reported, and the watch goes on until Ctrl-C.

Examples:
  deploy watch incoming/ --model pets.onnx
  deploy watch incoming/ --format csv >> answers.csv
  deploy watch /mnt/share/camera --poll 2 --existing";

/// Answers new images in and below a folder as they arrive
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The folder
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    folder: PathBuf,

    /// Also answer the images that are already there
    #[arg(long)]
    existing: bool,

    /// List the folder at this interval instead of waiting for the system's events, which network folders do not have
    #[arg(long, value_name = "SECONDS", value_parser = number::<f32>(0.1..=3600.0))]
    poll: Option<f32>,

    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    answers: AnswerArguments,

    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        default_value_t = Format::Text,
        help = Format::help(|format| format != Format::Json)
    )]
    format: Format,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.format != Format::Json,
        usage("--format json is one document, and a watch does not end: use jsonl")
    );
    let mut model = arguments.model.open()?;
    let settings = arguments.answers.settings(&model)?;
    let options = Options { existing: arguments.existing, poll: arguments.poll.map(Duration::from_secs_f32) };
    let mut watch = Watch::new(&arguments.folder, options)?;
    let folder = files::name(&arguments.folder);
    if arguments.poll.is_none() && is_remote(&arguments.folder) {
        say(&format!(
            "note: {} is on a network file system: use --poll 2 to see images that other machines write",
            text::printable(&folder)
        ));
    }
    let mut printer =
        arguments.format.printer(&model, &settings, &Inputs::default(), arguments.answers.has_threshold());
    say(&format!("{}: {}", model.name(), model.runtime()));
    say(&format!("watching {}", text::printable(&folder)));
    loop {
        let sources: Vec<_> = watch.wait()?.into_iter().map(ImageSource::File).collect();
        let mut is_open = true;
        predict(&mut model, &sources, &settings, |results| {
            for failure in results.iter().filter_map(|result| result.as_ref().err()) {
                say(&format!("error: {}", text::printable(&failure.error)));
            }
            is_open = printer.add(results)?;
            Ok(is_open)
        })?;
        if !is_open {
            // The reader has closed the output.
            return Ok(());
        }
    }
}
