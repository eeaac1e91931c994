//! Chooses the model that is embedded in the program: `models/pretrained/mnist-quick.onnx`, or the file that the
//! environment variable `DEPLOY_MODEL` names when `deploy` is built.
//!
//! A file that the program could not run is refused here instead of on the board.

use prost::Message;
use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const VARIABLE: &str = "DEPLOY_MODEL";
const DEFAULT: &str = "../models/pretrained/mnist-quick.onnx";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let given = env::var_os(VARIABLE).filter(|path| !path.is_empty());
    let path = given
        .map_or_else(|| Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join(DEFAULT), PathBuf::from);
    match embed(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("cargo::error={} cannot be embedded: {reason}", path.display());
            ExitCode::FAILURE
        }
    }
}

/// Checks the file and tells `src/embedded.rs` where it is.
fn embed(path: &Path) -> Result<(), String> {
    if !path.is_absolute() {
        return Err(format!("{VARIABLE}: expected an absolute path, because cargo builds in other folders"));
    }
    let name = path.file_stem().and_then(|name| name.to_str()).ok_or("its name is not valid Unicode")?;
    println!("cargo::rerun-if-changed={}", path.display());
    let foreign = ["CARGO_FEATURE_ONNX", "CARGO_FEATURE_ORT"].iter().any(|feature| env::var_os(feature).is_some());
    check(&std::fs::read(path).map_err(|error| error.to_string())?, foreign)?;
    println!("cargo::rustc-env=DEPLOY_MODEL_FILE={}", path.display());
    println!("cargo::rustc-env=DEPLOY_MODEL_NAME={name}");
    Ok(())
}

/// Decodes the outermost fields of the ONNX file (a protobuf `ModelProto`), which fails if the file is cut short. The
/// card must be there because without it the image preparation would be a guess. `foreign` says whether the program has
/// an engine for files that `train export` did not write.
///
/// The crate `models` reads all of it, but as a build dependency it would be compiled twice for every build.
pub fn check(file: &[u8], foreign: bool) -> Result<(), String> {
    let Outline { producer, graph, metadata } = Outline::decode(file).map_err(|_| "it is not a complete ONNX file")?;
    if graph.is_none() {
        return Err("it is not an ONNX file: it has no graph".to_owned());
    }
    if !metadata.iter().any(|entry| entry.key == "model_card") {
        return Err("it has no model card: use a file written by `train export`".to_owned());
    }
    if !foreign && producer != b"train" {
        return Err("without the features onnx and ort, the program runs only files of `train export`".to_owned());
    }
    Ok(())
}

/// A `ModelProto` with the fields that are checked; the decoder skips the others.
#[derive(Message)]
struct Outline {
    #[prost(bytes = "vec", tag = "2")]
    producer: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "7")]
    graph: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "14")]
    metadata: Vec<Entry>,
}

#[derive(Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
}
