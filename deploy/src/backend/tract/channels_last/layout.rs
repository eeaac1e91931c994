//! How a feature map is stored.

use super::{CHANNELS, is_little_more};

/// Values after the last pixel, so that vectors may be read from any pixel on.
const SLACK: usize = 64;

/// A feature map: rows of pixels, each with the values of all its channels. Around it lie `border` pixels on each side
/// that stand for zeros, so that no window of the next convolution is a special case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Rows without the border.
    pub rows: usize,
    /// Columns without the border.
    pub columns: usize,
    pub channels: usize,
    /// Values of a pixel: the channels, and padding.
    pub depth: usize,
    pub border: usize,
}

impl Layout {
    /// A feature map, whose pixels have a multiple of [`CHANNELS`] values. `None` if the padding would take
    /// much more memory than the values.
    pub fn new([channels, rows, columns]: [usize; 3], border: usize) -> Option<Self> {
        Self { rows, columns, channels, depth: channels.checked_next_multiple_of(CHANNELS)?, border }.checked()
    }

    /// An image: like a feature map, but with 1 or 4 values per pixel if it has that few channels.
    pub fn image([channels, rows, columns]: [usize; 3], border: usize) -> Option<Self> {
        match channels {
            1 => Self { rows, columns, channels, depth: 1, border }.checked(),
            2..=4 => Self { rows, columns, channels, depth: 4, border }.checked(),
            _ => Self::new([channels, rows, columns], border),
        }
    }

    fn checked(self) -> Option<Self> {
        let whole = |extent: usize| extent.checked_add(self.border.checked_mul(2)?);
        let values =
            whole(self.rows)?.checked_mul(whole(self.columns)?)?.checked_mul(self.depth)?.checked_add(SLACK)?;
        let needed = self.rows.checked_mul(self.columns)?.checked_mul(self.channels)?;
        let fits = isize::try_from(values.checked_mul(size_of::<f32>())?).is_ok();
        (fits && is_little_more(values, needed)).then_some(self)
    }

    /// Values from the start of one row to the next.
    pub fn pitch(&self) -> usize {
        (self.columns + 2 * self.border) * self.depth
    }

    /// Values of the whole, with the border and the slack.
    pub fn len(&self) -> usize {
        (self.rows + 2 * self.border) * self.pitch() + SLACK
    }

    /// Where a pixel starts.
    pub fn pixel(&self, row: usize, column: usize) -> usize {
        (self.border + row) * self.pitch() + (self.border + column) * self.depth
    }

    /// Where the first row without border pixels above it starts, at its left border.
    fn first(&self) -> usize {
        self.border * self.pitch()
    }

    /// The rows between the upper and the lower border.
    pub fn rows_mut<'a, T>(&self, values: &'a mut [T]) -> &'a mut [T] {
        &mut values[self.first()..][..self.rows * self.pitch()]
    }

    /// The rows between the upper and the lower border, each without its left and right border.
    pub fn rows<'a, T>(&self, values: &'a [T]) -> impl Iterator<Item = &'a [T]> + use<'a, T> {
        let (left, row) = (self.border * self.depth, self.columns * self.depth);
        let rows = values[self.first()..].chunks_exact(self.pitch()).take(self.rows);
        rows.map(move |line| &line[left..][..row])
    }

    /// Sets the border and the slack to what stands for 0.
    pub fn surround<T: Copy>(&self, values: &mut [T], zero: T) {
        let (first, side) = (self.first(), self.border * self.depth);
        let end = first + self.rows * self.pitch();
        values[..first].fill(zero);
        if side > 0 {
            for row in values[first..end].chunks_exact_mut(self.pitch()) {
                row[..side].fill(zero);
                let right = row.len() - side;
                row[right..].fill(zero);
            }
        }
        values[end..].fill(zero);
    }
}
