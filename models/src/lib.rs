//! What training and deployment must agree on.
//!
//! * [`architecture`]: MobileNetV1 as data; [`cost`] counts its multiply-adds and parameters.
//! * [`card`]: the model card, the contract that travels inside the ONNX file ([`onnx`]).
//! * [`picture`]: a picture file becomes the network's input; [`digit`]: how a picture of a digit does.
//! * [`preprocess`]: the first nodes of a graph, for graphs that were exported without them.
//! * [`dataset`] and [`idx`]: labelled pictures from disk; [`fingerprint`] tells whether they changed.
//! * [`evaluation`]: what a classifier's answers are worth.
//! * [`files`]: files written whole or not at all, and where `scripts/setup` puts what it fetched.

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
