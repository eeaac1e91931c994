//! What a model says about pictures, any number of them.
//!
//! Pictures are decoded ahead on several threads ([`pipeline`]) while the model runs those before them; only a batch
//! and what is decoded ahead of it are in memory.

use crate::backend::panic::caught;
use crate::inputs::Source;
use crate::model::Model;
use crate::pipeline;
use crate::saved_inputs::SavedInputs;
use anyhow::{Context, Result};
use models::card::Input;
use models::evaluation::softmax;
use models::picture::Reader;
use ndarray::{Array3, ArrayView1, ArrayView4, Axis};
use serde::Serialize;
use std::ops::Range;

/// The label of a picture whose likeliest class is not likely enough.
pub const UNKNOWN: &str = "unknown";

/// Pictures that each thread gets of a batch by default: so many that starting the threads for them costs nothing.
const PER_THREAD: usize = 256;

/// Small files that a thread decodes in one go, and their bytes together: handing each over by itself would cost as
/// much as decoding it.
const GROUP: usize = 16;
const GROUP_BYTES: u64 = 32 << 10;

/// Most pictures of a batch by default.
const MAX_BATCH: usize = 1024;

/// Most bytes of the pictures of a batch, as the network takes them, by default.
const MAX_BATCH_BYTES: usize = 64 << 20;

/// A batch begins to run by default when so many bytes of files were decoded for it: of large photographs, whose
/// decoding takes far longer than running them, the first answers shall not wait for hundreds.
const FILE_BYTES: u64 = 1 << 20;

/// How pictures are read and answers are given.
#[derive(Debug)]
pub struct Settings {
    /// How pictures are read.
    pub reader: Reader,
    /// Answers per picture, at least one; more than there are classes are none.
    pub top: usize,
    /// A picture whose likeliest class is less likely than this, 0 to 1, is [`UNKNOWN`].
    pub threshold: f32,
    /// Pictures that are run together; `None` lets their size and the threads decide.
    pub batch: Option<usize>,
    /// Where to write what the network saw.
    pub saved: Option<SavedInputs>,
}

/// What is on one picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// What the picture is called: its path, or `-`.
    pub file: String,
    /// The likeliest class, or [`UNKNOWN`].
    pub label: String,
    /// Its number; `None` if it is unknown.
    pub class: Option<usize>,
    /// How likely the likeliest class is, 0 to 1, unknown or not.
    pub probability: f32,
    /// The likeliest answers, best first.
    pub top: Vec<Answer>,
    /// Where the network's input was saved, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
}

/// One class and how likely it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The class's name.
    pub label: String,
    /// Its number.
    pub class: usize,
    /// How likely it is, 0 to 1.
    pub probability: f32,
}

/// Why there is no answer for a picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What the picture is called: its path, or `-`.
    pub file: String,
    /// What is wrong with it.
    pub error: String,
}

/// What became of one picture.
pub type Outcome = Result<Prediction, Failure>;

/// Asks the model about all pictures. `each` gets their outcomes in order, as many at once as were run together; when
/// it returns false, the rest is left.
///
/// A picture that cannot be used is an outcome. Errors are those of the model, of `each` and of saving inputs.
pub fn predict(
    model: &mut Model,
    sources: &[Source],
    settings: &Settings,
    mut each: impl FnMut(Vec<Outcome>) -> Result<bool>,
) -> Result<()> {
    let input = model.input().clone();
    let threads = model.runtime().threads;
    let size = settings.batch.unwrap_or_else(|| batch_size(threads, input.channels * input.height * input.width));
    let file_bytes = if settings.batch.is_some() { u64::MAX } else { FILE_BYTES };
    let bytes: Vec<u64> = sources.iter().map(Source::bytes).collect();
    let groups = groups(&bytes, size.min(GROUP));
    let decode = |group: usize| {
        let numbers = groups[group].clone();
        numbers.map(|number| Decoded::of(number, &sources[number], bytes[number], settings, &input)).collect::<Vec<_>>()
    };
    let ahead = size.div_ceil(GROUP).max(2 * threads);
    pipeline::ahead(groups.len(), threads, ahead, decode, |decoded| {
        let mut decoded = decoded.flatten();
        let mut pixels = Vec::new();
        loop {
            let batch = next_batch(&mut decoded, size, file_bytes)?;
            if batch.is_empty() || !each(run(model, batch, &mut pixels, settings)?)? {
                return Ok(());
            }
        }
    })
}

