//! An image being made: paper, ink, light and the faults of a camera, in linear light.

use super::random::Random;
use super::shape::Shape;
use super::texture::{Place, Texture};
use image::RgbImage;

/// Red, green and blue, 0…1 in linear light.
pub type Colour = [f32; 3];

/// Converts sRGB bytes to linear light. Gamma is 2 here and in [`level_of`]: close to sRGB's, and much faster.
#[must_use]
pub fn srgb(red: u8, green: u8, blue: u8) -> Colour {
    [red, green, blue].map(|level| (f32::from(level) / 255.0).powi(2))
}

/// An image in linear light.
pub struct Scene {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// The pixels, row by row.
    pub pixels: Vec<Colour>,
}

impl Scene {
    /// An image of a single colour.
    #[must_use]
    pub fn plain(width: usize, height: usize, colour: Colour) -> Self {
        Self { width, height, pixels: vec![colour; width * height] }
    }

    /// Varies the brightness by this share, in patches of about `grain` pixels and of four times that size.
    pub fn texture(&mut self, random: &mut Random, grain: f32, strength: f32) {
        let textures = [grain, 4.0 * grain].map(|grain| (grain, Texture::new(random)));
        let columns: [Vec<Place>; 2] =
            textures.each_ref().map(|(grain, _)| (0..self.width).map(|x| Place::new(x as f32 / grain)).collect());
        for (y, row) in self.pixels.chunks_mut(self.width).enumerate() {
            let [fine, coarse] = textures.each_ref().map(|(grain, texture)| texture.row(Place::new(y as f32 / grain)));
            for (pixel, (&first, &second)) in row.iter_mut().zip(columns[0].iter().zip(&columns[1])) {
                let light = 1.0 + strength * (first.between(&fine) + second.between(&coarse));
                *pixel = pixel.map(|level| level * light);
            }
        }
    }

    /// Multiplies each pixel by `light(column, row)`, which is evaluated at every fourth column and interpolated: light
    /// varies slowly.
    pub fn shade(&mut self, light: impl Fn(f32, f32) -> f32) {
        const STEP: usize = 4;
        for (y, row) in self.pixels.chunks_mut(self.width).enumerate() {
            let mut here = light(0.0, y as f32);
            for (index, pixels) in row.chunks_mut(STEP).enumerate() {
                let next = light(((index + 1) * STEP) as f32, y as f32);
                for (x, pixel) in pixels.iter_mut().enumerate() {
                    let light = here + (next - here) * (x as f32 / STEP as f32);
                    *pixel = pixel.map(|level| level * light);
                }
                here = next;
            }
        }
    }

    /// Paints a shape with its top left corner at (`left`, `top`). An opacity of 1 hides the background.
    pub fn paint(&mut self, shape: &Shape, left: i64, top: i64, colour: Colour, opacity: f32) {
        for y in 0..shape.height {
            let row = top + y as i64;
            if !(0..self.height as i64).contains(&row) {
                continue;
            }
            for x in 0..shape.width {
                let column = left + x as i64;
                if (0..self.width as i64).contains(&column) {
                    let share = shape.coverage[y * shape.width + x] * opacity;
                    self.blend(column as usize, row as usize, colour, share);
                }
            }
        }
    }

    /// Blends a colour into one pixel.
    pub fn blend(&mut self, x: usize, y: usize, colour: Colour, share: f32) {
        let pixel = &mut self.pixels[y * self.width + x];
        for (level, ink) in pixel.iter_mut().zip(colour) {
            *level += (ink - *level) * share;
        }
    }

    /// Draws straight, slightly slanted lines, horizontal or vertical (`down`), `gap` apart and `thickness` wide, the
    /// first at `start`.
    #[allow(clippy::too_many_arguments)] // Each is a different property of the lines.
    pub fn lines(
        &mut self,
        down: bool,
        start: f32,
        gap: f32,
        thickness: f32,
        slant: f32,
        colour: Colour,
        opacity: f32,
    ) {
        for y in 0..self.height {
            for x in 0..self.width {
                let (along, over) = if down { (y as f32, x as f32) } else { (x as f32, y as f32) };
                let place = (over + slant * along - start).rem_euclid(gap);
                let distance = place.min(gap - place);
                let share = (thickness / 2.0 + 0.5 - distance).clamp(0.0, thickness.min(1.0));
                if share > 0.0 {
                    self.blend(x, y, colour, share * opacity);
                }
            }
        }
    }

