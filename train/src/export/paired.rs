//! Measures the accuracy cost of fp16 or int8 with a paired comparison: the trained network and the exported file
//! classify the same images, and their predictions are compared image by image.
//!
//! Images on which both are right or both are wrong carry no information about the file. The others do: `lost` counts
//! predictions that were right before and are wrong now, `gained` the reverse. The loss is (lost − gained) / images. A
//! file is rejected only if both conditions below hold, so that chance decides neither on a small set nor on a large
//! one:
//!
//! 1. *The loss is statistically significant.* If the file were as good as the network, each changed prediction would
//!    be lost or gained with equal probability. McNemar's exact one-sided test (the sign test on the changed
//!    predictions) rejects this at the 5 % level (McNemar, Psychometrika 12, 1947, pp. 153–157).
//! 2. *The loss exceeds the allowed loss.* The whole 95 % score interval of the loss lies above the allowed loss
//!    (Tango, Statistics in Medicine 17, 1998, pp. 891–908; recommended by Fagerland, Lydersen and Laake, Statistics in
//!    Medicine 33, 2014, pp. 2850–2875). With an allowance of 0 this is McNemar's asymptotic test.
//!
//! The first condition alone would reject a loss of 0.05 points on a million images. The second alone relies on an
//! approximation that is poor when fewer than five predictions changed.

use serde::Serialize;

/// Significance level of McNemar's test: a file is rejected only if its p-value is at most this.
const LEVEL: f64 = 0.05;

/// The 97.5 % quantile of the normal distribution, for a two-sided 95 % interval.
const QUANTILE: f64 = 1.959_963_984_540_054;

/// How the predictions on the same images changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Images classified.
    pub images: usize,
    /// Predictions that were right and are now wrong.
    pub lost: usize,
    /// Predictions that were wrong and are now right.
    pub gained: usize,
}

/// The accuracy cost of a file. Shares are fractions of the images, 0 to 1; a negative loss is a gain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Accuracy of the file, 0 to 1.
    pub right: f64,
    /// Predictions that were right before and are wrong in the file.
    pub lost: usize,
    /// Predictions that were wrong before and are right in the file.
    pub gained: usize,
    /// Accuracy lost by the file: (lost − gained) / images.
    pub loss: f64,
    /// 95 % confidence interval of the loss over the population that the images come from.
    pub loss_interval: (f64, f64),
    /// p-value of McNemar's exact one-sided test: the probability of at least this many lost predictions if the file is
    /// as good as the network.
    pub p_value: f64,
    /// Whether the loss is significant and exceeds the allowed loss.
    pub proven: bool,
}

impl Changes {
    /// Counts the changes. `before` and `after` say for each image whether the prediction was right.
    #[must_use]
    pub fn between(before: &[bool], after: &[bool]) -> Self {
        let count = |change| before.iter().zip(after).filter(|(before, after)| (**before, **after) == change).count();
        Self { images: before.len(), lost: count((true, false)), gained: count((false, true)) }
    }

    /// The cost of a file with accuracy `right` that may lose up to `allowed`; both are 0 to 1.
    #[must_use]
    pub fn cost(self, right: f64, allowed: f64) -> Cost {
        let Self { images, lost, gained } = self;
        Cost {
            right,
            lost,
            gained,
            loss: (lost as f64 - gained as f64) / images.max(1) as f64,
            loss_interval: self.interval(),
            p_value: self.p_value(),
            proven: self.prove_more_than(allowed),
        }
    }

    /// Whether the changes prove a loss greater than `allowed`, 0 to 1.
    fn prove_more_than(self, allowed: f64) -> bool {
        self.p_value() <= LEVEL && self.score(allowed) > QUANTILE
    }

    /// McNemar's exact one-sided test: P(X ≥ lost) for X ~ Binomial(lost + gained, ½).
    fn p_value(self) -> f64 {
        let changed = self.lost + self.gained;
        // Sums down from the term X = changed. Uses logarithms because 2^-changed can underflow.
        let mut logarithm = -(changed as f64) * std::f64::consts::LN_2;
        let mut sum = logarithm.exp();
        for count in (self.lost..changed).rev() {
            logarithm += ((count + 1) as f64 / (changed - count) as f64).ln();
            sum += logarithm.exp();
        }
        sum.min(1.0)
    }

    /// Tango's score: how many standard errors the observed loss lies above the hypothetical `loss`, -1 to 1. Decreases
    /// as `loss` grows.
    fn score(self, loss: f64) -> f64 {
        let (images, lost, gained) = (self.images as f64, self.lost as f64, self.gained as f64);
        // Maximum-likelihood share of gained predictions given `loss`: the larger root of a q² + b q + c.
        let a = 2.0 * images;
        let b = (2.0 * images - lost + gained) * loss - lost - gained;
        let c = -gained * loss * (1.0 - loss);
        let q = ((b * b - 4.0 * a * c).max(0.0).sqrt() - b) / (2.0 * a);
        let variance = images * (2.0 * q + loss * (1.0 - loss));
        let difference = lost - gained - images * loss;
        if difference == 0.0 { 0.0 } else { difference / variance.max(f64::MIN_POSITIVE).sqrt() }
    }

    /// The 95 % interval of the loss: all losses whose score lies within ±`QUANTILE`.
    fn interval(self) -> (f64, f64) {
        // The score decreases from above `limit` to below it over -1 to 1, so bisection finds the crossing.
        let falls_to = |limit: f64| {
            let (mut low, mut high) = (-1.0, 1.0);
            for _ in 0..60 {
                let middle = f64::midpoint(low, high);
                if self.score(middle) > limit { low = middle } else { high = middle }
            }
            f64::midpoint(low, high)
        };
        (falls_to(QUANTILE), falls_to(-QUANTILE))
    }
}

