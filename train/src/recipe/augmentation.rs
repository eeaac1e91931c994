//! The parts of a recipe that change the training images and add others to them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Random changes to the training images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Rotation by up to this many degrees to either side.
    #[schemars(range(min = 0, max = 180))]
    pub rotation: f64,
    /// Scaling by up to this share: 0.1 means 0.9 to 1.1 times the size.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub scale: f64,
    /// Shift by up to this share of the image in both directions.
    #[schemars(range(min = 0, max = 1))]
    pub shift: f64,
    /// Shear by up to this many degrees to either side.
    #[schemars(range(min = 0, max = 60))]
    pub shear: f64,
    /// Standard deviation of a smooth random displacement, as a share of the image: strokes bend (Simard, Steinkraus,
    /// Platt 2003, "Best practices for convolutional neural networks applied to visual document analysis").
    #[schemars(range(min = 0, max = 1))]
    pub elastic: f64,
    /// Probability that a rectangle of the image is erased (Zhong et al., arXiv 1708.04896).
    #[schemars(range(min = 0, max = 1))]
    pub erasing: f64,
    /// Stretching of the width by up to e to the power of this, while the height shrinks as much, or the other way
    /// round.
    // This key and those below are missing from checkpoints of earlier versions.
    #[serde(default)]
    #[schemars(!default, range(min = 0, max = 1))]
    pub aspect: f64,
    /// Probability that strokes become up to one pixel of 28 thicker, or half a pixel thinner, on either side.
    #[serde(default)]
    #[schemars(!default, range(min = 0, max = 1))]
    pub stroke_width: f64,
    /// Probability that the image is reduced to between a quarter and half of its pixels per side, and enlarged again.
    #[serde(default)]
    #[schemars(!default, range(min = 0, max = 1))]
    pub low_resolution: f64,
    /// Probability of a Gaussian blur with a standard deviation of up to one pixel of 28.
    #[serde(default)]
    #[schemars(!default, range(min = 0, max = 1))]
    pub blur: f64,
    /// Probability that brightness is raised to a power from 0.6 to 1.65 and dimmed by up to 40 %.
    #[serde(default)]
    #[schemars(!default, range(min = 0, max = 1))]
    pub contrast: f64,
    /// Probability that up to 60 % of the ink is missing from pixels at random, with faint noise everywhere.
    #[serde(default)]
    #[schemars(!default, range(min = 0, max = 1))]
    pub grain: f64,
    /// Probability of lines along one to four edges: the rest of a frame or of ruled paper.
    #[serde(default)]
    #[schemars(!default, range(min = 0, max = 1))]
    pub lines: f64,
    /// Probability that the image is mirrored, left to right (torchvision's `RandomHorizontalFlip`).
    #[serde(default)]
    #[schemars(!default, range(min = 0, max = 1))]
    pub horizontal_flip: f64,
    /// Probability that the image is turned upside down by mirroring (torchvision's `RandomVerticalFlip`).
    #[serde(default)]
    #[schemars(!default, range(min = 0, max = 1))]
    pub vertical_flip: f64,
    /// Smallest share of the image's area that a random crop keeps. The crop has an aspect ratio from 3/4 to 4/3 and is
    /// resized to the whole image (torchvision's `RandomResizedCrop`). 0: no crop.
    #[serde(default)]
    #[schemars(!default, range(min = 0, max = 1))]
    pub random_crop: f64,
    /// Probability that a colour image becomes grey (torchvision's `RandomGrayscale`).
    #[serde(default)]
    #[schemars(!default, range(min = 0, max = 1))]
    pub greyscale: f64,
    /// `MixUp` (Zhang et al., arXiv 1710.09412): every image is blended with another one, and so are their classes. The
    /// larger, the more; 0.2 is usual, 0 is off. It is α of the Beta distribution of the shares.
    #[serde(default)]
    #[schemars(!default, range(min = 0, max = 100))]
    pub mixup: f64,
    /// `CutMix` (Yun et al., arXiv 1905.04899): every image gets a rectangle of another one, and a share of its class.
    /// 1 is usual, 0 is off. With `mixup`, each batch uses one of the two. It is α of the Beta distribution of the
    /// shares.
    #[serde(default)]
    #[schemars(!default, range(min = 0, max = 100))]
    pub cutmix: f64,
}

/// Random changes of colour, as torchvision's `ColorJitter` makes them. All zero: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColorJitter {
    /// Brightness is multiplied by 1 ± up to this.
    #[schemars(range(min = 0, max = 10))]
    pub brightness: f64,
    /// The distance to the image's mean grey is multiplied by 1 ± up to this.
    #[schemars(range(min = 0, max = 10))]
    pub contrast: f64,
    /// The distance to each pixel's own grey is multiplied by 1 ± up to this. Colour images only.
    #[schemars(range(min = 0, max = 10))]
    pub saturation: f64,
    /// Hue is turned by up to this share of the colour wheel to either side. Colour images only.
    #[schemars(range(min = 0, max = 0.5))]
    pub hue: f64,
}

impl ColorJitter {
    /// Whether any change is enabled.
    #[must_use]
    pub fn changes(&self) -> bool {
        *self != Self::default()
    }
}

/// Images of none of the classes in every batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutlierRecipe {
    /// Outliers per training image: 0.2 adds 26 to a batch of 128. They need grey images. 0: none.
    #[schemars(range(min = 0, max = 1))]
    pub share: f64,
    /// Weight of their loss, to which the images' loss is added with weight 1.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub weight: f64,
}

impl Default for OutlierRecipe {
    fn default() -> Self {
        Self { share: 0.0, weight: 0.5 }
    }
}

impl OutlierRecipe {
    /// The number of outliers in a batch of this many images: at least one unless they are off.
    #[must_use]
    pub fn count(&self, images: usize) -> usize {
        if self.share > 0.0 { ((self.share * images as f64).round() as usize).max(1) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_are_a_share_of_the_batch() {
        let count = |share, images| OutlierRecipe { share, weight: 1.0 }.count(images);
        assert_eq!((count(0.2, 128), count(0.2, 64), count(0.2, 2), count(0.0, 128)), (26, 13, 1, 0));
    }
}
