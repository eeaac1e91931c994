//! Hypotheses about which pixels of an image are the digit.
//!
//! Each combination of polarity, width of the background window and threshold gives a mask of ink, and another one
//! without long straight `lines`. Each of the clearest pieces in a mask, with the pieces that belong to it, is one
//! hypothesis. `geometry` says how plausible each is. Only duplicates and those without a chance are dropped here; the
//! network judges the others.
//!
//! All levels are logarithms of grey levels, so that a shadow adds a constant instead of a factor.

use super::MOST_READINGS;
use super::components::{Component, components};
use super::geometry::{self, Shape};
use super::ground::without_dark_strokes;
use super::lines;
use super::number;
use super::plane::Plane;
use super::threshold::otsu;
use crate::card::Polarity;

/// Widths of the window in which the background is estimated, as shares of the image's longer side. Dark areas wider
/// than the window are background. `None` stands for one background level for the whole image.
const WINDOWS: [Option<f32>; 4] = [Some(0.08), Some(0.2), Some(0.5), None];
/// Width of the window for a plane without shadows.
const LEVELLED: f32 = 0.5;
/// A lower threshold, as a share of Otsu's, for ink of uneven strength.
const PALE: f32 = 0.55;
/// Most pieces of a mask that are tried as the digit.
const MAINS: usize = 3;
/// Most pieces of a mask that are looked at.
const PIECES: usize = 40;
/// Smallest step across an outline that counts as an edge, as a share of the image's sharpest edges.
const EDGE: f32 = 0.1;
/// Added to levels, 0 to 255, before taking the logarithm: differences among dark levels are mostly noise, or blur.
const RAISED: f32 = 60.0;
/// Smallest logarithmic step at the sharpest edges of an image that shows anything.
const MIN_EDGE: f32 = 0.012;
/// The sharpest edges are at least this multiple of the median step. A slope is as steep everywhere.
const STEEP: f32 = 2.0;
/// Number of steps that count as the sharpest edges: a tenth of a small digit's outline.
const SHARP_STEPS: usize = 30;
/// Smallest extent of a digit: in pixels, and as a share of the image's longer side.
const SMALLEST: (f32, f32) = (5.0, 0.05);
/// Smallest piece, in pixels.
const SPECK_PIXELS: usize = 5;
/// A piece smaller than this share of the digit's extent is a speck.
const SPECK: f32 = 0.2;
/// A piece larger than this multiple of the digit's extent is something else, such as a frame.
const LARGER: f32 = 1.3;
/// A piece farther from the digit than this share of the digit's extent does not belong to it.
const FAR: f32 = 0.3;
/// Two hypotheses are the same if they share this much of their pixels (intersection over union).
const SAME: f32 = 0.8;

/// One hypothesis.
pub(super) struct Hypothesis {
    /// How the digit stands out.
    pub polarity: Polarity,
    /// Its pixels.
    pub mask: Mask,
    /// Their bounding box: left, top, width and height.
    pub bounds: (usize, usize, usize, usize),
    /// Number of digits side by side, including this one.
    pub digits: usize,
    /// Whether pieces of other digits were left out, at every threshold that gives these pixels.
    pub is_parted: bool,
    /// How plausible it is; see [`geometry`].
    pub plausibility: f32,
    /// Whether its mask has long straight lines.
    lined: bool,
    shape: Shape,
}

/// An image in one polarity.
struct View {
    polarity: Polarity,
    /// Logarithms of levels; ink is lower than what surrounds it.
    dark: Plane,
    /// Their depth below the background in a wide window: without the edges of shadows.
    levelled: Plane,
    /// The step at the image's sharpest edges.
    sharpest: f32,
}

/// A set of pixels, as bits.
#[derive(Clone)]
pub(super) struct Mask {
    words: Vec<u64>,
}

impl Mask {
    pub fn new<'a>(pixels: impl Iterator<Item = &'a usize>, size: usize) -> Self {
        let mut words = vec![0; size.div_ceil(64)];
        for &pixel in pixels {
            words[pixel / 64] |= 1 << (pixel % 64);
        }
        Self { words }
    }

    pub fn contains(&self, pixel: usize) -> bool {
        self.words[pixel / 64] >> (pixel % 64) & 1 == 1
    }

    /// Intersection over union.
    fn overlap(&self, other: &Self) -> f32 {
        let count = |combine: fn(u64, u64) -> u64| {
            self.words.iter().zip(&other.words).map(|(&one, &two)| combine(one, two).count_ones()).sum::<u32>() as f32
        };
        count(|one, two| one & two) / count(|one, two| one | two).max(1.0)
    }
}

