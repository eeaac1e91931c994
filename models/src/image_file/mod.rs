//! Turns an image file into the network's input, in the same way for training and deployment.
//!
//! `file` decodes the file and turns the image upright (`jpeg` decodes JPEG), within the budget of `memory`. [`Reader`]
//! then converts it to the network's size and channels.

mod colours;
mod file;
mod jpeg;
mod memory;
mod metadata;
mod resample;
mod resize;

use file::{Decoded, Limits};
use resize::resized;

pub use colours::has_many_colours;
pub use file::{FORMATS, Formats, ImageForm, MAX_PIXELS, form, has_image_ending};

use crate::card::{Content, Input, Polarity};
use crate::digit::{self, Reading};
use crate::files;
use anyhow::{Context, Result, bail};
use image::{DynamicImage, GenericImageView, GrayImage, ImageFormat, Pixel, Rgb, RgbImage};
use ndarray::{Array3, ArrayView3};
use std::io::Cursor;
use std::path::Path;

/// Options for reading image files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Most pixels an image may have; larger images are refused by their header, before decoding.
    pub max_pixels: u64,
    /// Polarity of the digits in the images; `None` detects it for each image. No effect on other images.
    pub polarity: Option<Polarity>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { max_pixels: MAX_PIXELS, polarity: None }
    }
}

impl Reader {
    /// Reads an image file as a model's input, `[C, H, W]`, values 0 to 255: the most plausible of its
    /// [`Self::readings`].
    ///
    /// For digits, `predict` lets the network choose among the readings instead.
    pub fn read(&self, path: &Path, input: &Input) -> Result<Array3<u8>> {
        let pixels = self.readings(path, input)?.swap_remove(0).pixels;
        Ok(Array3::from_shape_vec((input.channels, input.height, input.width), pixels)?)
    }

    /// Reads an image file in every way that is plausible: 1 to 8 readings of a digit, one reading of anything else.
    pub fn readings(&self, path: &Path, input: &Input) -> Result<Vec<Reading>> {
        let Decoded { image, reduction, share: _share } = file::open(path, self.limits(input))?;
        let readings = self.prepare(image, input).with_context(|| format!("{} cannot be used", files::name(path)))?;
        Ok(at_full_size(readings, reduction))
    }

    /// Like [`Self::readings`], for an image file in memory. Error messages call it `name`.
    pub fn from_bytes(&self, name: &str, bytes: &[u8], input: &Input) -> Result<Vec<Reading>> {
        let decoded = file::decode(bytes, self.limits(input));
        let Decoded { image, reduction, share: _share } =
            decoded.with_context(|| format!("{name} is not an image that can be read"))?;
        let readings = self.prepare(image, input).with_context(|| format!("{name} cannot be used"))?;
        Ok(at_full_size(readings, reduction))
    }

    /// Like [`Self::readings`], for an image file that comes through a pipe; reads it to its end. Error messages call
    /// it `name`.
    pub fn read_from(&self, name: &str, source: impl std::io::Read, input: &Input) -> Result<Vec<Reading>> {
        let bytes = file::bytes(source, 0).with_context(|| format!("cannot read {name}"))?;
        self.from_bytes(name, &bytes, input)
    }

    fn limits(&self, input: &Input) -> Limits {
        let rows = input.resize.before_crop(input.height);
        Limits { max_pixels: self.max_pixels, rows }
    }

    /// The polarity that images for this input are converted to; `None` if they are not prepared as digits.
    /// [`Reader::polarity`] only has an effect if it is `Some`.
    #[must_use]
    pub fn digit_polarity(input: &Input) -> Option<Polarity> {
        match (input.channels, input.content) {
            (1, Content::Digit { polarity }) => Some(polarity),
            _ => None,
        }
    }

    /// Turns any image into a model's input, at least one reading of it.
    ///
    /// Transparent parts become white, or black around a digit in light ink.
    ///
    /// For a model of one channel whose card says that images show a digit, the image is prepared as a digit
    /// ([`digit::readings`]). Otherwise, an image that already has the input's size is only converted to its channels.
    /// Any other image is resized and cropped as [`crate::card::Resize`] says.
    pub fn prepare(&self, image: DynamicImage, input: &Input) -> Result<Vec<Reading>> {
        let size = (u32::try_from(input.width)?, u32::try_from(input.height)?);
        let digit = Self::digit_polarity(input);
        let paper = if digit.is_some() && is_light_ink(&image) { BLACK } else { WHITE };
        let image = &over(paper, image);
        let pixels = match (input.channels, digit) {
            (_, Some(polarity)) => return digit::readings(image, self.polarity, polarity, size),
            // Training programs convert an image when they open it, and resize it afterwards.
            (1, None) => resized(&luma(image).into(), size, input.resize).to_luma8().into_raw(),
            (3, None) => planes(&resized(image, size, input.resize).to_rgb8()),
            (channels, _) => bail!("the model's images have {channels} channels: expected 1 or 3"),
        };
        Ok(vec![Reading::whole(pixels)])
    }
}

