//! Contact sheets: pictures of one kind, each beside what the network saw, wrong answers framed in red.

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, Rgb, RgbImage};

/// Height of a picture on the sheet, and the side of what the network saw.
const CELL: u32 = 112;
const COLUMNS: u32 = 8;

/// One picture and what became of it.
pub struct Entry {
    /// The picture as decoded.
    pub picture: DynamicImage,
    /// What the network saw; nothing if the picture was refused.
    pub seen: Option<GrayImage>,
    /// Whether the answer was right.
    pub right: bool,
}

/// The sheet: two cells per entry, in rows of eight entries.
#[must_use]
pub fn drawn(entries: &[Entry]) -> RgbImage {
    let rows = (entries.len() as u32).div_ceil(COLUMNS).max(1);
    let (width, height) = (2 * CELL + 8, CELL + 8);
    let mut sheet = RgbImage::from_pixel(COLUMNS * width, rows * height, Rgb([70, 70, 90]));
    for (index, entry) in (0_u32..).zip(entries) {
        let (left, top) = (index % COLUMNS * width, index / COLUMNS * height);
        if !entry.right {
            let frame = RgbImage::from_pixel(width, height, Rgb([255, 0, 0]));
            imageops::replace(&mut sheet, &frame, left.into(), top.into());
        }
        let small = entry.picture.resize(CELL, CELL, FilterType::Triangle).into_rgba8();
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
