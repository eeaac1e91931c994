//! Finds images that are copies or near-duplicates of others, and keeps them on one side of a split.
//!
//! A near-duplicate is the same picture stored again: re-encoded, resized, darker, slightly cropped, or the next frame of
//! a video. A perceptual hash finds candidates quickly, and the correlation of their thumbnails decides, because a hash
//! alone also pairs images that share little more than an outline.

use super::Dataset;
use blockhash::blockhash64;
use image::{ImageBuffer, Luma, imageops};
use ndarray::{ArrayView3, Axis};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Largest side of a thumbnail in pixels.
const SIDE: usize = 32;

/// Candidates are pairs whose hashes differ in at most this many of 64 bits. Of copies re-encoded as JPEG (quality 30
/// or 75), halved in size or darkened by a fifth, 98 % or more are candidates.
const DIFFERENT_BITS: u32 = 8;

/// Smallest correlation of near-duplicates. Found of the copies above: 96 % or more, and about half of those that are
/// rotated by 2°. In 2.4 million pairs of different clip art and photographs, the pairs above this value were variants
/// of one drawing. At 0.95 on smaller thumbnails they were already pairs such as clocks that show different times.
const CORRELATION: f64 = 0.98;

/// Images that are compared with the earlier ones at the same time.
const AT_ONCE: usize = 1024;

/// Numbers the groups of near-duplicates among the images of all `sets`, one set after the other: images with the same
/// number belong together. An image without near-duplicates has a number of its own. All images must have one shape.
pub(super) fn groups(sets: &[&Dataset]) -> Vec<usize> {
    let images: Vec<ArrayView3<u8>> = sets.iter().flat_map(|set| set.images.outer_iter()).collect();
    let thumbnails = in_parallel(0..images.len(), |image| Thumbnail::new(images[image]));
    let mut groups: Vec<usize> = (0..images.len()).collect();
    for start in (0..images.len()).step_by(AT_ONCE) {
        let end = (start + AT_ONCE).min(images.len());
        // One image of each earlier group is enough, and all those that are compared at the same time.
        let matching = in_parallel(start..end, |image| {
            let mut found = Vec::new();
            for (other, thumbnail) in thumbnails[..image].iter().enumerate() {
                let (own, group) = (&thumbnails[image], groups[other]);
                if own.is_similar(thumbnail) && !found.contains(&group) && own.correlation(thumbnail) >= CORRELATION {
                    found.push(group);
                }
            }
            found
        });
        for (image, others) in (start..end).zip(matching) {
            for other in others {
                let (one, other) = (root(&mut groups, image), root(&mut groups, other));
                groups[one.max(other)] = one.min(other);
            }
        }
        for image in 0..end {
            groups[image] = root(&mut groups, image);
        }
    }
    groups
}

/// The lowest image of a group, in a forest where each image points to an earlier one of its group or to itself.
fn root(groups: &mut [usize], mut image: usize) -> usize {
    while groups[image] != image {
        groups[image] = groups[groups[image]];
        image = groups[image];
    }
    image
}

/// Calls `work` for each number on all cores. Returns the results in order.
fn in_parallel<T: Send>(numbers: Range<usize>, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(numbers.start);
    let run = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return done;
            }
            done.push((number, work(number)));
        }
    };
    let mut results: Vec<(usize, T)> = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(numbers.len());
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut results = run();
        for other in others {
            match other.join() {
                Ok(found) => results.extend(found),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_unstable_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// A small copy of an image, `[C, H, W]`, at most [`SIDE`] pixels wide and high.
struct Thumbnail {
    values: Vec<u8>,
    mean: f64,
    /// Root of the sum of the squared deviations from the mean.
    spread: f64,
    /// The image's perceptual hash.
    hash: u64,
}

impl Thumbnail {
    fn new(image: ArrayView3<u8>) -> Self {
        let (_, height, width) = image.dim();
        let size = [width.min(SIDE) as u32, height.min(SIDE) as u32];
        let planes = image.axis_iter(Axis(0)).filter_map(|plane| {
            // The images of a set are contiguous, so no plane is left out.
            let plane = ImageBuffer::<Luma<u8>, &[u8]>::from_raw(width as u32, height as u32, plane.to_slice()?)?;
            Some(imageops::thumbnail(&plane, size[0], size[1]).into_raw())
        });
        let values: Vec<u8> = planes.flatten().collect();
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64;
        let spread = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>().sqrt();
        let hash = blockhash64(&Grey { values: &values, size }).into();
        Self { values, mean, spread, hash }
    }

    /// Whether the perceptual hashes are close.
    fn is_similar(&self, other: &Self) -> bool {
        (self.hash ^ other.hash).count_ones() <= DIFFERENT_BITS
    }

    /// Pearson's correlation of two thumbnails of one shape, over all pixels and channels. An image of a single colour
    /// correlates only with itself.
    fn correlation(&self, other: &Self) -> f64 {
        if self.values == other.values {
            return 1.0;
        }
        // At most 3 × 32 × 32 products of two bytes fit into 32 bits.
        let product: i32 =
            self.values.iter().zip(&other.values).map(|(&one, &other)| i32::from(one) * i32::from(other)).sum();
        let covariance = f64::from(product) - self.values.len() as f64 * self.mean * other.mean;
        covariance / (self.spread * other.spread)
    }
}

/// The grey levels of a thumbnail, for its hash.
struct Grey<'a> {
    values: &'a [u8],
    size: [u32; 2],
}

impl blockhash::Image for Grey<'_> {
    const MAX_BRIGHTNESS: u32 = 255;

    fn dimensions(&self) -> (u32, u32) {
        (self.size[0], self.size[1])
    }

    fn brightness(&self, x: u32, y: u32) -> u32 {
        let [width, height] = self.size;
        let planes = self.values.chunks_exact((width * height) as usize);
        let count = planes.len() as u32;
        planes.map(|plane| u32::from(plane[(y * width + x) as usize])).sum::<u32>() / count
    }
}

