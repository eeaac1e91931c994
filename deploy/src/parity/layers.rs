//! Finds where in the graph two runtimes differ: compares every tensor of one with the same tensor of the other, in
//! graph order.
//!
//! Each node's inputs were computed by the same runtime, so differences propagate. The first node beyond the tolerance
//! is therefore the one to look at; later ones mostly inherit its difference.

use crate::agreement::Tolerance;
use crate::backend::intermediate::{Probe, StepValues, Values};
use anyhow::{Result, ensure};
use models::card::Precision;
use ndarray::{ArrayView4, Axis};
use serde::Serialize;

/// Differences that are still rounding in a network of this precision, as shares of a tensor's range.
///
/// ONNX Runtime and tract differed by up to 4e-6 in fp32 and fp16 networks (1.5e-7 on average), and by up to 6 % in
/// int8 networks (0.12 % on average): there, a number on the border between two of the 256 steps may go either way, and
/// the next layers add up such steps. The largest differences occurred in a network of width 1 at 224 px.
#[must_use]
pub fn tolerance(precision: Precision) -> Tolerance {
    match precision {
        Precision::Fp32 | Precision::Fp16 => Tolerance { largest: 1e-4, mean: 1e-5 },
        Precision::Int8 => Tolerance { largest: 0.25, mean: 5e-3 },
    }
}

/// The comparison of two runtimes, tensor by tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layers {
    /// Images compared, at least 1.
    pub images: usize,
    /// The differences allowed, as shares of a tensor's range.
    pub tolerance: Tolerance,
    /// Every tensor that a node computes, in graph order.
    pub nodes: Vec<Layer>,
    /// Index of the first of them beyond the tolerance, from 0.
    pub first_beyond: Option<usize>,
}

/// One tensor in both runtimes, over all images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// Name of the node that computes it; empty if the file does not name it.
    pub node: String,
    /// The node's operator, such as `Conv`.
    pub operator: String,
    /// The tensor's name.
    pub tensor: String,
    /// Element type in the reference, such as `float32`.
    pub element: Option<&'static str>,
    /// Shape in the reference, for one run.
    pub shape: Option<Vec<usize>>,
    /// The differences; `None` if it could not be compared.
    pub difference: Option<Spread>,
    /// Why it could not be compared, or only in part.
    pub problem: Option<String>,
    /// Whether the difference is larger than rounding explains.
    pub beyond: bool,
}

/// How far apart two tensors are, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Largest absolute difference.
    pub max: f64,
    /// Mean absolute difference.
    pub mean: f64,
    /// Smallest and largest number in the reference.
    pub range: (f64, f64),
    /// The largest difference as a share of the range, or of the number itself if all numbers are equal. `None` if the
    /// reference is all 0 and the other is not.
    pub relative: Option<f64>,
    /// The mean difference as the same share.
    pub relative_mean: Option<f64>,
    /// Elements that are not finite in one or both, and not the same in both. They do not count elsewhere.
    pub not_finite: u64,
}

/// Runs images `[N, C, H, W]`, N at least 1, through both runtimes, batch by batch, and compares every tensor. Only one
/// batch's tensors are in memory at a time. `progress` is called with the number of images done since the last call.
///
/// Errors if the two graphs have different nodes; their weights may differ.
pub fn compare(
    reference: &mut Probe,
    compared: &mut Probe,
    images: ArrayView4<u8>,
    tolerance: Tolerance,
    mut progress: impl FnMut(usize),
) -> Result<Layers> {
    ensure!(
        reference.steps() == compared.steps() && reference.batch() == compared.batch(),
        "the two graphs have different nodes: expected the same model in both"
    );
    let mut tallies: Vec<Tally> = reference.steps().iter().map(|_| Tally::default()).collect();
    for images in images.axis_chunks_iter(Axis(0), reference.batch()) {
        let (one, other) = (reference.run(images)?, compared.run(images)?);
        for ((tally, one), other) in tallies.iter_mut().zip(one).zip(other) {
            tally.add(one, other);
        }
        progress(images.len_of(Axis(0)));
    }
    let steps = reference.steps().iter().zip(tallies);
    let nodes: Vec<Layer> = steps
        .map(|(step, tally)| {
            let (difference, beyond) = (tally.spread(), tally.beyond(tolerance));
            let Tally { element, shape, problem, .. } = tally;
            let step = step.clone();
            let (node, operator, tensor) = (step.node, step.operator, step.tensor);
            Layer { node, operator, tensor, element, shape, difference, problem, beyond }
        })
        .collect();
    ensure!(nodes.iter().any(|node| node.difference.is_some()), "no tensor of the graph could be compared");
    let first_beyond = nodes.iter().position(|node| node.beyond);
    Ok(Layers { images: images.len_of(Axis(0)), tolerance, nodes, first_beyond })
}

/// The running comparison of one tensor.
#[derive(Default)]
struct Tally {
    element: Option<&'static str>,
    shape: Option<Vec<usize>>,
    problem: Option<String>,
    /// The shapes differ, so the numbers are not compared.
    other_shape: bool,
    count: u64,
    max: f64,
    sum: f64,
    range: Option<(f64, f64)>,
    not_finite: u64,
}

