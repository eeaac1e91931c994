//! Classifies any number of images.
//!
//! If the runtime takes images one by one, every thread gets a worker ([`crate::backend::Backend::workers`]) that
//! decodes a few images, runs them and takes the next. Otherwise images are decoded ahead on several threads while the
//! model runs the previous batch. Either way ([`pipeline`]), memory holds little more than the images in work.

use crate::backend::panic::caught;
use crate::inputs::ImageSource;
use crate::model::Model;
use crate::pipeline;
use crate::saved_inputs::SavedInputs;
use anyhow::{Context, Result};
use models::card::Input;
use models::evaluation::softmax;
use models::files;
use models::image_file::Reader;
use ndarray::{Array2, Array3, ArrayView1, ArrayView4, Axis};
use serde::Serialize;
use std::ops::Range;

/// The label of an image whose best class is below the threshold.
pub const UNKNOWN: &str = "unknown";

/// Images per thread in a default batch: enough that starting the threads costs nothing in comparison.
const PER_THREAD: usize = 256;

/// Most images that a worker takes at a time.
const SHARE: usize = 8;

/// Shares per worker whose answers may wait to be taken.
const AHEAD: usize = 8;

/// Most images in a default batch.
const MAX_BATCH: usize = 1024;

/// Most bytes of network input in a default batch.
const MAX_BATCH_BYTES: usize = 64 << 20;

/// A default batch runs as soon as this many bytes of files were decoded for it. Decoding large photographs takes far
/// longer than running them, so the first answers must not wait for hundreds of them.
const FILE_BYTES: u64 = 1 << 20;

/// How images are read and answers are given. By default with all classes and no threshold.
#[derive(Debug)]
pub struct Settings {
    /// How images are read.
    pub reader: Reader,
    /// Answers per image, at least 1. Values above the number of classes return all classes.
    pub top: usize,
    /// An image whose highest probability is below this, 0 to 1, is [`UNKNOWN`].
    pub threshold: f32,
    /// Images that are run together. `None` lets the program choose: one by one if the runtime has workers, otherwise a
    /// batch that suits the size of the images and the number of threads.
    pub batch: Option<usize>,
    /// Where to write what the network saw.
    pub saved: Option<SavedInputs>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { reader: Reader::default(), top: usize::MAX, threshold: 0.0, batch: None, saved: None }
    }
}

/// The answer for one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The image's name: its path as [`files::name`] writes it, or `-`.
    pub file: String,
    /// The label of the most probable class, or [`UNKNOWN`].
    pub label: String,
    /// The class's index; `None` if the label is [`UNKNOWN`].
    pub class: Option<usize>,
    /// Probability of the most probable class, 0 to 1, also if it is [`UNKNOWN`].
    pub probability: f32,
    /// The most probable classes, best first.
    pub top: Vec<Answer>,
    /// Where the network's input was saved, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
}

/// One class and its probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The class's name.
    pub label: String,
    /// The class's index.
    pub class: usize,
    /// Its probability, 0 to 1.
    pub probability: f32,
}

/// Why an image has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// The image's name: its path as [`files::name`] writes it, or `-`.
    pub file: String,
    /// What is wrong with the image.
    pub error: String,
}

/// The result for one image.
pub type PredictionResult = Result<Prediction, Failure>;

/// Runs the model on all images. `each` receives the outcomes in order, as many at a time as were run together. If it
/// returns false, the remaining images are skipped.
///
/// An image that cannot be read is an outcome, not an error. Errors come from the model, from `each` and from saving
/// inputs.
pub fn predict(
    model: &mut Model,
    sources: &[ImageSource],
    settings: &Settings,
    each: impl FnMut(Vec<PredictionResult>) -> Result<bool>,
) -> Result<()> {
    // An explicit batch size rules out workers.
    let workers = if settings.batch.is_none() { model.workers() } else { Vec::new() };
    if workers.is_empty() {
        in_batches(model, sources, settings, each)
    } else {
        one_by_one(model, workers, sources, settings, each)
    }
}

