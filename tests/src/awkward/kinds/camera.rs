//! Photographs of handwritten digits on paper.

use super::super::light::Light;
use super::super::random::Random;
use super::super::scene::{Colour, Scene, srgb};
use super::super::shape::Shape;
use super::super::texture::Texture;
use super::super::{Sources, Specimen, encode};
use anyhow::Result;
use image::RgbImage;

/// Writing paper: white to cream, slightly rough.
pub fn paper(random: &mut Random, width: usize, height: usize) -> Scene {
    let level = 225 + random.below(28) as u8;
    let warm = random.below(26) as u8;
    let mut scene = Scene::plain(width, height, srgb(level, level - warm / 3, level - warm));
    let strength = random.between(0.02, 0.12);
    let grain = random.scale(1.5, 8.0);
    scene.texture(random, grain, strength);
    scene
}

/// The colour of an ordinary pen.
pub fn pen(random: &mut Random) -> Colour {
    *random.pick(&[
        srgb(25, 25, 30),
        srgb(50, 50, 55),
        srgb(30, 45, 130),
        srgb(45, 70, 165),
        srgb(170, 35, 40),
        srgb(25, 105, 60),
    ])
}

/// A digit `height` pixels high, either drawn with a pen or as thick as in MNIST.
pub fn digit(sources: &Sources, random: &mut Random, height: f32, degrees: f32) -> (Shape, u8, String) {
    let (digit, label, origin) = sources.digit(random);
    let shape = if random.chance(0.5) {
        Shape::handwritten(digit, height, degrees)
    } else {
        let width = height * random.scale(0.04, 0.12);
        Shape::drawn(digit, height, degrees, width.max(1.2))
    };
    (shape, label, origin)
}

/// A random position at which the shape fits into the scene.
pub fn place(random: &mut Random, scene: &Scene, shape: &Shape, margin: f32) -> (i64, i64) {
    let mut along = |extent: usize, taken: usize| {
        let edge = margin * extent as f32;
        random.between(edge, (extent as f32 - taken as f32 - edge).max(edge)) as i64
    };
    (along(scene.width, shape.width), along(scene.height, shape.height))
}

fn lit(scene: &mut Scene, light: &Light) {
    let longer = scene.width.max(scene.height) as f32;
    scene.shade(|x, y| light.at(x, y, longer));
}

/// A telephone's photograph of the scene: slight blur, noise, JPEG.
fn shot(scene: &mut Scene, random: &mut Random, label: u8, origin: String) -> Result<Specimen> {
    scene.blur(random.between(0.0, 1.6));
    let noise = random.between(1.0, 6.0);
    let image = scene.photographed(random, noise);
    Ok(Specimen::digit(label, origin, encode::jpeg(&image, 70 + random.below(25) as u8)?))
}

/// A photograph of a sheet of paper, 3000×2000 or 2000×3000, with a digit that spans an eighth to three quarters of the
/// shorter side. It is rendered at half the size and enlarged, since a camera's sensor also interpolates each colour
/// from every second pixel.
pub fn photograph(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = if random.chance(0.7) { (1500, 1000) } else { (1000, 1500) };
    let mut scene = paper(random, width, height);
    let size = random.scale(120.0, 750.0);
    let degrees = random.between(-4.0, 4.0);
    let (shape, label, origin) = digit(sources, random, size, degrees);
    let (left, top) = place(random, &scene, &shape, 0.04);
    scene.paint(&shape, left, top, pen(random), random.between(0.85, 1.0));
    let strength = random.between(0.3, 1.0);
    let mut light = Light::uneven(random, width, height, strength);
    if random.chance(0.5) {
        light.shadow(random, (0.05, 0.5), (0.4, 0.8));
    }
    lit(&mut scene, &light);
    scene.blur(random.between(0.0, 1.0));
    let noise = random.between(1.0, 6.0);
    let image = doubled(&scene.photographed(random, noise));
    Ok(Specimen::digit(label, origin, encode::jpeg(&image, 70 + random.below(25) as u8)?))
}

