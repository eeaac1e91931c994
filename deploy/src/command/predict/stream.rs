//! `deploy predict --stream`: a stream of images, such as a camera's.

use super::Arguments;
use crate::command::{print, say, text};
use anyhow::{Context, Result, ensure};
use deploy::inputs::{ImageSource, STANDARD_INPUT};
use deploy::predict::predict;
use deploy::stream::{Frame, Frames, MOST_BYTES, Queue};
use models::files;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read, stdin};
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// Frames per thread that wait for the model.
const WAITING: usize = 8;

/// A line of output.
#[derive(Serialize)]
struct Line<T> {
    /// The number of the image in the stream, from 1. Images that were skipped are counted.
    frame: u64,
    #[serde(flatten)]
    result: T,
}

/// Answers the images of a stream until it ends.
pub fn run(arguments: &Arguments, source: &Path) -> Result<()> {
    let mut model = arguments.model.open()?;
    let settings = arguments.settings(&model, None, &[])?;
    let (name, reader) = open(source)?;
    say(&format!("{}: {}", model.name(), model.runtime()));
    let queue = if arguments.latest { Queue::latest() } else { Queue::new(WAITING * model.runtime().threads) };
    let queue = Arc::new(queue);
    let every = u64::from(arguments.every.unwrap_or(1));
    // Not a scoped thread: it may wait for a camera when the work here has ended.
    let reading = thread::Builder::new()
        .name("read".to_owned())
        .spawn({
            let queue = Arc::clone(&queue);
            move || read(reader, every, &queue)
        })
        .context("cannot start a thread")?;
    let (mut answered, mut failed) = (0, 0);
    let mut is_open = true;
    loop {
        let frames = queue.take();
        if frames.is_empty() {
            break;
        }
        let mut numbers = frames.iter().map(|frame| frame.number).collect::<Vec<_>>().into_iter();
        let source = |Frame { number, bytes }| ImageSource::Memory { name: format!("image {number} of {name}"), bytes };
        if let Some(long) = frames.iter().find(|frame| frame.bytes.len() > MOST_BYTES) {
            let most = MOST_BYTES >> 20;
            say(&format!("note: image {} of {name} has more than {most} MiB and is cut off", long.number));
        }
        let sources: Vec<_> = frames.into_iter().map(source).collect();
        predict(&mut model, &sources, &settings, |results| {
            let mut lines = String::new();
            for (result, frame) in results.into_iter().zip(&mut numbers) {
                answered += 1;
                lines += &match result {
                    Ok(result) => serde_json::to_string(&Line { frame, result })?,
                    Err(result) => {
                        failed += 1;
                        say(&format!("error: {}", text::printable(&result.error)));
                        serde_json::to_string(&Line { frame, result })?
                    }
                };
                lines.push('\n');
            }
            is_open = print(&lines)?;
            Ok(is_open)
        })?;
        if !is_open {
            // The reader has closed the output.
            return Ok(());
        }
    }
    let (images, ended) = reading.join().ok().context("the thread that reads the stream has failed")?;
    ended.with_context(|| format!("cannot read {name}"))?;
    ensure!(
        images > 0,
        "{name} contains no JPEG or PNG image: expected a stream of them, as ffmpeg -c:v mjpeg -f image2pipe - writes it"
    );
    let skipped = images - answered;
    say(&format!("{}: {answered} answered, {skipped} skipped", text::counted(images as usize, "image")));
    ensure!(failed == 0, "{failed} of {} could not be used", text::counted(answered as usize, "image"));
    Ok(())
}

/// Reads a stream to its end. Returns how many images it has, and why it ended.
fn read(reader: impl Read, every: u64, queue: &Queue) -> (u64, io::Result<()>) {
    let mut images = 0;
    let ended = Frames::new(reader).try_for_each(|frame| {
        let frame = frame?;
        images = frame.number;
        if (images - 1).is_multiple_of(every) {
            queue.add(frame);
        }
        Ok(())
    });
    queue.end();
    (images, ended)
}

/// Opens a file, a pipe, or standard input. Also returns its name for messages.
fn open(source: &Path) -> Result<(String, Box<dyn Read + Send>)> {
    if source.as_os_str() == STANDARD_INPUT {
        return Ok(("standard input".to_owned(), Box::new(stdin())));
    }
    let name = files::name(source);
    let file = File::open(source).with_context(|| format!("cannot read {name}"))?;
    Ok((name, Box::new(file)))
}
