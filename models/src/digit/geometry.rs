//! How plausible it is that a hypothesis is the digit, judged by its place and form alone.
//!
//! The judgement is a conditional logit model (`McFadden`, 1973): each hypothesis about an image is the digit with a
//! probability proportional to the exponential of a weighted sum, and "no digit" has the sum 0. The weights, and those
//! of the network's answer in `choice`, were fitted together: to images made from digits of MNIST's test set, and to
//! photographs, icons, symbols, letters, stains and textures. `tests/tests/awkward.rs` uses other digits and other
//! sources.

use super::hypotheses::Mask;
use super::plane::Plane;

/// What is measured on the mask of a hypothesis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Sharpness of the outline, summed over it.
    pub edges: f32,
    /// Pixel sides on the outline, without those on the image's border.
    pub outline: usize,
    /// Pixel sides on the image's border.
    pub border: usize,
    /// Number of pixels.
    pub pixels: usize,
    /// Number of connected pieces.
    pub pieces: usize,
    /// Bounding box: left, top, width and height.
    pub bounds: (usize, usize, usize, usize),
    /// How well its levels differ from those around it, 0 to 1; see [`separation`].
    pub separation: f32,
    /// The largest distance of its pixels from its outline; see [`thickest`].
    pub thickest: usize,
}

/// Number of features.
const FEATURES: usize = 10;

/// Weights of the [`features`].
const WEIGHTS: [f32; FEATURES] = [3.35, -5.91, -19.11, 4.65, -0.59, 12.2, -2.49, -17.25, 2.77, -3.41];
/// Added to the weighted sum of the features.
const BIAS: f32 = 4.85;

/// Margin around a hypothesis in which its levels are compared with those around it, as a share of its extent.
const MARGIN: f32 = 0.15;

/// The weighted sum: the log-odds that this is the digit, if the network is as sure as for a typical digit. `clearest`
/// is the largest [`Shape::edges`] among the hypotheses without long lines, or among all if each has some, and `size` is
/// the image's width and height.
pub(super) fn plausibility(shape: &Shape, clearest: f32, size: (usize, usize)) -> f32 {
    features(shape, clearest, size).iter().zip(WEIGHTS).map(|(feature, weight)| feature * weight).sum::<f32>() + BIAS
}

/// All features are free of the image's scale.
fn features(shape: &Shape, clearest: f32, (width, height): (usize, usize)) -> [f32; FEATURES] {
    let (left, top, across, down) = shape.bounds;
    let (width, height) = (width as f32, height as f32);
    let (longer, shorter) = (across.max(down) as f32, across.min(down) as f32);
    let centre = |start: usize, extent: usize, limit: f32| (start as f32 + extent as f32 / 2.0) / limit - 0.5;
    let sides = (shape.outline + shape.border).max(1) as f32;
    let width_of_strokes = 2.0 * shape.pixels as f32 / sides;
    [
        // The share of the image's edges that it explains.
        (shape.edges / clearest.max(f32::MIN_POSITIVE)).min(1.0),
        // Its distance from the image's centre.
        centre(left, across, width).hypot(centre(top, down, height)),
        // How bold it is.
        shape.pixels as f32 / longer.powi(2),
        // How far from slender.
        shorter / longer,
        (shape.pieces as f32).ln(),
        shape.separation,
        // How sharp its outline is.
        shape.edges / shape.outline.max(1) as f32,
        // How much of it the image's border cuts off, unless it is as long as the image.
        shape.border as f32 / sides * (1.0 - longer / width.max(height)),
        // How thick it is at its thickest place, compared with its extent and with its usual width.
        (shape.thickest as f32 / longer).max(f32::MIN_POSITIVE).ln(),
        (shape.thickest as f32 / width_of_strokes.max(0.1)).min(4.0),
    ]
}

