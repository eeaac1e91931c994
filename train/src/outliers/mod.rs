//! Outliers: images that show none of the classes, drawn from random numbers for every batch. The network learns to
//! answer them with equal probabilities (outlier exposure: Hendrycks et al., arXiv 1812.04606), so that the energy of
//! its logits separates what it knows from anything else.
//!
//! One file per family of images; all draw whole batches at once on a `Canvas`, on the CPU and light on dark.
//! Only `pieces` uses the training images, and only `strokes` takes care not to draw digits. Shapes are fixed by
//! construction, so the operators of tensors, which panic where the `f_` functions return errors, keep the formulas
//! readable.

mod blobs;
mod canvas;
mod noise;
mod pieces;
mod profiles;
mod strokes;
mod textures;

use crate::random::Random;
use anyhow::{Result, ensure};
use canvas::Canvas;
use models::card::Input;
use tch::{Device, Kind, Tensor};

/// Smallest height and width of images that outliers can be drawn for, in pixels.
const SMALLEST: usize = 8;

/// A family of outliers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Glyphs,
    Scratches,
    Pieces,
    Blobs,
    Profiles,
    Textures,
    Noise,
}

/// The share of each family, in parts.
const MIX: [(Family, i64); 7] = [
    (Family::Glyphs, 10),
    (Family::Scratches, 1),
    (Family::Pieces, 3),
    (Family::Blobs, 4),
    (Family::Profiles, 5),
    (Family::Textures, 2),
    (Family::Noise, 1),
];

impl Family {
    /// Draws `n` images `[n, 1, H, W]`, 0 to 1. `images` are the batch's.
    fn draw(self, canvas: &Canvas, images: &Tensor, n: i64) -> Tensor {
        match self {
            Self::Glyphs => strokes::glyphs(canvas, n),
            Self::Scratches => strokes::scratches(canvas, n),
            Self::Pieces => pieces::pieces(canvas, images, n),
            Self::Blobs => blobs::blobs(canvas, n),
            Self::Profiles => profiles::profiles(canvas, n),
            Self::Textures => textures::textures(canvas, n),
            Self::Noise => noise::noise(canvas, n),
        }
    }
}

/// Errors if no outliers can be drawn for images of this form.
pub fn check(input: &Input) -> Result<()> {
    let Input { channels, height, width, .. } = *input;
    ensure!(
        channels == 1 && height.min(width) >= SMALLEST,
        "outliers can only be drawn for grey images of at least {SMALLEST}x{SMALLEST} px, but these are {} images of {width}x{height} px: set share = 0 in the recipe's [outliers]",
        if channels == 1 { "grey" } else { "colour" }
    );
    Ok(())
}

/// Draws `count` outliers `[count, 1, H, W]`, 0 to 255, on the device of the batch's float `images` `[N, 1, H, W]`, 0 to
/// 255. Both are light on dark.
pub fn draw(images: &Tensor, count: i64) -> Result<Tensor> {
    let (_, _, height, width) = images.size4()?;
    let (canvas, images) = (Canvas::new(height, width), images / 255.0);
    let drawn: Vec<Tensor> = numbers(count)
        .filter(|(_, number)| *number > 0)
        .map(|(family, number)| family.draw(&canvas, &images, number))
        .collect();
    Ok(Tensor::f_cat(&drawn, 0)?.f_mul_scalar(255.0)?.f_to(images.device())?)
}

/// The number of images of each family, `count` in all. Families that are due less than one image take turns at random.
fn numbers(count: i64) -> impl Iterator<Item = (Family, i64)> {
    let parts: i64 = MIX.iter().map(|(_, parts)| parts).sum();
    let offset = Random(Device::Cpu).index(&[1], parts).int64_value(&[0]);
    MIX.iter().scan((0, offset / parts), move |(sum, done), &(family, share)| {
        *sum += share;
        let due = (*sum * count + offset) / parts;
        let number = due - *done;
        *done = due;
        Some((family, number))
    })
}