    /// Blurs the image by about a Gaussian with this standard deviation, using three box filters.
    pub fn blur(&mut self, sigma: f32) {
        let radius = ((4.0 * sigma * sigma + 1.0).sqrt() / 2.0 - 0.5).round().max(0.0) as usize;
        if radius == 0 {
            return;
        }
        self.transpose();
        self.blur_down(radius);
        self.transpose();
        self.blur_down(radius);
    }

    /// Swaps rows and columns.
    fn transpose(&mut self) {
        const TILE: usize = 16;
        let (width, height) = (self.width, self.height);
        let mut turned = vec![[0.0; 3]; self.pixels.len()];
        // In tiles, so that both sides stay in the cache.
        for top in (0..height).step_by(TILE) {
            for left in (0..width).step_by(TILE) {
                for y in top..(top + TILE).min(height) {
                    for x in left..(left + TILE).min(width) {
                        turned[x * height + y] = self.pixels[y * width + x];
                    }
                }
            }
        }
        *self = Self { width: height, height: width, pixels: turned };
    }

    /// Applies the box filter over `2 × radius + 1` pixels three times to each column.
    fn blur_down(&mut self, radius: usize) {
        // Strips of columns that fit into the cache.
        const STRIP: usize = 16;
        let (mut strip, mut means) = (Vec::new(), Vec::new());
        for left in (0..self.width).step_by(STRIP) {
            let columns = left..(left + STRIP).min(self.width);
            strip.clear();
            self.pixels.chunks(self.width).for_each(|row| strip.extend_from_slice(row[columns.clone()].as_flattened()));
            for _ in 0..3 {
                means_down(&strip, 3 * columns.len(), radius, &mut means);
                std::mem::swap(&mut strip, &mut means);
            }
            for (row, blurred) in self.pixels.chunks_mut(self.width).zip(strip.chunks(3 * columns.len())) {
                row[columns.clone()].as_flattened_mut().copy_from_slice(blurred);
            }
        }
    }

    /// The image as the sensor records it: 8 bits per channel, with noise of this standard deviation in grey levels.
    #[must_use]
    #[allow(clippy::missing_panics_doc)] // It cannot panic: there are three bytes per pixel.
    pub fn photographed(&self, random: &mut Random, noise: f32) -> RgbImage {
        // Four random numbers per pixel would dominate the run time. Instead each row starts at a random place in one
        // table.
        const STARTS: usize = 4096;
        let grain: Vec<Colour> = (0..STARTS + self.width)
            .map(|_| {
                let common = random.normal();
                [(); 3].map(|()| 0.7 * noise * (common + random.normal()))
            })
            .collect();
        let mut bytes = vec![0; 3 * self.pixels.len()];
        for (row, target) in self.pixels.chunks(self.width).zip(bytes.chunks_mut(3 * self.width)) {
            let grain = grain[random.below(STARTS)..].as_flattened();
            for ((&light, grain), level) in row.as_flattened().iter().zip(grain).zip(target) {
                *level = (level_of(light) + grain + 0.5) as u8;
            }
        }
        RgbImage::from_raw(self.width as u32, self.height as u32, bytes).expect("three bytes a pixel")
    }
}

/// Converts linear light, 0…1, to a level, 0…255.
#[must_use]
pub fn level_of(light: f32) -> f32 {
    light.clamp(0.0, 1.0).sqrt() * 255.0
}

/// The mean of each value and the `radius` values above and below it, in rows of `width` values. Beyond the ends a
/// column continues with its last value.
fn means_down(values: &[f32], width: usize, radius: usize, means: &mut Vec<f32>) {
    let last = values.len() / width - 1;
    let row = |y: usize| &values[y.min(last) * width..][..width];
    let mut sums: Vec<f32> = row(0).iter().map(|first| (radius + 1) as f32 * first).collect();
    for y in 1..=radius {
        sums.iter_mut().zip(row(y)).for_each(|(sum, value)| *sum += value);
    }
    let share = 1.0 / (2 * radius + 1) as f32;
    means.clear();
    for y in 0..=last {
        means.extend(sums.iter().map(|sum| sum * share));
        let (enters, leaves) = (row(y + radius + 1), row(y.saturating_sub(radius)));
        for (sum, (enters, leaves)) in sums.iter_mut().zip(enters.iter().zip(leaves)) {
            *sum += enters - leaves;
        }
    }
}