/// Turns the places in an image that was reduced by this factor into those in the whole image.
fn at_full_size(mut readings: Vec<Reading>, reduction: u16) -> Vec<Reading> {
    for place in readings.iter_mut().filter_map(|reading| reading.place.as_mut()) {
        for extent in [&mut place.left, &mut place.top, &mut place.width, &mut place.height] {
            *extent *= usize::from(reduction);
        }
    }
    readings
}

/// Grey levels.
const WHITE: u8 = 255;
const BLACK: u8 = 0;

/// Blends an image with transparency onto paper of this grey level, in place. Returns other images unchanged.
fn over(paper: u8, image: DynamicImage) -> DynamicImage {
    let (width, height) = (image.width(), image.height());
    match image {
        DynamicImage::ImageLumaA8(image) => GrayImage::from_raw(width, height, painted::<2>(paper, image.into_raw()))
            .map_or_else(DynamicImage::default, DynamicImage::ImageLuma8),
        DynamicImage::ImageRgba8(image) => RgbImage::from_raw(width, height, painted::<4>(paper, image.into_raw()))
            .map_or_else(DynamicImage::default, DynamicImage::ImageRgb8),
        other if other.color().has_alpha() => over(paper, other.into_rgba8().into()),
        other => other,
    }
}

/// Blends pixels of `N` channels, the last of which is the opacity, onto paper. The result has one channel less.
fn painted<const N: usize>(paper: u8, mut pixels: Vec<u8>) -> Vec<u8> {
    let count = pixels.len() / N;
    for index in 0..count {
        let opacity = u32::from(pixels[N * index + N - 1]);
        for channel in 0..N - 1 {
            let level = u32::from(pixels[N * index + channel]);
            let mixed = (level * opacity + u32::from(paper) * (255 - opacity) + 127) / 255;
            pixels[(N - 1) * index + channel] = mixed as u8;
        }
    }
    pixels.truncate((N - 1) * count);
    pixels
}

/// Whether an image with transparency is drawn for a dark page: on white nothing would be visible, or most of it is
/// transparent and the rest is light.
fn is_light_ink(image: &DynamicImage) -> bool {
    if !image.color().has_alpha() {
        return false;
    }
    let (mut light, mut opaque, mut pixels, mut darkest) = (0_u64, 0_u64, 0_u64, 255.0_f32);
    for (_, _, pixel) in image.pixels() {
        let [level, alpha] = pixel.to_luma_alpha().0.map(u64::from);
        light += level * alpha;
        opaque += alpha;
        pixels += 1;
        darkest = darkest.min(255.0 - (255 - level) as f32 * alpha as f32 / 255.0);
    }
    let is_invisible = opaque > 0 && opaque < 255 * pixels && 255.0 - darkest < digit::MIN_CONTRAST;
    is_invisible || (2 * opaque < 255 * pixels && light > 192 * opaque)
}

/// The grey levels of an image: those of a colour image as Pillow's `convert("L")`, torchvision's `Grayscale` and OpenCV
/// compute them, with the weights of ITU-R BT.601. The `image` crate would take those of BT.709.
fn luma(image: &DynamicImage) -> GrayImage {
    if !image.color().has_color() {
        return image.to_luma8();
    }
    let colours = image.to_rgb8();
    let grey = |&Rgb([red, green, blue]): &Rgb<u8>| {
        let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue) + 0x8000;
        (sum >> 16) as u8
    };
    let levels = colours.pixels().map(grey).collect();
    GrayImage::from_raw(colours.width(), colours.height(), levels).unwrap_or_default()
}

/// `[H, W, 3]` to `[3, H, W]`.
fn planes(image: &RgbImage) -> Vec<u8> {
    (0..3).flat_map(|channel| image.pixels().map(move |pixel| pixel[channel])).collect()
}

