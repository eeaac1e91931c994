//! The model that the program carries in itself, so that it is of use on a fresh machine with no set-up at all.
//!
//! It is `models/pretrained/mnist-quick.onnx` (digits, trained on MNIST) unless `deploy` was built with another one:
//! `build.rs` chooses it and checks that it is a whole ONNX file with a model card.

/// What messages call it.
pub const NAME: &str = concat!(env!("DEPLOY_MODEL_NAME"), " (embedded)");

/// The file.
pub const MODEL: &[u8] = include_bytes!(env!("DEPLOY_MODEL_FILE"));
