//! Contact sheets: images of one kind, each beside the network's input. Mistakes are framed in red.

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, Rgb, RgbImage};

/// Height of an image on the sheet, and side of the network's input, in pixels.
const CELL: u32 = 112;
const COLUMNS: u32 = 8;

/// One image and its result.
pub struct Entry {
    /// The image as decoded.
    pub image: DynamicImage,
    /// The network's input; `None` if the image was refused.
    pub seen: Option<GrayImage>,
    /// Whether the prediction was right.
    pub right: bool,
}

/// Draws the sheet: two cells per entry, eight entries per row.
#[must_use]
pub fn drawn<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> RgbImage {
    let entries: Vec<&Entry> = entries.into_iter().collect();
    let rows = (entries.len() as u32).div_ceil(COLUMNS).max(1);
    let (width, height) = (2 * CELL + 8, CELL + 8);
    let mut sheet = RgbImage::from_pixel(COLUMNS * width, rows * height, Rgb([70, 70, 90]));
    for (index, entry) in (0_u32..).zip(&entries) {
        let (left, top) = (index % COLUMNS * width, index / COLUMNS * height);
        if !entry.right {
            let frame = RgbImage::from_pixel(width, height, Rgb([255, 0, 0]));
            imageops::replace(&mut sheet, &frame, left.into(), top.into());
        }
        let small = entry.image.resize(CELL, CELL, FilterType::Triangle).into_rgba8();
        for (x, y, pixel) in small.enumerate_pixels() {
            let ground = sheet.get_pixel_mut(left + 4 + x, top + 4 + y);
            let share = |ink: u8, under: u8| {
                (u16::from(ink) * u16::from(pixel[3]) + u16::from(under) * (255 - u16::from(pixel[3]))) / 255
            };
            *ground = Rgb([0, 1, 2].map(|channel| share(pixel[channel], ground[channel]) as u8));
        }
        if let Some(seen) = &entry.seen {
            let large = imageops::resize(seen, CELL, CELL, FilterType::Nearest);
            let large = DynamicImage::from(large).into_rgb8();
            imageops::replace(&mut sheet, &large, i64::from(left + CELL) + 4, i64::from(top) + 4);
        }
    }
    sheet
}
