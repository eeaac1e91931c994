//! Compares the products, and convolutions computed by them, with sums written out.

use super::*;
use models::fingerprint::Fingerprint;

/// Pseudo-random numbers that are the same in every run.
struct Numbers(Fingerprint);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.and(b"next");
        (self.0.spread() >> 11) as usize % limit
    }

    fn list(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.below(2001) as f32 / 1000.0 - 1.0).collect()
    }
}

/// The convolution as the ONNX operator `Conv` defines it.
fn expected(dense: &Dense, input: &[f32]) -> Vec<f32> {
    let Dense { input: [channels, height, width], output: [rows, columns], kernel, stride, padding, .. } = *dense;
    let mut result = Vec::new();
    for (output, bias) in dense.bias.iter().enumerate() {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let mut sum = f64::from(*bias);
            for channel in 0..channels {
                for (tap_row, tap_column) in (0..kernel).flat_map(|row| (0..kernel).map(move |column| (row, column))) {
                    let (y, x) = (row * stride + tap_row, column * stride + tap_column);
                    if (padding[0]..padding[0] + height).contains(&y) && (padding[1]..padding[1] + width).contains(&x) {
                        let place = (channel * height + y - padding[0]) * width + x - padding[1];
                        let weight = ((output * channels + channel) * kernel + tap_row) * kernel + tap_column;
                        sum += f64::from(input[place]) * f64::from(dense.weights[weight]);
                    }
                }
            }
            result.push((sum as f32).clamp(dense.clamp[0], dense.clamp[1]));
        }
    }
    result
}

fn check(dense: Dense, lanes: &[Lane], input: &[f32]) {
    let expected = expected(&dense, input);
    let what = format!("{:?} -> {} x {:?}, {lanes:?}", dense.input, dense.bias.len(), dense.output);
    let kernel = dense.kernel(lanes).unwrap();
    let mut output = tensor1(&vec![f32::NAN; expected.len()]);
    kernel.run(&tensor1(input), &mut output).unwrap();
    let output = numbers::<f32>(&output).unwrap();
    let close = |(found, expected): (&f32, &f32)| (found - expected).abs() <= 1e-4 * (1.0 + expected.abs());
    assert!(output.iter().zip(&expected).all(close), "{what}: {output:?}, expected {expected:?}");
}

/// Each instruction set alone, and none, which leaves the product to tract-linalg.
fn ways() -> Vec<Vec<Lane>> {
    Lane::available().into_iter().map(|lane| vec![lane]).chain([vec![]]).collect()
}

#[test]
fn convolutions_of_random_shapes_are_those_of_the_definition() {
    let mut random = Numbers(Fingerprint::default());
    for lanes in ways() {
        for _ in 0..60 {
            let (kernel, stride) = (1 + random.below(3), 1 + random.below(2));
            let input = [1 + random.below(20), kernel + random.below(12), kernel + random.below(12)];
            let padding = [random.below(kernel), random.below(kernel)];
            let extent = |extent: usize, padding: usize| (extent + padding - kernel) / stride + 1;
            let output = [extent(input[1], padding[0]), extent(input[2], padding[1])];
            let outputs = 1 + random.below(30);
            let weights = random.list(outputs * input[0] * kernel * kernel);
            let clamp = if random.below(2) == 0 { [-0.5, 1.0] } else { [f32::NEG_INFINITY, f32::INFINITY] };
            let bias = random.list(outputs);
            let numbers = random.list(input.iter().product());
            check(Dense { input, output, kernel, stride, padding, weights, bias, clamp }, &lanes, &numbers);
        }
    }
}

#[test]
fn products_of_every_width_are_computed_to_their_end() {
    let mut random = Numbers(Fingerprint::default().and(b"widths"));
    for lanes in ways() {
        // The last is deep enough to need several rounds of panels.
        for (depth, pixels) in (1..=70).map(|pixels| (5, pixels)).chain([(3000, 75)]) {
            let dense = Dense {
                input: [depth, 1, pixels],
                output: [1, pixels],
                kernel: 1,
                stride: 1,
                padding: [0, 0],
                weights: random.list(13 * depth),
                bias: random.list(13),
                clamp: [f32::NEG_INFINITY, f32::INFINITY],
            };
            let numbers = random.list(depth * pixels);
            check(dense, &lanes, &numbers);
        }
    }
}

#[test]
fn sizes_that_do_not_fit_together_are_refused() {
    let dense = Dense {
        input: [2, 3, 3],
        output: [3, 3],
        kernel: 1,
        stride: 1,
        padding: [0, 0],
        weights: vec![1.0; 8],
        bias: vec![0.0; 4],
        clamp: [0.0, 6.0],
    };
    assert!(dense.clone().kernel(&[]).is_ok());
    for broken in [
        Dense { bias: vec![0.0; 3], ..dense.clone() },
        Dense { input: [3, 3, 3], ..dense.clone() },
        Dense { stride: 0, ..dense.clone() },
        Dense { output: [0, 3], ..dense.clone() },
        Dense { input: [usize::MAX, 3, 3], ..dense.clone() },
        Dense { output: [usize::MAX / 2, 3], ..dense },
    ] {
        assert!(broken.kernel(&[]).is_err());
    }
}