/// Logarithms of levels 0 to 255.
pub(super) fn logarithmic(levels: &Plane) -> Plane {
    levels.map(|level| (level + RAISED).ln())
}

/// How sharp the image's edges are: the step of the [`SHARP_STEPS`]-th sharpest edge between neighbouring pixels, and the
/// median step. Both are 0 for an image of one pixel.
pub(super) fn sharpness(logs: &Plane) -> (f32, f32) {
    let width = logs.width.max(1);
    let rows = || logs.values.chunks_exact(width);
    let mut steps: Vec<f32> = rows().flat_map(|row| row.windows(2).map(|pair| (pair[1] - pair[0]).abs())).collect();
    for (row, next) in rows().zip(rows().skip(1)) {
        steps.extend(row.iter().zip(next).map(|(here, below)| (below - here).abs()));
    }
    let Some(last) = steps.len().checked_sub(1) else { return (0.0, 0.0) };
    let mut nth = |rank: usize| *steps.select_nth_unstable_by(rank.min(last), |one, two| two.total_cmp(one)).1;
    (nth((last / 30).min(SHARP_STEPS)), nth(last / 2))
}

/// The distinct hypotheses, most plausible first; at most [`MOST_READINGS`]. Empty if the image shows nothing.
pub(super) fn hypotheses(logs: &Plane, polarity: Option<Polarity>) -> Vec<Hypothesis> {
    // Smoothed, so that a gradient is even in spite of its rounding to whole levels.
    let smooth = logs.smoothed();
    let (sharpest, usual) = sharpness(&smooth);
    if sharpest < MIN_EDGE.max(STEEP * usual) {
        return Vec::new();
    }
    let mut all = Vec::new();
    let both = [Polarity::DarkOnLight, Polarity::LightOnDark];
    for polarity in both.into_iter().filter(|&one| polarity.is_none_or(|known| known == one)) {
        let dark = if polarity == Polarity::DarkOnLight { smooth.clone() } else { smooth.map(|value| -value) };
        let view = View { polarity, levelled: depth(&dark, Some(LEVELLED)), dark, sharpest };
        for window in WINDOWS {
            let ink = depth(&view.dark, window);
            let (low, high) = (floor(&ink, window), ink.quantile(1.0));
            let threshold = otsu(ink.values.iter().copied(), low, high.max(low + 1e-3));
            // The upper one parts the digit from paler ink, such as the lines of squared paper.
            let upper = otsu(ink.values.iter().copied(), threshold, high.max(threshold + 1e-3));
            for level in [threshold, (threshold * PALE).max(low), upper] {
                let mask: Vec<bool> = ink.values.iter().map(|&value| value >= level).collect();
                let rest = lines::without(&mask, ink.width);
                add(&mut all, &view, &mask, rest.is_some());
                if let Some(rest) = rest {
                    add(&mut all, &view, &rest, false);
                }
            }
        }
    }
    let clearest = |lined: bool| {
        let edges = all.iter().filter(|one| lined || !one.lined).map(|one| one.shape.edges);
        edges.fold(0.0, f32::max)
    };
    // A frame has more edges than the digit in it.
    let clearest = if clearest(false) > 0.0 { clearest(false) } else { clearest(true) };
    for one in &mut all {
        one.plausibility = geometry::plausibility(&one.shape, clearest, (logs.width, logs.height));
    }
    all.sort_by(|one, two| two.plausibility.total_cmp(&one.plausibility));
    let mut kept: Vec<Hypothesis> = Vec::new();
    for one in all {
        // The network's answer only lowers the log-odds, so the rest stay unknown.
        if kept.len() >= MOST_READINGS || one.plausibility < 0.0 && !kept.is_empty() {
            break;
        }
        if !kept.iter().any(|other| other.polarity == one.polarity && other.mask.overlap(&one.mask) > SAME) {
            kept.push(one);
        }
    }
    // A digit is one of several only if another hypothesis stands beside it. A fragment of the digit is none.
    for index in 0..kept.len() {
        let Hypothesis { polarity, bounds, .. } = kept[index];
        let beside = |other: &Hypothesis| other.polarity == polarity && number::side_by_side(other.bounds, bounds);
        if !kept[index].is_parted && !kept.iter().any(beside) {
            kept[index].digits = 1;
        }
    }
    kept
}

