//! `MixUp` and `CutMix`, as torchvision makes them: each image of a batch is mixed with the one before it.

use crate::random::Random;
use crate::recipe::Augmentation;
use anyhow::Result;
use tch::{Device, Kind, Tensor};

/// Mixes `inputs` `[N, C, H, W]` with each other if `MixUp` or `CutMix` is on, and their `targets` `[N, classes]`, the
/// probability of each class, by the same shares.
pub fn mixed(inputs: &Tensor, targets: &Tensor, augmentation: &Augmentation) -> Result<(Tensor, Tensor)> {
    let Augmentation { mixup, cutmix, .. } = *augmentation;
    let is_cut = cutmix > 0.0 && (mixup == 0.0 || uniform()? < 0.5);
    let alpha = if is_cut { cutmix } else { mixup };
    if alpha == 0.0 {
        return Ok((inputs.shallow_clone(), targets.shallow_clone()));
    }
    let share = beta(alpha)?;
    let (inputs, share) =
        if is_cut { cut(inputs, share, uniform()?, uniform()?)? } else { (blended(inputs, share)?, share) };
    Ok((inputs, blended(targets, share)?))
}

/// A uniform number from 0 to 1.
fn uniform() -> Result<f64> {
    Ok(Random(Device::Cpu).uniform(&[1], 0.0, 1.0).f_double_value(&[0])?)
}

/// A number from the Beta distribution with both parameters `alpha`: the share of one of two Gamma variables.
fn beta(alpha: f64) -> Result<f64> {
    let gamma = Tensor::f_full([2], alpha, (Kind::Double, Device::Cpu))?.f_internal_standard_gamma()?;
    let (one, other) = (gamma.f_double_value(&[0])?, gamma.f_double_value(&[1])?);
    // Both can be too small for a double at a tiny alpha, where the share is 0 or 1.
    Ok(if one + other > 0.0 { one / (one + other) } else { 1.0 })
}

/// `share` of each row of `values`, plus the rest of the row before.
fn blended(values: &Tensor, share: f64) -> Result<Tensor> {
    Ok(values.f_mul_scalar(share)?.f_add(&values.f_roll([1], [0])?.f_mul_scalar(1.0 - share)?)?)
}

/// Replaces a rectangle, the same in each of `inputs` `[N, C, H, W]`, by that of the image before. It covers 1 −
/// `share` of the image unless it is cut off at the border, and its centre is at `x` and `y`, 0 to 1. Also returns the
/// share of each image that remains.
fn cut(inputs: &Tensor, share: f64, x: f64, y: f64) -> Result<(Tensor, f64)> {
    let (_, _, height, width) = inputs.size4()?;
    let side = |extent: i64, place: f64| {
        let centre = (place * extent as f64).floor().min(extent as f64 - 1.0) as i64;
        let half = (0.5 * (1.0 - share).sqrt() * extent as f64) as i64;
        let (start, end) = ((centre - half).max(0), (centre + half).min(extent));
        (start, end - start)
    };
    let ((left, wide), (top, tall)) = (side(width, x), side(height, y));
    let window = |images: &Tensor| -> Result<Tensor> { Ok(images.f_narrow(2, top, tall)?.f_narrow(3, left, wide)?) };
    let cut = inputs.copy();
    window(&cut)?.f_copy_(&window(&inputs.f_roll([1], [0])?)?)?;
    Ok((cut, 1.0 - (wide * tall) as f64 / (width * height) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::<f32>::try_from(tensor.reshape([-1])).unwrap()
    }

    /// Three images of 0, 1 and 2.
    fn images(height: i64, width: i64) -> Tensor {
        Tensor::arange(3, (Kind::Float, Device::Cpu)).view([3, 1, 1, 1]).expand([3, 1, height, width], false).copy()
    }

    /// `batch.roll(1, 0).mul(0.3).add(batch.mul(0.7))`, as torchvision 0.28.0 computes it.
    #[test]
    fn images_are_blended_as_torchvisions_mixup() {
        for (found, expected) in values(&blended(&images(1, 1), 0.7).unwrap()).iter().zip([0.6, 0.7, 1.7]) {
            assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
        }
    }

    /// `CutMix` of torchvision 0.28.0 with `lam` 0.4, `r_x` 5 and `r_y` 1 on images of 6×4 px.
    #[test]
    fn rectangles_are_torchvisions_cutmix() {
        let (cut, share) = cut(&images(4, 6), 0.4, 5.5 / 6.0, 1.5 / 4.0).unwrap();
        let expected = [[1.0, 1.0, 1.0, 0.0, 0.0, 0.0], [1.0; 6]];
        assert_eq!(values(&cut.get(1)), [expected[0], expected[0], expected[1], expected[1]].concat());
        assert!((share - 0.75).abs() < 1e-9);
    }

    /// Mean and deviation of the Beta distribution: 1/2 and 1 / (2 √(2α + 1)).
    #[test]
    fn shares_are_beta_distributed() {
        tch::manual_seed(8);
        for alpha in [0.2, 1.0, 3.0] {
            let shares: Vec<f64> = (0..4000).map(|_| beta(alpha).unwrap()).collect();
            let mean = shares.iter().sum::<f64>() / 4000.0;
            let deviation = (shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / 4000.0).sqrt();
            assert!((mean - 0.5).abs() < 0.03, "{mean}");
            assert!((deviation - 0.5 / (2.0 * alpha + 1.0).sqrt()).abs() < 0.02, "{deviation}");
        }
        assert!((0.0..=1.0).contains(&beta(1e-9).unwrap()));
    }

    /// Images of one value per class: after mixing, the mean of each image is still that of its targets.
    #[test]
    fn targets_are_mixed_as_the_images_are() {
        tch::manual_seed(9);
        let inputs = images(16, 16);
        let targets = Tensor::eye(3, (Kind::Float, Device::Cpu));
        for (mixup, cutmix) in [(0.5, 0.0), (0.0, 1.0), (0.5, 1.0)] {
            let augmentation = Augmentation { mixup, cutmix, ..Augmentation::default() };
            for _ in 0..20 {
                let (mixed, targets) = mixed(&inputs, &targets, &augmentation).unwrap();
                let means = values(&mixed.mean_dim([1_i64, 2, 3].as_slice(), false, Kind::Float));
                let expected = values(&targets.matmul(&Tensor::arange(3, (Kind::Float, Device::Cpu)).view([3, 1])));
                for (found, expected) in means.iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-4, "{found} instead of {expected}");
                }
                assert!(
                    values(&targets.sum_dim_intlist([1_i64].as_slice(), false, Kind::Float))
                        .iter()
                        .all(|sum| (sum - 1.0).abs() < 1e-5)
                );
            }
        }
        let (same, _) = mixed(&inputs, &targets, &Augmentation::default()).unwrap();
        assert_eq!(same, inputs);
    }
}
