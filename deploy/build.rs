//! Chooses the model that the program carries in itself: `models/pretrained/mnist-quick.onnx`, or the file that the
//! environment variable `DEPLOY_MODEL` names when `deploy` is built.
//!
//! What no one could run is refused here, and not on the board.

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
        return Err(format!("{VARIABLE} needs an absolute path, because cargo builds in folders of its own"));
    }
    let name = path.file_stem().and_then(|name| name.to_str()).ok_or("its name is no Unicode")?;
    println!("cargo::rerun-if-changed={}", path.display());
    check(&std::fs::read(path).map_err(|error| error.to_string())?)?;
    println!("cargo::rustc-env=DEPLOY_MODEL_FILE={}", path.display());
    println!("cargo::rustc-env=DEPLOY_MODEL_NAME={name}");
    Ok(())
}

/// Decodes the outermost fields of the ONNX file (a protobuf `ModelProto`), which fails if the file is cut short. The card
/// must be there because without it pictures are prepared by guess.
///
/// The crate `models` reads all of it, but as a build dependency it would be compiled twice for every build.
pub fn check(file: &[u8]) -> Result<(), String> {
    let Outline { graph, metadata } = Outline::decode(file).map_err(|_| "it is no whole ONNX file")?;
    if graph.is_none() {
        return Err("it is no ONNX file: it holds no graph".to_owned());
    }
    if !metadata.iter().any(|entry| entry.key == "model_card") {
        return Err("it has no model card: take a file that `train export` wrote".to_owned());
    }
    Ok(())
}

/// A `ModelProto` with the fields that are checked; the decoder skips the others.
#[derive(Message)]
struct Outline {
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
