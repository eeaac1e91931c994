//! `deploy adopt`: files of other exporters become files that follow our contract, or are refused with a reason.
#![cfg(feature = "adopt")]

mod example;

use assert_cmd::Command;
use deploy::backend::{Options, Selection};
use deploy::model::Model;
use example::{Example, LABELS, images, integer, integers, logits_by_hand, node, onnxruntime_for};
use models::card::ModelCard;
use models::image_file;
use models::onnx;
use models::onnx::nodes::tensor;
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::proto::{
    AttributeProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, ValueInfoProto,
};
use ndarray::{Array4, Axis, s};
use std::fs;
use std::path::{Path, PathBuf};

/// How an image is prepared for the network of [`Example`], as flags.
const PREPARED: &str = "--scale 1/255 --mean 0 --std 1 --resize bilinear --fit squash";

/// The network of [`Example`] as other exporters write it: it takes floats, prepared by the caller.
fn floats(channels: usize) -> ModelProto {
    let example =
        Example { card: false, channels, element: DataType::Float, outputs: ["scores", ""], ..Example::default() };
    let mut model = example.model();
    let graph = model.graph.as_mut().unwrap();
    graph.node.drain(..2);
    graph.node[0].input[0] = "image".into();
    model
}

/// The same with channels last.
fn channels_last(channels: usize) -> ModelProto {
    let mut model = floats(channels);
    let graph = model.graph.as_mut().unwrap();
    graph.node[0].input[0] = "planes".into();
    graph.node.insert(0, node("Transpose", &["image"], "planes", vec![integers("perm", &[0, 3, 1, 2])]));
    let shape = graph.input[0].r#type.as_mut().unwrap();
    let Some(models::onnx::proto::type_proto::Value::TensorType(tensor)) = &mut shape.value else { panic!() };
    tensor.shape.as_mut().unwrap().dim[1..].rotate_left(1);
    model
}

/// A folder with a file, and what `deploy adopt` makes of it.
struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new(model: &ModelProto) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("model.onnx"), onnx::encode(model)).unwrap();
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn adopt(&self, flags: &str) -> (Option<i32>, String) {
        let mut command = Command::cargo_bin("deploy").unwrap();
        command.current_dir(self.folder.path()).args(["adopt", "model.onnx", "-o", "out.onnx"]);
        let output = command.args(flags.split_whitespace()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code(), text)
    }

    fn refused(&self, flags: &str, words: &[&str]) {
        let (code, text) = self.adopt(flags);
        assert!(code != Some(0) && words.iter().all(|word| text.contains(word)), "{flags}: {text}");
        assert!(!self.file("out.onnx").exists());
    }

    /// Adopts the file, which must answer like the network itself for `expected`.
    fn adopted(&self, flags: &str, images: &Array4<u8>, expected: &Array4<u8>) -> (ModelCard, String) {
        let (code, text) = self.adopt(flags);
        assert_eq!(code, Some(0), "{text}");
        let options = Options::new(Selection::AutoOnCpu, Some(1));
        let mut model = Model::open(&self.file("out.onnx"), &options).unwrap();
        let found = model.logits(images.view()).unwrap();
        let by_hand = logits_by_hand(expected.view());
        assert!(found.iter().zip(&by_hand).all(|(found, by_hand)| (found - by_hand).abs() < 1e-3), "{flags}: {found}");
        (model.card().unwrap().clone(), text)
    }
}

fn labels(folder: &Path) {
    fs::write(folder.join("labels.txt"), LABELS.join("\n")).unwrap();
}

#[test]
fn what_the_flags_say_is_put_into_the_file() {
    if !onnxruntime_for("what_the_flags_say_is_put_into_the_file") {
        return;
    }
    let grey = images(6, 1);
    let case = Case::new(&floats(1));
    labels(case.folder.path());
    let (card, text) = case.adopted(&format!("{PREPARED} --labels labels.txt"), &grey, &grey);
    assert_eq!(card.labels, LABELS);
    assert!(card.adopted.is_some_and(|adopted| adopted.source.sha256.len() == 64 && adopted.producer == "by hand"));
    assert!(text.contains("Compared with the original on 100 random patterns"), "{text}");

    let colours = images(6, 3);
    for model in [floats(3), channels_last(3)] {
        Case::new(&model).adopted(&format!("{PREPARED} --color rgb"), &colours, &colours);
        let swapped = colours.slice(s![.., ..;-1, .., ..]).to_owned();
        Case::new(&model).adopted(&format!("{PREPARED} --color bgr"), &colours, &swapped);
    }
}