/// Each worker decodes a few images, runs them and takes the next.
fn one_by_one(
    model: &Model,
    workers: Vec<Model>,
    sources: &[ImageSource],
    settings: &Settings,
    mut each: impl FnMut(Vec<PredictionResult>) -> Result<bool>,
) -> Result<()> {
    let shares = shares(sources.len(), workers.len(), SHARE.min(fitting(shape(model.input()))));
    let ahead = AHEAD * workers.len();
    let mut workers: Vec<_> = workers.into_iter().map(|worker| (worker, Vec::new())).collect();
    let Some(tools) = workers.split_first_mut() else { return Ok(()) };
    let answer = |(worker, pixels): &mut (Model, Vec<u8>), share: usize| {
        let decode = |number: usize| Decoded::read(number, &sources[number], settings, worker.input());
        let decoded = shares[share].clone().map(decode).collect::<Result<Vec<_>>>()?;
        let probabilities = run(worker, &decoded, pixels)?;
        // Free the pixels on the thread that allocated them: freeing them on another thread is slow.
        let decoded: Vec<_> = decoded.into_iter().map(Decoded::without_pixels).collect();
        Ok::<_, anyhow::Error>((decoded, probabilities))
    };
    pipeline::ahead(shares.len(), tools, ahead, answer, |answered| {
        for answered in answered {
            let (decoded, probabilities) = answered?;
            if !each(outcomes(decoded, &probabilities, sources, model.labels(), settings)?)? {
                break;
            }
        }
        Ok(())
    })
}

/// Splits the images into shares, which workers take one at a time: several images, so that answers are not handed over
/// one by one, and fewer towards the end, so that all workers finish together.
fn shares(count: usize, workers: usize, most: usize) -> Vec<Range<usize>> {
    let mut shares = Vec::new();
    let mut from = 0;
    while from < count {
        let share = ((count - from) / (4 * workers)).clamp(1, most);
        shares.push(from..from + share);
        from += share;
    }
    shares
}

/// Decodes images on all threads and runs them together.
fn in_batches(
    model: &mut Model,
    sources: &[ImageSource],
    settings: &Settings,
    mut each: impl FnMut(Vec<PredictionResult>) -> Result<bool>,
) -> Result<()> {
    let input = model.input().clone();
    let threads = model.runtime().threads;
    let size = settings.batch.unwrap_or_else(|| batch_size(threads, fitting(shape(&input))));
    let file_bytes = if settings.batch.is_some() { u64::MAX } else { FILE_BYTES };
    let decode = |(): &mut (), number: usize| {
        let source = &sources[number];
        Ok((source.bytes(), Decoded::read(number, source, settings, &input)?))
    };
    let mut others = vec![(); threads - 1];
    pipeline::ahead(sources.len(), (&mut (), &mut others), size.max(2 * threads), decode, |mut decoded| {
        let mut pixels = Vec::new();
        loop {
            let batch = next_batch(&mut decoded, size, file_bytes)?;
            if batch.is_empty() {
                return Ok(());
            }
            let probabilities = run(model, &batch, &mut pixels)?;
            if !each(outcomes(batch, &probabilities, sources, model.labels(), settings)?)? {
                return Ok(());
            }
        }
    })
}

/// The default number of images run together, of which at most `fitting` fit into memory.
fn batch_size(threads: usize, fitting: usize) -> usize {
    threads.saturating_mul(PER_THREAD).min(MAX_BATCH).min(fitting)
}

/// How many images `[C, H, W]` of network input fit into [`MAX_BATCH_BYTES`], at least 1.
fn fitting([channels, height, width]: [usize; 3]) -> usize {
    (MAX_BATCH_BYTES / (channels * height * width).max(1)).max(1)
}

fn shape(input: &Input) -> [usize; 3] {
    [input.channels, input.height, input.width]
}

/// An image that was read, or the reason why it could not be.
struct Decoded<P = Array3<u8>> {
    /// Index of its source.
    number: usize,
    /// `[C, H, W]`, or what is wrong with the image.
    pixels: Result<P, String>,
    saved: Option<String>,
}

impl Decoded {
    fn read(number: usize, source: &ImageSource, settings: &Settings, input: &Input) -> Result<Self> {
        let pixels = guarded(source, || source.read(&settings.reader, input)).map_err(|error| format!("{error:#}"));
        let saved = match (&settings.saved, &pixels) {
            (Some(saved), Ok(pixels)) => Some(files::name(&saved.write(number, pixels.view())?)),
            _ => None,
        };
        Ok(Self { number, pixels, saved })
    }

    fn without_pixels(self) -> Decoded<()> {
        let Self { number, pixels, saved } = self;
        Decoded { number, pixels: pixels.map(drop), saved }
    }
}

