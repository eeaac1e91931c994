//! Turns any image of a digit into images like those that the network was trained on.
//!
//! An image can be read in several ways: which pixels are ink, and which ink is the digit? So preparation returns a few
//! [`Reading`]s, each an image in the network's own form. The network runs on all of them, and [`choose`] keeps the one
//! that is most likely the digit, by its geometry and by the network's answer, and tells whether it is a digit at all.
//!
//! 1. `source` brings the image to a size for searching. A low-resolution image is enlarged.
//! 2. `hypotheses` proposes sets of pixels: it subtracts the background (`ground`), applies a `threshold` and groups
//!    connected `components`. `geometry` ranks them, and `number` counts the digits side by side.
//! 3. `ink` extracts the ink of each hypothesis from an enlarged view.
//! 4. `field` scales and centres it as MNIST's authors did.

mod choice;
mod components;
mod field;
mod geometry;
mod ground;
mod hypotheses;
mod ink;
mod lines;
mod number;
mod plane;
mod source;
mod threshold;

pub use choice::{Choice, choose};

use crate::card::Polarity;
use anyhow::{Result, ensure};
use image::{DynamicImage, GrayImage, Luma};
use plane::{Area, Plane};
use serde::Serialize;
use source::Original;

/// Most readings of an image. Each costs a run of the network.
pub const MOST_READINGS: usize = 8;

/// Longer side of the image in which the digit is searched, in pixels.
const OVERVIEW: std::ops::RangeInclusive<usize> = 96..=160;

/// Smallest difference in grey level between ink and background.
pub(crate) const MIN_CONTRAST: f32 = 12.0;

/// Most ink of the usual pixel at the border of a prepared image, from 0 to 255.
const MOST_GROUND: u8 = 16;

/// Least ink of its strongest pixel.
const LEAST_INK: u8 = 200;

/// Least extent of its digit, of 28 pixels.
const FILLED: u32 = 13;

/// A colour channel is used instead of the brightness if its edges are sharper by this factor.
const BETTER: f32 = 1.8;

/// One way to read an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The network's input, `[C, H, W]`, values 0 to 255.
    pub pixels: Vec<u8>,
    /// The log-odds that this is the digit, by geometry alone: it assumes that the network is as sure as for a
    /// typical digit.
    pub plausibility: f32,
    /// Number of digits side by side that it belongs to.
    pub digits: usize,
    /// Where it was found; `None` if the whole image was taken as it is.
    pub place: Option<Place>,
}

impl Reading {
    /// The whole image, taken as it is.
    pub(crate) fn whole(pixels: Vec<u8>) -> Self {
        Self { pixels, plausibility: 0.0, digits: 1, place: None }
    }
}

/// Where a digit was found in an image, in pixels of the upright image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Whether the ink is darker or lighter than what surrounds it.
    pub polarity: Polarity,
    /// Left edge of the bounding box of the ink.
    pub left: usize,
    /// Its top edge.
    pub top: usize,
    /// Its width.
    pub width: usize,
    /// Its height.
    pub height: usize,
}

/// Reads an image for a network whose images have `size` `(width, height)` and the given polarity. Returns 1 to 8
/// readings, most plausible first.
///
/// `found` is the polarity of `image`; `None` tries both. An image of this size that is prepared already has one
/// reading: itself, unchanged. Fails if the image shows nothing.
pub fn readings(
    image: &DynamicImage,
    found: Option<Polarity>,
    polarity: Polarity,
    size: (u32, u32),
) -> Result<Vec<Reading>> {
    ensure!(image.width() > 0 && image.height() > 0, "the image has no pixels");
    if (image.width(), image.height()) == size {
        let grey = image.to_luma8();
        if fits(&grey, found, polarity) {
            return Ok(vec![Reading::whole(grey.into_raw())]);
        }
    }
    let source = Original::new(image);
    let (overview, channel) = overview(&source);
    let within = (overview.width, overview.height);
    let zoom = ink::zoom(&source, within);
    let hypotheses = hypotheses::hypotheses(&hypotheses::logarithmic(&overview), found);
    let read = |one: &hypotheses::Hypothesis| {
        let ink = ink::ink(&source, channel, one, within)?;
        let field = field::centred(&ink, (size.0 as usize, size.1 as usize));
        let levels = field.values.iter().map(|value| (value * 255.0).round() as u8);
        let pixels = levels.map(|level| if polarity == Polarity::DarkOnLight { 255 - level } else { level }).collect();
        let (left, top, width, height) = one.bounds;
        let scaled = |extent: usize, zoom: f64| (extent as f64 * zoom).round() as usize;
        let place = Place {
            polarity: one.polarity,
            left: scaled(left, zoom.0),
            top: scaled(top, zoom.1),
            width: scaled(width, zoom.0),
            height: scaled(height, zoom.1),
        };
        Some(Reading { pixels, plausibility: one.plausibility, digits: one.digits, place: Some(place) })
    };
    let readings: Vec<Reading> = hypotheses.iter().filter_map(read).collect();
    ensure!(
        !readings.is_empty(),
        "no ink found: nothing in the image stands out from the background. Is the image sharp? Is the digit darker or \
         lighter than everything around it? Is it higher than a twentieth of the image's longer side?"
    );
    Ok(readings)
}

