//! The model embedded in the program, so that it works on a fresh machine without any set-up.
//!
//! It is `models/pretrained/mnist-quick.onnx` (digits, trained on MNIST) unless `deploy` was built with another one.
//! `build.rs` chooses it and checks that it is a complete ONNX file with a model card.

/// Its name in messages.
pub const NAME: &str = concat!(env!("DEPLOY_MODEL_NAME"), " (embedded)");

/// Its name without the addition.
pub const MODEL_NAME: &str = env!("DEPLOY_MODEL_NAME");

/// The bytes of the ONNX file.
pub const MODEL: &[u8] = include_bytes!(env!("DEPLOY_MODEL_FILE"));
