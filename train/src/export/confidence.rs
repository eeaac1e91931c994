//! Measures how far a network's probabilities can be trusted, before it is exported: the temperature that calibrates
//! them, and the energies of images that it knows.

use crate::checkpoint::Checkpoint;
use crate::data::{Images, TrainingData};
use crate::evaluate;
use crate::temperature;
use anyhow::{Result, bail, ensure};
use models::card::{Confidence, Content, EnergyRange, MeasuredOn};
use models::evaluation::{Reliability, confidences, energy};
use ndarray::ArrayView2;
use std::fmt;
use std::str::FromStr;

/// Largest number of images that are measured.
pub const MOST_IMAGES: usize = 5000;

/// Share of the images whose energy may be below the threshold.
const REJECTED: f64 = 0.01;

/// Smallest number of images from which a threshold can be taken: one of them is the share above.
const FEWEST_FOR_THRESHOLD: usize = 100;

/// The temperatures that can be given: beyond these, logits get so large or small that the rounding of an engine shows.
const GIVEN: (f64, f64) = (0.01, 100.0);

/// By which number an export divides the logits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Temperature {
    /// The one that fits the measured images best; see [`temperature::fit`].
    #[default]
    Fitted,
    /// 1: the logits stay as trained.
    Off,
    /// This number, as it is.
    Given(f64),
}

impl FromStr for Temperature {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (low, high) = GIVEN;
        match text.parse() {
            Ok(value) if (low..=high).contains(&value) => Ok(Self::Given(value)),
            Err(_) if text == "fit" => Ok(Self::Fitted),
            Err(_) if text == "off" => Ok(Self::Off),
            _ => bail!("expected fit, off or a number from {low} to {high}"),
        }
    }
}

impl fmt::Display for Temperature {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Fitted => f.write_str("fit"),
            Self::Off => f.write_str("off"),
            Self::Given(value) => write!(f, "{value}"),
        }
    }
}

/// The images to measure a run's network on: the held-out images, or training images if none were held out. At most
/// [`MOST_IMAGES`].
pub fn images(data: &TrainingData) -> Result<(Images, MeasuredOn)> {
    Ok(match &data.held_out {
        Some(held_out) => (held_out.evenly(MOST_IMAGES)?, MeasuredOn::HeldOut),
        None => (data.fit.evenly(MOST_IMAGES)?, MeasuredOn::Training),
    })
}

/// Measures a checkpoint's exported network on `images`, on their device. Errors if there are none.
///
/// The result belongs in the checkpoint ([`Checkpoint::set_confidence`]), so that everything derived from it, the file
/// and the numbers it is checked against, has the temperature folded in.
pub fn measure(
    checkpoint: &Checkpoint,
    images: &Images,
    from: MeasuredOn,
    temperature: Temperature,
) -> Result<Confidence> {
    ensure!(!images.is_empty(), "there are no images to measure the network's confidence on");
    let labels = images.classes()?;
    let logits = evaluate::answers(checkpoint, images, &|_, _| ())?.logits()?;
    let temperature = match temperature {
        // Rounded, which keeps the card readable and, almost always, the same on every machine.
        Temperature::Fitted => rounded(temperature::fit(logits.view(), &labels), 3),
        Temperature::Off => 1.0,
        Temperature::Given(value) => value,
    };
    let divided = temperature::divide(logits.view(), temperature);
    let digits = matches!(checkpoint.metadata.data.input.content, Content::Digit { .. });
    Ok(Confidence {
        temperature,
        images: labels.len(),
        from,
        ece_before: calibration_error(logits.view(), &labels),
        ece_after: calibration_error(divided.view(), &labels),
        energy: if digits { energies(divided.view()) } else { None },
    })
}

/// Expected calibration error of logits `[N, classes]`, 0 to 1, rounded.
fn calibration_error(logits: ArrayView2<f32>, labels: &[usize]) -> f64 {
    rounded(Reliability::from_answers(confidences(logits, labels)).ece, 4)
}

/// The energies of the images, given by their logits `[N, classes]`: at most [`REJECTED`] of them are below the first,
/// half are below the median. `None` if there are too few images or if the energies are all equal or not finite.
fn energies(logits: ArrayView2<f32>) -> Option<EnergyRange> {
    let mut energies: Vec<f32> = logits.rows().into_iter().map(energy).collect();
    if energies.len() < FEWEST_FOR_THRESHOLD {
        return None;
    }
    energies.sort_by(f32::total_cmp);
    // Rounded down, so that no further image gets below.
    let at = |share: f64| {
        let energy = energies[(energies.len() as f64 * share) as usize];
        ((f64::from(energy) * 1e3).floor() / 1e3) as f32
    };
    let (reject_below, median) = (at(REJECTED), at(0.5));
    (reject_below.is_finite() && median.is_finite() && reject_below < median)
        .then_some(EnergyRange { reject_below, median })
}

fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn the_threshold_is_above_one_image_in_a_hundred() {
        // A single class: the energy is the logit. Shuffled by a step that has no factor in common with the counts.
        let logits = |count: usize| Array2::from_shape_fn((count, 1), |(image, _)| (image * 77 % count) as f32 + 0.25);
        assert_eq!(energies(logits(99).view()), None);
        // By hand: 1 of 100, 1 of 199, 2 of 200, 20 of 2,000 are below the first, and half below the median.
        for (count, below) in [(100, 1), (199, 1), (200, 2), (2000, 20)] {
            let EnergyRange { reject_below, median } = energies(logits(count).view()).unwrap();
            assert_eq!((reject_below, median), (below as f32 + 0.25, (count / 2) as f32 + 0.25), "{count}");
            assert_eq!(logits(count).iter().filter(|&&energy| energy < reject_below).count(), below);
        }
        let two = |low: f32| Array2::from_shape_fn((100, 1), |(image, _)| if image < 40 { low } else { 5.0 });
        assert_eq!(energies(two(1.234_56).view()).unwrap().reject_below, 1.234);
        assert_eq!(energies(two(-1.234_56).view()).unwrap().reject_below, -1.235);
        assert_eq!(energies(two(5.0).view()), None);
        assert_eq!(energies(two(f32::NEG_INFINITY).view()), None);
    }

    #[test]
    fn temperatures_are_read_as_they_are_written() {
        for (text, expected) in [
            ("fit", Temperature::Fitted),
            ("off", Temperature::Off),
            ("2", Temperature::Given(2.0)),
            ("0.61", Temperature::Given(0.61)),
        ] {
            assert_eq!(text.parse::<Temperature>().unwrap(), expected);
            assert_eq!(expected.to_string(), text);
        }
        for text in ["0", "-1", "0.001", "101", "inf", "nan", "on", ""] {
            let message = text.parse::<Temperature>().unwrap_err().to_string();
            assert_eq!(message, "expected fit, off or a number from 0.01 to 100", "{text}");
        }
    }
}
