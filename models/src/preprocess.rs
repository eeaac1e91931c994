//! What the first nodes of a graph do to an image, in Rust: for graphs exported without those nodes
//! ([`GraphInput::Normalised`]) and for backends that preprocess images themselves.
//!
//! [`GraphInput::Normalised`]: crate::card::GraphInput::Normalised

use crate::card::Preprocessing;
use anyhow::{Context, Result, ensure};
use ndarray::{Array4, ArrayView4};

/// Turns images, uint8 `[N, C, H, W]`, into the network's input, float `[N, C, resolution, resolution]`; see
/// [`Preprocessor`].
pub fn normalised(images: ArrayView4<u8>, preprocessing: &Preprocessing, resolution: usize) -> Result<Array4<f32>> {
    let (count, channels, height, width) = images.dim();
    let (scale, shift) = preprocessing.scale_and_shift();
    let factors = [factor(height, resolution)?, factor(width, resolution)?];
    let preparation = Preprocessor::new([channels, height, width], scale, shift, factors)?;
    let mut values = Array4::zeros((count, channels, resolution, resolution));
    for (image, mut value) in images.outer_iter().zip(values.outer_iter_mut()) {
        let image = image.as_standard_layout();
        if let (Some(image), Some(value)) = (image.as_slice(), value.as_slice_mut()) {
            preparation.prepare(image, value);
        }
    }
    Ok(values)
}

/// Turns an image into the network's input: scales and shifts each channel, then resizes like the ONNX operator
/// `Resize` in mode `linear`, `half_pixel` (PyTorch's `interpolate`, bilinear, `align_corners=False`, no
/// anti-aliasing).
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocessor {
    /// Channels, rows and columns of the image.
    input: [usize; 3],
    scale: Vec<f32>,
    shift: Vec<f32>,
    /// `None` if the number of rows does not change.
    rows: Option<Vec<Between>>,
    columns: Option<Vec<Between>>,
    /// Rows and columns of the result.
    output: [usize; 2],
}

/// A position between two rows or columns.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Between {
    below: usize,
    above: usize,
    /// Weight of `above`, 0 to 1.
    share: f32,
}

impl Preprocessor {
    /// For images `[C, H, W]`, given as `input`, whose rows and columns are multiplied by `factors` ([`factor`]).
    /// `scale` and `shift` have one value per channel. Fails if they do not, or if a size is out of range.
    pub fn new(input: [usize; 3], scale: Vec<f32>, shift: Vec<f32>, factors: [f32; 2]) -> Result<Self> {
        let [channels, height, width] = input;
        let channels = (channels, channels) == (scale.len(), shift.len());
        ensure!(channels, "{} scales and {} shifts for {} channels", scale.len(), shift.len(), input[0]);
        let (rows, columns) = (extent(height, factors[0]), extent(width, factors[1]));
        let sound = [height, width, rows, columns].iter().all(|extent| (1..=MAX_EXTENT).contains(extent));
        ensure!(sound, "from {height}x{width} to {rows}x{columns}: expected 1 to {MAX_EXTENT} rows and columns");
        let (rows_between, columns_between) = (places(height, factors[0]), places(width, factors[1]));
        Ok(Self { input, scale, shift, rows: rows_between, columns: columns_between, output: [rows, columns] })
    }

    /// Rows and columns of the result.
    #[must_use]
    pub fn output_size(&self) -> [usize; 2] {
        self.output
    }

    /// Channels, rows and columns of the image.
    #[must_use]
    pub fn input_shape(&self) -> [usize; 3] {
        self.input
    }

    /// Prepares one image: `[C, H, W]`, values 0 to 255, into `result`, `[C, rows, columns]`.
    ///
    /// # Panics
    /// If the length of `image` or `result` does not match.
    pub fn prepare(&self, image: &[u8], result: &mut [f32]) {
        let [channels, height, width] = self.input;
        let [rows, columns] = self.output;
        assert_eq!(image.len(), channels * height * width, "bytes of the image");
        assert_eq!(result.len(), channels * rows * columns, "numbers of the result");
        // Columns first: most images are enlarged, so this pass still has few rows. The second pass, between rows,
        // vectorises.
        let mut line = vec![0.0; width];
        let mut narrow = vec![0.0; if self.rows.is_some() { height * columns } else { 0 }];
        let planes = image.chunks_exact(height * width).zip(result.chunks_exact_mut(rows * columns));
        for ((plane, result), (scale, shift)) in planes.zip(self.scale.iter().zip(&self.shift)) {
            let resized = if self.rows.is_some() { &mut narrow[..] } else { &mut result[..] };
            for (bytes, resized) in plane.chunks_exact(width).zip(resized.chunks_exact_mut(columns)) {
                let to = if self.columns.is_some() { &mut line[..] } else { &mut resized[..] };
                for (to, &byte) in to.iter_mut().zip(bytes) {
                    *to = f32::from(byte) * scale + shift;
                }
                for (to, place) in resized.iter_mut().zip(self.columns.iter().flatten()) {
                    *to = line[place.below] * (1.0 - place.share) + line[place.above] * place.share;
                }
            }
            for (to, place) in result.chunks_exact_mut(columns).zip(self.rows.iter().flatten()) {
                let (below, above) = (&narrow[place.below * columns..], &narrow[place.above * columns..]);
                for ((to, below), above) in to.iter_mut().zip(below).zip(above) {
                    *to = below * (1.0 - place.share) + above * place.share;
                }
            }
        }
    }
}

