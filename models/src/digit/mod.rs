//! Turns any image of a digit into an image like those that the network was trained on.
//!
//! 1. `source` scales the image down.
//! 2. `search` finds the digit: it subtracts the background (`ground`), applies a `threshold` and judges the connected
//!    `components`. It looks inside a `sheet` of paper on a table, ignores what is printed on the `paper`, and counts
//!    the digits of a `number`.
//! 3. `strokes` extracts the digit's ink from a larger view.
//! 4. `thickness` brings the strokes close to the thickness that the network knows.
//! 5. `field` scales and centres the digit as MNIST's authors did.

mod components;
mod field;
mod ground;
mod number;
mod paper;
mod plane;
mod search;
mod sheet;
mod source;
mod strokes;
mod thickness;
mod threshold;

use crate::card::Polarity;
use anyhow::{Result, ensure};
use image::{DynamicImage, GrayImage};
use plane::Plane;
use source::Original;

/// Longer side of the image in which the digit is searched, in pixels, at most.
const OVERVIEW: usize = 160;

/// Smallest difference in grey level between ink and background.
const MIN_CONTRAST: f32 = 12.0;

/// Prepares an image of one digit for a network whose images have `size` `(width, height)` and the given polarity.
///
/// `found` is the polarity of `image`; `None` detects it. An image that already has this size and polarity is
/// returned unchanged. In any other image, the digit is found in any light and among other things, its ink is made
/// evenly bright, scaled to the box and centred by mass. Fails if the image has no ink or shows several digits.
pub fn prepare(
    image: &DynamicImage,
    found: Option<Polarity>,
    polarity: Polarity,
    size: (u32, u32),
) -> Result<GrayImage> {
    ensure!(image.width() > 0 && image.height() > 0, "the image has no pixels");
    if (image.width(), image.height()) == size {
        let grey = image.to_luma8();
        if fits(&grey, found, polarity) {
            return Ok(grey);
        }
    }
    let ink = strokes::ink(&Original::new(image), found)?;
    let digit = field::centred(&ink, (size.0 as usize, size.1 as usize));
    let levels = digit.values.iter().map(|value| (value * 255.0).round() as u8);
    let levels = levels.map(|level| if polarity == Polarity::DarkOnLight { 255 - level } else { level });
    let levels: Vec<u8> = levels.collect();
    GrayImage::from_raw(size.0, size.1, levels).ok_or_else(|| anyhow::anyhow!("an image of {size:?} has no pixels"))
}

/// Whether an image of the network's size also has its polarity. The polarity is light on dark if the border is darker
/// than the middle between the darkest and the lightest pixel.
fn fits(image: &GrayImage, found: Option<Polarity>, polarity: Polarity) -> bool {
    let (darkest, lightest) =
        image.pixels().fold((u8::MAX, u8::MIN), |(low, high), pixel| (low.min(pixel[0]), high.max(pixel[0])));
    if f32::from(lightest - darkest) < MIN_CONTRAST {
        return false;
    }
    found.unwrap_or_else(|| {
        let (width, height) = image.dimensions();
        let border =
            image.enumerate_pixels().filter(|(x, y, _)| *x == 0 || *y == 0 || x + 1 == width || y + 1 == height);
        let levels: Vec<f32> = border.map(|(_, _, pixel)| f32::from(pixel[0])).collect();
        let border = Plane { width: levels.len(), height: 1, values: levels };
        let dark = border.quantile(0.5) <= f32::midpoint(f32::from(darkest), f32::from(lightest));
        if dark { Polarity::LightOnDark } else { Polarity::DarkOnLight }
    }) == polarity
}

