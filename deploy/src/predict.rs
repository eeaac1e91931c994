//! Classifies any number of images.
//!
//! If the runtime takes images one by one, every thread gets a worker ([`crate::backend::Backend::workers`]) that
//! decodes a few images, runs them and takes the next. Otherwise images are decoded ahead on several threads while the
//! model runs the previous batch. Either way ([`pipeline`]), memory holds little more than the images in work.

use crate::backend::panic::caught;
use crate::explain::Explanations;
use crate::inputs::ImageSource;
use crate::model::Model;
use crate::pipeline;
use crate::saved_inputs::SavedInputs;
use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine};
use models::card::{EnergyRange, Input};
use models::digit::{self, Place, Reading};
use models::evaluation::softmax;
use models::files;
use models::image_file::{self, Reader};
use ndarray::{ArrayView1, ArrayView2, ArrayView3, ArrayView4, s};
use serde::Serialize;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// The label of an image that does not look like the training images, or whose best class is below the threshold.
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
    /// Whether an image in which nothing looks like a digit is [`UNKNOWN`]. No effect if the model has no
    /// [energies](Model::energies).
    pub rejects: bool,
    /// Images that are run together. `None` lets the program choose: one by one if the runtime has workers, otherwise a
    /// batch that suits the size of the images and the number of threads.
    pub batch: Option<usize>,
    /// Where to write what the network saw.
    pub saved: Option<SavedInputs>,
    /// Whether answers contain what the network saw, if it is not written to a file.
    pub shows_input: bool,
    /// Where to write which parts of each image speak for its answer.
    pub explained: Option<Explanations>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            reader: Reader::default(),
            top: usize::MAX,
            threshold: 0.0,
            rejects: true,
            batch: None,
            saved: None,
            shows_input: false,
            explained: None,
        }
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
    /// Which part of the image was read as the digit; `None` if the image was taken as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reading: Option<ChosenReading>,
    /// Where the network's input was saved, or the input itself as a `data:` address of a PNG image, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Where the class activation map of the most probable class was saved, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}

/// The reading of an image that was chosen ([`digit::choose`]).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChosenReading {
    /// Its number, from 1, in the order of plausibility by geometry.
    pub number: usize,
    /// How many there were.
    pub of: usize,
    /// Where the digit was found.
    #[serde(flatten)]
    pub place: Place,
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

/// Chooses one of the readings of an image, with the model's answers to all of them; for reading data sets.
pub struct Chooser<'a> {
    energies: Option<EnergyRange>,
    shape: [usize; 3],
    /// Idle models, each used by one thread at a time.
    workers: Mutex<Vec<Model>>,
    /// Used if there are no workers.
    model: Mutex<&'a mut Model>,
}

impl<'a> Chooser<'a> {
    /// A chooser that any number of threads can use.
    pub fn new(model: &'a mut Model) -> Self {
        let Input { channels, height, width, .. } = *model.input();
        let (energies, workers) = (model.energies(), Mutex::new(model.workers()));
        Self { energies, shape: [channels, height, width], workers, model: Mutex::new(model) }
    }

