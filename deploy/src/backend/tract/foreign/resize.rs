//! Resizes columns before rows.
//!
//! tract resizes one axis after the other, rows first. It handles many numbers at once when it resizes rows, but only
//! one at a time when it resizes columns. So columns should be resized first, while there are few rows. The result is
//! the same except for rounding.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::nn::resize::{Interpolator, Resize};

/// Splits every enlargement of rows and columns into one of the columns, followed by one of the rows.
pub(super) fn columns_first(model: &mut TypedModel) -> TractResult<()> {
    for id in model.eval_order()? {
        if let Some(patch) = patch(model, id)? {
            patch.apply(model)?;
        }
    }
    model.compact()
}

fn patch(model: &TypedModel, id: usize) -> TractResult<Option<TypedModelPatch>> {
    let node = model.node(id);
    let Some(resize) = node.op_as::<Resize>() else { return Ok(None) };
    let scales = resize.optional_scales_input.and_then(|scales| node.inputs.get(scales));
    let Some(scales) = scales else { return Ok(None) };
    let Some(scales) = &model.outlet_fact(*scales)?.konst else { return Ok(None) };
    if scales.datum_type() != f32::datum_type() || resize.interpolator == Interpolator::Nearest {
        return Ok(None);
    }
    let scales = scales.try_as_plain_ram()?.as_slice::<f32>()?;
    let [others @ .., rows, columns] = scales else { return Ok(None) };
    if others.iter().any(|&scale| scale != 1.0) || *rows <= 1.0 || *columns <= 1.0 {
        return Ok(None);
    }
    let mut patch = TypedModelPatch::new("columns before rows");
    let mut wire = patch.tap_model(model, node.inputs[0])?;
    for (axis, name) in [(others.len() + 1, format!("{}.columns", node.name)), (others.len(), node.name.clone())] {
        let mut one = vec![1.0; scales.len()];
        one[axis] = scales[axis];
        let factors = patch.add_const(format!("{name}.factors"), tensor1(&one))?;
        let operator = Resize { optional_scales_input: Some(1), optional_sizes_input: None, ..resize.clone() };
        wire = patch.wire_node(name, operator, &[wire, factors])?[0];
    }
    patch.shunt_outside(model, id.into(), wire)?;
    Ok(Some(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_core::internal::Approximation;
    use tract_onnx::tract_core::ops::nn::resize::{CoordTransformer, Nearest};

    fn graph(scales: &[f32]) -> TypedModel {
        let mut model = TypedModel::default();
        let source = model.add_source("x", f32::fact([1, 2, 5, 7])).unwrap();
        let factors = model.add_const("factors", tensor1(scales)).unwrap();
        let resize = Resize {
            coord_transformer: CoordTransformer::HalfPixel,
            interpolator: Interpolator::Linear,
            nearest: Nearest::Floor,
            optional_scales_input: Some(1),
            optional_sizes_input: None,
        };
        let wire = model.wire_node("resize", resize, &[source, factors]).unwrap();
        model.select_output_outlets(&wire).unwrap();
        model
    }

    fn run(model: TypedModel) -> Tensor {
        let pixels: Vec<f32> = (0..70_u16).map(|index| f32::from(index * index % 83)).collect();
        let input = Tensor::from_shape(&[1, 2, 5, 7], &pixels).unwrap();
        let plan = model.into_optimized().unwrap().into_runnable().unwrap();
        plan.run(tvec!(input.into_tvalue())).unwrap()[0].clone().into_tensor()
    }

    #[test]
    fn the_order_does_not_change_the_result() {
        for scales in [[1.0, 1.0, 2.0, 3.0], [1.0, 1.0, 2.4, 2.0]] {
            let mut model = graph(&scales);
            let expected = run(model.clone());
            columns_first(&mut model).unwrap();
            assert_eq!(model.nodes.iter().filter(|node| node.op_is::<Resize>()).count(), 2);
            let found = run(model);
            assert_eq!(found.shape(), expected.shape());
            found.close_enough(&expected, Approximation::Approximate).unwrap();
        }
    }

    #[test]
    fn what_is_not_enlarged_both_ways_is_left_alone() {
        for scales in [[1.0, 1.0, 1.0, 3.0], [1.0, 1.0, 2.0, 1.0], [1.0, 1.0, 0.5, 2.0], [1.0, 2.0, 2.0, 2.0]] {
            let mut model = graph(&scales);
            columns_first(&mut model).unwrap();
            assert_eq!(model.nodes.iter().filter(|node| node.op_is::<Resize>()).count(), 1, "{scales:?}");
        }
    }
}
