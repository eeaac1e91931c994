//! The binary as a user sees it: output, exit codes and messages.
#![cfg(feature = "tract")]

mod example;
mod scene;

use example::Example;
use scene::{Scene, TRACT};
use serde_json::Value;

#[test]
fn a_file_without_a_card_is_used_and_said_so() {
    let scene = Scene::new();
    std::fs::write(scene.path("bare.onnx"), Example::without_card().bytes()).unwrap();
    let said = scene.deploy("predict picture-0.pgm --model bare.onnx --backend tract");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stderr.contains("note: the file has no model card: assumed grey images"), "{}", said.stderr);
    scene.assert_fails("eval --model bare.onnx --backend tract", 1, &["give --data"]);
}

#[test]
fn eval_counts_right_answers() {
    let scene = Scene::new();
    let said = scene.deploy(&format!("eval {TRACT} --data ."));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let runtime = "tract 0.23.9, tract-linalg with own convolutions on";
    for word in ["90.00 % (81 of 90;", "the test split of ., 90 images", "true \\ answer", "images/s", runtime] {
        assert!(said.stdout.contains(word), "{}", said.stdout);
    }
    let document = scene.deploy(&format!("eval {TRACT} --data . --format json")).json();
    assert_eq!((&document["correct"], &document["images"]), (&Value::from(81), &Value::from(90)));
    assert_eq!(document["labels"][2], "cat");
    assert_eq!(document["confusion"]["counts"].as_array().unwrap().len(), 3);
}

#[test]
fn eval_says_what_data_it_lacks() {
    let scene = Scene::new();
    scene.assert_fails(&format!("eval {TRACT}"), 1, &["'insects'", "give its folder with --data"]);
    scene.assert_fails(&format!("eval {TRACT} --data nowhere"), 1, &["nowhere: folder not found"]);
    std::fs::write(scene.path("t10k-labels-idx1-ubyte"), [0, 0, 8, 1, 0, 0, 0, 90, 1]).unwrap();
    scene.assert_fails(&format!("eval {TRACT} --data ."), 1, &["t10k-labels-idx1-ubyte", "truncated"]);
}

#[test]
#[cfg(feature = "ort")]
fn parity_compares_every_engine_with_onnx_runtime() {
    if !example::onnxruntime_for("parity_compares_every_engine_with_onnx_runtime") {
        return;
    }
    let scene = Scene::new();
    let said = scene.deploy("parity --model example.onnx --data .");
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    for word in ["90 test images", "ort: onnxruntime 1.", "tract: tract 0.", "beyond tie", "verdict", "agree"] {
        assert!(said.stdout.contains(word), "{}", said.stdout);
    }
    let document = scene.deploy("parity --model example.onnx --data . --images 10 --format json").json();
    assert_eq!(document["within_tolerance"], true);
    let compared = document["compared"].as_array().unwrap();
    let engines: Vec<_> = compared.iter().map(|one| one["engine"].as_str().unwrap()).collect();
    assert!(engines.starts_with(&["tract", "tract-stock", "ort-as-written"]), "{engines:?}");
    for one in compared {
        let engine = one["engine"].as_str().unwrap();
        assert_eq!((&one["images"], &one["within_tolerance"]), (&Value::from(10), &Value::from(true)), "{engine}");
        assert!(said.stdout.lines().any(|line| line.starts_with(&format!("{engine} ")) && line.ends_with(" agree")));
    }
    scene.assert_fails("parity --model example.onnx --data . --images 91", 1, &["expected 1 to 90"]);
}

#[test]
fn inspect_shows_the_file() {
    let scene = Scene::new();
    let said = scene.deploy("inspect --model example.onnx");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    for word in [
        "image uint8 [N, 1, 8, 6]",
        "logits float [N, 3]",
        "by hand",
        "opset 13, IR version 8",
        "Conv 1",
        "ant, bee, cat",
        "insects, 12,345 images",
        "test 50.00 %",
    ] {
        assert!(said.stdout.contains(word), "{word} in {}", said.stdout);
    }
    let document = scene.deploy("inspect --model example.onnx --format json").json();
    assert_eq!((&document["parameters"], &document["nodes"]), (&Value::from(1 + 36 + 12), &Value::from(8)));
    assert_eq!(document["card"]["labels"][0], "ant");
}

