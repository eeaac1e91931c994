//! The shape of a digit before it is painted: its coverage of each pixel, 0…1.

use super::random::Random;
use ab_glyph::{Font, FontRef, PxScale, point};
use anyhow::{Context, Result};
use ndarray::ArrayView2;

/// Coverage by ink.
pub struct Shape {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Coverage of each pixel, 0 (none) to 1, row by row.
    pub coverage: Vec<f32>,
}

impl Shape {
    /// A shape without ink.
    #[must_use]
    pub fn empty(width: usize, height: usize) -> Self {
        Self { width, height, coverage: vec![0.0; width * height] }
    }

    /// A character in a font, at a size at which capitals are about `height` pixels high.
    pub fn printed(font: &FontRef, character: char, height: f32) -> Result<Self> {
        let id = font.glyph_id(character);
        // A capital is about 0.7 em high in nearly all fonts, or 0.6 of a `PxScale`, which spans from ascender to
        // descender.
        let glyph = id.with_scale_and_position(PxScale::from(height / 0.6), point(0.0, 0.0));
        let outline = font.outline_glyph(glyph).context("the font has no such character")?;
        let bounds = outline.px_bounds();
        let mut shape = Self::empty(bounds.width().ceil() as usize + 1, bounds.height().ceil() as usize + 1);
        outline.draw(|x, y, coverage| {
            if let Some(slot) = shape.coverage.get_mut(y as usize * shape.width + x as usize) {
                *slot = coverage.min(1.0);
            }
        });
        Ok(shape.trimmed())
    }

    /// An MNIST digit, enlarged so that 20 of its pixels become `height` pixels, with edges as sharp as a pen's, and
    /// rotated by `degrees`.
    #[must_use]
    pub fn handwritten(digit: ArrayView2<u8>, height: f32, degrees: f32) -> Self {
        let zoom = height / 20.0;
        let side = (28.0 * zoom * 1.2).ceil() as usize;
        let mut shape = Self::empty(side, side);
        let (sin, cos) = degrees.to_radians().sin_cos();
        let digit = Digit::new(digit);
        for y in 0..side {
            for x in 0..side {
                let (right, down) =
                    ((x as f32 + 0.5 - side as f32 / 2.0) / zoom, (y as f32 + 0.5 - side as f32 / 2.0) / zoom);
                let value = digit.at(cos * right + sin * down + 13.5, cos * down - sin * right + 13.5);
                // The edge is where MNIST's grey is about half. The coverage rises from 0 to 1 over about one new
                // pixel.
                shape.coverage[y * side + x] = ((value - 0.45) * zoom.max(2.0) * 0.6 + 0.5).clamp(0.0, 1.0);
            }
        }
        shape.trimmed()
    }

    /// The same digit, drawn with a round pen `width` pixels wide along the centre lines of its strokes.
    #[must_use]
    pub fn drawn(digit: ArrayView2<u8>, height: f32, degrees: f32, width: f32) -> Self {
        const FINE: f32 = 100.0;
        let mut lines = Self::handwritten(digit, FINE, degrees).padded(2);
        lines.thin();
        let zoom = height / FINE;
        let radius = width / 2.0;
        let margin = radius + 2.0;
        let extent = |pixels: usize| (pixels as f32 * zoom + 2.0 * margin).ceil() as usize;
        let mut shape = Self::empty(extent(lines.width), extent(lines.height));
        let place = |(x, y): (f32, f32)| (x * zoom + margin, y * zoom + margin);
        for (from, to) in smoothed(&lines) {
            shape.stroke(place(from), place(to), radius);
        }
        shape.trimmed()
    }

    /// Draws a round dot with a soft edge of one pixel.
    pub fn dot(&mut self, x: f32, y: f32, radius: f32) {
        self.stroke((x, y), (x, y), radius);
    }

