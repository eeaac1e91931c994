//! Operators that only move elements (reshape, slice, concatenate, repeat), and operators that create constants.

use super::node::{Effect, Node};
use super::value::{MAX_NUMBERS, Value, axis_of, broadcast};
use super::{elements, tensors};
use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::proto::tensor_proto::DataType;
use anyhow::{Context, Result, bail, ensure};
use ndarray::{ArrayD, Axis, Dimension, IxDyn, concatenate};

/// An extent that a file gives as a signed number.
fn extent(number: i64) -> Result<u64> {
    u64::try_from(number).ok().with_context(|| format!("extent {number}"))
}

/// Refuses a rank that no engine supports, before the shape is used.
fn ranked(shape: Vec<u64>) -> Result<Vec<u64>> {
    ensure!(shape.len() <= tensors::MAX_RANK, "{} axes: expected at most {}", shape.len(), tensors::MAX_RANK);
    Ok(shape)
}

pub(super) fn reshape(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let wanted = node.integers(1)?;
    let zero_is_zero = node.int("allowzero", 0)? != 0;
    let kept = |(axis, &number): (usize, &i64)| match number {
        // One extent may follow from the others.
        -1 => Ok(None),
        0 if !zero_is_zero => Ok(Some(*input.shape.get(axis).context("extent 0 on an axis that its input lacks")?)),
        _ => extent(number).map(Some),
    };
    let extents = wanted.iter().enumerate().map(kept).collect::<Result<Vec<_>>>()?;
    let known = elements(&extents.iter().copied().flatten().collect::<Vec<_>>());
    let open = extents.iter().filter(|extent| extent.is_none()).count();
    let rest =
        if open == 1 { input.elements().checked_div(known).context("extent -1 beside an extent of 0")? } else { 1 };
    let shape: Vec<u64> = extents.into_iter().map(|extent| extent.unwrap_or(rest)).collect();
    let fits = open <= 1 && elements(&shape) == input.elements();
    ensure!(fits, "an input of shape {:?} cannot be reshaped to {wanted:?}", input.shape);
    Ok(input.shaped(ranked(shape)?).into())
}

pub(super) fn flatten(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let (axis, rank) = (node.int("axis", 1)?, input.shape.len());
    let axis = if axis == rank as i64 { rank } else { axis_of(axis, rank)? };
    Ok(input.shaped(vec![elements(&input.shape[..axis]), elements(&input.shape[axis..])]).into())
}

pub(super) fn squeeze(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let axes = node.integers_of("axes", 12, 1)?;
    let axes = axes.map(|axes| axes.iter().map(|&axis| input.axis(axis)).collect::<Result<Vec<_>>>()).transpose()?;
    let goes = |axis: usize, extent: u64| axes.as_ref().map_or(extent == 1, |axes| axes.contains(&axis));
    let mut shape = Vec::new();
    for (axis, &extent) in input.shape.iter().enumerate() {
        if goes(axis, extent) {
            ensure!(extent == 1, "axis {axis} of an input of shape {:?} is not 1", input.shape);
        } else {
            shape.push(extent);
        }
    }
    Ok(input.shaped(shape).into())
}

pub(super) fn unsqueeze(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let axes = node.integers_of("axes", 12, 1)?.context("it lacks its axes")?;
    let rank = input.shape.len() + axes.len();
    ensure!(rank <= tensors::MAX_RANK, "{rank} axes: expected at most {}", tensors::MAX_RANK);
    let new = axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<Vec<_>>>()?;
    let mut old = input.shape.iter();
    let shape: Option<Vec<u64>> =
        (0..rank).map(|axis| if new.contains(&axis) { Some(1) } else { old.next().copied() }).collect();
    let shape = shape.filter(|_| old.next().is_none()).with_context(|| format!("axes {axes:?} repeat an axis"))?;
    Ok(input.shaped(shape).into())
}

pub(super) fn transpose(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let rank = input.shape.len();
    let order = match node.ints("perm")? {
        Some(order) => order.iter().map(|&axis| input.axis(axis)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).rev().collect(),
    };
    let whole = order.len() == rank && (0..rank).all(|axis| order.contains(&axis));
    ensure!(whole, "perm {order:?} for an input of rank {rank}: expected each axis once");
    let value = Value::new(input.element, order.iter().map(|&axis| input.shape[axis]).collect());
    Ok(value.with_array(input.array().map(|array| array.permuted_axes(order))).into())
}

