//! What the first nodes of a graph do, for graphs that were exported without them ([`Takes::Normalised`]).
//!
//! [`Takes::Normalised`]: crate::card::Takes::Normalised

use crate::card::Preprocessing;
use ndarray::{Array4, ArrayView4, Axis, Zip};

/// Pictures uint8 `[N, C, H, W]` to the network's input, float `[N, C, resolution, resolution]`: scaled and normalised
/// per channel, then resized with the ONNX operator `Resize` in mode `linear`, `half_pixel` (PyTorch's `interpolate`,
/// bilinear, `align_corners=False`, no anti-aliasing).
///
/// The preprocessing must be for as many channels as the pictures have, and the pictures must not be empty.
#[must_use]
pub fn normalised(pictures: ArrayView4<u8>, preprocessing: &Preprocessing, resolution: usize) -> Array4<f32> {
    let (scale, shift) = preprocessing.scale_and_shift();
    let mut values = pictures.mapv(f32::from);
    for ((mut channel, scale), shift) in values.axis_iter_mut(Axis(1)).zip(scale).zip(shift) {
        channel.mapv_inplace(|value| value * scale + shift);
    }
    for axis in [Axis(2), Axis(3)] {
        if values.len_of(axis) != resolution {
            values = resized(&values, axis, resolution);
        }
    }
    values
}

/// Bilinear interpolation is linear interpolation along one axis after the other.
fn resized(values: &Array4<f32>, axis: Axis, extent: usize) -> Array4<f32> {
    let mut shape = values.raw_dim();
    shape[axis.index()] = extent;
    let mut resized = Array4::zeros(shape);
    let last = values.len_of(axis) - 1;
    let step = values.len_of(axis) as f32 / extent as f32;
    for (index, mut slot) in resized.axis_iter_mut(axis).enumerate() {
        let position = ((index as f32 + 0.5) * step - 0.5).max(0.0);
        let low = (position as usize).min(last);
        let share = position - low as f32;
        let (below, above) = (values.index_axis(axis, low), values.index_axis(axis, (low + 1).min(last)));
        Zip::from(&mut slot).and(&below).and(&above).for_each(|slot, below, above| {
            *slot = below * (1.0 - share) + above * share;
        });
    }
    resized
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// The numbers of `torch.nn.functional.interpolate(x, size=…, mode="bilinear")`, PyTorch 2.13.
    #[test]
    fn pictures_are_resized_as_pytorch_does() {
        let bytes = Preprocessing { mean: vec![0.0], std: vec![1.0 / 255.0] };
        let close = |found: Array4<f32>, expected: &[f32]| {
            assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-4), "{found}");
            assert_eq!(found.len(), expected.len());
        };
        let larger = normalised(array![[[[0, 100], [200, 50]]]].view(), &bytes, 4);
        let rows = [[0.0, 25.0, 75.0, 100.0], [50.0, 59.375, 78.125, 87.5], [150.0, 128.125, 84.375, 62.5]];
        close(larger, &[rows.as_flattened(), &[200.0, 162.5, 87.5, 50.0]].concat());
        let ramp = Array4::from_shape_fn((1, 1, 5, 5), |(_, _, y, x)| (y * y * 10 + x) as u8);
        close(
            normalised(ramp.view(), &bytes, 3),
            &[3.6667, 5.3333, 7.0000, 40.3333, 42.0000, 43.6667, 137.0000, 138.6667, 140.3333],
        );
    }

    #[test]
    fn each_channel_is_normalised_with_its_own_mean_and_deviation() {
        let preprocessing = Preprocessing { mean: vec![0.5, 0.1, 0.0], std: vec![0.25, 0.5, 1.0] };
        let pictures = Array4::from_shape_fn((2, 3, 8, 8), |(n, c, y, x)| (n * 100 + c * 50 + y * 8 + x) as u8);
        let values = normalised(pictures.view(), &preprocessing, 8);
        for ((n, c, y, x), &value) in values.indexed_iter() {
            let pixel = f32::from(pictures[[n, c, y, x]]) / 255.0;
            assert!((value - (pixel - preprocessing.mean[c]) / preprocessing.std[c]).abs() < 1e-5);
        }
    }
}