/// Size of the whole image scaled down to at most [`OVERVIEW`] pixels on the longer side.
fn overview(source: &Original) -> (usize, usize) {
    let (width, height) = source.size();
    let scale = (OVERVIEW as f64 / width.max(height) as f64).min(1.0);
    let shrunk = |extent: usize| ((extent as f64 * scale).round() as usize).max(1);
    (shrunk(width), shrunk(height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Luma, Rgb, RgbImage};

    const SIZE: (u32, u32) = (28, 28);

    fn light_on_dark(image: impl Into<DynamicImage>) -> Result<GrayImage> {
        prepare(&image.into(), None, Polarity::LightOnDark, SIZE)
    }

    /// A seven drawn with two strokes, in an image of this size.
    fn seven(size: u32, x: u32, y: u32) -> bool {
        let (x, y) = (x as f32 / size as f32, y as f32 / size as f32);
        let bar = (0.3..0.7).contains(&x) && (0.2..0.27).contains(&y);
        let leg = (0.2..0.8).contains(&y) && (x - (0.7 - 0.4 * (y - 0.2))).abs() < 0.045;
        bar || leg
    }

    fn drawn(size: u32, ink: u8, ground: u8) -> GrayImage {
        GrayImage::from_fn(size, size, |x, y| Luma([if seven(size, x, y) { ink } else { ground }]))
    }

    fn difference(one: &GrayImage, two: &GrayImage) -> f64 {
        let pairs = one.pixels().zip(two.pixels());
        pairs.map(|(one, two)| f64::from(one[0].abs_diff(two[0]))).sum::<f64>() / f64::from(one.width() * one.height())
    }

    #[test]
    fn size_polarity_and_contrast_do_not_matter() {
        let expected = light_on_dark(drawn(300, 0, 255)).unwrap();
        for (size, ink, ground) in [(300, 250, 10), (300, 90, 160), (60, 20, 230), (1500, 60, 200), (2000, 255, 0)] {
            let found = light_on_dark(drawn(size, ink, ground)).unwrap();
            let difference = difference(&expected, &found);
            assert!(difference < 8.0, "{size} px, ink {ink} on {ground}: {difference:.1} grey levels");
        }
    }

    #[test]
    fn light_that_falls_off_does_not_matter() {
        let expected = light_on_dark(drawn(300, 0, 255)).unwrap();
        let lit = |x: u32, y: u32, level: f32| level * (1.0 - 0.6 * x as f32 / 300.0) * if y > 140 { 0.6 } else { 1.0 };
        let image =
            GrayImage::from_fn(300, 300, |x, y| Luma([lit(x, y, if seven(300, x, y) { 40.0 } else { 240.0 }) as u8]));
        let difference = difference(&expected, &light_on_dark(image).unwrap());
        assert!(difference < 12.0, "{difference:.1} grey levels");
    }

    #[test]
    fn colours_of_equal_brightness_are_distinguished() {
        let expected = light_on_dark(drawn(300, 0, 255)).unwrap();
        for (ink, ground) in
            [([255, 235, 80], [250; 3]), ([200, 30, 30], [20, 20, 110]), ([40, 90, 200], [130, 70, 60])]
        {
            let image = RgbImage::from_fn(300, 300, |x, y| Rgb(if seven(300, x, y) { ink } else { ground }));
            let difference = difference(&expected, &light_on_dark(image).unwrap());
            assert!(difference < 8.0, "{ink:?} on {ground:?}: {difference:.1} grey levels");
        }
    }

    #[test]
    fn thin_and_thick_strokes_become_as_thick_as_the_network_knows() {
        let bar = |half: u32| {
            GrayImage::from_fn(400, 400, |x, y| {
                Luma([if x.abs_diff(200) < half && y.abs_diff(200) < 150 { 0 } else { 255 }])
            })
        };
        let across = |half: u32| {
            let digit = light_on_dark(bar(half)).unwrap();
            (0..28).map(|x| f32::from(digit.get_pixel(x, 14)[0]) / 255.0).sum::<f32>()
        };
        for half in [3, 10, 20, 30] {
            assert!((1.5..4.2).contains(&across(half)), "{} px of 300: {:.1} px of 20", 2 * half, across(half));
        }
    }

    #[test]
    fn a_network_of_dark_ink_gets_dark_ink() {
        let digit = prepare(&drawn(300, 250, 10).into(), None, Polarity::DarkOnLight, SIZE).unwrap();
        assert_eq!(digit.get_pixel(0, 0)[0], 255);
        assert!(digit.pixels().any(|pixel| pixel[0] < 10));
    }

    #[test]
    fn a_fitting_image_is_not_touched_and_its_inverse_is_turned_round() {
        let image = drawn(28, 255, 0);
        let whole = |image: &GrayImage, found| prepare(&image.clone().into(), found, Polarity::LightOnDark, SIZE);
        assert_eq!(whole(&image, None).unwrap(), image);
        assert_eq!(whole(&image, Some(Polarity::LightOnDark)).unwrap(), image);
        let mut inverted = image.clone();
        image::imageops::invert(&mut inverted);
        for found in [None, Some(Polarity::DarkOnLight)] {
            let digit = whole(&inverted, found).unwrap();
            assert_eq!(digit.get_pixel(0, 0)[0], 0);
            assert!(digit.pixels().any(|pixel| pixel[0] > 250));
        }
        assert!(
            whole(&image, Some(Polarity::DarkOnLight)).is_ok_and(|digit| digit != image)
                || whole(&image, Some(Polarity::DarkOnLight)).is_err()
        );
    }

    #[test]
    fn an_image_without_ink_says_so() {
        // Deterministic noise of 24 grey levels.
        let noise = |x: u32, y: u32| {
            (x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca6b)).wrapping_mul(0xc2b2_ae35) >> 24
        };
        let images = [
            ("black", GrayImage::from_pixel(50, 40, Luma([0]))),
            ("white", GrayImage::from_pixel(500, 400, Luma([255]))),
            ("black, 28×28", GrayImage::from_pixel(28, 28, Luma([0]))),
            ("noise", GrayImage::from_fn(500, 400, |x, y| Luma([200 + (noise(x, y) / 11) as u8]))),
            ("a gradient", GrayImage::from_fn(300, 200, |x, _| Luma([(x / 2 + 80) as u8]))),
            ("a shadow", GrayImage::from_fn(300, 200, |x, _| Luma([if x < 110 { 110 } else { 220 }]))),
        ];
        for (name, image) in images {
            match light_on_dark(image) {
                Ok(_) => panic!("{name}: a digit was found"),
                Err(error) => assert!(error.to_string().contains("no ink"), "{name}: {error}"),
            }
        }
    }

    #[test]
    fn several_digits_are_an_error() {
        for count in 2..6 {
            let image = GrayImage::from_fn(120 * count, 160, |x, y| {
                Luma([if seven(120, x % 120, y.saturating_sub(20)) { 30 } else { 230 }])
            });
            let message = light_on_dark(image).unwrap_err().to_string();
            assert!(message.contains("several digits"), "{count}: {message}");
        }
    }

    #[test]
    fn printed_paper_without_a_digit_has_no_ink() {
        for (pitch, thickness, line) in [(20, 1, 150), (33, 2, 170), (12, 1, 190), (60, 3, 120)] {
            let on_line = |at: u32| (at + 7) % pitch < thickness;
            for (name, is_line) in [
                ("squared", &(|x, y| on_line(x) || on_line(y)) as &dyn Fn(u32, u32) -> bool),
                ("ruled", &|_, y| on_line(y)),
                ("dotted", &|x, y| on_line(x) && on_line(y)),
            ] {
                let image = |digit: bool| {
                    GrayImage::from_fn(300, 400, |x, y| {
                        Luma([if digit && seven(300, x, y) {
                            20
                        } else if is_line(x, y) {
                            line
                        } else {
                            240
                        }])
                    })
                };
                match light_on_dark(image(false)) {
                    Ok(_) => panic!("{name}, {pitch} px: a digit was found"),
                    Err(error) => assert!(error.to_string().contains("no ink"), "{name}, {pitch} px: {error}"),
                }
                assert!(light_on_dark(image(true)).is_ok(), "{name}, {pitch} px: no digit was found");
            }
        }
    }

    /// They must not panic; the result does not matter.
    #[test]
    fn no_image_is_too_small_or_too_narrow() {
        for (width, height) in [(1, 1), (2, 1), (1, 2), (3, 3), (1, 5000), (5000, 1), (7, 900), (28, 27), (64, 2)] {
            for ink in [0, 255] {
                let image = GrayImage::from_fn(width, height, |x, y| Luma([if (x ^ y) & 3 == 1 { ink } else { 128 }]));
                let _ = light_on_dark(image.clone());
                let _ = prepare(&DynamicImage::from(image).into_rgb8().into(), None, Polarity::DarkOnLight, (1, 1));
            }
        }
    }
}