pub(super) fn concat(node: &Node) -> Result<Effect> {
    joined(node, &node.given().collect::<Vec<_>>())
}

/// The inputs are the output's scale and zero point, then each tensor with its own.
pub(super) fn quantized_concat(node: &Node) -> Result<Effect> {
    joined(node, &node.given().skip(2).step_by(3).collect::<Vec<_>>())
}

fn joined(node: &Node, inputs: &[&Value]) -> Result<Effect> {
    let first = *inputs.first().context("it lacks its inputs")?;
    let axis = axis_of(node.int("axis", 1)?, first.shape.len())?;
    let mut shape = first.shape.clone();
    for input in &inputs[1..] {
        let mut other = input.shape.clone();
        ensure!(other.len() == shape.len(), "{:?} and {:?} do not fit each other", shape, input.shape);
        shape[axis] = shape[axis].saturating_add(std::mem::replace(&mut other[axis], 0));
        let differs = (0..shape.len()).any(|index| index != axis && other[index] != shape[index]);
        ensure!(!differs, "{:?} and {:?} do not fit each other", first.shape, input.shape);
    }
    let arrays = inputs.iter().map(|input| input.array()).collect::<Option<Vec<_>>>();
    let joined = arrays
        .and_then(|arrays| concatenate(Axis(axis), &arrays.iter().map(|array| array.view()).collect::<Vec<_>>()).ok());
    Ok(Value::new(first.element, shape).with_array(joined).into())
}

pub(super) fn split(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let axis = node.axis(0)?;
    let (extent, parts) = (input.shape[axis], node.proto.output.len() as u64);
    ensure!(parts > 0, "it has no outputs");
    let sizes = if let Some(sizes) = node.integers_of("split", 12, 1)? {
        sizes.iter().map(|&size| self::extent(size)).collect::<Result<Vec<_>>>()?
    } else {
        let each = extent.div_ceil(parts);
        (0..parts).map(|part| each.min(extent.saturating_sub(each.saturating_mul(part)))).collect()
    };
    let sum = sizes.iter().fold(0_u64, |sum, &size| sum.saturating_add(size));
    ensure!(sizes.len() as u64 == parts && sum == extent, "{parts} parts of {sizes:?} for an extent of {extent}");
    let mut begin = 0;
    let part = |&size: &u64| {
        let mut shape = input.shape.clone();
        shape[axis] = size;
        let places = begin..begin + size as usize;
        begin = places.end;
        let numbers = input.array().map(|array| array.slice_axis(Axis(axis), places.into()).to_owned());
        Value::new(input.element, shape).with_array(numbers)
    };
    Ok(Effect { outputs: sizes.iter().map(part).collect(), work: 0, scratch: 0 })
}

pub(super) fn slice(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let list = |attribute, index| node.integers_of(attribute, 9, index).ok().flatten().unwrap_or_default();
    let [starts, ends, axes, steps] =
        [("starts", 1), ("ends", 2), ("axes", 3), ("steps", 4)].map(|(name, index)| list(name, index));
    let count = starts.len();
    let axes = if axes.is_empty() { (0..count as i64).collect() } else { axes };
    let steps = if steps.is_empty() { vec![1; count] } else { steps };
    let known = count > 0 && [&ends, &axes, &steps].iter().all(|list| list.len() == count);
    ensure!(known, "its starts, ends, axes and steps are not known lists of the same length");
    let mut value = Value::new(input.element, input.shape.clone());
    let mut numbers = input.array();
    for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let axis = input.axis(axis)?;
        ensure!(step != 0, "a step of 0");
        let extent = value.shape[axis] as i64;
        let place = |place: i64| if place < 0 { place.saturating_add(extent) } else { place };
        let (low, high) = if step > 0 { (0, extent) } else { (-1, extent - 1) };
        // With a negative step, an end below -extent means before the first element.
        let (first, last) = (place(start).clamp(low.max(0), high.max(0)), place(end).clamp(low, high));
        let span = if step > 0 { last.saturating_sub(first) } else { first.saturating_sub(last) };
        let taken = span.max(0).unsigned_abs().div_ceil(step.unsigned_abs()).min(value.shape[axis]);
        value.shape[axis] = taken;
        numbers = numbers.map(|numbers| {
            let places = (0..taken as i64).map(|number| (first + number * step) as usize);
            numbers.select(Axis(axis), &places.collect::<Vec<_>>())
        });
    }
    Ok(value.with_array(numbers).into())
}