/// Files in a row that are decoded in one go, at most so many, from the bytes of each.
fn groups(files: &[u64], most: usize) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut together = 0;
    for (number, &bytes) in files.iter().enumerate() {
        match groups.last_mut() {
            Some(group) if group.len() < most && bytes.saturating_add(together) <= GROUP_BYTES => {
                group.end += 1;
                together += bytes;
            }
            _ => {
                groups.push(number..number + 1);
                together = bytes;
            }
        }
    }
    groups
}

/// Pictures run together by default, of so many bytes each.
fn batch_size(threads: usize, bytes: usize) -> usize {
    threads.saturating_mul(PER_THREAD).min(MAX_BATCH).min(MAX_BATCH_BYTES / bytes.max(1)).max(1)
}

/// A picture that was read, or could not be.
struct Decoded {
    file: String,
    /// Bytes of its file.
    bytes: u64,
    /// `[C, H, W]`, or what is wrong with the picture.
    pixels: Result<Array3<u8>, String>,
    saved: Option<String>,
}

impl Decoded {
    fn of(number: usize, source: &Source, bytes: u64, settings: &Settings, input: &Input) -> Result<Self> {
        let file = source.name();
        let pixels = guarded(&file, || source.read(&settings.reader, input)).map_err(|error| format!("{error:#}"));
        let saved = match (&settings.saved, &pixels) {
            (Some(saved), Ok(pixels)) => Some(saved.write(number, pixels.view())?.display().to_string()),
            _ => None,
        };
        Ok(Self { file, bytes, pixels, saved })
    }
}

/// A file that makes a decoder panic is a broken file, and nothing more.
fn guarded(file: &str, read: impl FnOnce() -> Result<Array3<u8>>) -> Result<Array3<u8>> {
    caught(|| Ok(read())).with_context(|| format!("{file} cannot be read: its decoder broke"))?
}

/// The next pictures to run together: at most `size`, and no more once their files have so many bytes.
fn next_batch(
    decoded: &mut dyn Iterator<Item = Result<Decoded>>,
    size: usize,
    file_bytes: u64,
) -> Result<Vec<Decoded>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < size && bytes < file_bytes {
        let Some(next) = decoded.next().transpose()? else { break };
        bytes += next.bytes;
        batch.push(next);
    }
    Ok(batch)
}

/// Runs those that could be read together. `pixels` is a buffer, so that its memory is used again.
fn run(model: &mut Model, batch: Vec<Decoded>, pixels: &mut Vec<u8>, settings: &Settings) -> Result<Vec<Outcome>> {
    pixels.clear();
    let mut count = 0;
    for input in batch.iter().filter_map(|decoded| decoded.pixels.as_ref().ok()) {
        pixels.extend(input);
        count += 1;
    }
    let Input { channels, height, width, .. } = *model.input();
    let images = ArrayView4::from_shape((count, channels, height, width), pixels)?;
    let probabilities = softmax(model.logits(images)?.view());
    let mut rows = probabilities.axis_iter(Axis(0));
    let outcome = |Decoded { file, pixels, saved, .. }: Decoded| match pixels {
        Ok(_) => {
            let row = rows.next().with_context(|| format!("{} has no answer for {file}", model.name()))?;
            Ok(Ok(prediction(file, answers(row, model.labels(), settings.top), settings.threshold, saved)))
        }
        Err(error) => Ok(Err(Failure { file, error })),
    };
    batch.into_iter().map(outcome).collect()
}