/// How much darker each pixel is than the background.
fn depth(dark: &Plane, window: Option<f32>) -> Plane {
    if let Some(share) = window {
        let radius = (dark.width.max(dark.height) as f32 * share / 2.0).ceil() as usize;
        return without_dark_strokes(dark, radius).zip(dark, |ground, here| ground - here);
    }
    let ground = dark.quantile(1.0);
    dark.map(|here| ground - here)
}

/// The smallest depth that can be ink, above the noise of the background.
fn floor(ink: &Plane, window: Option<f32>) -> f32 {
    if window.is_some() { (2.5 * ink.quantile(0.25)).min(0.4) + 2.0 * MIN_EDGE } else { 0.0 }
}

/// Adds the hypotheses that a mask gives. `lined` tells whether it has long straight lines.
fn add(all: &mut Vec<Hypothesis>, view: &View, mask: &[bool], lined: bool) {
    let View { polarity, ref dark, ref levelled, sharpest } = *view;
    let longer = dark.width.max(dark.height) as f32;
    let mut pieces: Vec<Piece> = components(mask, dark.width)
        .into_iter()
        .filter(|piece| piece.pixels.len() >= SPECK_PIXELS)
        .map(|piece| Piece::new(piece, mask, dark, sharpest))
        .filter(|piece| piece.edges > 0.0)
        .collect();
    pieces.sort_by(|one, two| two.edges.total_cmp(&one.edges));
    pieces.truncate(PIECES);
    for main in 0..pieces.len().min(MAINS) {
        let extent = pieces[main].component.extent() as f32;
        if extent < SMALLEST.0.max(SMALLEST.1 * longer) {
            continue;
        }
        let mut kept = vec![&pieces[main]];
        for (index, piece) in pieces.iter().enumerate() {
            let gap = kept.iter().map(|part| part.component.gap(&piece.component)).min().unwrap_or(0) as f32;
            let own = piece.component.extent() as f32;
            if index != main && (SPECK * extent..=LARGER * extent).contains(&own) && gap <= FAR * extent {
                kept.push(piece);
            }
        }
        let digits = number::digits(&pieces, main);
        let mut groups = vec![(kept, false)];
        if digits > 1 {
            // The digits of a number can stand closer than the pieces of a broken digit. What is wider than high can be
            // two digits that touch, and then the count is wrong.
            let of_main = around(&[&pieces[main]]);
            let is_other = |piece: &&Piece| number::side_by_side(around(&[piece]), of_main);
            let is_narrow = |(_, _, width, height): (usize, usize, usize, usize)| width <= height;
            let (others, own): (Vec<&Piece>, Vec<&Piece>) = groups[0].0.iter().copied().partition(is_other);
            if !others.is_empty() && is_narrow(around(&own)) && others.iter().all(|piece| is_narrow(around(&[piece]))) {
                groups.push((own, true));
            }
        }
        for (kept, is_parted) in groups {
            let bounds = around(&kept);
            let sum = |count: fn(&Piece) -> usize| kept.iter().map(|piece| count(piece)).sum();
            let pixels = sum(|piece| piece.component.pixels.len());
            // Several thresholds often give the same pixels.
            let same =
                |one: &&mut Hypothesis| (one.polarity, one.bounds, one.shape.pixels) == (polarity, bounds, pixels);
            if let Some(one) = all.iter_mut().find(same) {
                one.lined &= lined;
                one.is_parted &= is_parted;
                continue;
            }
            let mask = Mask::new(kept.iter().flat_map(|piece| &piece.component.pixels), mask.len());
            let shape = Shape {
                edges: kept.iter().map(|piece| piece.edges).sum(),
                outline: sum(|piece| piece.outline),
                border: sum(|piece| piece.border),
                pixels,
                pieces: kept.len(),
                bounds,
                separation: f32::midpoint(
                    geometry::separation(dark, &mask, bounds),
                    geometry::separation(levelled, &mask, bounds),
                ),
                thickest: geometry::thickest(&mask, (dark.width, dark.height), bounds),
            };
            all.push(Hypothesis { polarity, mask, bounds, digits, is_parted, plausibility: 0.0, lined, shape });
        }
    }
}

/// A connected piece of ink.
pub(super) struct Piece {
    pub component: Component,
    /// How sharp its outline is: the sum over all pixel sides of the step across it, less [`EDGE`]. A step as sharp as
    /// the image's sharpest edges, or sharper, counts as 1.
    pub edges: f32,
    /// How many of its pixel sides lie between it and its surroundings.
    pub outline: usize,
    /// How many of its pixel sides lie on the image's border.
    pub border: usize,
}

