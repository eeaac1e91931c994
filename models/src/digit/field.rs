//! Scales and centres the digit as the MNIST authors describe it.
//!
//! "The original black and white images from NIST were size normalized to fit in a 20x20 pixel box while preserving
//! their aspect ratio. The resulting images contain grey levels as a result of the anti-aliasing technique used by the
//! normalization algorithm. The images were centered in a 28x28 image by computing the center of mass of the pixels,
//! and translating the image so as to position this point at the center of the 28x28 field."

use super::plane::{Area, Plane};

/// Side of the box that the ink is fitted into, as a share of the field: 20 of 28 pixels.
pub(super) const BOX: f64 = 20.0 / 28.0;

/// Scales the ink of a plane, where 1 is full ink, to the box of a field of `(width, height)` pixels. Moves its centre
/// of mass to the field's centre by whole pixels, but never beyond the field's edges.
pub(super) fn centred(ink: &Plane, (width, height): (usize, usize)) -> Plane {
    let area = bounds(ink);
    let scale = width.min(height) as f64 * BOX / area.width.max(area.height);
    let fitted = |extent: f64| ((extent * scale).round() as usize).max(1);
    let glyph = ink.part(area, (fitted(area.width), fitted(area.height)));

    let (mut mass, mut mass_x, mut mass_y) = (0.0_f64, 0.0, 0.0);
    for (index, &value) in glyph.values.iter().enumerate() {
        let weight = f64::from(value);
        mass += weight;
        mass_x += weight * ((index % glyph.width) as f64 + 0.5);
        mass_y += weight * ((index / glyph.width) as f64 + 0.5);
    }
    let place = |moment: f64, field: usize, extent: usize| {
        let offset = (field as f64 / 2.0 - moment / mass.max(1e-9)).round().max(0.0) as usize;
        offset.min(field.saturating_sub(extent))
    };
    let (left, top) = (place(mass_x, width, glyph.width), place(mass_y, height, glyph.height));
    let mut field = Plane::zeros(width, height);
    let rows = field.values.chunks_exact_mut(width).skip(top);
    for (row, source) in rows.zip(glyph.values.chunks_exact(glyph.width)) {
        for (slot, &value) in row.iter_mut().skip(left).zip(source) {
            *slot = value;
        }
    }
    field
}

/// The bounding box of all ink, that is, of values above 0.5. The whole plane if there is no ink.
fn bounds(ink: &Plane) -> Area {
    let (mut left, mut top, mut right, mut bottom) = (usize::MAX, usize::MAX, 0, 0);
    for (index, &value) in ink.values.iter().enumerate() {
        if value > 0.5 {
            let (x, y) = (index % ink.width, index / ink.width);
            (left, top, right, bottom) = (left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1));
        }
    }
    if left > right {
        return Area::whole(ink.width, ink.height);
    }
    Area { left: left as f64, top: top as f64, width: (right - left) as f64, height: (bottom - top) as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_the_box_and_is_centred() {
        let ink =
            Plane::from_fn(300, 300, |x, y| f32::from(u8::from((50..90).contains(&x) && (100..260).contains(&y))));
        let field = centred(&ink, (28, 28));
        for y in 0..28 {
            for x in 0..28 {
                let inside = (12..17).contains(&x) && (4..24).contains(&y);
                assert_eq!(field.values[y * 28 + x], f32::from(u8::from(inside)), "{x} {y}");
            }
        }
    }

    /// A heavy foot moves the digit up, because its centre of mass is centred, not its box.
    #[test]
    fn mass_is_centred_not_the_box() {
        let ink = Plane::from_fn(100, 100, |x, y| f32::from(u8::from(y >= 80 || x.abs_diff(50) < 5)));
        let field = centred(&ink, (28, 28));
        let top = field.values.chunks(28).position(|row| row.iter().any(|&value| value > 0.5));
        assert_eq!(top, Some(0));
    }
}
