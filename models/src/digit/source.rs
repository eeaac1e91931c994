//! The original image, and planes of brightness and colour made from it.

use super::plane::{Area, Plane, resampled};
use image::{DynamicImage, GrayImage, RgbImage};
use std::borrow::Cow;

/// Pixels whose red, green and blue differ by less than this look grey. JPEG compression causes such differences too.
const COLOURFUL: f32 = 16.0;

/// Weights of red, green and blue in the brightness (Rec. 709).
const BRIGHTNESS: [f32; 3] = [0.2126, 0.7152, 0.0722];

/// An image with 8 bits per channel.
pub(super) enum Original<'a> {
    Grey(Cow<'a, GrayImage>),
    Colour(Cow<'a, RgbImage>),
}

impl<'a> Original<'a> {
    pub fn new(image: &'a DynamicImage) -> Self {
        match image {
            DynamicImage::ImageLuma8(image) => Self::Grey(Cow::Borrowed(image)),
            DynamicImage::ImageRgb8(image) => Self::Colour(Cow::Borrowed(image)),
            other if other.color().has_color() => Self::Colour(Cow::Owned(other.to_rgb8())),
            other => Self::Grey(Cow::Owned(other.to_luma8())),
        }
    }

    pub fn size(&self) -> (usize, usize) {
        let (width, height) = match self {
            Self::Grey(image) => image.dimensions(),
            Self::Colour(image) => image.dimensions(),
        };
        (width as usize, height as usize)
    }

    /// A part of the image at another size: its brightness, 0 to 255, then red, green and blue if the part is coloured.
    pub fn planes(&self, area: Area, size: (usize, usize)) -> Vec<Plane> {
        let channels: [Plane; 3] = match self {
            Self::Grey(image) => {
                let [grey] = resampled(image.as_raw(), self.size(), area, size);
                return vec![grey];
            }
            Self::Colour(image) => resampled(image.as_raw(), self.size(), area, size),
        };
        let [red, green, blue] = &channels;
        let least = red.zip(green, f32::min).zip(blue, f32::min);
        let most = red.zip(green, f32::max).zip(blue, f32::max);
        let colourful = most.zip(&least, |most, least| most - least).reaches(0.999, COLOURFUL);
        let weighted = channels.iter().zip(BRIGHTNESS).map(|(plane, weight)| plane.map(|level| level * weight));
        let mut planes: Vec<Plane> =
            weighted.reduce(|sum, plane| sum.zip(&plane, |sum, level| sum + level)).into_iter().collect();
        if colourful {
            planes.extend(channels);
        }
        planes
    }
}
