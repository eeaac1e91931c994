//! The confusion matrix, and precision, recall and F1 per class.

use super::{argmax, share};
use ndarray::ArrayView2;
use serde::Serialize;

/// Confusion matrix: `counts[truth][answer]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// One row per true class, one column per predicted class.
    pub counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// An empty matrix.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self { counts: vec![vec![0; classes]; classes] }
    }

    /// Counts a batch of predictions: `logits` is `[N, classes]`; every label must be below the number of classes.
    pub fn add(&mut self, logits: ArrayView2<f32>, labels: &[usize]) {
        for (row, &label) in logits.rows().into_iter().zip(labels) {
            self.counts[label][argmax(row)] += 1;
        }
    }

    /// Number of images counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// Number of images classified correctly.
    #[must_use]
    pub fn correct(&self) -> u64 {
        self.counts.iter().enumerate().map(|(class, row)| row[class]).sum()
    }

    /// Accuracy, 0 to 1; 0 if no images were counted.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        self.correct() as f64 / self.total().max(1) as f64
    }

    /// Balanced accuracy: the mean recall of the classes that have images, 0 to 1; 0 if none has (scikit-learn's
    /// `balanced_accuracy_score`).
    #[must_use]
    pub fn balanced_accuracy(&self) -> f64 {
        let recalls: Vec<f64> = self.classes().iter().filter_map(|class| class.recall).collect();
        recalls.iter().sum::<f64>() / recalls.len().max(1) as f64
    }

    /// The class with the most images, the first of several, and its share of all images.
    #[must_use]
    pub fn majority(&self) -> Option<(usize, f64)> {
        let sizes = self.counts.iter().map(|row| row.iter().sum::<u64>()).enumerate();
        let (class, size) = sizes.rev().max_by_key(|(_, size)| *size)?;
        Some((class, share(size, self.total())?))
    }

    /// Share of a class's images that were classified as `answer`, 0 to 1; 0 if the class has no images.
    #[must_use]
    pub fn share(&self, truth: usize, answer: usize) -> f64 {
        let row = &self.counts[truth];
        row[answer] as f64 / row.iter().sum::<u64>().max(1) as f64
    }

    /// Precision, recall and F1 of every class, in class order.
    #[must_use]
    pub fn classes(&self) -> Vec<ClassFigures> {
        let figures = |(class, row): (usize, &Vec<u64>)| {
            let support = row.iter().sum();
            let answered = self.counts.iter().map(|row| row[class]).sum();
            let right = row[class];
            ClassFigures {
                support,
                answered,
                precision: share(right, answered),
                recall: share(right, support),
                f1: share(2 * right, support + answered),
            }
        };
        self.counts.iter().enumerate().map(figures).collect()
    }

    /// The confused pairs of classes, most frequent first; ties in class order.
    #[must_use]
    pub fn mistakes(&self) -> Vec<Confused> {
        let mut mistakes = Vec::new();
        for (truth, row) in self.counts.iter().enumerate() {
            let wrong = row.iter().enumerate().filter(|&(answer, &count)| answer != truth && count > 0);
            mistakes.extend(wrong.map(|(answer, &count)| Confused { truth, answer, count }));
        }
        mistakes.sort_by_key(|confused| std::cmp::Reverse(confused.count));
        mistakes
    }
}

/// One class that was mistaken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Confused {
    /// The true class.
    pub truth: usize,
    /// The predicted class.
    pub answer: usize,
    /// Number of images.
    pub count: u64,
}

/// Precision, recall and F1 of one class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Images of this class.
    pub support: u64,
    /// Images classified as this class, correctly or not.
    pub answered: u64,
    /// Share of the images classified as this class that belong to it, 0 to 1; `None` if there are none.
    pub precision: Option<f64>,
    /// Share of this class's images that were classified correctly, 0 to 1; `None` if there are none.
    pub recall: Option<f64>,
    /// Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN), 0 to 1; `None` if the class neither occurs nor
    /// was predicted.
    pub f1: Option<f64>,
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

    /// Worked out by hand: 8 of 10 cats are recognised; 1 of 30 dogs and 3 of 10 birds are mistaken for cats.
    #[test]
    fn precision_and_recall_are_of_answers_and_of_images() {
        let confusion = Confusion { counts: vec![vec![8, 2, 0], vec![1, 29, 0], vec![3, 7, 0]] };
        let [cat, dog, bird] = confusion.classes()[..] else { panic!("three classes") };
        assert_eq!((cat.support, cat.answered), (10, 12));
        assert_eq!((cat.precision, cat.recall, cat.f1), (Some(8.0 / 12.0), Some(0.8), Some(16.0 / 22.0)));
        assert_eq!((dog.precision, dog.recall, dog.f1), (Some(29.0 / 38.0), Some(29.0 / 30.0), Some(58.0 / 68.0)));
        // Never predicted: precision is undefined and recall is 0.
        assert_eq!((bird.precision, bird.recall, bird.f1), (None, Some(0.0), Some(0.0)));
    }

    #[test]
    fn a_class_that_does_not_occur_has_no_recall() {
        let confusion = Confusion { counts: vec![vec![3, 1, 0], vec![0, 0, 0], vec![0, 0, 0]] };
        let [_, wrong, absent] = confusion.classes()[..] else { panic!("three classes") };
        assert_eq!((wrong.precision, wrong.recall, wrong.f1), (Some(0.0), None, Some(0.0)));
        assert_eq!((absent.precision, absent.recall, absent.f1), (None, None, None));
        assert!(Confusion::new(0).classes().is_empty());
    }

    #[test]
    fn the_most_frequent_mistake_comes_first() {
        let confusion = Confusion { counts: vec![vec![8, 2, 0], vec![1, 29, 0], vec![3, 2, 0]] };
        let mistakes: Vec<_> = confusion.mistakes().iter().map(|c| (c.truth, c.answer, c.count)).collect();
        assert_eq!(mistakes, [(2, 0, 3), (0, 1, 2), (2, 1, 2), (1, 0, 1)]);
    }
}
