//! A rectangle of values, and resampling of a part of it.

/// `height` rows of `width` values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plane {
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
}

/// A part of an image, in pixels from its upper left corner. Its sides can cut through pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl Area {
    /// The whole image.
    pub fn whole(width: usize, height: usize) -> Self {
        Self { left: 0.0, top: 0.0, width: width as f64, height: height as f64 }
    }
}

impl Plane {
    #[cfg(test)]
    pub fn from_fn(width: usize, height: usize, value: impl Fn(usize, usize) -> f32) -> Self {
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height {
            values.extend((0..width).map(|x| value(x, y)));
        }
        Self { width, height, values }
    }

    pub fn zeros(width: usize, height: usize) -> Self {
        Self { width, height, values: vec![0.0; width * height] }
    }

    pub fn map(&self, change: impl Fn(f32) -> f32) -> Self {
        Self { values: self.values.iter().map(|&value| change(value)).collect(), ..*self }
    }

    /// Combines each value with that of another plane of the same size.
    pub fn zip(&self, other: &Self, combine: impl Fn(f32, f32) -> f32) -> Self {
        let values = self.values.iter().zip(&other.values).map(|(&one, &two)| combine(one, two)).collect();
        Self { values, ..*self }
    }

    /// The quantile `share` (0 to 1) of the values; 0 for an empty plane.
    pub fn quantile(&self, share: f64) -> f32 {
        let mut values = self.values.clone();
        if values.is_empty() {
            return 0.0;
        }
        *values.select_nth_unstable_by(self.rank(share), f32::total_cmp).1
    }

    /// Whether [`Self::quantile`] is at least `level`. Counting is faster than sorting.
    pub fn reaches(&self, share: f64, level: f32) -> bool {
        !self.values.is_empty() && self.values.iter().filter(|&&value| value < level).count() <= self.rank(share)
    }

    fn rank(&self, share: f64) -> usize {
        (self.values.len().saturating_sub(1) as f64 * share.clamp(0.0, 1.0)).round() as usize
    }

    /// The transposed plane: rows become columns.
    pub fn transposed(&self) -> Self {
        const TILE: usize = 16;
        let Self { width, height, ref values } = *self;
        let mut turned = Self::zeros(height, width);
        // In tiles, so that source and target both stay in the cache.
        for top in (0..height).step_by(TILE) {
            for left in (0..width).step_by(TILE) {
                for y in top..(top + TILE).min(height) {
                    for x in left..(left + TILE).min(width) {
                        turned.values[x * height + y] = values[y * width + x];
                    }
                }
            }
        }
        turned
    }

    /// A part of the plane at another size ([`resampled`]).
    pub fn part(&self, area: Area, size: (usize, usize)) -> Self {
        let [plane] = resampled(&self.values, (self.width, self.height), area, size);
        plane
    }

    /// Slightly smoothed, with the weights 1 2 1 across and down.
    pub fn smoothed(&self) -> Self {
        let (width, height) = (self.width, self.height);
        if self.values.is_empty() {
            return self.clone();
        }
        let mut across = self.clone();
        for (slots, row) in across.values.chunks_exact_mut(width).zip(self.values.chunks_exact(width)) {
            for (slot, near) in slots[1..].iter_mut().zip(row.windows(3)) {
                *slot = (near[0] + 2.0 * near[1] + near[2]) / 4.0;
            }
            let last = width - 1;
            slots[0] = (3.0 * row[0] + row[last.min(1)]) / 4.0;
            slots[last] = (3.0 * row[last] + row[last.saturating_sub(1)]) / 4.0;
        }
        let mut smooth = across.clone();
        for (y, slots) in smooth.values.chunks_exact_mut(width).enumerate() {
            let row = |y: usize| &across.values[y * width..(y + 1) * width];
            let (above, here, below) = (row(y.saturating_sub(1)), row(y), row((y + 1).min(height - 1)));
            for (x, slot) in slots.iter_mut().enumerate() {
                *slot = (above[x] + 2.0 * here[x] + below[x]) / 4.0;
            }
        }
        smooth
    }
}