    /// Draws a straight stroke with round ends and a soft edge of one pixel.
    pub fn stroke(&mut self, from: (f32, f32), to: (f32, f32), radius: f32) {
        let range = |one: f32, two: f32, extent: usize| {
            ((one.min(two) - radius - 1.0).max(0.0) as usize)
                ..((one.max(two) + radius + 2.0).max(0.0) as usize).min(extent)
        };
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = (dx * dx + dy * dy).max(1e-6);
        for row in range(from.1, to.1, self.height) {
            for column in range(from.0, to.0, self.width) {
                let (x, y) = (column as f32 + 0.5 - from.0, row as f32 + 0.5 - from.1);
                let along = ((x * dx + y * dy) / length).clamp(0.0, 1.0);
                let distance = ((x - along * dx).powi(2) + (y - along * dy).powi(2)).sqrt();
                let slot = &mut self.coverage[row * self.width + column];
                // A pen thinner than a pixel covers only part of it.
                *slot = slot.max((radius + 0.5 - distance).clamp(0.0, (2.0 * radius).min(1.0)));
            }
        }
    }

    /// The shape with strokes wider by `pixels` on each side, with round ends.
    #[must_use]
    pub fn fattened(&self, pixels: f32) -> Self {
        let source = self.padded(pixels.ceil() as usize + 1);
        let mut shape = Self::empty(source.width, source.height);
        for y in 1..source.height - 1 {
            for x in 1..source.width - 1 {
                let at = y * source.width + x;
                let edge = [at - 1, at + 1, at - source.width, at + source.width];
                if source.coverage[at] > 0.5 && edge.iter().any(|&near| source.coverage[near] <= 0.5) {
                    shape.dot(x as f32 + 0.5, y as f32 + 0.5, pixels);
                }
            }
        }
        for (slot, &value) in shape.coverage.iter_mut().zip(&source.coverage) {
            *slot = slot.max(value);
        }
        shape.trimmed()
    }

    /// Makes the coverage uneven, like chalk or pencil: reduces it by noise with a grain of `grain` pixels.
    pub fn roughen(&mut self, random: &mut Random, grain: f32, strength: f32) {
        let noise = super::texture::Texture::new(random);
        for (index, value) in self.coverage.iter_mut().enumerate() {
            let (x, y) = ((index % self.width) as f32 / grain, (index / self.width) as f32 / grain);
            *value *= (1.0 - strength * (0.5 + 1.6 * noise.at(x, y))).clamp(0.0, 1.0);
        }
    }

    fn padded(&self, by: usize) -> Self {
        let mut shape = Self::empty(self.width + 2 * by, self.height + 2 * by);
        for (y, row) in self.coverage.chunks(self.width).enumerate() {
            let start = (y + by) * shape.width + by;
            shape.coverage[start..start + self.width].copy_from_slice(row);
        }
        shape
    }

    /// The shape without the empty rows and columns around it.
    #[must_use]
    pub fn trimmed(&self) -> Self {
        let inked: Vec<(usize, usize)> = (0..self.coverage.len())
            .filter(|&at| self.coverage[at] > 0.02)
            .map(|at| (at % self.width, at / self.width))
            .collect();
        let (mut left, mut top, mut right, mut bottom) = (usize::MAX, usize::MAX, 0, 0);
        for (x, y) in inked {
            (left, top, right, bottom) = (left.min(x), top.min(y), right.max(x), bottom.max(y));
        }
        if left > right {
            return Self::empty(1, 1);
        }
        let mut shape = Self::empty(right - left + 1, bottom - top + 1);
        for y in 0..shape.height {
            let start = (y + top) * self.width + left;
            shape.coverage[y * shape.width..][..shape.width]
                .copy_from_slice(&self.coverage[start..start + shape.width]);
        }
        shape
    }

    /// Thins strokes to lines one pixel wide (Guo and Hall, "Parallel thinning with two-subiteration algorithms",
    /// 1989).
    fn thin(&mut self) {
        let width = self.width;
        let mut ink: Vec<bool> = self.coverage.iter().map(|&value| value > 0.5).collect();
        loop {
            let mut changed = false;
            for odd in [false, true] {
                let gone: Vec<usize> = (width + 1..ink.len() - width - 1)
                    .filter(|&at| ink[at] && removable(&ink, at, width, odd))
                    .collect();
                changed |= !gone.is_empty();
                for at in gone {
                    ink[at] = false;
                }
            }
            if !changed {
                break;
            }
        }
        for (slot, &ink) in self.coverage.iter_mut().zip(&ink) {
            *slot = f32::from(u8::from(ink));
        }
    }
}

