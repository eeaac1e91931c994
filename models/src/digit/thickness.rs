//! Measures how thick strokes are, and makes them thicker or thinner.

use super::plane::Plane;

/// Mean thickness of a shape's strokes in pixels: twice its area divided by its circumference.
///
/// The area is the sum of the coverage; the circumference is its total variation.
pub(super) fn measure(coverage: &Plane) -> f32 {
    let Plane { width, height, ref values } = *coverage;
    let area: f32 = values.iter().sum();
    let value = |x: usize, y: usize| if x < width && y < height { values[y * width + x] } else { 0.0 };
    let mut circumference = 0.0;
    for y in 0..=height {
        for x in 0..=width {
            let here = value(x.wrapping_sub(1), y.wrapping_sub(1));
            let (right, below) = (value(x, y.wrapping_sub(1)), value(x.wrapping_sub(1), y));
            circumference += ((right - here).powi(2) + (below - here).powi(2)).sqrt();
        }
    }
    2.0 * area / circumference.max(1e-6)
}

/// Moves the outline outwards by `by` pixels, or inwards if negative. The new edges are one pixel soft.
pub(super) fn moved(coverage: &Plane, by: f32) -> Plane {
    let distance = signed_distance(coverage);
    distance.map(|distance| (by - distance + 0.5).clamp(0.0, 1.0))
}

/// Distance of each pixel to the outline, where the coverage is 0.5; negative inside.
///
/// Two sweeps propagate the nearest pixel on the other side (Danielsson, "Euclidean distance mapping", 1980). The
/// coverage of that pixel then gives the outline's position within it.
pub(super) fn signed_distance(coverage: &Plane) -> Plane {
    let inside: Vec<bool> = coverage.values.iter().map(|&value| value >= 0.5).collect();
    let outwards = distance_to(coverage, &inside, true);
    let inwards = distance_to(coverage, &inside, false);
    outwards.zip(&inwards, |out, within| if out > 0.0 { out } else { -within })
}

/// Distance to the outline of each pixel that is not on `side`; 0 for the others.
fn distance_to(coverage: &Plane, inside: &[bool], side: bool) -> Plane {
    const FAR: i32 = 1 << 14;
    let Plane { width, height, .. } = *coverage;
    let mut nearest: Vec<(i32, i32)> =
        inside.iter().map(|&inside| if inside == side { (0, 0) } else { (FAR, FAR) }).collect();
    let length = |(x, y): (i32, i32)| x * x + y * y;
    let mut relax = |x: usize, y: usize, dx: i32, dy: i32| {
        let (from_x, from_y) = (x as i32 + dx, y as i32 + dy);
        if from_x < 0 || from_y < 0 || from_x >= width as i32 || from_y >= height as i32 {
            return;
        }
        let (a, b) = nearest[from_y as usize * width + from_x as usize];
        let offered = (a + dx, b + dy);
        if a < FAR && length(offered) < length(nearest[y * width + x]) {
            nearest[y * width + x] = offered;
        }
    };
    for y in 0..height {
        for x in 0..width {
            for (dx, dy) in [(-1, 0), (0, -1), (-1, -1), (1, -1)] {
                relax(x, y, dx, dy);
            }
        }
        for x in (0..width).rev() {
            relax(x, y, 1, 0);
        }
    }
    for y in (0..height).rev() {
        for x in (0..width).rev() {
            for (dx, dy) in [(1, 0), (0, 1), (1, 1), (-1, 1)] {
                relax(x, y, dx, dy);
            }
        }
        for x in 0..width {
            relax(x, y, -1, 0);
        }
    }
    Plane::from_fn(width, height, |x, y| {
        let (dx, dy) = nearest[y * width + x];
        if (dx, dy) == (0, 0) {
            return 0.0;
        }
        if dx >= FAR {
            return FAR as f32;
        }
        let at = (y as i32 + dy) as usize * width + (x as i32 + dx) as usize;
        // The nearest pixel's coverage differs from 0.5, so the outline is that much nearer.
        let beyond = (coverage.values[at] - 0.5).abs();
        (((dx * dx + dy * dy) as f32).sqrt() - beyond).max(0.01)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(thickness: usize) -> Plane {
        Plane::from_fn(60, 120, |x, y| f32::from(u8::from((20..20 + thickness).contains(&x) && (10..110).contains(&y))))
    }

    #[test]
    fn the_thickness_of_a_bar_is_its_width() {
        for thickness in [2, 5, 12] {
            let found = measure(&bar(thickness));
            // The bar's ends count as circumference too.
            let expected = thickness as f32 * 100.0 / (100.0 + thickness as f32);
            assert!((found - expected).abs() < 0.05 * expected, "{thickness}: {found}");
        }
    }

    #[test]
    fn the_outline_moves_by_what_is_asked() {
        for by in [-3.0, -1.0, 2.0, 4.5] {
            let moved = moved(&bar(10), by);
            let row: f32 = moved.values[60 * 60..61 * 60].iter().sum();
            assert!((row - 10.0 - 2.0 * by).abs() < 0.6, "{by}: {row}");
        }
    }

    #[test]
    fn nothing_has_an_outline_nowhere() {
        let empty = Plane::zeros(5, 4);
        assert!(moved(&empty, 3.0).values.iter().all(|&value| value == 0.0));
        assert!(moved(&empty.map(|_| 1.0), -3.0).values.iter().all(|&value| value == 1.0));
        assert_eq!(measure(&empty), 0.0);
    }
}
