//! Finds images that are copies or near-duplicates of others, and keeps them on one side of a split.
//!
//! A near-duplicate is the same picture stored again: re-encoded, resized, darker or with less contrast. Pictures of the
//! same thing in the same place, such as parts under a fixed camera, are different images. So the pixels decide: up to a
//! common gain and offset, they must be the same everywhere. A perceptual hash finds the candidates quickly.

use super::Dataset;
use blockhash::blockhash64;
use image::{ImageBuffer, Luma, imageops};
use ndarray::{ArrayView3, Axis};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Largest side of a thumbnail in pixels.
const SIDE: usize = 32;

/// Candidates are pairs whose hashes differ in at most this many of 64 bits. Of copies re-encoded as JPEG (quality 30
/// or 75), halved in size or darkened by a fifth, 98 % or more are candidates.
const DIFFERENT_BITS: u32 = 8;

/// Largest difference of near-duplicates in any pixel and channel of their thumbnails, in levels of 0 to 255, after one
/// of them was fitted to the other. Photographs re-encoded as JPEG are closer (96 % of them at quality 30, all at 75), and
/// so are 99 % of those halved in size and all that are a fifth darker. Of drawings with sharp edges, 45 to 88 % of the
/// re-encoded and halved ones are. A tolerance for edges would find more of them, but also takes parts with small defects
/// for copies of good ones.
const DIFFERENCE: f64 = 16.0;

/// Smallest correlation of near-duplicates. Cheaper than the difference, so it is looked at first.
const CORRELATION: f64 = 0.98;

/// Smallest standard deviation of a channel, in levels, for a picture. An image with less is its colour and noise, and
/// only copies of it are near-duplicates.
const PICTURE: f64 = 4.0;

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
                if own.is_similar(thumbnail) && !found.contains(&group) && own.is_near(thumbnail) {
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
    /// Whether any channel has a [`PICTURE`].
    is_picture: bool,
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
        let whole = spread(&values);
        let pixels = (size[0] * size[1]) as usize;
        let is_picture = values.chunks_exact(pixels).any(|plane| spread(plane) >= PICTURE * (pixels as f64).sqrt());
        let hash = blockhash64(&Grey { values: &values, size }).into();
        Self { values, mean, spread: whole, is_picture, hash }
    }

    /// Whether the perceptual hashes are close.
    fn is_similar(&self, other: &Self) -> bool {
        (self.hash ^ other.hash).count_ones() <= DIFFERENT_BITS
    }

    fn is_near(&self, other: &Self) -> bool {
        if !self.is_picture || !other.is_picture {
            return self.values == other.values;
        }
        self.correlation(other) >= CORRELATION
            && self.difference(other) <= DIFFERENCE
            && other.difference(self) <= DIFFERENCE
    }

    /// Pearson's correlation of two thumbnails of one shape, over all pixels and channels.
    fn correlation(&self, other: &Self) -> f64 {
        // At most 3 × 32 × 32 products of two bytes fit into 31 bits.
        let product: i32 =
            self.values.iter().zip(&other.values).map(|(&one, &other)| i32::from(one) * i32::from(other)).sum();
        let covariance = f64::from(product) - self.values.len() as f64 * self.mean * other.mean;
        covariance / (self.spread * other.spread)
    }

    /// The largest difference from another thumbnail of this one with the gain and the offset that fit best.
    fn difference(&self, other: &Self) -> f64 {
        let gain = self.correlation(other) * other.spread / self.spread;
        let differences = self
            .values
            .iter()
            .zip(&other.values)
            .map(|(&one, &two)| (other.mean + gain * (f64::from(one) - self.mean) - f64::from(two)).abs());
        differences.fold(0.0, f64::max)
    }
}

