//! Textures and noise.

use super::super::light::Light;
use super::super::random::Random;
use super::super::scene::{Colour, Scene};
use super::super::texture::Texture;
use super::super::{Sources, Specimen, encode};
use anyhow::{Context, Result};
use image::RgbImage;
use std::f32::consts::TAU;

/// A photograph of a surface.
pub fn finished(mut scene: Scene, random: &mut Random, origin: &str) -> Result<Specimen> {
    let light = Light::uneven(random, scene.width, scene.height, 0.4);
    let longer = scene.width.max(scene.height) as f32;
    scene.shade(|x, y| light.at(x, y, longer));
    scene.blur(random.between(0.0, 1.2));
    let noise = random.between(0.5, 5.0);
    let image = scene.photographed(random, noise);
    Ok(Specimen::no_digit(origin.to_owned(), encode::any(image, random)?))
}

/// A grey or any colour.
fn any_colour(random: &mut Random) -> Colour {
    if random.chance(0.5) { [random.unit(); 3] } else { [random.unit(), random.unit(), random.unit()] }
}

/// The share of the second colour, 0…1, at a position in units of the pattern.
type Pattern = fn(f32, f32, &Texture) -> f32;

/// The patterns and their names.
const PATTERNS: [(&str, Pattern); 10] = [
    ("bricks", |x, y, _| {
        let x = x / 2.2 + 0.5 * (y.floor() % 2.0);
        f32::from(y.fract() < 0.12 || x.fract() < 0.06)
    }),
    ("stripes", |x, y, _| f32::from((x + 0.4 * y).rem_euclid(1.0) < 0.5)),
    ("waves", |x, y, _| 0.5 + 0.5 * ((x + 0.3 * (y * 2.0).sin()) * TAU).sin()),
    ("checks", |x, y, _| f32::from((x.floor() + y.floor()) % 2.0 == 0.0)),
    ("weave", |x, y, _| {
        let over = (x.floor() + y.floor()) % 2.0 == 0.0;
        let (x, y) = (x.fract() - 0.5, y.fract() - 0.5);
        if over { 1.0 - 1.6 * y.abs() } else { 0.8 - 1.2 * x.abs() }
    }),
    ("wood", |x, y, noise| {
        let ring = x + 1.5 * noise.at(x * 0.4, y * 0.06) + 0.2 * noise.at(x * 4.0, y * 0.5);
        0.5 + 0.5 * (ring * TAU).sin()
    }),
    ("marble", |x, y, noise| {
        let fold = noise.at(x, y) + 0.5 * noise.at(2.1 * x, 2.1 * y) + 0.25 * noise.at(4.3 * x, 4.3 * y);
        (0.5 + 0.5 * ((0.3 * x + 3.0 * fold) * TAU).sin()).powi(2)
    }),
    ("clouds", |x, y, noise| {
        let fold = noise.at(x, y) + 0.5 * noise.at(2.1 * x, 2.1 * y) + 0.25 * noise.at(4.3 * x, 4.3 * y);
        (0.5 + 0.9 * fold).clamp(0.0, 1.0)
    }),
    ("gravel", |x, y, noise| {
        let edge = noise.at(2.0 * x, 2.0 * y).abs().min(noise.at(3.1 * x + 7.0, 3.1 * y).abs());
        (edge * 5.0).clamp(0.0, 1.0)
    }),
    ("honeycomb", |x, y, _| {
        // The distances to the nearest and the next centre of a hexagonal grid are equal on the walls.
        let mut distances = [f32::MAX; 2];
        let row = (y / 0.866).floor();
        for row in [row - 1.0, row, row + 1.0, row + 2.0] {
            let shift = 0.5 * row.rem_euclid(2.0);
            for column in [-1.0, 0.0, 1.0, 2.0] {
                let centre = ((x - shift).floor() + column + shift, row * 0.866);
                let distance = (x - centre.0).hypot(y - centre.1);
                if distance < distances[0] {
                    distances = [distance, distances[0]];
                } else {
                    distances[1] = distances[1].min(distance);
                }
            }
        }
        f32::from(distances[1] - distances[0] < 0.15)
    }),
];

/// Surfaces with four to thirty repetitions of a pattern along the shorter side: a single stripe would be a 1.
pub fn texture(_: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (random.scale(64.0, 400.0) as usize, random.scale(64.0, 400.0) as usize);
    let (name, pattern) = PATTERNS[index % PATTERNS.len()];
    let noise = Texture::new(random);
    let (first, second) = (any_colour(random), any_colour(random));
    let unit = width.min(height) as f32 / random.scale(4.0, 30.0);
    let unit = unit.max(4.0);
    let (sin, cos) = random.between(-0.6, 0.6).sin_cos();
    let (from_x, from_y) = (random.between(100.0, 200.0), random.between(100.0, 200.0));
    let mut scene = Scene::plain(width, height, first);
    for y in 0..height {
        for x in 0..width {
            let (right, down) = (x as f32 / unit, y as f32 / unit);
            let share = pattern(from_x + cos * right + sin * down, from_y + cos * down - sin * right, &noise);
            scene.blend(x, y, second, share.clamp(0.0, 1.0));
        }
    }
    scene.texture(random, 2.0, 0.15);
    finished(scene, random, name)
}

/// Each pixel on its own: uniform, normal or binary, grey or coloured.
pub fn pixel_noise(_: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let side = if index.is_multiple_of(2) { 28 } else { random.scale(16.0, 200.0) as usize };
    let names = ["uniform", "uniform, coloured", "normal", "salt and pepper", "sparse"];
    let kind = index / 2 % names.len();
    let (mean, deviation) = (random.between(60.0, 200.0), random.between(15.0, 70.0));
    let density = random.between(0.02, 0.15);
    let inverted = random.chance(0.5);
    let mut bytes = Vec::with_capacity(3 * side * side);
    for _ in 0..side * side {
        let grey = match kind {
            0 | 1 => random.between(0.0, 256.0),
            2 => mean + deviation * random.normal(),
            3 => 255.0 * f32::from(random.chance(0.5)),
            _ => 255.0 * f32::from(random.chance(density) != inverted),
        };
        let mut levels = [grey; 3];
        if kind == 1 {
            levels = levels.map(|_| random.between(0.0, 256.0));
        }
        bytes.extend(levels.map(|level| level as u8));
    }
    let image = RgbImage::from_raw(side as u32, side as u32, bytes).context("three bytes a pixel")?;
    Ok(Specimen::no_digit(names[kind].to_owned(), encode::any(image, random)?))
}

/// Smooth noise with eight to twenty blotches across, grey or black and white.
pub fn blotches(_: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let side = if index.is_multiple_of(3) { 28 } else { random.scale(28.0, 300.0) as usize };
    let noise = Texture::new(random);
    let grain = (side as f32 / random.scale(8.0, 20.0)).max(1.5);
    let sharp = if index.is_multiple_of(2) { 1.2 } else { random.scale(4.0, 40.0) };
    let middle = random.between(-0.15, 0.15);
    let mut scene = Scene::plain(side, side, [0.0; 3]);
    for y in 0..side {
        for x in 0..side {
            let share = 0.5 + sharp * (noise.at(x as f32 / grain, y as f32 / grain) - middle);
            scene.blend(x, y, [1.0; 3], share.clamp(0.0, 1.0));
        }
    }
    let image = scene.photographed(random, 2.0);
    Ok(Specimen::no_digit(if sharp < 2.0 { "smooth" } else { "sharp" }.to_owned(), encode::any(image, random)?))
}
