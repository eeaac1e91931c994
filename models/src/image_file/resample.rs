//! Pillow's resampling of 8-bit images, bit for bit (`Resample.c` and `Geometry.c` of Pillow 13): training programs
//! prepare their images with it.
//!
//! A result is a weighted mean of neighbouring pixels of a row, and then of those of a column. Each mean is rounded to a
//! byte. Images that lose much more height than width begin with the columns. Pillow 12 never does, so single values of
//! such images differ by 1 from its. Only the part of the result that is kept is computed, so a long image takes no more than others.

use crate::card::Filter;
use std::f64::consts::PI;
use std::ops::Range;

/// Bits after the point of a weight.
const PRECISION: u32 = 32 - 8 - 2;

/// An 8-bit image, pixel by pixel.
#[derive(Clone, Copy)]
pub struct Pixels<'a> {
    pub bytes: &'a [u8],
    pub columns: usize,
    pub rows: usize,
    /// Bytes of a pixel.
    pub channels: usize,
}

/// One direction of the result: how long all of it would be, and which part is kept.
#[derive(Clone, Debug)]
pub struct Extent {
    pub full: usize,
    pub kept: Range<usize>,
}

/// Resizes an image and returns the part that is kept. No extent may be 0.
pub fn resample(image: Pixels, columns: &Extent, rows: &Extent, filter: Filter) -> Vec<u8> {
    let Some((kernel, reach)) = kernel(filter) else { return nearest(image, columns, rows) };
    let Pixels { bytes, channels, .. } = image;
    let (down, across) =
        (Weights::new(image.rows, rows, kernel, reach), Weights::new(image.columns, columns, kernel, reach));
    let lost = |from: usize, to: &Extent| from as i64 - to.full as i64;
    let (lost_rows, lost_columns) = (lost(image.rows, rows), lost(image.columns, columns));
    if lost_rows > 0 && lost_rows > 2 * lost_columns {
        let low = down.between(bytes, image.columns * channels, 0);
        return across.within(&low, image.columns, channels);
    }
    // Only these rows are needed.
    let (used, line) = (down.used(), image.columns * channels);
    let narrow = across.within(&bytes[used.start * line..used.end * line], image.columns, channels);
    down.between(&narrow, columns.kept.len() * channels, used.start)
}

/// The weight of a pixel at a distance, in pixels.
type Kernel = fn(f64) -> f64;

/// A filter, and how far it reaches.
fn kernel(filter: Filter) -> Option<(Kernel, f64)> {
    match filter {
        Filter::Nearest => None,
        Filter::Bilinear => Some((|x| (1.0 - x.abs()).max(0.0), 1.0)),
        Filter::Bicubic => Some((bicubic, 2.0)),
        Filter::Lanczos => Some((|x| if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }, 3.0)),
    }
}

/// Keys's cubic with a = −0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// Which pixels of a row or column each result is made of, and how much of each.
struct Weights {
    /// For each result: the first of its pixels, and where its weights are in `shares`.
    places: Vec<(usize, Range<usize>)>,
    shares: Vec<i32>,
    /// Whether the extent stays the same. Then this direction is left out.
    same: bool,
}

impl Weights {
    fn new(from: usize, to: &Extent, kernel: Kernel, reach: f64) -> Self {
        if from == to.full {
            let places = to.kept.clone().map(|index| (index, 0..1)).collect();
            return Self { places, shares: vec![1 << PRECISION], same: true };
        }
        let scale = from as f64 / to.full as f64;
        // An image that is reduced is also smoothed; one that is enlarged is interpolated.
        let smooth = scale.max(1.0);
        let reach = reach * smooth;
        let (mut places, mut weights) = (Vec::with_capacity(to.kept.len()), Vec::new());
        for index in to.kept.clone() {
            let centre = (index as f64 + 0.5) * scale;
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(from);
            let shares: Vec<f64> =
                (first..end).map(|place| kernel((place as f64 - centre + 0.5) * (1.0 / smooth))).collect();
            let sum: f64 = shares.iter().sum();
            let start = weights.len();
            weights.extend(shares.iter().map(|share| {
                let share = if sum == 0.0 { *share } else { share / sum };
                // Rounded half away from zero.
                (share * f64::from(1 << PRECISION) + 0.5_f64.copysign(share)) as i32
            }));
            places.push((first, start..weights.len()));
        }
        Self { places, shares: weights, same: false }
    }

    /// The pixels from the first to the last that are used.
    fn used(&self) -> Range<usize> {
        let start = self.places.first().map_or(0, |(first, _)| *first);
        let end = self.places.iter().map(|(first, weights)| first + weights.len()).max();
        start..end.unwrap_or(0)
    }

    /// Resizes the rows of an image.
    fn within(&self, bytes: &[u8], columns: usize, channels: usize) -> Vec<u8> {
        let lines = bytes.chunks_exact(columns * channels);
        if self.same {
            let (start, end) = (self.used().start * channels, self.used().end * channels);
            return lines.flat_map(|line| &line[start..end]).copied().collect();
        }
        match channels {
            3 => lines.flat_map(|line| self.along::<3>(line)).collect(),
            _ => lines.flat_map(|line| self.along::<1>(line)).collect(),
        }
    }

    /// Resizes one row of pixels of `C` bytes.
    fn along<const C: usize>(&self, line: &[u8]) -> impl Iterator<Item = u8> {
        self.places.iter().flat_map(move |(first, weights)| {
            let mut sums = [1 << (PRECISION - 1); C];
            for (pixel, weight) in line[first * C..].chunks_exact(C).zip(&self.shares[weights.clone()]) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            sums.map(rounded)
        })
    }

    /// Resizes the columns of an image whose rows have `line` bytes. `offset` is the number of its first row.
    fn between(&self, bytes: &[u8], line: usize, offset: usize) -> Vec<u8> {
        if self.same {
            let used = self.used();
            return bytes[(used.start - offset) * line..(used.end - offset) * line].to_vec();
        }
        let mut result = Vec::with_capacity(self.places.len() * line);
        let mut sums = vec![0; line];
        for (first, weights) in &self.places {
            sums.fill(1 << (PRECISION - 1));
            let rows = bytes[(first - offset) * line..].chunks_exact(line);
            for (row, &weight) in rows.zip(&self.shares[weights.clone()]) {
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += i32::from(value) * weight;
                }
            }
            result.extend(sums.iter().map(|&sum| rounded(sum)));
        }
        result
    }
}

fn rounded(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Takes the pixel that each result lies in.
fn nearest(image: Pixels, columns: &Extent, rows: &Extent) -> Vec<u8> {
    let Pixels { bytes, channels, .. } = image;
    let places = |from: usize, to: &Extent| -> Vec<usize> {
        let scale = from as f64 / to.full as f64;
        // Added up, as Pillow does it, so that rounding falls on the same side.
        let steps = std::iter::successors(Some(scale * 0.5), |place| Some(place + scale));
        steps.take(to.kept.end).skip(to.kept.start).map(|place| (place as usize).min(from - 1)).collect()
    };
    let (across, down) = (places(image.columns, columns), places(image.rows, rows));
    let pixel = |row: usize, column: usize| &bytes[(row * image.columns + column) * channels..][..channels];
    let pixel = &pixel;
    down.iter().flat_map(|&row| across.iter().flat_map(move |&column| pixel(row, column))).copied().collect()
}