/// The network gets (value · scale − mean) / std, with the numbers of blue first for `bgr`.
#[test]
fn mean_and_deviation_are_those_of_the_networks_channels() {
    if !onnxruntime_for("mean_and_deviation_are_those_of_the_networks_channels") {
        return;
    }
    let images = images(6, 3) / 2;
    // Twice the value, so that the network sees other images than it gets.
    let seen = Array4::from_shape_fn(images.dim(), |(n, c, y, x)| {
        let network = images[[n, 2 - c, y, x]];
        network * [1, 2, 1][c] + [0, 10, 20][c]
    });
    let flags = "--color bgr --scale 1 --mean 0,-5,-20 --std 255,127.5,255 --resize bilinear --fit squash";
    Case::new(&floats(3)).adopted(flags, &images, &seen);
}

#[test]
fn neighbours_and_metadata_say_what_flags_need_not() {
    if !onnxruntime_for("neighbours_and_metadata_say_what_flags_need_not") {
        return;
    }
    let colours = images(3, 3);
    let mut model = floats(3);
    let case = Case::new(&model);
    let config = r#"{"pretrained_cfg": {"input_size": [3, 8, 6], "mean": [0, 0, 0], "std": [1, 1, 1], "crop_pct": 0.9,
        "interpolation": "bicubic"}, "label_names": ["ant", "bee", "cat"]}"#;
    fs::write(case.file("config.json"), config).unwrap();
    let (card, _) = case.adopted("", &colours, &colours);
    assert_eq!((card.labels.len(), card.input.resize.crop), (3, 0.9));
    // A flag comes first.
    fs::remove_file(case.file("out.onnx")).unwrap();
    assert_eq!(case.adopted("--crop 1", &colours, &colours).0.input.resize.crop, 1.0);
    fs::remove_file(case.file("out.onnx")).unwrap();
    // The config's scale does not belong to a flag's mean.
    let (code, text) = case.adopt("--mean 127.5 --std 127.5");
    assert!(code == Some(0) && text.contains("-1.00 to 1.00"), "{text}");
    fs::remove_file(case.file("out.onnx")).unwrap();
    case.refused("--mean 0 --std 255", &["Missing: --scale"]);
    case.adopted("--mean 0 --std 1", &colours, &colours);
    fs::remove_file(case.file("out.onnx")).unwrap();

    // Two classes can have the same name in common lists.
    fs::write(case.file("names.txt"), "crane\nox\ncrane\n").unwrap();
    let (card, text) = case.adopted("--labels names.txt", &colours, &colours);
    assert_eq!(card.labels, ["crane", "ox", "crane (2)"]);
    assert!(text.contains("repeats the name of a class: the later class is called crane (2)"), "{text}");
    fs::remove_file(case.file("out.onnx")).unwrap();

    fs::create_dir(case.file("photos")).unwrap();
    fs::write(case.file("photos/1.png"), image_file::png(colours.index_axis(Axis(0), 0)).unwrap()).unwrap();
    case.refused("--images photos --preview photos", &["photos/1.png is in the folder photos"]);

    let names = "{0: 'ant', 1: \"bee's\", 2: 'cat'}";
    for (key, value) in [("task", "classify"), ("imgsz", "[8, 6]"), ("names", names)] {
        model.metadata_props.push(StringStringEntryProto { key: key.into(), value: value.into() });
    }
    let (card, text) = Case::new(&model).adopted("", &colours, &colours);
    assert_eq!(card.labels[1], "bee's");
    assert!(text.contains("ultralytics metadata"), "{text}");
}

#[test]
fn a_file_that_lies_beside_the_model_by_chance_does_not_stop_the_flags() {
    let case = Case::new(&floats(3));
    fs::write(case.file("config.json"), "{ // of another program\n}").unwrap();
    case.refused("", &["config.json is not JSON", "Missing: --color"]);
    let flags = format!("{PREPARED} --color rgb");
    case.refused(&format!("{flags} --config config.json"), &["config.json is not JSON"]);
    if !onnxruntime_for("a_file_that_lies_beside_the_model_by_chance") {
        return;
    }
    let colours = images(3, 3);
    let (_, text) = case.adopted(&flags, &colours, &colours);
    assert!(text.contains("note: a file beside the model is not used: config.json is not JSON"), "{text}");
}

