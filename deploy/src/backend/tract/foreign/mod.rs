//! Loads files that `train export` did not write, with tract's own reader and optimiser.
//!
//! Between reading and optimising, `rewrite` puts our own convolutions into the graph, and `resize` changes the order
//! of resizing.

mod resize;
mod rewrite;

#[cfg(test)]
mod tests;

use super::input_fact;
use super::lanes::Lane;
use crate::interface::Interface;
use anyhow::Result;
use tract_onnx::prelude::*;

/// Returns the model for one batch size, and how many of its operators are our own. With no `lanes`, tract's graph is
/// left as it is.
pub(super) fn model(
    mut bytes: &[u8],
    interface: &Interface,
    batch: usize,
    lanes: &[Lane],
) -> Result<(TypedModel, usize)> {
    // The file's shapes of intermediate values may have an open N, which would contradict the fixed batch.
    let onnx = tract_onnx::onnx().with_ignore_value_info(true);
    let mut model = onnx.model_for_read(&mut bytes)?;
    model.select_outputs_by_name([&interface.output])?;
    let model = model.with_input_fact(0, input_fact(interface, batch).into())?;
    let mut model = model.into_typed()?.into_decluttered()?;
    let mut own = 0;
    if !lanes.is_empty() {
        own = rewrite::rewrite(&mut model, lanes)?;
        resize::columns_first(&mut model)?;
    }
    Ok((model.into_optimized()?, own))
}
