//! Tells colour photographs from images of digits on paper.

use super::{Reader, form};
use crate::card::{Content, Input};
use anyhow::Result;
use ndarray::{ArrayView3, Axis};
use std::path::Path;

/// Side of the downscaled image that is analysed, in pixels.
const SIDE: usize = 64;

/// Whether an image file has as many colours as a typical photograph. Digits have fewer, in any light: at most 16 in
/// 1,300 images of digits on coloured paper, boards and tables. Photographs had 18 to 38.
pub fn has_many_colours(path: &Path) -> Result<bool> {
    if !form(path)?.in_colour {
        return Ok(false);
    }
    let image = Reader::default().read(path, &Input::new(3, SIDE, SIDE, Content::Image))?;
    Ok(many_colours(image.view()))
}

/// Like [`has_many_colours`], for an image `[3, H, W]`.
fn many_colours(image: ArrayView3<u8>) -> bool {
    const MANY: usize = 18;
    // Each channel is quantized to eight levels. A colour counts if at least 0.5 % of the pixels have it.
    let mut pixels = [0_usize; 8 * 8 * 8];
    let mut vivid = 0;
    for pixel in image.lanes(Axis(0)) {
        let (red, green, blue) = (pixel[0], pixel[1], pixel[2]);
        pixels[usize::from(red >> 5) << 6 | usize::from(green >> 5) << 3 | usize::from(blue >> 5)] += 1;
        vivid += usize::from(red.max(green).max(blue) - red.min(green).min(blue) >= 24);
    }
    let all = image.len() / 3;
    let colours = pixels.iter().filter(|&&count| count > 0 && 200 * count >= all).count();
    // A dark photograph can have as many colours in greys alone, which say nothing about its subject. So a tenth of the
    // pixels must be vivid.
    colours >= MANY && 10 * vivid >= all
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn a_photograph_has_many_colours_and_a_drawing_few() {
        let side = SIDE as f32;
        // Three hues, each from dark to light, like objects in light and shade.
        let scene = |channel: usize, y: usize, x: usize| {
            let light = 0.2 + 0.8 * y as f32 / side;
            let hue = [[0.9, 0.6, 0.3], [0.3, 0.8, 0.4], [0.4, 0.6, 1.0]][3 * x / SIDE];
            (255.0 * light * hue[channel]) as u8
        };
        assert!(many_colours(Array3::from_shape_fn((3, SIDE, SIDE), |(c, y, x)| scene(c, y, x)).view()));
        // One hue on top of another, in the same light.
        let drawing = |channel: usize, y: usize, x: usize| {
            let light = 0.6 + 0.4 * y as f32 / side;
            let hue = if (28..34).contains(&x) { [0.2, 0.2, 0.6] } else { [1.0, 0.9, 0.5] };
            (255.0 * light * hue[channel]) as u8
        };
        assert!(!many_colours(Array3::from_shape_fn((3, SIDE, SIDE), |(c, y, x)| drawing(c, y, x)).view()));
        let greys = Array3::from_shape_fn((3, SIDE, SIDE), |(_, y, x)| (2 * y + 2 * x) as u8);
        assert!(!many_colours(greys.view()));
    }
}
