//! Any graph as an ONNX file: the bytes choose its operators, attributes, constants and shapes.
#![no_main]

use fuzz::{choices::Choices, hostile, load};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| load(&hostile::graph::model(&mut Choices(bytes)).encode_to_vec()));