/// Encodes a model's input, `[C, H, W]` with 1 channel (grey) or 3 (RGB), as a PNG file for viewing.
pub fn png(values: ArrayView3<u8>) -> Result<Vec<u8>> {
    let (channels, height, width) = values.dim();
    let (columns, rows) = (u32::try_from(width)?, u32::try_from(height)?);
    // `[C, H, W]` to `[H, W, C]`.
    let pixels = values.permuted_axes([1, 2, 0]).iter().copied().collect();
    let image = match channels {
        1 => GrayImage::from_raw(columns, rows, pixels).map(DynamicImage::ImageLuma8),
        3 => RgbImage::from_raw(columns, rows, pixels).map(DynamicImage::ImageRgb8),
        _ => bail!("[{channels}, {height}, {width}] is not an image: expected 1 or 3 channels"),
    };
    let mut bytes = Cursor::new(Vec::new());
    image.context("the image is too large")?.write_to(&mut bytes, ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;

    fn input(channels: usize, content: Content) -> Input {
        Input::new(channels, 28, 28, content)
    }

    /// Prepares an image that has one reading.
    fn prepared(image: impl Into<DynamicImage>, input: &Input) -> Array3<u8> {
        let readings = Reader::default().prepare(image.into(), input).unwrap();
        let [Reading { pixels, .. }] = &readings[..] else { panic!("{readings:?}") };
        Array3::from_shape_vec((input.channels, input.height, input.width), pixels.clone()).unwrap()
    }

    #[test]
    fn an_image_of_the_right_size_is_not_touched() {
        let image = GrayImage::from_fn(28, 28, |x, y| image::Luma([if x == y { 200 } else { 0 }]));
        let content = Content::Digit { polarity: Polarity::LightOnDark };
        let prepared = prepared(image.clone(), &input(1, content));
        assert_eq!(prepared.into_raw_vec_and_offset().0, image.into_raw());
    }

    #[test]
    fn colours_become_planes() {
        let image = RgbImage::from_pixel(28, 28, Rgb([1, 2, 3]));
        let prepared = prepared(image, &input(3, Content::Image));
        assert_eq!((prepared[[0, 5, 5]], prepared[[1, 5, 5]], prepared[[2, 5, 5]]), (1, 2, 3));
    }

    #[test]
    fn an_input_becomes_an_image_file_and_comes_back() {
        for channels in [1, 3] {
            let values = Array3::from_shape_fn((channels, 28, 28), |(c, y, x)| (c * 70 + y * 5 + x) as u8);
            let file = png(values.view()).unwrap();
            let again = Reader::default().read_from("-", &file[..], &input(channels, Content::Image)).unwrap();
            assert_eq!(again[0].pixels, values.into_raw_vec_and_offset().0);
        }
        assert!(png(Array3::zeros((2, 4, 4)).view()).unwrap_err().to_string().contains("1 or 3 channels"));
    }

    #[test]
    fn only_a_grey_digit_is_prepared_as_one() {
        let polarity = Polarity::DarkOnLight;
        let digit = Content::Digit { polarity };
        assert_eq!(Reader::digit_polarity(&input(1, digit)), Some(polarity));
        assert_eq!(Reader::digit_polarity(&input(3, digit)), None);
        assert_eq!(Reader::digit_polarity(&input(1, Content::Image)), None);
    }

    /// From Pillow 12: `Image.new("RGB", (28, 28), colour).convert("L").getpixel((5, 5))`.
    #[test]
    fn colours_become_grey_as_in_pillow() {
        for (colour, grey) in [([255, 0, 0], 76), ([0, 255, 0], 150), ([0, 0, 255], 29), ([10, 200, 90], 131)] {
            let image = RgbImage::from_pixel(28, 28, Rgb(colour));
            assert_eq!(prepared(image, &input(1, Content::Image))[[0, 5, 5]], grey);
        }
    }

    #[test]
    fn transparent_parts_are_white() {
        let image = image::RgbaImage::from_pixel(28, 28, Rgba([9, 9, 9, 0]));
        assert!(prepared(image, &input(1, Content::Image)).iter().all(|&value| value == 255));
    }

    #[test]
    fn light_ink_on_nothing_is_seen_on_a_dark_page() {
        let content = Content::Digit { polarity: Polarity::LightOnDark };
        let bar = |x, y| (8..14).contains(&x) && (4..36).contains(&y);
        let image =
            image::RgbaImage::from_fn(40, 40, |x, y| if bar(x, y) { Rgba([255; 4]) } else { Rgba([255, 255, 255, 0]) });
        let best = Reader::default().prepare(image.into(), &input(1, content)).unwrap().swap_remove(0).pixels;
        assert_eq!((best[14 * 28 + 14], best[14 * 28 + 2]), (255, 0));
    }
}
