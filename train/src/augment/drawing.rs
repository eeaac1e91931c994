//! Augmentation of drawings: how thick the pen is, how sharp and how bright the image, and grain.
//!
//! All functions but [`drawn`] take float images `[N, C, H, W]` from 0 to 1, light ink on a dark ground. Lengths are
//! stated at the 28 px of MNIST and scale with the shorter side. The shapes are the images' own, so the operators of
//! tensors, which panic where the `f_` functions return errors, keep the formulas readable.

use super::lines::lines;
use crate::random::{Random, choose};
use crate::recipe::Augmentation;
use anyhow::Result;
use tch::{Device, Kind, Tensor};

/// Shorter side in pixels at which the lengths below are stated.
const SIDE: f64 = 28.0;

/// By how much strokes become thicker or thinner at most, in pixels on either side.
const THICKER: f64 = 1.0;
const THINNER: f64 = 0.5;

/// Pixels per side of low-resolution images.
const LOW: std::ops::RangeInclusive<i64> = 7..=14;

/// Standard deviation of the blur, in pixels.
const BLUR: (f64, f64) = (0.2, 1.0);

/// Largest logarithm of the exponent of the brightness, and largest share by which the ink is dimmed.
const GAMMA: f64 = 0.5;
const DIMMED: f64 = 0.4;

/// Largest share of a pixel's ink that is missing, and largest deviation of the noise everywhere.
const MISSING: f64 = 0.6;
const NOISE: f64 = 0.05;

/// Changes a random choice of `images`, 0 to 255 and light on dark.
pub(super) fn drawn(images: &Tensor, augmentation: &Augmentation) -> Result<Tensor> {
    let (count, _, height, width) = images.size4()?;
    let random = Random(images.device());
    let scale = height.min(width) as f64 / SIDE;
    let each = [count, 1, 1, 1];
    let mut batch = images.f_div_scalar(255.0)?;
    if augmentation.stroke_width > 0.0 {
        let amount = random.uniform(&each, -THINNER * scale, THICKER * scale);
        batch = stroke_width(&batch, &(amount * random.one(&each, augmentation.stroke_width)));
    }
    if augmentation.low_resolution > 0.0 {
        let (chosen, index) = (random.chance(&each, augmentation.low_resolution), random.index(&[count], FILTERS));
        batch = filtered(&batch, |side| low_resolution(side).to(images.device()).index_select(0, &index), &chosen);
    }
    if augmentation.blur > 0.0 {
        let deviation = random.uniform(&[count, 1, 1], BLUR.0, BLUR.1) * scale;
        batch = filtered(&batch, |side| gaussian(side, &deviation), &random.chance(&each, augmentation.blur));
    }
    if augmentation.contrast > 0.0 {
        let chosen = random.one(&each, augmentation.contrast);
        let gamma = (random.uniform(&each, -GAMMA, GAMMA) * &chosen).exp();
        batch = contrast(&batch, &gamma, &(1.0 - random.uniform(&each, 0.0, DIMMED) * chosen));
    }
    if augmentation.lines > 0.0 {
        batch = batch.maximum(&(lines([count, height, width], scale, random) * random.one(&each, augmentation.lines)));
    }
    if augmentation.grain > 0.0 {
        let chosen = random.one(&each, augmentation.grain);
        let (missing, noise) = (random.uniform(&each, 0.0, MISSING), random.uniform(&each, 0.0, NOISE));
        batch = grain(&batch, &(missing * &chosen), &(noise * chosen), random);
    }
    Ok(batch.f_mul_scalar(255.0)?)
}

