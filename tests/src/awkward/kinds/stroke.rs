//! Writing tools.

use super::super::light::Light;
use super::super::random::Random;
use super::super::scene::{Scene, srgb};
use super::super::shape::Shape;
use super::super::{Sources, Specimen, encode};
use super::camera::{paper, place};
use anyhow::Result;

fn finished(mut scene: Scene, random: &mut Random, label: u8, origin: String) -> Result<Specimen> {
    let light = Light::uneven(random, scene.width, scene.height, 0.4);
    let longer = scene.width.max(scene.height) as f32;
    scene.shade(|x, y| light.at(x, y, longer));
    let noise = random.between(0.0, 4.0);
    let image = scene.photographed(random, noise);
    Ok(Specimen::digit(label, origin, encode::any(image, random)?))
}

/// Felt-tips and highlighters, some hardly darker than the paper.
pub fn pens(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let mut scene = paper(random, 500, 500);
    let size = random.scale(100.0, 350.0);
    let (digit, label, origin) = sources.digit(random);
    let shape = Shape::drawn(digit, size, 0.0, size * random.scale(0.05, 0.14));
    let (left, top) = place(random, &scene, &shape, 0.05);
    let ink = *random.pick(&[
        srgb(30, 45, 150),
        srgb(20, 90, 200),
        srgb(190, 30, 40),
        srgb(230, 60, 60),
        srgb(20, 120, 60),
        srgb(70, 170, 80),
        srgb(235, 130, 30),
        srgb(130, 50, 150),
        srgb(235, 90, 160),
        srgb(60, 180, 220),
        srgb(245, 225, 60),
        srgb(20, 20, 20),
    ]);
    scene.paint(&shape, left, top, ink, random.between(0.8, 1.0));
    finished(scene, random, label, origin)
}

/// Grey and grainy.
pub fn pencil(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let mut scene = paper(random, 600, 450);
    let size = random.scale(100.0, 350.0);
    let (digit, label, origin) = sources.digit(random);
    let mut shape = Shape::drawn(digit, size, 0.0, size * random.scale(0.03, 0.08));
    shape.roughen(random, 1.3, 0.6);
    let (left, top) = place(random, &scene, &shape, 0.05);
    let grey = 70 + random.below(60) as u8;
    scene.paint(&shape, left, top, srgb(grey, grey, grey), random.between(0.6, 0.9));
    finished(scene, random, label, origin)
}

/// Lines far thinner than in MNIST, down to 1.5 % of the digit's height.
pub fn thin(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (200 + random.below(500), 200 + random.below(500));
    let ground = 235 + random.below(20) as u8;
    let mut scene = Scene::plain(width, height, srgb(ground, ground, ground));
    let size = width.min(height) as f32 * random.between(0.35, 0.85);
    let (digit, label, origin) = sources.digit(random);
    let shape = Shape::drawn(digit, size, 0.0, (size * random.scale(0.015, 0.045)).max(1.0));
    let (left, top) = place(random, &scene, &shape, 0.03);
    let ink = random.below(90) as u8;
    scene.paint(&shape, left, top, srgb(ink, ink, ink), 1.0);
    finished(scene, random, label, origin)
}

/// Lines far thicker than in MNIST, up to the point where loops would close.
pub fn marker(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (300 + random.below(300), 300 + random.below(300));
    let mut scene = paper(random, width, height);
    let size = width.min(height) as f32 * random.between(0.35, 0.75);
    let (digit, label, origin) = sources.digit(random);
    let shape = Shape::drawn(digit, size, 0.0, size * random.between(0.14, 0.22));
    let (left, top) = place(random, &scene, &shape, 0.02);
    let ink = *random.pick(&[srgb(15, 15, 15), srgb(30, 40, 120), srgb(150, 25, 30), srgb(20, 90, 50)]);
    scene.paint(&shape, left, top, ink, random.between(0.85, 1.0));
    finished(scene, random, label, origin)
}

/// A brush or a broad marker: lines of a sixth to a fifth of the digit's height, sometimes with dry bristles.
pub fn brush(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (200 + random.below(250), 200 + random.below(250));
    let mut scene = paper(random, width, height);
    let size = width.min(height) as f32 * random.between(0.4, 0.65);
    let (digit, label, origin) = sources.digit(random);
    // The width is added to the size.
    let mut shape = Shape::drawn(digit, size, 0.0, size * random.between(0.19, 0.26));
    if random.chance(0.3) {
        shape.roughen(random, 2.0, 0.35);
    }
    let (left, top) = place(random, &scene, &shape, 0.03);
    let ink = *random.pick(&[srgb(15, 15, 15), srgb(15, 15, 15), srgb(30, 40, 120), srgb(150, 25, 30)]);
    scene.paint(&shape, left, top, ink, random.between(0.85, 1.0));
    finished(scene, random, label, origin)
}

/// Ink and background that differ more in colour than in brightness.
pub fn coloured(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let pairs = [
        ((210, 30, 30), (20, 20, 110)),
        ((200, 40, 40), (40, 100, 40)),
        ((255, 235, 80), (250, 250, 250)),
        ((250, 160, 60), (60, 170, 180)),
        ((40, 90, 200), (130, 70, 60)),
        ((230, 230, 230), (240, 200, 60)),
        ((60, 60, 160), (60, 120, 60)),
        ((250, 120, 170), (150, 170, 190)),
    ];
    let &(ink, ground) = random.pick(&pairs);
    let mut scene = Scene::plain(400, 400, srgb(ground.0, ground.1, ground.2));
    scene.texture(random, 3.0, 0.05);
    let size = random.scale(100.0, 300.0);
    let (digit, label, origin) = sources.digit(random);
    let shape = Shape::drawn(digit, size, 0.0, size * random.scale(0.06, 0.14));
    let (left, top) = place(random, &scene, &shape, 0.05);
    scene.paint(&shape, left, top, srgb(ink.0, ink.1, ink.2), random.between(0.9, 1.0));
    finished(scene, random, label, origin)
}
