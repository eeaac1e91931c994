//! How confident the predictions were, and how often they were right.

use serde::Serialize;

/// Number of confidence bins, as in the paper's tables.
pub const BINS: usize = 15;

/// How well a classifier's confidence matches its accuracy (Guo et al., "On Calibration of Modern Neural Networks",
/// arXiv 1706.04599, section 2).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reliability {
    /// Expected calibration error, 0 to 1: the mean gap between confidence and accuracy over the bins, weighted by the
    /// number of predictions in each (equation 3). 0 if there are no predictions.
    pub ece: f64,
    /// The reliability diagram: [`BINS`] bins of equal width.
    pub bins: Vec<Bin>,
}

/// The predictions whose confidence lies in `(above, up_to]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Lower bound, exclusive; the first bin also takes a confidence of 0.
    pub above: f64,
    /// Upper bound, inclusive.
    pub up_to: f64,
    /// Number of predictions in the bin.
    pub count: u64,
    /// How many of them were right.
    pub right: u64,
    /// Mean confidence, 0 to 1; `None` if the bin is empty.
    pub confidence: Option<f64>,
    /// Accuracy, 0 to 1; `None` if the bin is empty.
    pub accuracy: Option<f64>,
}

impl Reliability {
    /// Bins predictions, each given as its confidence (the largest probability, 0 to 1) and whether it was right. A
    /// confidence of NaN counts as 0.
    #[must_use]
    pub fn from_answers(answers: impl IntoIterator<Item = (f32, bool)>) -> Self {
        let mut tallies = [(0_u64, 0_u64, 0.0_f64); BINS];
        for (confidence, right) in answers {
            let confidence = if confidence.is_nan() { 0.0 } else { f64::from(confidence).clamp(0.0, 1.0) };
            // Equation 1 of the paper: bin m takes ((m − 1) / M, m / M].
            let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
            let (count, rights, sum) = &mut tallies[bin];
            *count += 1;
            *rights += u64::from(right);
            *sum += confidence;
        }
        let total: u64 = tallies.iter().map(|(count, ..)| count).sum();
        let bin = |(index, &(count, right, sum)): (usize, &(u64, u64, f64))| Bin {
            above: index as f64 / BINS as f64,
            up_to: (index + 1) as f64 / BINS as f64,
            count,
            right,
            confidence: (count > 0).then(|| sum / count as f64),
            accuracy: super::share(right, count),
        };
        let gap = |&(_, right, sum): &(u64, u64, f64)| (right as f64 - sum).abs();
        Self {
            // Count / total × |right / count − sum / count|; the counts cancel.
            ece: tallies.iter().map(gap).sum::<f64>() / total.max(1) as f64,
            bins: tallies.iter().enumerate().map(bin).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
    }

    /// By hand: (0.7333, 0.8] holds 0.75 twice, one right: |0.5 − 0.75| × 2/5; (0.9333, 1] holds 0.95, 0.97 and 1, all
    /// right: |1 − 0.97333| × 3/5. The sum is 0.1 + 0.016 = 0.116.
    #[test]
    fn the_expected_calibration_error_is_that_of_equation_3() {
        let answers = [(0.75, true), (0.75, false), (0.95, true), (0.97, true), (1.0, true)];
        let calibration = Reliability::from_answers(answers);
        close(calibration.ece, 0.116);
        let bin = calibration.bins[11];
        assert_eq!((bin.count, bin.right, bin.accuracy), (2, 1, Some(0.5)));
        close(bin.confidence.unwrap(), 0.75);
        close(bin.above, 11.0 / 15.0);
        close(bin.up_to, 12.0 / 15.0);
        assert_eq!((calibration.bins[14].count, calibration.bins[14].accuracy), (3, Some(1.0)));
    }

    #[test]
    fn answers_as_sure_as_they_are_right_have_no_error() {
        close(Reliability::from_answers([(0.5, true), (0.5, false)]).ece, 0.0);
        close(Reliability::from_answers([(1.0, false); 7]).ece, 1.0);
    }

    #[test]
    fn bins_reach_up_to_their_upper_end_and_every_answer_is_in_one() {
        let calibration =
            Reliability::from_answers([(0.0, false), (0.2, true), (0.21, true), (1.0, true), (f32::NAN, false)]);
        let counts: Vec<_> = calibration.bins.iter().map(|bin| bin.count).collect();
        assert_eq!(counts.iter().sum::<u64>(), 5);
        assert_eq!((counts[0], counts[3], counts[14]), (2, 2, 1), "0.2_f32 is above 3/15");
        assert!(calibration.ece.is_finite());
    }

    #[test]
    fn no_answers_are_no_error_and_no_mean() {
        let calibration = Reliability::from_answers([]);
        assert_eq!((calibration.ece, calibration.bins.len()), (0.0, BINS));
        assert!(calibration.bins.iter().all(|bin| bin.confidence.is_none() && bin.accuracy.is_none()));
    }
}
