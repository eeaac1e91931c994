//! `train export` writes correct files in every precision and form, and refuses wrong ones.

use anyhow::Result;
use deploy::agreement::{compare, tolerance};
use deploy::backend::{Engine, ort};
use deploy::model::Model;
use models::architecture::Kind;
use models::card::{GraphInput, Precision, RangeCalibration, RangeObserver};
use models::dataset::{self, Dataset, Split};
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::proto::{GraphProto, TensorProto};
use models::onnx::{self, Signature};
use prost::Message;
use std::collections::BTreeMap;
use tch::Tensor;
use train::checkpoint::Checkpoint;
use train::data::Images;
use train::export::check::{CheckReport, Material};
use train::export::{Outputs, Settings, Written, triton};

/// MNIST training images for calibration.
fn calibration() -> Tensor {
    let images = dataset::load(&tests::mnist().unwrap(), Split::Train).unwrap().first(300);
    Images::on_device(&images, tch::Device::Cpu).unwrap().images
}

fn test_images(count: usize) -> Dataset {
    dataset::load(&tests::mnist().unwrap(), Split::Test).unwrap().first(count)
}

fn written(checkpoint: &Checkpoint, settings: &Settings) -> Written {
    Written::new(checkpoint, settings, Some(&calibration())).unwrap()
}

fn settings(precision: Precision) -> Settings {
    Settings { precision, ..Settings::default() }
}

fn prove(checkpoint: &Checkpoint, written: &Written, images: usize) -> Result<CheckReport> {
    let test = test_images(images);
    written.prove(checkpoint, &Material { test: &test, judges: Some((&test, "test")) })
}

fn operators(graph: &GraphProto) -> BTreeMap<&str, usize> {
    let mut operators = BTreeMap::new();
    for node in &graph.node {
        *operators.entry(node.op_type.as_str()).or_default() += 1;
    }
    operators
}

#[test]
fn every_precision_of_both_networks_passes_its_check() {
    for kind in Kind::ALL {
        let checkpoint = tests::trained(kind).unwrap();
        let fp32 = written(&checkpoint, &settings(Precision::Fp32)).bytes.len();
        for (precision, largest) in [(Precision::Fp32, 1.0), (Precision::Fp16, 0.53), (Precision::Int8, 0.32)] {
            let written = written(&checkpoint, &settings(precision));
            let report = prove(&checkpoint, &written, 1000).unwrap();
            println!("{kind} {precision}\n{}", report.to_text());
            // The five: the folded network in libtorch, tract with our operators and as released, and ONNX Runtime with
            // and without graph optimisations.
            assert_eq!(report.runtimes.len(), 5);
            assert!(written.bytes.len() as f64 <= largest * fp32 as f64, "{kind} {precision}");
            let again = self::written(&checkpoint, &settings(precision));
            assert!(again.bytes == written.bytes, "{kind} {precision}: not the same bytes again");
        }
    }
}

/// Otherwise an int8 file would be small but slow.
#[test]
fn onnx_runtime_runs_every_convolution_of_an_int8_file_in_integers() {
    let checkpoint = tests::trained(Kind::MobilenetV1).unwrap();
    for observer in RangeObserver::ALL {
        let written = written(&checkpoint, &Settings { observer, ..settings(Precision::Int8) });
        assert_eq!(written.card.calibration, Some(RangeCalibration { images: 300, observer }));
        let rewritten = ort::rewritten("int8", &written.bytes).unwrap();
        let operators = operators(rewritten.graph.as_ref().unwrap());
        assert_eq!((operators.get("QLinearConv"), operators.get("Conv")), (Some(&27), None), "{operators:?}");
    }
}

