//! Checks the library with each engine: against values computed by hand, and with invalid files.

mod example;

use deploy::agreement::{FP32_TOLERANCE, Tolerance, compare};
use deploy::backend::{Device, Engine, Options, Selection};
use deploy::evaluate::evaluate;
use deploy::model::Model;
use example::{Example, LABELS, engines, images, integer, integers, logits_by_hand, node};
use models::dataset::Dataset;
use models::onnx::proto::tensor_proto::{DataLocation, DataType};
use models::onnx::proto::{ModelProto, NodeProto};
use ndarray::{Array4, s};
use prost::Message;

/// Enough for the rounding errors of the few sums in the example.
const EXACT: Tolerance = Tolerance { largest: 1e-5, mean: 1e-5 };

fn assert_answers_as_by_hand(example: &Example, engine: Engine) {
    let images = images(70, example.channels);
    let expected = logits_by_hand(images.view());
    for threads in [1, 3] {
        let mut model = Model::from_bytes("example", &example.bytes(), &engine.options(Some(threads))).unwrap();
        for count in [0, 1, 2, 70] {
            let logits = model.logits(images.slice(s![..count, .., .., ..])).unwrap();
            assert_eq!(logits.dim(), (count, LABELS.len()));
            if count > 0 {
                let agreement = compare(expected.slice(s![..count, ..]), logits.view(), EXACT).unwrap();
                assert!(agreement.holds(), "{engine}, {threads} threads, {count} images: {agreement:?}");
            }
        }
    }
}

#[test]
fn every_engine_returns_the_logits_computed_by_hand() {
    for engine in engines("every_engine_returns_the_logits_computed_by_hand") {
        assert_answers_as_by_hand(&Example::default(), engine);
        assert_answers_as_by_hand(&Example { channels: 3, ..Example::default() }, engine);
    }
}

#[test]
fn a_file_with_a_fixed_batch_size_is_run_with_it_and_the_last_batch_is_filled_up() {
    for engine in engines("a_file_with_a_fixed_batch_size_is_run_with_it_and_the_last_batch_is_filled_up") {
        for batch in [1, 4, 7] {
            assert_answers_as_by_hand(&Example { batch: Some(batch), ..Example::default() }, engine);
        }
    }
}

#[test]
fn a_view_that_is_not_contiguous_is_read_correctly() {
    let images = images(8, 1);
    let every_other = images.slice(s![..;2, .., .., ..]);
    let flipped = images.slice(s![.., .., ..;-1, ..]);
    for engine in engines("a_view_that_is_not_contiguous_is_read_correctly") {
        let mut model = Model::from_bytes("example", &Example::default().bytes(), &engine.options(Some(2))).unwrap();
        for view in [every_other, flipped] {
            let agreement = compare(logits_by_hand(view).view(), model.logits(view).unwrap().view(), EXACT).unwrap();
            assert!(agreement.holds(), "{engine}: {agreement:?}");
        }
    }
}

#[test]
fn the_model_says_what_runs_it() {
    for engine in engines("the_model_says_what_runs_it") {
        let model = Model::from_bytes("example", &Example::default().bytes(), &engine.options(Some(2))).unwrap();
        let runtime = model.runtime();
        let (name, provider) = match engine.registration.name {
            "tract" => ("tract", "tract-linalg with own convolutions"),
            "tract-stock" => ("tract as released", "tract-linalg"),
            "ort" => ("onnxruntime", "CPUExecutionProvider"),
            "ort-as-written" => ("onnxruntime as written", "CPUExecutionProvider"),
            _ => (&*runtime.name, &*runtime.provider),
        };
        assert_eq!((&*runtime.name, &*runtime.device, runtime.threads), (name, "cpu", 2));
        assert_eq!(runtime.provider, provider, "{runtime}");
        assert_eq!(model.labels(), LABELS);
        assert_eq!(model.card(), Some(&example::card(1)));
        assert!(model.notes().is_empty(), "{:?}", model.notes());
    }
}

