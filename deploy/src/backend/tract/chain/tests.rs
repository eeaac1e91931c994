//! Reads small graphs as `train export` writes them.

use super::*;
use models::onnx;
use models::onnx::proto::attribute_proto::AttributeType;
use models::onnx::proto::{AttributeProto, GraphProto, NodeProto};

const FP32: &[u8] = include_bytes!("../../../../../tests/fuzz/seeds/onnx_load/chain-fp32.onnx");
const INT8: &[u8] = include_bytes!("../../../../../tests/fuzz/seeds/onnx_load/chain-int8.onnx");

fn integer(name: &str, value: i64) -> AttributeProto {
    let r#type = AttributeType::Int as i32;
    AttributeProto { name: name.to_owned(), r#type, i: Some(value), ..AttributeProto::default() }
}

/// The first node with this operator.
fn node<'a>(graph: &'a mut GraphProto, operator: &str) -> &'a mut NodeProto {
    graph.node.iter_mut().find(|node| node.op_type == operator).unwrap()
}

/// An attribute of that node.
fn attribute<'a>(graph: &'a mut GraphProto, operator: &str, name: &str) -> &'a mut AttributeProto {
    node(graph, operator).attribute.iter_mut().find(|attribute| attribute.name == name).unwrap()
}

#[test]
fn the_steps_are_those_of_the_nodes() {
    let chain = Chain::read(&onnx::parse(FP32).unwrap(), "logits").unwrap();
    let [pixels, stem, depthwise, pointwise, full, Step::Mean, Step::Flattened, Step::Linear { weights, bias }] =
        &chain.steps[..]
    else {
        panic!("{chain:?}");
    };
    let scale = vec![1.0 / 255.0];
    assert_eq!(*pixels, Step::Pixels { scale, shift: vec![-0.1], factors: Some([2.0, 1.5]) });
    assert_eq!((weights.len(), bias.len()), (8, 2));
    for (step, kernel, stride, padding, groups) in
        [(stem, 3, 2, 1, 1), (depthwise, 3, 1, 1, 3), (pointwise, 1, 1, 0, 1), (full, 3, 2, 1, 1)]
    {
        let Step::Convolution(found) = step else { panic!("{step:?}") };
        assert_eq!((found.kernel, found.stride, found.padding, found.groups), (kernel, stride, padding, groups));
        assert_eq!(found.clamp, [0.0, 6.0]);
    }
}

/// Changes that a reader written only for our own graphs could overlook.
#[test]
fn a_graph_that_means_something_else_is_foreign() {
    type Change = fn(&mut GraphProto);
    let changes: [(&[u8], Change, &str); 22] = [
        (FP32, |graph| node(graph, "Conv").attribute.push(integer("dilations", 2)), "dilations"),
        (FP32, |graph| attribute(graph, "Conv", "strides").ints[0] = 1, "strides"),
        (FP32, |graph| attribute(graph, "Conv", "pads").ints[3] = 0, "pads"),
        (FP32, |graph| attribute(graph, "Conv", "kernel_shape").ints = vec![1, 1], "square kernel"),
        (FP32, |graph| node(graph, "Conv").domain = "mine".to_owned(), "standard"),
        (FP32, |graph| node(graph, "Clip").input[2] = String::new(), "not a constant"),
        (FP32, |graph| node(graph, "Clip").input.swap(1, 2), "right after a convolution"),
        (
            FP32,
            |graph| {
                let bias = node(graph, "Gemm").input[2].clone();
                graph.initializer.iter_mut().find(|one| one.name == bias).unwrap().dims = vec![2, 1];
            },
            "expected a bias for each output",
        ),
        (FP32, |graph| node(graph, "Clip").op_type = "Relu".to_owned(), "train export does not write this operator"),
        (FP32, |graph| node(graph, "Mul").op_type = "Div".to_owned(), "train export does not write this operator"),
        (FP32, |graph| node(graph, "Add").input[1] = "image".to_owned(), "not a constant"),
        (FP32, |graph| attribute(graph, "Resize", "mode").s = b"cubic".to_vec(), "linear"),
        (
            FP32,
            |graph| attribute(graph, "Resize", "coordinate_transformation_mode").s = b"asymmetric".to_vec(),
            "half pixels",
        ),
        (FP32, |graph| attribute(graph, "Cast", "to").i = Some(11), "cast"),
        (FP32, |graph| attribute(graph, "Flatten", "axis").i = Some(2), "axis 1"),
        (FP32, |graph| attribute(graph, "Gemm", "transB").i = Some(0), "transB"),
        (FP32, |graph| node(graph, "Gemm").attribute.push(integer("alpha", 2)), "alpha"),
        (FP32, |graph| node(graph, "GlobalAveragePool").input[0] = "a".to_owned(), "expected 'full'"),
        (INT8, |graph| node(graph, "DequantizeLinear").attribute.push(integer("axis", 1)), "attribute 'axis'"),
        (INT8, |graph| graph.node.iter_mut().for_each(|node| node.attribute.retain(|at| at.name != "axis")), "axis 0"),
        (INT8, |graph| node(graph, "QuantizeLinear").input[1] = "hi".to_owned(), "expected the scale"),
        (INT8, |graph| node(graph, "QuantizeLinear").input.truncate(2), "zero point"),
    ];
    for (number, (bytes, change, word)) in changes.into_iter().enumerate() {
        let mut model = onnx::parse(bytes).unwrap();
        Chain::read(&model, "logits").unwrap();
        change(model.graph.as_mut().unwrap());
        let Err(why) = Chain::read(&model, "logits") else { panic!("change {number} was overlooked") };
        assert!(why.to_string().contains(word), "change {number}: {why}");
    }
    assert!(Chain::read(&onnx::parse(FP32).unwrap(), "pool").is_ok());
    assert!(Chain::read(&onnx::parse(FP32).unwrap(), "stem.conv").is_ok());
    assert!(Chain::read(&onnx::parse(FP32).unwrap(), "nothing").is_err());
}