/// Chooses about `due[part]` images of each part of a set, in this `order`, without separating near-duplicates. `parts`
/// and `groups` have one number per image, and no part gives more than its due.
///
/// A part whose groups are all larger than its due gives its first images, although others of their groups stay.
#[must_use]
pub fn choose(order: &[usize], parts: &[usize], groups: &[usize], mut due: Vec<usize>) -> Vec<bool> {
    let mut members: HashMap<usize, Vec<usize>> = HashMap::new();
    for (image, &group) in groups.iter().enumerate() {
        members.entry(group).or_default().push(image);
    }
    let mut is_chosen = vec![false; parts.len()];
    let mut is_empty = vec![true; due.len()];
    for &image in order {
        // Each group is taken or left when its first image is met.
        let Some(group) = members.remove(&groups[image]) else { continue };
        let mut left = due.clone();
        let fits = group.iter().all(|&member| match &mut left[parts[member]] {
            0 => false,
            left => {
                *left -= 1;
                true
            }
        });
        if fits {
            due = left;
            for member in group {
                (is_chosen[member], is_empty[parts[member]]) = (true, false);
            }
        }
    }
    for &image in order {
        let part = parts[image];
        if is_empty[part] && due[part] > 0 {
            is_chosen[image] = true;
            due[part] -= 1;
        }
    }
    is_chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    /// A picture that differs with `seed`: three soft blobs of different colours on a gradient.
    fn value(seed: usize, channel: usize, y: f64, x: f64) -> f64 {
        let blob = |number: usize| {
            let place = |salt: usize| ((seed * 7 + number * 3 + salt) * 2_654_435_761 % 1000) as f64 / 1000.0;
            let distance = (x - place(1)).powi(2) + (y - place(2)).powi(2);
            let strength = 200.0 * (place(3 + channel) - 0.5);
            strength * (-distance / 0.03).exp()
        };
        128.0 + 30.0 * (x - y) + blob(0) + blob(1) + blob(2)
    }

    fn set(images: &[&dyn Fn(usize, f64, f64) -> f64]) -> Dataset {
        let side = 64;
        let at = |place: usize| (place as f64 + 0.5) / side as f64;
        let pixels =
            Array4::from_shape_fn((images.len(), 3, side, side), |(n, c, y, x)| images[n](c, at(y), at(x)) as u8);
        Dataset::new(pixels, vec![0; images.len()]).unwrap()
    }

    #[test]
    fn copies_that_are_darker_noisy_or_slightly_cropped_belong_together() {
        let noise = |y: f64, x: f64| (y * 12.9898 + x * 78.233).sin() * 43758.5453 % 8.0;
        let first = set(&[
            &|c, y, x| value(1, c, y, x),
            &|c, y, x| value(2, c, y, x),
            &|c, y, x| 0.8 * value(1, c, y, x),
            &|c, y, x| value(1, c, y, x) + noise(y, x),
            &|_, _, _| 40.0,
            &|_, _, _| 41.0,
        ]);
        let second = set(&[
            &|c, y, x| value(1, c, 0.01 + 0.98 * y, 0.01 + 0.98 * x),
            &|c, y, x| value(3, c, y, x),
            &|c, y, x| value(2, c, y, x),
            &|_, _, _| 40.0,
        ]);
        assert_eq!(groups(&[&first, &second]), [0, 1, 0, 0, 4, 5, 0, 7, 1, 4]);
    }

    #[test]
    fn other_colours_make_another_image() {
        let set = set(&[&|c, y, x| value(1, c, y, x), &|c, y, x| value(1, (c + 1) % 3, y, x)]);
        assert_eq!(groups(&[&set]), [0, 1]);
    }

    #[test]
    fn the_smallest_images_can_be_compared() {
        let images =
            Array4::from_shape_fn((3, 1, 8, 8), |(n, _, y, x)| (if n == 1 { x * y * 4 } else { x * 30 }) as u8);
        assert_eq!(groups(&[&Dataset::new(images, vec![0; 3]).unwrap()]), [0, 1, 0]);
    }

    #[test]
    fn groups_are_chosen_whole_and_no_part_gives_more_than_its_due() {
        for (parts, groups, due, expected) in [
            // Without near-duplicates: the first of each part.
            (&[0, 1, 0, 1, 0][..], &[0, 1, 2, 3, 4][..], vec![2, 1], &[0, 1, 2][..]),
            // The pair 1, 3 does not fit, so the next images are taken.
            (&[0, 0, 0, 0, 0], &[0, 1, 2, 1, 4], vec![2], &[0, 2]),
            (&[0, 0, 0, 0, 0], &[0, 1, 2, 1, 4], vec![3], &[0, 1, 3]),
            // A pair in two parts needs a place in both.
            (&[0, 1, 0, 1], &[0, 0, 2, 3], vec![1, 0], &[2]),
            (&[0, 1, 0, 1], &[0, 0, 2, 3], vec![1, 1], &[0, 1]),
            // A part that is one group gives its first images.
            (&[0, 0, 0, 1, 1], &[0, 0, 0, 3, 4], vec![1, 1], &[0, 3]),
            (&[0, 0], &[0, 1], vec![0], &[]),
        ] {
            let order: Vec<usize> = (0..parts.len()).collect();
            let is_chosen = choose(&order, parts, groups, due);
            let chosen: Vec<usize> = order.into_iter().filter(|&image| is_chosen[image]).collect();
            assert_eq!(chosen, expected, "{parts:?} {groups:?}");
        }
    }
}