/// Dilates each image by `amount` `[N, 1, 1, 1]` in pixels, or erodes it if that is negative. The window is square; a
/// fraction of a pixel blends the image with that of the next whole pixel.
fn stroke_width(images: &Tensor, amount: &Tensor) -> Tensor {
    let step = |image: &Tensor| image.max_pool2d(3, 1, 1, 1, false);
    let grown = |image: &Tensor, amount: &Tensor| {
        let mut grown = image.shallow_clone();
        for whole in 0..amount.max().double_value(&[]).max(0.0).ceil() as i64 {
            grown = &grown + (amount - whole as f64).clamp(0.0, 1.0) * (step(&grown) - &grown);
        }
        grown
    };
    // Where the amount is positive, the erosion leaves the image as it is, and the other way round. Ink that grows is a
    // ground that shrinks.
    -grown(&-grown(images, amount), &-amount)
}

/// Multiplies the rows and columns of the chosen images by the matrices that `matrices` gives for the length of a side,
/// `[N, side, side]`.
fn filtered(images: &Tensor, matrices: impl Fn(i64) -> Tensor, chosen: &Tensor) -> Tensor {
    let size = images.size();
    let (down, across) = (matrices(size[2]).unsqueeze(1), matrices(size[3]).unsqueeze(1));
    let changed = down.matmul(images).matmul(&across.transpose(2, 3)).clamp(0.0, 1.0);
    choose(chosen, &changed, images)
}

/// Number of matrices of [`low_resolution`].
const FILTERS: i64 = 3 * (*LOW.end() - *LOW.start() + 1);

/// Matrices `[FILTERS, side, side]` that scale a side down to each of [`LOW`] pixels (of 28) by area, and up again by
/// nearest neighbour, bilinearly or bicubically.
fn low_resolution(side: i64) -> Tensor {
    // One image per pixel of the side, [side, 1, 1, side]: its column of the matrix.
    let pixels = Tensor::eye(side, (Kind::Float, Device::Cpu)).view([side, 1, 1, side]);
    let matrices: Vec<Tensor> = LOW
        .flat_map(|low| {
            let low = (side as f64 * low as f64 / SIDE).round().max(1.0) as i64;
            let small = pixels.adaptive_avg_pool2d([1, low]);
            [
                small.upsample_nearest2d([1, side], None, None),
                small.upsample_bilinear2d([1, side], false, None, None),
                small.upsample_bicubic2d([1, side], false, None, None),
            ]
        })
        .map(|columns| columns.view([side, side]).transpose(0, 1))
        .collect();
    Tensor::stack(&matrices, 0)
}

/// Matrices `[N, side, side]` that convolve a side with a Gaussian of this `deviation` `[N, 1, 1]` in pixels. At the
/// edges the weights inside the image are scaled to a sum of 1.
fn gaussian(side: i64, deviation: &Tensor) -> Tensor {
    let pixels = Tensor::arange(side, (Kind::Float, deviation.device()));
    let squared = (pixels.unsqueeze(1) - pixels).square();
    (squared / (deviation.square() * -2.0)).softmax(2, Kind::Float)
}

/// Raises brightness to the power `gamma` and multiplies it by `factor`, both `[N, 1, 1, 1]`.
fn contrast(images: &Tensor, gamma: &Tensor, factor: &Tensor) -> Tensor {
    images.pow(gamma) * factor
}

