//! Which images were classified wrongly.

use super::{argmax, softmax};
use ndarray::ArrayView2;

/// An image that was classified wrongly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mistake {
    /// Index in the data set, counted from 0.
    pub image: usize,
    /// The true class.
    pub truth: usize,
    /// The predicted class.
    pub answer: usize,
    /// Probability of the predicted class, 0 to 1.
    pub probability: f32,
    /// The second most likely class and its probability; `None` if there is only one class.
    pub second: Option<(usize, f32)>,
}

/// The misclassified images of a batch: `logits` is `[N, classes]`, and `start` is the index of its first image.
#[must_use]
pub fn mistakes(logits: ArrayView2<f32>, labels: &[usize], start: usize) -> Vec<Mistake> {
    let probabilities = softmax(logits);
    let mut found = Vec::new();
    for (index, (row, &truth)) in logits.rows().into_iter().zip(labels).enumerate() {
        let answer = argmax(row);
        if answer != truth {
            let others = (0..row.len()).filter(|&class| class != answer);
            let second = others.reduce(|best, class| if row[class] > row[best] { class } else { best });
            let probability = |class: usize| probabilities[[index, class]];
            let second = second.map(|class| (class, probability(class)));
            found.push(Mistake { image: start + index, truth, answer, probability: probability(answer), second });
        }
    }
    found
}

/// Sorts the most confident mistakes first; ties keep their order.
pub fn sort_by_certainty(mistakes: &mut [Mistake]) {
    mistakes.sort_by(|one, other| other.probability.total_cmp(&one.probability));
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// By hand: softmax of (ln 6, ln 3, 0) is (0.6, 0.3, 0.1).
    #[test]
    fn a_mistake_has_its_place_its_probability_and_a_second_guess() {
        let (six, three) = (6.0_f32.ln(), 3.0_f32.ln());
        let logits = array![[six, three, 0.0], [six, three, 0.0], [0.0, six, three]];
        let mut found = mistakes(logits.view(), &[0, 2, 0], 10);
        assert_eq!(found.iter().map(|m| (m.image, m.truth, m.answer)).collect::<Vec<_>>(), [(11, 2, 0), (12, 0, 1)]);
        let (class, probability) = found[0].second.unwrap();
        assert!((found[0].probability - 0.6).abs() < 1e-6 && class == 1 && (probability - 0.3).abs() < 1e-6);
        found[1].probability = 0.9;
        sort_by_certainty(&mut found);
        assert_eq!(found[0].image, 12);
    }
}
