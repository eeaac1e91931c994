//! Distracting marks on the sheet, and other surfaces.

use super::super::light::Light;
use super::super::random::Random;
use super::super::scene::{Colour, Scene, srgb};
use super::super::shape::Shape;
use super::super::{Sources, Specimen, encode};
use super::camera::{digit, paper, pen, place};
use anyhow::Result;

/// The pale colour of the lines in exercise books.
pub fn rule(random: &mut Random) -> Colour {
    *random.pick(&[
        srgb(150, 180, 220),
        srgb(170, 190, 205),
        srgb(180, 180, 185),
        srgb(140, 165, 210),
        srgb(190, 170, 200),
    ])
}

fn on_lines(sources: &Sources, random: &mut Random, squared: bool) -> Result<Specimen> {
    let (width, height) = (640, 480);
    let mut scene = paper(random, width, height);
    let size = random.scale(80.0, 300.0);
    let gap = if squared { size / random.between(1.0, 4.0) } else { size / random.between(0.6, 1.8) };
    let thickness = (gap * random.between(0.02, 0.045)).clamp(1.0, 3.0);
    let slant = random.between(-0.02, 0.02);
    let colour = rule(random);
    let opacity = random.between(0.6, 1.0);
    let start = random.between(0.0, gap);
    scene.lines(false, start, gap, thickness, slant, colour, opacity);
    if squared {
        scene.lines(true, random.between(0.0, gap), gap, thickness, -slant, colour, opacity);
    } else if random.chance(0.3) {
        let margin = random.between(20.0, 90.0);
        scene.lines(true, margin, 2.0 * width as f32, thickness, -slant, srgb(220, 120, 120), opacity);
    }
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    let (left, top) = place(random, &scene, &shape, 0.05);
    scene.paint(&shape, left, top, pen(random), random.between(0.85, 1.0));
    finished(scene, random, label, origin, 0.4)
}

fn finished(mut scene: Scene, random: &mut Random, label: u8, origin: String, uneven: f32) -> Result<Specimen> {
    let light = Light::uneven(random, scene.width, scene.height, uneven);
    let longer = scene.width.max(scene.height) as f32;
    scene.shade(|x, y| light.at(x, y, longer));
    scene.blur(random.between(0.0, 1.2));
    let noise = random.between(0.5, 5.0);
    let image = scene.photographed(random, noise);
    Ok(Specimen::digit(label, origin, encode::jpeg(&image, 70 + random.below(25) as u8)?))
}

/// Horizontal lines, sometimes with a red margin line.
pub fn ruled(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    on_lines(sources, random, false)
}

/// Horizontal and vertical lines.
pub fn squared(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    on_lines(sources, random, true)
}

/// Dots where the lines of squared paper would cross.
pub fn dotted(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (480, 360);
    let mut scene = paper(random, width, height);
    let size = random.scale(80.0, 260.0);
    let gap = size / random.between(1.5, 6.0);
    dots(&mut scene, random, gap, 1.0);
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    let (left, top) = place(random, &scene, &shape, 0.05);
    scene.paint(&shape, left, top, pen(random), random.between(0.85, 1.0));
    finished(scene, random, label, origin, 0.4)
}

/// Prints a grid of dots. `largest` limits their radius as a share of a twelfth of the gap.
pub fn dots(scene: &mut Scene, random: &mut Random, gap: f32, largest: f32) {
    let radius = (gap * random.between(0.03, 0.083 * largest)).max(0.7);
    let (left, top) = (random.between(0.0, gap), random.between(0.0, gap));
    let mut grid = Shape::empty(scene.width, scene.height);
    for row in 0..=(scene.height as f32 / gap) as usize {
        for column in 0..=(scene.width as f32 / gap) as usize {
            grid.dot(left + column as f32 * gap, top + row as f32 * gap, radius);
        }
    }
    let level = 90 + random.below(90) as u8;
    scene.paint(&grid, 0, 0, srgb(level, level, level.saturating_add(10)), 1.0);
}

/// Squared paper with dark lines, hardly thinner than a fine pen's. One in three is ruled instead.
pub fn strong_lines(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (480, 360);
    let mut scene = paper(random, width, height);
    let size = random.scale(90.0, 260.0);
    let gap = size / random.between(0.8, 3.0);
    let thickness = (size * random.between(0.008, 0.02)).max(1.0);
    let slant = random.between(-0.02, 0.02);
    let colour = *random.pick(&[srgb(60, 60, 65), srgb(50, 80, 150), srgb(90, 95, 110), srgb(40, 120, 130)]);
    let opacity = random.between(0.7, 1.0);
    scene.lines(false, random.between(0.0, gap), gap, thickness, slant, colour, opacity);
    if !index.is_multiple_of(3) {
        scene.lines(true, random.between(0.0, gap), gap, thickness, -slant, colour, opacity);
    }
    let (digit, label, origin) = sources.digit(random);
    let shape = Shape::drawn(digit, size, 0.0, size * random.scale(0.06, 0.13));
    let (left, top) = place(random, &scene, &shape, 0.05);
    scene.paint(&shape, left, top, pen(random), random.between(0.9, 1.0));
    finished(scene, random, label, origin, 0.4)
}

/// Dust, ink spots and crumbs.
pub fn specks(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (500, 400);
    let mut scene = paper(random, width, height);
    let size = random.scale(120.0, 300.0);
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    let (left, top) = place(random, &scene, &shape, 0.08);
    let ink = pen(random);
    scene.paint(&shape, left, top, ink, random.between(0.85, 1.0));
    let mut dirt = Shape::empty(width, height);
    for _ in 0..3 + random.below(25) {
        let (x, y) = (random.between(0.0, width as f32), random.between(0.0, height as f32));
        dirt.dot(x, y, size * random.scale(0.003, 0.022));
    }
    let dirt_colour = if random.chance(0.5) { ink } else { srgb(90, 75, 60) };
    scene.paint(&dirt, 0, 0, dirt_colour, random.between(0.6, 1.0));
    finished(scene, random, label, origin, 0.3)
}

/// Rough, broad, light strokes on dark slate with traces of the sponge.
pub fn chalk(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (640, 480);
    let board = *random.pick(&[srgb(35, 60, 48), srgb(40, 42, 45), srgb(30, 45, 60), srgb(55, 75, 62)]);
    let mut scene = Scene::plain(width, height, board);
    let smear = random.between(0.1, 0.5);
    scene.texture(random, 30.0, smear);
    scene.texture(random, 2.0, 0.15);
    let size = random.scale(120.0, 380.0);
    let (digit, label, origin) = sources.digit(random);
    let pen = size * random.between(0.05, 0.12);
    let mut shape =
        if random.chance(0.5) { Shape::drawn(digit, size, 0.0, pen) } else { Shape::handwritten(digit, size, 0.0) };
    shape.roughen(random, 1.5, 0.5);
    let (left, top) = place(random, &scene, &shape, 0.05);
    let colour = *random.pick(&[srgb(235, 235, 230), srgb(215, 215, 210), srgb(240, 225, 140), srgb(240, 180, 180)]);
    scene.paint(&shape, left, top, colour, random.between(0.7, 0.95));
    finished(scene, random, label, origin, 0.7)
}
