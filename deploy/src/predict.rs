//! What a model says about pictures, any number of them.
//!
//! Where the runtime takes pictures one by one, every thread has a worker of it ([`crate::backend::Backend::workers`]),
//! which decodes a few pictures, runs them and takes the next. Otherwise they are decoded ahead on several threads while
//! the model runs those before them, a batch at a time. Either way ([`pipeline`]) little more is in memory than what is
//! worked on.

use crate::backend::panic::caught;
use crate::inputs::Source;
use crate::model::Model;
use crate::pipeline;
use crate::saved_inputs::SavedInputs;
use anyhow::{Context, Result};
use models::card::Input;
use models::evaluation::softmax;
use models::files;
use models::picture::Reader;
use ndarray::{Array2, Array3, ArrayView1, ArrayView4, Axis};
use serde::Serialize;
use std::ops::Range;

/// The label of a picture whose likeliest class is not likely enough.
pub const UNKNOWN: &str = "unknown";

/// Pictures that each thread gets of a batch by default: so many that starting the threads for them costs nothing.
const PER_THREAD: usize = 256;

/// Most pictures that a worker takes at a time.
const SHARE: usize = 8;

/// Shares of a worker whose answers may wait to be taken.
const AHEAD: usize = 8;

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
    /// Pictures that are run together; `None` does as suits the runtime: one by one, or as their size and the threads
    /// make good.
    pub batch: Option<usize>,
    /// Where to write what the network saw.
    pub saved: Option<SavedInputs>,
}

/// What is on one picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// What the image is called: its path as [`files::name`] writes it, or `-`.
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
    /// What the image is called: its path as [`files::name`] writes it, or `-`.
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
    each: impl FnMut(Vec<Outcome>) -> Result<bool>,
) -> Result<()> {
    // Whoever asks for batches gets them.
    let workers = if settings.batch.is_none() { model.workers() } else { Vec::new() };
    if workers.is_empty() {
        in_batches(model, sources, settings, each)
    } else {
        one_by_one(model, workers, sources, settings, each)
    }
}

/// Each of the model's workers decodes a few pictures, runs them and takes the next.
fn one_by_one(
    model: &Model,
    workers: Vec<Model>,
    sources: &[Source],
    settings: &Settings,
    mut each: impl FnMut(Vec<Outcome>) -> Result<bool>,
) -> Result<()> {
    let shares = shares(sources.len(), workers.len(), SHARE.min(fitting(shape(model.input()))));
    let ahead = AHEAD * workers.len();
    let mut workers: Vec<_> = workers.into_iter().map(|worker| (worker, Vec::new())).collect();
    let Some(tools) = workers.split_first_mut() else { return Ok(()) };
    let answer = |(worker, pixels): &mut (Model, Vec<u8>), share: usize| {
        let decode = |number: usize| Decoded::of(number, &sources[number], settings, worker.input());
        let decoded = shares[share].clone().map(decode).collect::<Result<Vec<_>>>()?;
        let probabilities = run(worker, &decoded, pixels)?;
        // The pixels end where they began: an allocator is slow with what another thread gives back.
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

/// Pictures that a worker takes at a time: a few, so that the answers are not handed over one by one, and fewer towards
/// the end, so that all workers end at the same time.
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

/// Pictures are decoded on all threads, and run together.
fn in_batches(
    model: &mut Model,
    sources: &[Source],
    settings: &Settings,
    mut each: impl FnMut(Vec<Outcome>) -> Result<bool>,
) -> Result<()> {
    let input = model.input().clone();
    let threads = model.runtime().threads;
    let size = settings.batch.unwrap_or_else(|| batch_size(threads, fitting(shape(&input))));
    let file_bytes = if settings.batch.is_some() { u64::MAX } else { FILE_BYTES };
    let decode = |(): &mut (), number: usize| {
        let source = &sources[number];
        Ok((source.bytes(), Decoded::of(number, source, settings, &input)?))
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

/// Pictures run together by default, if so many fit into memory.
fn batch_size(threads: usize, fitting: usize) -> usize {
    threads.saturating_mul(PER_THREAD).min(MAX_BATCH).min(fitting)
}

/// How many pictures `[C, H, W]`, as the network takes them, may be held at once: at least one.
fn fitting([channels, height, width]: [usize; 3]) -> usize {
    (MAX_BATCH_BYTES / (channels * height * width).max(1)).max(1)
}

fn shape(input: &Input) -> [usize; 3] {
    [input.channels, input.height, input.width]
}

/// A picture that was read, or could not be.
struct Decoded<P = Array3<u8>> {
    /// Which of the sources it is.
    number: usize,
    /// `[C, H, W]`, or what is wrong with the picture.
    pixels: Result<P, String>,
    saved: Option<String>,
}

impl Decoded {
    fn of(number: usize, source: &Source, settings: &Settings, input: &Input) -> Result<Self> {
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

/// A file that makes a decoder panic is a broken file, and nothing more.
fn guarded(source: &Source, read: impl FnOnce() -> Result<Array3<u8>>) -> Result<Array3<u8>> {
    caught(|| Ok(read())).with_context(|| format!("{} cannot be read: its decoder broke", source.name()))?
}

/// The next pictures to run together, of those with the bytes of their files: at most `size`, and no more once they have
/// so many bytes.
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

/// The probabilities of those that could be read, in order. `pixels` is a buffer, so that its memory is used again.
fn run(model: &mut Model, batch: &[Decoded], pixels: &mut Vec<u8>) -> Result<Array2<f32>> {
    pixels.clear();
    let mut count = 0;
    for input in batch.iter().filter_map(|decoded| decoded.pixels.as_ref().ok()) {
        // In one go: element by element this would be a share of the time that can be seen.
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

/// What became of pictures, from the probabilities of those that could be read.
fn outcomes<P>(
    batch: impl IntoIterator<Item = Decoded<P>>,
    probabilities: &Array2<f32>,
    sources: &[Source],
    labels: &[String],
    settings: &Settings,
) -> Result<Vec<Outcome>> {
    let mut rows = probabilities.axis_iter(Axis(0));
    let outcome = |Decoded { number, pixels, saved, .. }: Decoded<P>| {
        let file = sources[number].name();
        match pixels {
            Ok(_) => {
                let row = rows.next().with_context(|| format!("there is no answer for {file}"))?;
                Ok(Ok(prediction(file, answers(row, labels, settings.top), settings.threshold, saved)))
            }
            Err(error) => Ok(Err(Failure { file, error })),
        }
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
        let error = guarded(&Source::File("a.png".into()), || panic!("index out of range")).unwrap_err();
        assert_eq!(format!("{error:#}"), "a.png cannot be read: its decoder broke: it panicked: index out of range");
        let error = guarded(&Source::File("a.png".into()), || Err(anyhow::anyhow!("a.png is truncated"))).unwrap_err();
        assert_eq!(error.to_string(), "a.png is truncated");
        assert!(guarded(&Source::File("b.png".into()), || Ok(Array3::zeros((1, 2, 2)))).is_ok());
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
