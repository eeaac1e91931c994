//! Finds the digit: tries several hypotheses about polarity, stroke width and threshold, and keeps the one whose mask
//! fits the image's edges best.
//!
//! All levels are logarithms of grey levels, so that a shadow adds a constant instead of a factor. Each hypothesis
//! gives a mask. The digit's outline must consist of sharp edges between ink and background, so each step across the
//! outline adds its difference in level to the score, less a minimum ([`EDGE`]). Each side of a pixel at the image's
//! border subtracts as much as the sharpest edge adds. So shadows and table tops, which are blurred or long at the
//! border, lose against strokes, and half a digit loses against the whole.

use super::components::{Component, components};
use super::ground::without_dark_strokes;
use super::plane::Plane;
use super::sheet;
use super::threshold::otsu;
use super::{number, paper};
use crate::card::Polarity;

/// Hypotheses about the largest stroke width, as shares of the image's longer side. The last means that the whole image
/// has one background level, so dark areas of any width count as ink.
const WINDOWS: [f32; 4] = [0.08, 0.2, 0.5, 2.0];
/// Thresholds, as shares of Otsu's.
const THRESHOLDS: [f32; 2] = [1.0, 0.55];
/// Smallest step across the outline that counts as an edge, as a share of the image's sharpest edges.
const EDGE: f32 = 0.3;
/// Added to levels, 0 to 255, before taking the logarithm, because the darkest tenth is mostly noise.
const RAISED: f32 = 20.0;
/// Smallest logarithmic step at the sharpest edges of an image that shows anything.
const MIN_EDGE: f32 = 0.018;
/// The step at the sharpest edges is also at least this multiple of the median step between neighbours. Noise alone
/// stays below.
const ABOVE_NOISE: f32 = 4.5;
/// Number of steps that count as the sharpest edges: a tenth of a small digit's outline.
const SHARP_STEPS: usize = 30;
/// Smallest extent of a digit: in pixels, and as a share of the image's longer side.
const SMALLEST: (f32, f32) = (5.0, 0.05);
/// A piece smaller than this share of the digit's extent is a speck.
const SPECK: f32 = 0.2;
/// Smallest score of a digit on ruled paper, per pixel of its extent. Remains of broken lines score lower.
const CLEAR_OF_RULES: f32 = 1.2;
/// A piece whose distance from the digit exceeds this share of its extent does not belong to it.
const FAR: f32 = 0.3;

/// The digit that was found.
pub(super) struct Found {
    /// How the digit stands out.
    pub polarity: Polarity,
    /// Mask of its pixels.
    pub mask: Vec<bool>,
    /// Their bounding box: left, top, width and height.
    pub bounds: (usize, usize, usize, usize),
    /// Number of digits side by side, including this one.
    pub digits: usize,
    /// How well the outline fits the image's edges; see the module's description.
    pub score: f32,
}

impl Found {
    /// The longer side of the bounding box.
    pub fn extent(&self) -> usize {
        self.bounds.2.max(self.bounds.3)
    }
}

/// Logarithms of levels 0 to 255.
pub(super) fn logarithmic(levels: &Plane) -> Plane {
    levels.map(|level| (level + RAISED).ln())
}

/// How sharp the image's edges are: the step of the [`SHARP_STEPS`]-th sharpest edge between neighbours, and the median
/// step.
pub(super) fn sharpness(logs: &Plane) -> (f32, f32) {
    let width = logs.width.max(1);
    let rows = || logs.values.chunks_exact(width);
    let mut steps: Vec<f32> = rows().flat_map(|row| row.windows(2).map(|pair| (pair[1] - pair[0]).abs())).collect();
    for (row, next) in rows().zip(rows().skip(1)) {
        steps.extend(row.iter().zip(next).map(|(here, below)| (below - here).abs()));
    }
    let rank = (steps.len() / 30).min(SHARP_STEPS).min(steps.len().saturating_sub(1));
    if steps.is_empty() {
        return (0.0, 0.0);
    }
    let (_, &mut sharpest, rest) = steps.select_nth_unstable_by(rank, |one, two| two.total_cmp(one));
    let half = rest.len() / 2;
    let usual = if rest.is_empty() { 0.0 } else { *rest.select_nth_unstable_by(half, f32::total_cmp).1 };
    (sharpest, usual)
}

