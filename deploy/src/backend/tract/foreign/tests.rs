//! Compares the rewritten convolutions with tract's own.

use super::super::lanes::Lane;
use super::rewrite::rewrite;
use models::fingerprint::Fingerprint;
use tract_core::internal::Approximation;
use tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_core::ops::math::{max, min};
use tract_core::ops::nn::DataFormat;
use tract_onnx::prelude::*;

/// Pseudo-random numbers that are the same in every run.
struct Numbers(Fingerprint);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.and(b"next");
        (self.0.spread() >> 11) as usize % limit
    }

    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.below(2001) as f32 / 1000.0 - 1.0).collect();
        Tensor::from_shape(shape, &values).unwrap()
    }
}

/// A graph of one image `[1, C, H, W]` with a convolution that our operators can compute, and its input.
fn graph(numbers: &mut Numbers, clamped: bool) -> (TypedModel, Tensor, String) {
    let form = numbers.below(4);
    let (own_plane, kernel) = (form < 2, if form == 3 { 1 } else { 3 });
    let channels = 2 + numbers.below(6);
    let inputs = match form {
        0 | 1 => channels,
        2 => 1,
        _ => 1 + numbers.below(20),
    };
    let (height, width) = (3 + numbers.below(40), 3 + numbers.below(70));
    let stride = 1 + numbers.below(2);
    let mut pads = || tvec!(numbers.below(kernel + 1), numbers.below(kernel + 1));
    let padding = PaddingSpec::Explicit(pads(), pads());
    let what =
        format!("{kernel}x{kernel}, {inputs} -> {channels} planes of {height}x{width}, stride {stride}, {padding:?}");
    let input = numbers.tensor(&[1, inputs, height, width]);
    let (weights, bias) =
        (numbers.tensor(&[channels, if own_plane { 1 } else { inputs }, kernel, kernel]), numbers.tensor(&[channels]));

    let mut model = TypedModel::default();
    let source = model.add_source("x", f32::fact(input.shape())).unwrap();
    let weights = model.add_const("weights", weights).unwrap();
    let bias = model.add_const("bias", bias).unwrap();
    let pool_spec = PoolSpec {
        data_format: DataFormat::NCHW,
        kernel_shape: tvec!(kernel, kernel),
        padding,
        dilations: None,
        strides: Some(tvec!(stride, stride)),
        input_channels: inputs,
        output_channels: channels,
    };
    let group = if own_plane { channels } else { 1 };
    let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group, q_params: None };
    let mut wire = model.wire_node("conv", conv, &[source, weights, bias]).unwrap()[0];
    if clamped {
        for (name, bound) in [("low", -0.5_f32), ("high", 1.5)] {
            let bound = model.add_const(format!("{name}.bound"), tensor4(&[[[[bound]]]])).unwrap();
            let operation = if name == "low" { max() } else { min() };
            wire = model.wire_node(name, operation, &[wire, bound]).unwrap()[0];
        }
    }
    model.select_output_outlets(&[wire]).unwrap();
    (model, input, what)
}

fn run(model: TypedModel, input: &Tensor) -> Tensor {
    let plan = model.into_optimized().unwrap().into_runnable().unwrap();
    plan.run(tvec!(input.clone().into_tvalue())).unwrap()[0].clone().into_tensor()
}

#[test]
fn the_operator_computes_what_tracts_own_does_on_random_shapes_paddings_and_strides() {
    let mut numbers = Numbers(Fingerprint::default());
    for lane in Lane::available() {
        for case in 0..150 {
            let clamped = case % 2 == 0;
            let (model, input, what) = graph(&mut numbers, clamped);
            let mut rewritten = model.clone();
            assert_eq!(rewrite(&mut rewritten, &[lane]).unwrap(), 1, "{what}");
            // The clamp is part of the operator: only it and the input are left.
            assert_eq!(rewritten.nodes.len(), 2, "{what}: {rewritten}");
            let (expected, found) = (run(model, &input), run(rewritten, &input));
            found.close_enough(&expected, Approximation::Approximate).unwrap_or_else(|error| {
                panic!("{lane:?}, {what}: {error}");
            });
            if clamped {
                let numbers = found.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap();
                assert!(numbers.iter().all(|number| (-0.5..=1.5).contains(number)), "{what}");
            }
        }
    }
}

#[test]
fn what_the_kernel_cannot_compute_is_left_to_tract() {
    let mut numbers = Numbers(Fingerprint::default().and(b"other"));
    for change in ["dilation", "kernel", "strides", "groups"] {
        let mut model = TypedModel::default();
        let source = model.add_source("x", f32::fact([1, 4, 12, 12])).unwrap();
        let kernel = if change == "kernel" { 5 } else { 3 };
        let per_group = if change == "groups" { 2 } else { 1 };
        let weights = model.add_const("weights", numbers.tensor(&[4, per_group, kernel, kernel])).unwrap();
        let bias = model.add_const("bias", numbers.tensor(&[4])).unwrap();
        let pool_spec = PoolSpec {
            data_format: DataFormat::NCHW,
            kernel_shape: tvec!(kernel, kernel),
            padding: PaddingSpec::Valid,
            dilations: (change == "dilation").then(|| tvec!(2, 2)),
            strides: Some(if change == "strides" { tvec!(1, 2) } else { tvec!(1, 1) }),
            input_channels: 4,
            output_channels: 4,
        };
        let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: 4 / per_group, q_params: None };
        let wire = model.wire_node("conv", conv, &[source, weights, bias]).unwrap();
        model.select_output_outlets(&wire).unwrap();
        assert_eq!(rewrite(&mut model, &Lane::available()).unwrap(), 0, "{change}");
        assert!(model.nodes.iter().any(TypedNode::op_is::<Conv>), "{change}");
    }
}
