//! The calibration that a model card records, as text.

use super::{counted, percent};
use models::card::{Confidence, EnergyRange, MeasuredOn};

/// The temperature, the calibration error before and after it, and the energies, as lines for [`super::fields`].
#[must_use]
pub fn confidence(confidence: &Confidence) -> Vec<(&'static str, String)> {
    let Confidence { temperature, images, from, ece_before, ece_after, energy } = *confidence;
    let mut on = counted(images, &format!("{} image", from.name()));
    if from == MeasuredOn::Training {
        on.push_str("; none were held out, and unseen images are harder");
    }
    let mut lines = vec![
        ("temperature", format!("{temperature}, by which the trained network's logits are divided")),
        (
            "calibration",
            format!("ECE {} as trained, {} in the file ({on})", percent(Some(ece_before)), percent(Some(ece_after))),
        ),
    ];
    if let Some(EnergyRange { reject_below, median }) = energy {
        lines.push(("energy", format!("1 % of these images are below {reject_below}, half below {median}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::fields;
    use super::*;

    #[test]
    fn calibration_is_told_with_the_images_it_was_measured_on() {
        let mut figures = Confidence {
            temperature: 0.61,
            images: 2000,
            from: MeasuredOn::HeldOut,
            ece_before: 0.0902,
            ece_after: 0.004_06,
            energy: Some(EnergyRange { reject_below: 7.31, median: 9.5 }),
        };
        assert_eq!(
            fields(&confidence(&figures)),
            "temperature  0.61, by which the trained network's logits are divided\n\
             calibration  ECE 9.02 % as trained, 0.41 % in the file (2,000 held-out images)\n\
             energy       1 % of these images are below 7.31, half below 9.5\n"
        );
        (figures.from, figures.energy) = (MeasuredOn::Training, None);
        let text = fields(&confidence(&figures));
        assert!(text.contains("(2,000 training images; none were held out, and unseen images are harder)"), "{text}");
        assert!(!text.contains("energy"), "{text}");
    }
}
