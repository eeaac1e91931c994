//! Reads many image files into one array, in parallel, and reports those that cannot be read.

use super::{Dataset, MAX_BYTES, ReadOptions, ReadSplit, images_in};
use crate::card::Input;
use crate::image_file;
use anyhow::{Context, Result, anyhow, bail, ensure};
use ndarray::Array4;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Most unreadable images that a message names; the others are only counted.
const NAMED: usize = 10;

/// Reads `images` (path and class) as the network's input ([`image_file::Reader::readings`]), in parallel but in order.
/// Messages call them `what`.
///
/// Unreadable images are skipped and named in the notes. Fails if there are more than [`tolerated`].
pub(super) fn read(what: &str, images: &[(&Path, usize)], input: &Input, options: ReadOptions) -> Result<ReadSplit> {
    let length = input.channels * input.height * input.width;
    let bytes = length as u64 * images.len() as u64;
    ensure!(
        bytes <= MAX_BYTES,
        "{} {what} of {}x{}x{} bytes need {:.1} GB of memory: expected at most {:.1} GB; choose a lower --resolution, \
         or use fewer",
        images.len(),
        input.channels,
        input.height,
        input.width,
        bytes as f64 / 1e9,
        MAX_BYTES as f64 / 1e9,
    );
    let mut values = Vec::new();
    values.try_reserve_exact(length * images.len()).with_context(|| {
        format!("{} {what} do not fit into memory: use fewer, or choose a lower --resolution", images.len())
    })?;
    values.resize(length * images.len(), 0);
    let failures = fill(&mut values, length, images, input, options)?;
    report(what, images.len(), &failures)?;

    let (mut labels, mut files) = (Vec::with_capacity(images.len()), Vec::with_capacity(images.len()));
    let mut unreadable = failures.iter().map(|(index, _)| *index).peekable();
    for (index, (path, class)) in images.iter().enumerate() {
        if unreadable.next_if_eq(&index).is_none() {
            values.copy_within(index * length..(index + 1) * length, labels.len() * length);
            labels.push(*class);
            files.push(path.to_path_buf());
        }
    }
    values.truncate(labels.len() * length);
    let shape = (labels.len(), input.channels, input.height, input.width);
    let set = Dataset::new(Array4::from_shape_vec(shape, values)?, labels)?.with_files(files)?;
    let notes = (!failures.is_empty()).then(|| {
        format!("{} of {} {what} cannot be read and are skipped:{}", failures.len(), images.len(), list(&failures))
    });
    Ok(ReadSplit { set, notes: notes.into_iter().collect() })
}

/// Reads at most `most` of the images in and below a folder, evenly spaced in the order of their paths, as the network's
/// input. All have label 0. Fails if there are no images, or if too many cannot be read.
pub fn unlabelled<'a>(
    folder: &Path,
    input: &Input,
    most: usize,
    options: impl Into<ReadOptions<'a>>,
) -> Result<ReadSplit> {
    let (paths, mut notes) = images_in(folder)?;
    let count = paths.len().min(most);
    let chosen: Vec<(&Path, usize)> =
        (0..count).map(|index| (paths[index * paths.len() / count].as_path(), 0)).collect();
    let reading = read(&format!("images in {}", folder.display()), &chosen, input, options.into())?;
    notes.extend(reading.notes);
    Ok(ReadSplit { set: reading.set, notes })
}

/// Index of an unreadable image, and the reason.
type Failure = (usize, anyhow::Error);

/// Reads each image into its slice of `values`, `length` bytes each. Returns the failures in image order.
fn fill(
    values: &mut [u8],
    length: usize,
    images: &[(&Path, usize)],
    input: &Input,
    options: ReadOptions,
) -> Result<Vec<Failure>> {
    let done = AtomicUsize::new(0);
    let places = Mutex::new(images.iter().zip(values.chunks_exact_mut(length.max(1))).enumerate());
    let work = || {
        let mut failures = Vec::new();
        loop {
            // The lock is held only while the next image is taken. If a thread panicked while holding it, the others
            // stop.
            let Some((index, ((path, _), place))) = places.lock().ok().and_then(|mut places| places.next()) else {
                return failures;
            };
            let readings = image_file::Reader::default().readings(path, input);
            match readings.and_then(|readings| (options.choose)(readings)) {
                Ok(reading) => place.copy_from_slice(&reading.pixels),
                Err(error) => failures.push((index, error)),
            }
            (options.progress)(done.fetch_add(1, Ordering::Relaxed) + 1, images.len());
        }
    };
    let mut failures = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads(images.len())).map(|_| scope.spawn(work)).collect();
        let mut failures = Vec::new();
        for thread in threads {
            failures.extend(thread.join().map_err(|_| anyhow!("an image could not be decoded: its decoder crashed"))?);
        }
        Ok::<_, anyhow::Error>(failures)
    })?;
    failures.sort_unstable_by_key(|(index, _)| *index);
    Ok(failures)
}

