//! Chooses among the readings of an image, with the network's answers to all of them.

use super::Reading;
use crate::card::{EnergyRange, ModelCard};
use crate::evaluation::energy;
use ndarray::ArrayView2;

/// Weight of the energy beside the geometry.
const WEIGHT: f32 = 5.0;

/// The lowest log-odds of a digit that was found in an image. Nearly all digits are above, and most readings of
/// photographs and textures are below: strokes that look like digits, but explain little of the image.
const LEAST_ODDS: f32 = -1.0;

/// A reading that looks like a typical training image gains nothing from looking better still.
const TYPICAL: f32 = 1.0;

/// The lowest energy of a digit that was found in an image: below the threshold for images as they are, since
/// light, paper and pen leave their marks.
const FOUND: f32 = -0.25;

/// The reading that was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Its index.
    pub reading: usize,
    /// Whether it looks like a training image. True if the model's card has no threshold.
    pub known: bool,
}

/// Chooses the reading that is the digit, given the logits `[readings, classes]`. `None` if there are no readings.
///
/// The log-odds of a reading are its plausibility by geometry plus its energy (the log-sum-exp of the logits; Liu et
/// al., arXiv 2010.03759), on a scale on which held-out images have the median 1 and reach 0 with 99 %. Ties go to the
/// first.
#[must_use]
pub fn choose(readings: &[Reading], logits: ArrayView2<f32>, card: Option<&ModelCard>) -> Option<Choice> {
    by_energy(readings, logits, card.and_then(|card| card.confidence?.energy))
}

fn by_energy(readings: &[Reading], logits: ArrayView2<f32>, range: Option<EnergyRange>) -> Option<Choice> {
    let typical = |index: usize| {
        range.map(|EnergyRange { reject_below, median }| {
            (energy(logits.row(index)) - reject_below) / (median - reject_below).max(f32::MIN_POSITIVE)
        })
    };
    let odds = |index: usize| {
        readings[index].plausibility + WEIGHT * typical(index).map_or(0.0, |typical| typical.min(TYPICAL))
    };
    let count = readings.len().min(logits.nrows());
    let best = (0..count).reduce(|best, next| if odds(next) > odds(best) { next } else { best })?;
    let known = |typical: f32| match readings[best].place {
        Some(_) => typical >= FOUND && odds(best) >= LEAST_ODDS,
        None => typical >= 0.0,
    };
    Some(Choice { reading: best, known: typical(best).is_none_or(known) })
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
            let choice = by_energy(&plausibility.map(reading), logits.view(), Some(range)).unwrap();
            (choice.reading, choice.known)
        };
        assert_eq!(chosen([0.0, 0.0], [2.0, 7.0]), (1, true));
        assert_eq!(chosen([3.0, 0.0], [2.0, 7.0]), (1, true));
        assert_eq!(chosen([9.0, 0.0], [2.0, 7.0]), (0, false));
        // Beyond the median, the energy says nothing more.
        assert_eq!(chosen([0.5, 0.0], [8.0, 80.0]), (0, true));
        // A digit that was found may be a little below the threshold, but not if it is implausible too.
        assert_eq!(chosen([2.0, -9.0], [3.1, 3.1]), (0, true));
        assert_eq!(chosen([0.0, -9.0], [3.1, 3.1]), (0, false));
        assert_eq!(chosen([9.0, -9.0], [2.9, 2.9]), (0, false));
    }
}
