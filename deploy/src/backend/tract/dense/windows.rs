//! Unfolds what a kernel sees at each position into a matrix (im2col).

use tract_core::internal::TractResult;
use tract_core::prelude::*;

/// How a kernel moves over planes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Windows {
    /// Channels, rows and columns of the input.
    pub input: [usize; 3],
    /// Rows and columns of the output.
    pub output: [usize; 2],
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Stride of rows and columns.
    pub stride: usize,
    /// Rows of zeros above the input, and columns to its left.
    pub padding: [usize; 2],
}

impl Windows {
    /// Returns `[channels · kernel · kernel, output rows · output columns]`: each column holds what the kernel sees at
    /// one position.
    pub fn matrix(&self, input: &[f32]) -> TractResult<Tensor> {
        let ([channels, height, width], [rows, columns]) = (self.input, self.output);
        let mut matrix = Vec::with_capacity(channels * self.kernel * self.kernel * rows * columns);
        for plane in input.chunks_exact(height * width) {
            for (tap_row, tap_column) in
                (0..self.kernel).flat_map(|row| (0..self.kernel).map(move |column| (row, column)))
            {
                for row in 0..rows {
                    let from = (row * self.stride + tap_row).checked_sub(self.padding[0]).filter(|&row| row < height);
                    let line = from.map(|row| &plane[row * width..][..width]);
                    let number = |column: usize| {
                        let from = (column * self.stride + tap_column).checked_sub(self.padding[1]);
                        line.zip(from).and_then(|(line, from)| line.get(from)).copied().unwrap_or(0.0)
                    };
                    matrix.extend((0..columns).map(number));
                }
            }
        }
        Tensor::from_shape(&[matrix.len()], &matrix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of PyTorch's `torch.nn.functional.unfold` on `arange(9)` as 3×3, with kernel 2, padding 1, stride 2.
    #[test]
    fn windows_are_unfolded_as_pytorch_does() {
        let windows = Windows { input: [1, 3, 3], output: [2, 2], kernel: 2, stride: 2, padding: [1, 1] };
        let input: Vec<f32> = (0..9_u8).map(f32::from).collect();
        let expected = [[0.0, 0.0, 0.0, 4.0], [0.0, 0.0, 3.0, 5.0], [0.0, 1.0, 0.0, 7.0], [0.0, 2.0, 6.0, 8.0]];
        let matrix = windows.matrix(&input).unwrap();
        assert_eq!(matrix.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap(), expected.as_flattened());
    }
}
