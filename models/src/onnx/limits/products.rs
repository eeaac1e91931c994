//! Matrix products and reductions.

use super::elements;
use super::node::{Effect, Node};
use super::value::{Value, broadcast};
use crate::onnx::proto::tensor_proto::DataType;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;

/// `[M, K]` times `[K, N]`, each optionally transposed, plus a bias that is broadcast to `[M, N]`.
pub(super) fn gemm(node: &Node) -> Result<Effect> {
    general(node, node.input(0)?, node.input(1)?, node.optional(2))
}

/// The same, with scales and zero points among the inputs.
pub(super) fn quantized_gemm(node: &Node) -> Result<Effect> {
    general(node, node.input(0)?, node.input(3)?, node.optional(6))
}

fn general(node: &Node, one: &Value, other: &Value, bias: Option<&Value>) -> Result<Effect> {
    let turned = |value: &Value, name: &str| -> Result<[u64; 2]> {
        let &[rows, columns] = &value.shape[..] else {
            bail!("a factor has the shape {:?}: expected rank 2", value.shape)
        };
        Ok(if node.int(name, 0)? == 0 { [rows, columns] } else { [columns, rows] })
    };
    let ([rows, depth], [found, columns]) = (turned(one, "transA")?, turned(other, "transB")?);
    ensure!(depth == found, "factors of {:?} and {:?} do not fit each other", one.shape, other.shape);
    let shape = vec![rows, columns];
    if let Some(bias) = bias {
        ensure!(broadcast(&shape, &bias.shape)? == shape, "a bias of {:?} does not fit {shape:?}", bias.shape);
    }
    Ok(product(one.element, shape, depth))
}

pub(super) fn matmul(node: &Node) -> Result<Effect> {
    batched(node.input(0)?, node.input(1)?)
}

/// The same, with scales and zero points among the inputs.
pub(super) fn quantized_matmul(node: &Node) -> Result<Effect> {
    batched(node.input(0)?, node.input(3)?)
}

/// Like numpy's `matmul`: the last two axes are matrices, and the axes before them are broadcast.
fn batched(one: &Value, other: &Value) -> Result<Effect> {
    let fit = |found: u64, depth: u64| {
        ensure!(found == depth, "factors of {:?} and {:?} do not fit each other", one.shape, other.shape);
        Ok(())
    };
    let (left, rows, depth) = match one.shape[..] {
        [] => bail!("a factor is a single number"),
        [depth] => (&[][..], None, depth),
        [ref stack @ .., rows, depth] => (stack, Some(rows), depth),
    };
    let (right, columns, found) = match other.shape[..] {
        [] => bail!("a factor is a single number"),
        [depth] => (&[][..], None, depth),
        [ref stack @ .., depth, columns] => (stack, Some(columns), depth),
    };
    fit(found, depth)?;
    let mut shape = broadcast(left, right)?;
    shape.extend(rows);
    shape.extend(columns);
    Ok(product(one.element, shape, depth))
}

/// Multiplies tensors and sums over axes (numpy's `einsum`). Equations with `...` are refused.
pub(super) fn einsum(node: &Node) -> Result<Effect> {
    let equation = node.text("equation")?.context("it lacks its equation")?;
    let equation: Vec<u8> = equation.iter().copied().filter(|letter| *letter != b' ').collect();
    let told = || format!("the equation '{}'", String::from_utf8_lossy(&equation));
    let mut halves = equation.splitn(2, |&letter| letter == b'-');
    let inputs: Vec<_> = halves.next().unwrap_or_default().split(|&letter| letter == b',').collect();
    let output = halves.next().and_then(|output| output.strip_prefix(b">"));
    let output = output.with_context(|| format!("{} does not name the axes of its output", told()))?;
    let mut extents = BTreeMap::new();
    ensure!(inputs.len() == node.given().count(), "{} does not fit its number of inputs", told());
    for (axes, input) in inputs.iter().zip(node.given()) {
        ensure!(axes.len() == input.shape.len(), "{} does not fit an input of {:?}", told(), input.shape);
        for (&axis, &extent) in axes.iter().zip(&input.shape) {
            let known = *extents.entry(axis).or_insert(extent);
            ensure!(axis.is_ascii_alphabetic() && known == extent, "{} does not fit {:?}", told(), input.shape);
        }
    }
    let shape: Option<Vec<u64>> = output.iter().map(|axis| extents.get(axis).copied()).collect();
    let shape = shape.with_context(|| format!("{} has an unknown axis in its output", told()))?;
    let work = extents.values().fold(1, |product: u64, &extent| product.saturating_mul(extent));
    // An engine may multiply before it sums.
    Ok(Effect { work, scratch: work.saturating_mul(4), outputs: vec![Value::new(node.input(0)?.element, shape)] })
}

