//! Detects several digits side by side: a number, which a network for single digits cannot read.

use super::components::Component;
use super::hypotheses::Piece;

/// A neighbour's height is at least this share of the tallest digit's.
const HEIGHT: f32 = 0.6;
/// Its edges per pixel of extent are at least this share of the main piece's.
const CLEARNESS: f32 = 0.35;
/// Its width is at most this multiple of the tallest digit's height.
const WIDTH: f32 = 1.3;
/// Its distance from the next digit is at most this multiple of the tallest digit's height.
const APART: f32 = 1.5;
/// Two pieces belong to one digit if they overlap horizontally by more than this share of the narrower one's width.
const SHARED: f32 = 0.25;
/// Neighbours that together are at most this multiple of the tallest digit's height wide are one digit.
const NARROW: f32 = 0.6;
/// Pieces that together are at most this multiple of their height wide are one digit, such as a 0 that is broken at the
/// top and the bottom.
const TOGETHER: f32 = 1.12;

/// The bounding box of a piece, or of several pieces that form a digit.
#[derive(Clone, Copy)]
struct Column {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
}

impl Column {
    fn new(piece: &Piece) -> Self {
        let Component { left, right, top, bottom, .. } = piece.component;
        Self { left, right, top, bottom }
    }

    /// From a bounding box: left, top, width and height.
    fn from_bounds((left, top, width, height): (usize, usize, usize, usize)) -> Self {
        Self { left, right: left + width - 1, top, bottom: top + height - 1 }
    }

    /// Whether the two are about as high, and at the same height.
    fn in_row(self, other: Self) -> bool {
        let lower = self.height().min(other.height());
        lower >= HEIGHT * self.height().max(other.height()) && self.level(other) >= 0.5 * lower
    }

    /// Whether the two can be parts of one digit.
    fn above(self, other: Self) -> bool {
        self.shared(other) > SHARED * self.width().min(other.width())
    }

    fn width(self) -> f32 {
        (self.right - self.left + 1) as f32
    }

    fn height(self) -> f32 {
        (self.bottom - self.top + 1) as f32
    }

    fn with(self, other: Self) -> Self {
        Self {
            left: self.left.min(other.left),
            right: self.right.max(other.right),
            top: self.top.min(other.top),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// Horizontal overlap, in pixels.
    fn shared(self, other: Self) -> f32 {
        (self.right.min(other.right) + 1).saturating_sub(self.left.max(other.left)) as f32
    }

    /// Vertical overlap, in pixels.
    fn level(self, other: Self) -> f32 {
        (self.bottom.min(other.bottom) + 1).saturating_sub(self.top.max(other.top)) as f32
    }
}

/// Whether two hypotheses with these bounding boxes can be digits side by side.
pub(super) fn side_by_side(one: (usize, usize, usize, usize), other: (usize, usize, usize, usize)) -> bool {
    let (one, other) = (Column::from_bounds(one), Column::from_bounds(other));
    one.in_row(other) && !one.above(other)
}

/// Number of digits in the row that piece number `main` belongs to: 1 if it stands alone.
pub(super) fn digits(pieces: &[Piece], main: usize) -> usize {
    let Piece { component, edges, .. } = &pieces[main];
    let first = Column::new(&pieces[main]);
    let clearness = edges / component.extent() as f32;
    let in_row = pieces.iter().filter(|piece| {
        Column::new(piece).in_row(first) && piece.edges / piece.component.extent() as f32 >= CLEARNESS * clearness
    });
    let mut columns: Vec<Column> = in_row.map(Column::new).collect();
    let tallest = columns.iter().map(|column| column.height()).fold(0.0, f32::max);
    columns.retain(|column| column.height() >= HEIGHT * tallest);
    columns.sort_by_key(|column| column.left);
    let mut digits: Vec<Column> = Vec::new();
    for column in columns {
        match digits.last_mut() {
            Some(last) if last.above(column) || last.with(column).width() <= NARROW * tallest => {
                *last = last.with(column);
            }
            _ => digits.push(column),
        }
    }
    // The group of neighbours that contains the main piece.
    let near = |one: &Column, next: &Column| next.left as f32 - one.right as f32 <= APART * tallest;
    let mut runs = digits.chunk_by(near);
    let run = runs.find(|run| run.iter().any(|column| column.shared(first) > 0.0)).unwrap_or(&[]);
    let together = run.iter().copied().reduce(Column::with).unwrap_or(first);
    let digits_only = run.iter().all(|column| column.width() <= WIDTH * tallest);
    if digits_only && together.width() > TOGETHER * together.height() { run.len() } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::super::components::components;
    use super::*;

    /// Number of digits found in a drawing; the edges of each piece are its pixels.
    fn seen(rows: &[&str]) -> usize {
        let width = rows[0].len() * 4;
        let pixel = |x: usize, y: usize| rows[y / 4].as_bytes()[x / 4] == b'#';
        let mask: Vec<bool> = (0..width * rows.len() * 4).map(|at| pixel(at % width, at / width)).collect();
        let piece =
            |component: Component| Piece { edges: component.pixels.len() as f32, outline: 1, border: 0, component };
        let mut pieces: Vec<_> = components(&mask, width).into_iter().map(piece).collect();
        pieces.sort_by(|one, two| two.edges.total_cmp(&one.edges));
        digits(&pieces, 0)
    }

    #[test]
    fn neighbours_of_about_one_height_are_digits() {
        assert_eq!(seen(&["###..#.###", "..#..#.#.#", ".#...#.#.#", "#....#.###"]), 3);
        assert_eq!(seen(&["#.#.##.#.#.#", "#.#.#..#.#.#", "#.#.##.#.###"]), 5);
    }

    #[test]
    fn pieces_of_one_digit_are_one_digit() {
        // A 0 that is broken at the top and the bottom, a 4 of two strokes, a 5 with a separate bar, specks.
        assert_eq!(seen(&[".#.#.", "#...#", "#...#", "#...#", "#...#", ".#.#."]), 1);
        assert_eq!(seen(&["#..#.", "#..#.", "##.##", "...#.", "...#."]), 1);
        assert_eq!(seen(&["...###", "......", "..#...", "..###.", "....#.", "..##.."]), 1);
        assert_eq!(seen(&["..........", "#...##..#.", "....#.....", "....##....", "#........#"]), 1);
    }
}