impl Tally {
    fn add(&mut self, reference: StepValues, compared: StepValues) {
        let (one, other) = match (reference, compared) {
            (Ok(one), Ok(other)) => (one, other),
            (Err(problem), _) | (_, Err(problem)) => {
                self.problem = Some(problem);
                return;
            }
        };
        let Values { element, shape, numbers } = one;
        if shape != other.shape || numbers.len() != other.numbers.len() {
            self.other_shape = true;
            self.problem = Some(format!("the shapes differ: {shape:?} and {:?}", other.shape));
        } else {
            if element != other.element {
                self.problem = Some(format!("the other's elements are {}", other.element));
            }
            for (&one, &other) in numbers.iter().zip(&other.numbers) {
                self.add_numbers(one, other);
            }
        }
        (self.element, self.shape) = (Some(element), Some(shape));
    }

    fn add_numbers(&mut self, one: f64, other: f64) {
        let difference = (one - other).abs();
        if difference.is_finite() {
            self.count += 1;
            self.max = self.max.max(difference);
            self.sum += difference;
            let (low, high) = self.range.unwrap_or((one, one));
            self.range = Some((low.min(one), high.max(one)));
        } else if one != other && !(one.is_nan() && other.is_nan()) {
            self.not_finite += 1;
        }
    }

    fn spread(&self) -> Option<Spread> {
        let (max, not_finite) = (self.max, self.not_finite);
        let range = match self.range {
            Some(range) => range,
            None if not_finite > 0 => (0.0, 0.0),
            None => return None,
        };
        let length = if range.1 > range.0 { range.1 - range.0 } else { range.0.abs() };
        let share = |difference: f64| {
            if max == 0.0 { Some(0.0) } else { (length > 0.0).then(|| difference / length) }
        };
        let mean = self.sum / self.count.max(1) as f64;
        Some(Spread { max, mean, range, relative: share(max), relative_mean: share(mean), not_finite })
    }

    fn beyond(&self, Tolerance { largest, mean }: Tolerance) -> bool {
        let apart = |spread: Spread| {
            spread.not_finite > 0
                || spread.relative.is_none_or(|share| share > f64::from(largest))
                || spread.relative_mean.is_none_or(|share| share > mean)
        };
        self.other_shape || self.spread().is_some_and(apart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::unnecessary_wraps)] // An outcome is a result.
    fn values(numbers: &[f64]) -> StepValues {
        Ok(Values { element: "float32", shape: vec![numbers.len()], numbers: numbers.to_vec() })
    }

    fn within(largest: f32) -> Tolerance {
        Tolerance { largest, mean: f64::MAX }
    }

    fn tally(pairs: &[(&[f64], &[f64])]) -> Tally {
        let mut tally = Tally::default();
        for (one, other) in pairs {
            tally.add(values(one), values(other));
        }
        tally
    }

    #[test]
    fn differences_are_measured_against_the_tensors_own_range() {
        let tally = tally(&[(&[0.0, 10.0], &[0.5, 10.0]), (&[-10.0, 3.0], &[-10.0, 3.0])]);
        let spread = tally.spread().unwrap();
        assert_eq!((spread.max, spread.mean, spread.range), (0.5, 0.125, (-10.0, 10.0)));
        assert_eq!(spread.relative, Some(0.025));
        assert!(tally.beyond(within(0.02)) && !tally.beyond(within(0.03)));
        assert_eq!(spread.relative_mean, Some(0.125 / 20.0));
        let on_average = |mean| Tolerance { largest: 1.0, mean };
        assert!(tally.beyond(on_average(0.006)) && !tally.beyond(on_average(0.007)));
    }

    #[test]
    fn a_constant_tensor_is_measured_by_its_size() {
        assert_eq!(tally(&[(&[4.0, 4.0], &[4.0, 5.0])]).spread().unwrap().relative, Some(0.25));
        let zeros = tally(&[(&[0.0], &[1e-9])]);
        assert!(zeros.spread().unwrap().relative.is_none() && zeros.beyond(within(1.0)));
        assert!(!tally(&[(&[0.0], &[0.0])]).beyond(within(0.0)));
    }

    #[test]
    fn values_that_are_not_finite_agree_only_with_themselves() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let same = tally(&[(&[nan, inf, 1.0], &[nan, inf, 1.0])]);
        assert!(!same.beyond(within(0.0)) && same.spread().unwrap().not_finite == 0);
        for (one, other) in [(nan, 1.0), (1.0, nan), (inf, -inf), (inf, 1.0), (nan, inf)] {
            let tally = tally(&[(&[one, 1.0], &[other, 1.0])]);
            assert!(tally.beyond(within(1e9)) && tally.spread().unwrap().not_finite == 1, "{one} {other}");
        }
    }

    #[test]
    fn different_shapes_disagree_and_missing_values_are_reported() {
        let parted = tally(&[(&[1.0], &[1.0, 2.0])]);
        assert!(parted.beyond(within(1.0)) && parted.problem.unwrap().contains("[1] and [2]"));
        let mut missing = Tally::default();
        missing.add(values(&[1.0]), Err("not there".to_owned()));
        assert!(!missing.beyond(within(0.0)) && missing.spread().is_none() && missing.problem.is_some());
    }
}
