//! Extracts the ink of a hypothesis from an enlarged view of the original, with even strength in any light.

use super::MIN_CONTRAST;
use super::components::components;
use super::ground::{brightest, without_dark_strokes};
use super::hypotheses::Hypothesis;
use super::plane::{Area, Plane};
use super::source::Original;
use super::threshold::otsu;
use crate::card::Polarity;

/// Longer side of the digit in the enlarged view, in pixels.
const LARGE: f64 = 100.0;
/// Margin around the digit in the enlarged view, as a share of its longer side.
const MARGIN: f64 = 0.2;
/// Ink farther than this from the hypothesis does not belong to it, in pixels of the enlarged view.
const CLOSE: usize = 8;
/// Ink of at least this strength connects pieces.
const PALE: f32 = 0.35;

/// The ink of a hypothesis, 0 (none) to 1, without anything else. `channel` is the plane of the original in which it
/// was found, and `size` the size of the overview. `None` if there is hardly any contrast.
pub(super) fn ink(source: &Original, channel: usize, digit: &Hypothesis, size: (usize, usize)) -> Option<Plane> {
    let (area, close) = closer(source, channel, digit, size);
    let wanted = enlarged(digit, area, (close.width, close.height), source.size(), size);
    let ink = strength(&close, digit.polarity, &near(&wanted, close.width, (LARGE * MARGIN / 2.0) as usize))?;
    let ink = belonging(&ink, &wanted);
    ink.values.iter().any(|&value| value >= 0.5).then_some(ink)
}

/// How many pixels of the original one pixel of the overview covers, across and down.
pub(super) fn zoom(source: &Original, size: (usize, usize)) -> (f64, f64) {
    let (width, height) = source.size();
    (width as f64 / size.0 as f64, height as f64 / size.1 as f64)
}

/// The enlarged view: the digit, [`LARGE`] pixels long, with a margin.
fn closer(source: &Original, channel: usize, digit: &Hypothesis, size: (usize, usize)) -> (Area, Plane) {
    let ((width, height), zoom) = (source.size(), zoom(source, size));
    let (left, top, across, down) = digit.bounds;
    let longer = (across as f64 * zoom.0).max(down as f64 * zoom.1);
    let margin = MARGIN * longer + zoom.0.max(zoom.1);
    let cut = |start: usize, extent: usize, zoom: f64, limit: usize| {
        let from = (start as f64 * zoom - margin).floor().max(0.0);
        let to = ((start + extent) as f64 * zoom + margin).ceil().min(limit as f64);
        (from, to - from)
    };
    let ((left, wide), (top, high)) = (cut(left, across, zoom.0, width), cut(top, down, zoom.1, height));
    let area = Area { left, top, width: wide, height: high };
    let scale = LARGE / longer;
    let fitted = |extent: f64| ((extent * scale).round() as usize).max(1);
    let mut planes = source.planes(area, (fitted(wide), fitted(high)));
    let plane = planes.swap_remove(channel.min(planes.len() - 1));
    (area, plane)
}

/// Strength of the ink: 1 in the middle of strokes and 0 on the background, in any light. Only pixels `near` the digit
/// decide which level is full ink, because others may be a table, far darker than any pencil.
fn strength(close: &Plane, polarity: Polarity, near: &[bool]) -> Option<Plane> {
    let dark = if polarity == Polarity::DarkOnLight { close.clone() } else { close.map(|level| 255.0 - level) };
    let smooth = dark.smoothed();
    let ground = without_dark_strokes(&smooth, (LARGE * 0.3) as usize);
    let depth = ground.zip(&smooth, |ground, here| ground - here);
    let relative = if polarity == Polarity::DarkOnLight {
        depth.zip(&ground, |depth, ground| depth / ground.max(1.0))
    } else {
        depth.map(|depth| depth / 255.0)
    };
    let only_near = |plane: &Plane| {
        let values: Vec<f32> =
            plane.values.iter().zip(near).filter(|(_, near)| **near).map(|(&value, _)| value).collect();
        Plane { width: values.len(), height: 1, values }
    };
    let (depth, close_by) = (only_near(&depth), only_near(&relative));
    if depth.quantile(0.995) < MIN_CONTRAST {
        return None;
    }
    let floor = (2.0 * close_by.quantile(0.25)).min(0.3 * close_by.quantile(0.98));
    let top = close_by.quantile(1.0).max(floor + 1e-3);
    let level = otsu(close_by.values.iter().copied(), floor, top);
    let inked: Vec<f32> = close_by.values.iter().copied().filter(|&value| value >= level).collect();
    let full = Plane { width: inked.len(), height: 1, values: inked }.quantile(0.6).max(floor + 1e-3);
    Some(relative.map(|value| ((value - floor) / (full - floor)).clamp(0.0, 1.0)))
}

/// The search's mask, enlarged: which pixels of the enlarged view belong to the digit.
fn enlarged(
    digit: &Hypothesis,
    area: Area,
    (wide, high): (usize, usize),
    (width, height): (usize, usize),
    size: (usize, usize),
) -> Vec<bool> {
    let at = |index: usize, start: f64, extent: f64, count: usize, limit: usize, shrunk: usize| {
        let place = (start + (index as f64 + 0.5) * extent / count as f64) * shrunk as f64 / limit as f64;
        (place as usize).min(shrunk - 1)
    };
    let columns: Vec<usize> = (0..wide).map(|x| at(x, area.left, area.width, wide, width, size.0)).collect();
    let rows = (0..high).map(|y| at(y, area.top, area.height, high, height, size.1));
    rows.flat_map(|y| columns.iter().map(move |x| digit.mask.contains(y * size.0 + x))).collect()
}

/// The ink of the pieces that the search found.
fn belonging(ink: &Plane, wanted: &[bool]) -> Plane {
    let mask: Vec<bool> = ink.values.iter().map(|&value| value >= PALE).collect();
    let mut kept = vec![false; mask.len()];
    for piece in components(&mask, ink.width) {
        let known = piece.pixels.iter().filter(|&&pixel| wanted[pixel]).count();
        if known * 3 >= piece.pixels.len() {
            piece.pixels.iter().for_each(|&pixel| kept[pixel] = true);
        }
    }
    // The soft edges around the pieces belong to them, but not a line that touches them.
    let (soft, close) = (near(&kept, ink.width, 3), near(wanted, ink.width, CLOSE));
    let soft: Vec<bool> = soft.iter().zip(&close).map(|(&soft, &close)| soft && close).collect();
    Plane {
        values: ink.values.iter().zip(&soft).map(|(&value, &soft)| if soft { value } else { 0.0 }).collect(),
        ..*ink
    }
}

/// Pixels within `distance` of a true one along rows and columns.
fn near(mask: &[bool], width: usize, distance: usize) -> Vec<bool> {
    let plane =
        Plane { width, height: mask.len() / width, values: mask.iter().map(|&on| f32::from(u8::from(on))).collect() };
    brightest(&plane, distance).values.iter().map(|&value| value > 0.5).collect()
}
