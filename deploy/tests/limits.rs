//! Models that would exhaust the machine are refused before an engine sees them, with a message that says what they ask
//! for.

mod example;

use deploy::backend::Engine;
use deploy::model::Model;
use example::{Example, integer, integers, node};
use models::onnx::proto::tensor_proto::{DataLocation, DataType};
use models::onnx::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto};
use prost::Message;
use std::time::{Duration, Instant};

fn open(bytes: &[u8]) -> Result<Model, String> {
    let engine: Engine = if cfg!(feature = "tract") { "tract" } else { "ort" }.parse().unwrap();
    let options = engine.options(Some(1));
    Model::from_bytes("bomb.onnx", bytes, &options).map_err(|error| format!("{error:#}"))
}

/// Opens the example changed by `change` and returns the error, which must come at once.
fn refusal(example: &Example, change: impl Fn(&mut ModelProto, &mut Vec<NodeProto>)) -> String {
    let mut model = example.model();
    let mut before = Vec::new();
    change(&mut model, &mut before);
    model.graph.as_mut().unwrap().node.splice(0..0, before);
    let bytes = model.encode_to_vec();
    let begin = Instant::now();
    let message = open(&bytes).err().expect("it was opened");
    assert!(begin.elapsed() < Duration::from_secs(20), "{message}");
    assert!(message.contains("bomb.onnx cannot be used"), "{message}");
    message
}

fn assert_refused(words: &[&str], change: impl Fn(&mut ModelProto, &mut Vec<NodeProto>)) {
    let message = refusal(&Example::without_card(), change);
    assert!(words.iter().all(|word| message.contains(word)), "expected {words:?} in: {message}");
}

/// Gives a node constants as further inputs.
fn with(model: &mut ModelProto, mut node: NodeProto, constants: &[&[i64]]) -> NodeProto {
    for numbers in constants {
        let name = format!("{}.{}", node.output[0], node.input.len());
        node.input.push(name.clone());
        let (dims, data_type) = (vec![numbers.len() as i64], DataType::Int64 as i32);
        let tensor = TensorProto { name, dims, data_type, int64_data: numbers.to_vec(), ..TensorProto::default() };
        model.graph.as_mut().unwrap().initializer.push(tensor);
    }
    node
}

/// Found by the fuzzer: tract read 2 as false where our code read it as true, and tract then read past the end of a
/// shape.
#[test]
fn a_boolean_attribute_other_than_0_and_1_is_refused() {
    assert_refused(&["its ReduceMean node", "keepdims 2: expected 0 or 1"], |_, nodes| {
        nodes.push(node("ReduceMean", &["image"], "mean", vec![integer("keepdims", 2)]));
    });
}

#[test]
fn constants_that_expand_are_refused_by_their_size() {
    let shape = |shape: &'static [i64]| {
        move |model: &mut ModelProto, nodes: &mut Vec<NodeProto>| {
            nodes.push(with(model, node("ConstantOfShape", &[], "huge", vec![]), &[shape]));
        }
    };
    let terabyte = "its ConstantOfShape node '' (number 0) is refused: 'huge' has the shape [1099511627776]";
    assert_refused(&[terabyte, "at most 1073741824 numbers"], shape(&[1 << 40]));
    assert_refused(&["'huge' has the shape [4611686018427387904, 4"], shape(&[1 << 62, 4]));
    assert_refused(&["extent -1"], shape(&[-1]));
    for (operator, constants, word) in [
        ("Tile", &[&[1 << 60, 1, 1, 1][..]][..], "1152921504606846976"),
        ("Expand", &[&[1 << 40, 1, 1, 1]], "1099511627776"),
        ("Pad", &[&[0, 0, 0, 0, 0, 0, 0, 1 << 50]], "1125899906842630"),
        ("Resize", &[&[], &[], &[1, 1, 1 << 30, 1 << 30]], "1073741824, 1073741824"),
    ] {
        assert_refused(&[&format!("its {operator} node"), word], |model, nodes| {
            nodes.push(node("Cast", &["image"], "bytes", vec![integer("to", 1)]));
            nodes.push(with(model, node(operator, &["bytes"], "huge", vec![]), constants));
        });
    }
    assert_refused(&["its Range node", "[1000000000000000000]"], |model, nodes| {
        nodes.push(with(model, node("Range", &[], "huge", vec![]), &[&[0], &[1_000_000_000_000_000_000], &[1]]));
    });
}

