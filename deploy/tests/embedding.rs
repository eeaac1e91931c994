//! What the build script refuses to embed.

#[allow(dead_code)]
#[path = "../build.rs"]
mod build;

use deploy::embedded::MODEL;
use models::onnx;

fn refused(bytes: &[u8]) -> String {
    build::check(bytes, true).unwrap_err()
}

#[test]
fn only_whole_files_with_a_card_are_embedded() {
    assert_eq!(build::check(MODEL, true), Ok(()));
    for length in [1, 100, MODEL.len() / 2, MODEL.len() - 1] {
        assert_eq!(refused(&MODEL[..length]), "it is not a complete ONNX file", "{length} bytes");
    }
    // The first two bytes are a complete protobuf field.
    for other in [&b""[..], &MODEL[..2], b"no model at all", b"\x89PNG\r\n\x1a\n"] {
        assert!(refused(other).starts_with("it is not a"), "{other:?}");
    }
    let mut model = onnx::parse(MODEL).unwrap();
    model.producer_name = "pytorch".to_owned();
    assert!(build::check(&onnx::encode(&model), false).unwrap_err().contains("without the features onnx and ort"));
    model.metadata_props.clear();
    assert!(refused(&onnx::encode(&model)).contains("no model card"));
    model.graph = None;
    assert!(refused(&onnx::encode(&model)).contains("no graph"));
}
