//! Awkward file formats and crops.

use super::super::light::Light;
use super::super::random::Random;
use super::super::scene::{Scene, level_of, srgb};
use super::super::shape::Shape;
use super::super::{Sources, Specimen, encode};
use super::camera::{digit, paper, pen, place};
use anyhow::{Context, Result};
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgba, RgbaImage};

/// Strongly compressed JPEGs.
pub fn artefacts(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let side = random.scale(90.0, 500.0);
    let height = side * random.between(0.8, 1.2);
    let mut scene = paper(random, side as usize, height as usize);
    let size = side * random.between(0.3, 0.65);
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    let (left, top) = place(random, &scene, &shape, 0.06);
    scene.paint(&shape, left, top, pen(random), 1.0);
    let noise = random.between(0.0, 5.0);
    let image = scene.photographed(random, noise);
    Ok(Specimen::digit(label, origin, encode::jpeg(&image, 10 + random.below(31) as u8)?))
}

/// Stored as the sensor saw it, upside down or sideways, with an EXIF orientation.
pub fn orientation(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let mut scene = paper(random, 800, 600);
    let size = random.scale(120.0, 450.0);
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    let (left, top) = place(random, &scene, &shape, 0.05);
    scene.paint(&shape, left, top, pen(random), random.between(0.85, 1.0));
    let light = Light::uneven(random, 800, 600, 0.4);
    scene.shade(|x, y| light.at(x, y, 800.0));
    let noise = random.between(1.0, 5.0);
    let image = DynamicImage::from(scene.photographed(random, noise));
    let (stored, orientation) = match index % 3 {
        0 => (image.rotate180(), 3),
        1 => (image.rotate270(), 6),
        _ => (image.rotate90(), 8),
    };
    let bytes = encode::with_orientation(&encode::jpeg(&stored.into_rgb8(), 85)?, orientation);
    Ok(Specimen::digit(label, origin, bytes))
}

/// Ink on a transparent background, as drawing programs store it. One in four has light ink, made for a dark page.
pub fn transparent(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (width, height) = (100 + random.below(400), 100 + random.below(400));
    let size = width.min(height) as f32 * random.between(0.4, 0.85);
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    let scene = Scene::plain(width, height, [0.0; 3]);
    let (left, top) = place(random, &scene, &shape, 0.03);
    let ink =
        if random.chance(0.25) { [245, 245, 240] } else { *random.pick(&[[0, 0, 0], [30, 30, 120], [180, 30, 30]]) };
    // The colour of a transparent pixel is invisible; programs leave black, white or the ink's colour.
    let hidden = *random.pick(&[[0, 0, 0], [255, 255, 255], ink]);
    let mut image = RgbaImage::from_pixel(width as u32, height as u32, Rgba([hidden[0], hidden[1], hidden[2], 0]));
    for (index, &coverage) in shape.coverage.iter().enumerate() {
        let (x, y) = (left + (index % shape.width) as i64, top + (index / shape.width) as i64);
        if coverage > 0.0 && (0..width as i64).contains(&x) && (0..height as i64).contains(&y) {
            image.put_pixel(x as u32, y as u32, Rgba([ink[0], ink[1], ink[2], (coverage * 255.0) as u8]));
        }
    }
    let format = *random.pick(&[ImageFormat::Png, ImageFormat::WebP]);
    Ok(Specimen::digit(label, origin, encode::file(&image.into(), format)?))
}

/// A 16-bit greyscale scan, which may use only part of the range.
pub fn sixteen_bits(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let mut scene = paper(random, 300, 300);
    let size = random.scale(90.0, 240.0);
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    let (left, top) = place(random, &scene, &shape, 0.04);
    scene.paint(&shape, left, top, pen(random), 1.0);
    let (low, high) = (random.between(0.0, 12_000.0), random.between(40_000.0, 65_535.0));
    let levels = scene.pixels.iter().map(|pixel| {
        let grey = level_of(0.2126 * pixel[0] + 0.7152 * pixel[1] + 0.0722 * pixel[2]) / 255.0;
        (low + (high - low) * grey + 300.0 * random.normal()).clamp(0.0, 65_535.0) as u16
    });
    let image: ImageBuffer<Luma<u16>, Vec<u16>> =
        ImageBuffer::from_raw(300, 300, levels.collect()).context("two bytes a pixel")?;
    Ok(Specimen::digit(label, origin, encode::file(&image.into(), ImageFormat::Png)?))
}

/// Cropped so closely that only one to three pixels of paper are left around the ink.
pub fn cropped(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let size = random.scale(24.0, 400.0);
    let (shape, label, origin) = digit(sources, random, size, 0.0);
    let mut margin = || random.below(3) + 1;
    let (left, right, top, bottom) = (margin(), margin(), margin(), margin());
    let mut scene = paper(random, shape.width + left + right, shape.height + top + bottom);
    scene.paint(&shape, left as i64, top as i64, pen(random), 1.0);
    let noise = random.between(0.0, 4.0);
    let image = scene.photographed(random, noise);
    Ok(Specimen::digit(label, origin, encode::any(image, random)?))
}

/// Dark-on-light thumbnails with a side of 18 to 48 pixels.
pub fn small(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let side = 18 + random.below(31);
    let size = side as f32 * random.between(0.55, 0.85);
    let (digit, label, origin) = sources.digit(random);
    let shape = Shape::handwritten(digit, size, 0.0);
    let level = 200 + random.below(55) as u8;
    let mut scene = Scene::plain(side, side, srgb(level, level, level));
    let (left, top) = place(random, &scene, &shape, 0.04);
    scene.paint(&shape, left, top, srgb(30, 30, 30), 1.0);
    let noise = random.between(0.0, 4.0);
    let image = scene.photographed(random, noise);
    Ok(Specimen::digit(label, origin, encode::any(image, random)?))
}