/// Whether an image of the network's size is prepared already, as those that the network was trained on: strong ink on
/// paper without ink, in the network's polarity, and a digit that fills the field. All of MNIST's 70,000 images are.
fn fits(image: &GrayImage, found: Option<Polarity>, polarity: Polarity) -> bool {
    if found.is_some_and(|found| found != polarity) {
        return false;
    }
    let ink = |pixel: &Luma<u8>| if polarity == Polarity::DarkOnLight { 255 - pixel[0] } else { pixel[0] };
    let (width, height) = image.dimensions();
    let is_border = |x: u32, y: u32| x == 0 || y == 0 || x + 1 == width || y + 1 == height;
    let (mut border, mut strongest) = (Vec::new(), 0);
    let (mut columns, mut rows) = ((width, 0), (height, 0));
    for (x, y, pixel) in image.enumerate_pixels() {
        let ink = ink(pixel);
        strongest = strongest.max(ink);
        if is_border(x, y) {
            border.push(f32::from(ink));
        }
        if ink >= 128 {
            columns = (columns.0.min(x), columns.1.max(x + 1));
            rows = (rows.0.min(y), rows.1.max(y + 1));
        }
    }
    let border = Plane { width: border.len(), height: 1, values: border };
    let fills = |(start, end): (u32, u32), extent: u32| 28 * end.saturating_sub(start) >= FILLED * extent;
    border.quantile(0.5) <= f32::from(MOST_GROUND)
        && strongest >= LEAST_INK
        && (fills(columns, width) || fills(rows, height))
}

