//! Any picture of a digit becomes what the network was trained on.
//!
//! The MNIST authors: "the original black and white images from NIST were size normalized to fit in a 20x20 pixel box
//! while preserving their aspect ratio. The resulting images contain grey levels as a result of the anti-aliasing
//! technique used by the normalization algorithm. The images were centered in a 28x28 image by computing the center of
//! mass of the pixels, and translating the image so as to position this point at the center of the 28x28 field."

use crate::card::Polarity;
use anyhow::{Result, ensure};
use image::imageops::{self, FilterType};
use image::{GrayImage, Luma};

/// The box the ink is fitted into takes this share of the field: 20 of 28 pixels.
const BOX: f64 = 20.0 / 28.0;

/// Least difference in grey level between ink and ground for there to be ink at all.
const MIN_CONTRAST: u8 = 32;

/// Prepares a picture of one digit for a network whose pictures are `size` `(width, height)` pixels with the given
/// polarity.
///
/// `found` says how the digit stands out in the picture; `None` finds it out. A picture that already has that size and polarity goes through untouched. In any other the ground is found at the
/// border, the ink is what differs from it, is cropped, fitted into the box and centred by mass. A picture without
/// ink is an error.
pub fn prepare(
    picture: &GrayImage,
    found: Option<Polarity>,
    polarity: Polarity,
    size: (u32, u32),
) -> Result<GrayImage> {
    ensure!(picture.width() > 0 && picture.height() > 0, "the picture has no pixels");
    let ground = border_median(picture);
    let threshold = otsu_threshold(picture);
    let light_ink = found.map_or(ground <= threshold, |found| found == Polarity::LightOnDark);
    if picture.dimensions() == size && light_ink == (polarity == Polarity::LightOnDark) {
        return Ok(picture.clone());
    }

    let ink = ink_on_black(picture, ground, light_ink)?;
    let (left, top, width, height) = bounds(&ink, i32::from(otsu_threshold(&ink)) / 2);
    let cropped = imageops::crop_imm(&ink, left, top, width, height).to_image();
    let field = f64::from(size.0.min(size.1)) * BOX;
    let scale = field / f64::from(width.max(height));
    let fitted = |extent: u32| ((f64::from(extent) * scale).round() as u32).max(1);
    let glyph = imageops::resize(&cropped, fitted(width), fitted(height), FilterType::Triangle);

    let mut centred = centred_by_mass(&glyph, size);
    if polarity == Polarity::DarkOnLight {
        imageops::invert(&mut centred);
    }
    Ok(centred)
}

/// The median grey level of the outermost pixels: the paper, for all but a picture cropped into its ink.
fn border_median(picture: &GrayImage) -> u8 {
    let (width, height) = picture.dimensions();
    let rows = (0..width).flat_map(|x| [(x, 0), (x, height - 1)]);
    let columns = (0..height).flat_map(|y| [(0, y), (width - 1, y)]);
    let mut border: Vec<u8> = rows.chain(columns).map(|(x, y)| picture.get_pixel(x, y)[0]).collect();
    let middle = border.len() / 2;
    *border.select_nth_unstable(middle).1
}

/// The grey level that best parts light from dark (Otsu, "A threshold selection method from gray-level histograms",
/// 1979): levels up to it are dark.
fn otsu_threshold(picture: &GrayImage) -> u8 {
    let mut histogram = [0_u64; 256];
    for pixel in picture.pixels() {
        histogram[usize::from(pixel[0])] += 1;
    }
    let total: u64 = histogram.iter().sum();
    let mass: f64 = histogram.iter().enumerate().map(|(level, &count)| level as f64 * count as f64).sum();
    let (mut below, mut mass_below) = (0_u64, 0.0);
    let (mut best, mut best_variance) = (0, -1.0);
    for (level, &count) in (0_u8..=255).zip(&histogram) {
        below += count;
        mass_below += f64::from(level) * count as f64;
        let above = total - below;
        if below == 0 || above == 0 {
            continue;
        }
        let gap = mass_below / below as f64 - (mass - mass_below) / above as f64;
        let variance = below as f64 * above as f64 * gap * gap;
        if variance > best_variance {
            (best, best_variance) = (level, variance);
        }
    }
    best
}