/// Searches for a digit; `None` if nothing looks like one.
pub(super) fn digit(logs: &Plane, polarity: Option<Polarity>) -> Option<Found> {
    let (sharpest, usual) = sharpness(logs);
    if sharpest < MIN_EDGE.max(ABOVE_NOISE * usual) {
        return None;
    }
    let smooth = if logs.width.min(logs.height) >= 64 { logs.smoothed() } else { logs.clone() };
    let (sharpest, _) = sharpness(&smooth);
    let whole = either(&smooth, sharpest, polarity);
    let on_sheets = sheet::sheets(&smooth).into_iter().filter_map(|sheet| {
        let found = either(&sheet.filling(&smooth), sharpest, polarity)?;
        sheet.holds(&found, whole.as_ref()).then_some(found)
    });
    on_sheets.max_by(|one, two| one.score.total_cmp(&two.score)).or(whole)
}

/// The best hypothesis for this polarity, or for both if it is `None`.
fn either(smooth: &Plane, sharpest: f32, polarity: Option<Polarity>) -> Option<Found> {
    let both = [Polarity::DarkOnLight, Polarity::LightOnDark];
    let found = both.into_iter().filter(|&one| polarity.is_none_or(|wanted| wanted == one)).filter_map(|polarity| {
        let dark = if polarity == Polarity::DarkOnLight { smooth.clone() } else { smooth.map(|value| -value) };
        suppositions(&dark, sharpest, polarity).max_by(|one, two| one.score.total_cmp(&two.score))
    });
    found.max_by(|one, two| one.score.total_cmp(&two.score))
}

/// What each hypothesis about window and threshold finds, for dark ink.
fn suppositions(dark: &Plane, sharpest: f32, polarity: Polarity) -> impl Iterator<Item = Found> + '_ {
    let longer = dark.width.max(dark.height) as f32;
    WINDOWS.iter().flat_map(move |window| {
        let radius = (longer * window / 2.0).ceil() as usize;
        let ink = without_dark_strokes(dark, radius).zip(dark, |ground, here| ground - here);
        let floor = (2.5 * ink.quantile(0.25)).min(0.4) + 2.0 * MIN_EDGE;
        let top = ink.quantile(1.0).max(floor + 1e-3);
        let threshold = otsu(ink.values.iter().copied(), floor, top);
        THRESHOLDS.iter().filter_map(move |share| {
            let level = (threshold * share).max(floor);
            chosen(dark, &ink, level, sharpest, polarity)
        })
    })
}

/// The pieces above `level` that form the digit.
fn chosen(dark: &Plane, ink: &Plane, level: f32, sharpest: f32, polarity: Polarity) -> Option<Found> {
    let mask: Vec<bool> = ink.values.iter().map(|&value| value >= level).collect();
    let all = components(&mask, dark.width);
    let count = all.len();
    let unruled: Vec<Component> = all.into_iter().filter(|piece| !paper::is_ruling(piece, dark)).collect();
    let clearness = if unruled.len() < count { CLEAR_OF_RULES } else { 0.0 };
    let mut pieces: Vec<(f32, Component)> = unruled
        .into_iter()
        .filter(|piece| piece.pixels.len() > 1)
        .map(|piece| (score(&piece, &mask, dark, sharpest), piece))
        .filter(|(score, _)| *score > 0.0)
        .collect();
    let mut cells = paper::cells(&pieces).into_iter();
    pieces.retain(|_| !cells.next().unwrap_or(false));
    pieces.sort_by(|one, two| two.0.total_cmp(&one.0));
    let row = number::row(&pieces);
    let mut pieces = pieces.into_iter();
    let (mut total, main) = pieces.next()?;
    let extent = main.extent() as f32;
    if extent < SMALLEST.0.max(SMALLEST.1 * dark.width.max(dark.height) as f32) {
        return None;
    }
    let mut kept = vec![main];
    for (score, piece) in pieces {
        let gap = kept.iter().map(|part| part.gap(&piece)).min().unwrap_or(0);
        let belongs = piece.extent() as f32 >= SPECK * extent && gap as f32 <= FAR * extent;
        if belongs {
            total += score;
            kept.push(piece);
        }
    }
    let score = total.max(row.score);
    if score < clearness * extent {
        return None;
    }
    let bounds = around(&kept)?;
    let mut mask = vec![false; mask.len()];
    kept.iter().flat_map(|piece| &piece.pixels).for_each(|&pixel| mask[pixel] = true);
    Some(Found { polarity, mask, bounds, digits: row.digits, score })
}

