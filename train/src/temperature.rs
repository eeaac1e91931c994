//! Temperature scaling: the one number by which a network's logits are divided so that its confidence matches its
//! accuracy (Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599, section 4.2).
//!
//! No answer changes, since dividing all logits of an image by the same number keeps their order.

use ndarray::{ArrayView1, ArrayView2};

/// The smallest and the largest temperature that is fitted. Networks need about 0.5 (trained with label smoothing) to 3
/// (trained for long on few images); only broken ones need more.
pub const RANGE: (f64, f64) = (0.05, 20.0);

/// Halvings of the logarithm of the range: 10⁻¹³ of it remains.
const HALVINGS: usize = 43;

/// The temperature T that minimises the mean negative log-likelihood of softmax(logits / T), for logits `[N, classes]`
/// and N labels, within [`RANGE`] and never too small for the number of images. 1 if there are no images.
///
/// The likelihood alone would have T go to 0 if every answer is right, and claim that no answer is ever wrong. N right
/// answers do not prove that: by the rule of succession, the next answer is right with probability (N + 1) / (N + 2).
/// The mean confidence is kept at or below this share. That matters only if at most about one answer is wrong.
#[must_use]
pub fn fit(logits: ArrayView2<f32>, labels: &[usize]) -> f64 {
    let count = labels.len();
    if count == 0 {
        return 1.0;
    }
    let most = (count + 1) as f64 / (count + 2) as f64;
    // In 1 / T, the negative log-likelihood is convex and every confidence grows, so "too sharp" holds from some value
    // on.
    let too_sharp = |inverse: f64| {
        let (mut slope, mut confidence) = (0.0, 0.0);
        for (row, &label) in logits.rows().into_iter().zip(labels) {
            let (mean, largest) = mean_and_largest(row, inverse);
            slope += mean - f64::from(row[label]);
            confidence += largest;
        }
        slope > 0.0 || confidence > most * count as f64
    };
    let (mut low, mut high) = ((1.0 / RANGE.1).ln(), (1.0 / RANGE.0).ln());
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if too_sharp(middle.exp()) { high = middle } else { low = middle }
    }
    (-f64::midpoint(low, high)).exp()
}

/// The mean of an image's logits `[classes]`, weighted by the probabilities softmax(logits · `inverse`), and the largest
/// of these probabilities.
fn mean_and_largest(logits: ArrayView1<f32>, inverse: f64) -> (f64, f64) {
    let top = f64::from(logits.fold(f32::NEG_INFINITY, |largest, &logit| largest.max(logit)));
    let (mut sum, mut weighted) = (0.0, 0.0);
    for &logit in logits {
        let logit = f64::from(logit);
        let weight = ((logit - top) * inverse).exp();
        sum += weight;
        weighted += weight * logit;
    }
    (weighted / sum, 1.0 / sum)
}

/// Logits `[N, classes]` divided by a temperature, in f64 and rounded once.
#[must_use]
pub fn divide(logits: ArrayView2<f32>, temperature: f64) -> ndarray::Array2<f32> {
    logits.mapv(|logit| (f64::from(logit) / temperature) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::evaluation::argmax;
    use ndarray::Array2;

    /// Logits from 0 to 8 times `scale`, and as labels the answers, but every `wrong`-th label is another class.
    fn made(count: usize, classes: usize, scale: f32, wrong: Option<usize>) -> (Array2<f32>, Vec<usize>) {
        let value = |(i, c): (usize, usize)| ((i * 7919 + c * 104_729 + i * c * 31) % 1009) as f64 / 126.125;
        let logits = Array2::from_shape_fn((count, classes), |at| value(at) as f32 * scale);
        let label = |(index, row): (usize, ArrayView1<f32>)| {
            let shift = usize::from(wrong.is_some_and(|wrong| index % wrong == 0));
            (argmax(row) + shift) % classes
        };
        let labels = logits.rows().into_iter().enumerate().map(label).collect();
        (logits, labels)
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9 * expected, "{found} instead of {expected}");
    }

    /// The zeros of the derivative of `scipy.special.logsumexp(logits / T, axis=1).mean() - …`, found by
    /// `scipy.optimize.brentq` (scipy 1.17.1); `minimize_scalar` on the likelihood itself agrees to 8 digits.
    #[test]
    fn it_is_where_scipy_finds_the_largest_likelihood() {
        for (count, classes, scale, wrong, expected) in [
            (400, 10, 1.0, 4, 1.465_102_678_939_426_6),
            (400, 10, 0.25, 4, 0.366_275_669_734_856_4),
            (1000, 3, 1.0, 50, 0.480_208_671_259_795_4),
            (250, 2, 5.0, 10, 7.545_589_019_805_305_5),
        ] {
            let (logits, labels) = made(count, classes, scale, Some(wrong));
            close(fit(logits.view(), &labels), expected);
        }
    }

    /// Also by `brentq`: where the mean of `scipy.special.softmax(logits / T, axis=1).max(1)` is (N + 1) / (N + 2).
    #[test]
    fn right_answers_alone_do_not_prove_that_none_is_ever_wrong() {
        for (count, classes, expected) in [(400, 10, 0.402_743_325_356_549_3), (1000, 3, 0.352_433_252_575_873_2)] {
            let (logits, labels) = made(count, classes, 100.0, None);
            close(fit(logits.view(), &labels), expected);
        }
    }

    #[test]
    fn it_stays_in_its_range() {
        let (logits, labels) = made(400, 10, 1e-4, None);
        close(fit(logits.view(), &labels), RANGE.0);
        // Always wrong: the less sure, the better.
        let (logits, labels) = made(400, 10, 1.0, Some(1));
        close(fit(logits.view(), &labels), RANGE.1);
        let none = Array2::zeros((0, 3));
        close(fit(none.view(), &[]), 1.0);
        assert!(fit(Array2::from_elem((5, 3), f32::NAN).view(), &[0; 5]).is_finite());
    }

    #[test]
    fn logits_are_divided() {
        assert_eq!(divide(ndarray::array![[1.0, -3.0]].view(), 2.0), ndarray::array![[0.5, -1.5]]);
    }
}
