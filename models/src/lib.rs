//! Everything that training and deployment must agree on.
//!
//! * [`architecture`]: MobileNetV1 as data; [`cost`] counts its multiply-adds and parameters.
//! * [`card`]: the model card, the contract that travels inside the ONNX file ([`onnx`]).
//! * [`picture`]: turns an image file into the network's input; [`digit`] does so for images of a single digit.
//! * [`preprocess`]: the first nodes of a graph, in Rust, for graphs exported without them.
//! * [`dataset`] and [`idx`]: labelled images on disk; [`fingerprint`] detects when they change.
//! * [`evaluation`]: accuracy, confusion, calibration and the other metrics of a classifier.
//! * [`files`]: atomic file writes, and where `scripts/setup` puts its downloads.

pub mod architecture;
pub mod card;
pub mod cost;
pub mod dataset;
pub mod digit;
pub mod evaluation;
pub mod files;
pub mod fingerprint;
pub mod idx;
pub mod onnx;
pub mod picture;
pub mod preprocess;