fn around(pieces: &[Component]) -> Option<(usize, usize, usize, usize)> {
    let left = pieces.iter().map(|piece| piece.left).min()?;
    let top = pieces.iter().map(|piece| piece.top).min()?;
    let right = pieces.iter().map(|piece| piece.right).max()?;
    let bottom = pieces.iter().map(|piece| piece.bottom).max()?;
    Some((left, top, right - left + 1, bottom - top + 1))
}

/// The score of a piece's outline, as described at the top; a step as sharp as the sharpest edges counts 1.
fn score(piece: &Component, mask: &[bool], dark: &Plane, sharpest: f32) -> f32 {
    let Plane { width, height, ref values } = *dark;
    let mut score = 0.0;
    for &pixel in &piece.pixels {
        let (x, y) = (pixel % width, pixel / width);
        for (near_x, near_y) in [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)] {
            if near_x >= width || near_y >= height {
                score -= 1.0;
            } else if !mask[near_y * width + near_x] {
                let step = (values[near_y * width + near_x] - values[pixel]) / sharpest;
                score += step.min(1.0) - EDGE;
            }
        }
    }
    score
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

    #[test]
    fn either_polarity_is_found() {
        for (ink, ground, polarity) in [(30.0, 220.0, Polarity::DarkOnLight), (220.0, 30.0, Polarity::LightOnDark)] {
            let found = digit(&image(|x, y| if zero(x, y) { ink } else { ground }), None).unwrap();
            assert_eq!(found.polarity, polarity);
            assert_eq!(found.bounds, (41, 26, 39, 39));
        }
    }

    #[test]
    fn a_shadow_over_the_digit_does_not_matter() {
        let shadow = |x: usize| if x < 58 { 0.45 } else { 1.0 };
        let found = digit(&image(|x, y| shadow(x) * if zero(x, y) { 40.0 } else { 220.0 }), None).unwrap();
        assert_eq!(found.polarity, Polarity::DarkOnLight);
        let (left, top, width, height) = found.bounds;
        assert!(left.abs_diff(41) < 2 && top.abs_diff(26) < 2 && width.abs_diff(39) < 4 && height.abs_diff(39) < 4);
    }

    #[test]
    fn a_shadow_alone_is_not_a_digit() {
        assert!(digit(&image(|x, _| if x < 50 { 100.0 } else { 200.0 }), None).is_none());
        assert!(digit(&image(|x, y| 240.0 - x as f32 - y as f32), None).is_none());
    }

    #[test]
    fn the_table_around_the_sheet_is_not_the_ground() {
        let sheet = |x: usize, y: usize| (12..110).contains(&x) && (10..82).contains(&y);
        let found = digit(
            &image(|x, y| {
                if zero(x, y) {
                    40.0
                } else if sheet(x, y) {
                    220.0
                } else {
                    60.0
                }
            }),
            None,
        )
        .unwrap();
        assert_eq!((found.polarity, found.bounds), (Polarity::DarkOnLight, (41, 26, 39, 39)));
    }

    #[test]
    fn specks_are_dropped_and_a_stroke_apart_is_kept() {
        let speck =
            |x: usize, y: usize| (62..64).contains(&x) && (70..72).contains(&y) || x < 9 && x > 6 && y < 8 && y > 5;
        let bar = |x: usize, y: usize| (50..80).contains(&x) && (18..22).contains(&y);
        let found = digit(&image(|x, y| if zero(x, y) || speck(x, y) || bar(x, y) { 40.0 } else { 220.0 }), None);
        assert_eq!(found.unwrap().bounds, (41, 18, 39, 47));
    }
}
