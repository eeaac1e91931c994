//! Where the digit is: suppositions about polarity, stroke width and threshold, of which the one that explains the
//! picture's edges best is taken.
//!
//! Everything happens in logarithms of the grey levels, where a shadow is a summand and not a factor. Each supposition
//! gives a mask. The digit's outline must be made of sharp edges from ink to ground: for every step over it, the
//! difference of the levels counts for the mask, less what a step must have to count as an edge; every pixel at the
//! picture's border counts against it, as far as a sharp edge would count for it. So shadows and table tops
//! (long at the border, or blurred) lose against strokes, and half of a digit loses against the whole.

use super::components::{Component, components};
use super::ground::without_dark_strokes;
use super::plane::Plane;
use super::sheet;
use super::threshold::otsu;
use super::{number, paper};
use crate::card::Polarity;

/// Strokes are supposed to be narrower than these shares of the picture's longer side. The last stands for one ground
/// all over the picture: a sheet of paper on a table is as wide as it likes.
const WINDOWS: [f32; 4] = [0.08, 0.2, 0.5, 2.0];
/// Thresholds, as shares of Otsu's.
const THRESHOLDS: [f32; 2] = [1.0, 0.55];
/// What a step over the outline must have, as a share of the picture's sharpest edges.
const EDGE: f32 = 0.3;
/// Levels are raised by this before the logarithm (of 255): the darkest tenth is mostly noise.
const RAISED: f32 = 20.0;
/// The least logarithmic step at the picture's sharpest edges for there to be anything drawn in it, also as a multiple
/// of the step that half of all neighbours have: noise alone has no larger ones than that.
const MIN_EDGE: f32 = 0.018;
const ABOVE_NOISE: f32 = 4.5;
/// The sharpest edges are so many steps: a tenth of what the outline of a small digit has.
const SHARP_STEPS: usize = 30;
/// A digit is at least so many pixels long, and so large a share of the picture.
const SMALLEST: (f32, f32) = (5.0, 0.05);
/// A piece smaller than this share of the digit is a speck.
const SPECK: f32 = 0.2;
/// On ruled paper a digit has this many sharp steps per pixel of its length; what is left of a broken ruling has fewer.
const CLEAR_OF_RULES: f32 = 1.2;
/// A piece farther than this share of the digit from it is something else.
const FAR: f32 = 0.3;

/// What was found.
pub(super) struct Found {
    /// How the digit stands out.
    pub polarity: Polarity,
    /// Which pixels belong to it.
    pub mask: Vec<bool>,
    /// The box around them: left, top, width and height.
    pub bounds: (usize, usize, usize, usize),
    /// How many digits there are: this one and its neighbours.
    pub digits: usize,
    /// How sure: the outline's steps, less the doubts.
    pub score: f32,
}

impl Found {
    /// The longer side of the box.
    pub fn extent(&self) -> usize {
        self.bounds.2.max(self.bounds.3)
    }
}

/// The logarithm of levels 0…255.
pub(super) fn logarithmic(levels: &Plane) -> Plane {
    levels.map(|level| (level + RAISED).ln())
}

/// How sharp the picture's edges are: a step between neighbours, of logarithms, that a small digit's worth of them
/// reach; and the step that half of all neighbours have.
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

/// Looks for a digit; `None` if there is nothing that could be one.
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

/// The best supposition of this polarity, or of both.
fn either(smooth: &Plane, sharpest: f32, polarity: Option<Polarity>) -> Option<Found> {
    let both = [Polarity::DarkOnLight, Polarity::LightOnDark];
    let found = both.into_iter().filter(|&one| polarity.is_none_or(|wanted| wanted == one)).filter_map(|polarity| {
        let dark = if polarity == Polarity::DarkOnLight { smooth.clone() } else { smooth.map(|value| -value) };
        suppositions(&dark, sharpest, polarity).max_by(|one, two| one.score.total_cmp(&two.score))
    });
    found.max_by(|one, two| one.score.total_cmp(&two.score))
}

/// What each supposition about window and threshold finds of dark ink.
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

/// The pieces above a level that make the digit.
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

/// The steps over the outline, as described above; 1 is a step as sharp as the picture's sharpest.
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

    fn picture(level: impl Fn(usize, usize) -> f32) -> Plane {
        logarithmic(&Plane::from_fn(120, 90, level))
    }

    /// A ring: a zero.
    fn zero(x: usize, y: usize) -> bool {
        let radius = (x as f32 - 60.0).hypot(y as f32 - 45.0);
        (14.0..20.0).contains(&radius)
    }

    #[test]
    fn either_polarity_is_found() {
        for (ink, ground, polarity) in [(30.0, 220.0, Polarity::DarkOnLight), (220.0, 30.0, Polarity::LightOnDark)] {
            let found = digit(&picture(|x, y| if zero(x, y) { ink } else { ground }), None).unwrap();
            assert_eq!(found.polarity, polarity);
            assert_eq!(found.bounds, (41, 26, 39, 39));
        }
    }

    #[test]
    fn a_shadow_over_the_digit_does_not_matter() {
        let shadow = |x: usize| if x < 58 { 0.45 } else { 1.0 };
        let found = digit(&picture(|x, y| shadow(x) * if zero(x, y) { 40.0 } else { 220.0 }), None).unwrap();
        assert_eq!(found.polarity, Polarity::DarkOnLight);
        let (left, top, width, height) = found.bounds;
        assert!(left.abs_diff(41) < 2 && top.abs_diff(26) < 2 && width.abs_diff(39) < 4 && height.abs_diff(39) < 4);
    }

    #[test]
    fn a_shadow_alone_is_no_digit() {
        assert!(digit(&picture(|x, _| if x < 50 { 100.0 } else { 200.0 }), None).is_none());
        assert!(digit(&picture(|x, y| 240.0 - x as f32 - y as f32), None).is_none());
    }

    #[test]
    fn the_table_around_the_sheet_is_not_the_ground() {
        let sheet = |x: usize, y: usize| (12..110).contains(&x) && (10..82).contains(&y);
        let found = digit(
            &picture(|x, y| {
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
        let found = digit(&picture(|x, y| if zero(x, y) || speck(x, y) || bar(x, y) { 40.0 } else { 220.0 }), None);
        assert_eq!(found.unwrap().bounds, (41, 18, 39, 47));
    }
}
