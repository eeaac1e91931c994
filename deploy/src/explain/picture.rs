//! Draws a class activation map over its image.

use ndarray::{Array3, ArrayView2, ArrayView3};

/// Shortest side of a picture in pixels, so that small inputs can be seen.
const SHORTEST: usize = 224;

/// Share of the heat's colour where the map is largest.
const OPACITY: f32 = 0.65;

/// The image `[C, H, W]` with a map `[rows, columns]` of any size over it, as RGB `[3, height, width]`: a whole multiple
/// of the image's size, at least 224 px on the shorter side.
///
/// Yellow is where the map is largest, and dark red where it is half as large. What does not speak for the class, zero or
/// less, keeps its grey.
#[must_use]
pub fn overlay(image: ArrayView3<u8>, map: ArrayView2<f32>) -> Array3<u8> {
    let (channels, height, width) = image.dim();
    let times = SHORTEST.div_ceil(height.min(width).max(1)).max(1);
    let largest = map.iter().copied().fold(0.0, f32::max);
    let (rows, columns) = (height * times, width * times);
    let mut picture = Array3::zeros((3, rows, columns));
    for y in 0..rows {
        for x in 0..columns {
            let pixel = |channel: usize| f32::from(image[[channel.min(channels - 1), y / times, x / times]]);
            let grey = (0..3).map(pixel).sum::<f32>() / 3.0;
            let at = [(y as f32 + 0.5) / rows as f32, (x as f32 + 0.5) / columns as f32];
            let heat = if largest > 0.0 { (interpolated(map, at) / largest).clamp(0.0, 1.0) } else { 0.0 };
            let opacity = OPACITY * heat;
            for (channel, colour) in colour(heat).into_iter().enumerate() {
                picture[[channel, y, x]] = (grey * (1.0 - opacity) + colour * opacity).round() as u8;
            }
        }
    }
    picture
}

/// The map at a place, each coordinate from 0 to 1, bilinear between the centres of its cells.
fn interpolated(map: ArrayView2<f32>, at: [f32; 2]) -> f32 {
    let (rows, columns) = map.dim();
    let between = |place: f32, extent: usize| {
        let position = (place * extent as f32 - 0.5).clamp(0.0, extent as f32 - 1.0);
        let below = position as usize;
        (below, (below + 1).min(extent - 1), position - below as f32)
    };
    let (above, below, down) = between(at[0], rows);
    let (left, right, across) = between(at[1], columns);
    let row = |y: usize| map[[y, left]] * (1.0 - across) + map[[y, right]] * across;
    row(above) * (1.0 - down) + row(below) * down
}

/// From dark red over orange to yellow.
fn colour(heat: f32) -> [f32; 3] {
    [255.0 * (0.5 + 0.5 * heat), 255.0 * (2.0 * heat - 1.0).clamp(0.0, 1.0), 0.0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, array};

    #[test]
    fn heat_lies_where_the_map_is_large() {
        let image = Array3::from_elem((1, 28, 28), 100);
        let picture = overlay(image.view(), array![[-1.0, 0.0], [0.0, 4.0]].view());
        assert_eq!(picture.dim(), (3, 224, 224));
        let at = |y: usize, x: usize| [picture[[0, y, x]], picture[[1, y, x]], picture[[2, y, x]]];
        assert_eq!(at(10, 10), [100, 100, 100]);
        let [red, green, blue] = at(215, 215);
        assert!(red > 190 && green > 190 && blue < 40, "{red} {green} {blue}");
        // Nothing speaks for the class.
        let picture = overlay(image.view(), array![[-1.0, -2.0]].view());
        assert!(picture.iter().all(|&value| value == 100));
    }

    /// `torch.nn.functional.interpolate(map, size=4, mode="bilinear")`, PyTorch 2.13.
    #[test]
    fn maps_are_enlarged_as_pytorch_does() {
        let map = array![[0.0, 1.0], [2.0, 5.0]];
        let expected =
            [[0.0, 0.25, 0.75, 1.0], [0.5, 0.875, 1.625, 2.0], [1.5, 2.125, 3.375, 4.0], [2.0, 2.75, 4.25, 5.0]];
        for (y, row) in expected.iter().enumerate() {
            for (x, expected) in row.iter().enumerate() {
                let found = interpolated(map.view(), [(y as f32 + 0.5) / 4.0, (x as f32 + 0.5) / 4.0]);
                assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
            }
        }
    }
}
