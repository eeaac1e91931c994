//! What a classifier's answers are worth.

use ndarray::{Array2, ArrayView1, ArrayView2};
use serde::Serialize;

/// The class with the largest score; the first of equals. A row without a finite score yields class 0.
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

/// Probabilities from logits, `[N, classes]` to `[N, classes]`: exp(x − max) over its sum, in f32 as the graph's
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

/// How often each class was taken for each: `counts[truth][answer]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// One row per true class, one column per answer.
    pub counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// No answers yet.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self { counts: vec![vec![0; classes]; classes] }
    }

    /// Counts the answers to a batch: `logits` `[N, classes]` with `labels` below the number of classes.
    pub fn add(&mut self, logits: ArrayView2<f32>, labels: &[usize]) {
        for (row, &label) in logits.rows().into_iter().zip(labels) {
            self.counts[label][argmax(row)] += 1;
        }
    }

    /// How many pictures were answered.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// How many of them rightly.
    #[must_use]
    pub fn correct(&self) -> u64 {
        self.counts.iter().enumerate().map(|(class, row)| row[class]).sum()
    }

    /// Share of right answers, 0 to 1; 0 if nothing was asked.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        self.correct() as f64 / self.total().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn answers_are_counted_by_truth() {
        let mut confusion = Confusion::new(3);
        confusion.add(array![[0.0, 2.0, 1.0], [5.0, 1.0, 1.0], [0.0, 0.0, 9.0]].view(), &[1, 1, 2]);
        assert_eq!(confusion.counts, [vec![0, 0, 0], vec![1, 1, 0], vec![0, 0, 1]]);
        assert_eq!((confusion.correct(), confusion.total()), (2, 3));
    }

    #[test]
    fn large_logits_do_not_overflow_the_softmax() {
        let probabilities = softmax(array![[1000.0, 1000.0], [-1000.0, 0.0]].view());
        assert_eq!(probabilities, array![[0.5, 0.5], [0.0, 1.0]]);
    }

    #[test]
    fn a_nan_never_wins() {
        assert_eq!(argmax(array![f32::NAN, 1.0, 2.0].view()), 2);
        assert_eq!(argmax(array![3.0, f32::NAN, 2.0].view()), 0);
    }
}
