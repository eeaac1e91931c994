//! Finds a sheet of paper on a table, because its edges stand out more than the writing on it.

use super::components::components;
use super::plane::Plane;
use super::search::Found;
use super::threshold::otsu;

/// The share of the image that a sheet fills.
const SHARE: std::ops::Range<f32> = 0.12..0.97;
/// A sheet fills at least this share of the smallest rectangle around it. An ellipse, such as a bold 0, fills 0.79.
const RECTANGULAR: f32 = 0.88;
/// Width of a sheet's edge, where pixels are partly table, in pixels.
const EDGE: usize = 3;
/// What the search finds in the whole image is a sheet if it is at least this many times as long as the digit on it.
const LONGER: f32 = 1.3;

/// A sheet of paper: its first and last column in each row of the image; `None` in rows outside the sheet.
pub(super) struct Sheet {
    rows: Vec<Option<(usize, usize)>>,
}

/// The largest light and the largest dark component of an image, if they are rectangles.
pub(super) fn sheets(image: &Plane) -> Vec<Sheet> {
    let (low, high) = (image.quantile(0.0), image.quantile(1.0));
    if high <= low {
        return Vec::new();
    }
    let threshold = otsu(image.values.iter().copied(), low, high);
    let largest = |light: bool| {
        let mask: Vec<bool> = image.values.iter().map(|&value| (value >= threshold) == light).collect();
        let pieces = components(&mask, image.width).into_iter();
        let piece = pieces.max_by_key(|piece| piece.pixels.len())?;
        let mut mask = vec![false; mask.len()];
        piece.pixels.iter().for_each(|&pixel| mask[pixel] = true);
        Sheet::new(&mask, image.width)
    };
    [true, false].into_iter().filter_map(largest).collect()
}

impl Sheet {
    /// The component in the mask, if it is a sheet.
    fn new(mask: &[bool], width: usize) -> Option<Self> {
        let ends =
            |row: &[bool]| Some((row.iter().position(|&inside| inside)?, row.iter().rposition(|&inside| inside)?));
        let rows: Vec<Option<(usize, usize)>> = mask.chunks_exact(width).map(ends).collect();
        let reached = || rows.iter().enumerate().filter_map(|(row, ends)| ends.map(|ends| (row, ends)));
        let area: usize = reached().map(|(_, (first, last))| last - first + 1).sum();
        let points = reached().flat_map(|(row, (first, last))| [(first as f32, row as f32), (last as f32, row as f32)]);
        let points: Vec<(f32, f32)> = points.collect();
        let share = area as f32 / mask.len() as f32;
        (SHARE.contains(&share) && area as f32 >= RECTANGULAR * narrowest_rectangle(&points)).then_some(Self { rows })
    }

    /// The image as if the sheet filled it: pixels outside get the nearest value on the sheet.
    pub fn filling(&self, image: &Plane) -> Plane {
        let inside: Vec<usize> = (0..self.rows.len()).filter(|&row| self.rows[row].is_some()).collect();
        let (Some(&top), Some(&bottom)) = (inside.first(), inside.last()) else { return image.clone() };
        let edge = EDGE.min((bottom - top) / 2);
        Plane::from_fn(image.width, image.height, |x, y| {
            let row = y.clamp(top + edge, bottom - edge);
            let (first, last) = self.rows[row].unwrap_or((0, image.width - 1));
            let edge = EDGE.min((last - first) / 2);
            image.values[row * image.width + x.clamp(first + edge, last - edge)]
        })
    }

    /// Whether the digit is `found`, in the [`Sheet::filling`], and not `whole`, found in the whole image.
    ///
    /// The edge of a shadow can look like the edge of a sheet, and then the digit may cross it. So `found` must keep
    /// clear of the edge, and `whole` must be larger and surround it: the sheet itself, or its outline.
    pub fn holds(&self, found: &Found, whole: Option<&Found>) -> bool {
        let (left, top, width, height) = found.bounds;
        let (right, bottom) = (left + width, top + height);
        let edge = EDGE + 1;
        let clear = (top..bottom).all(|row| {
            self.rows[row].is_some_and(|(first, last)| {
                (first == 0 || left > first + edge)
                    && (last + 1 >= found.mask.len() / self.rows.len() || right + edge <= last)
            })
        });
        let reached = |row: usize| self.rows.get(row).is_some_and(Option::is_some);
        let clear = clear
            && (top < edge || reached(top - edge))
            && (bottom + edge > self.rows.len() || reached(bottom + edge - 1));
        let around = whole.is_none_or(|whole| {
            let (x, y, across, down) = whole.bounds;
            x <= left
                && y <= top
                && x + across >= right
                && y + down >= bottom
                && whole.extent() as f32 >= LONGER * found.extent() as f32
        });
        clear && around
    }
}

/// Area of the smallest rectangle around the points, rotated by at most 15°.
fn narrowest_rectangle(points: &[(f32, f32)]) -> f32 {
    let area = |degrees: i16| {
        let (sin, cos) = f32::from(degrees).to_radians().sin_cos();
        let span = |across: f32, down: f32| {
            let values = points.iter().map(|(x, y)| across * x + down * y);
            let (low, high) = values.fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(value), high.max(value)));
            high - low + 1.0
        };
        span(cos, sin) * span(-sin, cos)
    };
    (-15..=15).map(area).fold(f32::MAX, f32::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(inside: impl Fn(f32, f32) -> bool) -> Option<Sheet> {
        let points = (0..90).flat_map(|y| (0..120).map(move |x| (x as f32, y as f32)));
        Sheet::new(&points.map(|(x, y)| inside(x, y)).collect::<Vec<_>>(), 120)
    }

    #[test]
    fn a_turned_rectangle_is_a_sheet_and_an_ellipse_is_not() {
        let (sin, cos) = 8_f32.to_radians().sin_cos();
        let turned = move |x: f32, y: f32| (cos * (x - 60.0) + sin * (y - 45.0), cos * (y - 45.0) - sin * (x - 60.0));
        let rectangle = move |x, y| matches!(turned(x, y), (right, down) if right.abs() < 40.0 && down.abs() < 30.0);
        assert!(sheet(rectangle).is_some());
        // It is still a sheet with a hole in it.
        let written_on = move |x, y| rectangle(x, y) && (x - 60.0).hypot(y - 45.0) > 12.0;
        assert!(sheet(written_on).is_some());
        let ellipse = move |x, y| matches!(turned(x, y), (right, down) if (right / 30.0).hypot(down / 42.0) < 1.0);
        assert!(sheet(ellipse).is_none());
        assert!(sheet(|x, y| x < 20.0 && y < 30.0).is_none(), "too small");
        assert!(sheet(|_, _| false).is_none());
    }

    #[test]
    fn the_table_takes_the_sheets_values() {
        let paper = |x: f32, y: f32| (20.0..100.0).contains(&x) && (10.0..80.0).contains(&y);
        let image = Plane::from_fn(120, 90, |x, y| if paper(x as f32, y as f32) { x as f32 } else { -1.0 });
        let filled = sheet(paper).unwrap().filling(&image);
        for (index, &value) in filled.values.iter().enumerate() {
            assert_eq!(value, ((index % 120) as f32).clamp(23.0, 96.0));
        }
    }
}
