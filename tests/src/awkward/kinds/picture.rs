//! Pictures of other things: clothes and photographs.

use super::super::random::Random;
use super::super::{Sources, Specimen, encode};
use anyhow::{Context, Result};
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageFormat, Luma};

fn garment(sources: &Sources, random: &mut Random) -> Result<(GrayImage, String)> {
    let (garment, name) = sources.garment(random)?;
    let image = GrayImage::from_raw(28, 28, garment.iter().copied().collect()).context("28×28 pixels")?;
    Ok((image, name))
}

/// Fashion-MNIST's images as they are.
pub fn fashion(sources: &Sources, _: usize, random: &mut Random) -> Result<Specimen> {
    let (image, name) = garment(sources, random)?;
    Ok(Specimen::no_digit(name, encode::file(&image.into(), ImageFormat::Png)?))
}

/// Fashion-MNIST's images enlarged, with a margin, and two in three dark on light.
pub fn fashion_enlarged(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let (small, name) = garment(sources, random)?;
    let side = random.scale(56.0, 280.0) as u32;
    let margin = (side as f32 * random.between(0.0, 0.5)) as u32;
    let large = imageops::resize(&small, side, side, FilterType::CatmullRom);
    let mut image = GrayImage::from_pixel(side + 2 * margin, side + 2 * margin, Luma([0]));
    imageops::replace(&mut image, &large, margin.into(), margin.into());
    if !index.is_multiple_of(3) {
        imageops::invert(&mut image);
    }
    Ok(Specimen::no_digit(name, encode::any(DynamicImage::from(image).into_rgb8(), random)?))
}

/// Photographs, whole at first and then parts of a third and more of each side, 48 to 480 pixels large.
pub fn photo(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    let (photo, name) = sources.photo(index)?;
    let (width, height) = photo.dimensions();
    let whole = index < sources.photos();
    let mut part = |extent: u32| {
        let taken = if whole { extent } else { (extent as f32 * random.between(0.33, 1.0)) as u32 };
        (random.below((extent - taken) as usize + 1) as u32, taken)
    };
    let ((left, across), (top, down)) = (part(width), part(height));
    let part = imageops::crop_imm(photo, left, top, across, down).to_image();
    let zoom = random.scale(48.0, 480.0) / across.max(down) as f32;
    let extent = |pixels: u32| ((pixels as f32 * zoom).round() as u32).max(8);
    let image = imageops::thumbnail(&part, extent(across), extent(down));
    Ok(Specimen::no_digit(name.to_owned(), encode::any(image, random)?))
}