/// Where each row or column of the result lies between those of the image; `None` if their number does not change.
fn places(from: usize, factor: f32) -> Option<Vec<Between>> {
    let place = |index: usize| {
        let position = ((index as f32 + 0.5) / factor - 0.5).max(0.0);
        let below = (position as usize).min(from - 1);
        Between { below, above: (below + 1).min(from - 1), share: position - below as f32 }
    };
    (factor != 1.0).then(|| (0..extent(from, factor)).map(place).collect())
}

/// Most rows or columns of an image or a result: far beyond any network.
const MAX_EXTENT: usize = 1 << 16;

/// Number of rows or columns that the operator `Resize` returns.
fn extent(from: usize, factor: f32) -> usize {
    (from as f32 * factor).floor() as usize
}

/// The factor for a `Resize` from `from` to `to` pixels. The operator returns ⌊from · factor⌋ pixels, so rounding the
/// factor down could lose one. Engines multiply in f32, ONNX's reference implementation in f64. Fails if no f32 gives
/// `to` pixels in both.
pub fn factor(from: usize, to: usize) -> Result<f32> {
    let exact = to as f32 / from as f32;
    let candidates = [exact, exact.next_up(), exact.next_up().next_up()];
    let precise = |factor: f32| (from as f64 * f64::from(factor)).floor() as usize;
    let fitting = candidates.into_iter().find(|&factor| extent(from, factor) == to && precise(factor) == to);
    fitting.with_context(|| format!("no 32-bit factor resizes {from} to {to} pixels"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// Expected values from `torch.nn.functional.interpolate(x, size=…, mode="bilinear")`, PyTorch 2.13.
    #[test]
    fn images_are_resized_as_pytorch_does() {
        let bytes = Preprocessing { mean: vec![0.0], std: vec![1.0 / 255.0] };
        let close = |found: Array4<f32>, expected: &[f32]| {
            assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-4), "{found}");
            assert_eq!(found.len(), expected.len());
        };
        let larger = normalised(array![[[[0, 100], [200, 50]]]].view(), &bytes, 4).unwrap();
        let rows = [[0.0, 25.0, 75.0, 100.0], [50.0, 59.375, 78.125, 87.5], [150.0, 128.125, 84.375, 62.5]];
        close(larger, &[rows.as_flattened(), &[200.0, 162.5, 87.5, 50.0]].concat());
        let ramp = Array4::from_shape_fn((1, 1, 5, 5), |(_, _, y, x)| (y * y * 10 + x) as u8);
        close(
            normalised(ramp.view(), &bytes, 3).unwrap(),
            &[3.6667, 5.3333, 7.0000, 40.3333, 42.0000, 43.6667, 137.0000, 138.6667, 140.3333],
        );
    }

    #[test]
    fn each_channel_is_normalised_with_its_own_mean_and_deviation() {
        let preprocessing = Preprocessing { mean: vec![0.5, 0.1, 0.0], std: vec![0.25, 0.5, 1.0] };
        let images = Array4::from_shape_fn((2, 3, 8, 8), |(n, c, y, x)| (n * 100 + c * 50 + y * 8 + x) as u8);
        let values = normalised(images.view(), &preprocessing, 8).unwrap();
        for ((n, c, y, x), &value) in values.indexed_iter() {
            let pixel = f32::from(images[[n, c, y, x]]) / 255.0;
            assert!((value - (pixel - preprocessing.mean[c]) / preprocessing.std[c]).abs() < 1e-5);
        }
    }

    #[test]
    fn every_resize_returns_the_extent_that_was_asked_for() {
        for from in [8, 20, 28, 32, 96, 100, 224, 333] {
            for to in 8..=512 {
                let factor = factor(from, to).unwrap();
                assert_eq!((from as f32 * factor).floor() as usize, to, "{from} to {to}");
                assert_eq!((from as f64 * f64::from(factor)).floor() as usize, to, "{from} to {to}");
                assert!((f64::from(factor) - to as f64 / from as f64).abs() < 1e-5);
            }
        }
    }
}