#[test]
fn a_file_without_fp16_arithmetic_runs_as_fp32_does_in_onnx_runtime() {
    let checkpoint = tests::trained(Kind::MobilenetV1).unwrap();
    let rewritten = |precision| {
        let model = ort::rewritten("model", &written(&checkpoint, &settings(precision)).bytes).unwrap();
        let graph = model.graph.unwrap();
        operators(&graph).into_iter().map(|(name, count)| (name.to_owned(), count)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(rewritten(Precision::Fp16), rewritten(Precision::Fp32));
}

/// Every form gives the same predictions as the default one, in both runtimes.
#[test]
fn every_form_of_a_file_gives_the_same_answers() {
    for kind in Kind::ALL {
        the_same_in_every_form(&tests::trained(kind).unwrap());
    }
}

fn the_same_in_every_form(checkpoint: &Checkpoint) {
    let test = test_images(101);
    let [tract, ort] = ["tract", "ort"].map(|name| name.parse::<Engine>().unwrap());
    let open = |written: &Written, engine: Engine| {
        Model::from_bytes("exported", &written.bytes, &engine.options(Some(2))).unwrap()
    };
    let logits = |written: &Written, engine| open(written, engine).logits(test.images()).unwrap();
    for precision in Precision::ALL {
        let plain = settings(precision);
        let expected = logits(&written(checkpoint, &plain), ort);
        for settings in [
            Settings { batch: Some(1), ..plain.clone() },
            Settings { batch: Some(8), ..plain.clone() },
            Settings { takes: GraphInput::Normalised, ..plain.clone() },
            Settings { outputs: Outputs::Logits, ..plain.clone() },
            Settings { outputs: Outputs::Probabilities, ..plain.clone() },
            Settings { opset: 24, ..plain.clone() },
        ] {
            let written = written(checkpoint, &settings);
            let model = open(&written, tract);
            assert!(
                model.runtime().provider.starts_with("own "),
                "{settings:?}: not read as a chain: {}",
                model.runtime()
            );
            for engine in [tract, ort] {
                let mut found = logits(&written, engine);
                if settings.outputs == Outputs::Probabilities {
                    // Log-probabilities equal the logits minus a constant for each image.
                    for (mut found, expected) in found.rows_mut().into_iter().zip(expected.rows()) {
                        found += expected[0] - found[0];
                    }
                }
                let agreement = compare(expected.view(), found.view(), tolerance(precision)).unwrap();
                assert!(agreement.holds(), "{engine} {settings:?}: {agreement:?}");
            }
        }
    }
}

#[test]
fn the_graphs_signature_is_what_was_asked_for() {
    let checkpoint = tests::trained(Kind::MobilenetV1).unwrap();
    let signature = |settings: &Settings| {
        let model = onnx::parse(&written(&checkpoint, settings).bytes).unwrap();
        assert_eq!(onnx::opset(&model), Some(settings.opset));
        let Signature { inputs, outputs } = onnx::signature(&model).unwrap();
        inputs.iter().chain(&outputs).map(ToString::to_string).collect::<Vec<_>>()
    };
    for precision in Precision::ALL {
        assert_eq!(
            signature(&settings(precision)),
            ["image uint8 [N, 1, 28, 28]", "logits float [N, 10]", "probabilities float [N, 10]"]
        );
        let other = Settings {
            batch: Some(3),
            takes: GraphInput::Normalised,
            outputs: Outputs::Probabilities,
            opset: 19,
            ..settings(precision)
        };
        assert_eq!(signature(&other), ["image float [3, 1, 32, 32]", "probabilities float [3, 10]"]);
    }
}

/// Modifies an initialiser.
fn change(graph: &mut GraphProto, name: &str, change: impl FnOnce(&mut TensorProto)) {
    change(graph.initializer.iter_mut().find(|tensor| tensor.name == name).unwrap());
}

/// Flips the sign of the first value whose magnitude is at least the mean.
fn flip(tensor: &mut TensorProto) {
    let size = match tensor.data_type {
        kind if kind == DataType::Float as i32 => 4,
        kind if kind == DataType::Float16 as i32 => 2,
        _ => 1,
    };
    let value = |bytes: &[u8]| match *bytes {
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        [a, b] => half::f16::from_le_bytes([a, b]).to_f32(),
        [a] => f32::from(a.cast_signed()),
        _ => unreachable!(),
    };
    let magnitudes: Vec<f32> = tensor.raw_data.chunks(size).map(|bytes| value(bytes).abs()).collect();
    let mean = magnitudes.iter().sum::<f32>() / magnitudes.len() as f32;
    let index = magnitudes.iter().position(|&magnitude| magnitude >= mean).unwrap();
    let number = &mut tensor.raw_data[index * size..][..size];
    match number {
        [byte] => *byte = byte.cast_signed().wrapping_neg().cast_unsigned(),
        _ => number[size - 1] ^= 0x80,
    }
}

fn multiply(tensor: &mut TensorProto, factor: f32) {
    for bytes in tensor.raw_data.chunks_mut(4) {
        let value = f32::from_le_bytes(bytes.try_into().unwrap()) * factor;
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}

/// One defect in a graph.
type Fault = Box<dyn Fn(&mut GraphProto)>;

#[test]
fn a_file_with_one_fault_is_refused_and_leaves_nothing_behind() {
    let checkpoint = tests::trained(Kind::MobilenetV1).unwrap();
    let test = test_images(300);
    let material = Material { test: &test, judges: Some((&test, "test")) };
    for precision in Precision::ALL {
        let mut file = written(&checkpoint, &settings(precision));
        let good = file.bytes.clone();
        let layers: Vec<String> = file.card.network().unwrap().layers().into_iter().map(|layer| layer.name).collect();
        let mut faults: Vec<(String, Fault)> = vec![
            ("shift of the pixels".into(), Box::new(|graph| change(graph, "input.shift", |t| multiply(t, 1.01)))),
            ("scale of the pixels".into(), Box::new(|graph| change(graph, "input.scale", |t| multiply(t, 1.01)))),
            (
                "padding".into(),
                Box::new(|graph| {
                    let convolutions = graph.node.iter_mut().filter(|node| node.op_type == "Conv");
                    let node = convolutions.into_iter().nth(5).unwrap();
                    let pads = node.attribute.iter_mut().find(|attribute| attribute.name == "pads").unwrap();
                    pads.ints = vec![0, 1, 2, 1];
                }),
            ),
        ];
        for layer in layers.iter().filter(|layer| *layer != "pool") {
            let name = format!("{layer}.weight");
            let fault = move |graph: &mut GraphProto| change(graph, &name, flip);
            faults.push((format!("one weight of {layer}"), Box::new(fault)));
        }
        if precision == Precision::Int8 {
            for name in ["pixels.scale", "stem.scale", "block6.depthwise.scale", "block3.pointwise.weight.scale"] {
                let fault = move |graph: &mut GraphProto| change(graph, name, |tensor| multiply(tensor, 1.05));
                faults.push((name.to_owned(), Box::new(fault)));
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        for (name, fault) in faults {
            let mut model = onnx::parse(&good).unwrap();
            fault(model.graph.as_mut().unwrap());
            file.bytes = model.encode_to_vec();
            let Err(error) = file.save(&checkpoint, &material, &path, false) else {
                panic!("{precision}: {name} passed");
            };
            let message = format!("{error:#}");
            assert!(message.contains("Nothing was written"), "{precision}, {name}: {message}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        file.bytes = good;
        file.save(&checkpoint, &material, &path, false).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), file.bytes);
    }
}

/// Parses just enough of Triton's text format: `key: value` and lists in brackets.
#[test]
fn the_serving_engines_description_is_the_models() {
    let checkpoint = tests::trained(Kind::MobilenetV1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for settings in [
        Settings::default(),
        Settings { takes: GraphInput::Normalised, outputs: Outputs::Probabilities, ..settings(Precision::Int8) },
    ] {
        let written = written(&checkpoint, &settings);
        let model = triton::write(&written, folder.path(), true).unwrap();
        assert!(model.ends_with("mnist-small"));
        assert_eq!(std::fs::read(model.join("1/model.onnx")).unwrap(), written.bytes);
        let labels = std::fs::read_to_string(model.join("labels.txt")).unwrap();
        assert_eq!(labels.lines().collect::<Vec<_>>(), written.card.labels);
        let config = std::fs::read_to_string(model.join("config.pbtxt")).unwrap();
        assert!(config.contains("name: \"mnist-small\"") && config.contains("dynamic_batching {"), "{config}");
        let described: Vec<String> = config.lines().filter(|line| line.contains("dims:")).map(tensor).collect();
        let Signature { inputs, outputs } = onnx::signature(&onnx::parse(&written.bytes).unwrap()).unwrap();
        let expected: Vec<String> = inputs.iter().chain(&outputs).map(ToString::to_string).collect();
        assert_eq!(described, expected);
        // Only the model's folder is left, whatever was there before.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let message = triton::write(&written, folder.path(), false).unwrap_err().to_string();
        assert!(message.contains("already exists"), "{message}");
        for other in ["2/model.onnx", "1/best.safetensors"] {
            let other = model.join(other);
            std::fs::create_dir_all(other.parent().unwrap()).unwrap();
            std::fs::write(&other, "precious").unwrap();
            let message = triton::write(&written, folder.path(), true).unwrap_err().to_string();
            assert!(message.contains("is not part of an exported model"), "{message}");
            assert!(other.exists());
            std::fs::remove_file(&other).unwrap();
            let _ = std::fs::remove_dir(other.parent().unwrap());
        }
    }
    let fixed = written(&checkpoint, &Settings { batch: Some(4), ..Settings::default() });
    let message = triton::write(&fixed, folder.path(), true).unwrap_err().to_string();
    assert!(message.contains("leave --batch dynamic"), "{message}");
}

/// Turns a line such as `{ name: "image" data_type: TYPE_UINT8 dims: [ 1, 28, 28 ] }` into a tensor in the notation of
/// [`Signature`].
fn tensor(line: &str) -> String {
    let after = |key: &str| line.split_once(key).unwrap().1;
    let name = after("name: \"").split('"').next().unwrap();
    let element = match after("data_type: TYPE_").split(' ').next().unwrap() {
        "UINT8" => "uint8",
        "FP32" => "float",
        other => panic!("{other}"),
    };
    let dims = after("dims: [ ").split(" ]").next().unwrap();
    format!("{name} {element} [N, {dims}]")
}
