//! Replaces tract's convolutions by our own, which include the clamp after them.

use super::super::convolution::Convolution;
use super::super::lanes::Lane;
use super::super::operator::Operator;
use tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_core::ops::cnn::{Conv, KernelFormat};
use tract_core::ops::math::{Max, Min};
use tract_onnx::prelude::*;
use tract_onnx::tract_core;

/// Replaces every convolution that our operators can compute, and returns how many were replaced. Call it between
/// tract's decluttering and its optimisation.
pub(super) fn rewrite(model: &mut TypedModel, lanes: &[Lane]) -> TractResult<usize> {
    let mut count = 0;
    for id in model.eval_order()? {
        if let Some(patch) = patch(model, id, lanes)? {
            patch.apply(model)?;
            count += 1;
        }
    }
    model.compact()?;
    Ok(count)
}

/// The change for one node, if it is a convolution that can be replaced.
fn patch(model: &TypedModel, id: usize, lanes: &[Lane]) -> TractResult<Option<TypedModelPatch>> {
    let node = model.node(id);
    let Some(conv) = node.op_as::<Conv>() else { return Ok(None) };
    let mut last = node;
    let mut clamp = [f32::NEG_INFINITY, f32::INFINITY];
    // Each bound only once and the lower one first: the kernels apply them in this order.
    if let Some((next, least)) = bound::<Max>(model, last)? {
        (last, clamp[0]) = (next, least);
    }
    if let Some((next, most)) = bound::<Min>(model, last)? {
        (last, clamp[1]) = (next, most);
    }
    let Some(shape) = last.outputs[0].fact.shape.as_concrete() else { return Ok(None) };
    let Some(operator) = operator(model, node, conv, clamp, shape, lanes)? else { return Ok(None) };
    let mut patch = TypedModelPatch::new("own convolution");
    let input = patch.tap_model(model, node.inputs[0])?;
    let output = patch.wire_node(&last.name, operator, &[input])?;
    patch.shunt_outside(model, last.id.into(), output[0])?;
    Ok(Some(patch))
}

/// Returns an operator that computes the convolution and clamps its results, if there is one.
fn operator(
    model: &TypedModel,
    node: &TypedNode,
    conv: &Conv,
    clamp: [f32; 2],
    yielded: &[usize],
    lanes: &[Lane],
) -> TractResult<Option<Operator>> {
    let [input, weights, bias] = node.inputs[..] else { return Ok(None) };
    let (pool, fact) = (&conv.pool_spec, model.outlet_fact(input)?);
    let Some(shape) = fact.shape.as_concrete() else { return Ok(None) };
    let (inputs, outputs) = (conv.input_channels(), conv.output_channels());
    let (strides, kernel) = (pool.strides(), pool.kernel_shape[0]);
    let known = conv.q_params.is_none()
        && conv.kernel_fmt == KernelFormat::OIHW
        && fact.datum_type == f32::datum_type()
        && pool.kernel_shape[..] == [kernel; 2]
        && strides[..] == [strides[0]; 2]
        && pool.dilations().iter().all(|&dilation| dilation == 1)
        && !pool.data_format.c_is_last();
    if !known {
        return Ok(None);
    }
    let shape = pool.data_format.shape(shape)?;
    let &[height, width] = shape.hw_dims() else { return Ok(None) };
    if shape.n().is_some_and(|&images| images != 1) {
        return Ok(None);
    }
    let (Some(weights), Some(bias)) = (numbers(model, weights)?, numbers(model, bias)?) else { return Ok(None) };
    let bias = if bias.len() == 1 { vec![bias[0]; outputs] } else { bias };
    let padded = pool.computed_padding(&[height, width]);
    let [rows, columns] = &padded[..] else { return Ok(None) };
    let (output, padding) = ([rows.convoluted, columns.convoluted], [rows.pad_before, columns.pad_before]);
    // Larger dense kernels are left to tract, which computes them without an im2col matrix.
    if kernel != 1 && conv.group == 1 && inputs > 1 {
        return Ok(None);
    }
    let (input, groups, stride) = ([inputs, height, width], conv.group, strides[0]);
    let convolution = Convolution { input, output, groups, kernel, stride, padding, weights, bias, clamp };
    Ok(convolution.operator(lanes, yielded).ok())
}

/// The numbers of a constant in row-major order; `None` if it is not a plain constant of floats.
fn numbers(model: &TypedModel, outlet: OutletId) -> TractResult<Option<Vec<f32>>> {
    let Some(tensor) = &model.outlet_fact(outlet)?.konst else { return Ok(None) };
    if tensor.datum_type() != f32::datum_type() || !tensor.is_plain() {
        return Ok(None);
    }
    Ok(Some(tensor.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()))
}

/// The only node after `node` and its bound, if it is a [`Max`] or [`Min`] with one number for all elements.
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