/// Resamples a part of an image with `N` interleaved channels to `(new_width, new_height)` pixels, one plane per
/// channel.
///
/// When it shrinks, each new pixel is the mean over the area that it covers, so the result is anti-aliased. When it
/// enlarges, values are interpolated linearly.
pub(super) fn resampled<T: Copy, const N: usize>(
    pixels: &[T],
    (width, height): (usize, usize),
    area: Area,
    (new_width, new_height): (usize, usize),
) -> [Plane; N]
where
    f32: From<T>,
{
    let columns = spans(area.left, area.width, new_width, width);
    let rows = spans(area.top, area.height, new_height, height);
    let mut planes = [(); N].map(|()| Plane::zeros(new_width, new_height));
    let mut line = vec![[0.0_f32; N]; new_width];
    // A source row shared by two neighbouring rows is read twice at most.
    for (new_y, row) in rows.iter().enumerate() {
        for (offset, &down) in row.weights.iter().enumerate() {
            let start = (row.first + offset) * width;
            let Some(source) = pixels.as_chunks().0.get(start..start + width) else { continue };
            across(source, &columns, &mut line);
            for (channel, plane) in planes.iter_mut().enumerate() {
                let target = &mut plane.values[new_y * new_width..(new_y + 1) * new_width];
                for (slot, values) in target.iter_mut().zip(&line) {
                    *slot += down * values[channel];
                }
            }
        }
    }
    planes
}

/// Resamples one row of pixels to the number of columns.
fn across<T: Copy, const N: usize>(source: &[[T; N]], columns: &[Span], line: &mut [[f32; N]])
where
    f32: From<T>,
{
    for (column, slot) in columns.iter().zip(line) {
        *slot = [0.0; N];
        for (pixel, &weight) in source[column.first..].iter().zip(&column.weights) {
            for (sum, &value) in slot.iter_mut().zip(pixel) {
                *sum += weight * f32::from(value);
            }
        }
    }
}

/// The old pixels that a new one is computed from, along one axis; the weights add up to 1.
struct Span {
    first: usize,
    weights: Vec<f32>,
}

fn spans(start: f64, extent: f64, count: usize, limit: usize) -> Vec<Span> {
    let step = extent / count as f64;
    let last = limit - 1;
    let span = |index: usize| {
        let (from, to) = (start + index as f64 * step, start + (index + 1) as f64 * step);
        if step < 1.0 {
            let centre = (f64::midpoint(from, to) - 0.5).clamp(0.0, last as f64);
            let first = (centre as usize).min(last.saturating_sub(1));
            let share = (centre - first as f64) as f32;
            return Span { first, weights: if last == 0 { vec![1.0] } else { vec![1.0 - share, share] } };
        }
        let first = (from.max(0.0) as usize).min(last);
        let end = (to.ceil().max(0.0) as usize).clamp(first + 1, limit);
        let covered = |pixel: usize| (to.min((pixel + 1) as f64) - from.max(pixel as f64)).clamp(0.0, 1.0) as f32;
        let mut weights: Vec<f32> = (first..end).map(covered).collect();
        let total: f32 = weights.iter().sum();
        if total > 0.0 {
            for weight in &mut weights {
                *weight /= total;
            }
        } else {
            weights = vec![1.0];
        }
        Span { first, weights }
    };
    (0..count).map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_takes_the_mean_over_the_area() {
        let plane = Plane { width: 4, height: 2, values: vec![0.0, 2.0, 4.0, 6.0, 2.0, 4.0, 6.0, 8.0] };
        assert_eq!(plane.part(Area::whole(4, 2), (2, 1)).values, [2.0, 6.0]);
        // 4 pixels to 3: each new one covers a whole pixel and a third of the next.
        let third = plane.part(Area { height: 1.0, ..Area::whole(4, 2) }, (3, 1)).values;
        for (found, expected) in third.iter().zip([0.5, 3.0, 5.5]) {
            assert!((found - expected).abs() < 1e-5, "{third:?}");
        }
    }

    #[test]
    fn enlarging_interpolates_and_one_pixel_stays_what_it_is() {
        let plane = Plane { width: 2, height: 1, values: vec![0.0, 4.0] };
        assert_eq!(plane.part(Area::whole(2, 1), (4, 1)).values, [0.0, 1.0, 3.0, 4.0]);
        let dot = Plane { width: 1, height: 1, values: vec![7.0] };
        assert_eq!(dot.part(Area::whole(1, 1), (3, 2)).values, [7.0; 6]);
    }

    #[test]
    fn channels_are_parted() {
        let planes = resampled(&[1_u8, 2, 3, 5, 6, 7], (2, 1), Area::whole(2, 1), (1, 1));
        assert_eq!(planes.map(|plane| plane.values[0]), [3.0, 4.0, 5.0]);
    }
}
