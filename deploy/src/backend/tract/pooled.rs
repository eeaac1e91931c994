//! The end of a network: `GlobalAveragePool`, `Flatten` and `Softmax`.
//!
//! tract has operators for these. Ours are as fast, and a program without any of tract's own operators is a third
//! smaller, because each of those includes code to turn it into others.

use super::operator::Floats;

/// The mean of each of `channels` planes of `pixels` numbers.
#[derive(Clone, Debug)]
pub(super) struct Mean {
    pub channels: usize,
    pub pixels: usize,
}

impl Floats for Mean {
    fn name(&self) -> &'static str {
        "Mean"
    }

    fn count(&self) -> usize {
        self.channels * self.pixels
    }

    fn compute(&self, input: &[f32], output: &mut [f32]) {
        for (to, plane) in output.iter_mut().zip(input.chunks_exact(self.pixels)) {
            *to = plane.iter().sum::<f32>() / self.pixels as f32;
        }
    }
}

/// Copies the numbers unchanged into another shape.
#[derive(Clone, Debug)]
pub(super) struct Reshaped {
    pub count: usize,
}

impl Floats for Reshaped {
    fn name(&self) -> &'static str {
        "Reshaped"
    }

    fn count(&self) -> usize {
        self.count
    }

    fn compute(&self, input: &[f32], output: &mut [f32]) {
        output.copy_from_slice(input);
    }
}

/// Turns the logits of one image into probabilities.
#[derive(Clone, Debug)]
pub(super) struct Softmax {
    pub classes: usize,
}

impl Floats for Softmax {
    fn name(&self) -> &'static str {
        "Softmax"
    }

    fn count(&self) -> usize {
        self.classes
    }

    fn compute(&self, logits: &[f32], output: &mut [f32]) {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for (to, logit) in output.iter_mut().zip(logits) {
            *to = (logit - largest).exp();
        }
        let sum: f32 = output.iter().sum();
        for to in output {
            *to /= sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kernel: &impl Floats, input: &[f32], count: usize) -> Vec<f32> {
        let mut output = vec![f32::NAN; count];
        kernel.compute(input, &mut output);
        output
    }

    #[test]
    fn a_mean_is_of_each_plane() {
        let mean = Mean { channels: 2, pixels: 3 };
        assert_eq!(run(&mean, &[1.0, 2.0, 6.0, -1.0, 0.0, 1.0], 2), [3.0, 0.0]);
    }

    /// `torch.softmax(torch.tensor([1., 2., 3.]), 0)`, and logits whose exponentials overflow a float.
    #[test]
    fn probabilities_are_those_of_pytorch() {
        let softmax = Softmax { classes: 3 };
        for shift in [0.0, 1000.0, -1000.0] {
            let found = run(&softmax, &[1.0 + shift, 2.0 + shift, 3.0 + shift], 3);
            let expected = [0.090_030_57, 0.244_728_48, 0.665_240_94];
            assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6), "{found:?}");
        }
    }
}
