//! `deploy parity` as a user sees it.
#![cfg(all(feature = "onnx", feature = "ort"))]

mod example;
mod scene;

use example::{Example, images, onnxruntime_for};
use scene::Scene;
use serde_json::Value;

const BOTH: &str = "parity --model example.onnx";

/// Creates a folder `photos` with two images, one of them in a sub-folder, and two files that are not images.
fn write_photos(scene: &Scene) {
    std::fs::create_dir_all(scene.path("photos/deep")).unwrap();
    std::fs::copy(scene.path("picture-0.pgm"), scene.path("photos/b.pgm")).unwrap();
    std::fs::copy(scene.path("picture-1.pgm"), scene.path("photos/deep/a.pgm")).unwrap();
    std::fs::copy(scene.path("notes.png"), scene.path("photos/notes.png")).unwrap();
    std::fs::write(scene.path("photos/list.txt"), "").unwrap();
}

#[test]
fn a_folder_of_images_needs_no_labels() {
    if !onnxruntime_for("a_folder_of_images_needs_no_labels") {
        return;
    }
    let scene = Scene::new();
    write_photos(&scene);
    let said = scene.deploy(&format!("{BOTH} --pictures photos"));
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("photos, 2 images"), "{}", said.stdout);
    for word in ["1 .txt", "left out: photos/notes.png is not an image"] {
        assert!(said.stderr.contains(word), "{}", said.stderr);
    }
    let document = scene.deploy(&format!("{BOTH} --pictures photos --images 1 --format json")).json();
    assert_eq!((&document["compared"][0]["images"], &document["data"]), (&Value::from(1), &Value::from("photos")));
    scene.assert_fails(&format!("{BOTH} --pictures photos --images 3"), 1, &["--images 3: expected 1 to 2"]);
    scene.assert_fails(&format!("{BOTH} --pictures nowhere"), 1, &["nowhere"]);
    std::fs::create_dir(scene.path("empty")).unwrap();
    scene.assert_fails(&format!("{BOTH} --pictures empty"), 1, &["empty contains no images"]);
}

#[test]
fn noise_is_the_same_for_the_same_seed_and_is_said_to_prove_little() {
    if !onnxruntime_for("noise_is_the_same_for_the_same_seed_and_is_said_to_prove_little") {
        return;
    }
    let scene = Scene::new();
    let json = |seed: &str| scene.deploy(&format!("{BOTH} --random 20 {seed} --format json"));
    let said = json("");
    assert_eq!((said.code, said.json()["compared"][0]["images"].as_u64()), (Some(0), Some(20)), "{}", said.stderr);
    assert!(said.stderr.contains("prove little"), "{}", said.stderr);
    let worst = |seed: &str| json(seed).json()["compared"][0]["worst"].clone();
    assert_eq!(worst(""), worst("--seed 0"));
    assert_ne!(worst("--seed 0"), worst("--seed 1"));
}

