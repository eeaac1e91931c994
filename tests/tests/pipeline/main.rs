//! The whole pipeline on real MNIST: parity of libtorch, tract and ONNX Runtime, the programs as a user runs them, and
//! their response to broken input.

mod bad_input;
mod calibration;
mod explain;
mod export;
mod parity;
mod user;