/// A recurrent layer over `[steps, N, inputs]`, with `layout` 1 `[N, steps, inputs]`.
pub(super) fn recurrent(node: &Node) -> Result<Effect> {
    let (input, weights, state) = (node.input(0)?, node.input(1)?, node.input(2)?);
    let (&[first, second, inputs], &[directions, gates, found], &[_, _, hidden]) =
        (&input.shape[..], &weights.shape[..], &state.shape[..])
    else {
        bail!("its input and weights have the shapes {:?}, {:?} and {:?}", input.shape, weights.shape, state.shape)
    };
    ensure!(inputs == found, "weights of {:?} for an input of {:?}", weights.shape, input.shape);
    let (all, last) = if node.int("layout", 0)? == 0 {
        (vec![first, directions, second, hidden], vec![directions, second, hidden])
    } else {
        (vec![first, second, directions, hidden], vec![first, directions, hidden])
    };
    let work = elements(&[first, second, directions, gates, inputs.saturating_add(hidden)]);
    let outputs = [all, last.clone(), last].map(|shape| Value::new(input.element, shape)).to_vec();
    Ok(Effect { outputs, work, scratch: 0 })
}

fn product(factor: DataType, shape: Vec<u64>, depth: u64) -> Effect {
    // Products of 8-bit numbers are summed in 32 bits.
    let value = Value::new(factor, shape);
    let work = value.elements().saturating_mul(depth);
    Effect { work, scratch: 0, outputs: vec![value] }
}

/// Reduces the input along some axes, by default along all.
pub(super) fn reduction(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let last = if node.proto.op_type == "ReduceSum" { 12 } else { 17 };
    let axes = node.integers_of("axes", last, 1)?.filter(|axes| !axes.is_empty());
    if axes.is_none() && node.int("noop_with_empty_axes", 0)? != 0 {
        return Ok(input.clone().into());
    }
    let all = || (0..input.shape.len()).collect();
    let axes = axes.map(|axes| axes.iter().map(|&axis| input.axis(axis)).collect::<Result<Vec<_>>>()).transpose()?;
    let value = without(node, input, input.element, &axes.unwrap_or_else(all))?;
    Ok(Effect { work: input.elements(), ..value.into() })
}

/// The index of the largest or smallest number along an axis.
pub(super) fn extreme(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let value = without(node, input, DataType::Int64, &[node.axis(0)?])?;
    Ok(Effect { work: input.elements(), ..value.into() })
}

/// The input without some axes, or with extent 1 in their place (`keepdims`).
fn without(node: &Node, input: &Value, element: DataType, axes: &[usize]) -> Result<Value> {
    let keep = node.int("keepdims", 1)? != 0;
    let extents = input.shape.iter().enumerate();
    let extents = extents.filter_map(|(axis, &extent)| match (axes.contains(&axis), keep) {
        (false, _) => Some(extent),
        (true, true) => Some(1),
        (true, false) => None,
    });
    Ok(Value::new(element, extents.collect()))
}

/// The largest numbers along an axis, and their indices.
pub(super) fn top(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let count = if node.opset < 10 { node.int("k", 0)? } else { *node.integers(1)?.first().context("k is empty")? };
    let mut shape = input.shape.clone();
    let axis = node.axis(-1)?;
    let fits = u64::try_from(count).ok().filter(|&count| count <= shape[axis]);
    shape[axis] = fits.with_context(|| format!("k {count} on an axis of extent {}", shape[axis]))?;
    let outputs = vec![Value::new(input.element, shape.clone()), Value::new(DataType::Int64, shape)];
    Ok(Effect { outputs, work: input.elements().saturating_mul(32), scratch: 0 })
}
