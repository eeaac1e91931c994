//! Depthwise convolutions with kernels of 3×3, faster than tract's own, with the ReLU6 after them in one.
//!
//! What tract loses against ONNX Runtime it loses there: MobileNetV1 spends 3 % of its multiply-adds in depthwise
//! convolutions (paper, table 2), tract up to half of its time. `kernel` has the arithmetic, `lanes` the instructions,
//! `operator` is what tract runs, and `rewrite` puts it into a graph. A first convolution of grey pictures is a depthwise
//! one too, whose planes are all computed from the same.

mod kernel;
mod lanes;
mod operator;
mod rewrite;

pub(super) use kernel::Lane;
pub(super) use rewrite::rewrite;

#[cfg(test)]
mod tests {
    use super::kernel::Depthwise;
    use super::*;
    use models::fingerprint::Fingerprint;
    use tract_onnx::prelude::*;
    use tract_onnx::tract_core::internal::Approximation;
    use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
    use tract_onnx::tract_core::ops::math::{max, min};
    use tract_onnx::tract_core::ops::nn::DataFormat;

    /// Numbers that look random but are the same each time.
    struct Numbers(Fingerprint);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.and(b"next");
            (self.0.spread() >> 11) as usize % limit
        }

        fn tensor(&mut self, shape: &[usize]) -> Tensor {
            let values: Vec<f32> =
                (0..shape.iter().product()).map(|_| self.below(2001) as f32 / 1000.0 - 1.0).collect();
            Tensor::from_shape(shape, &values).unwrap()
        }
    }

    /// A convolution with 3×3 kernels as a graph of one picture `[1, C, H, W]`, and its input.
    fn graph(numbers: &mut Numbers, clamped: bool) -> (TypedModel, Tensor, String) {
        let own_plane = numbers.below(4) > 0;
        let channels = 2 + numbers.below(6);
        let inputs = if own_plane { channels } else { 1 };
        let (height, width) = (3 + numbers.below(40), 3 + numbers.below(70));
        let stride = 1 + numbers.below(2);
        let mut pads = || tvec!(numbers.below(4), numbers.below(4));
        let padding = PaddingSpec::Explicit(pads(), pads());
        let what = format!("{inputs} -> {channels} planes of {height}x{width}, stride {stride}, {padding:?}");
        let input = numbers.tensor(&[1, inputs, height, width]);
        let (weights, bias) = (numbers.tensor(&[channels, 1, 3, 3]), numbers.tensor(&[channels]));

        let mut model = TypedModel::default();
        let source = model.add_source("x", f32::fact(input.shape())).unwrap();
        let weights = model.add_const("weights", weights).unwrap();
        let bias = model.add_const("bias", bias).unwrap();
        let pool_spec = PoolSpec {
            data_format: DataFormat::NCHW,
            kernel_shape: tvec!(3, 3),
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
                // The clamp is in the operator: nothing is left but it and the input.
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
    fn rows_of_every_length_are_computed_to_their_end() {
        for lane in Lane::available() {
            for width in 1..=40 {
                let depthwise = Depthwise {
                    channels: 2,
                    own_plane: true,
                    input: [3, width],
                    output: [3, width],
                    stride: 1,
                    padding: [1, 1],
                    weights: [[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]; 2].concat(),
                    bias: vec![0.0, 100.0],
                    clamp: [f32::NEG_INFINITY, f32::INFINITY],
                };
                let input: Vec<f32> = (0..6 * width).map(|number| number as f32).collect();
                let mut output = vec![f32::NAN; input.len()];
                depthwise.run(&[lane], &input, &mut output);
                let expected =
                    input.iter().enumerate().map(|(at, value)| value + if at < 3 * width { 0.0 } else { 100.0 });
                assert_eq!(output, expected.collect::<Vec<_>>(), "{lane:?}, {width} columns");
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
}
