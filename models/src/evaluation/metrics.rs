//! All metrics of a classifier on labelled images, tallied batch by batch.

use super::{Bin, ClassFigures, Confusion, Reliability, argmax, interval, log_softmax, softmax};
use ndarray::ArrayView2;
use serde::Serialize;

/// Metrics of a classifier on labelled images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Number of images.
    pub images: usize,
    /// Images classified correctly.
    pub correct: u64,
    /// `correct / images`, 0 to 1; 0 if there are no images.
    pub accuracy: f64,
    /// 95 % confidence interval of the accuracy ([`interval`]).
    pub accuracy_interval: Option<(f64, f64)>,
    /// Mean recall of the classes ([`Confusion::balanced_accuracy`]).
    pub balanced_accuracy: f64,
    /// Mean negative log-likelihood of the true classes (cross-entropy, natural logarithm); 0 if there are no images.
    pub loss: f64,
    /// Precision, recall and F1 of each class.
    pub classes: Vec<ClassFigures>,
    /// The confusion matrix.
    pub confusion: Confusion,
    /// How well the confidence matches the accuracy.
    pub calibration: Reliability,
}

impl Metrics {
    /// Number of images classified wrongly.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        self.confusion.total() - self.confusion.correct()
    }

    /// Mean confidence of the predictions, 0 to 1.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        let sum = |sum: f64, bin: &Bin| sum + bin.confidence.unwrap_or(0.0) * bin.count as f64;
        self.calibration.bins.iter().fold(0.0, sum) / self.images.max(1) as f64
    }
}

/// Collects predictions batch by batch.
#[derive(Clone, Debug)]
pub struct Tally {
    confusion: Confusion,
    /// The confidence of each prediction, and whether it was right.
    confidences: Vec<(f32, bool)>,
    /// Sum of the negative log-likelihoods.
    loss: f64,
}

/// The confidence of each prediction, 0 to 1, and whether it was right: what [`Reliability::from_answers`] takes.
/// `logits` is `[N, classes]`.
#[must_use]
pub fn confidences(logits: ArrayView2<f32>, labels: &[usize]) -> Vec<(f32, bool)> {
    let probabilities = softmax(logits);
    let answers = logits.rows().into_iter().map(argmax).zip(labels).enumerate();
    answers.map(|(index, (answer, &label))| (probabilities[[index, answer]], answer == label)).collect()
}

impl Tally {
    /// An empty tally.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self { confusion: Confusion::new(classes), confidences: Vec::new(), loss: 0.0 }
    }

    /// Adds a batch of predictions: `logits` is `[N, classes]`; every label must be below the number of classes.
    pub fn add(&mut self, logits: ArrayView2<f32>, labels: &[usize]) {
        self.confusion.add(logits, labels);
        self.confidences.extend(confidences(logits, labels));
        let logarithms = log_softmax(logits);
        self.loss -=
            labels.iter().enumerate().map(|(index, &label)| f64::from(logarithms[[index, label]])).sum::<f64>();
    }

    /// The metrics of all predictions so far.
    #[must_use]
    pub fn metrics(self) -> Metrics {
        let Self { confusion, confidences, loss } = self;
        let images = confidences.len();
        Metrics {
            images,
            correct: confusion.correct(),
            accuracy: confusion.accuracy(),
            accuracy_interval: interval(confusion.correct(), confusion.total()),
            balanced_accuracy: confusion.balanced_accuracy(),
            loss: loss / images.max(1) as f64,
            classes: confusion.classes(),
            calibration: Reliability::from_answers(confidences),
            confusion,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{array, s};

    /// By hand: softmax of (ln 3, 0) is (3/4, 1/4), of (0, 0) it is (1/2, 1/2). Class 0 is predicted three times; the
    /// labels are 0, 1, 0.
    #[test]
    fn the_metrics_are_those_computed_by_hand() {
        let ln3 = 3.0_f32.ln();
        let (logits, labels) = (array![[ln3, 0.0], [ln3, 0.0], [0.0, 0.0]], [0, 1, 0]);
        let mut tally = Tally::new(2);
        tally.add(logits.view(), &labels);
        let metrics = tally.metrics();
        assert_eq!((metrics.images, metrics.correct, metrics.wrong()), (3, 2, 1));
        assert_eq!(metrics.confusion.counts, [vec![2, 0], vec![1, 0]]);
        let loss = -(0.75_f64.ln() + 0.25_f64.ln() + 0.5_f64.ln()) / 3.0;
        assert!((metrics.loss - loss).abs() < 1e-6, "{} instead of {loss}", metrics.loss);
        assert!((metrics.confidence() - (0.75 + 0.75 + 0.5) / 3.0).abs() < 1e-6);
        assert_eq!(metrics.accuracy_interval, interval(2, 3));
        assert_eq!(metrics.balanced_accuracy, 0.5, "recalls of 1 and 0");
        let mut parts = Tally::new(2);
        parts.add(logits.slice(s![..1, ..]), &labels[..1]);
        parts.add(logits.slice(s![1.., ..]), &labels[1..]);
        assert_eq!(parts.metrics(), metrics, "batches make no difference");
    }

    #[test]
    fn a_hopeless_answer_has_a_finite_loss() {
        let mut tally = Tally::new(2);
        tally.add(array![[1000.0, -1000.0]].view(), &[1]);
        assert!((tally.metrics().loss - 2000.0).abs() < 1e-3);
        assert_eq!(Tally::new(2).metrics().loss, 0.0);
    }
}
