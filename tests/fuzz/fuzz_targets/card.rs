//! Any bytes as a model card, which a model carries as JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use models::card::ModelCard;
use models::cost;
use models::onnx::proto::ModelProto;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(card) = ModelCard::parse(&String::from_utf8_lossy(bytes)) {
        // What is read can be counted, embedded and read again.
        card.network().map(|network| cost::count(&network.layers())).ok();
        let mut model = ModelProto::default();
        card.embed(&mut model).unwrap();
        assert_eq!(ModelCard::from_model(&model).unwrap(), Some(card));
    }
});
