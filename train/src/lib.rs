//! Builds MobileNetV1 with libtorch, trains it and exports it to ONNX.
//!
//! How a run works: a [`recipe`] holds the settings. [`data`] keeps the raw images on the device and makes augmented
//! batches ([`augment`]). The [`network`] is built from [`models::architecture`]. The [`trainer`] drives [`schedule`]
//! and [`optimizer`], and writes complete [`checkpoint`]s into the [`run`] folder. [`export`] turns a checkpoint into a
//! self-contained ONNX file and verifies it. [`report`], [`mod@compare`] and [`tensorboard`] show the results. The
//! [`lock`] lets only one process at a time train a run; [`interrupt`] handles signals.

pub mod augment;
pub mod checkpoint;
pub mod cli;
pub mod compare;
pub mod data;
pub mod device;
pub mod evaluate;
pub mod export;
pub mod flat;
pub mod interrupt;
pub mod lock;
pub mod memory;
pub mod network;
pub mod optimizer;
pub mod progress;
pub mod recipe;
pub mod report;
pub mod run;
pub mod schedule;
pub mod seed;
pub mod source;
pub mod summary;
pub mod tensorboard;
pub mod trainer;
