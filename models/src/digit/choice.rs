//! Chooses among the readings of an image, with the network's answers to all of them.

use super::Reading;
use crate::card::EnergyRange;
use crate::evaluation::energy;
use ndarray::ArrayView2;

/// Weight of the logarithm of how typical the network's answer is, fitted together with the weights in `geometry`.
const WEIGHT: f32 = 2.02;
/// Added to how typical it is, so that its logarithm stays finite.
const SOFT: f32 = 0.05;
/// An answer that is less typical than this prefers no class.
const FLAT: f32 = 0.07;

/// The reading that was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Its index.
    pub reading: usize,
    /// Whether it shows a digit. Always true if the model has no energies.
    pub known: bool,
}

/// Chooses the reading that is the digit, given the logits `[readings, classes]` and the energies of the card's held-out
/// images. Without these, the most plausible reading is chosen. `None` if there are no readings.
///
/// A reading that was found in the image has the log-odds of its geometry and of the network's answer, judged by its
/// energy (the log-sum-exp of the logits; Liu et al., arXiv 2010.03759). It is known if they are at least 0. An image
/// that was taken as it is has no geometry; it is known if its energy reaches the card's threshold. Ties go to the first.
#[must_use]
pub fn choose(readings: &[Reading], logits: ArrayView2<f32>, range: Option<EnergyRange>) -> Option<Choice> {
    let odds = |index: usize| {
        let Reading { plausibility, place, .. } = readings[index];
        let Some(EnergyRange { reject_below, median }) = range else { return plausibility };
        let energy = energy(logits.row(index));
        if place.is_none() {
            return energy - reject_below;
        }
        // 0 if all logits are 0, and 1 if the energy is that of the median held-out image or larger.
        let lowest = (logits.ncols() as f32).ln();
        let typical = ((energy - lowest) / (median - lowest).max(f32::MIN_POSITIVE)).min(1.0);
        if typical < FLAT {
            return f32::NEG_INFINITY;
        }
        plausibility + WEIGHT * ((typical + SOFT) / (1.0 + SOFT)).ln()
    };
    let count = readings.len().min(logits.nrows());
    let best = (0..count).reduce(|best, next| if odds(next) > odds(best) { next } else { best })?;
    Some(Choice { reading: best, known: range.is_none() || odds(best) >= 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Polarity;
    use crate::digit::Place;
    use ndarray::array;

    fn reading(plausibility: f32) -> Reading {
        let place = Place { polarity: Polarity::DarkOnLight, left: 0, top: 0, width: 1, height: 1 };
        Reading { plausibility, place: Some(place), ..Reading::whole(Vec::new()) }
    }

    #[test]
    fn without_a_threshold_the_most_plausible_reading_is_chosen() {
        let logits = array![[0.0, 9.0], [0.0, 1.0]];
        let choice = choose(&[reading(-1.0), reading(2.0)], logits.view(), None);
        assert_eq!(choice, Some(Choice { reading: 1, known: true }));
        assert_eq!(choose(&[], logits.view(), None), None);
    }

    #[test]
    fn what_looks_like_a_training_image_wins_over_a_little_more_plausibility() {
        let range = EnergyRange { reject_below: 4.0, median: 8.0 };
        let chosen = |plausibility: [f32; 2], logits: [f32; 2]| {
            let logits = array![[logits[0], -90.0], [logits[1], -90.0]];
            let choice = choose(&plausibility.map(reading), logits.view(), Some(range)).unwrap();
            (choice.reading, choice.known)
        };
        assert_eq!(chosen([0.5, 0.0], [2.0, 7.9]), (1, false));
        assert_eq!(chosen([1.5, 1.0], [2.0, 7.0]), (1, true));
        assert_eq!(chosen([9.0, 1.0], [2.0, 7.0]), (0, true));
        // Beyond the median, the energy says nothing more.
        assert_eq!(chosen([0.5, 0.0], [8.0, 80.0]), (0, true));
        // A digit that was found may be below the threshold if it is plausible by its geometry, but not if the network
        // prefers no class: the energy of equal logits is ln 2.
        assert_eq!(chosen([2.5, -9.0], [3.5, 3.5]), (0, true));
        assert_eq!(chosen([1.0, -9.0], [3.5, 3.5]), (0, false));
        assert_eq!(chosen([99.0, 1.0], [0.8, 8.0]), (1, true));
        assert_eq!(chosen([99.0, 98.0], [0.8, 0.8]), (0, false));
        assert_eq!(chosen([-0.1, -9.0], [80.0, 80.0]), (0, false));
    }

    #[test]
    fn an_image_as_it_is_is_known_if_its_energy_reaches_the_threshold() {
        let range = Some(EnergyRange { reject_below: 4.0, median: 8.0 });
        let whole = [Reading::whole(Vec::new())];
        for (energy, known) in [(3.9, false), (4.1, true)] {
            let choice = choose(&whole, array![[energy, -90.0]].view(), range);
            assert_eq!(choice, Some(Choice { reading: 0, known }));
        }
    }
}
