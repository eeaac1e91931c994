//! libtorch and every engine on the CPU give the same predictions for every test image: ONNX Runtime with and without
//! its graph optimisations, tract with our operators and tract as released.

use deploy::agreement::{FP32_TOLERANCE, compare};
use deploy::backend::{Engine, library};
use deploy::model::Model;
use models::architecture::Kind;
use models::dataset::{self, Split};
use models::evaluation::{argmax, softmax};
use models::onnx;
use ndarray::{Array4, Axis, s};
use train::export;

/// Every engine on the CPU. All of them must be here. tract as released is one of them: without it, only our own
/// operators would be compared.
fn engines() -> impl Iterator<Item = Engine> {
    Engine::all().filter(|engine| !engine.registration.cuda)
}

fn open(bytes: &[u8], engine: Engine) -> Model {
    let model = Model::from_bytes("exported", bytes, &engine.options(Some(2))).unwrap();
    let own_operators = model.runtime().provider.starts_with("own ");
    assert_eq!(own_operators, engine.registration.name == "tract", "{engine}: {}", model.runtime());
    model
}

#[test]
fn both_ways_of_both_libraries_are_compared() {
    let names: Vec<_> = engines().map(|engine| engine.registration.name).collect();
    for name in ["tract", "tract-stock", "ort", "ort-as-written"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
}

/// `scripts/setup` installs ONNX Runtime, so it must be here: without it the tests would prove nothing.
#[test]
fn onnx_runtime_is_here_to_be_compared_with() {
    if let Err(missing) = library::load() {
        panic!("{missing}");
    }
}

#[test]
fn every_engine_agrees_with_the_trained_network_on_every_test_image() {
    let checkpoint = tests::trained(Kind::MobilenetV1).unwrap();
    let bytes = export::to_bytes(&checkpoint).unwrap();
    let test = dataset::load(&tests::mnist().unwrap(), Split::Test).unwrap();
    assert_eq!(test.len(), 10_000);
    let expected = export::check::reference(&checkpoint, &test).unwrap();
    let right = expected.rows().into_iter().zip(test.labels()).filter(|(row, label)| argmax(*row) == **label).count();
    tests::learnt("mobilenet-v1 on 10,000 test images", right as f64 / 10_000.0, 0.8).unwrap();
    for engine in engines() {
        let mut model = open(&bytes, engine);
        let found = model.logits(test.images()).unwrap();
        // Each engine sums in a different order. One tolerance for all of them: fp32 rounding, at most 1e-3 in a logit.
        let agreement = compare(expected.view(), found.view(), FP32_TOLERANCE).unwrap();
        println!("{}: {agreement:?}", model.runtime());
        assert!(agreement.holds(), "{}: {agreement:?}", model.runtime());
    }
}

#[test]
fn the_tutorials_network_survives_the_export_too() {
    let checkpoint = tests::trained(Kind::Tutorial).unwrap();
    let bytes = export::to_bytes(&checkpoint).unwrap();
    let test = dataset::load(&tests::mnist().unwrap(), Split::Test).unwrap().first(1000);
    let expected = export::check::reference(&checkpoint, &test).unwrap();
    for engine in engines() {
        let found = open(&bytes, engine).logits(test.images()).unwrap();
        let agreement = compare(expected.view(), found.view(), FP32_TOLERANCE).unwrap();
        assert!(agreement.holds(), "{engine:?}: {agreement:?}");
    }
}

#[test]
fn equal_checkpoints_become_equal_files_without_batch_norm() {
    let checkpoint = tests::trained(Kind::MobilenetV1).unwrap();
    let bytes = export::to_bytes(&checkpoint).unwrap();
    assert_eq!(bytes, export::to_bytes(&checkpoint).unwrap());
    let model = onnx::parse(&bytes).unwrap();
    let graph = model.graph.as_ref().unwrap();
    let operators: Vec<&str> = graph.node.iter().map(|node| node.op_type.as_str()).collect();
    let mut expected = vec!["Cast", "Mul", "Add", "Resize"];
    expected.extend(["Conv", "Clip"].repeat(27));
    expected.extend(["GlobalAveragePool", "Flatten", "Gemm", "Softmax"]);
    assert_eq!(operators, expected);
    // A `value_info` with a symbolic N would break tract with a fixed batch.
    assert!(graph.value_info.is_empty());
    let signature = onnx::signature(&model).unwrap();
    assert_eq!(signature.inputs[0].to_string(), "image uint8 [N, 1, 28, 28]");
    let outputs: Vec<String> = signature.outputs.iter().map(ToString::to_string).collect();
    assert_eq!(outputs, ["logits float [N, 10]", "probabilities float [N, 10]"]);
}

/// An image's prediction must not depend on the other images in its batch, nor on the batch size.
#[test]
fn the_batch_does_not_change_the_answers() {
    let bytes = export::to_bytes(&tests::trained(Kind::MobilenetV1).unwrap()).unwrap();
    let test = dataset::load(&tests::mnist().unwrap(), Split::Test).unwrap();
    for engine in engines() {
        let mut model = open(&bytes, engine);
        let together = model.logits(test.images().slice(s![..33, .., .., ..])).unwrap();
        for index in [0, 7, 32] {
            let image: Array4<u8> = test.images().slice(s![index..=index, .., .., ..]).to_owned();
            let alone = model.logits(image.view()).unwrap();
            let agreement = compare(together.slice(s![index..=index, ..]), alone.view(), FP32_TOLERANCE).unwrap();
            assert!(agreement.max_difference < 1e-4, "{engine:?}: {agreement:?}");
        }
        let probabilities = softmax(together.view());
        assert!(probabilities.sum_axis(Axis(1)).iter().all(|sum| (sum - 1.0).abs() < 1e-5));
    }
}
