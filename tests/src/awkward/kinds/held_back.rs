//! Kinds that the preparation of images was not developed with: they show whether it suits images that nobody thought
//! of. Look at the figures, not at the images, and do not adjust anything to them.

use super::super::light::Light;
use super::super::random::Random;
use super::super::scene::{Colour, Scene, srgb};
use super::super::shape::Shape;
use super::super::{Sources, Specimen, encode};
use super::camera::{digit, paper, pen, place};
use super::frame::{Cell, Line, form_ink};
use super::paper::rule;
use super::printed::FONTS;
use anyhow::Result;
use std::f32::consts::TAU;

fn photographed(mut scene: Scene, random: &mut Random, label: u8, origin: String, uneven: f32) -> Result<Specimen> {
    let light = Light::uneven(random, scene.width, scene.height, uneven);
    let longer = scene.width.max(scene.height) as f32;
    scene.shade(|x, y| light.at(x, y, longer));
    scene.blur(random.between(0.0, 1.3));
    let noise = random.between(1.0, 5.0);
    let image = scene.photographed(random, noise);
    Ok(Specimen::digit(label, origin, encode::jpeg(&image, 70 + random.below(25) as u8)?))
}

fn fill(scene: &mut Scene, (left, top): (usize, usize), (right, bottom): (usize, usize), colour: Colour) {
    for y in top..bottom.min(scene.height) {
        for x in left..right.min(scene.width) {
            scene.blend(x, y, colour, 1.0);
        }
    }
}

/// A row of boxes of which one is filled in, photographed.
pub fn field(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let count = 2 + index % 5;
    let side = random.between(60.0, 110.0);
    let margin = side * random.between(0.3, 1.0);
    let extent = |inner: f32| (inner + 2.0 * margin).ceil() as usize;
    let mut scene = paper(random, extent(side * count as f32), extent(side * 1.2));
    let slant = random.between(-0.015, 0.015);
    let width = (side * random.between(0.01, 0.03)).max(1.0);
    let mut lines = Shape::empty(scene.width, scene.height);
    let apart = if random.chance(0.5) { 0.0 } else { 0.12 * side };
    let middle = scene.width as f32 / 2.0;
    let cells: Vec<Cell> = (0..count)
        .map(|cell| {
            let left = margin + cell as f32 * side;
            let top = margin + slant * (left + side / 2.0 - middle);
            Cell { left, top, right: left + side - apart, bottom: top + 1.2 * side }
        })
        .collect();
    for cell in &cells {
        cell.draw(&mut lines, random, width, slant, Line::Solid);
    }
    scene.paint(&lines, 0, 0, form_ink(random), random.between(0.7, 1.0));
    let cell = random.pick(&cells);
    let size = side * random.between(0.55, 0.8);
    let (shape, label, origin) = digit(sources, random, size, slant.to_degrees());
    let spare = |from: f32, to: f32, taken: usize| (to - from - taken as f32).max(0.0);
    let left = cell.left + spare(cell.left, cell.right, shape.width) * random.between(0.25, 0.75);
    let top = cell.top + spare(cell.top, cell.bottom, shape.height) * random.between(0.2, 0.8);
    scene.paint(&shape, left as i64, top as i64, pen(random), random.between(0.85, 1.0));
    photographed(scene, random, label, origin, 0.4)
}

/// A marker on a glossy board with a reflection and traces of wiped writing.
pub fn whiteboard(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (480, 360);
    let mut scene = Scene::plain(width, height, srgb(222, 226, 228));
    scene.texture(random, 40.0, 0.06);
    let (old, ..) = digit(sources, random, 160.0, 0.0);
    let (left, top) = place(random, &scene, &old, 0.05);
    scene.paint(&old, left, top, srgb(60, 60, 90), random.between(0.0, 0.06));
    let size = random.scale(90.0, 260.0);
    let (digit, label, origin) = sources.digit(random);
    let shape = Shape::drawn(digit, size, 0.0, size * random.between(0.05, 0.1));
    let (left, top) = place(random, &scene, &shape, 0.06);
    let ink = *random.pick(&[srgb(30, 30, 35), srgb(30, 60, 160), srgb(190, 40, 45), srgb(30, 130, 70)]);
    scene.paint(&shape, left, top, ink, random.between(0.75, 0.95));
    let (x, y) = (random.between(0.0, width as f32), random.between(0.0, height as f32));
    let (size, strength) = (random.between(30.0, 90.0), random.between(0.1, 0.4));
    scene.shade(|column, row| 1.0 + strength * (-((column - x).powi(2) + (row - y).powi(2)) / size.powi(2)).exp());
    if random.chance(0.3) {
        fill(&mut scene, (0, height - 14 - random.below(20)), (width, height), srgb(120, 122, 126));
    }
    photographed(scene, random, label, origin, 0.5)
}

