//! Changes of colour, as torchvision makes them: `ColorJitter` and `RandomGrayscale`.
//!
//! All functions but [`recoloured`] take float images `[N, C, H, W]` from 0 to 1 and factors `[N, 1, 1, 1]`. C is 3
//! (red, green, blue) or 1; grey images have neither saturation nor hue. The shapes are the images' own, so the
//! operators of tensors, which panic where the `f_` functions return errors, keep the formulas readable.

use crate::random::{Random, choose};
use crate::recipe::{Augmentation, ColorJitter};
use anyhow::Result;
use tch::{Device, Kind, Tensor};

/// Weights of red, green and blue in a pixel's grey value (ITU-R BT.601, rounded as in torchvision).
const GREY: [f64; 3] = [0.2989, 0.587, 0.114];

/// The changes of `ColorJitter`. torchvision draws their order for each image; here it is drawn for each batch.
const CHANGES: [fn(&Tensor, &ColorJitter, Random) -> Tensor; 4] = [
    |images, jitter, random| match jitter.brightness {
        range if range > 0.0 => brightness(images, &factor(images, range, random)),
        _ => images.shallow_clone(),
    },
    |images, jitter, random| match jitter.contrast {
        range if range > 0.0 => contrast(images, &factor(images, range, random)),
        _ => images.shallow_clone(),
    },
    |images, jitter, random| match jitter.saturation {
        range if range > 0.0 && is_colour(images) => saturation(images, &factor(images, range, random)),
        _ => images.shallow_clone(),
    },
    |images, jitter, random| match jitter.hue {
        range if range > 0.0 && is_colour(images) => {
            hue(images, &random.uniform(&[images.size()[0], 1, 1, 1], -range, range))
        }
        _ => images.shallow_clone(),
    },
];

/// Changes the colours of float `images` `[N, C, H, W]` from 0 to 255, each by its own random factors.
pub(super) fn recoloured(images: &Tensor, jitter: &ColorJitter, augmentation: &Augmentation) -> Result<Tensor> {
    let random = Random(images.device());
    let mut batch = images.f_div_scalar(255.0)?;
    let order = Vec::<i64>::try_from(Tensor::f_randperm(CHANGES.len() as i64, (Kind::Int64, Device::Cpu))?)?;
    for change in order {
        batch = CHANGES[change as usize](&batch, jitter, random);
    }
    if augmentation.greyscale > 0.0 && is_colour(&batch) {
        let chosen = random.chance(&[batch.size()[0], 1, 1, 1], augmentation.greyscale);
        batch = choose(&chosen, &grey(&batch), &batch);
    }
    Ok(batch.f_mul_scalar(255.0)?)
}

fn is_colour(images: &Tensor) -> bool {
    images.size()[1] == 3
}

/// Random factors from 1 − `range`, but at least 0, to 1 + `range`.
fn factor(images: &Tensor, range: f64, random: Random) -> Tensor {
    random.uniform(&[images.size()[0], 1, 1, 1], (1.0 - range).max(0.0), 1.0 + range)
}

/// The grey value of each pixel, `[N, 1, H, W]`.
fn grey(images: &Tensor) -> Tensor {
    if !is_colour(images) {
        return images.shallow_clone();
    }
    let channel = |index: usize| images.narrow(1, index as i64, 1) * GREY[index];
    channel(0) + channel(1) + channel(2)
}

/// Moves `images` away from `others` by `factor`: 0 gives `others`, 1 the images.
fn blend(images: &Tensor, others: &Tensor, factor: &Tensor) -> Tensor {
    (others + (images - others) * factor).clamp(0.0, 1.0)
}

/// `adjust_brightness`.
fn brightness(images: &Tensor, factor: &Tensor) -> Tensor {
    (images * factor).clamp(0.0, 1.0)
}

/// `adjust_contrast`.
fn contrast(images: &Tensor, factor: &Tensor) -> Tensor {
    blend(images, &grey(images).mean_dim([1_i64, 2, 3].as_slice(), true, Kind::Float), factor)
}

/// `adjust_saturation`.
fn saturation(images: &Tensor, factor: &Tensor) -> Tensor {
    blend(images, &grey(images), factor)
}

