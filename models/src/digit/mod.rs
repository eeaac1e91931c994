//! Any picture of a digit becomes what the network was trained on.
//!
//! `source` shrinks the picture; `search` finds the digit in it, over the `ground` that `threshold` and `components`
//! part it from; `strokes` looks at it again, larger, and takes the ink only; `thickness` brings the strokes near to
//! those the network knows; `field` fits and centres it as MNIST's authors did.

mod components;
mod field;
mod ground;
mod plane;
mod search;
mod source;
mod strokes;
mod thickness;
mod threshold;

use crate::card::Polarity;
use anyhow::{Result, ensure};
use image::{DynamicImage, GrayImage};
use plane::Plane;
use source::Source;

/// The digit is looked for in a picture whose longer side is at most this many pixels.
const OVERVIEW: usize = 160;

/// Least difference in grey level between ink and ground for there to be ink at all.
const MIN_CONTRAST: f32 = 12.0;

/// Prepares a picture of one digit for a network whose pictures are `size` `(width, height)` pixels with the given
/// polarity.
///
/// `found` says how the digit stands out in the picture; `None` finds it out. A picture that already has that size and
/// polarity goes through untouched. In any other the digit is found, whatever the light and whatever else is there,
/// its ink is brought to one brightness, fitted into the box and centred by mass. A picture without ink is an error.
pub fn prepare(
    picture: &DynamicImage,
    found: Option<Polarity>,
    polarity: Polarity,
    size: (u32, u32),
) -> Result<GrayImage> {
    ensure!(picture.width() > 0 && picture.height() > 0, "the picture has no pixels");
    if (picture.width(), picture.height()) == size {
        let grey = picture.to_luma8();
        if fits(&grey, found, polarity) {
            return Ok(grey);
        }
    }
    let ink = strokes::ink(&Source::new(picture), found)?;
    let digit = field::centred(&ink, (size.0 as usize, size.1 as usize));
    let levels = digit.values.iter().map(|value| (value * 255.0).round() as u8);
    let levels = levels.map(|level| if polarity == Polarity::DarkOnLight { 255 - level } else { level });
    let levels: Vec<u8> = levels.collect();
    GrayImage::from_raw(size.0, size.1, levels).ok_or_else(|| anyhow::anyhow!("a picture of {size:?} has no pixels"))
}

/// Whether a picture of the network's size has its polarity too: its border is darker than halfway between its darkest
/// and its lightest pixel, or lighter.
fn fits(picture: &GrayImage, found: Option<Polarity>, polarity: Polarity) -> bool {
    let (darkest, lightest) =
        picture.pixels().fold((u8::MAX, u8::MIN), |(low, high), pixel| (low.min(pixel[0]), high.max(pixel[0])));
    if f32::from(lightest - darkest) < MIN_CONTRAST {
        return false;
    }
    found.unwrap_or_else(|| {
        let (width, height) = picture.dimensions();
        let border =
            picture.enumerate_pixels().filter(|(x, y, _)| *x == 0 || *y == 0 || x + 1 == width || y + 1 == height);
        let levels: Vec<f32> = border.map(|(_, _, pixel)| f32::from(pixel[0])).collect();
        let border = Plane { width: levels.len(), height: 1, values: levels };
        let dark = border.quantile(0.5) <= f32::midpoint(f32::from(darkest), f32::from(lightest));
        if dark { Polarity::LightOnDark } else { Polarity::DarkOnLight }
    }) == polarity
}

/// All of a picture at no more than [`OVERVIEW`] pixels on the longer side.
fn overview(source: &Source) -> (usize, usize) {
    let (width, height) = source.size();
    let scale = (OVERVIEW as f64 / width.max(height) as f64).min(1.0);
    let shrunk = |extent: usize| ((extent as f64 * scale).round() as usize).max(1);
    (shrunk(width), shrunk(height))
}
