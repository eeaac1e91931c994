//! Runs an exported image classifier through tract or ONNX Runtime, and says what really runs.
//!
//! The commands of the program `deploy` are thin users of this library. Your program can use it in the same way:
//!
//! ```no_run
#![doc = include_str!("../examples/classify.rs")]
//! ```
//!
//! Start reading at [`model::Model`] and [`backend::Backend`]. From an image to its label:
//!
//! 1. [`model`] opens a model file. [`interface`] says what the file takes and returns, from its card or its graph, and
//!    [`backend`] chooses an engine and opens the model in it.
//! 2. [`inputs`] lists the images, and [`models::image_file::Reader`] turns each into one or more readings:
//!    inputs of the model.
//! 3. [`predict`](mod@predict) runs the readings, chooses one of each image and names the classes; [`pipeline`] decodes
//!    ahead while the model runs.
//!
//! The other modules:
//!
//! * [`embedded`]: the model built into the program.
//! * [`saved_inputs`]: saves what the network saw.
//! * [`explain`]: which parts of an image speak for a class.
//! * [`evaluate`](mod@evaluate): measures a model file on a data set; [`confusion_svg`] draws the confusion matrix,
//!   and [`mistakes`] lists the images behind it.
//! * [`agreement`]: how far two runtimes agree; [`parity`]: where they differ.
//! * [`bench`](mod@bench): how fast a model runs here; [`machine`] describes the machine, and [`doctor`] finds what
//!   slows it down.
//! * [`stream`]: images that come one after the other, such as a camera's; `watch` (feature `watch`): new images in a
//!   folder.
//! * `adopt` (feature `adopt`): makes files of other exporters follow our contract.
//! * [`document`]: results as JSON. `serve` (feature `serve`) answers with them over HTTP.
//! * [`text`]: prints results, here and in `train`; [`arguments`] and [`named`] read flags; `manual` writes completions
//!   and man pages.
//!
//! Nothing here is specific to MNIST: size, polarity and labels come from the model's card.
//!
//! `deploy/README.md` describes the commands, and how to add an engine or an output format.

#[cfg(feature = "adopt")]
pub mod adopt;
pub mod agreement;
pub mod arguments;
pub mod backend;
pub mod bench;
pub mod confusion_svg;
pub mod doctor;
pub mod document;
pub mod embedded;
pub mod evaluate;
pub mod explain;
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
#[cfg(feature = "serve")]
pub mod serve;
#[cfg(any(feature = "serve", feature = "watch"))]
mod stamp;
pub mod stream;
pub mod text;
#[cfg(feature = "watch")]
pub mod watch;