/// The whole image at a size for searching: the plane of brightness, or that of a colour with much sharper edges, and
/// the number of the plane.
fn overview(source: &Original) -> (Plane, usize) {
    let (width, height) = source.size();
    let longer = width.max(height);
    let scale = longer.clamp(*OVERVIEW.start(), *OVERVIEW.end()) as f64 / longer as f64;
    let scaled = |extent: usize| ((extent as f64 * scale).round() as usize).max(1);
    let mut planes = source.planes(Area::whole(width, height), (scaled(width), scaled(height)));
    let weight = |channel: usize| if channel == 0 { BETTER } else { 1.0 };
    let sharpness =
        |channel: usize| hypotheses::sharpness(&hypotheses::logarithmic(&planes[channel])).0 * weight(channel);
    let channel = (0..planes.len()).max_by(|&one, &two| sharpness(one).total_cmp(&sharpness(two))).unwrap_or(0);
    (planes.swap_remove(channel), channel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    const SIZE: (u32, u32) = (28, 28);

    fn read(image: impl Into<DynamicImage>) -> Result<Vec<Reading>> {
        readings(&image.into(), None, Polarity::LightOnDark, SIZE)
    }

    /// The most plausible reading.
    fn best(image: impl Into<DynamicImage>) -> GrayImage {
        drawn_from(&read(image).unwrap()[0])
    }

    fn drawn_from(reading: &Reading) -> GrayImage {
        GrayImage::from_raw(SIZE.0, SIZE.1, reading.pixels.clone()).unwrap()
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
        let expected = best(drawn(300, 0, 255));
        for (size, ink, ground) in [(300, 250, 10), (300, 90, 160), (60, 20, 230), (1500, 60, 200), (2000, 255, 0)] {
            let found = best(drawn(size, ink, ground));
            let difference = difference(&expected, &found);
            assert!(difference < 8.0, "{size} px, ink {ink} on {ground}: {difference:.1} grey levels");
        }
    }

    #[test]
    fn light_that_falls_off_does_not_matter() {
        let expected = best(drawn(300, 0, 255));
        let lit = |x: u32, y: u32, level: f32| level * (1.0 - 0.6 * x as f32 / 300.0) * if y > 140 { 0.6 } else { 1.0 };
        let image =
            GrayImage::from_fn(300, 300, |x, y| Luma([lit(x, y, if seven(300, x, y) { 40.0 } else { 240.0 }) as u8]));
        let difference = difference(&expected, &best(image));
        assert!(difference < 12.0, "{difference:.1} grey levels");
    }

    #[test]
    fn colours_of_equal_brightness_are_distinguished() {
        let expected = best(drawn(300, 0, 255));
        for (ink, ground) in
            [([255, 235, 80], [250; 3]), ([200, 30, 30], [20, 20, 110]), ([40, 90, 200], [130, 70, 60])]
        {
            let image = RgbImage::from_fn(300, 300, |x, y| Rgb(if seven(300, x, y) { ink } else { ground }));
            let difference = difference(&expected, &best(image));
            assert!(difference < 8.0, "{ink:?} on {ground:?}: {difference:.1} grey levels");
        }
    }

    #[test]
    fn a_low_resolution_image_is_read_like_a_large_one() {
        let expected = best(drawn(300, 0, 255));
        for (size, ink, ground) in [(12, 0, 255), (16, 255, 0), (24, 60, 200)] {
            let small = image::imageops::resize(&drawn(300, ink, ground), size, size, image::imageops::Triangle);
            let enlarged = image::imageops::resize(&small, 200, 200, image::imageops::CatmullRom);
            for image in [small, enlarged] {
                let difference = difference(&expected, &best(image));
                assert!(difference < 25.0, "{size} px, ink {ink} on {ground}: {difference:.1} grey levels");
            }
        }
    }

    #[test]
    fn the_digit_in_a_frame_is_one_of_the_readings() {
        let expected = best(drawn(300, 0, 255));
        let frame = |x: u32, y: u32| {
            let outside = |at: u32, by: u32| at < by || at >= 300 - by;
            (outside(x, 34) || outside(y, 34)) && !outside(x, 30) && !outside(y, 30)
        };
        let image = GrayImage::from_fn(300, 300, |x, y| Luma([if seven(300, x, y) || frame(x, y) { 20 } else { 240 }]));
        let nearest =
            read(image).unwrap().iter().map(|one| difference(&expected, &drawn_from(one))).fold(255.0, f64::min);
        assert!(nearest < 8.0, "{nearest:.1} grey levels");
    }

    #[test]
    fn the_place_is_in_pixels_of_the_image() {
        let image = GrayImage::from_fn(600, 400, |x, y| {
            Luma([if (320..344).contains(&x) && (100..300).contains(&y) { 20 } else { 230 }])
        });
        let place = read(image).unwrap()[0].place.unwrap();
        assert_eq!(place.polarity, Polarity::DarkOnLight);
        // One pixel of the overview is 3.75 pixels of the image.
        let near = |found: usize, expected: usize| found.abs_diff(expected) <= 8;
        let fits = near(place.left, 320) && near(place.top, 100) && near(place.width, 24) && near(place.height, 200);
        assert!(fits, "{place:?}");
    }

    /// Only images like MNIST's are taken as they are: the network has not seen a grey ground, faint ink or a digit of
    /// a few pixels.
    #[test]
    fn an_image_of_the_networks_size_is_prepared_unless_it_looks_like_its_training_images() {
        let is_unchanged = |image: GrayImage| read(image).unwrap()[0].place.is_none();
        assert!(is_unchanged(drawn(28, 255, 0)));
        let small = GrayImage::from_fn(28, 28, |x, y| {
            Luma([if x >= 8 && y >= 8 && seven(14, x - 8, y - 8) { 255 } else { 0 }])
        });
        for image in [drawn(28, 255, 60), drawn(28, 120, 0), drawn(28, 0, 255), small] {
            assert!(!is_unchanged(image));
        }
    }

    #[test]
    fn a_network_of_dark_ink_gets_dark_ink() {
        let readings = readings(&drawn(300, 250, 10).into(), None, Polarity::DarkOnLight, SIZE).unwrap();
        let digit = drawn_from(&readings[0]);
        assert_eq!(digit.get_pixel(0, 0)[0], 255);
        assert!(digit.pixels().any(|pixel| pixel[0] < 10));
    }

    #[test]
    fn a_fitting_image_is_not_touched_and_its_inverse_is_turned_round() {
        let image = drawn(28, 255, 0);
        let whole = |image: &GrayImage, found| {
            let readings = readings(&image.clone().into(), found, Polarity::LightOnDark, SIZE)?;
            Ok::<_, anyhow::Error>(drawn_from(&readings[0]))
        };
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
    fn an_image_that_shows_nothing_says_so() {
        let images = [
            ("black", GrayImage::from_pixel(50, 40, Luma([0]))),
            ("white", GrayImage::from_pixel(500, 400, Luma([255]))),
            ("black, 28×28", GrayImage::from_pixel(28, 28, Luma([0]))),
            ("a gradient", GrayImage::from_fn(300, 200, |x, _| Luma([(x / 2 + 80) as u8]))),
        ];
        for (name, image) in images {
            match read(image) {
                Ok(readings) => panic!("{name}: {} readings", readings.len()),
                Err(error) => assert!(error.to_string().contains("no ink"), "{name}: {error}"),
            }
        }
    }

    #[test]
    fn digits_side_by_side_are_counted() {
        for count in 2..6 {
            let image = GrayImage::from_fn(120 * count, 160, |x, y| {
                Luma([if seven(120, x % 120, y.saturating_sub(20)) { 30 } else { 230 }])
            });
            // Geometry alone may prefer the paper around them; the network does not.
            let counts: Vec<usize> = read(image).unwrap().iter().map(|reading| reading.digits).collect();
            assert!(counts.contains(&(count as usize)) && counts.iter().all(|&one| one == 1 || one == count as usize));
        }
    }

    #[test]
    fn a_digit_on_printed_paper_is_one_of_the_readings() {
        let expected = best(drawn(300, 20, 240));
        for (pitch, thickness, line) in [(20, 1, 150), (33, 2, 170), (12, 1, 190), (60, 3, 120)] {
            let on_line = |at: u32| (at + 7) % pitch < thickness;
            for (name, is_line) in [
                ("squared", &(|x, y| on_line(x) || on_line(y)) as &dyn Fn(u32, u32) -> bool),
                ("ruled", &|_, y| on_line(y)),
                ("dotted", &|x, y| on_line(x) && on_line(y)),
            ] {
                let level = |x, y| match (seven(300, x, y), is_line(x, y)) {
                    (true, _) => 20,
                    (false, true) => line,
                    (false, false) => 240,
                };
                let readings = read(GrayImage::from_fn(300, 400, |x, y| Luma([level(x, y)]))).unwrap();
                let nearest = readings.iter().map(|one| difference(&expected, &drawn_from(one))).fold(255.0, f64::min);
                assert!(nearest < 20.0, "{name}, {pitch} px: {nearest:.1} grey levels");
            }
        }
    }

    /// They must not panic; the result does not matter.
    #[test]
    fn no_image_is_too_small_or_too_narrow() {
        for (width, height) in [(1, 1), (2, 1), (1, 2), (3, 3), (1, 5000), (5000, 1), (7, 900), (28, 27), (64, 2)] {
            for ink in [0, 255] {
                let image = GrayImage::from_fn(width, height, |x, y| Luma([if (x ^ y) & 3 == 1 { ink } else { 128 }]));
                let _ = read(image.clone());
                let _ = readings(&DynamicImage::from(image).into_rgb8().into(), None, Polarity::DarkOnLight, (1, 1));
            }
        }
    }
}