/// torch.onnx writes the amounts of `torch.nn.functional.pad` as a table, from the last axis to the first.
#[test]
fn amounts_that_a_graph_rearranges_are_followed() {
    assert_refused(&["its Pad node", "'huge' has the shape [1, 1, 33, 1099511627782]"], |model, nodes| {
        nodes.push(node("Cast", &["image"], "bytes", vec![integer("to", 1)]));
        let table = with(model, node("Reshape", &[], "table", vec![]), &[&[1 << 40, 0, 20, 5, 0, 0, 0, 0], &[-1, 2]]);
        let reversed =
            with(model, node("Slice", &["table"], "reversed", vec![]), &[&[-1], &[i64::MIN + 1], &[0], &[-1]]);
        nodes.extend([table, reversed, node("Transpose", &["reversed"], "turned", vec![integers("perm", &[1, 0])])]);
        nodes.push(with(model, node("Reshape", &["turned"], "amounts", vec![]), &[&[-1]]));
        nodes.push(node("Pad", &["bytes", "amounts"], "huge", vec![]));
    });
}

#[test]
fn small_steps_to_a_huge_value_are_added_up() {
    assert_refused(&["its Concat node", "at most"], |_, nodes| {
        for step in 0..60 {
            let from = if step == 0 { "image".to_owned() } else { format!("twice.{}", step - 1) };
            nodes.push(node("Concat", &[&from, &from], &format!("twice.{step}"), vec![integer("axis", 0)]));
        }
    });
    assert_refused(&["its Add node", "[1048576, 1048576]"], |model, nodes| {
        nodes.push(with(model, node("ConstantOfShape", &[], "row", vec![]), &[&[1, 1 << 20]]));
        nodes.push(with(model, node("ConstantOfShape", &[], "column", vec![]), &[&[1 << 20, 1]]));
        nodes.push(node("Add", &["row", "column"], "table", vec![]));
    });
    // Each of them alone is allowed.
    assert_refused(&["its constants take", "expected at most 2147483648"], |model, nodes| {
        for number in 0..20 {
            let name = format!("half.{number}");
            nodes.push(with(model, node("ConstantOfShape", &[], &name, vec![]), &[&[1 << 27]]));
        }
    });
    assert_refused(&["its Tile node", "bytes would be alive at once: expected at most 8589934592"], |model, nodes| {
        nodes.push(node("Cast", &["image"], "bytes", vec![integer("to", 1)]));
        let names: Vec<_> = (0..12).map(|number| format!("part.{number}")).collect();
        for name in &names {
            nodes.push(with(model, node("Tile", &["bytes"], name, vec![]), &[&[1, 1, 1 << 11, 1 << 11]]));
        }
        nodes.push(node("Sum", &names.iter().map(String::as_str).collect::<Vec<_>>(), "sum", vec![]));
    });
}

#[test]
fn work_without_end_is_refused() {
    let square = |model: &mut ModelProto, nodes: &mut Vec<NodeProto>| {
        nodes.push(with(model, node("ConstantOfShape", &[], "square", vec![]), &[&[1 << 13, 1 << 13]]));
        nodes.push(node("MatMul", &["square", "square"], "product", vec![]));
    };
    assert_refused(&["asks for 549755813888 multiply-adds for 1 images: expected at most 68719476736"], square);
    assert_refused(&["its MaxPool node", "bytes would be alive at once"], |_, nodes| {
        let window = vec![integers("kernel_shape", &[1 << 15, 1 << 15]), integers("pads", &[1 << 14; 4])];
        nodes.push(node("MaxPool", &["image"], "largest", window));
    });
    for (attribute, word) in [
        (integer("group", 0), "0 groups"),
        (integers("strides", &[0, 1]), "strides [0, 1]: expected 1 or more"),
        (integers("dilations", &[-1, 1]), "dilations [-1, 1]"),
        (integers("kernel_shape", &[0, 3]), "kernel_shape [0, 3], but weights of [4, 1, 3, 3]"),
        (integers("strides", &[1; 3]), "3 strides for 2 spatial axes"),
    ] {
        assert_refused(&["its Conv node", word], |model, _| {
            model.graph.as_mut().unwrap().node[2].attribute.push(attribute.clone());
        });
    }
}