#[test]
fn inspect_shows_what_cannot_be_run_and_says_why() {
    use models::onnx::proto::type_proto::{Map, Sequence, Tensor, Value as Type};
    use models::onnx::proto::{OperatorSetIdProto, TypeProto};
    let scene = Scene::new();
    // Like a classifier written by skl2onnx: its probabilities are a sequence of maps.
    let mut model = Example::without_card().model();
    let boxed = |value| Some(Box::new(TypeProto { value: Some(value), ..TypeProto::default() }));
    let float = Type::TensorType(Tensor { elem_type: 1, shape: None });
    let map = Type::MapType(Box::new(Map { key_type: 7, value_type: boxed(float) }));
    let sequence = Type::SequenceType(Box::new(Sequence { elem_type: boxed(map) }));
    let graph = model.graph.as_mut().unwrap();
    graph.node[7].op_type = "ZipMap".into();
    graph.node[7].domain = "ai.onnx.ml".into();
    graph.output[1].r#type = Some(TypeProto { value: Some(sequence), ..TypeProto::default() });
    let domain = "ai.onnx.ml".to_owned();
    model.opset_import.push(OperatorSetIdProto { domain, version: 1 });
    std::fs::write(scene.path("skl.onnx"), prost::Message::encode_to_vec(&model)).unwrap();
    let said = scene.deploy("inspect skl.onnx");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    for word in
        ["probabilities sequence(map(int64, float))", "ai.onnx.ml.ZipMap 1", "opset 13, ai.onnx.ml 1", "cannot run"]
    {
        assert!(said.stdout.contains(word), "{word} in {}", said.stdout);
    }
    let document = scene.deploy("inspect skl.onnx --format json").json();
    assert!(document["problem"].as_str().unwrap().contains("ai.onnx.ml"), "{document}");
    scene.assert_fails("predict picture-0.pgm --model skl.onnx", 1, &["skl.onnx cannot be used", "ai.onnx.ml"]);
}

#[test]
fn inspect_says_what_the_scores_are() {
    let scene = Scene::new();
    let bare = Example { outputs: ["", "answer"], ..Example::without_card() };
    std::fs::write(scene.path("bare.onnx"), bare.bytes()).unwrap();
    let said = scene.deploy("inspect bare.onnx");
    assert!(said.stdout.contains("'answer' contains probabilities"), "{}", said.stdout);
    assert!(said.stdout.contains("made by Softmax; in a test run"), "{}", said.stdout);
    let document = scene.deploy("inspect bare.onnx --format json").json();
    assert_eq!(
        (&document["scores"]["holds"], &document["scores"]["output"]),
        (&"probabilities".into(), &"answer".into())
    );
    let document = scene.deploy("inspect example.onnx --format json").json();
    assert_eq!((&document["scores"]["holds"], &document["problem"]), (&"logits".into(), &Value::Null));
}

#[test]
fn the_model_is_an_operand_or_a_flag_but_not_both() {
    let scene = Scene::new();
    let (operand, flag) = (scene.deploy("inspect example.onnx"), scene.deploy("inspect --model example.onnx"));
    assert_eq!((operand.code, operand.stdout), (Some(0), flag.stdout));
    for command in ["inspect", "eval", "bench", "parity", "doctor"] {
        let words = ["cannot be used with", "--model"];
        scene.assert_fails(&format!("{command} example.onnx --model example.onnx"), 2, &words);
        scene.assert_fails(&format!("{command} no-such.onnx"), 1, &["cannot read no-such.onnx"]);
    }
}

#[test]
fn inspect_works_where_the_card_is_missing_or_broken() {
    let scene = Scene::new();
    std::fs::write(scene.path("bare.onnx"), Example::without_card().bytes()).unwrap();
    let said = scene.deploy("inspect --model bare.onnx");
    assert!(said.code == Some(0) && said.stdout.contains("Model card: none"), "{}", said.stdout);
    let mut model = Example::default().model();
    model.metadata_props[0].value = r#"{"format": 99}"#.to_owned();
    std::fs::write(scene.path("new.onnx"), prost::Message::encode_to_vec(&model)).unwrap();
    let said = scene.deploy("inspect --model new.onnx");
    assert!(said.code == Some(0) && said.stdout.contains("format 99: expected 1 to 2"), "{}", said.stdout);
}

#[test]
fn backends_lists_what_there_is() {
    let said = Scene::new().deploy("backends");
    assert_eq!(said.code, Some(0));
    for word in ["tract ", "tract-stock ", "ort ", "ort-as-written ", "ort-cuda ", "auto uses "] {
        assert!(said.stdout.contains(word), "{}", said.stdout);
    }
}

