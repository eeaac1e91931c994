//! Builds MobileNetV1 with libtorch, trains it and exports it to ONNX.
//!
//! The way of a run: a [`recipe`] says what to do; [`data`] lies on the device as bytes and becomes augmented batches
//! ([`augment`]); the [`network`] is built from [`models::architecture`]; the [`trainer`] drives [`schedule`] and
//! [`optimizer`], and writes a [`checkpoint`] that holds everything into the [`run`] folder; [`export`] turns a
//! checkpoint into a self-contained ONNX file and proves it. [`report`], [`mod@compare`] and
//! [`tensorboard`] show what came of it. Of a run's folder one process at a time has the [`lock`]; signals are for
//! [`interrupt`].

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
