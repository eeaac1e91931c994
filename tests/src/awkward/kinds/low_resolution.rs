//! Digits of a few pixels, as they are and enlarged: thumbnails, scans of small print and old data sets.

use super::super::random::Random;
use super::super::{Sources, Specimen, encode};
use anyhow::Result;
use image::imageops::{self, FilterType};
use image::{GrayImage, ImageFormat, Luma};
use ndarray::ArrayView2;

/// Nearest, bilinear and bicubic.
const FILTERS: [FilterType; 3] = [FilterType::Nearest, FilterType::Triangle, FilterType::CatmullRom];
/// Sides in pixels, besides 8.
const LARGER: [usize; 3] = [10, 12, 16];

/// An MNIST digit shrunk to `side` pixels by area averaging, in the middle of a square that its ink touches. Light on
/// dark.
fn shrunk(digit: ArrayView2<u8>, side: usize) -> GrayImage {
    let inked = |at: &(usize, usize)| digit[*at] > 30;
    let points: Vec<(usize, usize)> = digit.indexed_iter().map(|(at, _)| at).filter(inked).collect();
    let range = |along: fn(&(usize, usize)) -> usize| {
        let first = points.iter().map(along).min().unwrap_or(0);
        (first, points.iter().map(along).max().unwrap_or(27) + 1 - first)
    };
    let ((top, height), (left, width)) = (range(|at| at.0), range(|at| at.1));
    let longer = width.max(height) as f32;
    let fitted = |extent: usize| ((side * extent) as f32 / longer).round().max(1.0) as usize;
    let (across, down) = (fitted(width), fitted(height));
    let mut small = GrayImage::new(side as u32, side as u32);
    for row in 0..down {
        for column in 0..across {
            let weights_y = overlaps(row, height as f32 / down as f32);
            let weights_x: Vec<(usize, f32)> = overlaps(column, width as f32 / across as f32);
            let (mut sum, mut area) = (0.0, 0.0);
            for (y, weight_y) in &weights_y {
                for (x, weight_x) in &weights_x {
                    let level = digit.get((top + y, left + x)).copied().unwrap_or(0);
                    sum += weight_y * weight_x * f32::from(level);
                    area += weight_y * weight_x;
                }
            }
            let (x, y) = (column + (side - across) / 2, row + (side - down) / 2);
            small.put_pixel(x as u32, y as u32, Luma([(sum / area).round() as u8]));
        }
    }
    small
}

/// The source pixels that a target pixel covers, when one is `step` source pixels wide, and how much of each.
fn overlaps(target: usize, step: f32) -> Vec<(usize, f32)> {
    let (start, end) = (target as f32 * step, (target + 1) as f32 * step);
    let covered = |at: usize| ((at + 1) as f32).min(end) - (at as f32).max(start);
    (start as usize..end.ceil() as usize).map(|at| (at, covered(at))).filter(|(_, share)| *share > 1e-3).collect()
}

/// Grey levels of paper and ink: black and white in half of the images.
fn levels(random: &mut Random, dark_on_light: bool) -> (u8, u8) {
    let (light, dark) = if random.chance(0.5) { (255, 0) } else { (190 + random.below(66), random.below(80)) };
    if dark_on_light { (light as u8, dark as u8) } else { (dark as u8, light as u8) }
}

/// A digit shrunk to `side` pixels. Every second one uses the full range of levels.
fn source(sources: &Sources, random: &mut Random, side: usize) -> (GrayImage, u8, String) {
    let (digit, label, origin) = sources.digit(random);
    let mut small = shrunk(digit, side);
    if random.chance(0.5) {
        let most = small.iter().copied().max().unwrap_or(255).max(1);
        for level in small.iter_mut() {
            *level = (u16::from(*level) * 255 / u16::from(most)) as u8;
        }
    }
    (small, label, origin)
}

fn coloured(image: &GrayImage, (paper, ink): (u8, u8)) -> GrayImage {
    let mut coloured = image.clone();
    for level in coloured.iter_mut() {
        let share = f32::from(*level) / 255.0;
        *level = (f32::from(paper) + (f32::from(ink) - f32::from(paper)) * share).round() as u8;
    }
    coloured
}

