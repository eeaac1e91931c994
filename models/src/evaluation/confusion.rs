//! Which class was taken for which.

use super::{argmax, share};
use ndarray::ArrayView2;
use serde::Serialize;

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

    /// Share of a class's pictures that got this answer, 0 to 1; 0 if the class has no pictures.
    #[must_use]
    pub fn share(&self, truth: usize, answer: usize) -> f64 {
        let row = &self.counts[truth];
        row[answer] as f64 / row.iter().sum::<u64>().max(1) as f64
    }

    /// Precision, recall and F1 of every class, in the classes' order.
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

    /// What was taken for what, the most frequent first; equals in the order of the classes.
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

/// One class that was taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Confused {
    /// What the pictures show.
    pub truth: usize,
    /// What they were taken for.
    pub answer: usize,
    /// How many pictures.
    pub count: u64,
}

/// What a classifier's answers are worth for one class. A share of nothing is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Pictures of this class.
    pub support: u64,
    /// Pictures that were taken for it, rightly or not.
    pub answered: u64,
    /// Share of the pictures taken for it that are of it, 0 to 1; `None` if none was.
    pub precision: Option<f64>,
    /// Share of its pictures that were recognised, 0 to 1; `None` if there are none.
    pub recall: Option<f64>,
    /// Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN), 0 to 1; `None` if the class neither occurs nor
    /// was answered.
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

    /// Precision, recall and F1 of a cat-or-dog example, worked out by hand: of 10 cats 8 are recognised, and one of 30
    /// dogs and three of 10 birds are taken for cats.
    #[test]
    fn precision_and_recall_are_of_answers_and_of_pictures() {
        let confusion = Confusion { counts: vec![vec![8, 2, 0], vec![1, 29, 0], vec![3, 7, 0]] };
        let [cat, dog, bird] = confusion.classes()[..] else { panic!("three classes") };
        assert_eq!((cat.support, cat.answered), (10, 12));
        assert_eq!((cat.precision, cat.recall, cat.f1), (Some(8.0 / 12.0), Some(0.8), Some(16.0 / 22.0)));
        assert_eq!((dog.precision, dog.recall, dog.f1), (Some(29.0 / 38.0), Some(29.0 / 30.0), Some(58.0 / 68.0)));
        // Never answered: there is no precision to speak of, and nothing was recognised.
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
