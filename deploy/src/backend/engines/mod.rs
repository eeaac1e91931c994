//! The table of engines. To add one, write its file and add a line here.

mod ort;
mod tract;

use super::engine::Registration;

/// All engines. Of those for everyday use, `auto` takes the last one that can be used.
pub static ENGINES: &[&Registration] =
    &[&tract::TRACT, &tract::TRACT_STOCK, &ort::ORT, &ort::ORT_AS_WRITTEN, &ort::ORT_CUDA];
