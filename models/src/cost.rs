//! The cost of a network: multiply-adds and parameters, counted as in the paper (arXiv 1704.04861, section 3).
//!
//! Multiply-adds are those of the convolutions and the classifier. Parameters are their weights, the scale and shift of
//! every batch norm, and the classifier's bias.

use crate::architecture::{Convolution, Form, Layer, Op};
use serde::Serialize;
use std::iter::Sum;
use std::ops::Add;

/// Multiply-adds per image, and parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Multiply-adds per image.
    pub multiply_adds: u64,
    /// Trained parameters.
    pub parameters: u64,
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { multiply_adds: self.multiply_adds + other.multiply_adds, parameters: self.parameters + other.parameters }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Add::add)
    }
}

/// The cost of one layer.
#[must_use]
pub fn of_layer(layer: &Layer) -> Cost {
    let (inputs, outputs) = (layer.input.channels as u64, layer.output.channels as u64);
    match layer.op {
        Op::Convolution(convolution) => {
            let kernel = (convolution.kernel * convolution.kernel) as u64;
            let weights = kernel * (inputs / convolution.groups as u64) * outputs;
            let pixels = (layer.output.height * layer.output.width) as u64;
            let norm = if convolution.normalised { 2 * outputs } else { 0 };
            Cost { multiply_adds: weights * pixels, parameters: weights + norm }
        }
        Op::GlobalAveragePool => Cost::default(),
        Op::Linear => Cost { multiply_adds: inputs * outputs, parameters: inputs * outputs + outputs },
    }
}

/// The total cost of `layers`.
#[must_use]
pub fn count(layers: &[Layer]) -> Cost {
    layers.iter().map(of_layer).sum()
}

/// The standard convolution that a depthwise separable pair replaces: the depthwise layer's kernel and stride, from its
/// input to the pointwise layer's output. `None` if the two layers are not such a pair.
#[must_use]
pub fn standard_equivalent(depthwise: &Layer, pointwise: &Layer) -> Option<Layer> {
    let (Op::Convolution(first), Op::Convolution(second)) = (depthwise.op, pointwise.op) else { return None };
    (first.form == Form::Depthwise && second.form == Form::Pointwise).then(|| Layer {
        name: pointwise.name.clone(),
        op: Op::Convolution(Convolution { form: Form::Standard, groups: 1, ..first }),
        input: depthwise.input,
        output: pointwise.output,
    })
}

/// The same body with standard convolutions instead of depthwise separable ones (the paper's Table 4).
#[must_use]
pub fn with_standard_convolutions(layers: &[Layer]) -> Vec<Layer> {
    let mut standard: Vec<Layer> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let pair = index.checked_sub(1).and_then(|before| standard_equivalent(&layers[before], layer));
        if let Some(full) = pair {
            standard.pop();
            standard.push(full);
        } else {
            standard.push(layer.clone());
        }
    }
    standard
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::{Architecture, Kind};

    fn cost(multiply_adds: u64, parameters: u64) -> Cost {
        Cost { multiply_adds, parameters }
    }

    /// The paper's Table 6 prints 569, 325, 149 and 41 million multiply-adds, and 4.2, 2.6, 1.3 and 0.5 million
    /// parameters.
    #[test]
    fn widths_cost_what_table_6_prints() {
        for (width, expected) in [
            (1.0, cost(568_740_352, 4_231_976)),
            (0.75, cost(325_400_448, 2_585_560)),
            (0.5, cost(149_497_088, 1_331_592)),
            (0.25, cost(41_030_272, 470_072)),
        ] {
            assert_eq!(count(&Architecture::imagenet(width, 224).layers()), expected, "width {width}");
        }
    }

    /// The paper's Table 7 prints 418, 290 and 186 million multiply-adds.
    #[test]
    fn resolutions_cost_what_table_7_prints() {
        for (resolution, multiply_adds) in [(192, 418_121_728), (160, 290_675_200), (128, 186_400_768)] {
            assert_eq!(count(&Architecture::imagenet(1.0, resolution).layers()), cost(multiply_adds, 4_231_976));
        }
    }

    /// The paper's Table 4 prints 4866 million multiply-adds and 29.3 million parameters for "Conv MobileNet".
    #[test]
    fn full_convolutions_cost_what_table_4_prints() {
        let standard = with_standard_convolutions(&Architecture::imagenet(1.0, 224).layers());
        assert_eq!(count(&standard), cost(4_867_293_184, 29_294_088));
    }

    #[test]
    fn the_tutorials_variant_costs_what_its_layers_add_up_to() {
        let tutorial =
            Architecture { kind: Kind::Tutorial, channels: 1, classes: 10, ..Architecture::imagenet(1.0, 224) };
        assert_eq!(count(&tutorial.layers()), cost(766_739_456, 6_612_224));
    }

    /// The paper's equation for the saving, section 3.1: 1/N + 1/D².
    #[test]
    fn a_separable_pair_costs_one_over_n_plus_one_over_d_squared_of_the_standard_convolution() {
        let layers = Architecture::imagenet(1.0, 224).layers();
        let (depthwise, pointwise) = (&layers[1], &layers[2]);
        let standard = standard_equivalent(depthwise, pointwise).unwrap();
        let pair = of_layer(depthwise).multiply_adds + of_layer(pointwise).multiply_adds;
        let ratio = pair as f64 / of_layer(&standard).multiply_adds as f64;
        assert!((ratio - (1.0 / 64.0 + 1.0 / 9.0)).abs() < 1e-12);
    }
}
