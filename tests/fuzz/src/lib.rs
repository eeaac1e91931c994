//! Fuzz targets: `image`, `idx`, `card`, `onnx_load` (bytes) and `onnx_graph` (graphs), and what they share with the
//! tests that run with every `cargo test` (`models/tests/arbitrary.rs`, `deploy/tests/arbitrary.rs`). To run one, with
//! `cargo install cargo-fuzz` and a nightly toolchain, in this folder:
//!
//! ```sh
//! mkdir -p corpus/image
//! cargo +nightly fuzz run --fuzz-dir . image corpus/image seeds/image -- -max_total_time=600 -timeout=10 -rss_limit_mb=2048
//! ```
//!
//! `seeds/` is in git; what fuzzing adds, `corpus/` and `artifacts/`, is not. What broke something becomes a seed, which
//! the tests start from too.

#[path = "../../../models/tests/choices/mod.rs"]
pub mod choices;
#[path = "../../../deploy/tests/example/mod.rs"]
pub mod example;
#[path = "../../../deploy/tests/hostile/mod.rs"]
pub mod hostile;

use deploy::backend::Engine;
use deploy::model::Model;
use models::onnx;
use models::onnx::limits::{Footprint, Limits};
use ndarray::Array4;
use std::sync::Once;

/// Opens a model in tract and lets it judge a black image.
///
/// The limits that hold for users are for a machine: a model may ask for gigabytes and minutes. Here each must be done
/// in seconds, so a larger one is only held to the limits and not run.
pub fn load(bytes: &[u8]) {
    quiet();
    let limits =
        Limits { elements: 1 << 22, memory: 1 << 26, values: 1 << 28, multiply_adds: 1 << 26, ..Limits::default() };
    let small = |batch| onnx::parse(bytes).is_ok_and(|model| Footprint::estimate(&model, batch, &limits).is_ok());
    // What no batch fits is refused, or larger than here.
    if !small(1) {
        return;
    }
    let tract: Engine = "tract".parse().expect("the name of an engine");
    let options = tract.options(Some(1));
    if let Ok(mut model) = Model::from_bytes("any", bytes, &options) {
        let input = model.input();
        let black = Array4::zeros((1, input.channels, input.height, input.width));
        let _ = model.logits(black.view());
    }
}

/// libfuzzer-sys ends the process at every panic, from a hook. A panic within tract that `deploy` catches and reports
/// as an error is not our fault, so another hook takes its place, which ends the process at our own only.
fn quiet() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map_or("", |location| location.file());
            if ["deploy/src", "models/src"].iter().any(|ours| place.contains(ours)) {
                eprintln!("{panic}");
                std::process::abort();
            }
        }));
    });
}
