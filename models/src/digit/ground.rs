//! The ground that ink lies on: what would be seen without strokes of dark ink.
//!
//! A closing in the sense of mathematical morphology (Serra, 1982): the brightest value within a window, and of these
//! the darkest. Dark features narrower than the window are gone; shadows and gradients, which are wider, stay.

use super::plane::Plane;

/// The plane without dark features narrower than `2 × radius + 1` pixels.
pub(super) fn without_dark_strokes(plane: &Plane, radius: usize) -> Plane {
    let brightest = extreme(plane, radius, f32::max);
    extreme(&brightest, radius, f32::min)
}

/// The extreme over a square window, which ends where the plane does: along rows, then along columns.
fn extreme(plane: &Plane, radius: usize, choose: fn(f32, f32) -> f32) -> Plane {
    let across = along_rows(plane, radius, choose);
    transposed(&along_rows(&transposed(&across), radius, choose))
}

fn transposed(plane: &Plane) -> Plane {
    let Plane { width, height, ref values } = *plane;
    let mut turned = Plane::zeros(height, width);
    for (x, column) in turned.values.chunks_exact_mut(height.max(1)).enumerate() {
        for (slot, &value) in column.iter_mut().zip(values.iter().skip(x).step_by(width)) {
            *slot = value;
        }
    }
    turned
}

/// Two passes whatever the radius (van Herk, 1992): extremes from either end of blocks as long as the window.
fn along_rows(plane: &Plane, radius: usize, choose: fn(f32, f32) -> f32) -> Plane {
    let window = 2 * radius + 1;
    let mut result = plane.clone();
    let (mut forward, mut backward) = (vec![0.0; plane.width], vec![0.0; plane.width]);
    let rows = plane.values.chunks_exact(plane.width.max(1));
    for (row, slots) in rows.zip(result.values.chunks_exact_mut(plane.width.max(1))) {
        for (x, &value) in row.iter().enumerate() {
            forward[x] = if x % window == 0 { value } else { choose(forward[x - 1], value) };
        }
        for (x, &value) in row.iter().enumerate().rev() {
            let ends_block = (x + 1) % window == 0 || x + 1 == row.len();
            backward[x] = if ends_block { value } else { choose(backward[x + 1], value) };
        }
        let last = row.len() - 1;
        for (x, slot) in slots.iter_mut().enumerate() {
            let (first, end) = (x.saturating_sub(radius), (x + radius).min(last));
            // A window inside one block is one that a border cuts off, or the block itself.
            *slot = match (first / window == end / window, first % window) {
                (true, 0) => forward[end],
                (true, _) => backward[first],
                (false, _) => choose(backward[first], forward[end]),
            };
        }
    }
    result
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
        let picture =
            Plane::from_fn(60, 50, |x, y| paper(x, y) - if x.abs_diff(28) < 3 && y > 10 && y < 40 { 0.3 } else { 0.0 });
        let ground = without_dark_strokes(&picture, 5);
        for (found, expected) in ground.values.iter().zip(&Plane::from_fn(60, 50, paper).values) {
            assert!((found - expected).abs() < 0.02, "{found} {expected}");
        }
    }
}
