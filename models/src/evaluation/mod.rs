//! Metrics of a classifier.
//!
//! [`Confusion`] is the confusion matrix, with precision and recall per class; [`Reliability`] compares confidence with
//! accuracy; [`interval`] gives the confidence interval of a share. [`Metrics`] holds all of them, tallied batch by
//! batch ([`Tally`]). [`energy`] tells how much an image looks like those trained on.

mod calibration;
mod confusion;
mod metrics;
mod mistakes;

pub use calibration::{BINS, Bin, Reliability};
pub use confusion::{ClassFigures, Confused, Confusion};
pub use metrics::{Metrics, Tally, confidences};
pub use mistakes::{Mistake, mistakes, sort_by_certainty};

use ndarray::{Array2, ArrayView1, ArrayView2};

/// The class with the largest score; the first one on ties. NaN scores are ignored; if all scores are NaN, returns the
/// last class.
#[must_use]
pub fn argmax(scores: ArrayView1<f32>) -> usize {
    let mut best = 0;
    for (class, &score) in scores.iter().enumerate() {
        if score > scores[best] || scores[best].is_nan() {
            best = class;
        }
    }
    best
}

/// Probabilities from logits, `[N, classes]` to `[N, classes]`: exp(x − max) over its sum, in f32 like the graph's
/// Softmax node.
#[must_use]
pub fn softmax(logits: ArrayView2<f32>) -> Array2<f32> {
    let mut probabilities = logits.to_owned();
    for mut row in probabilities.rows_mut() {
        let largest = row.fold(f32::NEG_INFINITY, |largest, &logit| largest.max(logit));
        row.mapv_inplace(|logit| (logit - largest).exp());
        let sum = row.sum();
        row /= sum;
    }
    probabilities
}

/// Logarithms of [`softmax`]. They stay finite where the probability underflows f32.
#[must_use]
pub fn log_softmax(logits: ArrayView2<f32>) -> Array2<f32> {
    let mut logarithms = logits.to_owned();
    for mut row in logarithms.rows_mut() {
        let largest = row.fold(f32::NEG_INFINITY, |largest, &logit| largest.max(logit));
        let sum: f32 = row.iter().map(|logit| (logit - largest).exp()).sum();
        row -= largest + sum.ln();
    }
    logarithms
}

/// The energy of an image, from its logits `[classes]`: the logarithm of the sum of their exponentials. The larger it is,
/// the more the image looks like those the classifier was trained on (Liu et al., "Energy-based Out-of-distribution
/// Detection", arXiv 2010.03759, equation 4 at temperature 1, with the sign reversed).
///
/// It does not overflow. Without logits it is −∞.
#[must_use]
pub fn energy(logits: ArrayView1<f32>) -> f32 {
    let largest = logits.fold(f32::NEG_INFINITY, |largest, &logit| largest.max(logit));
    if largest.is_infinite() {
        return largest;
    }
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
    (f64::from(largest) + sum.ln()) as f32
}

/// `part / whole`, or `None` if `whole` is 0.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// From this ratio of the largest class to the smallest on, accuracy says little about the small classes.
pub const UNEVEN: u64 = 2;

/// 95 % confidence interval of a share, 0 to 1, of which `part` out of `whole` were observed: the score interval of
/// Wilson, "Probable inference", 1927 (recommended by Brown et al., "Interval estimation for a binomial proportion",
/// 2001). `None` if `whole` is 0.
#[must_use]
pub fn interval(part: u64, whole: u64) -> Option<(f64, f64)> {
    /// 97.5 % quantile of the standard normal distribution.
    const Z: f64 = 1.959_963_985;
    let count = whole as f64;
    let share = share(part, whole)?;
    let centre = (share + Z * Z / (2.0 * count)) / (1.0 + Z * Z / count);
    let reach = Z / (1.0 + Z * Z / count) * (share * (1.0 - share) / count + Z * Z / (4.0 * count * count)).sqrt();
    Some(((centre - reach).max(0.0), (centre + reach).min(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// Table I, method 3, of Newcombe, "Two-sided confidence intervals for the single proportion", 1998.
    #[test]
    fn the_interval_is_wilsons() {
        for (part, whole, expected) in
            [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611))]
        {
            let (low, high) = interval(part, whole).unwrap();
            assert!((low - expected.0).abs() < 5e-5 && (high - expected.1).abs() < 5e-5, "{low} to {high}");
        }
        assert_eq!(interval(0, 0), None);
        assert_eq!(interval(7, 7).unwrap().1, 1.0);
    }

    #[test]
    fn large_logits_do_not_overflow_the_softmax() {
        let probabilities = softmax(array![[1000.0, 1000.0], [-1000.0, 0.0]].view());
        assert_eq!(probabilities, array![[0.5, 0.5], [0.0, 1.0]]);
    }

    /// `scipy.special.logsumexp` of the same numbers, scipy 1.17.1.
    #[test]
    fn the_energy_is_the_logarithm_of_the_sum_of_exponentials() {
        for (logits, expected) in [
            (vec![0.0, 0.0], std::f64::consts::LN_2),
            (vec![-1.5, 0.25, 3.0, 8.75, 2.0, -4.0, 8.5, 0.0, 1.0, -0.5], 9.328_903_709_794_45),
            (vec![-1000.0, -1001.0, -1002.5], -999.628_460_968_147_4),
            (vec![1000.0, 1000.0, 999.0], 1_000.861_994_804_058_2),
        ] {
            let found = f64::from(energy(ndarray::Array1::from(logits).view()));
            assert!((found - expected).abs() < 1e-7 * expected.abs().max(1.0), "{found} instead of {expected}");
        }
        assert_eq!(energy(array![7.25].view()), 7.25);
        assert_eq!(energy(ndarray::Array1::zeros(0).view()), f32::NEG_INFINITY);
    }

    #[test]
    fn a_nan_never_wins() {
        assert_eq!(argmax(array![f32::NAN, 1.0, 2.0].view()), 2);
        assert_eq!(argmax(array![3.0, f32::NAN, 2.0].view()), 0);
    }
}