    /// The reading that [`predict`] would choose. Errors if there are no readings or if the model fails.
    pub fn choose(&self, mut readings: Vec<Reading>) -> Result<Reading> {
        if readings.len() > 1 {
            let pixels: Vec<u8> = readings.iter().flat_map(|reading| &reading.pixels).copied().collect();
            let [channels, height, width] = self.shape;
            let images = ArrayView4::from_shape((readings.len(), channels, height, width), &pixels)?;
            let idle = self.workers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let logits = if let Some(mut worker) = idle {
                let logits = worker.logits(images);
                self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
                logits?
            } else {
                self.model.lock().unwrap_or_else(PoisonError::into_inner).logits(images)?
            };
            let choice = digit::choose(&readings, logits.view(), self.energies);
            readings.swap(0, choice.map_or(0, |choice| choice.reading));
        }
        readings.into_iter().next().context("an image has no readings")
    }
}

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
    let shares = shares(sources.len(), workers.len(), SHARE.min(fitting(model.input())));
    let ahead = AHEAD * workers.len();
    let mut workers: Vec<_> = workers.into_iter().map(|worker| (worker, Vec::new())).collect();
    let Some(tools) = workers.split_first_mut() else { return Ok(()) };
    let answer = |(worker, pixels): &mut (Model, Vec<u8>), share: usize| {
        let decode = |number: usize| Decoded::read(number, &sources[number], settings, worker.input());
        let decoded: Vec<_> = shares[share].clone().map(decode).collect();
        // This also frees the pixels on the thread that allocated them: freeing them on another thread is slow.
        answered(worker, decoded, pixels, sources, settings)
    };
    pipeline::ahead(shares.len(), tools, ahead, answer, |results| {
        for results in results {
            if !each(results?)? {
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
    let size = settings.batch.unwrap_or_else(|| batch_size(threads, fitting(&input)));
    let file_bytes = if settings.batch.is_some() { u64::MAX } else { FILE_BYTES };
    let decode = |(): &mut (), number: usize| {
        let source = &sources[number];
        (source.bytes(), Decoded::read(number, source, settings, &input))
    };
    let mut others = vec![(); threads - 1];
    pipeline::ahead(sources.len(), (&mut (), &mut others), size.max(2 * threads), decode, |mut decoded| {
        let mut pixels = Vec::new();
        loop {
            let batch = next_batch(&mut decoded, size, file_bytes);
            if batch.is_empty() {
                return Ok(());
            }
            if !each(answered(model, batch, &mut pixels, sources, settings)?)? {
                return Ok(());
            }
        }
    })
}

/// The default number of images run together, of which at most `fitting` fit into memory.
fn batch_size(threads: usize, fitting: usize) -> usize {
    threads.saturating_mul(PER_THREAD).min(MAX_BATCH).min(fitting)
}

/// How many images fit into [`MAX_BATCH_BYTES`] of network input, at least 1.
fn fitting(input: &Input) -> usize {
    let readings = if Reader::digit_polarity(input).is_some() { digit::MOST_READINGS } else { 1 };
    (MAX_BATCH_BYTES / (readings * input.channels * input.height * input.width).max(1)).max(1)
}

/// An image that was read, or the reason why it could not be.
pub(crate) struct Decoded {
    /// Index of its source.
    number: usize,
    /// At least one reading, or what is wrong with the image.
    readings: Result<Vec<Reading>, String>,
}

impl Decoded {
    pub(crate) fn read(number: usize, source: &ImageSource, settings: &Settings, input: &Input) -> Self {
        let readings = guarded(source, || source.read(&settings.reader, input));
        Self { number, readings: readings.map_err(|error| format!("{error:#}")) }
    }

    /// What the model is to run: all readings of the image, none if it could not be read.
    pub(crate) fn readings(&self) -> &[Reading] {
        self.readings.as_deref().unwrap_or_default()
    }

    /// The result for the image, called `file`. `rows` are the logits of its readings, `[readings, classes]`.
    pub(crate) fn result(
        self,
        file: String,
        model: &Model,
        rows: ArrayView2<f32>,
        settings: &Settings,
    ) -> Result<PredictionResult> {
        let Self { number, readings } = self;
        let readings = match readings {
            Ok(readings) => readings,
            Err(error) => return Ok(Err(Failure { file, error })),
        };
        let choice = digit::choose(&readings, rows, model.energies()).context("an image has no readings")?;
        let Reading { pixels, digits, place, .. } = &readings[choice.reading];
        let known = choice.known || !settings.rejects;
        if known && *digits > 1 {
            let error =
                format!("{file} shows {digits} digits side by side, but the model reads one: crop it to one digit");
            return Ok(Err(Failure { file, error }));
        }
        let Input { channels, height, width, .. } = *model.input();
        let seen = ArrayView3::from_shape((channels, height, width), pixels)?;
        let input = match &settings.saved {
            Some(saved) => Some(files::name(&saved.write(number, seen)?)),
            None if settings.shows_input => {
                Some(format!("data:image/png;base64,{}", BASE64_STANDARD.encode(image_file::png(seen)?)))
            }
            None => None,
        };
        let place = place.map(|place| ChosenReading { number: choice.reading + 1, of: readings.len(), place });
        let probabilities = softmax(rows.slice(s![choice.reading..=choice.reading, ..]));
        let top = answers(probabilities.row(0), model.labels(), settings.top);
        let explain =
            |explained: &Explanations| explained.write(number, seen, top.first().map_or(0, |best| best.class));
        let explanation = settings.explained.as_ref().map(explain).transpose()?;
        let explanation = explanation.map(|path| files::name(&path));
        let prediction = prediction(file, top, (known, settings.threshold));
        Ok(Ok(Prediction { reading: place, input, explanation, ..prediction }))
    }
}

/// Reads an image. A decoder that panics is reported as an error of that file.
fn guarded(source: &ImageSource, read: impl FnOnce() -> Result<Vec<Reading>>) -> Result<Vec<Reading>> {
    caught(|| Ok(read())).with_context(|| format!("{} cannot be read: its decoder crashed", source.name()))?
}

/// Takes the next images to run together, which come with the sizes of their files. It stops at `size` images, or once
/// their files have `file_bytes` bytes.
fn next_batch(decoded: &mut dyn Iterator<Item = (u64, Decoded)>, size: usize, file_bytes: u64) -> Vec<Decoded> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < size && bytes < file_bytes {
        let Some((more, next)) = decoded.next() else { break };
        bytes += more;
        batch.push(next);
    }
    batch
}

/// Runs all readings of the images that could be read, chooses one of each, and returns the results of all images in
/// order. `pixels` is a buffer that is reused.
fn answered(
    model: &mut Model,
    batch: Vec<Decoded>,
    pixels: &mut Vec<u8>,
    sources: &[ImageSource],
    settings: &Settings,
) -> Result<Vec<PredictionResult>> {
    pixels.clear();
    batch.iter().flat_map(Decoded::readings).for_each(|reading| pixels.extend_from_slice(&reading.pixels));
    let Input { channels, height, width, .. } = *model.input();
    let readings = batch.iter().flat_map(Decoded::readings).count();
    let logits = model.logits(ArrayView4::from_shape((readings, channels, height, width), pixels)?)?;
    let mut next = 0;
    let result = |decoded: Decoded| {
        let rows = next..next + decoded.readings().len();
        next = rows.end;
        let file = sources[decoded.number].name();
        decoded.result(file, model, logits.slice(s![rows, ..]), settings)
    };
    batch.into_iter().map(result).collect()
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

/// `known` tells whether the image looks like the training images.
fn prediction(file: String, top: Vec<Answer>, (known, threshold): (bool, f32)) -> Prediction {
    let probability = top.first().map_or(0.0, |best| best.probability);
    let (label, class) = match top.first() {
        Some(best) if known && best.probability >= threshold => (best.label.clone(), Some(best.class)),
        _ => (UNKNOWN.to_owned(), None),
    };
    Prediction { file, label, class, probability, top, reading: None, input: None, explanation: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::card::{Content, Polarity};
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
        for (known, threshold, label, class) in [
            (true, 0.0, "b", Some(1)),
            (true, 0.5, "b", Some(1)),
            (true, 0.51, UNKNOWN, None),
            (false, 0.0, UNKNOWN, None),
        ] {
            let found = prediction("x".into(), top.clone(), (known, threshold));
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
        assert!(guarded(&ImageSource::File("b.png".into()), || Ok(Vec::new())).is_ok());
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
            let decoded = |&bytes| (bytes, Decoded { number: 0, readings: Err(String::new()) });
            let mut decoded = files.iter().map(decoded);
            let mut sizes = Vec::new();
            loop {
                match next_batch(&mut decoded, size, file_bytes).len() {
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
        let image = |channels, side| Input::new(channels, side, side, Content::Image);
        assert_eq!([1, 2, 64].map(|threads| batch_size(threads, fitting(&image(1, 28)))), [256, 512, 1024]);
        assert_eq!(batch_size(8, fitting(&image(3, 224))), 445);
        assert_eq!(batch_size(2, fitting(&image(3, 8192))), 1);
        let digit = Input::new(1, 224, 224, Content::Digit { polarity: Polarity::LightOnDark });
        assert_eq!(fitting(&image(1, 224)) / 8, fitting(&digit));
    }
}
