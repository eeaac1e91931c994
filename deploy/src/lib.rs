//! Runs an exported image classifier through tract or ONNX Runtime, and says what really runs.
//!
//! * [`model`]: a model file together with what runs it; what every command works with.
//! * [`interface`]: what a model file takes and returns, by its card or by its graph.
//! * [`backend`]: the runtimes, one file each, and the choice between them.
//! * [`embedded`]: the model the program carries in itself.
//! * [`predict`](mod@predict): what a model says about pictures; [`inputs`]: which they are; [`saved_inputs`]: what the
//!   network saw of them; [`pipeline`]: pictures are decoded ahead while the model runs.
//! * [`evaluate`](mod@evaluate): what a model file is worth; [`confusion_picture`]: a confusion matrix to look at;
//!   [`mistakes`]: the images behind it.
//! * [`agreement`]: how far two runtimes agree; [`parity`]: where they part.
//! * [`bench`](mod@bench): how fast it is here; [`machine`]: what here is; [`doctor`]: what is wrong with it.
//! * [`text`]: how results are printed, here and by `train`; [`arguments`] and [`named`]: how flags are read; `manual`:
//!   completions and man pages.
//!
//! Nothing here knows MNIST: size, polarity and labels come from the model's card.

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