/// The digit with the levels of paper and ink, enlarged. `index` determines the filter and the polarity.
fn enlarged(random: &mut Random, index: usize, small: &GrayImage, levels: (u8, u8)) -> GrayImage {
    let zoom = random.scale(48.0, 240.0) / small.height() as f32;
    let extent = |pixels: u32| (pixels as f32 * zoom).round() as u32;
    imageops::resize(
        &coloured(small, levels),
        extent(small.width()),
        extent(small.height()),
        FILTERS[index % FILTERS.len()],
    )
}

fn finished(image: GrayImage, random: &mut Random, label: u8, origin: String) -> Result<Specimen> {
    let image = image::DynamicImage::from(image);
    let bytes = match random.below(3) {
        0 => encode::any(image.into_rgb8(), random)?,
        _ => encode::file(&image, ImageFormat::Png)?,
    };
    Ok(Specimen::digit(label, origin, bytes))
}

fn tight(sources: &Sources, index: usize, random: &mut Random, side: usize) -> Result<Specimen> {
    let (mut small, label, origin) = source(sources, random, side);
    // Some are cropped at the sides too, but not so far that a 1 fills the image.
    if random.chance(0.3) {
        let inked = |x: u32| (0..small.height()).any(|y| small.get_pixel(x, y).0[0] > 0);
        let empty = (0..small.width()).take_while(|&x| !inked(x)).count().min(side / 4);
        let width = side - 2 * empty;
        small = imageops::crop_imm(&small, empty as u32, 0, width as u32, side as u32).to_image();
    }
    let levels = levels(random, index / FILTERS.len() % 2 == 1);
    let image = enlarged(random, index, &small, levels);
    finished(image, random, label, origin)
}

fn on_paper(sources: &Sources, index: usize, random: &mut Random, side: usize) -> Result<Specimen> {
    let (small, label, origin) = source(sources, random, side);
    let levels = levels(random, index / FILTERS.len() % 4 != 3);
    let image = enlarged(random, index, &small, levels);
    let mut margin = || (image.height() as f32 * random.scale(0.08, 1.0)).round() as u32;
    let (left, right, top, bottom) = (margin(), margin(), margin(), margin());
    let (width, height) = (image.width() + left + right, image.height() + top + bottom);
    let mut paper = GrayImage::from_pixel(width, height, Luma([levels.0]));
    imageops::replace(&mut paper, &image, left.into(), top.into());
    finished(paper, random, label, origin)
}

/// 8 px high, enlarged, with the ink at the edges.
pub fn tight_8(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    tight(sources, index, random, 8)
}

/// 10, 12 or 16 px high, enlarged, with the ink at the edges.
pub fn tight_larger(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    tight(sources, index, random, LARGER[index / 6 % 3])
}

/// 8 px high, enlarged, with a margin.
pub fn on_paper_8(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    on_paper(sources, index, random, 8)
}

/// 10, 12 or 16 px high, enlarged, with a margin.
pub fn on_paper_larger(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    on_paper(sources, index, random, LARGER[index / 12 % 3])
}

fn tiny(sources: &Sources, index: usize, random: &mut Random, side: usize) -> Result<Specimen> {
    let (small, label, origin) = source(sources, random, side);
    let levels = levels(random, index.is_multiple_of(2));
    let format = *random.pick(&[ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Pnm]);
    Ok(Specimen::digit(label, origin, encode::file(&coloured(&small, levels).into(), format)?))
}

/// Files of 8×8 px.
pub fn tiny_8(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    tiny(sources, index, random, 8)
}

/// Files of 10×10 to 16×16 px.
pub fn tiny_larger(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    tiny(sources, index, random, LARGER[index / 2 % 3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn shrinking_averages_areas_and_fills_the_longer_side() {
        // A bar of 5×20 pixels, whose left half is half as dark.
        let bar = Array2::from_shape_fn((28, 28), |(y, x)| match (y, x) {
            (4..24, 10..15) if x < 12 => 100,
            (4..24, 10..15) => 200,
            _ => 0,
        });
        let small = shrunk(bar.view(), 8);
        // 8 rows, and 2 columns of 2.5 pixels each: (100 + 100 + 0.5 × 200) / 2.5 and 200.
        for y in 0..8 {
            let row: Vec<u8> = (0..8).map(|x| small.get_pixel(x, y).0[0]).collect();
            assert_eq!(row, [0, 0, 0, 120, 200, 0, 0, 0], "row {y}");
        }
    }
}