/// How well the levels of a mask differ from those around it: the variance between the two as a share of the variance
/// of all (the measure that Otsu's threshold maximizes), 0 to 1.
pub(super) fn separation(plane: &Plane, mask: &Mask, (left, top, across, down): (usize, usize, usize, usize)) -> f32 {
    let margin = (across.max(down) as f32 * MARGIN).ceil() as usize;
    // Number, sum and sum of squares of the levels outside and inside.
    let mut sums = [[0.0_f64; 3]; 2];
    for y in top.saturating_sub(margin)..(top + down + margin).min(plane.height) {
        for x in left.saturating_sub(margin)..(left + across + margin).min(plane.width) {
            let pixel = y * plane.width + x;
            let level = f64::from(plane.values[pixel]);
            let [count, sum, squares] = &mut sums[usize::from(mask.contains(pixel))];
            *count += 1.0;
            *sum += level;
            *squares += level * level;
        }
    }
    let deviation = |[count, sum, squares]: [f64; 3]| (squares - sum * sum / count.max(1.0)).max(0.0);
    let [outside, inside] = sums;
    let all = deviation(std::array::from_fn(|index| outside[index] + inside[index]));
    (1.0 - (deviation(outside) + deviation(inside)) / all.max(1e-9)) as f32
}

/// The largest distance of a pixel of the mask from the pixels outside it, in steps along rows and columns; at least 1
/// unless the mask is empty. What lies beyond the image does not count as outside.
pub(super) fn thickest(
    mask: &Mask,
    size: (usize, usize),
    (left, top, across, down): (usize, usize, usize, usize),
) -> usize {
    // A frame of one pixel, which is outside the mask or outside the image, simplifies the two passes.
    let (width, beyond) = (across + 2, across + down);
    let mut steps = vec![0; width * (down + 2)];
    for y in 0..down + 2 {
        for x in 0..width {
            // Coordinates in the image, plus one.
            let (column, row) = (left + x, top + y);
            let in_image = (1..=size.0).contains(&column) && (1..=size.1).contains(&row);
            if !in_image || mask.contains((row - 1) * size.0 + column - 1) {
                steps[y * width + x] = beyond;
            }
        }
    }
    for y in 1..=down {
        for at in y * width + 1..=y * width + across {
            steps[at] = steps[at].min(steps[at - 1].min(steps[at - width]) + 1);
        }
    }
    let mut most = 0;
    for y in (1..=down).rev() {
        for at in (y * width + 1..=y * width + across).rev() {
            steps[at] = steps[at].min(steps[at + 1].min(steps[at + width]) + 1);
            most = most.max(steps[at]);
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (usize, usize) = (12, 9);

    fn mask(is: impl Fn(usize, usize) -> bool) -> Mask {
        let pixels: Vec<usize> = (0..SIZE.0 * SIZE.1).filter(|at| is(at % SIZE.0, at / SIZE.0)).collect();
        Mask::new(pixels.iter(), SIZE.0 * SIZE.1)
    }

    #[test]
    fn the_thickest_place_is_measured_from_the_outline_and_not_from_the_border() {
        let bar = mask(|x, y| (2..9).contains(&x) && (3..6).contains(&y));
        assert_eq!(thickest(&bar, SIZE, (2, 3, 7, 3)), 2);
        let at_border = mask(|x, y| x < 7 && y < 3);
        assert_eq!(thickest(&at_border, SIZE, (0, 0, 7, 3)), 3);
        let dot = mask(|x, y| x == 4 && y == 4);
        assert_eq!(thickest(&dot, SIZE, (4, 4, 1, 1)), 1);
    }

    #[test]
    fn separation_is_1_for_two_levels_and_0_if_levels_do_not_depend_on_the_mask() {
        let bar = mask(|x, y| (4..7).contains(&x) && (3..6).contains(&y));
        let bounds = (4, 3, 3, 3);
        let two = Plane::from_fn(SIZE.0, SIZE.1, |x, y| if bar.contains(y * SIZE.0 + x) { 3.0 } else { 7.0 });
        assert!((separation(&two, &bar, bounds) - 1.0).abs() < 1e-6);
        let even = Plane::from_fn(SIZE.0, SIZE.1, |x, y| if (x + y) % 2 == 0 { 3.0 } else { 7.0 });
        assert!(separation(&even, &bar, bounds) < 0.05);
        // By hand: 9 pixels at 1 and 16 around them, of which half are at 0 and half at 0.5.
        let halves = Plane::from_fn(SIZE.0, SIZE.1, |x, y| match (bar.contains(y * SIZE.0 + x), (x + y) % 2) {
            (true, _) => 1.0,
            (false, 0) => 0.0,
            (false, _) => 0.5,
        });
        let within = 16.0 * 0.25 * 0.25;
        let mean = (9.0 + 8.0 * 0.5) / 25.0;
        let all = 9.0 + 8.0 * 0.25 - 25.0 * mean * mean;
        assert!((separation(&halves, &bar, bounds) - (1.0 - within / all)).abs() < 1e-5);
    }
}
