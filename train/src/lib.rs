//! Builds MobileNetV1 with libtorch, trains it and exports it to ONNX.
//!
//! Start reading at [`trainer::Trainer::run`], the training loop, and at [`export`], which explains the graph node by
//! node. How a run works:
//!
//! 1. [`recipe`] holds the settings: a built-in recipe or a file, changed by the flags of [`cli`].
//! 2. [`source`] reads the data set. [`data`] keeps the raw images on the device and makes batches, which [`augment`]
//!    changes at random and to which [`outliers`] adds images of none of the classes. [`random`] draws the numbers,
//!    [`seed`] derives all of them from the run's seed.
//! 3. [`network`] builds the network from [`models::architecture`]; [`flat`] keeps its parameters in one tensor.
//! 4. [`trainer`] drives [`schedule`] and [`optimizer`], tests the network with [`mod@evaluate`], and writes complete
//!    [`checkpoint`]s into the folder of the [`run`].
//! 5. [`export`] calibrates a checkpoint's probabilities ([`temperature`]), turns it into a self-contained ONNX file, and
//!    compares the file with the network in every engine.
//! 6. [`report`], [`mod@compare`], [`tensorboard`] and [`progress`] show the results; [`summary`] shows a network.
//!
//! [`lock`] lets only one process at a time train a run, [`interrupt`] handles signals, [`device`] chooses where
//! libtorch computes, and [`memory`] keeps freed memory for the next step.
//!
//! `train/README.md` describes the commands and how to add a recipe or an augmentation.

pub mod augment;
pub mod checkpoint;
pub mod cli;
pub mod compare;
pub mod data;
pub mod device;
pub mod evaluate;
pub mod export;
pub mod flat;
pub mod import;
pub mod interrupt;
pub mod lock;
pub mod memory;
pub mod network;
pub mod optimizer;
pub mod outliers;
pub mod pretrained;
pub mod progress;
pub mod random;
pub mod recipe;
pub mod report;
pub mod run;
pub mod schedule;
pub mod seed;
pub mod source;
pub mod summary;
pub mod temperature;
pub mod tensorboard;
pub mod trainer;
