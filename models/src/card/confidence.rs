//! How far a model's probabilities can be trusted.

use super::Content;
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// The calibration of a model's probabilities, measured when it was exported.
///
/// Measured with the trained network in 32-bit floats, whatever the file's precision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// The trained network's logits are divided by this number, above 0, in the graph (Guo et al., arXiv 1706.04599,
    /// section 4.2). 1 leaves them as trained.
    pub temperature: f64,
    /// Number of images that it was fitted to, and that the other values were measured on.
    pub images: usize,
    /// Where these images are from.
    pub from: MeasuredOn,
    /// Expected calibration error of the trained network, 0 to 1; see [`crate::evaluation::Reliability`].
    pub ece_before: f64,
    /// Expected calibration error of this file, 0 to 1.
    pub ece_after: f64,
    /// The [energies](crate::evaluation::energy) of these images. `None` if there were too few of them, or if the model
    /// is not one of digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<EnergyRange>,
}

/// The energies of images that the model knows. The larger its energy, the more an image looks like them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnergyRange {
    /// At most 1 % of the measured images are below this value. An image that is taken as it is is unknown below it; the
    /// energy of a digit that was found in an image counts together with its place and form.
    pub reject_below: f32,
    /// Half of the measured images are below this value.
    pub median: f32,
}

/// The images that a model's confidence was measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeasuredOn {
    /// Images that no weight was fitted to.
    HeldOut,
    /// Training images, because none were held out. A network is more often right on them than on others.
    Training,
}

impl MeasuredOn {
    /// The name used in cards and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HeldOut => "held-out",
            Self::Training => "training",
        }
    }
}

impl Confidence {
    /// Fails if a value is out of range, or if there are energies for a model of something else than digits.
    pub(super) fn validate(&self, content: Content) -> Result<()> {
        let Self { temperature, images, ece_before, ece_after, energy, .. } = *self;
        ensure!(
            temperature.is_finite() && temperature > 0.0,
            "temperature {temperature}: expected a finite number above 0"
        );
        ensure!(images > 0, "confidence measured on 0 images: expected at least 1");
        for (name, error) in [("ece_before", ece_before), ("ece_after", ece_after)] {
            ensure!((0.0..=1.0).contains(&error), "{name} {error}: expected 0 to 1");
        }
        if let Some(EnergyRange { reject_below, median }) = energy {
            ensure!(
                reject_below.is_finite() && median.is_finite() && reject_below < median,
                "energy: reject_below {reject_below}, median {median}: expected finite numbers, the first one smaller"
            );
            ensure!(matches!(content, Content::Digit { .. }), "energy: expected only for a model of digits");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Polarity;

    const DIGIT: Content = Content::Digit { polarity: Polarity::LightOnDark };

    fn confidence() -> Confidence {
        Confidence {
            temperature: 0.61,
            images: 2000,
            from: MeasuredOn::HeldOut,
            ece_before: 0.09,
            ece_after: 0.004,
            energy: Some(EnergyRange { reject_below: 7.31, median: 9.5 }),
        }
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        let json = r#"{"temperature":0.61,"images":2000,"from":"held-out","ece_before":0.09,"ece_after":0.004,"energy":{"reject_below":7.31,"median":9.5}}"#;
        assert_eq!(serde_json::to_string(&confidence()).unwrap(), json);
        assert_eq!(serde_json::from_str::<Confidence>(json).unwrap(), confidence());
        let without = Confidence { energy: None, from: MeasuredOn::Training, ..confidence() };
        let json = serde_json::to_string(&without).unwrap();
        assert!(json.contains(r#""from":"training""#) && !json.contains("energy"), "{json}");
        assert_eq!(serde_json::from_str::<Confidence>(&json).unwrap(), without);
        for from in [MeasuredOn::HeldOut, MeasuredOn::Training] {
            assert_eq!(serde_json::to_value(from).unwrap(), from.name());
        }
        assert!(serde_json::from_str::<MeasuredOn>(r#""test""#).is_err());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        confidence().validate(DIGIT).unwrap();
        let refused = |change: fn(&mut Confidence), word: &str| {
            let mut confidence = confidence();
            change(&mut confidence);
            let message = confidence.validate(DIGIT).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        };
        refused(|it| it.temperature = 0.0, "temperature 0: expected a finite number above 0");
        refused(|it| it.temperature = -1.0, "temperature -1");
        refused(|it| it.temperature = f64::INFINITY, "temperature inf");
        refused(|it| it.temperature = f64::NAN, "temperature NaN");
        refused(|it| it.images = 0, "0 images");
        refused(|it| it.ece_before = -0.1, "ece_before -0.1: expected 0 to 1");
        refused(|it| it.ece_after = f64::NAN, "ece_after NaN");
        let energy = |reject_below, median| Some(EnergyRange { reject_below, median });
        for (low, median) in [(f32::NEG_INFINITY, 1.0), (1.0, f32::NAN), (2.0, 2.0)] {
            let message = Confidence { energy: energy(low, median), ..confidence() }.validate(DIGIT).unwrap_err();
            assert!(message.to_string().contains("expected finite numbers, the first one smaller"), "{message}");
        }
        let message = confidence().validate(Content::Image).unwrap_err().to_string();
        assert!(message.contains("only for a model of digits"), "{message}");
    }
}