/// Takes a random share of up to `missing` from the ink of each pixel and adds normal noise of this deviation
/// everywhere, both `[N, 1, 1, 1]`.
fn grain(images: &Tensor, missing: &Tensor, noise: &Tensor, random: Random) -> Tensor {
    let size = images.size();
    let field = [size[0], 1, size[2], size[3]];
    let kept: Tensor = 1.0 - random.uniform(&field, 0.0, 1.0) * missing;
    (images * kept + random.normal(&field) * noise).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An irregular image `[1, 1, 8, 8]`: (3y² + 5x + xy) mod 17, as a share of 16. The expected values below are its
    /// rows 0 and 3, or row 3, as printed by SciPy 1.17.1 and PyTorch 2.13.0.
    fn image() -> Tensor {
        let value = |y: u8, x: u8| f32::from((y * y * 3 + x * 5 + x * y) % 17) / 16.0;
        let values: Vec<f32> = (0..64_u8).map(|index| value(index / 8, index % 8)).collect();
        Tensor::from_slice(&values).view([1, 1, 8, 8])
    }

    #[track_caller]
    fn assert_rows(found: &Tensor, rows: &[i64], expected: &[f32]) {
        let rows: Vec<Tensor> = rows.iter().map(|&row| found.select(2, row).view([-1])).collect();
        let found = Vec::<f32>::try_from(Tensor::cat(&rows, 0)).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 2e-5, "{found} instead of {expected}");
        }
    }

    fn number(value: f32) -> Tensor {
        Tensor::from_slice(&[value]).view([1, 1, 1, 1])
    }

    /// `scipy.ndimage.grey_dilation` with a window of 3×3, applied once and twice, and the mean of both.
    #[test]
    fn thicker_strokes_are_scipys_dilation() {
        assert_rows(
            &stroke_width(&image(), &number(1.5)),
            &[0, 3],
            &[
                0.75, 0.96875, 0.96875, 0.96875, 1.0, 1.0, 1.0, 0.90625, 0.90625, 0.96875, 1.0, 1.0, 1.0, 1.0, 1.0,
                0.96875,
            ],
        );
    }

    /// A quarter of `scipy.ndimage.grey_erosion` with a window of 3×3.
    #[test]
    fn thinner_strokes_are_scipys_erosion() {
        assert_rows(
            &stroke_width(&image(), &number(-0.25)),
            &[0, 3],
            &[
                0.0, 0.234_38, 0.531_25, 0.75, 0.1875, 0.421_88, 0.625, 0.0625, 0.484_38, 0.0625, 0.421_88, 0.0, 0.375,
                0.75, 0.328_12, 0.703_12,
            ],
        );
    }

    #[test]
    fn each_image_has_its_own_stroke_width() {
        let images = Tensor::cat(&[image(), image(), image()], 0);
        let amounts = Tensor::cat(&[number(0.0), number(1.5), number(-0.25)], 0);
        let changed = stroke_width(&images, &amounts);
        for (index, amount) in [0.0, 1.5, -0.25].into_iter().enumerate() {
            let alone = stroke_width(&image(), &number(amount));
            assert_eq!(changed.narrow(0, index as i64, 1), alone);
        }
        assert_eq!(changed.narrow(0, 0, 1), image());
    }

    /// `scipy.ndimage.convolve1d` over rows and columns with a Gaussian of deviation 0.8 cut off at 7 pixels, divided by
    /// the same of an image of ones.
    #[test]
    fn the_blur_is_scipys_convolution() {
        let deviation = Tensor::from_slice(&[0.8_f32]).view([1, 1, 1]);
        let blurred = filtered(&image(), |side| gaussian(side, &deviation), &number(1.0).gt(0.0));
        assert_rows(
            &blurred,
            &[0, 3],
            &[
                0.191, 0.398_18, 0.621_64, 0.625_44, 0.510_48, 0.573_51, 0.552_51, 0.394_65, 0.531_04, 0.404_61,
                0.470_17, 0.476_86, 0.584_54, 0.640_33, 0.5341, 0.623_08,
            ],
        );
    }

    /// `F.interpolate(…, mode="area")` to 2, 3 and 4 px (7, 10 or 11, and 14 of 28), and up again in each mode.
    #[test]
    fn low_resolution_is_pytorchs_interpolation() {
        let matrices = low_resolution(8);
        assert_eq!(matrices.size(), [FILTERS, 8, 8]);
        let expected: [(i64, [f32; 8]); 6] = [
            (0, [0.468_75, 0.468_75, 0.468_75, 0.468_75, 0.566_41, 0.566_41, 0.566_41, 0.566_41]),
            (1, [0.461_43, 0.461_43, 0.476_93, 0.507_93, 0.538_94, 0.569_95, 0.585_45, 0.585_45]),
            (11, [0.486_67, 0.506_24, 0.555_82, 0.605_62, 0.625_14, 0.605_36, 0.578_78, 0.571_22]),
            (21, [0.390_62, 0.390_62, 0.531_25, 0.531_25, 0.671_88, 0.671_88, 0.546_88, 0.546_88]),
            (22, [0.398_44, 0.432_62, 0.500_98, 0.569_34, 0.6377, 0.639_65, 0.5752, 0.542_97]),
            (23, [0.4017, 0.431_78, 0.4793, 0.574_49, 0.666_36, 0.670_87, 0.583_33, 0.531_42]),
        ];
        for (index, expected) in expected {
            let matrix = matrices.narrow(0, index, 1);
            let small = filtered(&image(), |_| matrix.shallow_clone(), &number(1.0).gt(0.0));
            assert_rows(&small, &[3], &expected);
        }
        let unchanged = filtered(&image(), |_| matrices.narrow(0, 0, 1), &number(0.0).gt(0.0));
        assert_eq!(unchanged, image());
    }

    /// Row 2 to the power 1.5, times 0.75, by `NumPy`.
    #[test]
    fn contrast_is_a_power_and_a_factor() {
        let expected = [0.487_14, 0.033_15, 0.316_41, 0.75, 0.172_23, 0.549_28, 0.060_89, 0.370_58];
        assert_rows(&contrast(&image(), &number(1.5), &number(0.75)), &[2], &expected);
    }

    /// Mean and deviation of `1 − 0.6 u` with uniform u are 0.7 and 0.6 / √12; those of the noise on an even ground are
    /// its own.
    #[test]
    fn grain_takes_ink_and_adds_noise() {
        tch::manual_seed(5);
        let random = Random(Device::Cpu);
        let images = Tensor::ones([200, 1, 28, 28], (Kind::Float, Device::Cpu));
        let taken = grain(&images, &number(0.6), &number(0.0), random);
        let (mean, deviation) = (taken.mean(Kind::Double).double_value(&[]), taken.std(true).double_value(&[]));
        assert!((mean - 0.7).abs() < 0.002 && (deviation - 0.6 / 12_f64.sqrt()).abs() < 0.002, "{mean}, {deviation}");
        let noisy = grain(&(images * 0.5), &number(0.0), &number(0.05), random);
        let (mean, deviation) = (noisy.mean(Kind::Double).double_value(&[]), noisy.std(true).double_value(&[]));
        assert!((mean - 0.5).abs() < 0.002 && (deviation - 0.05).abs() < 0.002, "{mean}, {deviation}");
        // Without noise an empty ground stays empty.
        assert_eq!(
            grain(&Tensor::zeros([1, 1, 8, 8], (Kind::Float, Device::Cpu)), &number(0.6), &number(0.0), random)
                .max()
                .double_value(&[]),
            0.0
        );
    }

    #[test]
    fn only_the_chosen_images_change() {
        tch::manual_seed(7);
        // At 28 px even the weakest blur shows.
        let images = Tensor::randint(256, [1000, 1, 28, 28], (Kind::Float, Device::Cpu));
        let off = Augmentation::default();
        for (augmentation, chance) in [
            (Augmentation { stroke_width: 0.3, ..off }, 0.3),
            (Augmentation { low_resolution: 0.3, ..off }, 0.3),
            (Augmentation { blur: 0.3, ..off }, 0.3),
            (Augmentation { contrast: 0.3, ..off }, 0.3),
            (Augmentation { grain: 0.3, ..off }, 0.3),
        ] {
            let changed = (drawn(&images, &augmentation).unwrap() - &images).abs().amax([1, 2, 3].as_slice(), false);
            let share = changed.gt(1e-3).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
            // 5.5 standard deviations.
            assert!((share - chance).abs() < 0.08, "{share} with {augmentation:?}");
        }
    }
}
