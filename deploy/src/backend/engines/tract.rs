//! tract: with our operators in its plan, and as released.

use crate::backend::engine::Registration;
#[cfg(feature = "tract")]
use crate::backend::{
    engine::Code,
    intermediate,
    tract::{self, Plan},
};

/// A file of `train export` is read straight into our operators. Any other file goes through tract's own reader, and
/// gets our convolutions where they fit.
pub static TRACT: Registration = Registration {
    name: "tract",
    about: "tract with our operators",
    feature: Some("tract"),
    everyday: true,
    #[cfg(feature = "tract")]
    code: Some(Code {
        find: |_| tract::find(false),
        open: |source, _, options| Ok(Box::new(Plan::open(source, options, false)?)),
        prepared: Some(Plan::prepared),
        layers: Some(|source, _, steps| intermediate::tract::exposed(source, steps, false)),
    }),
    ..Registration::EMPTY
};

/// tract with its own reader and operators only. Without it, our operators would be compared with themselves.
pub static TRACT_STOCK: Registration = Registration {
    name: "tract-stock",
    about: "tract as released",
    feature: Some("onnx"),
    #[cfg(feature = "onnx")]
    code: Some(Code {
        find: |_| tract::find(true),
        open: |source, _, options| Ok(Box::new(Plan::open(source, options, true)?)),
        prepared: Some(Plan::prepared),
        layers: Some(|source, _, steps| intermediate::tract::exposed(source, steps, true)),
    }),
    ..Registration::EMPTY
};
