//! A picture in the making: paper, ink, light and a camera's faults, in linear light.

use super::random::Random;
use super::shape::Shape;
use super::texture::{Place, Texture};
use image::RgbImage;
use std::sync::OnceLock;

/// Red, green and blue, 0…1 in linear light.
pub type Colour = [f32; 3];

/// The colour that an sRGB triple of bytes means.
#[must_use]
pub fn srgb(red: u8, green: u8, blue: u8) -> Colour {
    [red, green, blue].map(|level| (f32::from(level) / 255.0).powf(2.2))
}

/// Pixels in linear light.
pub struct Scene {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Row by row.
    pub pixels: Vec<Colour>,
}

impl Scene {
    /// One colour all over.
    #[must_use]
    pub fn plain(width: usize, height: usize, colour: Colour) -> Self {
        Self { width, height, pixels: vec![colour; width * height] }
    }

    /// Makes the brightness uneven by this share, in patches of about `grain` pixels and of four times that.
    pub fn texture(&mut self, random: &mut Random, grain: f32, strength: f32) {
        let (fine, coarse) = (Texture::new(random), Texture::new(random));
        let places = |at: usize| [grain, 4.0 * grain].map(|grain| Place::of(at as f32 / grain));
        let columns: Vec<_> = (0..self.width).map(places).collect();
        for (y, row) in self.pixels.chunks_mut(self.width).enumerate() {
            let down = places(y);
            for (pixel, across) in row.iter_mut().zip(&columns) {
                let light = 1.0 + strength * (fine.between(across[0], down[0]) + coarse.between(across[1], down[1]));
                *pixel = pixel.map(|level| level * light);
            }
        }
    }

    /// Multiplies each pixel by what `light` says of its column and row.
    pub fn shade(&mut self, light: impl Fn(f32, f32) -> f32) {
        for (y, row) in self.pixels.chunks_mut(self.width).enumerate() {
            for (x, pixel) in row.iter_mut().enumerate() {
                let light = light(x as f32, y as f32);
                *pixel = pixel.map(|level| level * light);
            }
        }
    }

    /// Paints a shape with its upper left corner at a place; `opacity` 1 hides the ground.
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

    /// Mixes a colour into one pixel.
    pub fn blend(&mut self, x: usize, y: usize, colour: Colour, share: f32) {
        let pixel = &mut self.pixels[y * self.width + x];
        for (level, ink) in pixel.iter_mut().zip(colour) {
            *level += (ink - *level) * share;
        }
    }

    /// Straight lines across (or down), `gap` apart and `thickness` wide, the first at `start`, a little slanted.
    #[allow(clippy::too_many_arguments)] // Each says something else of the lines.
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

    /// Out of focus: about a Gaussian of this deviation, by three boxes.
    pub fn blur(&mut self, sigma: f32) {
        let radius = ((4.0 * sigma * sigma + 1.0).sqrt() / 2.0 - 0.5).round().max(0.0) as usize;
        if radius == 0 {
            return;
        }
        for _ in 0..3 {
            let mut padded = Vec::new();
            self.pixels.chunks_mut(self.width).for_each(|row| box_blur(row, radius, &mut padded));
            self.box_blur_down(radius);
        }
    }

    /// The means of `2 × radius + 1` rows, whole rows at a time.
    fn box_blur_down(&mut self, radius: usize) {
        let (width, height) = (self.width, self.height);
        let source = self.pixels.clone();
        let row = |y: i64| &source[y.clamp(0, height as i64 - 1) as usize * width..][..width];
        let mut sums = vec![[0.0_f32; 3]; width];
        let add = |y: i64, sign: f32, sums: &mut [Colour]| {
            for (sum, pixel) in sums.iter_mut().zip(row(y)) {
                *sum = [0, 1, 2].map(|channel| sum[channel] + sign * pixel[channel]);
            }
        };
        let reach = radius as i64;
        (-reach..=reach).for_each(|y| add(y, 1.0, &mut sums));
        let share = 1.0 / (2 * radius + 1) as f32;
        for (y, target) in (0..).zip(self.pixels.chunks_mut(width)) {
            for (slot, sum) in target.iter_mut().zip(&sums) {
                *slot = sum.map(|sum| sum * share);
            }
            add(y + reach + 1, 1.0, &mut sums);
            add(y - reach, -1.0, &mut sums);
        }
    }

    /// What the sensor makes of it: 8 bits of sRGB, with noise of this deviation in grey levels.
    #[must_use]
    #[allow(clippy::missing_panics_doc)] // It cannot: there are three bytes for each pixel.
    pub fn photographed(&self, random: &mut Random, noise: f32) -> RgbImage {
        let mut bytes = Vec::with_capacity(3 * self.pixels.len());
        for pixel in &self.pixels {
            let common = random.normal();
            let level =
                |level: f32, own: f32| (level_of(level) + 0.7 * noise * (common + own) + 0.5).clamp(0.0, 255.0) as u8;
            bytes.extend(pixel.map(|light| level(light, random.normal())));
        }
        RgbImage::from_raw(self.width as u32, self.height as u32, bytes).expect("three bytes a pixel")
    }
}

/// The sRGB level 0…255 of linear light 0…1.
#[must_use]
pub fn level_of(light: f32) -> f32 {
    static TABLE: OnceLock<Vec<f32>> = OnceLock::new();
    let table = TABLE.get_or_init(|| (0..=4096).map(|step| (step as f32 / 4096.0).powf(1.0 / 2.2) * 255.0).collect());
    table[(light.clamp(0.0, 1.0) * 4096.0) as usize]
}

/// The means of `2 × radius + 1` pixels of a row; `padded` is a buffer.
fn box_blur(row: &mut [Colour], radius: usize, padded: &mut Vec<Colour>) {
    let (first, last) = (row[0], row[row.len() - 1]);
    padded.clear();
    padded.extend(std::iter::repeat_n(first, radius).chain(row.iter().copied()));
    padded.extend(std::iter::repeat_n(last, radius + 1));
    let taken = 2 * radius + 1;
    let mut sum = [0.0_f32; 3];
    for pixel in &padded[..taken] {
        sum = [0, 1, 2].map(|channel| sum[channel] + pixel[channel]);
    }
    let share = 1.0 / taken as f32;
    for (slot, (old, new)) in row.iter_mut().zip(padded.iter().zip(&padded[taken..])) {
        *slot = sum.map(|sum| sum * share);
        sum = [0, 1, 2].map(|channel| sum[channel] + new[channel] - old[channel]);
    }
}