/// Whether Guo and Hall's first or second sub-iteration removes the pixel.
fn removable(ink: &[bool], at: usize, width: usize, second: bool) -> bool {
    let around =
        [at - width, at - width + 1, at + 1, at + width + 1, at + width, at + width - 1, at - 1, at - width - 1];
    let [n, ne, e, se, s, sw, w, nw] = around.map(|near| ink[near]);
    let count = |of: [bool; 4]| of.into_iter().filter(|&one| one).count();
    let crossings = count([!n && (ne || e), !e && (se || s), !s && (sw || w), !w && (nw || n)]);
    let neighbours = count([nw || n, ne || e, se || s, sw || w]).min(count([n || ne, e || se, s || sw, w || nw]));
    let protected = if second { (s || sw || !nw) && w } else { (n || ne || !se) && e };
    crossings == 1 && (2..=3).contains(&neighbours) && !protected
}

/// Splits thin lines into short strokes. Each point moves to the mean of the points within three pixels, because a hand
/// does not draw staircases.
fn smoothed(lines: &Shape) -> Vec<((f32, f32), (f32, f32))> {
    let points: Vec<(f32, f32)> = (0..lines.coverage.len())
        .filter(|&at| lines.coverage[at] > 0.5)
        .map(|at| ((at % lines.width) as f32 + 0.5, (at / lines.width) as f32 + 0.5))
        .collect();
    let apart = |(x, y): (f32, f32), (a, b): (f32, f32)| (a - x).hypot(b - y);
    let mean = |&point: &(f32, f32)| {
        let near: Vec<_> = points.iter().filter(|&&other| apart(point, other) < 3.0).collect();
        let sum = near.iter().fold((0.0, 0.0), |sum, (x, y)| (sum.0 + x, sum.1 + y));
        (sum.0 / near.len() as f32, sum.1 / near.len() as f32)
    };
    let smooth: Vec<(f32, f32)> = points.iter().map(mean).collect();
    let pairs = (0..points.len()).flat_map(|one| (one..points.len()).map(move |two| (one, two)));
    pairs
        .filter(|&(one, two)| apart(points[one], points[two]) < 1.5)
        .map(|(one, two)| (smooth[one], smooth[two]))
        .collect()
}

/// An MNIST digit with values 0…1, padded with empty pixels.
struct Digit {
    values: [[f32; Self::SIDE]; Self::SIDE],
    /// The range of columns and of rows that contain ink.
    inked: [std::ops::Range<f32>; 2],
}

impl Digit {
    /// The interpolation mixes four values in each direction, starting one before the position.
    const MARGIN: usize = 3;
    const SIDE: usize = 28 + 2 * Self::MARGIN;

    fn new(digit: ArrayView2<u8>) -> Self {
        let mut values = [[0.0; Self::SIDE]; Self::SIDE];
        let mut inked = [(); 2].map(|()| 28.0_f32..0.0_f32);
        for ((y, x), &level) in digit.indexed_iter().filter(|(_, level)| **level > 0) {
            values[y + Self::MARGIN][x + Self::MARGIN] = f32::from(level) / 255.0;
            for (range, at) in inked.iter_mut().zip([x as f32, y as f32]) {
                *range = range.start.min(at - 2.0)..range.end.max(at + 2.0);
            }
        }
        Self { values, inked }
    }

    /// The value at a position between pixels (Catmull-Rom); 0 outside.
    fn at(&self, x: f32, y: f32) -> f32 {
        if !self.inked[0].contains(&x) || !self.inked[1].contains(&y) {
            return 0.0;
        }
        let place = |at: f32| (at + Self::MARGIN as f32).clamp(1.0, (Self::SIDE - 3) as f32);
        let (x, y) = (place(x), place(y));
        let (left, top) = (x as usize, y as usize);
        let (across, down) = (weights(x - left as f32), weights(y - top as f32));
        let rows = self.values[top - 1..].iter().zip(down);
        rows.map(|(row, down)| {
            let values = row[left - 1..].iter().zip(across);
            down * values.map(|(value, across)| across * value).sum::<f32>()
        })
        .sum()
    }
}

/// Catmull-Rom weights of four values for a position at this share of the way from the second to the third.
fn weights(share: f32) -> [f32; 4] {
    let (s, ss, sss) = (share, share * share, share * share * share);
    [-0.5 * s + ss - 0.5 * sss, 1.0 - 2.5 * ss + 1.5 * sss, 0.5 * s + 2.0 * ss - 1.5 * sss, -0.5 * ss + 0.5 * sss]
}
