//! Elementwise operators: the output has the shape of the input, or the shape that all inputs are broadcast to.

use super::node::{Effect, Node};
use super::tensors;
use super::value::{Value, broadcast};
use crate::onnx::proto::tensor_proto::DataType;
use anyhow::{Context, Result, anyhow, ensure};

/// The output has the shape and the element type of the first input.
pub(super) fn same(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    Ok(input.with_element(input.element).into())
}

/// The output is the first input.
pub(super) fn passed_on(node: &Node) -> Result<Effect> {
    Ok(node.input(0)?.clone().into())
}

/// The output has a number for each number of the first input.
pub(super) fn mapped(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let map = match node.proto.op_type.as_str() {
        "Floor" => f64::floor,
        "Ceil" => f64::ceil,
        "Neg" => |number: f64| -number,
        _ => f64::sqrt,
    };
    let numbers = input.numbers.as_ref().map(|numbers| numbers.iter().copied().map(map).collect());
    // Engines may convert NaN to another whole number than this program.
    let numbers = numbers.filter(|numbers: &Vec<f64>| numbers.iter().all(|number| number.is_finite()));
    Ok(input.clone().with(numbers).into())
}

/// The output has a boolean for each element of the first input.
pub(super) fn tested(node: &Node) -> Result<Effect> {
    Ok(node.input(0)?.with_element(DataType::Bool).into())
}

pub(super) fn cast(node: &Node) -> Result<Effect> {
    let to = i32::try_from(node.int("to", 0)?).unwrap_or(0);
    let (element, _) = tensors::element(to).map_err(|error| anyhow!("its output {error}"))?;
    let input = node.input(0)?;
    let value = input.with_element(element);
    let exact = matches!(element, DataType::Int32 | DataType::Int64 | DataType::Float | DataType::Double);
    let numbers = input.numbers.clone().filter(|_| exact);
    let whole = |numbers: Vec<f64>| numbers.into_iter().map(f64::trunc).collect();
    Ok(value.clone().with(if value.is_integer() { numbers.map(whole) } else { numbers }).into())
}

/// The output has the shape that all inputs are broadcast to, and the element type of the first.
pub(super) fn broadcasting(node: &Node) -> Result<Effect> {
    let first = node.input(0)?;
    let value = Value::new(first.element, all(node.given())?);
    let numbers = arithmetic(node, &value);
    Ok(value.with(numbers).into())
}

/// Like `broadcasting`, but the output is boolean.
pub(super) fn compared(node: &Node) -> Result<Effect> {
    let value = Value::new(DataType::Bool, all(node.given())?);
    let numbers = arithmetic(node, &value);
    Ok(value.with(numbers).into())
}

/// The output is the second input where the first is true, and the third elsewhere.
pub(super) fn chosen(node: &Node) -> Result<Effect> {
    let value = Value::new(node.input(1)?.element, all(node.given())?);
    let inputs = (0..3).map(|index| value.repeated(node.input(index).ok()?)).collect::<Option<Vec<_>>>();
    let choose = |inputs: Vec<Vec<f64>>| {
        let three = inputs[0].iter().zip(&inputs[1]).zip(&inputs[2]);
        three.map(|((&condition, &yes), &no)| if condition == 0.0 { no } else { yes }).collect()
    };
    Ok(value.with(inputs.map(choose)).into())
}

fn all<'a>(inputs: impl Iterator<Item = &'a Value>) -> Result<Vec<u64>> {
    inputs.map(|input| input.shape.as_slice()).try_fold(Vec::new(), |shape, next| broadcast(&shape, next))
}

