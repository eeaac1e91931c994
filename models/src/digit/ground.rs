//! The background that the ink is on: the image as it would look without strokes of dark ink.
//!
//! This is the closing of mathematical morphology (Serra, 1982): the maximum within a window, then the minimum of these
//! maxima. It removes dark features narrower than the window and keeps shadows and gradients, which are wider.

use super::plane::Plane;

/// The plane without dark features narrower than `2 × radius + 1` pixels.
pub(super) fn without_dark_strokes(plane: &Plane, radius: usize) -> Plane {
    // Rows and columns can be processed in either order, so two transpositions are enough.
    let brightest_down = along_columns(plane, radius, larger).transposed();
    let across = along_columns(&along_columns(&brightest_down, radius, larger), radius, smaller);
    along_columns(&across.transposed(), radius, smaller)
}

/// Maximum within `radius` pixels along rows and columns.
pub(super) fn brightest(plane: &Plane, radius: usize) -> Plane {
    let down = along_columns(plane, radius, larger);
    along_columns(&down.transposed(), radius, larger).transposed()
}

/// Maximum or minimum (`choose`) over a window of `2 × radius + 1` rows around each value, cut off at the plane's
/// edges. Needs two passes for any radius (van Herk, 1992): running extremes from both ends of blocks as long as the
/// window.
fn along_columns(plane: &Plane, radius: usize, choose: impl Fn(f32, f32) -> f32 + Copy) -> Plane {
    let Plane { width, height, .. } = *plane;
    // A larger radius would not change the result.
    let radius = radius.min(height);
    if radius == 0 || plane.values.is_empty() {
        return plane.clone();
    }
    let (window, rows) = (2 * radius + 1, height + 2 * radius);
    // Columns are extended with their end values. Every window there already contains that value, so no result changes.
    let source = |row: usize| &plane.values[row.saturating_sub(radius).min(height - 1) * width..][..width];
    let extend = |slots: &mut [f32], so_far: &[f32]| {
        for (slot, &so_far) in slots.iter_mut().zip(so_far) {
            *slot = choose(so_far, *slot);
        }
    };
    let (mut forward, mut backward) = (vec![0.0; rows * width], vec![0.0; rows * width]);
    for row in 0..rows {
        let (before, slots) = forward.split_at_mut(row * width);
        slots[..width].copy_from_slice(source(row));
        if row % window != 0 {
            extend(&mut slots[..width], &before[(row - 1) * width..]);
        }
    }
    for row in (0..rows).rev() {
        let (slots, after) = backward[row * width..].split_at_mut(width);
        slots.copy_from_slice(source(row));
        if (row + 1) % window != 0 {
            extend(slots, after);
        }
    }
    backward.truncate(height * width);
    extend(&mut backward, &forward[2 * radius * width..]);
    Plane { width, height, values: backward }
}

/// `f32::max` without its handling of NaN, which does not occur here. This version vectorises.
fn larger(one: f32, two: f32) -> f32 {
    if one > two { one } else { two }
}

fn smaller(one: f32, two: f32) -> f32 {
    if one < two { one } else { two }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extreme_is_that_of_every_pixel_in_the_window() {
        for (height, radius) in [(1, 0), (1, 4), (7, 1), (10, 2), (23, 3), (9, 20), (12, 1)] {
            let plane = Plane::from_fn(3, height, |x, y| ((3 * y + x) * 37 % 11) as f32);
            let near = |y: usize| y.saturating_sub(radius)..=(y + radius).min(height - 1);
            let expected =
                Plane::from_fn(3, height, |x, y| near(y).map(|y| plane.values[3 * y + x]).fold(f32::MIN, f32::max));
            assert_eq!(along_columns(&plane, radius, f32::max), expected, "{height} px, radius {radius}");
        }
    }

    #[test]
    fn strokes_go_and_shadows_stay() {
        let paper = |x: usize, y: usize| if x < 30 { 0.4 } else { 0.9 } + 0.001 * y as f32;
        let stroke = |x: usize, y: usize| (x.abs_diff(15) < 3 || x.abs_diff(45) < 3) && y > 10 && y < 40;
        let image = Plane::from_fn(60, 50, |x, y| paper(x, y) - if stroke(x, y) { 0.3 } else { 0.0 });
        let ground = without_dark_strokes(&image, 5);
        for (found, expected) in ground.values.iter().zip(&Plane::from_fn(60, 50, paper).values) {
            assert!((found - expected).abs() < 0.02, "{found} {expected}");
        }
    }
}
