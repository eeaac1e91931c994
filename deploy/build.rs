//! Chooses the model that is embedded in the program: `models/pretrained/mnist-quick.onnx`, or the file that the
//! environment variable `DEPLOY_MODEL` names when `deploy` is built.
//!
//! A file that nobody could run is refused here instead of on the board.

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
    check(&std::fs::read(path).map_err(|error| error.to_string())?)?;
    println!("cargo::rustc-env=DEPLOY_MODEL_FILE={}", path.display());
    println!("cargo::rustc-env=DEPLOY_MODEL_NAME={name}");
    Ok(())
}

/// Walks the outermost fields of the ONNX file (a protobuf `ModelProto`): a file cut short ends within a field. The
/// card must be there because without it the image preparation would be a guess.
///
/// The crate `models` reads all of it, but as a build dependency it would be compiled twice for every build.
pub fn check(file: &[u8]) -> Result<(), String> {
    const GRAPH: u64 = 7;
    const METADATA: u64 = 14;
    let (mut graph, mut card) = (false, false);
    let mut rest = file;
    while !rest.is_empty() {
        let (field, content) = next(&mut rest).ok_or("it is not a complete ONNX file")?;
        graph |= field == GRAPH;
        // An entry is `key`, field 1, then `value`.
        card |= field == METADATA && content.starts_with(b"\x0a\x0amodel_card");
    }
    match (graph, card) {
        (false, _) => Err("it is not an ONNX file: it has no graph".to_owned()),
        (true, false) => Err("it has no model card: use a file written by `train export`".to_owned()),
        (true, true) => Ok(()),
    }
}

/// The number and bytes of the next field (no bytes for a number), which is taken off `rest`.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let key = varint(rest)?;
    let length = match key & 7 {
        0 => varint(rest).map(|_| 0)?,
        1 => 8,
        2 => usize::try_from(varint(rest)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((key >> 3, content))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
