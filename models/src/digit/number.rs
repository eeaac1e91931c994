//! Detects several digits side by side: a number, which a network for single digits cannot read.

use super::components::Component;
use super::hypotheses::Piece;

/// A neighbour's height is at least this share of the tallest digit's.
const HEIGHT: f32 = 0.6;
/// Its edges per pixel of extent is at least this share of the first digit's.
const CLEARNESS: f32 = 0.35;
/// Its width is at most this multiple of the tallest digit's height.
const WIDTH: f32 = 1.3;
/// Its distance from the next digit is at most this multiple of the tallest digit's height.
const APART: f32 = 1.5;
/// Two pieces belong to one digit if they overlap horizontally by more than this share of the narrower one's width.
const SHARED: f32 = 0.25;
/// Pieces that together are at most this multiple of their height wide are one digit, such as a 0 that is broken at the
/// top and the bottom.
const TOGETHER: f32 = 1.12;
/// A piece wider than this multiple of its height is several digits that touch. Only one digit in a thousand of MNIST's
/// test set is as wide.
const TOUCHING: f32 = 1.6;

/// Strokes fill less than this share of their bounding box; a piece that fills more is a bar.
const STROKES: f32 = 0.75;

/// The bounding box of a piece, or of several pieces that form a digit.
#[derive(Clone, Copy)]
struct Column {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
}

impl Column {
    fn new(piece: &Component) -> Self {
        Self { left: piece.left, right: piece.right, top: piece.top, bottom: piece.bottom }
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

/// Number of digits in the row that piece number `main` belongs to: 1 if it stands alone.
pub(super) fn digits(pieces: &[Piece], main: usize) -> usize {
    let Piece { component, edges, .. } = &pieces[main];
    let first = Column::new(component);
    let clearness = edges / component.extent() as f32;
    let in_row = pieces.iter().filter(|Piece { component, edges, .. }| {
        let column = Column::new(component);
        let lower = column.height().min(first.height());
        lower >= HEIGHT * column.height().max(first.height())
            && column.level(first) >= 0.5 * lower
            && edges / component.extent() as f32 >= CLEARNESS * clearness
    });
    let mut row: Vec<Column> = in_row.map(|piece| Column::new(&piece.component)).collect();
    let tallest = row.iter().map(|column| column.height()).fold(0.0, f32::max);
    row.retain(|column| column.height() >= HEIGHT * tallest);
    row.sort_by_key(|column| column.left);
    let mut digits: Vec<Column> = Vec::new();
    for column in row {
        match digits.last_mut() {
            Some(last)
                if last.shared(column) > SHARED * last.width().min(column.width())
                    || last.with(column).width() <= 0.6 * tallest =>
            {
                *last = last.with(column);
            }
            _ => digits.push(column),
        }
    }
    // The group of neighbours that contains the main piece.
    let near = |one: &Column, next: &Column| next.left as f32 - one.right as f32 <= APART * tallest;
    let mut runs = digits.chunk_by(near);
    let run = runs.find(|run| run.iter().any(|column| column.shared(first) > 0.0)).unwrap_or(&[]);
    if run.len() > 1 && run.iter().any(|column| column.width() > WIDTH * tallest) {
        return 1;
    }
    let together = run.iter().copied().reduce(Column::with).unwrap_or(first);
    if run.len() > 1 && together.width() > TOGETHER * together.height() {
        return run.len();
    }
    let filled = component.pixels.len() as f32 / (first.width() * first.height());
    if first.width() > TOUCHING * first.height() && first.height() >= 8.0 && filled < STROKES {
        return ((first.width() / (0.8 * first.height())) as usize).max(2);
    }
    1
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

    #[test]
    fn what_is_much_wider_than_high_is_digits_that_touch() {
        assert_eq!(seen(&["###..###", "#.####.#", "#.#..#.#", "###..###"]), 2);
        assert_eq!(seen(&["########", "########", "########"]), 1);
    }
}