/// Small files as `train export` writes them: each kind of convolution, in each precision.
#[cfg(feature = "onnx")]
#[test]
fn our_own_reader_and_tracts_give_the_same_answers() {
    for name in ["chain-fp32", "chain-fp16", "chain-int8"] {
        let path = format!("{}/../tests/fuzz/seeds/onnx_load/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        let images = models::dataset::noise((50, 1, 6, 8), 1);
        let mut logits = Vec::new();
        for engine in ["tract", "tract-stock"] {
            let options = engine.parse::<Engine>().unwrap().options(Some(2));
            let mut model = Model::from_bytes(name, &bytes, &options).unwrap();
            assert_eq!(model.runtime().provider.starts_with("own "), engine == "tract", "{}", model.runtime());
            logits.push(model.logits(images.view()).unwrap());
        }
        let agreement = compare(logits[1].view(), logits[0].view(), FP32_TOLERANCE).unwrap();
        assert!(agreement.holds(), "{name}: {agreement:?}");
    }
}

#[cfg(feature = "onnx")]
#[test]
fn tract_as_released_gives_the_same_answers_under_its_own_name() {
    let images = images(20, 1);
    let bytes = Example::default().bytes();
    let mut logits = Vec::new();
    for (engine, said) in [
        ("tract", "tract 0.23.9, tract-linalg with own convolutions on"),
        ("tract-stock", "tract as released 0.23.9, tract-linalg on"),
    ] {
        let options = engine.parse::<Engine>().unwrap().options(Some(2));
        let mut model = Model::from_bytes("example", &bytes, &options).unwrap();
        assert!(model.runtime().to_string().starts_with(said), "{}", model.runtime());
        logits.push(model.logits(images.view()).unwrap());
    }
    assert!(compare(logits[1].view(), logits[0].view(), EXACT).unwrap().holds());
}

#[test]
fn a_file_without_a_card_is_used_if_its_graph_leaves_no_choice() {
    for engine in engines("a_file_without_a_card_is_used_if_its_graph_leaves_no_choice") {
        for example in [
            Example::without_card(),
            Example { outputs: ["scores", ""], ..Example::without_card() },
            Example { channels: 3, ..Example::without_card() },
        ] {
            assert_answers_as_by_hand(&example, engine);
            let model = Model::from_bytes("example", &example.bytes(), &engine.options(Some(1))).unwrap();
            assert_eq!(model.labels(), ["0", "1", "2"]);
            let notes = model.notes().join("\n");
            assert!(notes.contains("no model card") && notes.contains("as logits"), "{notes}");
        }
    }
}

#[test]
fn the_number_of_classes_comes_from_the_graph_if_the_file_does_not_declare_it() {
    let example = Example { classes_told: false, ..Example::without_card() };
    for engine in engines("the_number_of_classes_comes_from_the_graph_if_the_file_does_not_declare_it") {
        assert_answers_as_by_hand(&example, engine);
    }
}

#[test]
fn probabilities_alone_become_logits_with_the_same_softmax() {
    let images = images(5, 1);
    let expected = models::evaluation::softmax(logits_by_hand(images.view()).view());
    for name in ["probabilities", "answer"] {
        let mut model = Example { outputs: ["", name], ..Example::without_card() }.model();
        // The logits are then an intermediate value, not an output.
        assert_eq!(model.graph.as_mut().unwrap().output.len(), 1);
        for engine in engines("probabilities_alone_become_logits_with_the_same_softmax") {
            let mut model = Model::from_bytes("example", &model.encode_to_vec(), &engine.options(Some(1))).unwrap();
            let probabilities = models::evaluation::softmax(model.logits(images.view()).unwrap().view());
            assert!(compare(expected.view(), probabilities.view(), EXACT).unwrap().max_difference < 1e-6);
        }
    }
}

/// The example without a card, with these nodes after its logits (`z`). The last node computes `out`.
fn followed_by(nodes: &[NodeProto]) -> Vec<u8> {
    let mut model = Example { outputs: ["out", ""], ..Example::without_card() }.model();
    let graph = model.graph.as_mut().unwrap();
    graph.node[6].output[0] = "z".into();
    graph.node.extend_from_slice(nodes);
    model.encode_to_vec()
}

#[test]
fn probabilities_stay_as_they_are_whichever_nodes_compute_them() {
    let last = || vec![integer("axis", -1)];
    let cast = |from, to, kind| node("Cast", &[from], to, vec![integer("to", kind as i64)]);
    let cases = [
        vec![node("Softmax", &["z"], "p", last()), node("Identity", &["p"], "out", vec![])],
        vec![
            cast("z", "half", DataType::Float16),
            node("Softmax", &["half"], "p", last()),
            cast("p", "out", DataType::Float),
        ],
        vec![node("Softmax", &["z"], "p", last()), node("Flatten", &["p"], "out", vec![])],
        // Softmax as old exporters write it.
        vec![
            node("Exp", &["z"], "e", vec![]),
            node("ReduceL1", &["e"], "sum", vec![integers("axes", &[1])]),
            node("Div", &["e", "sum"], "out", vec![]),
        ],
    ];
    let images = images(5, 1);
    let expected = models::evaluation::softmax(logits_by_hand(images.view()).view());
    for engine in engines("probabilities_stay_as_they_are_whichever_nodes_compute_them") {
        let probabilities = |nodes: &[NodeProto]| {
            let mut model = Model::from_bytes("example", &followed_by(nodes), &engine.options(Some(1))).unwrap();
            let logits = model.logits(images.view()).unwrap();
            (models::evaluation::softmax(logits.view()), model.notes().join("\n"))
        };
        for nodes in &cases {
            let (found, notes) = probabilities(nodes);
            assert!(compare(expected.view(), found.view(), EXACT).unwrap().max_difference < 2e-3, "{nodes:?}");
            assert!(notes.contains("output 'out' is interpreted as probabilities: made by "), "{notes}");
        }
        let (found, notes) = probabilities(&[node("LogSoftmax", &["z"], "out", last())]);
        assert!(compare(expected.view(), found.view(), EXACT).unwrap().max_difference < 1e-5);
        assert!(notes.contains("as logits"), "{notes}");
    }
}

#[test]
fn scores_that_are_neither_logits_nor_probabilities_are_refused() {
    let axis = |axis| vec![integer("axis", axis)];
    for (nodes, word) in [
        (vec![node("Sigmoid", &["z"], "out", vec![])], "without its last Sigmoid"),
        (vec![node("Softmax", &["z"], "out", axis(0))], "in a test run"),
        (
            vec![node("Softmax", &["z"], "p", axis(1)), node("Add", &["p", "p"], "out", vec![])],
            "add up to 2.000: expected 1, or logits",
        ),
    ] {
        for engine in engines("scores_that_are_neither_logits_nor_probabilities_are_refused") {
            let opened = Model::from_bytes("odd.onnx", &followed_by(&nodes), &engine.options(Some(1)));
            let message = opened.map(|_| ()).map_err(|error| format!("{error:#}")).unwrap_err();
            assert!(message.contains("odd.onnx cannot be used") && message.contains(word), "{engine}: {message}");
        }
    }
}

/// An image's answer must not depend on the other images of its batch.
#[test]
fn answers_that_depend_on_the_batch_are_refused() {
    let mean =
        [node("ReduceMean", &["z"], "mean", vec![integers("axes", &[0])]), node("Sub", &["z", "mean"], "out", vec![])];
    if example::onnxruntime_for("answers_that_depend_on_the_batch_are_refused") {
        let options = "ort".parse::<Engine>().unwrap().options(Some(1));
        let opened = Model::from_bytes("odd.onnx", &followed_by(&mean), &options);
        let message = opened.map(|_| ()).map_err(|error| format!("{error:#}")).unwrap_err();
        assert!(message.contains("depend on the other images of the batch"), "{message}");
    }
    let norm = |model: &mut ModelProto| {
        let graph = model.graph.as_mut().unwrap();
        graph.node[3] = NodeProto {
            input: ["convolved", "ones", "ones", "ones", "ones"].map(str::to_owned).to_vec(),
            ..node("BatchNormalization", &[], "clipped", vec![integer("training_mode", 1)])
        };
        model.opset_import[0].version = 15;
    };
    assert_refused(&Example::default(), norm, "its BatchNormalization node '' is in training mode");
}

#[test]
fn images_of_another_shape_are_refused() {
    for engine in engines("images_of_another_shape_are_refused") {
        let mut model = Model::from_bytes("example", &Example::default().bytes(), &engine.options(Some(1))).unwrap();
        for shape in [(1, 1, 8, 5), (1, 3, 8, 6), (2, 1, 6, 8)] {
            let message = model.logits(Array4::zeros(shape).view()).unwrap_err().to_string();
            assert!(message.contains("expects [1, 8, 6]"), "{message}");
        }
    }
}

#[test]
fn an_evaluation_counts_right_answers() {
    let images = images(300, 1);
    let answers: Vec<_> = logits_by_hand(images.view()).rows().into_iter().map(models::evaluation::argmax).collect();
    assert!((0..3).all(|class| answers.contains(&class)), "the example answers everything alike");
    // Every tenth label is deliberately wrong.
    let labels = answers.iter().enumerate().map(|(n, answer)| if n % 10 == 0 { (answer + 1) % 3 } else { *answer });
    let data = Dataset::new(images, labels.collect()).unwrap();
    for engine in engines("an_evaluation_counts_right_answers") {
        let mut model = Model::from_bytes("example", &Example::default().bytes(), &engine.options(Some(2))).unwrap();
        let mut last = 0;
        let evaluation = evaluate(&mut model, &data, |done| last = done).unwrap();
        assert_eq!((evaluation.metrics.images, evaluation.metrics.correct, last), (300, 270, 300));
        assert!((evaluation.metrics.accuracy - 0.9).abs() < 1e-12 && evaluation.images_per_second > 0.0);
    }
}

#[test]
fn labels_beyond_the_classes_are_refused() {
    let data = Dataset::new(images(2, 1), vec![0, 3]).unwrap();
    for engine in engines("labels_beyond_the_classes_are_refused") {
        let mut model = Model::from_bytes("example", &Example::default().bytes(), &engine.options(Some(1))).unwrap();
        let message = evaluate(&mut model, &data, |_| ()).unwrap_err().to_string();
        assert!(message.contains("labels up to 3") && message.contains("3 classes"), "{message}");
    }
}

#[test]
fn weights_that_are_not_numbers_never_give_an_answer() {
    let mut model = Example::default().model();
    model.graph.as_mut().unwrap().initializer[2].float_data[4] = f32::NAN;
    for engine in engines("weights_that_are_not_numbers_never_give_an_answer") {
        let mut model = Model::from_bytes("example", &model.encode_to_vec(), &engine.options(Some(1))).unwrap();
        let message = model.logits(images(1, 1).view()).unwrap_err().to_string();
        assert!(message.contains("not finite"), "{message}");
    }
}

/// Opens a model changed by `change` with every engine. The error must contain `word`.
fn assert_refused(example: &Example, change: impl Fn(&mut ModelProto), word: &str) {
    let mut model = example.model();
    change(&mut model);
    for engine in engines("assert_refused") {
        let opened = Model::from_bytes("bad.onnx", &model.encode_to_vec(), &engine.options(Some(1)));
        let message = opened.map(|_| ()).map_err(|error| format!("{error:#}")).expect_err(word);
        assert!(message.contains("bad.onnx") && message.contains(word), "{engine}: {message}");
    }
}

#[test]
fn a_file_that_contradicts_its_card_is_refused() {
    let example = Example::default();
    let card = |change: fn(&mut models::card::ModelCard)| {
        move |model: &mut ModelProto| {
            let mut card = example::card(1);
            change(&mut card);
            card.embed(model).unwrap();
        }
    };
    assert_refused(&example, card(|card| card.input.width = 28), "expected the one input image uint8 [N, 1, 8, 28]");
    assert_refused(&example, card(|card| card.input.name = "other".into()), "found image uint8 [N, 1, 8, 6]");
    let classes = |card: &mut models::card::ModelCard| {
        card.architecture.as_mut().unwrap().classes = 2;
        card.labels.truncate(2);
    };
    assert_refused(&example, card(classes), "expected the output logits or probabilities, float [N, 2]");
    let no_json = |model: &mut ModelProto| model.metadata_props[0].value = "{".into();
    assert_refused(&example, no_json, "its model card (metadata 'model_card') cannot be used");
    assert_refused(
        &Example { batch: Some(5000), ..example },
        |_| (),
        "expected the first extent to be symbolic, or 1 to 1024",
    );
}

#[test]
fn a_file_without_a_card_that_leaves_a_choice_is_refused() {
    let expectation = "Without a card, expected one input uint8 [N, C, H, W]";
    let bare = Example::without_card();
    for example in [
        Example { element: DataType::Float, ..bare.clone() },
        Example { outputs: ["one", "other"], ..bare.clone() },
        Example { channels: 2, ..bare.clone() },
    ] {
        assert_refused(&example, |_| (), expectation);
    }
    let second_input = |model: &mut ModelProto| {
        let graph = model.graph.as_mut().unwrap();
        let mut second = graph.input[0].clone();
        second.name = "second".into();
        graph.input.push(second);
    };
    assert_refused(&bare, second_input, "image uint8 [N, 1, 8, 6], second uint8 [N, 1, 8, 6]");
    assert_refused(&bare, |model| model.graph.as_mut().unwrap().output.clear(), "Its outputs: nothing");
}

#[test]
fn a_broken_graph_is_an_error_and_not_a_panic() {
    let example = Example::default();
    let graph = |change: fn(&mut models::onnx::proto::GraphProto)| {
        move |model: &mut ModelProto| change(model.graph.as_mut().unwrap())
    };
    assert_refused(&example, graph(|graph| graph.node.truncate(6)), "no node computes its output");
    assert_refused(
        &example,
        graph(|graph| drop(graph.node.remove(2))),
        "has the input 'convolved', which no node computes",
    );
    let elsewhere = |graph: &mut models::onnx::proto::GraphProto| {
        graph.initializer[1].set_data_location(DataLocation::External);
    };
    assert_refused(&example, graph(elsewhere), "kept in another file");
    let operator = |graph: &mut models::onnx::proto::GraphProto| graph.node[3].op_type = "NoSuchOperator".into();
    assert_refused(&example, graph(operator), "the output shape of the operator NoSuchOperator is not known");
    assert_refused(
        &example,
        graph(|graph| graph.node[2].input.truncate(1)),
        "Conv node '' (number 2) is refused: it lacks",
    );
    assert_refused(&example, graph(|graph| graph.node[2].attribute[0].ints = vec![1]), "1 pads for 2 spatial axes");
    assert_refused(
        &example,
        graph(|graph| graph.node[2].input[0] = "convolved".into()),
        "its Conv node '' depends on its own output",
    );
    assert_refused(&example, graph(|graph| graph.initializer[1].float_data.truncate(35)), "36 stored numbers");
    assert_refused(&example, graph(|graph| graph.initializer[1].dims = vec![4, 9]), "weights of [4, 9]");
    assert_refused(&example, graph(|graph| graph.initializer[1].dims = vec![-4, 1, 3, 3]), "no negative extent");
    let overflow = |graph: &mut models::onnx::proto::GraphProto| {
        graph.initializer[1].dims = vec![i64::MAX, i64::MAX, 3, 3];
    };
    assert_refused(&example, graph(overflow), "at most 1073741824 numbers in one tensor");
    assert_refused(&example, graph(|graph| graph.initializer[1].data_type = 99), "unknown element type 99");
    assert_refused(&example, graph(|graph| graph.initializer[2].dims = vec![3, 4]), "do not fit each other");
    // From here on, the engines themselves find the fault, each with its own message.
    let load = "cannot load bad.onnx";
    assert_refused(&example, graph(|graph| example::make_double(&mut graph.initializer[1])), load);
    assert_refused(&example, graph(|graph| example::make_double(&mut graph.initializer[2])), load);
}

/// fp16 converters write such files.
#[test]
fn nodes_may_come_in_any_order() {
    let mut model = Example::default().model();
    model.graph.as_mut().unwrap().node.reverse();
    for engine in engines("nodes_may_come_in_any_order") {
        let mut model = Model::from_bytes("example", &model.encode_to_vec(), &engine.options(Some(1))).unwrap();
        let images = images(3, 1);
        let logits = model.logits(images.view()).unwrap();
        assert!(compare(logits_by_hand(images.view()).view(), logits.view(), EXACT).unwrap().holds());
    }
}

#[test]
fn a_truncated_file_is_an_error_and_not_a_panic() {
    let bytes = Example::default().bytes();
    for engine in engines("a_truncated_file_is_an_error_and_not_a_panic") {
        for length in (0..bytes.len()).step_by(7) {
            let opened = Model::from_bytes("short.onnx", &bytes[..length], &engine.options(Some(1)));
            // A file cut between two fields may still be valid protobuf; then the card or the graph is missing.
            if let Ok(model) = opened {
                assert!(model.card().is_none(), "{engine}: {length} of {} bytes were used", bytes.len());
            }
        }
    }
}

#[test]
fn cuda_without_cuda_is_an_error() {
    let bytes = Example::default().bytes();
    if !cfg!(feature = "cuda") {
        for backend in ["auto", "ort", "ort-cuda"] {
            let device = if backend == "ort-cuda" { Device::Auto } else { Device::Cuda(0) };
            let engine = backend.parse::<Selection>().unwrap().on(device).unwrap();
            let opened = Model::from_bytes("example", &bytes, &Options::new(engine, None));
            let message = format!("{:#}", opened.err().expect("no CUDA"));
            assert!(message.contains("without ort-cuda: rebuild it with --features cuda"), "{backend}: {message}");
        }
    }
}

#[test]
fn all_engines_agree() {
    let engines = engines("all_engines_agree");
    let (bytes, images) = (Example::default().bytes(), images(100, 1));
    let logits = |engine: Engine| {
        Model::from_bytes("example", &bytes, &engine.options(Some(2))).unwrap().logits(images.view()).unwrap()
    };
    for &engine in &engines[1..] {
        let agreement = compare(logits(engines[0]).view(), logits(engine).view(), FP32_TOLERANCE).unwrap();
        assert!(agreement.holds() && agreement.other_argmax == 0, "{engine}: {agreement:?}");
    }
}