#[test]
fn the_worst_images_are_listed_and_saved_as_the_network_saw_them() {
    if !onnxruntime_for("the_worst_images_are_listed_and_saved_as_the_network_saw_them") {
        return;
    }
    let scene = Scene::new();
    let said =
        scene.deploy(&format!("{BOTH} --data . --compared tract --worst 3 --save-worst out/worst --format json"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let document = &said.json()["compared"][0];
    let worst = document["worst"].as_array().unwrap();
    assert_eq!(worst.len(), 3);
    let differences: Vec<_> = worst.iter().map(|image| image["max_difference"].as_f64().unwrap()).collect();
    assert!(differences.is_sorted_by(|one, other| one >= other) && differences[0] > 0.0);
    assert_eq!(document["max_difference"].as_f64(), Some(differences[0]));
    let mut files: Vec<_> = std::fs::read_dir(scene.path("out/worst")).unwrap().map(|file| file.unwrap()).collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    assert_eq!(files.len(), 3);
    let number = worst[0]["image"].as_u64().unwrap() as usize;
    let name = files[0].file_name().into_string().unwrap();
    let start = format!("01_image-{number}_label-{}_difference-", worst[0]["label"].as_str().unwrap());
    #[allow(clippy::case_sensitive_file_extension_comparisons)] // We write it so.
    let fits = name.starts_with(&start) && name.ends_with(".png");
    assert!(fits, "{name}");
    let input = example::card(1).input;
    let saved = models::image_file::Reader::default().read(&files[0].path(), &input).unwrap();
    assert_eq!(saved, images(number + 1, 1).index_axis(ndarray::Axis(0), number));
    let said = scene.deploy(&format!("{BOTH} --data . --worst 2"));
    assert_eq!(said.stdout.lines().filter(|line| line.starts_with("image ")).count(), 2, "{}", said.stdout);
    assert!(said.stdout.contains("Differences of logits") && said.stdout.contains('#'), "{}", said.stdout);
}

#[test]
fn any_two_runtimes_are_compared() {
    if !onnxruntime_for("any_two_runtimes_are_compared") {
        return;
    }
    let scene = Scene::new();
    for (reference, compared) in
        [("tract", "ort"), ("ort-as-written", "ort"), ("tract", "ort-as-written"), ("ort", "tract-stock")]
    {
        let said =
            scene.deploy(&format!("{BOTH} --data . --reference {reference} --compared {compared} --format json"));
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        let document = said.json();
        assert_eq!(
            (&document["reference"]["engine"], &document["compared"][0]["engine"]),
            (&reference.into(), &compared.into())
        );
        let name = |engine| match engine {
            "tract" => "tract",
            "tract-stock" => "tract as released",
            "ort" => "onnxruntime",
            _ => "onnxruntime as written",
        };
        assert_eq!(document["reference"]["name"], name(reference));
        assert_eq!(document["compared"][0]["name"], name(compared));
        assert_eq!(document["compared"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn differences_beyond_the_tolerance_exit_with_1_after_the_figures() {
    if !onnxruntime_for("differences_beyond_the_tolerance_exit_with_1_after_the_figures") {
        return;
    }
    let scene = Scene::new();
    for (arguments, word) in
        [("--tolerance 1e-12", "disagree on example.onnx"), ("--layers --tolerance 1e-12", " first differ at ")]
    {
        let said = scene.deploy(&format!("{BOTH} --data . {arguments}"));
        assert_eq!(said.code, Some(1), "{}", said.stdout);
        assert!(said.stderr.contains(word) && said.stdout.contains("verdict"), "{}{}", said.stdout, said.stderr);
        let document = scene.deploy(&format!("{BOTH} --data . {arguments} --format json")).json();
        assert_eq!(document["within_tolerance"], false);
    }
}

#[test]
fn layers_are_listed_in_the_order_of_the_graph() {
    if !onnxruntime_for("layers_are_listed_in_the_order_of_the_graph") {
        return;
    }
    let scene = Scene::new();
    std::fs::write(scene.path("bare.onnx"), Example::without_card().bytes()).unwrap();
    for model in ["example.onnx", "bare.onnx"] {
        let said = scene.deploy(&format!("parity --model {model} --data . --layers"));
        assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
        for word in ["4 test images", "agree at every node", "Conv               convolved", "float32[1, 4, 8, 6]"] {
            assert!(said.stdout.contains(word), "'{word}' is not in {}", said.stdout);
        }
    }
    let document = scene.deploy(&format!("{BOTH} --data . --layers --images 2 --format json")).json();
    let nodes = document["nodes"].as_array().unwrap();
    assert_eq!((nodes.len(), &document["images"]), (8, &Value::from(2)));
    assert_eq!((&nodes[2]["operator"], &nodes[2]["shape"]), (&"Conv".into(), &serde_json::json!([1, 4, 8, 6])));
    assert_eq!(document["first_beyond"], Value::Null);
    // ONNX Runtime shows its tensors only where it runs the graph as written, and the document says so.
    assert_eq!(document["reference"]["engine"], "ort-as-written");
    assert_eq!(document["reference"]["name"], "onnxruntime as written");
    let stock = scene.deploy(&format!("{BOTH} --data . --layers --compared tract-stock"));
    assert!(stock.stdout.contains("tract-stock: tract as released"), "{}{}", stock.stdout, stock.stderr);
    assert_eq!(stock.code, Some(0), "{}", stock.stderr);
}

#[test]
fn flags_that_contradict_each_other_exit_with_2() {
    let scene = Scene::new();
    for (arguments, word) in [
        ("--reference tract --compared ort,tract", "both tract"),
        ("--compared tract,tract", "--compared names tract twice"),
        ("--layers --compared tract,tract-stock", "--layers compares one engine"),
        ("--layers --compared ort-as-written", "ort and ort-as-written both run as ort-as-written"),
        ("--compared ort-cpu", "expected tract, tract-stock"),
        ("--data . --random 3", "--random"),
        ("--data . --pictures .", "--pictures"),
        ("--pictures . --random 3", "--random"),
        ("--random 3 --images 2", "--images"),
        ("--seed 3", "--random"),
        ("--random 0", "--random"),
        ("--images 0", "--images"),
        ("--layers --worst 3", "--worst"),
        ("--layers --save-worst out", "--save-worst"),
        ("--tolerance 0", "above 0"),
        ("--tolerance nan", "above 0"),
        ("--compared caffe", "expected tract, tract-stock"),
        ("--compared ort-cuda:x", "not a device number"),
    ] {
        scene.assert_fails(&format!("{BOTH} {arguments}"), 2, &[word]);
    }
}

#[test]
#[cfg(not(feature = "cuda"))]
fn cuda_without_cuda_says_how_to_get_it() {
    if !onnxruntime_for("cuda_without_cuda_says_how_to_get_it") {
        return;
    }
    let scene = Scene::new();
    for arguments in ["--data .", "--random 2 --layers"] {
        let arguments = format!("{BOTH} {arguments} --compared ort-cuda");
        scene.assert_fails(&arguments, 1, &["ort-cuda cannot be used", "rebuild it with --features cuda"]);
    }
}
