//! How far two runtimes agree on the same images.

use anyhow::{Result, ensure};
use models::card::Precision;
use models::evaluation::argmax;
use ndarray::ArrayView2;
use serde::Serialize;

/// How far apart the logits of two runtimes may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tolerance {
    /// Largest absolute difference of two logits.
    pub largest: f32,
    /// Largest mean absolute difference of all logits.
    pub mean: f64,
}

impl Tolerance {
    /// Allows this largest difference, and a tenth of it on average.
    #[must_use]
    pub fn new(largest: f32) -> Self {
        Self { largest, mean: f64::from(largest) / 10.0 }
    }

    /// Whether rounding alone can turn an answer into another whose logit is smaller by `margin`. Both logits may have
    /// moved, in opposite directions.
    #[must_use]
    pub fn is_near_tie(self, margin: f32) -> bool {
        margin <= 2.0 * self.largest
    }
}

/// Differences that are still rounding for fp32 models. It applies to fp16 files too: they store weights in 16 bits but
/// compute in 32.
///
/// Runtimes sum the same products in different orders. On trained networks of this kind, libtorch, ONNX Runtime and
/// tract differed by 2e-5 to 5e-5 with logits up to about 20. A mistake in the graph (a batch norm folded wrongly,
/// images normalised twice) moves logits by tenths or more. The tolerance lies well between the two.
pub const FP32_TOLERANCE: Tolerance = Tolerance { largest: 1e-3, mean: 1e-4 };

/// Differences that are still rounding for int8 models.
///
/// A sum on the border between two of the 256 steps may round up in one runtime and down in another, which moves single
/// logits by some hundredths. No two of libtorch, ONNX Runtime (with and without its graph optimisations) and tract
/// differed by more than 0.07. The mean difference was at most 5e-4 on well-trained networks, and 5e-3 on one of width
/// 1 at 224 px that had been trained for a minute.
pub const INT8_TOLERANCE: Tolerance = Tolerance { largest: 0.3, mean: 2e-2 };

/// The tolerance for a network of this precision.
#[must_use]
pub fn tolerance(precision: Precision) -> Tolerance {
    match precision {
        Precision::Fp32 | Precision::Fp16 => FP32_TOLERANCE,
        Precision::Int8 => INT8_TOLERANCE,
    }
}

/// How far two runtimes agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Images compared, at least 1.
    pub images: usize,
    /// Largest absolute difference of two logits.
    pub max_difference: f32,
    /// Mean absolute difference of all logits.
    pub mean_difference: f64,
    /// The image with the largest difference.
    pub worst_image: usize,
    /// Images for which the two answers differ.
    pub other_argmax: usize,
    /// Those of them that are not near ties: the reference's logits of the two answers are further apart than twice the
    /// largest difference allowed, so rounding alone cannot turn one into the other.
    pub beyond_tie: usize,
    /// The differences allowed.
    pub tolerance: Tolerance,
}

/// Compares `other` with `reference`, both logits `[N, classes]` of the same images.
///
/// Errors if the shapes differ, if there are no logits, or if a logit or a difference is not finite.
pub fn compare(reference: ArrayView2<f32>, other: ArrayView2<f32>, tolerance: Tolerance) -> Result<Agreement> {
    ensure!(
        reference.dim() == other.dim(),
        "logits of the shape {:?} cannot be compared with logits of the shape {:?}",
        reference.dim(),
        other.dim()
    );
    ensure!(!reference.is_empty(), "no logits to compare");
    let mut agreement = Agreement {
        images: reference.nrows(),
        max_difference: 0.0,
        mean_difference: 0.0,
        worst_image: 0,
        other_argmax: 0,
        beyond_tie: 0,
        tolerance,
    };
    let mut sum = 0.0;
    for (image, (expected, found)) in reference.rows().into_iter().zip(other.rows()).enumerate() {
        for (&expected, &found) in expected.iter().zip(found) {
            let difference = (expected - found).abs();
            // The difference of two finite numbers may overflow.
            ensure!(difference.is_finite(), "image {image}: logits {expected} and {found} cannot be compared");
            sum += f64::from(difference);
            if difference > agreement.max_difference {
                (agreement.max_difference, agreement.worst_image) = (difference, image);
            }
        }
        let (answer, other_answer) = (argmax(expected), argmax(found));
        if answer != other_answer {
            agreement.other_argmax += 1;
            if !tolerance.is_near_tie(expected[answer] - expected[other_answer]) {
                agreement.beyond_tie += 1;
            }
        }
    }
    agreement.mean_difference = sum / reference.len() as f64;
    Ok(agreement)
}

impl Agreement {
    /// Whether the two agree: the differences are within the tolerance, and answers differ only at near ties.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.max_difference <= self.tolerance.largest
            && self.mean_difference <= self.tolerance.mean
            && self.beyond_tie == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    fn within(largest: f32, mean: f64) -> Tolerance {
        Tolerance { largest, mean }
    }

    #[test]
    fn differences_are_measured() {
        let reference = array![[1.0, 2.0], [5.0, 1.0], [0.0, 0.0]];
        let other = array![[1.0, 2.0], [5.0, 1.5], [-0.25, 0.0]];
        let compare = |tolerance| compare(reference.view(), other.view(), tolerance).unwrap();
        let agreement = compare(FP32_TOLERANCE);
        assert_eq!((agreement.images, agreement.worst_image), (3, 1));
        assert!((agreement.max_difference - 0.5).abs() < 1e-7);
        assert!((agreement.mean_difference - 0.125).abs() < 1e-9);
        // The reference itself is undecided on the last image: a tie.
        assert_eq!((agreement.other_argmax, agreement.beyond_tie), (1, 0));
        assert!(compare(within(0.5, 0.125)).holds());
        assert!(!compare(within(0.499, 1.0)).holds() && !compare(within(1.0, 0.124)).holds());
    }

    #[test]
    fn another_answer_is_excused_only_by_a_near_tie() {
        let near = compare(array![[1.0, 1.001]].view(), array![[1.001, 1.0]].view(), FP32_TOLERANCE).unwrap();
        assert_eq!((near.other_argmax, near.beyond_tie), (1, 0));
        let far = compare(array![[1.0, 1.01]].view(), array![[1.01, 1.0]].view(), within(0.004, 1.0)).unwrap();
        assert_eq!((far.other_argmax, far.beyond_tie), (1, 1));
        assert!(!Agreement { tolerance: within(1.0, 1.0), ..far }.holds());
    }

    #[test]
    fn equal_logits_agree() {
        let logits = Array2::from_shape_fn((4, 3), |(image, class)| (image * class) as f32);
        let agreement = compare(logits.view(), logits.view(), within(0.0, 0.0)).unwrap();
        assert!(agreement.holds());
        assert_eq!(agreement.other_argmax, 0);
    }

    #[test]
    fn what_cannot_be_compared_never_agrees() {
        let one = array![[1.0_f32]];
        let compare =
            |one: &Array2<f32>, other: &Array2<f32>| compare(one.view(), other.view(), within(f32::MAX, 1e99));
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let broken = array![[broken]];
            for (reference, other) in [(&one, &broken), (&broken, &one), (&broken, &broken)] {
                assert!(compare(reference, other).is_err(), "{reference} {other}");
            }
        }
        assert!(compare(&array![[f32::MAX]], &array![[f32::MIN]]).is_err());
        assert!(compare(&one, &array![[1.0, 2.0]]).is_err());
        assert!(compare(&one, &array![[1.0], [2.0]]).is_err());
        assert!(compare(&Array2::zeros((0, 3)), &Array2::zeros((0, 3))).is_err());
    }
}
