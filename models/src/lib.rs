//! Everything that training and deployment must agree on: the network, the file, and how an image becomes its input.
//!
//! Start reading at [`architecture::Architecture`], the only definition of the network, and at [`card::ModelCard`],
//! which `train` writes into the ONNX file and `deploy` reads. The modules work together like this:
//!
//! 1. [`dataset`] lists and reads labelled images on disk, with [`idx`] for IDX files and [`image_file`] for image files.
//!    [`fingerprint`] detects when they change.
//! 2. [`image_file`] turns an image file into the network's input, the same way in training and deployment. [`digit`] does
//!    so for images of a single digit, if the [`card`] says that the model expects one.
//! 3. [`architecture`] lists the network's layers; [`cost`] counts their multiply-adds and parameters.
//! 4. [`onnx`] reads the exported file, and refuses what cannot run safely. [`preprocess`] does in Rust what the first
//!    nodes of the graph do, for graphs exported without them.
//! 5. [`evaluation`] computes accuracy, confusion, calibration and the other metrics of a classifier.
//! 6. [`files`] writes files atomically, and knows where `scripts/setup` puts its downloads.
//!
//! `models/README.md` follows an image through all of this, and says how to add an image format, a data set or an
//! architecture.

pub mod architecture;
pub mod card;
pub mod cost;
pub mod dataset;
pub mod digit;
pub mod evaluation;
pub mod files;
pub mod fingerprint;
pub mod idx;
pub mod image_file;
pub mod onnx;
pub mod preprocess;
