//! Where a graph has such convolutions, and what of the nodes after them goes into the operator.

use super::kernel::{Depthwise, Lane};
use super::operator::DepthwiseOperator;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::math::{Max, Min};

/// Puts the operator in the place of every convolution that it can compute, and counts them. To be called between
/// tract's simplification and its optimisation.
pub(crate) fn rewrite(model: &mut TypedModel, lanes: &[Lane]) -> TractResult<usize> {
    let mut count = 0;
    let lanes: Arc<[Lane]> = lanes.into();
    for id in model.eval_order()? {
        if let Some(patch) = patch(model, id, &lanes)? {
            patch.apply(model)?;
            count += 1;
        }
    }
    model.compact()?;
    Ok(count)
}

/// The change for one node, if it is such a convolution.
fn patch(model: &TypedModel, id: usize, lanes: &Arc<[Lane]>) -> TractResult<Option<TypedModelPatch>> {
    let node = model.node(id);
    let Some(conv) = node.op_as::<Conv>() else { return Ok(None) };
    let Some(mut depthwise) = depthwise(model, node, conv)? else { return Ok(None) };
    let mut last = node;
    // Each bound only once, and the lower one first: that is the order in which the kernel applies them.
    if let Some((next, least)) = bound::<Max>(model, last)? {
        (last, depthwise.clamp[0]) = (next, least);
    }
    if let Some((next, most)) = bound::<Min>(model, last)? {
        (last, depthwise.clamp[1]) = (next, most);
    }
    let Some(shape) = last.outputs[0].fact.shape.as_concrete() else { return Ok(None) };
    let operator = DepthwiseOperator { depthwise: depthwise.into(), lanes: lanes.clone(), shape: shape.into() };
    let mut patch = TypedModelPatch::new("depthwise 3x3");
    let input = patch.tap_model(model, node.inputs[0])?;
    let output = patch.wire_node(&last.name, operator, &[input])?;
    patch.shunt_outside(model, last.id.into(), output[0])?;
    Ok(Some(patch))
}

/// What the convolution computes, if the kernel can do it.
fn depthwise(model: &TypedModel, node: &TypedNode, conv: &Conv) -> TractResult<Option<Depthwise>> {
    let [input, weights, bias] = node.inputs[..] else { return Ok(None) };
    let (pool, fact) = (&conv.pool_spec, model.outlet_fact(input)?);
    let Some(shape) = fact.shape.as_concrete() else { return Ok(None) };
    let channels = conv.output_channels();
    let own_plane = conv.group == channels && conv.input_channels() == channels;
    let one_plane = conv.group == 1 && conv.input_channels() == 1;
    let strides = pool.strides();
    let known = conv.q_params.is_none()
        && conv.kernel_fmt == KernelFormat::OIHW
        && fact.datum_type == f32::datum_type()
        && (own_plane || one_plane)
        && pool.kernel_shape[..] == [3, 3]
        && pool.dilations().iter().all(|&dilation| dilation == 1)
        && matches!(strides[..], [1, 1] | [2, 2])
        && !pool.data_format.c_is_last();
    if !known {
        return Ok(None);
    }
    let shape = pool.data_format.shape(shape)?;
    let &[height, width] = shape.hw_dims() else { return Ok(None) };
    let (Some(weights), Some(bias)) = (numbers(model, weights)?, numbers(model, bias)?) else { return Ok(None) };
    let bias = if bias.len() == 1 { vec![bias[0]; channels] } else { bias };
    let padding = pool.computed_padding(&[height, width]);
    let [rows, columns] = &padding[..] else { return Ok(None) };
    let depthwise = Depthwise {
        channels,
        own_plane,
        input: [height, width],
        output: [rows.convoluted, columns.convoluted],
        stride: strides[0],
        padding: [rows.pad_before, columns.pad_before],
        weights,
        bias,
        clamp: [f32::NEG_INFINITY, f32::INFINITY],
    };
    Ok((shape.n().is_none_or(|&pictures| pictures == 1) && depthwise.is_sound()).then_some(depthwise))
}

/// The numbers of a constant, in the order of its axes.
fn numbers(model: &TypedModel, outlet: OutletId) -> TractResult<Option<Vec<f32>>> {
    let Some(tensor) = &model.outlet_fact(outlet)?.konst else { return Ok(None) };
    if tensor.datum_type() != f32::datum_type() || !tensor.is_plain() {
        return Ok(None);
    }
    Ok(Some(tensor.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()))
}

/// The only node after `node` and its number, if it is a [`Max`] or [`Min`] with one number for all.
fn bound<'a, O: BinMiniOp>(model: &'a TypedModel, node: &TypedNode) -> TractResult<Option<(&'a TypedNode, f32)>> {
    let Some(next) = model.single_succ(node.id)? else { return Ok(None) };
    let Some(TypedBinOp(operation, None)) = next.op_as::<TypedBinOp>() else { return Ok(None) };
    let Some(other) = next.inputs.iter().find(|input| input.node != node.id) else { return Ok(None) };
    if !operation.is::<O>() || model.output_outlets()?.contains(&node.id.into()) {
        return Ok(None);
    }
    let one = model.outlet_fact(*other)?.konst.as_ref().and_then(|tensor| tensor.as_uniform());
    let Some(number) = one.filter(|tensor| tensor.datum_type() == f32::datum_type()) else { return Ok(None) };
    Ok(Some((next, number.cast_to_scalar::<f32>()?)))
}