impl Piece {
    fn new(component: Component, mask: &[bool], dark: &Plane, sharpest: f32) -> Self {
        let Plane { width, height, ref values } = *dark;
        let (mut edges, mut outline, mut border) = (0.0, 0, 0);
        for &pixel in &component.pixels {
            let (x, y) = (pixel % width, pixel / width);
            for (near_x, near_y) in [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)] {
                if near_x >= width || near_y >= height {
                    border += 1;
                } else if !mask[near_y * width + near_x] {
                    let step = (values[near_y * width + near_x] - values[pixel]) / sharpest;
                    edges += step.min(1.0) - EDGE;
                    outline += 1;
                }
            }
        }
        Self { component, edges, outline, border }
    }
}

/// The bounding box of pieces, of which there is at least one.
fn around(pieces: &[&Piece]) -> (usize, usize, usize, usize) {
    let components = || pieces.iter().map(|piece| &piece.component);
    let left = components().map(|piece| piece.left).min().unwrap_or(0);
    let top = components().map(|piece| piece.top).min().unwrap_or(0);
    let right = components().map(|piece| piece.right).max().unwrap_or(0);
    let bottom = components().map(|piece| piece.bottom).max().unwrap_or(0);
    (left, top, right - left + 1, bottom - top + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(level: impl Fn(usize, usize) -> f32) -> Plane {
        logarithmic(&Plane::from_fn(120, 90, level))
    }

    /// A ring, which looks like a zero.
    fn zero(x: usize, y: usize) -> bool {
        let radius = (x as f32 - 60.0).hypot(y as f32 - 45.0);
        (14.0..20.0).contains(&radius)
    }

    fn best(level: impl Fn(usize, usize) -> f32) -> Hypothesis {
        hypotheses(&image(level), None).into_iter().next().unwrap()
    }

    #[test]
    fn either_polarity_is_found() {
        for (ink, ground, polarity) in [(30.0, 220.0, Polarity::DarkOnLight), (220.0, 30.0, Polarity::LightOnDark)] {
            let found = best(|x, y| if zero(x, y) { ink } else { ground });
            assert_eq!(found.polarity, polarity);
            assert_eq!(found.bounds, (41, 26, 39, 39));
        }
    }

    #[test]
    fn a_shadow_over_the_digit_does_not_matter() {
        let shadow = |x: usize| if x < 58 { 0.45 } else { 1.0 };
        let found = best(|x, y| shadow(x) * if zero(x, y) { 40.0 } else { 220.0 });
        assert_eq!(found.polarity, Polarity::DarkOnLight);
        let (left, top, width, height) = found.bounds;
        assert!(left.abs_diff(41) < 2 && top.abs_diff(26) < 2 && width.abs_diff(39) < 4 && height.abs_diff(39) < 4);
    }

    #[test]
    fn an_even_image_has_no_hypotheses() {
        assert!(hypotheses(&image(|_, _| 200.0), None).is_empty());
        assert!(hypotheses(&image(|x, y| 240.0 - x as f32 - y as f32), None).is_empty());
    }

    #[test]
    fn the_digit_on_a_sheet_on_a_table_is_among_them() {
        let sheet = |x: usize, y: usize| (12..110).contains(&x) && (10..82).contains(&y);
        let level = |x, y| match (zero(x, y), sheet(x, y)) {
            (true, _) => 40.0,
            (false, true) => 220.0,
            (false, false) => 60.0,
        };
        let found = hypotheses(&image(level), None);
        assert!(found.len() <= MOST_READINGS);
        assert!(found.iter().any(|one| one.polarity == Polarity::DarkOnLight && one.bounds == (41, 26, 39, 39)));
    }

    #[test]
    fn specks_are_dropped_and_a_stroke_apart_is_kept() {
        let speck =
            |x: usize, y: usize| (62..64).contains(&x) && (70..72).contains(&y) || x < 9 && x > 6 && y < 8 && y > 5;
        let bar = |x: usize, y: usize| (50..80).contains(&x) && (18..22).contains(&y);
        let found = best(|x, y| if zero(x, y) || speck(x, y) || bar(x, y) { 40.0 } else { 220.0 });
        assert_eq!(found.bounds, (41, 18, 39, 47));
    }
}
