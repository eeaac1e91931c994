//! Any bytes as an ONNX file. The mutator knows the format: most changes of libFuzzer's own yield no protobuf message.
#![no_main]

use fuzz::{choices::Choices, hostile, load};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use models::onnx::proto::ModelProto;
use prost::Message;

fuzz_target!(|bytes: &[u8]| load(bytes));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let model = if seed % 3 == 0 { None } else { ModelProto::decode(&data[..size]).ok() };
    if let Some(mut model) = model.filter(|model| model.graph.is_some()) {
        let choices = fuzz::choices::bytes(u64::from(seed), 128);
        hostile::change(&mut model, &mut Choices(&choices));
        let changed = model.encode_to_vec();
        if changed.len() <= max_size {
            data[..changed.len()].copy_from_slice(&changed);
            return changed.len();
        }
    }
    fuzzer_mutate(data, size, max_size)
});
