//! Generates images of digits as users take them, and of other things, the same ones on every machine.
//!
//! A [`kinds::Kind`] makes its images one by one, each as a file in memory with what it shows. A [`shape`] (from
//! MNIST's test set or a font) is painted into a [`scene`], lit by a [`light`], photographed and `encode`d. [`sheet`]
//! shows the images beside the network's inputs.

pub mod answer;
mod encode;
pub mod kinds;
mod lettering;
pub mod light;
pub mod random;
pub mod scene;
pub mod shape;
pub mod sheet;
mod source;
pub mod texture;

use answer::Shows;
pub use source::{Needs, Sources};

/// One image.
pub struct Specimen {
    /// What it shows.
    pub shows: Shows,
    /// Its source: a font's name, `MNIST 123`, or a pattern's name.
    pub origin: String,
    /// The image file.
    pub bytes: Vec<u8>,
}

impl Specimen {
    /// An image of this digit.
    fn digit(label: u8, origin: String, bytes: Vec<u8>) -> Self {
        Self { shows: Shows::Digit(label), origin, bytes }
    }

    /// An image without a digit.
    fn no_digit(origin: String, bytes: Vec<u8>) -> Self {
        Self { shows: Shows::NoDigit, origin, bytes }
    }
}