/// Distance from the ground on the ink's side, stretched so that the strongest ink is 255.
fn ink_on_black(picture: &GrayImage, ground: u8, light_ink: bool) -> Result<GrayImage> {
    let strength = |level: u8| if light_ink { level.saturating_sub(ground) } else { ground.saturating_sub(level) };
    let strongest = picture.pixels().map(|pixel| strength(pixel[0])).max().unwrap_or(0);
    ensure!(
        strongest >= MIN_CONTRAST,
        "there is no ink in the picture: its grey levels differ by {strongest}, expected at least {MIN_CONTRAST} between digit and ground"
    );
    let mut ink = picture.clone();
    for pixel in ink.pixels_mut() {
        *pixel = Luma([(u32::from(strength(pixel[0])) * 255 / u32::from(strongest)) as u8]);
    }
    Ok(ink)
}

/// The smallest box `(left, top, width, height)` around all pixels above `level`.
fn bounds(ink: &GrayImage, level: i32) -> (u32, u32, u32, u32) {
    let (mut left, mut top, mut right, mut bottom) = (u32::MAX, u32::MAX, 0, 0);
    for (x, y, pixel) in ink.enumerate_pixels() {
        if i32::from(pixel[0]) > level {
            (left, top, right, bottom) = (left.min(x), top.min(y), right.max(x), bottom.max(y));
        }
    }
    if left > right {
        return (0, 0, ink.width(), ink.height());
    }
    (left, top, right - left + 1, bottom - top + 1)
}

/// Places the glyph on a black field so that its centre of mass lies on the field's centre, as far as it fits.
fn centred_by_mass(glyph: &GrayImage, (width, height): (u32, u32)) -> GrayImage {
    let (mut mass, mut mass_x, mut mass_y) = (0.0, 0.0, 0.0);
    for (x, y, pixel) in glyph.enumerate_pixels() {
        let weight = f64::from(pixel[0]);
        mass += weight;
        mass_x += weight * (f64::from(x) + 0.5);
        mass_y += weight * (f64::from(y) + 0.5);
    }
    let place = |moment: f64, field: u32, extent: u32| {
        let offset = (f64::from(field) / 2.0 - moment / mass.max(1.0)).round() as i64;
        offset.clamp(0, i64::from(field.saturating_sub(extent)))
    };
    let mut field = GrayImage::new(width, height);
    let (left, top) = (place(mass_x, width, glyph.width()), place(mass_y, height, glyph.height()));
    imageops::replace(&mut field, glyph, left, top);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (u32, u32) = (28, 28);

    /// A bar of ink, 40×160 px, somewhere on a 300×300 px ground.
    fn bar(ink: u8, ground: u8) -> GrayImage {
        GrayImage::from_fn(300, 300, |x, y| {
            Luma([if (50..90).contains(&x) && (100..260).contains(&y) { ink } else { ground }])
        })
    }

    #[test]
    fn ink_of_either_polarity_fills_the_box_and_is_centred() {
        for (ink, ground) in [(250, 10), (20, 200), (90, 160)] {
            let digit = prepare(&bar(ink, ground), None, Polarity::LightOnDark, SIZE).unwrap();
            assert_eq!(digit.dimensions(), SIZE);
            assert_eq!(bounds(&digit, 127), (12, 4, 5, 20), "ink {ink} on {ground}");
            assert_eq!(digit.get_pixel(0, 0)[0], 0);
            assert_eq!(digit.get_pixel(14, 14)[0], 255);
        }
    }

    #[test]
    fn a_network_of_dark_ink_gets_dark_ink() {
        let digit = prepare(&bar(250, 10), None, Polarity::DarkOnLight, SIZE).unwrap();
        assert_eq!((digit.get_pixel(0, 0)[0], digit.get_pixel(14, 14)[0]), (255, 0));
    }

    #[test]
    fn a_picture_without_ink_says_so() {
        for level in [0, 128, 255] {
            let blank = GrayImage::from_pixel(50, 40, Luma([level]));
            let message = prepare(&blank, None, Polarity::LightOnDark, SIZE).unwrap_err().to_string();
            assert!(message.contains("no ink"), "{message}");
        }
    }

    #[test]
    fn the_inverse_of_a_fitting_picture_is_turned_round() {
        let picture =
            GrayImage::from_fn(28, 28, |x, y| Luma([if x.abs_diff(14) < 3 && y.abs_diff(14) < 9 { 255 } else { 0 }]));
        let mut inverted = picture.clone();
        imageops::invert(&mut inverted);
        let digit = prepare(&inverted, None, Polarity::LightOnDark, SIZE).unwrap();
        assert_eq!(digit.get_pixel(14, 14)[0], 255);
        assert_eq!(digit.get_pixel(1, 1)[0], 0);
    }
}
