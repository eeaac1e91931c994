//! The picture as it came, and the planes that are made of it.

use super::plane::{Area, Plane, resampled};
use image::{DynamicImage, GrayImage, RgbImage};
use std::borrow::Cow;

/// Pixels in which red, green and blue differ by less than this are grey to the eye, and to a JPEG.
const COLOURFUL: f32 = 16.0;

/// The weights of red, green and blue in brightness (Rec. 709).
const BRIGHTNESS: [f32; 3] = [0.2126, 0.7152, 0.0722];

/// A picture of 8 bits.
pub(super) enum Source<'a> {
    Grey(Cow<'a, GrayImage>),
    Colour(Cow<'a, RgbImage>),
}

impl<'a> Source<'a> {
    pub fn new(picture: &'a DynamicImage) -> Self {
        match picture {
            DynamicImage::ImageLuma8(picture) => Self::Grey(Cow::Borrowed(picture)),
            DynamicImage::ImageRgb8(picture) => Self::Colour(Cow::Borrowed(picture)),
            other if other.color().has_color() => Self::Colour(Cow::Owned(other.to_rgb8())),
            other => Self::Grey(Cow::Owned(other.to_luma8())),
        }
    }

    pub fn size(&self) -> (usize, usize) {
        let (width, height) = match self {
            Self::Grey(picture) => picture.dimensions(),
            Self::Colour(picture) => picture.dimensions(),
        };
        (width as usize, height as usize)
    }

    /// A part at another size: brightness 0…255, and red, green and blue if it is in colour.
    pub fn planes(&self, area: Area, size: (usize, usize)) -> Vec<Plane> {
        let channels: [Plane; 3] = match self {
            Self::Grey(picture) => {
                let [grey] = resampled(picture.as_raw(), self.size(), area, size);
                return vec![grey];
            }
            Self::Colour(picture) => resampled(picture.as_raw(), self.size(), area, size),
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