#[test]
fn the_document_of_backends_has_an_entry_for_every_engine() {
    let document = Scene::new().deploy("backends --format json").json();
    let engines = document["backends"].as_array().unwrap();
    let names: Vec<_> = engines.iter().map(|engine| engine["name"].as_str().unwrap()).collect();
    for (name, feature) in
        [("tract", "tract"), ("tract-stock", "onnx"), ("ort", "ort"), ("ort-as-written", "ort"), ("ort-cuda", "cuda")]
    {
        let engine = &engines[names.iter().position(|&other| other == name).unwrap()];
        let (available, reason) = (engine["available"].as_bool().unwrap(), engine["reason"].as_str());
        assert_eq!(available, reason.is_none(), "{engine}");
        if engine["compiled_in"] == false {
            assert!(reason.unwrap().ends_with(&format!("--features {feature}")), "{engine}");
        }
    }
    assert!(names.contains(&document["auto"].as_str().unwrap()), "{document}");
}

#[test]
fn a_file_that_is_not_a_model_is_named() {
    let scene = Scene::new();
    for command in ["predict picture-0.pgm --backend tract", "eval --backend tract --data .", "inspect"] {
        scene.assert_fails(&format!("{command} --model no-such.onnx"), 1, &["cannot read no-such.onnx"]);
        scene.assert_fails(&format!("{command} --model short.onnx"), 1, &["short.onnx cannot be used", "truncated"]);
        scene.assert_fails(&format!("{command} --model empty.onnx"), 1, &["empty.onnx cannot be used", "empty"]);
        scene.assert_fails(
            &format!("{command} --model notes.png"),
            1,
            &["notes.png cannot be used", "not a complete ONNX model"],
        );
        scene.assert_fails(&format!("{command} --model ."), 1, &["a folder"]);
    }
}

#[test]
#[cfg(feature = "ort")]
fn a_model_that_onnxruntime_cannot_load_is_reported_once() {
    if !example::onnxruntime_for("a_model_that_onnxruntime_cannot_load_is_reported_once") {
        return;
    }
    let scene = Scene::new();
    let mut model = Example::default().model();
    example::make_double(&mut model.graph.as_mut().unwrap().initializer[0]);
    std::fs::write(scene.path("odd.onnx"), prost::Message::encode_to_vec(&model)).unwrap();
    let said = scene.deploy("predict picture-0.pgm --model odd.onnx");
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.starts_with("error: ONNX Runtime cannot load odd.onnx: "), "{}", said.stderr);
    assert_eq!(said.stderr.trim_end().lines().count(), 1, "{}", said.stderr);
}

#[test]
fn wrong_usage_exits_with_2() {
    let scene = Scene::new();
    scene.assert_fails("predict --model example.onnx", 2, &["<IMG>..."]);
    scene.assert_fails(&format!("predict picture-0.pgm {TRACT} --no-such-flag"), 2, &["--no-such-flag"]);
    scene.assert_fails(
        "predict picture-0.pgm --model example.onnx --backend caffe",
        2,
        &["expected tract, tract-stock", "or auto"],
    );
    scene.assert_fails("predict picture-0.pgm --model example.onnx --device gpu", 2, &["auto, cpu, cuda or cuda:N"]);
    scene.assert_fails("predict picture-0.pgm --model example.onnx --device cuda:x", 2, &["not a device number"]);
    scene.assert_fails(&format!("predict picture-0.pgm {TRACT} --threads 0"), 2, &["--threads"]);
    scene.assert_fails(&format!("predict picture-0.pgm {TRACT} --device cuda"), 2, &["use --backend ort"]);
    scene.assert_fails(&format!("predict picture-0.pgm {TRACT} --stock-tract"), 2, &["--stock-tract"]);
    let words = ["--device has no effect with --backend ort-cuda"];
    scene.assert_fails("predict picture-0.pgm --model example.onnx --backend ort-cuda --device cpu", 2, &words);
    scene.assert_fails("backends --model example.onnx", 2, &["--model"]);
    scene.assert_fails("fly", 2, &["fly"]);
}

#[test]
#[cfg(not(feature = "cuda"))]
fn cuda_without_cuda_says_how_to_get_it() {
    let words = ["built without ort-cuda", "--features cuda"];
    Scene::new().assert_fails("predict picture-0.pgm --model example.onnx --device cuda:1", 1, &words);
}
