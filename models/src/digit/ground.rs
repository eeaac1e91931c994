//! The ground that ink lies on: what would be seen without strokes of dark ink.
//!
//! A closing in the sense of mathematical morphology (Serra, 1982): the brightest value within a window, and of these
//! the darkest. Dark features narrower than the window are gone; shadows and gradients, which are wider, stay.

use super::plane::Plane;

/// The plane without dark features narrower than `2 × radius + 1` pixels.
pub(super) fn without_dark_strokes(plane: &Plane, radius: usize) -> Plane {
    extreme(&brightest(plane, radius), radius, smaller)
}

/// The largest value within `radius` pixels along rows and columns.
pub(super) fn brightest(plane: &Plane, radius: usize) -> Plane {
    extreme(plane, radius, larger)
}

/// The extreme over a square window, which ends where the plane does: along rows, then along columns.
fn extreme(plane: &Plane, radius: usize, choose: impl Fn(f32, f32) -> f32 + Copy) -> Plane {
    // A window that reaches over all of a plane is no larger for reaching further.
    let radius = radius.min(plane.width.max(plane.height));
    let across = along_rows(plane, radius, choose);
    along_rows(&across.transposed(), radius, choose).transposed()
}

/// Two passes whatever the radius (van Herk, 1992): extremes from either end of blocks as long as the window.
fn along_rows(plane: &Plane, radius: usize, choose: impl Fn(f32, f32) -> f32 + Copy) -> Plane {
    let (width, window) = (plane.width, 2 * radius + 1);
    if radius == 0 || plane.values.is_empty() {
        return plane.clone();
    }
    // Beyond its ends a row goes on with its last value, which any window there has in it already.
    let mut forward = vec![0.0; width + 2 * radius];
    let mut backward = forward.clone();
    let mut result = plane.clone();
    for row in result.values.chunks_exact_mut(width) {
        forward[..radius].fill(row[0]);
        forward[radius..radius + width].copy_from_slice(row);
        forward[radius + width..].fill(row[width - 1]);
        backward.copy_from_slice(&forward);
        for block in forward.chunks_mut(window) {
            let mut so_far = block[0];
            for value in block {
                so_far = choose(so_far, *value);
                *value = so_far;
            }
        }
        for block in backward.chunks_mut(window) {
            let mut so_far = block[block.len() - 1];
            for value in block.iter_mut().rev() {
                so_far = choose(so_far, *value);
                *value = so_far;
            }
        }
        for ((slot, &from), &to) in row.iter_mut().zip(&backward).zip(&forward[2 * radius..]) {
            *slot = choose(from, to);
        }
    }
    result
}

/// `f32::max` without its care for NaN, of which there is none: eight at a time instead of one.
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
        for (width, radius) in [(1, 0), (1, 4), (7, 1), (10, 2), (23, 3), (9, 20), (12, 1)] {
            let plane = Plane::from_fn(width, 1, |x, _| (x * 37 % 11) as f32);
            let expected: Vec<f32> = (0..width)
                .map(|x| (x.saturating_sub(radius)..=(x + radius).min(width - 1)).map(|at| plane.values[at]))
                .map(|window| window.fold(f32::MIN, f32::max))
                .collect();
            assert_eq!(along_rows(&plane, radius, f32::max).values, expected, "{width} px, radius {radius}");
        }
    }

    #[test]
    fn strokes_go_and_shadows_stay() {
        let paper = |x: usize, y: usize| if x < 30 { 0.4 } else { 0.9 } + 0.001 * y as f32;
        let stroke = |x: usize, y: usize| (x.abs_diff(15) < 3 || x.abs_diff(45) < 3) && y > 10 && y < 40;
        let picture = Plane::from_fn(60, 50, |x, y| paper(x, y) - if stroke(x, y) { 0.3 } else { 0.0 });
        let ground = without_dark_strokes(&picture, 5);
        for (found, expected) in ground.values.iter().zip(&Plane::from_fn(60, 50, paper).values) {
            assert!((found - expected).abs() < 0.02, "{found} {expected}");
        }
    }
}
