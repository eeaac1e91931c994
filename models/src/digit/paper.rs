//! Detects what is printed on paper, which is not ink: lines, grids of lines, and the cells between them.

use super::components::Component;
use super::plane::Plane;

/// A tightly cropped digit touches the border of the image at most this many times: an 8 once at the top and bottom and
/// twice at each side. A grid of lines touches it at the end of every line.
const CONTACTS: usize = 6;
/// A line is at least this many times as long as it is thick.
const SLENDER: f32 = 10.0;
/// A slanted line rises by at most this share of its length.
const DEPTH: f32 = 0.1;
/// A grid has at least this many cells of one size.
const CELLS: usize = 4;
/// A cell fills at least this share of its bounding box.
const FILLED: f32 = 0.8;
/// A cell is at most this many times as long as wide; longer bars could be ones.
const LONG: f32 = 3.0;
/// This many pieces of the same size are a pattern, not digits.
const PATTERN: usize = 12;

/// Whether a piece is a ruled line or a grid of such lines.
pub(super) fn is_ruling(piece: &Component, image: &Plane) -> bool {
    let (right, bottom) = (image.width - 1, image.height - 1);
    let touched = [piece.left == 0, piece.right == right, piece.top == 0, piece.bottom == bottom];
    let sides = touched.iter().filter(|&&side| side).count();
    if sides == 0 {
        return false;
    }
    is_line(piece, image, touched) || is_band(piece, touched) || (sides > 1 && contacts(piece, image) > CONTACTS)
}

/// The background between two ruled lines: a filled box as wide as the image, but not as high.
fn is_band(piece: &Component, [left, right, top, bottom]: [bool; 4]) -> bool {
    let full = piece.pixels.len() as f32 >= FILLED * (piece.width() * piece.height()) as f32;
    left && right && !(top && bottom) && full && piece.width() > piece.height()
}

/// A thin straight piece that ends at the border, such as a ruled line or the edge of a sheet.
fn is_line(piece: &Component, image: &Plane, [left, right, top, bottom]: [bool; 4]) -> bool {
    let extent = piece.extent() as f32;
    let thickness = piece.pixels.len() as f32 / extent;
    let through = (left && right) || (top && bottom);
    if through && piece.extent() >= 40 && thickness < 0.04 * extent + 1.0 {
        return true;
    }
    let (depth, ends, room) = if piece.width() > piece.height() {
        (piece.height(), left || right, image.height)
    } else {
        (piece.width(), top || bottom, image.width)
    };
    // In a narrow image, a 1 can be as thin.
    let roomy = room as f32 > 0.3 * extent;
    ends && roomy && extent >= SLENDER * thickness && depth as f32 <= DEPTH * extent + 2.0 * thickness
}

/// How many times a piece touches the border.
fn contacts(piece: &Component, image: &Plane) -> usize {
    let (width, height) = (image.width, image.height);
    // Positions along the border, clockwise from the upper left corner.
    let place = |&pixel: &usize| {
        let (x, y) = (pixel % width, pixel / width);
        if y == 0 {
            Some(x)
        } else if x + 1 == width {
            Some(width + y)
        } else if y + 1 == height {
            Some(width + height + (width - x))
        } else if x == 0 {
            Some(2 * width + height + (height - y))
        } else {
            None
        }
    };
    let mut places: Vec<usize> = piece.pixels.iter().filter_map(place).collect();
    places.sort_unstable();
    places.chunk_by(|one, next| next - one <= 2).count()
}

/// Which pieces are cells (several rectangles of one size) or parts of a pattern.
pub(super) fn cells(pieces: &[(f32, Component)]) -> Vec<bool> {
    let is_rectangle = |piece: &Component| {
        let (wide, high) = (piece.width() as f32, piece.height() as f32);
        piece.pixels.len() as f32 >= FILLED * wide * high && wide.max(high) <= LONG * wide.min(high)
    };
    let rectangles: Vec<&Component> =
        pieces.iter().map(|(_, piece)| piece).filter(|piece| is_rectangle(piece)).collect();
    let alike = |one: usize, other: usize| one.abs_diff(other) * 5 <= one.max(other);
    let is_cell = |piece: &Component| {
        let same = |other: &&&Component| alike(piece.width(), other.width()) && alike(piece.height(), other.height());
        is_rectangle(piece) && rectangles.iter().filter(same).count() >= CELLS
    };
    let is_pattern = |piece: &Component| {
        let same = |other: &&(f32, Component)| {
            alike(piece.width(), other.1.width()) && alike(piece.height(), other.1.height())
        };
        pieces.iter().filter(same).count() >= PATTERN
    };
    pieces.iter().map(|(_, piece)| is_cell(piece) || is_pattern(piece)).collect()
}