pub(super) fn gather(node: &Node) -> Result<Effect> {
    let (input, indices) = (node.input(0)?, node.input(1)?);
    let axis = node.axis(0)?;
    let shape = [&input.shape[..axis], &indices.shape, &input.shape[axis + 1..]].concat();
    let value = Value::new(input.element, ranked(shape)?);
    let (Some(array), Some(indices)) = (input.array(), &indices.numbers) else { return Ok(value.into()) };
    let place = |&index: &f64| axis_of(index as i64, array.shape()[axis]);
    let places = indices.iter().map(place).collect::<Result<Vec<_>>>().ok();
    Ok(value.with_array(places.map(|places| array.select(Axis(axis), &places))).into())
}

/// The output has the shape of the indices.
pub(super) fn gather_elements(node: &Node) -> Result<Effect> {
    let (input, indices) = (node.input(0)?, node.input(1)?);
    ensure!(input.shape.len() == indices.shape.len(), "{:?} and {:?} differ in rank", input.shape, indices.shape);
    Ok(Value::new(input.element, indices.shape.clone()).into())
}

/// The last axis of the indices is a place in the input.
pub(super) fn gather_nd(node: &Node) -> Result<Effect> {
    let (input, indices) = (node.input(0)?, node.input(1)?);
    let (depth, places) = indices.shape.split_last().context("its indices are a single number")?;
    let first = u64::try_from(node.int("batch_dims", 0)?).unwrap_or(u64::MAX).saturating_add(*depth);
    let rest = usize::try_from(first).ok().and_then(|first| input.shape.get(first..));
    let rest = rest.with_context(|| format!("indices of {:?} for an input of {:?}", indices.shape, input.shape))?;
    Ok(Value::new(input.element, ranked([places, rest].concat())?).into())
}

/// A new axis with a number for each class.
pub(super) fn one_hot(node: &Node) -> Result<Effect> {
    let (indices, values) = (node.input(0)?, node.input(2)?);
    let mut shape = indices.shape.clone();
    let axis = axis_of(node.int("axis", -1)?, shape.len() + 1)?;
    let depth = extent(*node.integers(1)?.first().context("depth is empty")?)?;
    shape.insert(axis, depth);
    let value = Value::new(values.element, ranked(shape)?);
    let (Some(indices), Some(&[off, on])) =
        (indices.array(), values.numbers.as_deref().and_then(|all| all.first_chunk()))
    else {
        return Ok(value.into());
    };
    let wrap = |index: f64| if index < 0.0 { index + depth as f64 } else { index };
    let number = |place: IxDyn| {
        let mut place = place.slice().to_vec();
        let class = place.remove(axis) as f64;
        if wrap(indices[&place[..]]) == class { on } else { off }
    };
    let numbers = value.small().map(|shape| ArrayD::from_shape_fn(shape, number));
    Ok(value.with_array(numbers).into())
}

pub(super) fn tile(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let repeats = node.integers(1)?;
    ensure!(repeats.len() == input.shape.len(), "{} repeats for {} axes", repeats.len(), input.shape.len());
    let repeat = |(&old, &count): (&u64, &i64)| Ok(old.saturating_mul(extent(count)?));
    Ok(Value::new(input.element, input.shape.iter().zip(&repeats).map(repeat).collect::<Result<_>>()?).into())
}

pub(super) fn expand(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let wanted = node.integers(1)?.into_iter().map(extent).collect::<Result<Vec<_>>>()?;
    let value = Value::new(input.element, ranked(broadcast(&input.shape, &wanted)?)?);
    let numbers = value.repeated(input);
    Ok(value.with(numbers).into())
}

pub(super) fn pad(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let pads = node.integers_of("pads", 10, 1)?.context("it lacks its pads")?;
    let axes = match node.optional(3) {
        Some(_) => node.integers(3)?.into_iter().map(|axis| input.axis(axis)).collect::<Result<Vec<_>>>()?,
        None => (0..input.shape.len()).collect(),
    };
    ensure!(pads.len() == 2 * axes.len(), "{} pads for {} axes", pads.len(), axes.len());
    let mut shape = input.shape.clone();
    for (index, &axis) in axes.iter().enumerate() {
        for pad in [pads[index], pads[index + axes.len()]] {
            let extent = shape[axis].checked_add_signed(pad);
            shape[axis] =
                extent.with_context(|| format!("pads {pads:?} do not fit an input of shape {:?}", input.shape))?;
        }
    }
    Ok(Value::new(input.element, shape).into())
}

