//! Checks every intermediate tensor in both runtimes against values computed by hand, and that a broken node is found.
#![cfg(feature = "tract")]

mod example;

use deploy::backend::Engine;
use deploy::backend::intermediate::Probe;
use deploy::embedded::{MODEL, NAME};
use deploy::parity::layers::{Layer, Layers, compare, tolerance};
use example::{Example, LABELS, images, logits_by_hand};
use models::card::{ModelCard, Precision};
use models::dataset;
use models::onnx;
use models::onnx::proto::ModelProto;
use ndarray::{Array4, ArrayView4, s};

/// The engines that show their tensors and can be tested here: of ONNX Runtime only the one as written.
fn engines(test: &str) -> Vec<Engine> {
    let engines = example::engines(test);
    engines.into_iter().filter(|engine| engine.for_layers() == *engine).collect()
}

/// tract with our operators.
fn tract() -> Engine {
    "tract".parse().unwrap()
}

fn probe(bytes: &[u8], engine: Engine) -> Probe {
    Probe::from_bytes("example", bytes, engine).unwrap_or_else(|error| panic!("{engine}: {error:#}"))
}

fn layers(one: (&[u8], Engine), other: (&[u8], Engine), images: ArrayView4<u8>) -> Layers {
    let (mut one, mut other) = (probe(one.0, one.1), probe(other.0, other.1));
    let mut done = 0;
    let layers = compare(&mut one, &mut other, images, tolerance(Precision::Fp32), |more| done += more).unwrap();
    assert_eq!((layers.images, done), (images.dim().0, images.dim().0));
    layers
}

/// Names of the tensors beyond the tolerance, in graph order.
fn beyond(layers: &Layers) -> Vec<&str> {
    layers.nodes.iter().filter(|layer| layer.beyond).map(|layer| layer.tensor.as_str()).collect()
}

#[test]
fn the_tensors_are_those_of_the_graph_in_every_runtime() {
    let images = images(1, 1);
    for engine in engines("the_tensors_are_those_of_the_graph_in_every_runtime") {
        let mut probe = probe(&Example::default().bytes(), engine);
        let names: Vec<_> = probe.steps().iter().map(|step| step.tensor.clone()).collect();
        let expected = ["float", "scaled", "convolved", "clipped", "pooled", "flat", "logits", "probabilities"];
        assert_eq!(names, expected);
        assert_eq!((probe.steps()[2].operator.as_str(), probe.batch()), ("Conv", 1));
        let tensors = probe.run(images.view()).unwrap();
        let tensor = |n: usize| tensors[n].as_ref().unwrap();
        assert_eq!((tensor(0).element, &tensor(0).shape[..]), ("float32", &[1, 1, 8, 6][..]));
        assert!(tensor(0).numbers.iter().zip(&images).all(|(&number, &pixel)| number == f64::from(pixel)), "{engine}");
        assert_eq!(tensor(2).shape, [1, 4, 8, 6]);
        let clipped = tensor(2).numbers.iter().map(|number| number.max(0.0));
        assert!(clipped.zip(&tensor(3).numbers).all(|(one, &other)| (one - other).abs() < 1e-6), "{engine}");
        let logits = logits_by_hand(images.view());
        assert_eq!(tensor(6).shape, [1, LABELS.len()]);
        assert!(tensor(6).numbers.iter().zip(&logits).all(|(one, &other)| (one - f64::from(other)).abs() < 1e-5));
    }
}

#[test]
fn all_engines_agree_at_every_node() {
    let engines = engines("all_engines_agree_at_every_node");
    for example in [
        Example::default(),
        Example { channels: 3, ..Example::default() },
        Example::without_card(),
        Example { batch: Some(4), ..Example::default() },
        Example { outputs: ["", "answer"], ..Example::without_card() },
    ] {
        let (bytes, images) = (example.bytes(), images(6, example.channels));
        for &other in &engines[1..] {
            let layers = layers((&bytes, engines[0]), (&bytes, other), images.view());
            assert_eq!((layers.first_beyond, layers.nodes.len()), (None, 8), "{other}: {layers:?}");
            let compared = |layer: &Layer| layer.difference.is_some() && layer.problem.is_none();
            assert!(layers.nodes.iter().all(compared), "{other}: {layers:?}");
        }
    }
}

/// The same file, with the first `count` numbers of one initialiser changed.
fn changed(bytes: &[u8], initializer: &str, count: usize, change: impl Fn(f32) -> f32) -> Vec<u8> {
    let mut model = onnx::parse(bytes).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let tensor = graph.initializer.iter_mut().find(|tensor| tensor.name == initializer).unwrap();
    for number in tensor.float_data.iter_mut().take(count) {
        *number = change(*number);
    }
    for bytes in tensor.raw_data.as_chunks_mut().0.iter_mut().take(count) {
        *bytes = change(f32::from_le_bytes(*bytes)).to_le_bytes();
    }
    onnx::encode(&model)
}

