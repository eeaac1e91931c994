//! Encodes images as files in memory.

use super::random::Random;
use anyhow::Result;
use image::{DynamicImage, ImageFormat, RgbImage};
use jpeg_encoder::{ColorType, Encoder};
use std::io::Cursor;

/// Encodes an image in this format.
pub fn file(image: &DynamicImage, format: ImageFormat) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format)?;
    Ok(bytes.into_inner())
}

/// Encodes a JPEG with this quality, 1 to 100. Below 90 its chroma is subsampled (4:2:0), as in a camera's.
pub fn jpeg(image: &RgbImage, quality: u8) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (width, height) = (u16::try_from(image.width())?, u16::try_from(image.height())?);
    Encoder::new(&mut bytes, quality).encode(image, width, height, ColorType::Rgb)?;
    Ok(bytes)
}

/// Encodes an image in a random common format.
pub fn any(image: RgbImage, random: &mut Random) -> Result<Vec<u8>> {
    let format =
        *random.pick(&[ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Pnm]);
    match format {
        ImageFormat::Jpeg => jpeg(&image, 75 + random.below(20) as u8),
        format => file(&image.into(), format),
    }
}

/// Adds an EXIF orientation to a JPEG (Exif 2.3, tag 0x0112).
#[must_use]
pub fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut segment = vec![0xff, 0xe1, 0, 34];
    segment.extend(b"Exif\0\0II*\0\x08\0\0\0\x01\0");
    segment.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0]);
    [&jpeg[..2], &segment, &jpeg[2..]].concat()
}
