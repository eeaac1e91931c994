//! How a feature map of bytes is stored.

use super::CHANNELS;

/// Bytes after the last pixel, so that vectors may be read from any pixel on.
const SLACK: usize = 64;

/// A feature map: rows of pixels, each with the bytes of all its channels. Around it lie `border` pixels on each side
/// that stand for zeros, so that no window of the next convolution is a special case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Rows without the border.
    pub rows: usize,
    /// Columns without the border.
    pub columns: usize,
    pub channels: usize,
    /// Bytes of a pixel: the channels, and padding.
    pub depth: usize,
    pub border: usize,
}

impl Layout {
    /// A feature map, whose pixels have a multiple of [`CHANNELS`] bytes. `None` if it does not fit into the memory's
    /// addresses.
    pub fn new([channels, rows, columns]: [usize; 3], border: usize) -> Option<Self> {
        Self { rows, columns, channels, depth: channels.checked_next_multiple_of(CHANNELS)?, border }.checked()
    }

    /// An image: like a feature map, but with 1 or 4 bytes per pixel if it has that few channels.
    pub fn image([channels, rows, columns]: [usize; 3], border: usize) -> Option<Self> {
        match channels {
            1 => Self { rows, columns, channels, depth: 1, border }.checked(),
            2..=4 => Self { rows, columns, channels, depth: 4, border }.checked(),
            _ => Self::new([channels, rows, columns], border),
        }
    }

    fn checked(self) -> Option<Self> {
        let whole = |extent: usize| extent.checked_add(self.border.checked_mul(2)?);
        let bytes = whole(self.rows)?.checked_mul(whole(self.columns)?)?.checked_mul(self.depth)?.checked_add(SLACK)?;
        isize::try_from(bytes).ok().map(|_| self)
    }

    /// Bytes from the start of one row to the next.
    pub fn pitch(&self) -> usize {
        (self.columns + 2 * self.border) * self.depth
    }

    /// Bytes of the whole, with the border and the slack.
    pub fn bytes(&self) -> usize {
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
    pub fn rows_mut<'a>(&self, bytes: &'a mut [u8]) -> &'a mut [u8] {
        &mut bytes[self.first()..][..self.rows * self.pitch()]
    }

    /// The rows between the upper and the lower border, each without its left and right border.
    pub fn rows<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (left, row) = (self.border * self.depth, self.columns * self.depth);
        let rows = bytes[self.first()..].chunks_exact(self.pitch()).take(self.rows);
        rows.map(move |line| &line[left..][..row])
    }

    /// Sets the border and the slack to the byte that stands for 0.
    pub fn surround(&self, bytes: &mut [u8], zero: u8) {
        let (first, side) = (self.first(), self.border * self.depth);
        let end = first + self.rows * self.pitch();
        bytes[..first].fill(zero);
        if side > 0 {
            for row in bytes[first..end].chunks_exact_mut(self.pitch()) {
                row[..side].fill(zero);
                let right = row.len() - side;
                row[right..].fill(zero);
            }
        }
        bytes[end..].fill(zero);
    }
}
