//! Compares the answers of two runtimes to the same images.

use super::histogram::Histogram;
use crate::agreement::{Agreement, Tolerance, compare};
use crate::model::Model;
use anyhow::Result;
use models::evaluation::{argmax, softmax};
use ndarray::{Array2, ArrayView2, ArrayView4, Axis, Zip, concatenate};
use serde::Serialize;

/// Images per chunk; progress is reported after each. Large enough to give every thread work.
const CHUNK: usize = 256;

/// How the answers of two runtimes compare.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Their logits, and whether they agree.
    #[serde(flatten)]
    pub agreement: Agreement,
    /// Their probabilities.
    pub probabilities: Difference,
    /// Distribution of the differences between logits.
    pub histogram: Histogram,
    /// The images whose logits differ most, worst first. Images with equal logits are left out.
    pub worst: Vec<Apart>,
    /// The images for which the two answers differ, in order.
    pub other_answers: Vec<OtherAnswer>,
}

/// How far apart numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Largest absolute difference.
    pub max: f32,
    /// Mean absolute difference.
    pub mean: f64,
}

/// One image's logits in both runtimes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Apart {
    /// The image's index, from 0.
    pub image: usize,
    /// Largest absolute difference between two of its logits.
    pub max_difference: f32,
    /// The reference's logits, `[classes]`.
    pub reference_logits: Vec<f32>,
    /// The other runtime's logits.
    pub compared_logits: Vec<f32>,
}

/// An image for which the two answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OtherAnswer {
    /// The image's index, from 0.
    pub image: usize,
    /// The class that the reference answers.
    pub reference: usize,
    /// The class that the other runtime answers.
    pub compared: usize,
    /// How far apart the reference's logits of these two classes are; at least 0.
    pub margin: f32,
    /// Whether rounding within the tolerance can turn one into the other.
    pub near_tie: bool,
}

impl Comparison {
    /// Compares the logits `[N, classes]` of the same images and keeps the `worst` most different images.
    ///
    /// Errors if the shapes differ, if there are no logits, or if a logit or a difference is not finite.
    pub fn new(
        reference: ArrayView2<f32>,
        compared: ArrayView2<f32>,
        tolerance: Tolerance,
        worst: usize,
    ) -> Result<Self> {
        let agreement = compare(reference, compared, tolerance)?;
        let mut histogram = Histogram::default();
        let mut largest = vec![0.0_f32; reference.nrows()];
        let mut other_answers = Vec::new();
        for (image, (one, other)) in reference.rows().into_iter().zip(compared.rows()).enumerate() {
            for (one, other) in one.iter().zip(other) {
                let difference = (one - other).abs();
                histogram.add(difference);
                largest[image] = largest[image].max(difference);
            }
            let (answer, other_answer) = (argmax(one), argmax(other));
            if answer != other_answer {
                let margin = one[answer] - one[other_answer];
                let near_tie = tolerance.is_near_tie(margin);
                other_answers.push(OtherAnswer { image, reference: answer, compared: other_answer, margin, near_tie });
            }
        }
        let mut order: Vec<usize> = (0..largest.len()).collect();
        // The sort is stable: of equal differences, the first image comes first.
        order.sort_by(|&one, &other| largest[other].total_cmp(&largest[one]));
        let apart = |image: usize| Apart {
            image,
            max_difference: largest[image],
            reference_logits: reference.row(image).to_vec(),
            compared_logits: compared.row(image).to_vec(),
        };
        let worst = order.into_iter().take(worst).take_while(|&image| largest[image] > 0.0).map(apart).collect();
        Ok(Self { agreement, probabilities: of_probabilities(reference, compared), histogram, worst, other_answers })
    }
}

fn of_probabilities(reference: ArrayView2<f32>, compared: ArrayView2<f32>) -> Difference {
    let (mut max, mut sum) = (0.0_f32, 0.0_f64);
    Zip::from(&softmax(reference)).and(&softmax(compared)).for_each(|one, other| {
        let difference = (one - other).abs();
        max = max.max(difference);
        sum += f64::from(difference);
    });
    Difference { max, mean: sum / reference.len().max(1) as f64 }
}

/// Returns the logits `[N, classes]` of all images `[N, C, H, W]`, N at least 1. `progress` is called with the number
/// of images done since the last call.
pub fn logits(model: &mut Model, images: ArrayView4<u8>, mut progress: impl FnMut(usize)) -> Result<Array2<f32>> {
    let mut parts = Vec::new();
    for images in images.axis_chunks_iter(Axis(0), CHUNK) {
        parts.push(model.logits(images)?);
        progress(images.len_of(Axis(0)));
    }
    let parts: Vec<_> = parts.iter().map(|part| part.view()).collect();
    Ok(concatenate(Axis(0), &parts)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_worst_images_and_the_other_answers_are_named() {
        let reference = array![[1.0, 2.0], [5.0, 1.0], [0.0, 0.01], [3.0, 3.0]];
        let compared = array![[1.0, 2.0], [0.0, 1.0], [0.02, 0.01], [3.0, 3.5]];
        let tolerance = Tolerance { largest: 0.1, mean: 1.0 };
        let comparison = Comparison::new(reference.view(), compared.view(), tolerance, 2).unwrap();
        let worst: Vec<_> = comparison.worst.iter().map(|apart| (apart.image, apart.max_difference)).collect();
        assert_eq!(worst, [(1, 5.0), (3, 0.5)]);
        assert_eq!(comparison.worst[0].compared_logits, [0.0, 1.0]);
        let other: Vec<_> = comparison.other_answers.iter().map(|other| (other.image, other.near_tie)).collect();
        assert_eq!(other, [(1, false), (2, true), (3, true)]);
        assert_eq!(comparison.agreement.other_argmax, 3);
        assert_eq!(comparison.agreement.beyond_tie, 1);
        assert_eq!((comparison.histogram.equal, comparison.histogram.above), (5, 1));
        // Softmax of (5, 1) and of (0, 1), by hand.
        let difference = 1.0 / (1.0 + (-4.0_f32).exp()) - 1.0 / (1.0 + 1.0_f32.exp());
        assert!((comparison.probabilities.max - difference).abs() < 1e-6, "{:?}", comparison.probabilities);
    }

    #[test]
    fn images_of_equal_logits_are_not_among_the_worst() {
        let (one, other) = (array![[1.0, 2.0], [3.0, 4.0]], array![[1.0, 2.0], [3.0, 4.5]]);
        let comparison = Comparison::new(one.view(), other.view(), Tolerance::new(1.0), 9).unwrap();
        assert_eq!(comparison.worst.iter().map(|apart| apart.image).collect::<Vec<_>>(), [1]);
    }
}