/// Written on the line of ruled paper, so that it stands on the line or crosses it.
pub fn on_the_line(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let mut scene = paper(random, 420, 320);
    let size = random.scale(70.0, 200.0);
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    let (left, top) = place(random, &scene, &shape, 0.08);
    let gap = shape.height as f32 * random.between(0.9, 1.6);
    let base = top as f32 + shape.height as f32 * random.between(0.93, 1.0);
    let colour = if random.chance(0.4) { srgb(70, 75, 90) } else { rule(random) };
    let thickness = (size * random.between(0.01, 0.025)).max(1.0);
    scene.lines(false, base.rem_euclid(gap), gap, thickness, 0.0, colour, random.between(0.7, 1.0));
    scene.paint(&shape, left, top, pen(random), random.between(0.85, 1.0));
    photographed(scene, random, label, origin, 0.4)
}

/// Thermal print between two rules of dashes, pale and striped.
pub fn receipt(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let label = (index % 10) as u8;
    let font = FONTS[12 + index / 10 % 4];
    let height = random.scale(30.0, 120.0);
    let shape = sources.with_font(font, |font| Shape::printed(font, char::from(b'0' + label), height))?;
    let (width, tall) = ((height * random.between(3.0, 5.0)) as usize, (height * 3.2) as usize);
    let mut scene = paper(random, width, tall);
    let grey = 60 + random.below(60) as u8;
    let ink = srgb(grey, grey, grey.saturating_add(15));
    let rule = sources.with_font(font, |font| Shape::text(font, "- - - - - - - - - -", height * 0.3))?;
    let left = (width as i64 - rule.width as i64) / 2;
    scene.paint(&rule, left, (0.3 * height) as i64, ink, 0.9);
    scene.paint(&rule, left, (2.75 * height) as i64, ink, 0.9);
    let left = (width - shape.width.min(width)) as f32 * random.between(0.2, 0.8);
    scene.paint(&shape, left as i64, (1.1 * height) as i64, ink, random.between(0.75, 1.0));
    let fade = random.between(0.05, 0.25);
    scene.lines(true, random.between(0.0, 9.0), random.between(9.0, 30.0), 1.5, 0.0, [0.9; 3], fade);
    photographed(scene, random, label, font.to_owned(), 0.4)
}

/// The segments of each digit: top, upper right, lower right, bottom, lower left, upper left, middle.
const SEGMENTS: [[u8; 7]; 10] = [
    [1, 1, 1, 1, 1, 1, 0],
    [0, 1, 1, 0, 0, 0, 0],
    [1, 1, 0, 1, 1, 0, 1],
    [1, 1, 1, 1, 0, 0, 1],
    [0, 1, 1, 0, 0, 1, 1],
    [1, 0, 1, 1, 0, 1, 1],
    [1, 0, 1, 1, 1, 1, 1],
    [1, 1, 1, 0, 0, 0, 0],
    [1, 1, 1, 1, 1, 1, 1],
    [1, 1, 1, 1, 0, 1, 1],
];

/// A seven-segment display, lit or LCD. Dark segments may shine through.
pub fn seven_segments(_: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let label = (index % 10) as u8;
    let height = random.scale(40.0, 240.0);
    let (wide, pen, margin) = (height * random.between(0.48, 0.6), height * random.between(0.09, 0.14), 0.4 * height);
    let extent = |inner: f32| (inner + 2.0 * margin) as usize;
    let (ground, on) = *random.pick(&[
        (srgb(20, 8, 8), srgb(250, 50, 40)),
        (srgb(8, 18, 10), srgb(80, 240, 100)),
        (srgb(165, 175, 150), srgb(35, 40, 35)),
        (srgb(10, 12, 22), srgb(90, 190, 250)),
    ]);
    let mut scene = Scene::plain(extent(wide), extent(height), ground);
    let (left, right, upper, middle, lower) = (margin, margin + wide, margin, margin + height / 2.0, margin + height);
    let gap = 0.7 * pen;
    let across = |y: f32| ((left + gap, y), (right - gap, y));
    let down = |x: f32, from: f32, to: f32| ((x, from + gap), (x, to - gap));
    let places = [
        across(upper),
        down(right, upper, middle),
        down(right, middle, lower),
        across(lower),
        down(left, middle, lower),
        down(left, upper, middle),
        across(middle),
    ];
    let [mut lit, mut dark] = [(); 2].map(|()| Shape::empty(scene.width, scene.height));
    for ((from, to), &segment) in places.into_iter().zip(&SEGMENTS[usize::from(label)]) {
        let shape = if segment == 1 { &mut lit } else { &mut dark };
        shape.stroke(from, to, pen / 2.0);
    }
    scene.paint(&dark, 0, 0, on, random.between(0.0, 0.06));
    scene.paint(&lit, 0, 0, on, 1.0);
    photographed(scene, random, label, "seven segments".to_owned(), 0.3)
}

