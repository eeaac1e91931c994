//! Random augmentation of batches of training images, on the device.
//!
//! * `drawing`: changes strokes, sharpness and brightness at the images' own size; `lines` adds lines.
//! * `colour`: changes colours.
//! * `geometry`: moves, turns, bends, crops and mirrors images while resizing them to the network's resolution.
//! * `mixing`: blends images of a batch, and their classes.
//!
//! Random numbers are always drawn on the CPU, so that a seed gives the same images on every device.

mod colour;
mod drawing;
mod geometry;
mod lines;
mod mixing;

pub use geometry::moved;
pub use mixing::mixed;

use crate::recipe::{Augmentation, ColorJitter};
use anyhow::Result;
use models::card::Polarity;
use tch::{Device, Kind, Tensor};

/// Smallest and largest share of the image that random erasing removes, and the smallest aspect ratio of the rectangle
/// (the largest is its inverse): the values of the paper and of torchvision's `RandomErasing`.
const ERASED_AREA: (f64, f64) = (0.02, 0.33);
const ERASED_ASPECT: f64 = 0.3;

impl Augmentation {
    /// Whether any geometric change is enabled.
    #[must_use]
    pub fn moves(&self) -> bool {
        let Self {
            rotation,
            scale,
            shift,
            shear,
            elastic,
            aspect,
            erasing: _,
            stroke_width: _,
            low_resolution: _,
            blur: _,
            contrast: _,
            grain: _,
            lines: _,
            horizontal_flip,
            vertical_flip,
            random_crop,
            greyscale: _,
            mixup: _,
            cutmix: _,
        } = *self;
        [rotation, scale, shift, shear, elastic, aspect, horizontal_flip, vertical_flip, random_crop]
            .into_iter()
            .any(|range| range > 0.0)
    }

    /// Whether images are mixed with each other.
    #[must_use]
    pub fn mixes(&self) -> bool {
        self.mixup > 0.0 || self.cutmix > 0.0
    }

    /// Whether any change of strokes, sharpness or brightness is enabled.
    #[must_use]
    pub fn draws(&self) -> bool {
        let Self { stroke_width, low_resolution, blur, contrast, grain, lines, .. } = *self;
        [stroke_width, low_resolution, blur, contrast, grain, lines].into_iter().any(|chance| chance > 0.0)
    }
}

/// Changes strokes, sharpness and brightness of `images` `[N, C, H, W]`, u8 or float, 0 to 255, whose ink has this
/// `polarity`. Returns floats.
pub fn drawn(images: &Tensor, augmentation: &Augmentation, polarity: Polarity) -> Result<Tensor> {
    let images = light_on_dark(&images.f_to_kind(Kind::Float)?, polarity)?;
    light_on_dark(&drawing::drawn(&images, augmentation)?, polarity)
}

/// Changes the colours of `images` `[N, C, H, W]`, u8 or float, 0 to 255.
pub fn recoloured(images: &Tensor, jitter: &ColorJitter, augmentation: &Augmentation) -> Result<Tensor> {
    if jitter.changes() || augmentation.greyscale > 0.0 {
        colour::recoloured(images, jitter, augmentation)
    } else {
        Ok(images.shallow_clone())
    }
}

/// Inverts float images from 0 to 255 if their ink is dark; a second call inverts them back.
pub fn light_on_dark(images: &Tensor, polarity: Polarity) -> Result<Tensor> {
    Ok(match polarity {
        Polarity::LightOnDark => images.shallow_clone(),
        Polarity::DarkOnLight => images.f_neg()?.f_add_scalar(255.0)?,
    })
}

/// Sets one random rectangle of each image to 0, with the given probability (Zhong et al., arXiv 1708.04896).
/// On normalised images 0 is the mean.
pub fn erase(images: &Tensor, probability: f64) -> Result<Tensor> {
    let (count, _, height, width) = images.size4()?;
    let uniform = |low: f64, high: f64| -> Result<Tensor> {
        Ok(Tensor::f_empty([count], (Kind::Float, Device::Cpu))?.f_uniform_(low, high)?)
    };
    let chosen = uniform(0.0, 1.0)?.f_lt(probability)?;
    let area = uniform(ERASED_AREA.0, ERASED_AREA.1)?;
    let aspect = uniform(ERASED_ASPECT.ln(), -ERASED_ASPECT.ln())?.f_exp()?;
    // The sides as shares of the image's sides, clamped to 1.
    let tall = area.f_mul(&aspect)?.f_sqrt()?.f_clamp(0.0, 1.0)?.f_mul(&chosen.f_to_kind(Kind::Float)?)?;
    let wide = area.f_div(&aspect)?.f_sqrt()?.f_clamp(0.0, 1.0)?;
    let inside = |side: &Tensor, extent: i64| -> Result<Tensor> {
        let start = uniform(0.0, 1.0)?.f_mul(&(side.f_neg()?.f_add_scalar(1.0)?))?.f_mul_scalar(extent as f64)?;
        let end = start.f_add(&side.f_mul_scalar(extent as f64)?)?;
        let centres = Tensor::f_arange(extent, (Kind::Float, Device::Cpu))?.f_add_scalar(0.5)?.f_view([1, extent])?;
        Ok(centres
            .f_ge_tensor(&start.f_view([count, 1])?)?
            .f_logical_and(&centres.f_lt_tensor(&end.f_view([count, 1])?)?)?)
    };
    let rows = inside(&tall, height)?.f_view([count, 1, height, 1])?;
    let columns = inside(&wide, width)?.f_view([count, 1, 1, width])?;
    let erased = rows.f_logical_and(&columns)?.f_to(images.device())?;
    Ok(images.f_masked_fill(&erased, 0.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixel values stay in range for every size and number of channels.
    #[test]
    fn images_of_any_form_stay_in_range() {
        tch::manual_seed(9);
        let augmentation = Augmentation {
            stroke_width: 0.7,
            low_resolution: 0.7,
            blur: 0.7,
            contrast: 0.7,
            grain: 0.7,
            lines: 0.7,
            ..Augmentation::default()
        };
        for shape in [[40, 1, 8, 8], [40, 1, 28, 28], [4, 3, 30, 57], [2, 1, 224, 224]] {
            let images = Tensor::randint(256, shape, (Kind::Uint8, Device::Cpu));
            let changed = drawn(&images, &augmentation, Polarity::LightOnDark).unwrap();
            assert_eq!((changed.size(), changed.kind()), (shape.to_vec(), Kind::Float));
            let (low, high) = (changed.min().double_value(&[]), changed.max().double_value(&[]));
            assert!(low >= 0.0 && high <= 255.0 + 1e-3, "{low} to {high}");
        }
    }

    #[test]
    fn erasing_takes_one_rectangle_of_the_chosen_images() {
        tch::manual_seed(5);
        let images = Tensor::ones([2000, 1, 32, 32], (Kind::Float, Device::Cpu));
        let share = |probability: f64| {
            let kept = erase(&images, probability).unwrap().mean_dim([1_i64, 2, 3].as_slice(), false, Kind::Float);
            (kept.lt(1.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]), kept.min().double_value(&[]))
        };
        assert_eq!(share(0.0).0, 0.0);
        let (erased, least_kept) = share(0.5);
        assert!((erased - 0.5).abs() < 0.05, "{erased}");
        assert!(least_kept > 0.6, "{least_kept}");
    }
}