/// The numbers of the output, for the operators that graphs use to compute shapes.
fn arithmetic(node: &Node, value: &Value) -> Option<Vec<f64>> {
    // Beyond this, an integer might wrap around in the engine or be inexact here.
    const EXACT: f64 = 2_147_483_648.0;
    let integer = node.input(0).ok()?.is_integer();
    let operation: fn(f64, f64) -> f64 = match node.proto.op_type.as_str() {
        "Add" => |one, other| one + other,
        "Sub" => |one, other| one - other,
        "Mul" => |one, other| one * other,
        "Div" if integer => |one, other| (one / other).trunc(),
        "Div" => |one, other| one / other,
        // Like Python's `%`, or like C's `fmod`.
        "Mod" if node.int("fmod", 0).ok()? == 0 => |one, other| one - other * (one / other).floor(),
        "Mod" => |one, other| one % other,
        "Pow" => f64::powf,
        "Min" => f64::min,
        "Max" => f64::max,
        "Equal" => |one, other| f64::from(u8::from(one == other)),
        "Less" => |one, other| f64::from(u8::from(one < other)),
        "LessOrEqual" => |one, other| f64::from(u8::from(one <= other)),
        "Greater" => |one, other| f64::from(u8::from(one > other)),
        "GreaterOrEqual" => |one, other| f64::from(u8::from(one >= other)),
        _ => return None,
    };
    let [one, other] = node.inputs[..] else { return None };
    let pairs = value.repeated(one?)?.into_iter().zip(value.repeated(other?)?);
    let numbers: Vec<f64> = pairs.map(|(one, other)| operation(one, other)).collect();
    numbers.iter().all(|number| number.abs() < EXACT).then_some(numbers)
}

/// Quantized operations on two tensors: inputs 0 and 3. The other inputs are scales and zero points.
pub(super) fn quantized_broadcasting(node: &Node) -> Result<Effect> {
    let (one, other) = (node.input(0)?, node.input(3)?);
    Ok(Value::new(one.element, broadcast(&one.shape, &other.shape)?).into())
}

pub(super) fn quantized(node: &Node) -> Result<Effect> {
    scales_fit(node)?;
    let element = node.optional(2).map_or(DataType::Uint8, |zero| zero.element);
    Ok(node.input(0)?.with_element(element).into())
}

pub(super) fn dequantized(node: &Node) -> Result<Effect> {
    scales_fit(node)?;
    Ok(node.input(0)?.with_element(node.input(1)?.element).into())
}

/// Checks that scale and zero point have one number, one per index of an axis, or one per block of the input.
fn scales_fit(node: &Node) -> Result<()> {
    let input = node.input(0)?;
    for scale in [Some(node.input(1)?), node.optional(2)].into_iter().flatten() {
        let fits = match scale.shape[..] {
            [] | [1] => true,
            [count] => node.axis(1).is_ok_and(|axis| input.shape[axis] == count),
            _ => {
                let blocks = scale.shape.iter().zip(&input.shape);
                scale.shape.len() == input.shape.len() && blocks.clone().all(|(blocks, extent)| blocks <= extent)
            }
        };
        ensure!(fits, "scales of shape {:?} do not fit an input of shape {:?}", scale.shape, input.shape);
    }
    Ok(())
}

/// The outputs are the quantized input, its scale and its zero point.
pub(super) fn quantized_by_itself(node: &Node) -> Result<Effect> {
    let scalar = |element| Value::new(element, Vec::new());
    let outputs = vec![node.input(0)?.with_element(DataType::Uint8), scalar(DataType::Float), scalar(DataType::Uint8)];
    Ok(Effect { outputs, work: 0, scratch: 0 })
}

/// Scale, offset, mean and variance must have one number for each channel (axis 1).
pub(super) fn normalised_by_channel(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let channels = *input.shape.get(1).context("its input has no channels")?;
    for statistic in node.given().skip(1) {
        ensure!(statistic.shape == [channels], "statistics of shape {:?} for {channels} channels", statistic.shape);
    }
    same(node)
}

/// Scale and offset must broadcast to the shape of the input.
pub(super) fn normalised(node: &Node) -> Result<Effect> {
    let input = node.input(0)?;
    let shape = all(node.given())?;
    ensure!(shape == input.shape, "its scale and offset do not fit an input of shape {:?}", input.shape);
    same(node)
}
