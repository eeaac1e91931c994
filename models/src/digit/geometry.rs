//! How plausible it is that a hypothesis is the digit, judged by its size, place and outline alone.
//!
//! The judgement is a conditional logit model (`McFadden`, 1973): of the hypotheses about one image, each is the digit
//! with a probability proportional to the exponential of a weighted sum of its features. The weights were fitted to
//! images of the kinds in `tests/tests/awkward.rs` and to others, made from other digits than those of the test.

/// What is measured on the mask of a hypothesis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Sharpness of the outline, summed over it.
    pub edges: f32,
    /// Pixel sides on the image's border.
    pub border: usize,
    /// Number of pixels.
    pub pixels: usize,
    /// Number of connected pieces.
    pub pieces: usize,
    /// Bounding box: left, top, width and height.
    pub bounds: (usize, usize, usize, usize),
}

/// Weights of the [`features`].
const WEIGHTS: [f32; FEATURES] = [11.1, -5.9, -2.5, -9.5, -11.5, 2.5, -6.9];
/// Added to the weighted sum, so that 0 means as likely as not.
const BIAS: f32 = -2.6;

/// Number of features.
pub(super) const FEATURES: usize = 7;

/// The log-odds, up to a constant that is the same for all hypotheses of an image. `clearest` is the largest
/// [`Shape::edges`] among those without long lines, and `size` is the image's width and height.
pub(super) fn plausibility(shape: &Shape, clearest: f32, size: (usize, usize)) -> f32 {
    features(shape, clearest, size).iter().zip(WEIGHTS).map(|(feature, weight)| feature * weight).sum::<f32>() + BIAS
}

/// All features are free of the image's scale.
pub(super) fn features(shape: &Shape, clearest: f32, (width, height): (usize, usize)) -> [f32; FEATURES] {
    let (left, top, across, down) = shape.bounds;
    let (width, height) = (width as f32, height as f32);
    let (longer, shorter) = (across.max(down) as f32, across.min(down) as f32);
    let explained = (shape.edges / clearest.max(f32::MIN_POSITIVE)).min(1.0);
    let centre = |start: usize, extent: usize, limit: f32| (start as f32 + extent as f32 / 2.0) / limit - 0.5;
    [
        // The share of the image's edges that it explains.
        explained,
        // How much of the image's border it touches.
        shape.border as f32 / (2.0 * (width + height)),
        // Its size.
        longer / width.max(height),
        // Its distance from the image's centre.
        centre(left, across, width).hypot(centre(top, down, height)),
        // How bold it is.
        shape.pixels as f32 / longer.powi(2),
        // How far from slender.
        shorter / longer,
        (shape.pieces as f32).ln(),
    ]
}