/// Whether any of the images is stored in colour. Unreadable images are ignored.
pub(super) fn any_in_colour(images: &[&Path]) -> bool {
    let found = AtomicBool::new(false);
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(path) = images.get(next.fetch_add(1, Ordering::Relaxed)) {
            if found.load(Ordering::Relaxed) {
                return;
            }
            if image_file::form(path).is_ok_and(|form| form.in_colour) {
                found.store(true, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads(images.len()) {
            scope.spawn(work);
        }
    });
    found.into_inner()
}

/// One thread per core, but no more than there are images.
fn threads(images: usize) -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(images)
}

/// How many of this many images may be unreadable: 1 in 100; in small sets 1 in 10, up to ten; always at least one. A
/// larger number indicates a wrong folder, a broken disk or an aborted copy.
fn tolerated(images: usize) -> usize {
    (images / 100).max((images / 10).min(10)).max(1)
}

/// Fails if too many images could not be read, or all of them.
fn report(what: &str, images: usize, failures: &[Failure]) -> Result<()> {
    if failures.len() > tolerated(images) || failures.len() == images {
        bail!(
            "{} of {images} {what} cannot be read: expected at most {}; repair or remove them{}",
            failures.len(),
            tolerated(images).min(images - 1),
            list(failures)
        );
    }
    Ok(())
}

/// The first failures, one per line.
fn list(failures: &[Failure]) -> String {
    let mut lines: Vec<String> = failures.iter().take(NAMED).map(|(_, error)| format!("\n  {error:#}")).collect();
    if failures.len() > NAMED {
        lines.push(format!("\n  and {} more", failures.len() - NAMED));
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Content;
    use crate::dataset::ReadProgress;
    use image::{GrayImage, Luma};
    use std::path::PathBuf;

    fn silent() -> ReadOptions<'static> {
        let progress: ReadProgress = &|_, _| ();
        progress.into()
    }

    fn input() -> Input {
        Input::new(1, 8, 8, Content::Image)
    }

    /// Writes `count` images, each filled with its number as grey level. Those for which `is_broken` is true are not
    /// images.
    fn images(folder: &Path, count: u8, is_broken: impl Fn(u8) -> bool) -> Vec<PathBuf> {
        (0..count)
            .map(|number| {
                let path = folder.join(format!("{number}.png"));
                if is_broken(number) {
                    std::fs::write(&path, "not an image").unwrap();
                } else {
                    GrayImage::from_pixel(16, 8, Luma([number])).save(&path).unwrap();
                }
                path
            })
            .collect()
    }

    fn read_all(paths: &[PathBuf]) -> Result<ReadSplit> {
        let images: Vec<_> = paths.iter().enumerate().map(|(index, path)| (path.as_path(), index)).collect();
        read("test images in x", &images, &input(), silent())
    }

    #[test]
    fn the_order_stays_and_what_cannot_be_read_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let paths = images(folder.path(), 200, |number| number % 15 == 0 && number < 150);
        let ReadSplit { set, notes } = read_all(&paths).unwrap();
        assert_eq!(set.len(), 190);
        for (image, &label) in set.images().outer_iter().zip(set.labels()) {
            assert!(image.iter().all(|&value| usize::from(value) == label), "{label}");
        }
        let [note] = &notes[..] else { panic!("{notes:?}") };
        assert!(note.contains("10 of 200 test images in x cannot be read") && note.contains("15.png"), "{note}");
    }

    #[test]
    fn too_many_that_cannot_be_read_are_an_error_that_names_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let message = read_all(&images(folder.path(), 60, |number| number >= 45)).err().unwrap().to_string();
        assert!(message.contains("15 of 60") && message.contains("45.png"), "{message}");
        assert!(message.contains("54.png") && !message.contains("55.png"), "{message}");
        assert!(message.contains("and 5 more"), "{message}");
        assert!(read_all(&images(folder.path(), 1, |_| true)).is_err());
    }

    #[test]
    fn small_and_large_sets_tolerate_a_fair_number() {
        let numbers = [1, 5, 30, 100, 500, 1000, 5000].map(tolerated);
        assert_eq!(numbers, [1, 1, 3, 10, 10, 10, 50]);
    }

    #[test]
    fn one_coloured_image_makes_a_coloured_set() {
        let folder = tempfile::tempdir().unwrap();
        let mut paths = images(folder.path(), 30, |number| number == 3);
        let any = |paths: &[PathBuf]| any_in_colour(&paths.iter().map(PathBuf::as_path).collect::<Vec<_>>());
        assert!(!any(&paths));
        paths.push(folder.path().join("colour.png"));
        image::RgbImage::new(2, 2).save(&paths[30]).unwrap();
        assert!(any(&paths));
    }

    #[test]
    fn more_than_fits_in_memory_is_an_error_with_numbers() {
        let large = Input { channels: 3, height: 4096, width: 4096, ..input() };
        let images = vec![(Path::new("a.png"), 0); 200];
        let message = read("images", &images, &large, silent()).err().unwrap().to_string();
        assert!(message.contains("200 images of 3x4096x4096") && message.contains("10.1 GB"), "{message}");
        assert!(message.contains("8.6 GB") && message.contains("--resolution"), "{message}");
    }
}