/// A rubber stamp with uneven ink, or the embossed plate of a house number with a rim.
pub fn stamp(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let label = (index % 10) as u8;
    let font = FONTS[8 + index / 10 % 4];
    let height = random.scale(50.0, 200.0);
    let mut shape = sources.with_font(font, |font| Shape::printed(font, char::from(b'0' + label), height))?;
    let (width, tall) = (shape.width + height as usize, shape.height + height as usize);
    let inset = height * random.between(0.12, 0.25);
    let rim = Cell { left: inset, top: inset, right: width as f32 - inset, bottom: tall as f32 - inset };
    let mut frame = Shape::empty(width, tall);
    let line = height * random.between(0.03, 0.06);
    rim.draw(&mut frame, random, line, 0.0, Line::Solid);
    let (mut scene, ink) = if index.is_multiple_of(2) {
        shape.roughen(random, 3.0, 0.5);
        frame.roughen(random, 3.0, 0.5);
        (paper(random, width, tall), *random.pick(&[srgb(40, 50, 150), srgb(170, 40, 60), srgb(70, 50, 110)]))
    } else {
        let plate = *random.pick(&[srgb(20, 50, 130), srgb(15, 80, 60), srgb(40, 40, 42)]);
        (Scene::plain(width, tall, plate), srgb(240, 240, 235))
    };
    scene.paint(&frame, 0, 0, ink, 0.9);
    let at = (height / 2.0) as i64;
    scene.paint(&shape, at, at, ink, 0.95);
    photographed(scene, random, label, font.to_owned(), 0.4)
}

/// A drawing program's window: a bar with buttons at the top, sometimes one at the bottom, and the drawing.
pub fn screenshot(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (300 + random.below(200), 260 + random.below(160));
    let mut scene = Scene::plain(width, height, [1.0; 3]);
    let bar = 20 + random.below(16);
    let grey = 40 + random.below(180) as u8;
    fill(&mut scene, (0, 0), (width, bar), srgb(grey, grey, grey.saturating_add(8)));
    let button = *random.pick(&[srgb(230, 80, 70), srgb(70, 130, 220), srgb(245, 245, 245), srgb(30, 30, 30)]);
    for place in 0..2 + random.below(5) {
        fill(&mut scene, (8 + place * (bar + 4), 6), (bar + place * (bar + 4), bar - 6), button);
    }
    let bottom = if random.chance(0.4) { 14 } else { 0 };
    fill(&mut scene, (0, height - bottom), (width, height), srgb(225, 225, 228));
    let room = (height - bar - bottom) as f32;
    let size = room * random.between(0.4, 0.8);
    let (digit, label, origin) = sources.digit(random);
    let shape = Shape::drawn(digit, size, 0.0, size * random.between(0.04, 0.1));
    let left = (width - shape.width.min(width)) as f32 * random.between(0.1, 0.9);
    let top = bar as f32 + (room - shape.height as f32).max(0.0) * random.between(0.1, 0.9);
    scene.paint(&shape, left as i64, top as i64, *random.pick(&[srgb(0, 0, 0), srgb(0, 0, 0), srgb(200, 30, 30)]), 1.0);
    let image = scene.photographed(random, 0.0);
    Ok(Specimen::digit(label, origin, encode::file(&image.into(), image::ImageFormat::Png)?))
}

/// A circle drawn round the digit by hand, not quite closed.
pub fn circled(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (360, 300);
    let mut scene = paper(random, width, height);
    let size = random.scale(60.0, 130.0);
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    let half = (shape.width as f32 / 2.0).hypot(shape.height as f32 / 2.0) * random.between(1.08, 1.35);
    let (x, y) = (180.0 + random.between(-30.0, 30.0), 150.0 + random.between(-15.0, 15.0));
    let stretch = random.between(0.92, 1.12);
    let mut circle = Shape::empty(width, height);
    let (start, turn) = (random.between(0.0, TAU), TAU * random.between(0.96, 1.04));
    let point = |step: usize| {
        let share = step as f32 / 60.0;
        let (angle, radius) = (start + turn * share, half * (1.0 + 0.06 * share));
        (x + stretch * radius * angle.cos(), y + radius * angle.sin())
    };
    let pen_width = size * random.between(0.02, 0.05);
    for step in 0..60 {
        circle.stroke(point(step), point(step + 1), pen_width.max(1.2) / 2.0);
    }
    let ink = pen(random);
    scene.paint(&circle, 0, 0, if random.chance(0.5) { ink } else { pen(random) }, 0.95);
    let (left, top) = (x - shape.width as f32 / 2.0, y - shape.height as f32 / 2.0);
    scene.paint(&shape, left as i64, top as i64, ink, random.between(0.85, 1.0));
    photographed(scene, random, label, origin, 0.4)
}
