//! Runs an exported image classifier through tract or ONNX Runtime, and says what really runs.
//!
//! * [`model`]: a model file and the engine that runs it; every command works with it.
//! * [`interface`]: what a model file takes and returns, from its card or its graph.
//! * [`backend`]: the engines, one file each, and the choice between them.
//! * [`embedded`]: the model built into the program.
//! * [`predict`](mod@predict): classifies images; [`inputs`] lists them, [`saved_inputs`] saves what the network saw,
//!   and [`pipeline`] decodes ahead while the model runs.
//! * [`evaluate`](mod@evaluate): measures a model file on a data set; [`confusion_picture`] draws the confusion matrix,
//!   and [`mistakes`] lists the images behind it.
//! * [`agreement`]: how far two runtimes agree; [`parity`]: where they differ.
//! * [`bench`](mod@bench): how fast a model runs here; [`machine`] describes the machine, and [`doctor`] finds what
//!   slows it down.
//! * [`text`]: prints results, here and in `train`; [`arguments`] and [`named`] read flags; `manual` writes completions
//!   and man pages.
//!
//! Nothing here is specific to MNIST: size, polarity and labels come from the model's card.

pub mod agreement;
pub mod arguments;
pub mod backend;
pub mod bench;
pub mod confusion_picture;
pub mod doctor;
pub mod embedded;
pub mod evaluate;
pub mod inputs;
pub mod interface;
pub mod machine;
#[cfg(feature = "manual")]
pub mod manual;
pub mod mistakes;
pub mod model;
pub mod named;
pub mod parity;
pub mod pipeline;
pub mod predict;
pub mod saved_inputs;
pub mod text;