/// `adjust_hue`: turns the hue by `turn`, a share of the colour wheel.
fn hue(images: &Tensor, turn: &Tensor) -> Tensor {
    let (most, least) = (images.amax([1], true), images.amin([1], true));
    let range = &most - &least;
    let is_grey = range.eq(0.0);
    let divisor = choose(&is_grey, &range.ones_like(), &range);
    let channel = |index: i64| images.narrow(1, index, 1);
    let (red, green, blue) = (channel(0), channel(1), channel(2));
    // The hue in sixths of the wheel, by which channel is the largest.
    let from_blue = (&red - &green) / &divisor + 4.0;
    let from_green = (&blue - &red) / &divisor + 2.0;
    let from_red = (&green - &blue) / &divisor;
    let sixths = choose(&red.eq_tensor(&most), &from_red, &choose(&green.eq_tensor(&most), &from_green, &from_blue));
    let sixths = sixths + turn * 6.0;
    // A channel falls from the largest to the smallest value with the distance of its own hue, given here in sixths.
    let value = |offset: f64| {
        let distance = (&sixths + offset).remainder(6.0);
        &most - &range * distance.minimum(&(4.0 - &distance)).clamp(0.0, 1.0)
    };
    Tensor::cat(&[value(5.0), value(3.0), value(1.0)], 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An irregular image `[1, 3, 3, 4]`: (7c + 3y² + 5x + xy) mod 17, as a share of 16. The expected values below are
    /// row 1 of each channel after the functions of `torchvision.transforms.v2.functional` 0.28.0.
    fn image() -> Tensor {
        let value = |c: u8, y: u8, x: u8| f32::from((c * 7 + y * y * 3 + x * 5 + x * y) % 17) / 16.0;
        let values: Vec<f32> = (0..36_u8).map(|index| value(index / 12, index / 4 % 3, index % 4)).collect();
        Tensor::from_slice(&values).view([1, 3, 3, 4])
    }

    #[track_caller]
    fn assert_row(found: &Tensor, expected: &[f32]) {
        let found = Vec::<f32>::try_from(found.select(2, 1).reshape([-1])).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 2e-5, "{found} instead of {expected}");
        }
    }

    fn number(value: f32) -> Tensor {
        Tensor::from_slice(&[value]).view([1, 1, 1, 1])
    }

    #[test]
    fn colours_change_as_torchvisions() {
        assert_row(
            &brightness(&image(), &number(1.3)),
            &[0.24375, 0.73125, 1.0, 0.325, 0.8125, 1.0, 0.40625, 0.89375, 0.0, 0.4875, 0.975, 0.08125],
        );
        assert_row(
            &contrast(&image(), &number(0.6)),
            &[
                0.31911, 0.54411, 0.76911, 0.35661, 0.58161, 0.80661, 0.39411, 0.61911, 0.20661, 0.43161, 0.65661,
                0.24411,
            ],
        );
        assert_row(
            &saturation(&image(), &number(1.7)),
            &[0.02271, 0.39773, 1.0, 0.08521, 0.76646, 1.0, 0.14684, 0.82896, 0.0, 0.07898, 0.89059, 0.0],
        );
        assert_row(&grey(&image()), &[0.42292, 0.79788, 0.54916, 0.48541]);
    }

    #[test]
    fn the_hue_turns_as_torchvisions_in_both_directions() {
        assert_row(
            &hue(&image(), &number(0.2)),
            &[0.0, 0.375, 0.9375, 0.0625, 0.625, 1.0, 0.625, 0.6875, 0.5625, 0.9375, 0.3125, 0.625],
        );
        assert_row(
            &hue(&image(), &number(-0.35)),
            &[0.625, 1.0, 0.3125, 0.6875, 0.0, 0.375, 0.8125, 0.0625, 0.25, 0.625, 0.9375, 0.3125],
        );
        // Grey pixels, black and white among them, have no hue.
        let even = Tensor::from_slice(&[0.0_f32, 0.5, 1.0]).view([1, 1, 1, 3]).expand([1, 3, 2, 3], false);
        assert_eq!(hue(&even, &number(0.4)), even);
    }

    #[test]
    fn grey_images_change_in_brightness_and_contrast_only() {
        assert_row(&contrast(&image().narrow(1, 0, 1), &number(1.5)), &[0.02083, 0.58333, 1.0, 0.11458]);
        let images = image().narrow(1, 0, 1) * 255.0;
        let jitter = ColorJitter { saturation: 1.0, hue: 0.5, ..ColorJitter::default() };
        let augmentation = Augmentation { greyscale: 1.0, ..Augmentation::default() };
        let changed = recoloured(&images, &jitter, &augmentation).unwrap();
        assert!((changed - images).abs().max().double_value(&[]) < 1e-4);
    }

    #[test]
    fn factors_reach_for_their_range() {
        tch::manual_seed(3);
        let images = Tensor::full([4000, 3, 1, 1], 100.0, (Kind::Float, Device::Cpu));
        let jitter = ColorJitter { brightness: 0.3, ..ColorJitter::default() };
        let changed = recoloured(&images, &jitter, &Augmentation::default()).unwrap();
        let (low, high) = (changed.min().double_value(&[]), changed.max().double_value(&[]));
        assert!(low > 69.99 && low < 71.0 && high < 130.01 && high > 129.0, "{low} to {high}");
    }

    #[test]
    fn the_chosen_images_become_grey() {
        tch::manual_seed(4);
        let images = Tensor::rand([2000, 3, 2, 2], (Kind::Float, Device::Cpu)) * 255.0;
        let augmentation = Augmentation { greyscale: 0.3, ..Augmentation::default() };
        let changed = recoloured(&images, &ColorJitter::default(), &augmentation).unwrap();
        let spread = (changed.amax([1], false) - changed.amin([1], false)).amax([1, 2], false);
        let share = spread.lt(1e-3).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!((share - 0.3).abs() < 0.05, "{share}");
    }
}
