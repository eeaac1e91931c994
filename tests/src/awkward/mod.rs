//! Generates images of digits as users take them, the same ones on every machine.
//!
//! A [`kinds::Kind`] makes its images one by one, each as a file in memory with the digit it shows. A [`shape`] (from
//! MNIST's test set or a font) is painted into a [`scene`], lit by a [`light`], photographed and `encode`d. [`sheet`]
//! shows the images beside the network's inputs.

mod encode;
pub mod kinds;
pub mod light;
pub mod random;
pub mod scene;
pub mod shape;
pub mod sheet;
mod source;
pub mod texture;

pub use source::Sources;

/// One image.
pub struct Specimen {
    /// The digit it shows.
    pub label: u8,
    /// The source of the digit: a font's name, or `MNIST 123`.
    pub origin: String,
    /// The image file.
    pub bytes: Vec<u8>,
}