pub(super) fn depth_to_space(node: &Node) -> Result<Effect> {
    blocks(node, |[count, channels, height, width], block| {
        let fits = channels % block.saturating_mul(block) == 0;
        fits.then(|| [count, channels / block / block, height.saturating_mul(block), width.saturating_mul(block)])
    })
}

pub(super) fn space_to_depth(node: &Node) -> Result<Effect> {
    blocks(node, |[count, channels, height, width], block| {
        let fits = height % block == 0 && width % block == 0;
        fits.then(|| [count, elements(&[channels, block, block]), height / block, width / block])
    })
}

fn blocks(node: &Node, moved: fn([u64; 4], u64) -> Option<[u64; 4]>) -> Result<Effect> {
    let input = node.input(0)?;
    let block = u64::try_from(node.int("blocksize", 0)?).unwrap_or(0);
    ensure!(block > 0, "blocksize {block}: expected 1 or more");
    let shape = <[u64; 4]>::try_from(&input.shape[..]).ok().and_then(|shape| moved(shape, block));
    let shape = shape.with_context(|| format!("blocks of {block} do not fit an input of shape {:?}", input.shape))?;
    Ok(Value::new(input.element, shape.to_vec()).into())
}

pub(super) fn shape(node: &Node) -> Result<Effect> {
    let extents = &node.input(0)?.shape;
    let rank = extents.len() as i64;
    let place = |place: i64| (if place < 0 { place.saturating_add(rank) } else { place }).clamp(0, rank) as usize;
    let (start, end) = (place(node.int("start", 0)?), place(node.int("end", rank)?));
    let numbers: Vec<f64> = extents.iter().take(end).skip(start).map(|&extent| extent as f64).collect();
    Ok(Value::new(DataType::Int64, vec![numbers.len() as u64]).with(Some(numbers)).into())
}

pub(super) fn size(node: &Node) -> Result<Effect> {
    let count = node.input(0)?.elements() as f64;
    Ok(Value::new(DataType::Int64, Vec::new()).with(Some(vec![count])).into())
}

pub(super) fn constant(node: &Node) -> Result<Effect> {
    if let Some(value) = node.tensor("value")? {
        return Ok(value.into());
    }
    let [attribute] = &node.proto.attribute[..] else { bail!("it lacks its value") };
    let (element, shape, numbers) = match AttributeType::try_from(attribute.r#type) {
        Ok(AttributeType::Int) => (DataType::Int64, vec![], vec![attribute.i.unwrap_or(0) as f64]),
        Ok(AttributeType::Float) => (DataType::Float, vec![], vec![f64::from(attribute.f)]),
        Ok(AttributeType::Ints) => {
            let numbers: Vec<f64> = attribute.ints.iter().map(|&number| number as f64).collect();
            (DataType::Int64, vec![numbers.len() as u64], numbers)
        }
        Ok(AttributeType::Floats) => {
            let numbers: Vec<f64> = attribute.floats.iter().copied().map(f64::from).collect();
            (DataType::Float, vec![numbers.len() as u64], numbers)
        }
        _ => bail!("its value '{}' is not a number, a list of numbers or a tensor", attribute.name),
    };
    Ok(Value::new(element, shape).with(Some(numbers)).into())
}

pub(super) fn constant_of_shape(node: &Node) -> Result<Effect> {
    let shape = node.integers(0)?.into_iter().map(extent).collect::<Result<Vec<_>>>()?;
    let filling = node.tensor("value")?;
    let element = filling.as_ref().map_or(DataType::Float, |filling| filling.element);
    let number = filling.map_or(Some(0.0), |filling| filling.numbers?.first().copied());
    let value = Value::new(element, ranked(shape)?);
    let count = value.elements().min(MAX_NUMBERS as u64 + 1) as usize;
    Ok(value.with(number.map(|number| vec![number; count])).into())
}

pub(super) fn range(node: &Node) -> Result<Effect> {
    let number = |index: usize| node.numbers(index)?.first().copied().context("one of its inputs is empty");
    let (start, limit, step) = (number(0)?, number(1)?, number(2)?);
    let count = ((limit - start) / step).ceil().max(0.0);
    ensure!(count.is_finite(), "it counts from {start} to {limit} in steps of {step}: expected a finite count");
    let value = Value::new(node.input(0)?.element, vec![count as u64]);
    let few = count <= MAX_NUMBERS as f64;
    Ok(value.with(few.then(|| (0..count as usize).map(|index| start + index as f64 * step).collect())).into())
}
