//! The model that the program carries in itself, so that it is of use on a fresh machine with no set-up at all.

/// What messages call it.
pub const NAME: &str = "mnist-quick (embedded)";

/// The file `models/pretrained/mnist-quick.onnx`: digits, trained on MNIST.
pub const MNIST_QUICK: &[u8] = include_bytes!("../../models/pretrained/mnist-quick.onnx");