/// Doubles the width and height by linear interpolation.
fn doubled(image: &RgbImage) -> RgbImage {
    // The nearer of the two closest pixels is a quarter of a pixel away, the other three quarters.
    let mixed = |near: u8, far: u8| ((3 * u16::from(near) + u16::from(far) + 2) / 4) as u8;
    let nearest = |at: usize, extent: usize| {
        let far = if at.is_multiple_of(2) { (at / 2).saturating_sub(1) } else { (at / 2 + 1).min(extent - 1) };
        (at / 2, far)
    };
    let (width, height) = (image.width() as usize, image.height() as usize);
    let rows: Vec<&[u8]> = image.chunks_exact(3 * width).collect();
    let mut bytes = Vec::with_capacity(12 * width * height);
    for y in 0..2 * height {
        let (near, far) = nearest(y, height);
        let row: Vec<u8> = rows[near].iter().zip(rows[far]).map(|(&near, &far)| mixed(near, far)).collect();
        let pixels = row.as_chunks::<3>().0;
        for x in 0..2 * width {
            let (near, far) = nearest(x, width);
            bytes.extend([0, 1, 2].map(|channel| mixed(pixels[near][channel], pixels[far][channel])));
        }
    }
    RgbImage::from_raw(2 * width as u32, 2 * height as u32, bytes).expect("three bytes a pixel")
}

/// The shadow of a hand, a head or the telephone on the paper, its edge often across the digit.
pub fn shadow(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (1000, 750);
    let mut scene = paper(random, width, height);
    let size = random.scale(120.0, 550.0);
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    let (left, top) = place(random, &scene, &shape, 0.04);
    scene.paint(&shape, left, top, pen(random), random.between(0.85, 1.0));
    let mut light = Light::uneven(random, width, height, 0.5);
    for _ in 0..=random.below(2) {
        light.shadow(random, (0.01, 0.2), (0.3, 0.7));
    }
    lit(&mut scene, &light);
    shot(&mut scene, random, label, origin)
}

/// Ink hardly darker than its paper.
pub fn low_contrast(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (400 + random.below(400), 400 + random.below(400));
    let level = 90 + random.below(150) as u8;
    let mut scene = Scene::plain(width, height, srgb(level, level, level));
    scene.texture(random, 3.0, 0.04);
    let size = random.scale(100.0, 350.0);
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    let (left, top) = place(random, &scene, &shape, 0.04);
    let step = 26 + random.below(30) as u8;
    let ink = level - step.min(level);
    scene.paint(&shape, left, top, srgb(ink, ink, ink), 1.0);
    let light = Light::uneven(random, width, height, 0.15);
    lit(&mut scene, &light);
    let noise = random.between(1.0, 4.0);
    let image = scene.photographed(random, noise);
    Ok(Specimen::digit(label, origin, encode::any(image, random)?))
}

/// Too close to the lens.
pub fn out_of_focus(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (640, 480);
    let mut scene = paper(random, width, height);
    let size = random.scale(120.0, 380.0);
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    let (left, top) = place(random, &scene, &shape, 0.06);
    scene.paint(&shape, left, top, pen(random), 1.0);
    let light = Light::uneven(random, width, height, 0.4);
    lit(&mut scene, &light);
    scene.blur(size * random.between(0.02, 0.055));
    shot(&mut scene, random, label, origin)
}

/// Paper or telephone held at an angle.
pub fn turned(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (600 + random.below(400), 600 + random.below(400));
    let mut scene = paper(random, width, height);
    let size = random.scale(100.0, 450.0);
    let degrees = random.between(-10.0, 10.0);
    let (shape, label, origin) = digit(sources, random, size, degrees);
    let (left, top) = place(random, &scene, &shape, 0.04);
    scene.paint(&shape, left, top, pen(random), random.between(0.85, 1.0));
    let light = Light::uneven(random, width, height, 0.4);
    lit(&mut scene, &light);
    shot(&mut scene, random, label, origin)
}

