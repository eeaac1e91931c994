//! `deploy doctor` as a user sees it: what it reports, measures and refuses.
#![cfg(feature = "tract")]

mod example;
mod scene;

use example::Example;
use scene::Scene;

#[test]
fn the_board_is_described_and_a_recommendation_is_measured() {
    let scene = Scene::new();
    let said = scene.deploy("doctor --model example.onnx --seconds 0.1");
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    let emulated = said.stdout.contains("this program runs under an emulator");
    for words in
        ["board ", "processor ", "features ", "cores ", "memory ", "system ", "Engines\ntract ", "Recommendation\n"]
    {
        assert!(said.stdout.contains(words), "{words} in {}", said.stdout);
    }
    if !emulated {
        for words in
            ["example.onnx, fp32", "p50 ms", "one image ", "--model example.onnx --backend ", "only fp32 was measured"]
        {
            assert!(said.stdout.contains(words), "{words} in {}", said.stdout);
        }
    }
}

#[test]
fn without_the_benchmark_it_only_looks() {
    let scene = Scene::new();
    let said = scene.deploy("doctor --no-bench");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("not measured  run deploy doctor without --no-bench"), "{}", said.stdout);
    let document = scene.deploy("doctor --no-bench --format json").json();
    let keys = |part: &serde_json::Value| part.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(keys(&document), "benchmark board choices deploy findings runtimes state");
    assert_eq!(
        keys(&document["board"]),
        "architecture cores debug_build emulator features kernel_architecture libc limits memory memory_available \
         model processor runs_64_bit system virtual_machine"
    );
    assert!(document["benchmark"].is_null() && document["board"]["cores"]["usable"].as_u64() >= Some(1), "{document}");
    assert_eq!(document["board"]["architecture"], std::env::consts::ARCH);
    assert_eq!(document["runtimes"][0]["name"], "tract");
    scene.assert_fails("doctor --no-bench --seconds 3", 2, &["--seconds"]);
    scene.assert_fails("doctor --no-bench --model example.onnx", 2, &["--model"]);
    scene.assert_fails("doctor --seconds 0", 2, &["0.1 to 86400"]);
}

#[test]
fn a_file_that_is_not_a_model_is_named() {
    let scene = Scene::new();
    scene.assert_fails("doctor --model no-such.onnx", 1, &["cannot read no-such.onnx"]);
    scene.assert_fails(
        "doctor --model example.onnx --model short.onnx",
        1,
        &["short.onnx cannot be used", "truncated"],
    );
}

#[test]
fn different_networks_are_not_compared() {
    let scene = Scene::new();
    std::fs::write(scene.path("bare.onnx"), Example::without_card().bytes()).unwrap();
    let words = ["bare.onnx is another network than example.onnx", "in several precisions"];
    scene.assert_fails("doctor --model example.onnx --model bare.onnx", 1, &words);
    scene.assert_fails(
        "doctor --model bare.onnx --model example.onnx",
        1,
        &["bare.onnx does not say which network it is"],
    );
}

/// The weights are doubles; otherwise the file is valid.
#[test]
#[cfg(feature = "ort")]
fn a_model_that_no_engine_can_run_is_reported_after_all_else() {
    if !example::onnxruntime_for("a_model_that_no_engine_can_run_is_reported_after_all_else") {
        return;
    }
    let scene = Scene::new();
    let mut model = Example::default().model();
    example::make_double(&mut model.graph.as_mut().unwrap().initializer[0]);
    std::fs::write(scene.path("odd.onnx"), prost::Message::encode_to_vec(&model)).unwrap();
    let said = scene.deploy("doctor --model odd.onnx --seconds 0.1");
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    assert!(
        said.stdout.contains("tract cannot run odd.onnx: ") && said.stdout.contains("ort cannot run odd.onnx: "),
        "{}",
        said.stdout
    );
    assert!(said.stderr.contains("error: tract cannot run odd.onnx: "), "{}", said.stderr);
}
