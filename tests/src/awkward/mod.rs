//! Pictures of digits as people have them, made by program: the same ones on every machine.
//!
//! A [`kinds::Kind`] makes its pictures one by one, each a file in memory with the digit that is on it: a [`shape`]
//! (from MNIST's test set or a font) is painted into a [`scene`], lit by a [`light`], photographed and `encode`d.
//! [`sheet`] shows them beside what the network saw.

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

/// One picture.
pub struct Specimen {
    /// The digit on it.
    pub label: u8,
    /// What the digit is from: a font's name, or `MNIST 123`.
    pub origin: String,
    /// The picture file.
    pub bytes: Vec<u8>,
}