/// The mean cross-entropy of the outliers' float `logits` `[N, classes]` to the uniform distribution, less its minimum,
/// ln(classes): 0 where all logits are equal.
pub fn loss(logits: &Tensor) -> Result<Tensor> {
    let classes = logits.size2()?.1 as f64;
    let entropy = logits.f_log_softmax(1, Kind::Float)?.f_mean(Kind::Float)?.f_neg()?;
    Ok(entropy.f_sub_scalar(classes.ln())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::card::Content;
    use std::collections::BTreeMap;

    fn value(tensor: &Tensor) -> f64 {
        tensor.double_value(&[])
    }

    #[test]
    fn outliers_have_the_form_of_the_images() {
        tch::manual_seed(2);
        for shape in [[5, 1, 28, 28], [64, 1, 8, 8], [9, 1, 20, 33], [2, 1, 64, 64]] {
            let images = Tensor::randint(256, shape, (Kind::Float, Device::Cpu));
            for count in [1, 13, 26] {
                let drawn = draw(&images, count).unwrap();
                assert_eq!((drawn.size(), drawn.kind()), (vec![count, 1, shape[2], shape[3]], Kind::Float));
                let (low, high) = (value(&drawn.min()), value(&drawn.max()));
                assert!(low >= 0.0 && high <= 255.001, "{low} to {high}");
            }
        }
    }

    #[test]
    fn a_batch_of_26_has_every_family_and_smaller_ones_have_all_in_turn() {
        assert!(numbers(26).eq(MIX) && numbers(52).eq(MIX.map(|(family, parts)| (family, 2 * parts))));
        let mut sums = BTreeMap::new();
        for _ in 0..2600 {
            let five: Vec<_> = numbers(5).collect();
            assert_eq!(five.iter().map(|(_, number)| number).sum::<i64>(), 5);
            for (family, number) in five {
                *sums.entry(format!("{family:?}")).or_insert(0) += number;
            }
        }
        for (family, parts) in MIX {
            let (found, due) = (f64::from(sums[&format!("{family:?}")] as u32), 500.0 * parts as f64);
            assert!((found - due).abs() < 0.15 * due + 60.0, "{family:?}: {found} instead of {due}");
        }
    }

    /// Mean brightness of each family, and roughly of its darkest and brightest images, as the same generators written in
    /// PyTorch 2.13.0 have in four batches of 500.
    #[test]
    fn families_are_as_bright_as_the_prototypes() {
        tch::manual_seed(3);
        let noise = Tensor::rand([64, 1, 28, 28], (Kind::Float, Device::Cpu));
        let images = &noise * noise.gt(0.78);
        let canvas = Canvas::new(28, 28);
        for (family, mean, slack, least, most) in [
            (Family::Glyphs, 0.126, 0.015, 0.02..0.07, 0.22..0.5),
            (Family::Scratches, 0.200, 0.06, 0.0..1e-6, 0.9..1.01),
            (Family::Pieces, 0.169, 0.03, 0.06..0.18, 0.2..0.36),
            (Family::Blobs, 0.290, 0.04, 0.0..0.08, 0.75..1.01),
            (Family::Profiles, 0.203, 0.03, 0.0..0.06, 0.45..0.9),
            (Family::Textures, 0.413, 0.05, 0.0..0.05, 0.9..1.01),
            (Family::Noise, 0.337, 0.06, 0.0..1e-6, 0.9..1.01),
        ] {
            let drawn = family.draw(&canvas, &images, 500);
            assert_eq!(drawn.size(), [500, 1, 28, 28]);
            let bright = drawn.mean_dim([1_i64, 2, 3].as_slice(), false, Kind::Double);
            let found = value(&bright.mean(Kind::Double));
            assert!((found - mean).abs() < slack, "{family:?}: mean {found}");
            for (found, range) in [(bright.min(), least), (bright.max(), most)] {
                assert!(range.contains(&value(&found)), "{family:?}: {} is not in {range:?}", value(&found));
            }
        }
    }

    /// The constants are lengths on 28 px: on a canvas of twice the size, glyphs cover the same share of it.
    #[test]
    fn outliers_scale_with_the_image() {
        tch::manual_seed(4);
        for family in [Family::Glyphs, Family::Profiles, Family::Blobs] {
            let ink = |side: i64| {
                let images = Tensor::zeros([1, 1, side, side], (Kind::Float, Device::Cpu));
                value(&family.draw(&Canvas::new(side, side), &images, 600).mean(Kind::Double))
            };
            let (small, large) = (ink(28), ink(56));
            assert!((small / large - 1.0).abs() < 0.15, "{family:?}: {small} and {large}");
        }
    }

    #[test]
    fn pieces_are_made_of_the_images() {
        let canvas = Canvas::new(28, 28);
        let black = Tensor::zeros([4, 1, 28, 28], (Kind::Float, Device::Cpu));
        assert_eq!(value(&pieces::pieces(&canvas, &black, 50).max()), 0.0);
    }

    #[test]
    fn colour_and_tiny_images_are_refused() {
        let input = |channels, side| Input::new(channels, side, 40, Content::Image);
        assert!(check(&input(1, 8)).is_ok());
        let message = check(&input(3, 40)).unwrap_err().to_string();
        assert!(message.contains("colour images of 40x40 px: set share = 0"), "{message}");
        assert!(check(&input(1, 7)).is_err());
    }

    #[test]
    fn equal_logits_have_no_loss() {
        let equal = Tensor::full([4, 10], 3.0, (Kind::Float, Device::Cpu));
        assert!(value(&loss(&equal).unwrap()).abs() < 1e-6);
    }

    /// Expected value: `F.cross_entropy(logits, torch.full((2, 3), 1 / 3)) - math.log(3)`, printed by PyTorch 2.13.0.
    #[test]
    fn the_loss_is_pytorchs_cross_entropy_to_the_uniform_distribution() {
        let logits = Tensor::from_slice(&[2.0_f32, -1.0, 0.5, 0.0, 3.0, 1.0]).view([2, 3]);
        assert!((value(&loss(&logits).unwrap()) - 0.690_300).abs() < 1e-5);
    }

    #[test]
    fn the_loss_moves_only_the_logits_of_outliers() {
        let logits = Tensor::randn([5, 10], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        loss(&logits.narrow(0, 3, 2)).unwrap().backward();
        let moved = logits.grad().abs().amax([1].as_slice(), false);
        assert_eq!(Vec::<bool>::try_from(moved.gt(0.0)).unwrap(), [false, false, false, true, true]);
    }
}
