//! Whole numbers that a graph computes from shapes: with all extents of an image fixed, many are known before a run.

use super::Limits;
use super::footprint::Run;
use super::value::Value;
use crate::onnx::proto::tensor_proto::DataType;
use crate::onnx::proto::{ModelProto, TensorProto};
use anyhow::Result;
use std::collections::BTreeMap;

/// Beyond this, a whole number may be inexact here.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Short lists of whole numbers or booleans that nodes compute, if they are the same for all of these batch sizes. Fails
/// as [`super::Footprint::estimate`] does.
pub fn integers(model: &ModelProto, batches: &[usize], limits: &Limits) -> Result<Vec<TensorProto>> {
    let mut common: Option<BTreeMap<&str, Value>> = None;
    for &batch in batches {
        let mut run = Run::new(limits);
        run.known = Some(BTreeMap::new());
        run.follow(model, batch)?;
        let known = run.known.unwrap_or_default();
        common = Some(match common {
            None => known,
            Some(mut common) => {
                common.retain(|name, value| known.get(name) == Some(value));
                common
            }
        });
    }
    Ok(common.unwrap_or_default().into_iter().filter_map(|(name, value)| tensor(name, &value)).collect())
}

fn tensor(name: &str, value: &Value) -> Option<TensorProto> {
    let numbers = value.numbers.as_ref().filter(|numbers| numbers.iter().all(|number| number.abs() <= EXACT))?;
    let raw_data = match value.element {
        DataType::Int64 => numbers.iter().flat_map(|&number| (number as i64).to_le_bytes()).collect(),
        DataType::Int32 => numbers.iter().flat_map(|&number| (number as i32).to_le_bytes()).collect(),
        DataType::Bool => numbers.iter().map(|&number| u8::from(number != 0.0)).collect(),
        _ => return None,
    };
    let dims = value.shape.iter().map(|&extent| extent as i64).collect();
    Some(TensorProto {
        name: name.to_owned(),
        data_type: value.element as i32,
        dims,
        raw_data,
        ..TensorProto::default()
    })
}