#[test]
fn what_nobody_says_is_asked_for_and_what_contradicts_the_file_is_refused() {
    let case = Case::new(&floats(3));
    let (code, text) = case.adopt("");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("Missing: --color, --scale, --mean, --std, --resize, --fit, --crop"), "{text}");
    assert!(text.contains("float [N, 3, 8, 6]") && text.contains("0.485,0.456,0.406"), "{text}");
    // A mean of 0 fits every scale.
    case.refused(&format!("{} --color rgb", PREPARED.replace("--scale 1/255 ", "")), &["Missing: --scale"]);
    let with = |flags: &str| format!("{PREPARED} --color rgb {flags}");
    case.refused(&with("--layout nhwc"), &["--layout says nhwc", "float [N, 3, 8, 6]"]);
    case.refused(&format!("{PREPARED} --color grey"), &["grey, which has 1 channels", "has 3"]);
    case.refused(&with("--size 10"), &["--size says 10x10 px", "fixed at 6x8 px"]);
    case.refused(&with("--output logits"), &["--output names 'logits'", "scores float"]);
    if !onnxruntime_for("what_nobody_says_is_asked_for") {
        return;
    }
    case.refused(&with("--scores probabilities"), &["--scores says probabilities", "holds logits"]);
    fs::write(case.file("two.txt"), "ant\nbee\n").unwrap();
    case.refused(&with("--labels two.txt"), &["--labels has 2 labels", "3 classes", "background"]);
    let ours = Case::new(&Example::default().model());
    ours.refused("", &["it has a model card: it can be used as it is"]);
}

/// softmax([0, x]) = [1 - sigmoid(x), sigmoid(x)].
#[test]
fn one_score_tells_two_classes_apart() {
    if !onnxruntime_for("one_score_tells_two_classes_apart") {
        return;
    }
    let colours = images(5, 3);
    // A Cast to 16 bits stands for a network in 16 bits.
    for (operator, holds) in
        [("Sigmoid", "probabilities"), ("Neg", "logits"), ("Identity", "logits"), ("Cast", "logits")]
    {
        let mut model = floats(3);
        let graph = model.graph.as_mut().unwrap();
        graph.node[4].output[0] = "all".into();
        // One index keeps the axis of the classes, a scalar removes it.
        let (dims, shape) = if operator == "Identity" { (vec![], &[][..]) } else { (vec![1], &[1][..]) };
        let (name, data_type) = ("first".to_owned(), DataType::Int64 as i32);
        graph.initializer.push(TensorProto { name, data_type, dims, int64_data: vec![0], ..TensorProto::default() });
        graph.node.push(node("Gather", &["all", "first"], "one", vec![integer("axis", 1)]));
        let half = operator == "Cast";
        let element = if half { DataType::Float16 } else { DataType::Float };
        let attributes = if half { vec![integer("to", element as i64)] } else { vec![] };
        graph.node.push(node(operator, &["one"], "scores", attributes));
        graph.output = vec![tensor("scores", element, None, shape)];
        let case = Case::new(&model);
        let (code, text) = case.adopt(&format!("{PREPARED} --color rgb"));
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("the second of two classes") && text.contains(holds), "{text}");
        let mut model = Model::open(&case.file("out.onnx"), &Options::new(Selection::AutoOnCpu, Some(1))).unwrap();
        let found = model.logits(colours.view()).unwrap();
        for (found, by_hand) in found.rows().into_iter().zip(logits_by_hand(colours.view()).rows()) {
            let expected = if operator == "Neg" { -by_hand[0] } else { by_hand[0] };
            assert!((found[1] - found[0] - expected).abs() < 1e-3, "{operator}: {found}, {by_hand}");
        }
    }
}