/// The `top` likeliest classes, best first; of equals the lower number.
fn answers(probabilities: ArrayView1<f32>, labels: &[String], top: usize) -> Vec<Answer> {
    let mut classes: Vec<_> = probabilities.iter().copied().zip(labels).enumerate().collect();
    classes.sort_by(|(_, (one, _)), (_, (other, _))| other.total_cmp(one));
    classes.truncate(top);
    let answer =
        |(class, (probability, label)): (usize, (f32, &String))| Answer { label: label.clone(), class, probability };
    classes.into_iter().map(answer).collect()
}

fn prediction(file: String, top: Vec<Answer>, threshold: f32, input: Option<String>) -> Prediction {
    let probability = top.first().map_or(0.0, |best| best.probability);
    let (label, class) = match top.first() {
        Some(best) if best.probability >= threshold => (best.label.clone(), Some(best.class)),
        _ => (UNKNOWN.to_owned(), None),
    };
    Prediction { file, label, class, probability, top, input }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn labels() -> [String; 3] {
        ["a", "b", "c"].map(str::to_owned)
    }

    #[test]
    fn the_likeliest_answers_come_first() {
        let top = answers(array![0.2, 0.4, 0.4].view(), &labels(), 2);
        assert_eq!((top.len(), top[0].class, top[1].label.as_str()), (2, 1, "c"));
    }

    #[test]
    fn what_is_below_the_threshold_is_unknown_but_keeps_its_answers() {
        let top = answers(array![0.2, 0.5, 0.3].view(), &labels(), 3);
        for (threshold, label, class) in [(0.0, "b", Some(1)), (0.5, "b", Some(1)), (0.51, UNKNOWN, None)] {
            let found = prediction("x".into(), top.clone(), threshold, None);
            assert_eq!((found.label.as_str(), found.class, found.probability), (label, class, 0.5), "{threshold}");
            assert_eq!(found.top, top);
        }
    }

    #[test]
    fn a_decoder_that_panics_breaks_its_own_file_only() {
        let error = guarded("a.png", || panic!("index out of range")).unwrap_err();
        assert_eq!(format!("{error:#}"), "a.png cannot be read: its decoder broke: it panicked: index out of range");
        let error = guarded("a.png", || Err(anyhow::anyhow!("a.png is truncated"))).unwrap_err();
        assert_eq!(error.to_string(), "a.png is truncated");
        assert!(guarded("b.png", || Ok(Array3::zeros((1, 2, 2)))).is_ok());
    }

    #[test]
    fn small_files_are_decoded_together_and_large_ones_alone() {
        let sizes = |files: &[u64], most| groups(files, most).iter().map(ExactSizeIterator::len).collect::<Vec<_>>();
        assert_eq!(sizes(&[300; 40], GROUP), [16, 16, 8]);
        assert_eq!(sizes(&[300; 5], 2), [2, 2, 1]);
        assert_eq!(sizes(&[20_000, 20_000, 100, 1 << 30, u64::MAX, 5], GROUP), [1, 2, 1, 1, 1]);
        assert!(sizes(&[], GROUP).is_empty());
    }

    #[test]
    fn a_batch_ends_with_its_size_or_with_large_files() {
        let sizes = |files: &[u64], size, file_bytes| {
            let decoded = |&bytes| Ok(Decoded { file: String::new(), bytes, pixels: Err(String::new()), saved: None });
            let mut decoded = files.iter().map(decoded);
            let mut sizes = Vec::new();
            loop {
                match next_batch(&mut decoded, size, file_bytes).unwrap().len() {
                    0 => return sizes,
                    length => sizes.push(length),
                }
            }
        };
        assert_eq!(sizes(&[1; 7], 3, 100), [3, 3, 1]);
        assert_eq!(sizes(&[60, 60, 60, 200, 1, 1], 3, 100), [2, 2, 2]);
        assert_eq!(sizes(&[u64::MAX >> 8; 4], 3, u64::MAX), [3, 1]);
    }

    #[test]
    fn the_default_batch_keeps_every_thread_busy_and_the_memory_small() {
        assert_eq!([1, 2, 64].map(|threads| batch_size(threads, 28 * 28)), [256, 512, 1024]);
        assert_eq!(batch_size(8, 3 * 224 * 224), 445);
        assert_eq!(batch_size(2, 3 * 8192 * 8192), 1);
    }
}
