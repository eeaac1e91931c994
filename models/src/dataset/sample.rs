//! Fingerprints of a few training images, stored in the model card. They show whether a folder contains a model's
//! training data, even if the folder was moved or renamed, or if some images were added or removed.

use super::Dataset;
use crate::fingerprint::Fingerprint;
use ndarray::Axis;
use std::collections::HashSet;

/// Number of images in a sample.
const SIZE: usize = 32;

/// Fingerprints of up to 32 images, 16 hexadecimal digits each. They are the lowest fingerprints of the set:
/// effectively a random choice, but independent of the order of the images.
#[must_use]
pub fn sample(set: &Dataset) -> Vec<String> {
    let mut numbers: Vec<u64> = fingerprints(set).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.into_iter().take(SIZE).map(|number| format!("{number:016x}")).collect()
}

/// How many images of a sample are in `set`.
pub(super) fn found(sample: &[String], set: &Dataset) -> usize {
    let numbers: HashSet<u64> = fingerprints(set).collect();
    let numbers_of_sample = sample.iter().filter_map(|digits| u64::from_str_radix(digits, 16).ok());
    numbers_of_sample.filter(|number| numbers.contains(number)).count()
}

fn fingerprints(set: &Dataset) -> impl Iterator<Item = u64> {
    let images = set.images.axis_iter(Axis(0));
    // Each image is contiguous because the whole set is.
    images.map(|image| Fingerprint::new(image.as_slice().unwrap_or_default()).spread())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    #[test]
    fn a_sample_is_found_again_in_any_order_and_among_others() {
        let set = |first: usize, count: usize| {
            let images =
                Array4::from_shape_fn((count, 1, 4, 4), |(n, _, y, x)| ((first + n) * 7 + y * 31 + x * 5) as u8);
            Dataset::new(images, vec![0; count]).unwrap()
        };
        let trained = set(0, 100);
        let sample = sample(&trained);
        assert_eq!(sample.len(), SIZE);
        let reversed: Vec<usize> = (0..100).rev().collect();
        assert_eq!(super::sample(&trained.select(&reversed).unwrap()), sample);
        assert_eq!(found(&sample, &set(0, 130)), SIZE);
        let (half, none) = (found(&sample, &set(50, 60)), found(&sample, &set(100, 50)));
        assert!((6..=26).contains(&half) && none == 0, "{half} and {none}");
    }
}