#[test]
fn the_node_whose_weight_was_changed_is_the_first_that_parts() {
    let (bytes, images) = (Example::default().bytes(), images(3, 1));
    let engines = engines("the_node_whose_weight_was_changed_is_the_first_that_parts");
    for (initializer, tensor) in [("scale", "scaled"), ("kernels", "convolved"), ("weights", "logits")] {
        let other = changed(&bytes, initializer, 1, |number| number * 1.01);
        for &one in &engines {
            for &two in &engines {
                let layers = layers((&bytes, one), (&other, two), images.view());
                let first = &layers.nodes[layers.first_beyond.unwrap()];
                assert_eq!(first.tensor, tensor, "{one} and {two}: {:?}", beyond(&layers));
                let before = &layers.nodes[..layers.first_beyond.unwrap()];
                assert!(before.iter().all(|layer| !layer.beyond));
            }
        }
    }
}

#[test]
fn a_number_that_is_not_finite_parts() {
    let (bytes, images) = (Example::default().bytes(), images(2, 1));
    for engine in engines("a_number_that_is_not_finite_parts") {
        let other = changed(&bytes, "weights", 1, |_| f32::NAN);
        let layers = layers((&bytes, engine), (&other, engine), images.view());
        let first = &layers.nodes[layers.first_beyond.unwrap()];
        // One class of three, in both images.
        assert_eq!((first.tensor.as_str(), first.difference.unwrap().not_finite), ("logits", 2));
    }
}

#[test]
fn another_graph_and_another_size_are_refused() {
    let example = Example::default();
    let mut model = example.model();
    model.graph.as_mut().unwrap().node[3].op_type = "Sigmoid".into();
    let (mut one, mut other) = (probe(&example.bytes(), tract()), probe(&onnx::encode(&model), tract()));
    let message =
        compare(&mut one, &mut other, images(1, 1).view(), tolerance(Precision::Fp32), |_| ()).unwrap_err().to_string();
    assert!(message.contains("different nodes"), "{message}");
    for shape in [(2, 1, 8, 6), (1, 1, 8, 5), (0, 1, 8, 6)] {
        let message = one.run(Array4::zeros(shape).view()).unwrap_err().to_string();
        assert!(message.contains("expects [1, 1, 8, 6]"), "{message}");
    }
}

/// Images of MNIST's test set, or noise if it is not here.
fn images_for(test: &str, count: usize) -> Array4<u8> {
    let card = ModelCard::from_model(&model()).unwrap().unwrap();
    #[allow(clippy::single_match_else)] // Two places, one beside the other.
    match models::files::fetched("mnist") {
        Some(folder) => {
            let set = dataset::test_set(&folder, &card.labels, &card.input, None, &|_, _| ()).unwrap().set;
            set.images().slice(s![..count, .., .., ..]).to_owned()
        }
        None => {
            println!("skipped: {test}: MNIST is not here (scripts/setup), so on noise only");
            dataset::noise((count, 1, 28, 28), 1)
        }
    }
}

fn model() -> ModelProto {
    onnx::parse(MODEL).unwrap()
}

#[test]
fn the_shipped_model_agrees_at_every_node_and_a_changed_weight_in_it_is_found() {
    const TEST: &str = "the_shipped_model_agrees_at_every_node_and_a_changed_weight_in_it_is_found";
    let engines = engines(TEST);
    let images = images_for(TEST, 3);
    for &other in &engines[1..] {
        let good = layers((MODEL, engines[0]), (MODEL, other), images.view());
        assert_eq!(good.first_beyond, None, "{NAME} in {other}: {:?}", beyond(&good));
    }
    let graph = model().graph.unwrap();
    let convolutions: Vec<_> = graph.node.iter().filter(|node| node.op_type == "Conv").collect();
    assert_eq!(convolutions.len(), 27);
    // The first, one in the middle, and the last.
    for node in [convolutions[0], convolutions[13], convolutions[26]] {
        // All of its weights: these images may not use the first.
        let bytes = changed(MODEL, &node.input[1], usize::MAX, |weight| weight + 0.5);
        for &other in &engines[1..] {
            let layers = layers((MODEL, engines[0]), (&bytes, other), images.view());
            let first = &layers.nodes[layers.first_beyond.expect("a difference")];
            // In tract, our operators only return the convolution together with its clip.
            let layer = |tensor: &str| tensor.trim_end_matches(".conv").to_owned();
            assert_eq!(layer(&first.tensor), layer(&node.output[0]), "{other}: {:?}", beyond(&layers));
        }
    }
}