#[test]
fn subgraphs_and_operators_with_unknown_output_shapes_are_refused() {
    assert_refused(&["its Loop node", "no control flow"], |_, nodes| {
        let g = Some(GraphProto::default());
        let body = AttributeProto { name: "body".into(), g, ..AttributeProto::default() };
        nodes.push(node("Loop", &[], "looped", vec![body]));
    });
    assert_refused(&["functions of its own"], |model, _| model.functions.push(FunctionProto::default()));
    assert_refused(&["its NonZero node", "is not known before a run"], |_, nodes| {
        nodes.push(node("NonZero", &["image"], "places", vec![]));
    });
    assert_refused(&["2508 nodes: expected at most 2500"], |_, nodes| {
        nodes.extend((0..2_500).map(|number| node("Relu", &["image"], &format!("relu.{number}"), vec![])));
    });
    assert_refused(&["its Relu node '' depends on its own output"], |_, nodes| {
        nodes.push(node("Relu", &["later"], "sooner", vec![]));
        nodes.push(node("Relu", &["sooner"], "later", vec![]));
    });
}

/// tract iterates up to the axis of a `LayerNormalization`.
#[test]
fn an_axis_that_no_tensor_has_is_refused() {
    assert_refused(&["its LayerNormalization node", "expected at most 16 axes"], |model, nodes| {
        let scale = with(model, node("Cast", &[], "scale.float", vec![integer("to", 1)]), &[&[1; 6]]);
        let axis = vec![integer("axis", i64::MIN)];
        nodes.extend([scale, node("LayerNormalization", &["image", "scale.float"], "normal", axis)]);
    });
}

#[test]
fn what_readers_might_see_differently_is_refused() {
    assert_refused(&["two of its inputs, tensors or node outputs have the name 'float'"], |_, nodes| {
        nodes.push(node("Relu", &["image"], "float", vec![]));
    });
    assert_refused(&["attribute 'axis' twice"], |_, nodes| {
        nodes.push(node("Softmax", &["image"], "soft", vec![integer("axis", 0), integer("axis", 1)]));
    });
    assert_refused(&["two versions of one operator set"], |model, _| {
        let opset = model.opset_import[0].clone();
        model.opset_import.push(opset);
    });
    assert_refused(&["does not declare its opset"], |model, _| model.opset_import.clear());
    assert_refused(
        &["its tensor 'scale' has the shape [], which takes 1 stored numbers or bytes, but it has 0"],
        |model, _| {
            model.graph.as_mut().unwrap().initializer[0].float_data.clear();
        },
    );
    assert_refused(&["its tensor 'scale'", "but it has 8"], |model, _| {
        model.graph.as_mut().unwrap().initializer[0].raw_data = vec![0; 8];
    });
}

/// Otherwise an attacker could use a node's attribute to read any file.
#[test]
fn a_constant_in_another_file_is_refused_too() {
    assert_refused(&["its Constant node", "kept in another file"], |_, nodes| {
        let mut tensor = TensorProto { dims: vec![1], data_type: 1, ..TensorProto::default() };
        tensor.set_data_location(DataLocation::External);
        let value = AttributeProto { name: "value".into(), t: Some(tensor), ..AttributeProto::default() };
        nodes.push(node("Constant", &[], "elsewhere", vec![value]));
    });
}

#[test]
fn the_shape_of_an_output_is_what_the_graph_computes() {
    let message = refusal(&Example { classes_told: false, ..Example::without_card() }, |model, nodes| {
        nodes.push(with(model, node("ConstantOfShape", &[], "wide", vec![]), &[&[3, 200_000]]));
        model.graph.as_mut().unwrap().node[6].input[0] = "flat3".into();
        let last = with(model, node("Slice", &["flat"], "flat3", vec![]), &[&[0], &[3], &[1]]);
        let graph = model.graph.as_mut().unwrap();
        graph.node.insert(6, last);
        graph.node[7].input[1] = "wide".into();
    });
    assert!(message.contains("it has 200000 classes: expected 1 to 100000"), "{message}");
    assert_refused(&["its output 'logits' has the shape [32, 3]: expected [32, 1099511627776]"], |model, _| {
        use models::onnx::proto::tensor_shape_proto::dimension::Value;
        use models::onnx::proto::type_proto;
        for output in &mut model.graph.as_mut().unwrap().output {
            let kind = output.r#type.as_mut().unwrap().value.as_mut().unwrap();
            let type_proto::Value::TensorType(tensor) = kind else { panic!("not a tensor") };
            tensor.shape.as_mut().unwrap().dim[1].value = Some(Value::DimValue(1 << 40));
        }
    });
}