/// The smallest provable loss on this many images: the fewest lost predictions, with none gained, that prove a loss
/// greater than `allowed`. `None` if even a file that gets every image wrong would pass.
#[must_use]
pub fn smallest_proof(images: usize, allowed: f64) -> Option<usize> {
    (1..=images).find(|&lost| Changes { images, lost, gained: 0 }.prove_more_than(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(lost: usize, gained: usize, images: usize) -> Changes {
        Changes { images, lost, gained }
    }

    fn close(found: f64, expected: f64, relative: f64) -> bool {
        (found - expected).abs() <= relative * expected.abs()
    }

    #[test]
    fn changes_are_counted() {
        let before = [true, true, false, false, true];
        let after = [true, false, true, false, false];
        assert_eq!(Changes::between(&before, &after), changes(2, 1, 5));
    }

    /// `scipy.stats.binomtest(lost, lost + gained, 0.5, alternative="greater")`, SciPy 1.17.
    /// `statsmodels.stats.contingency_tables.mcnemar(exact=True)` returns twice the smaller values.
    #[test]
    fn the_exact_test_is_scipys() {
        for (lost, gained, expected) in [
            (3, 1, 0.3125),
            (5, 0, 0.031_25),
            (7, 1, 0.035_156_25),
            (1, 7, 0.996_093_75),
            (12, 9, 0.331_811_904_907_226_56),
            (40, 10, 1.193_066_583_837_776_3e-5),
            (300, 100, 1.295_943_453_486_055_4e-24),
            (5, 5, 0.623_046_875),
            (0, 0, 1.0),
        ] {
            let found = changes(lost, gained, 1000).p_value();
            assert!(close(found, expected, 1e-9), "{lost} {gained}: {found}");
        }
        // 2^-3000 underflows in f64; the sum must survive although its smallest terms become 0.
        let found = changes(1500, 1500, 9000).p_value();
        assert!(close(found, 0.507_283_049_257_897_6, 1e-9), "{found}");
    }

    /// Bentur et al. 2009 and Cavo et al. 2012 as in Fagerland, Lydersen and Laake, Statistical Analysis of Contingency
    /// Tables, chapter 8 (R: `contingencytables::Tango_asymptotic_score_CI_paired_2x2`); the others from maximising the
    /// trinomial likelihood numerically with SciPy.
    #[test]
    fn the_interval_is_tangos() {
        for (lost, gained, images, low, high) in [
            (1, 7, 21, -0.5172, -0.0260),
            (6, 16, 161, -0.1240, -0.0054),
            (3, 1, 300, -0.009_590, 0.026_051),
            (0, 0, 500, -0.007_624, 0.007_624),
            (5, 0, 10, 0.083_701, 0.763_407),
            (450, 50, 60_000, 0.005_962, 0.007_422),
        ] {
            let (found_low, found_high) = changes(lost, gained, images).interval();
            let near = |found: f64, expected: f64| (found - expected).abs() < 6e-5;
            assert!(near(found_low, low) && near(found_high, high), "{lost} {gained}: {found_low} to {found_high}");
        }
    }

    /// `statsmodels.stats.contingency_tables.mcnemar(exact=False, correction=False)`: its statistic is the square.
    #[test]
    fn without_an_allowance_the_score_is_mcnemars() {
        for (lost, gained, images, statistic) in [(40, 10, 1000, 18.0), (12, 9, 2000, 0.428_571_428_571_428_55)] {
            assert!(close(changes(lost, gained, images).score(0.0).powi(2), statistic, 1e-12));
        }
    }

    #[test]
    fn only_a_loss_that_is_proven_and_larger_than_allowed_counts() {
        let proven = |lost, gained, images| changes(lost, gained, images).prove_more_than(0.005);
        // A net loss of two images of 300, whether two or thirty predictions changed.
        assert!(!proven(2, 0, 300) && !proven(3, 1, 300) && !proven(16, 14, 300));
        // A significant loss of a third of a point on 60,000 images is allowed; two thirds of a point is not.
        assert!(changes(300, 100, 60_000).p_value() < 1e-20 && !proven(300, 100, 60_000));
        assert!(proven(450, 50, 60_000));
        // A loss of exactly the allowed amount passes, however many images were measured.
        assert!(!proven(5_000, 0, 1_000_000) && !proven(6_000, 1_000, 1_000_000));
        // Broken files are rejected on small sets too.
        assert!(proven(30, 2, 40) && proven(7, 0, 10) && proven(5, 0, 5));
        // Four images cannot prove anything: with four changed predictions, chance loses all four once in sixteen
        // times.
        assert!(!proven(4, 0, 4) && !proven(0, 300, 300));
    }

    #[test]
    fn what_a_sample_can_prove_is_known() {
        assert_eq!(smallest_proof(4, 0.005), None);
        for images in [5, 10, 40, 300, 500, 2000, 10_000] {
            let lost = smallest_proof(images, 0.005).unwrap();
            assert!(changes(lost, 0, images).prove_more_than(0.005), "{images}: {lost}");
            assert!(!changes(lost - 1, 0, images).prove_more_than(0.005), "{images}: {lost}");
        }
        assert_eq!(smallest_proof(5, 0.005), Some(5));
        // A loss of 50 of 10,000 is allowed.
        assert_eq!(smallest_proof(10_000, 0.005), Some(64));
    }
}