/// The sheet does not fill the image: one to four of its edges are visible, with the table beyond.
pub fn table(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (1000, 750);
    let mut scene = paper(random, width, height);
    let sheet = Sheet::new(random, width as f32, height as f32);
    let size = sheet.height() * random.between(0.25, 0.75);
    let (shape, label, origin) = digit(sources, random, size.min(sheet.width() * 0.8), sheet.degrees);
    let spare = (sheet.width() - shape.width as f32, sheet.height() - shape.height as f32);
    let left = sheet.left.max(0.0) + spare.0 * random.between(0.2, 0.8);
    let top = sheet.top.max(0.0) + spare.1 * random.between(0.2, 0.8);
    scene.paint(&shape, left as i64, top as i64, pen(random), random.between(0.85, 1.0));
    sheet.lay_on_table(&mut scene, random);
    let mut light = Light::uneven(random, width, height, 0.4);
    if random.chance(0.3) {
        light.shadow(random, (0.05, 0.3), (0.5, 0.8));
    }
    lit(&mut scene, &light);
    shot(&mut scene, random, label, origin)
}

/// A rectangular sheet of paper, slightly rotated. Sides outside the image are not visible.
struct Sheet {
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
    degrees: f32,
}

impl Sheet {
    fn new(random: &mut Random, width: f32, height: f32) -> Self {
        let seen = [0; 4].map(|_| random.chance(0.55));
        let mut inset = |seen: bool, extent: f32| if seen { extent * random.between(0.05, 0.25) } else { -extent };
        let (left, top) = (inset(seen[0], width), inset(seen[1], height));
        let (right, bottom) = (width - inset(seen[2] || seen == [false; 4], width), height - inset(seen[3], height));
        Self { left, top, right, bottom, degrees: random.between(-6.0, 6.0) }.clipped(width, height)
    }

    /// Moves sides outside the image to a distance at which rotation does not bring them into view.
    fn clipped(self, width: f32, height: f32) -> Self {
        let (x, y) = (0.12 * height, 0.12 * width);
        Self {
            left: self.left.max(-x),
            top: self.top.max(-y),
            right: self.right.min(width + x),
            bottom: self.bottom.min(height + y),
            ..self
        }
    }

    fn width(&self) -> f32 {
        self.right.min(1000.0) - self.left.max(0.0)
    }

    fn height(&self) -> f32 {
        self.bottom.min(750.0) - self.top.max(0.0)
    }

    fn lay_on_table(&self, scene: &mut Scene, random: &mut Random) {
        let table = *random.pick(&[
            srgb(60, 40, 28),
            srgb(110, 75, 45),
            srgb(45, 45, 48),
            srgb(150, 110, 70),
            srgb(30, 60, 60),
            srgb(95, 95, 100),
        ]);
        let grain = Texture::new(random);
        let (sin, cos) = self.degrees.to_radians().sin_cos();
        let (middle_x, middle_y) = (f32::midpoint(self.left, self.right), f32::midpoint(self.top, self.bottom));
        let half = ((self.right - self.left) / 2.0, (self.bottom - self.top) / 2.0);
        for y in 0..scene.height {
            for x in 0..scene.width {
                let (right, down) = (x as f32 - middle_x, y as f32 - middle_y);
                let along = (cos * right + sin * down).abs() - half.0;
                let across = (cos * down - sin * right).abs() - half.1;
                let outside = along.max(across).clamp(0.0, 1.0);
                if outside == 0.0 {
                    continue;
                }
                let wood = 1.0 + 0.5 * grain.at(x as f32 / 160.0, y as f32 / 6.0);
                scene.blend(x, y, table.map(|level| level * wood), outside);
            }
        }
    }
}