/// Root of the sum of the squared deviations from the mean.
fn spread(values: &[u8]) -> f64 {
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64;
    values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>().sqrt()
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
/// and `groups` have one number per image.
///
/// A group is taken if at least half of it fits and something is left of each of its parts. If that gives a part
/// nothing, its smallest group is taken; if all of the part is one group, its first images, although others stay.
#[must_use]
pub fn choose(order: &[usize], parts: &[usize], groups: &[usize], due: Vec<usize>) -> Vec<bool> {
    let mut places: HashMap<usize, usize> = HashMap::new();
    let mut members: Vec<Vec<usize>> = Vec::new();
    for &image in order {
        let place = *places.entry(groups[image]).or_insert(members.len());
        if place == members.len() {
            members.push(Vec::new());
        }
        members[place].push(image);
    }
    let mut choice =
        Choice { is_chosen: vec![false; parts.len()], chosen: vec![0; due.len()], left: vec![0; due.len()], parts };
    for &part in parts {
        choice.left[part] += 1;
    }
    for group in &members {
        choice.take(group, |part, count, chosen| count <= 2 * due[part].saturating_sub(chosen));
    }
    members.sort_by_key(Vec::len);
    for group in &members {
        choice.take(group, |part, _, chosen| due[part] > 0 && chosen == 0);
    }
    for part in (0..due.len()).filter(|&part| choice.chosen[part] == 0) {
        for &image in order.iter().filter(|&&image| parts[image] == part).take(due[part]) {
            choice.is_chosen[image] = true;
        }
    }
    choice.is_chosen
}

/// Images that were chosen of each part, and how many are left.
struct Choice<'a> {
    is_chosen: Vec<bool>,
    chosen: Vec<usize>,
    left: Vec<usize>,
    parts: &'a [usize],
}

impl Choice<'_> {
    /// Takes a group unless it was taken, something would be left of none of its parts, or `fits` is false for the
    /// number of its images in a part and the number already chosen there.
    fn take(&mut self, group: &[usize], fits: impl Fn(usize, usize, usize) -> bool) {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for &image in group {
            *counts.entry(self.parts[image]).or_default() += 1;
        }
        let taken = group.iter().any(|&image| self.is_chosen[image]);
        let all_fit =
            counts.iter().all(|(&part, &count)| count < self.left[part] && fits(part, count, self.chosen[part]));
        if taken || !all_fit {
            return;
        }
        for (part, count) in counts {
            self.chosen[part] += count;
            self.left[part] -= count;
        }
        for &image in group {
            self.is_chosen[image] = true;
        }
    }
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
    fn copies_that_are_darker_or_noisy_belong_together() {
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
            &|c, y, x| 0.9 * value(1, c, y, x) + 10.0,
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

    /// Such as parts under a fixed camera, one of them with a scratch.
    #[test]
    fn a_small_difference_makes_another_image() {
        let is_scratch = |y: f64, x: f64| (0.4..0.46).contains(&y) && (0.3..0.5).contains(&x);
        let set = set(&[&|c, y, x| value(1, c, y, x), &|c, y, x| {
            value(1, c, y, x) - if is_scratch(y, x) { 40.0 } else { 0.0 }
        }]);
        assert_eq!(groups(&[&set]), [0, 1]);
    }

    #[test]
    fn images_of_one_colour_are_only_copies_if_they_are_equal() {
        let set = set(&[&|c, _, _| [200.0, 10.0, 10.0][c], &|c, _, _| [150.0, 10.0, 10.0][c], &|c, _, _| {
            [200.0, 10.0, 10.0][c]
        }]);
        assert_eq!(groups(&[&set]), [0, 1, 0]);
    }

    #[test]
    fn the_smallest_images_can_be_compared() {
        let images =
            Array4::from_shape_fn((3, 1, 8, 8), |(n, _, y, x)| (if n == 1 { x * y * 4 } else { x * 30 }) as u8);
        assert_eq!(groups(&[&Dataset::new(images, vec![0; 3]).unwrap()]), [0, 1, 0]);
    }

    #[test]
    fn groups_are_chosen_whole() {
        for (parts, groups, due, expected) in [
            // Without near-duplicates: the first of each part.
            (&[0, 1, 0, 1, 0][..], &[0, 1, 2, 3, 4][..], vec![2, 1], &[0, 1, 2][..]),
            // Half of the pair 1, 3 fits.
            (&[0, 0, 0, 0, 0], &[0, 1, 2, 1, 4], vec![2], &[0, 1, 3]),
            // A third of 1, 3, 4 does not.
            (&[0, 0, 0, 0, 0, 0], &[0, 1, 2, 1, 1, 5], vec![2], &[0, 2]),
            // A pair in two parts needs a place in both.
            (&[0, 1, 0, 1], &[0, 0, 2, 3], vec![1, 0], &[2]),
            (&[0, 1, 0, 1], &[0, 0, 2, 3], vec![1, 1], &[0, 1]),
            // No group fits: the smallest one is taken, and another one is left.
            (&[0; 7], &[0, 0, 0, 0, 1, 1, 1], vec![1], &[4, 5, 6]),
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