#[test]
fn scores_whose_meaning_is_lost_are_not_guessed() {
    if !onnxruntime_for("scores_whose_meaning_is_lost_are_not_guessed") {
        return;
    }
    let of = |operators: &[&str], shape: &[usize]| {
        let mut model = floats(3);
        let graph = model.graph.as_mut().unwrap();
        graph.node[4].output[0] = "step 0".into();
        for (step, operator) in operators.iter().enumerate() {
            let mut inputs = vec![format!("step {step}")];
            if matches!(*operator, "Gather" | "TopK") {
                inputs.push("one".into());
            }
            let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
            let attributes = if *operator == "Gather" { vec![integer("axis", 1)] } else { vec![] };
            graph.node.push(node(operator, &names, &format!("step {}", step + 1), attributes));
            if *operator == "TopK" {
                graph.node.last_mut().unwrap().output.push("places".into());
            }
        }
        let (name, data_type) = ("one".to_owned(), DataType::Int64 as i32);
        let dims = vec![1];
        graph.initializer.push(TensorProto { name, data_type, dims, int64_data: vec![1], ..TensorProto::default() });
        graph.output = vec![tensor(&format!("step {}", operators.len()), DataType::Float, None, shape)];
        Case::new(&model)
    };
    let flags = format!("{PREPARED} --color rgb");
    // One number between 0 and 1, and the root of a probability.
    for operators in [&["Gather", "Abs", "Neg", "Exp"][..], &["Gather", "Sigmoid", "Sqrt"]] {
        let case = of(operators, &[1]);
        case.refused(&flags, &["may be a probability: say --scores probabilities"]);
        let (code, text) = case.adopt(&format!("{flags} --scores probabilities"));
        assert_eq!(code, Some(0), "{text}");
    }
    // One independent probability per class, made without Sigmoid.
    let case = of(&["Abs", "Neg", "Exp"], &[3]);
    case.refused(&flags, &["lie between 0 and 1: if 'step 3' holds independent probabilities", "say --scores logits"]);
    let (code, text) = case.adopt(&format!("{flags} --scores logits"));
    assert_eq!(code, Some(0), "{text}");
    of(&["TopK"], &[1]).refused(&format!("{flags} --scores logits"), &["made by TopK, which sorts the scores"]);
    let mut model = floats(3);
    let graph = model.graph.as_mut().unwrap();
    graph.input = vec![tensor("image", DataType::Float, Some(0), &[3, 8, 6])];
    Case::new(&model).refused(&flags, &["float [0, 3, 8, 6]: expected a batch that is open, or 1 to 1024"]);
}

/// Azure Custom Vision returns the best class's name, and a map from names to probabilities.
#[test]
fn a_map_from_names_to_scores_is_taken_apart() {
    if !onnxruntime_for("a_map_from_names_to_scores_is_taken_apart") {
        return;
    }
    let colours = images(3, 3);
    let mut model = floats(3);
    model.opset_import.push(OperatorSetIdProto { domain: "ai.onnx.ml".into(), version: 1 });
    let graph = model.graph.as_mut().unwrap();
    graph.node[4].output[0] = "all".into();
    let strings = LABELS.iter().map(|label| label.as_bytes().to_vec()).collect();
    let labels = AttributeProto { name: "classlabels_strings".into(), r#type: 8, strings, ..AttributeProto::default() };
    let mut map = node("ZipMap", &["all"], "loss", vec![labels]);
    map.domain = "ai.onnx.ml".into();
    graph.node.push(map);
    graph.output = vec![ValueInfoProto { name: "loss".into(), r#type: None }];
    let (card, text) = Case::new(&model).adopted(&format!("{PREPARED} --color rgb"), &colours, &colours);
    assert_eq!(card.labels, LABELS);
    assert!(text.contains("the file's ZipMap"), "{text}");
}

#[test]
fn names_of_the_original_do_not_clash_with_ours() {
    if !onnxruntime_for("names_of_the_original_do_not_clash_with_ours") {
        return;
    }
    let colours = images(3, 3);
    let mut model = floats(3);
    let graph = model.graph.as_mut().unwrap();
    // The original calls an inner value like our output, and its own output like our input's scale.
    graph.node[1].output[0] = "logits".into();
    graph.node[2].input[0] = "logits".into();
    graph.node[4].output[0] = "input.scale".into();
    graph.output[0].name = "input.scale".into();
    Case::new(&model).adopted(&format!("{PREPARED} --color rgb"), &colours, &colours);
}