/// Reads an image. A decoder that panics is reported as an error of that file.
fn guarded(source: &ImageSource, read: impl FnOnce() -> Result<Array3<u8>>) -> Result<Array3<u8>> {
    caught(|| Ok(read())).with_context(|| format!("{} cannot be read: its decoder crashed", source.name()))?
}

/// Takes the next images to run together, which come with the sizes of their files. It stops at `size` images, or once
/// their files have `file_bytes` bytes.
fn next_batch(
    decoded: &mut dyn Iterator<Item = Result<(u64, Decoded)>>,
    size: usize,
    file_bytes: u64,
) -> Result<Vec<Decoded>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < size && bytes < file_bytes {
        let Some((more, next)) = decoded.next().transpose()? else { break };
        bytes += more;
        batch.push(next);
    }
    Ok(batch)
}

/// Returns the probabilities of the images that could be read, in order. `pixels` is a buffer that is reused.
fn run(model: &mut Model, batch: &[Decoded], pixels: &mut Vec<u8>) -> Result<Array2<f32>> {
    pixels.clear();
    let mut count = 0;
    for input in batch.iter().filter_map(|decoded| decoded.pixels.as_ref().ok()) {
        // Copies the whole slice: copying element by element takes a noticeable share of the time.
        match input.as_slice() {
            Some(values) => pixels.extend_from_slice(values),
            None => pixels.extend(input),
        }
        count += 1;
    }
    let Input { channels, height, width, .. } = *model.input();
    let images = ArrayView4::from_shape((count, channels, height, width), pixels)?;
    Ok(softmax(model.logits(images)?.view()))
}

/// Turns the probabilities of the images that could be read into the outcomes of all.
fn outcomes<P>(
    batch: impl IntoIterator<Item = Decoded<P>>,
    probabilities: &Array2<f32>,
    sources: &[ImageSource],
    labels: &[String],
    settings: &Settings,
) -> Result<Vec<PredictionResult>> {
    let mut rows = probabilities.axis_iter(Axis(0));
    let outcome = |Decoded { number, pixels, saved, .. }: Decoded<P>| {
        let file = sources[number].name();
        match pixels {
            Ok(_) => {
                let row = rows.next().with_context(|| format!("no answer for {file}"))?;
                Ok(Ok(prediction(file, answers(row, labels, settings.top), settings.threshold, saved)))
            }
            Err(error) => Ok(Err(Failure { file, error })),
        }
    };
    batch.into_iter().map(outcome).collect()
}

/// Returns the `top` most probable classes, best first. Ties go to the lower index.
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
        let error = guarded(&ImageSource::File("a.png".into()), || panic!("index out of range")).unwrap_err();
        assert_eq!(format!("{error:#}"), "a.png cannot be read: its decoder crashed: it panicked: index out of range");
        let error =
            guarded(&ImageSource::File("a.png".into()), || Err(anyhow::anyhow!("a.png is truncated"))).unwrap_err();
        assert_eq!(error.to_string(), "a.png is truncated");
        assert!(guarded(&ImageSource::File("b.png".into()), || Ok(Array3::zeros((1, 2, 2)))).is_ok());
    }

    #[test]
    fn shares_are_small_and_smaller_towards_the_end() {
        let sizes = |count, workers| {
            let shares = shares(count, workers, SHARE);
            assert!(shares.iter().cloned().flatten().eq(0..count), "{shares:?}");
            shares.iter().map(ExactSizeIterator::len).collect::<Vec<_>>()
        };
        assert!(sizes(0, 2).is_empty());
        assert_eq!(sizes(1, 4), [1]);
        assert_eq!(sizes(20, 2), [2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        let many = sizes(1000, 2);
        assert!(many.is_sorted_by(|one, next| one >= next) && many[0] == SHARE, "{many:?}");
    }

    #[test]
    fn a_batch_ends_with_its_size_or_with_large_files() {
        let sizes = |files: &[u64], size, file_bytes| {
            let decoded = |&bytes| Ok((bytes, Decoded { number: 0, pixels: Err(String::new()), saved: None }));
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
        assert_eq!([1, 2, 64].map(|threads| batch_size(threads, fitting([1, 28, 28]))), [256, 512, 1024]);
        assert_eq!(batch_size(8, fitting([3, 224, 224])), 445);
        assert_eq!(batch_size(2, fitting([3, 8192, 8192])), 1);
    }
}
