//! A picture file becomes the network's input, the same way wherever a model is used.

use crate::card::{Content, Input};
use crate::digit;
use anyhow::{Context, Result, bail};
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageReader, RgbImage, Rgba};
use ndarray::Array3;
use std::io::Cursor;
use std::path::Path;

/// Longest accepted side of a picture, in pixels: what the largest cameras yield. Checked before decoding.
const MAX_SIDE: u32 = 20_000;

/// Most memory that decoding one picture may take, in bytes.
const MAX_ALLOCATION: u64 = 1 << 30;

/// Decodes a picture file. The format is told by its content, not by its name.
pub fn open(path: &Path) -> Result<DynamicImage> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    decode(&bytes).with_context(|| format!("{} is not a picture that can be read", path.display()))
}

/// Decodes a picture from memory.
pub fn decode(bytes: &[u8]) -> Result<DynamicImage> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    if reader.format().is_none() {
        bail!("its content is none of the formats this program reads (PNG, JPEG, BMP, PNM)");
    }
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOCATION);
    reader.limits(limits);
    Ok(reader.decode()?)
}

/// Turns any picture into a model's input, `[C, H, W]`, values 0 to 255.
///
/// A picture that already has the input's size goes through untouched, but for its colours. Any other is prepared as
/// a digit ([`digit::prepare`]) if the model's card says so; otherwise it is resized with anti-aliasing so that it
/// covers the input, and its centre is cut out (torchvision's `Resize` and `CenterCrop`).
pub fn prepare(picture: &DynamicImage, input: &Input) -> Result<Array3<u8>> {
    let size = (u32::try_from(input.width)?, u32::try_from(input.height)?);
    let picture = &over_white(picture);
    let bytes = match (input.channels, input.content) {
        (1, Content::Digit { polarity }) => digit::prepare(&picture.to_luma8(), polarity, size)?.into_raw(),
        (1, Content::Picture) => cover(picture, size).to_luma8().into_raw(),
        (3, _) => planes(&cover(picture, size).to_rgb8()),
        (channels, _) => bail!("a picture has no {channels} channels: expected a model of 1 or 3"),
    };
    Ok(Array3::from_shape_vec((input.channels, input.height, input.width), bytes)?)
}

/// The picture as it looks on white paper: transparent parts become white.
fn over_white(picture: &DynamicImage) -> DynamicImage {
    if !picture.color().has_alpha() {
        return picture.clone();
    }
    let mut paper = image::RgbaImage::from_pixel(picture.width(), picture.height(), Rgba([255; 4]));
    imageops::overlay(&mut paper, &picture.to_rgba8(), 0, 0);
    DynamicImage::ImageRgba8(paper)
}

/// Resizes so that the picture covers `(width, height)`, and cuts out its centre.
fn cover(picture: &DynamicImage, (width, height): (u32, u32)) -> DynamicImage {
    if (picture.width(), picture.height()) == (width, height) {
        return picture.clone();
    }
    picture.resize_to_fill(width, height, FilterType::Triangle)
}

/// `[H, W, 3]` to `[3, H, W]`.
fn planes(picture: &RgbImage) -> Vec<u8> {
    (0..3).flat_map(|channel| picture.pixels().map(move |pixel| pixel[channel])).collect()
}

/// A model's input of one channel as a picture, to look at.
#[must_use]
pub fn grey(values: &[u8], width: usize, height: usize) -> Option<GrayImage> {
    GrayImage::from_raw(u32::try_from(width).ok()?, u32::try_from(height).ok()?, values.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Polarity;
    use image::Rgb;

    fn input(channels: usize, content: Content) -> Input {
        Input {
            name: "image".into(),
            layout: "NCHW".into(),
            element: "uint8".into(),
            channels,
            height: 28,
            width: 28,
            content,
        }
    }

    #[test]
    fn a_picture_of_the_right_size_is_not_touched() {
        let picture = GrayImage::from_fn(28, 28, |x, y| image::Luma([if x == y { 200 } else { 0 }]));
        let content = Content::Digit { polarity: Polarity::LightOnDark };
        let prepared = prepare(&picture.clone().into(), &input(1, content)).unwrap();
        assert_eq!(prepared.into_raw_vec_and_offset().0, picture.into_raw());
    }

    #[test]
    fn colours_become_planes() {
        let picture = RgbImage::from_pixel(28, 28, Rgb([1, 2, 3]));
        let prepared = prepare(&picture.into(), &input(3, Content::Picture)).unwrap();
        assert_eq!((prepared[[0, 5, 5]], prepared[[1, 5, 5]], prepared[[2, 5, 5]]), (1, 2, 3));
    }

    #[test]
    fn a_wide_picture_keeps_its_centre() {
        let picture =
            RgbImage::from_fn(112, 56, |x, _| if (28..84).contains(&x) { Rgb([9; 3]) } else { Rgb([200; 3]) });
        let prepared = prepare(&picture.into(), &input(3, Content::Picture)).unwrap();
        assert_eq!(prepared[[0, 14, 14]], 9);
        assert_eq!(prepared[[0, 14, 2]], 9);
    }

    #[test]
    fn text_is_not_a_picture() {
        let message = format!("{:#}", decode(b"hello, I am a text file").unwrap_err());
        assert!(message.contains("none of the formats"), "{message}");
    }
}
