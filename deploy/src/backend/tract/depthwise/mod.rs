//! Depthwise convolutions with 3×3 kernels, faster than tract's own, with the ReLU6 after them included.
//!
//! These are where tract is slower than ONNX Runtime: MobileNetV1 spends 3 % of its multiply-adds in depthwise
//! convolutions (paper, table 2), but tract up to half of its time. `kernel` holds the arithmetic. The first
//! convolution of greyscale images is computed in the same way: all its output planes come from the one input plane.

mod kernel;

pub(super) use kernel::Depthwise;

use super::lanes::Lane;
use super::operator::{Floats, Kernel};
use anyhow::{Result, ensure};

impl Depthwise {
    /// Prepares the convolution for the fastest of the lanes.
    pub fn kernel(self, lanes: &[Lane]) -> Result<impl Kernel> {
        ensure!(self.is_sound(), "a depthwise convolution of sizes that do not fit together");
        Ok(Ready { depthwise: self, lanes: lanes.into() })
    }
}

/// A convolution that is ready to run.
#[derive(Debug)]
struct Ready {
    depthwise: Depthwise,
    lanes: Box<[Lane]>,
}

impl Floats for Ready {
    fn name(&self) -> &'static str {
        "Depthwise3x3"
    }

    fn count(&self) -> usize {
        let [height, width] = self.depthwise.input;
        self.depthwise.input_channels() * height * width
    }

    fn compute(&self, input: &[f32], output: &mut [f32]) {
        self.depthwise.run(&self.lanes, input, output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_every_length_are_computed_to_their_end() {
        for lane in Lane::available() {
            for width in 1..=40 {
                let depthwise = Depthwise {
                    channels: 2,
                    own_plane: true,
                    input: [3, width],
                    output: [3, width],
                    stride: 1,
                    padding: [1, 1],
                    weights: [[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]; 2].concat(),
                    bias: vec![0.0, 100.0],
                    clamp: [f32::NEG_INFINITY, f32::INFINITY],
                };
                let input: Vec<f32> = (0..6 * width).map(|number| number as f32).collect();
                let mut output = vec![f32::NAN; input.len()];
                depthwise.run(&[lane], &input, &mut output);
                let expected =
                    input.iter().enumerate().map(|(at, value)| value + if at < 3 * width { 0.0 } else { 100.0 });
                assert_eq!(output, expected.collect::<Vec<_>>(), "{lane:?}, {width} columns");
            }
        }
    }
}
