//! What a precision costs: the answers of the trained network and of the file to the same images, image by image.
//!
//! Most answers stay right or wrong and say nothing about the file. Those that changed do: `lost` were right before and
//! are wrong now, `gained` the other way round. The loss is (lost − gained) / images. A file is refused only if both of
//! these hold, so that chance decides neither on a small set nor on a large one:
//!
//! 1. *The loss is real.* If the file were as good as the network, each changed answer would be lost or gained with equal
//!    chance. McNemar's exact one-sided test, the sign test on the changed answers, finds `lost` too large for that at
//!    the 5 % level (McNemar, Psychometrika 12, 1947, pp. 153–157).
//! 2. *The loss is larger than what is allowed.* The 95 % score interval of the loss lies above it altogether (Tango,
//!    Statistics in Medicine 17, 1998, pp. 891–908; recommended by Fagerland, Lydersen and Laake, Statistics in
//!    Medicine 33, 2014, pp. 2850–2875). With an allowance of 0 this is McNemar's asymptotic test.
//!
//! The first alone would refuse a loss of 0.05 points on a million images; the second alone rests on an approximation
//! that is poor where fewer than five answers changed.

use serde::Serialize;

/// Largest probability with which chance alone explains the lost answers of a file that is refused.
const LEVEL: f64 = 0.05;

/// The normal distribution's 97.5 % quantile, for an interval of 95 %.
const QUANTILE: f64 = 1.959_963_984_540_054;

/// How the answers to the same images changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Images answered.
    pub images: usize,
    /// Answers that were right and are wrong now.
    pub lost: usize,
    /// Answers that were wrong and are right now.
    pub gained: usize,
}

/// What the changes say about the loss. Shares of the images, 0 to 1; a loss below 0 is a gain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Share of right answers of the file.
    pub right: f64,
    /// Answers that were right before and are wrong in the file.
    pub lost: usize,
    /// Answers that were wrong before and are right in the file.
    pub gained: usize,
    /// Share of right answers that the file lost.
    pub loss: f64,
    /// Where the loss on all such images lies with 95 % confidence.
    pub loss_interval: (f64, f64),
    /// McNemar's exact one-sided test: how likely at least this many lost answers are if the file is as good as the
    /// network.
    pub p_value: f64,
    /// Whether the loss is real and larger than what is allowed.
    pub proven: bool,
}

impl Changes {
    /// From what was right before and after, one entry for each image.
    #[must_use]
    pub fn between(before: &[bool], after: &[bool]) -> Self {
        let count = |change| before.iter().zip(after).filter(|(before, after)| (**before, **after) == change).count();
        Self { images: before.len(), lost: count((true, false)), gained: count((false, true)) }
    }

    /// What they say about a file that may lose a share of `allowed`, whose share of right answers is `right`.
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

    /// Whether they prove a loss of more than the share `allowed`.
    fn prove_more_than(self, allowed: f64) -> bool {
        self.p_value() <= LEVEL && self.score(allowed) > QUANTILE
    }

    /// McNemar's exact one-sided test: P(X ≥ lost) for X ~ Binomial(lost + gained, ½).
    fn p_value(self) -> f64 {
        let changed = self.lost + self.gained;
        // From the term X = changed downwards; logarithms, since 2^-changed may be smaller than any number.
        let mut logarithm = -(changed as f64) * std::f64::consts::LN_2;
        let mut sum = logarithm.exp();
        for count in (self.lost..changed).rev() {
            logarithm += ((count + 1) as f64 / (changed - count) as f64).ln();
            sum += logarithm.exp();
        }
        sum.min(1.0)
    }

    /// Tango's score: how many standard errors the loss lies above `loss`, -1 to 1. Falls as `loss` grows.
    fn score(self, loss: f64) -> f64 {
        let (images, lost, gained) = (self.images as f64, self.lost as f64, self.gained as f64);
        // The share of gained answers that is most likely if the loss is `loss`: the larger root of a q² + b q + c.
        let a = 2.0 * images;
        let b = (2.0 * images - lost + gained) * loss - lost - gained;
        let c = -gained * loss * (1.0 - loss);
        let q = ((b * b - 4.0 * a * c).max(0.0).sqrt() - b) / (2.0 * a);
        let variance = images * (2.0 * q + loss * (1.0 - loss));
        let difference = lost - gained - images * loss;
        if difference == 0.0 { 0.0 } else { difference / variance.max(f64::MIN_POSITIVE).sqrt() }
    }

    /// The 95 % interval of the loss: the losses from which the one that was found is within the quantile.
    fn interval(self) -> (f64, f64) {
        // The score falls from above `limit` to below it between -1 and 1.
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

/// The smallest loss that this many images can prove to be above `allowed`, as lost answers with none gained. None if
/// even a file that gets every image wrong would pass.
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

    /// `scipy.stats.binomtest(lost, lost + gained, 0.5, alternative="greater")`, SciPy 1.17; twice the smaller values are
    /// what `statsmodels.stats.contingency_tables.mcnemar(exact=True)` gives.
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
        // 2^-3000 is no number of 64 bits: the sum must not be lost with its smallest terms.
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
        // Two images fewer of 300, whether three or thirty answers changed on the way.
        assert!(!proven(2, 0, 300) && !proven(3, 1, 300) && !proven(16, 14, 300));
        // A real loss of a third of a point on 60,000 images is allowed, two thirds of a point are not.
        assert!(changes(300, 100, 60_000).p_value() < 1e-20 && !proven(300, 100, 60_000));
        assert!(proven(450, 50, 60_000));
        // Exactly what is allowed passes, however many images say so.
        assert!(!proven(5_000, 0, 1_000_000) && !proven(6_000, 1_000, 1_000_000));
        // Files that are broken are refused on small sets too.
        assert!(proven(30, 2, 40) && proven(7, 0, 10) && proven(5, 0, 5));
        // Four images cannot show anything: all of them are lost by chance once in sixteen times.
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
        // 50 of 10,000 are allowed.
        assert_eq!(smallest_proof(10_000, 0.005), Some(64));
    }
}
