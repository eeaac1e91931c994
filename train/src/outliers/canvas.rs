//! What outliers are drawn on.

use tch::{Device, Kind, Tensor};

/// Length of the shorter side in the units of the generators. Their constants were chosen on MNIST's 28 px, so there a
/// unit is a pixel.
pub(super) const SIDE: f64 = 28.0;

/// An image's field. Coordinates are in units from its middle, whatever its pixels are.
pub(super) struct Canvas {
    /// Rows of pixels.
    pub(super) height: i64,
    /// Columns of pixels.
    pub(super) width: i64,
    /// Pixels per unit.
    pub(super) scale: f64,
    /// The middle of each row, `[H]`.
    pub(super) rows: Tensor,
    /// The middle of each column, `[W]`.
    pub(super) columns: Tensor,
}

impl Canvas {
    pub(super) fn new(height: i64, width: i64) -> Self {
        let scale = height.min(width) as f64 / SIDE;
        let middles =
            |pixels: i64| (Tensor::arange(pixels, (Kind::Float, Device::Cpu)) + (0.5 - pixels as f64 / 2.0)) / scale;
        Self { height, width, scale, rows: middles(height), columns: middles(width) }
    }

    /// The share of each pixel that a shape covers, given how deep inside it the pixel's middle is (outside: negative).
    pub(super) fn covered(&self, depth: &Tensor) -> Tensor {
        (depth * self.scale + 0.5).clamp(0.0, 1.0)
    }

    /// The extents `[H, W]`.
    pub(super) fn extents(&self) -> [i64; 2] {
        [self.height, self.width]
    }
}
