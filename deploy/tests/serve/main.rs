//! `deploy serve` as its clients see it: answers, refusals, reloads, and the end.
#![cfg(all(feature = "tract", feature = "serve", unix))]

#[path = "../example/mod.rs"]
mod example;
mod network;
#[path = "../scene/mod.rs"]
mod scene;
mod server;

use example::{Example, HEIGHT, LABELS, WIDTH, images, logits_by_hand};
use models::image_file;
use models::onnx::proto::StringStringEntryProto;
use models::onnx::proto::tensor_proto::DataLocation;
use ndarray::Array3;
use prost::Message;
use scene::{Scene, TRACT};
use serde_json::{Value, json};
use server::{Server, answer};
use std::fs;
use std::io::Write;
use std::mem;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Waits until `done` is true.
fn eventually(mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(30), "nothing happened");
        thread::sleep(Duration::from_millis(50));
    }
}

fn picture(scene: &Scene, number: usize) -> Vec<u8> {
    fs::read(scene.path(&format!("picture-{number}.pgm"))).unwrap()
}

#[test]
fn images_are_answered_as_predict_answers_them() {
    let scene = Scene::new();
    let server = Server::start(&scene, TRACT);
    let expected = scene.deploy(&format!("predict picture-0.pgm notes.png picture-2.pgm {TRACT} --format json")).json();
    let (status, found) = server.post("/predict", &picture(&scene, 0));
    let renamed = |expected: &Value, name: &str| {
        let mut expected = expected.clone();
        expected["file"] = json!(name);
        expected
    };
    assert_eq!((status, &found["predictions"][0]), (200, &renamed(&expected["predictions"][0], "image")));
    assert_eq!(found["model"], expected["model"]);
    // Notes on the engine may name folders of the server.
    assert_eq!(found["notes"], json!([]));

    let mut form = Vec::new();
    for name in ["picture-0.pgm", "notes.png", "picture-2.pgm"] {
        let head = format!("--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"{name}\"\r\n\r\n");
        form.extend([head.as_bytes(), &fs::read(scene.path(name)).unwrap(), b"\r\n"].concat());
    }
    form.extend(b"--x--\r\n");
    let request =
        server.agent.post(server.url("/predict?top=3")).header("content-type", "multipart/form-data; boundary=x");
    let (status, found) = answer(request.send(&form[..]).unwrap());
    assert_eq!(status, 200);
    assert_eq!(found["predictions"], expected["predictions"]);
    assert_eq!(found["errors"], expected["errors"]);

    let (status, found) = server.post("/predict?top=1&threshold=1", &picture(&scene, 0));
    assert_eq!((status, &found["predictions"][0]["label"]), (200, &json!("unknown")));
    assert_eq!(found["predictions"][0]["top"].as_array().unwrap().len(), 1);
    let (status, found) = server.post("/predict", b"not an image");
    assert_eq!(status, 422, "{found}");
    assert!(found["errors"][0]["error"].as_str().unwrap().contains("is not an image that can be read"), "{found}");
}

#[test]
fn tensors_are_answered_in_the_open_inference_protocol() {
    let scene = Scene::new();
    let server = Server::start(&scene, TRACT);
    let pixels = images(4, 1);
    let expected = logits_by_hand(pixels.view());
    let data: Vec<u8> = pixels.iter().copied().collect();
    let tensor = json!({ "name": "image", "shape": [4, 1, HEIGHT, WIDTH], "datatype": "UINT8", "data": data });
    let (status, found) = server.infer(&json!({ "id": "a", "inputs": [tensor] }));
    assert_eq!((status, &found["id"], &found["model_version"]), (200, &json!("a"), &json!("1")), "{found}");
    assert_eq!(found["outputs"][0]["name"], "logits");
    assert_eq!(found["outputs"][0]["shape"], json!([4, LABELS.len()]));
    for (found, expected) in found["outputs"][0]["data"].as_array().unwrap().iter().zip(&expected) {
        assert!((found.as_f64().unwrap() - f64::from(*expected)).abs() < 1e-4, "{found} {expected}");
    }

    // Binary in, binary out: the same bits.
    let head = json!({ "inputs": [{ "name": "image", "shape": [4, 1, HEIGHT, WIDTH], "datatype": "UINT8",
        "parameters": { "binary_data_size": data.len() } }], "parameters": { "binary_data_output": true } })
    .to_string();
    let request = server.agent.post(server.url("/v2/models/example/versions/1/infer"));
    let request = request.header("inference-header-content-length", head.len().to_string());
    let mut response = request.send(&[head.as_bytes(), &data].concat()[..]).unwrap();
    let length: usize = response.headers()["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let body = response.body_mut().read_to_vec().unwrap();
    let floats: Vec<f32> =
        body[length..].chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let of_json = |output: usize| {
        found["outputs"][output]["data"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32)
    };
    assert_eq!(floats, of_json(0).chain(of_json(1)).collect::<Vec<f32>>());

    let (_, metadata) = server.get("/v2/models/example");
    assert_eq!(metadata["inputs"][0]["shape"], json!([-1, 1, HEIGHT, WIDTH]));
    assert_eq!(metadata["parameters"]["labels"], json!(LABELS));
    assert_eq!(server.get("/v2/models/example/ready"), (200, json!({ "name": "example", "ready": true })));
    assert_eq!(server.get("/v2/health/ready"), (200, json!({ "ready": true })));
}

#[test]
fn wrong_requests_get_a_reason() {
    let scene = Scene::new();
    let server = Server::start(&scene, &format!("{TRACT} --max-body 100000"));
    let (image, large) = (picture(&scene, 0), vec![0; 100_001]);
    for (path, body, status, word) in [
        ("/predict?top=0", &image[..], 400, "expected at least 1"),
        ("/predict?threshold=2", &image, 400, "outside 0 to 1"),
        ("/predict?tpo=1", &image, 400, "unknown field `tpo`"),
        ("/predict?model=dog", &image, 404, "the models are example"),
        ("/predict", &[], 400, "expected an image file"),
        ("/predict", &large, 413, "--max-body"),
        ("/v2/models/example/infer", &large, 413, "--max-body"),
        ("/v2/models/example/infer", b"{", 400, "not valid"),
        ("/v2/models/%ff/infer", b"{}", 400, "UTF-8"),
        ("/v2/models/example/versions/2/infer", b"{}", 404, "only version is 1"),
        ("/v2/health/live", &[], 405, "another method"),
        ("/nothing", &[], 404, "nothing at this address"),
    ] {
        let (found, reason) = server.post(path, body);
        assert_eq!(found, status, "{path}: {reason}");
        assert!(reason["error"].as_str().is_some_and(|reason| reason.contains(word)), "{path}: {reason}");
    }
    let packed = server.agent.post(server.url("/predict")).header("content-encoding", "br");
    let (status, reason) = answer(packed.send(&image[..]).unwrap());
    assert!(status == 415 && reason["error"].as_str().unwrap().contains("gzip or deflate"), "{status} {reason}");
    let (_, metrics) = server.get("/metrics");
    assert!(
        metrics.as_str().unwrap().contains(r#"deploy_requests_total{route="/predict",status="400"} 4"#),
        "{metrics}"
    );
}

#[test]
fn a_token_is_needed_if_there_is_one() {
    let scene = Scene::new();
    fs::write(scene.path("token"), "sesame-12\n").unwrap();
    let server = Server::start(&scene, &format!("{TRACT} --token-file token"));
    assert_eq!(server.get("/v2/health/live").0, 200);
    for (token, status) in [(None, 401), (Some("sesame-13"), 401), (Some("sesame-12"), 200)] {
        let mut request = server.agent.get(server.url("/v2"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        assert_eq!(request.call().unwrap().status(), status);
    }
    fs::write(scene.path("token"), "\n").unwrap();
    scene.assert_fails(&format!("serve {TRACT} --token-file token"), 1, &["token: expected one line"]);
}

/// A client that is still sending must get to read why its request is refused.
#[test]
fn a_body_that_is_too_large_is_read_to_its_end() {
    let scene = Scene::new();
    let server = Server::start(&scene, &format!("{TRACT} --max-body 1000"));
    let large = vec![0; 5_000_000];
    for path in ["/predict", "/v2/models/example/infer", "/nothing", "/v2"] {
        for _ in 0..5 {
            let (status, reason) = server.post(path, &large);
            assert!([404, 405, 413].contains(&status) && reason["error"].is_string(), "{path}: {status} {reason}");
        }
    }
}

/// A small file that takes long to decode: 25 million pixels.
fn large_picture() -> Vec<u8> {
    image_file::png(Array3::zeros((1, 5000, 5000)).view()).unwrap()
}

#[test]
fn a_full_queue_refuses_and_loses_nothing() {
    let scene = Scene::new();
    let server = Server::start(&scene, &format!("{TRACT} --threads 1 --queue 1"));
    let image = large_picture();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let clients: Vec<_> = (0..12).map(|_| scope.spawn(|| server.post("/predict", &image).0)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
    assert_eq!(server.post("/predict", &picture(&scene, 0)).0, 200);
}

#[test]
fn the_images_of_a_form_wait_for_each_other() {
    let scene = Scene::new();
    let server = Server::start(&scene, &format!("{TRACT} --threads 1 --queue 1"));
    let form = |parts: &[(&str, &[u8])]| {
        let mut form = Vec::new();
        for (head, contents) in parts {
            let head = format!("--x\r\nContent-Disposition: form-data; {head}\r\n\r\n");
            form.extend([head.as_bytes(), contents, b"\r\n"].concat());
        }
        form.extend(b"--x--\r\n");
        let request = server.agent.post(server.url("/predict"));
        answer(request.header("content-type", "Multipart/Form-Data; boundary=x").send(&form[..]).unwrap())
    };
    let image = picture(&scene, 0);
    let (status, found) = form(&[(r#"name="a"; filename="a.pgm""#, &image[..]); 20]);
    assert_eq!((status, found["predictions"].as_array().unwrap().len()), (200, 20));
    let (status, found) =
        form(&[(r#"name="a"; filename="a.pgm""#, &image), (r#"name="b"; filename="empty.png""#, b"")]);
    assert_eq!((status, &found["errors"][0]["file"]), (200, &json!("empty.png")));
    let (status, found) = form(&[(r#"name="top""#, b"1")]);
    assert_eq!(status, 400);
    assert!(found["error"].as_str().unwrap().contains("'top' of the form is not a file"), "{found}");
}

#[test]
fn clients_that_stop_in_the_middle_hold_nobody_up() {
    let scene = Scene::new();
    let server = Server::start(&scene, &format!("{TRACT} --threads 1 --queue 1"));
    let starts =
        ["POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nP5 6", "GET /v2 HT", "\x16\x03\x01", ""];
    let connections: Vec<TcpStream> = starts
        .iter()
        .cycle()
        .take(64)
        .map(|start| {
            let mut connection = TcpStream::connect(&server.address).unwrap();
            connection.write_all(start.as_bytes()).unwrap();
            connection
        })
        .collect();
    assert_eq!(server.post("/predict", &picture(&scene, 0)).0, 200);
    drop(connections);
    assert_eq!(server.post("/predict", &picture(&scene, 0)).0, 200);
}

#[test]
fn requests_in_progress_are_answered_before_the_end() {
    let scene = Scene::new();
    let mut server = Server::start(&scene, &format!("{TRACT} --threads 1"));
    let image = large_picture();
    let statuses: Vec<u16> = thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| server.post("/predict", &image).0)).collect();
        // All are in the queue or at work.
        eventually(|| server.get("/metrics").1.as_str().unwrap().contains(r#"deploy_images_total{model="example"} 4"#));
        server.signal("-TERM");
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200; 4]);
    assert_eq!(server.process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_changed_file_is_opened_again_and_a_broken_one_is_not() {
    let scene = Scene::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pretrained");
    let replace = |contents: &[u8]| {
        fs::write(scene.path("new.onnx"), contents).unwrap();
        fs::rename(scene.path("new.onnx"), scene.path("m.onnx")).unwrap();
    };
    replace(&fs::read(shipped.join("mnist-quick.onnx")).unwrap());
    let server = Server::start(&scene, "--model example=example.onnx --model m.onnx --backend tract");
    let first = || server.get("/v2/models/m").1["parameters"]["labels"][0].clone();
    assert_eq!(first(), "0");
    replace(b"broken");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(first(), "0");
    replace(&fs::read(shipped.join("fashion-quick.onnx")).unwrap());
    eventually(|| first() == "T-shirt/top");
    assert_eq!(server.get("/v2/models/example").1["parameters"]["labels"], json!(LABELS));
}

#[test]
fn changed_weights_beside_a_model_are_read_again() {
    let scene = Scene::new();
    let mut model = Example::default().model();
    let weights = model.graph.as_mut().unwrap().initializer.last_mut().unwrap();
    let values = mem::take(&mut weights.float_data);
    weights.set_data_location(DataLocation::External);
    weights.external_data = vec![StringStringEntryProto { key: "location".into(), value: "example.onnx.data".into() }];
    fs::write(scene.path("example.onnx"), model.encode_to_vec()).unwrap();
    let write = |factor: f32| {
        let data: Vec<u8> = values.iter().flat_map(|value| (value * factor).to_le_bytes()).collect();
        fs::write(scene.path("example.onnx.data"), data).unwrap();
    };
    write(1.0);
    let server = Server::start(&scene, TRACT);
    let pixels: Vec<u8> = images(1, 1).iter().copied().collect();
    let tensor = json!({ "name": "image", "shape": [1, 1, HEIGHT, WIDTH], "datatype": "UINT8", "data": pixels });
    let request = json!({ "inputs": [tensor] });
    let logit = || server.infer(&request).1["outputs"][0]["data"][0].as_f64().unwrap();
    let before = logit();
    assert_ne!(before, 0.0);
    write(2.0);
    eventually(|| (logit() - 2.0 * before).abs() < 1e-4);
}

#[test]
fn wrong_flags_are_refused_before_anything_is_served() {
    let scene = Scene::new();
    scene.assert_fails("serve --listen 8080", 2, &["expected an IP address with a port"]);
    scene.assert_fails(
        "serve --model example.onnx --model other/example.onnx",
        2,
        &["two models have the name example"],
    );
    let alone = ["--max-batch and --max-delay have no effect: tract runs images one by one"];
    scene.assert_fails(&format!("serve {TRACT} --max-batch 4"), 1, &alone);
    scene.assert_fails(&format!("serve {TRACT} --max-delay 2"), 1, &alone);
    scene.assert_fails("serve --model =example.onnx", 2, &["name the model with letters"]);
    scene.assert_fails("serve --model short.onnx", 1, &["short.onnx"]);
    fs::write(scene.path("file"), "precious").unwrap();
    scene.assert_fails(
        "serve --listen unix:file",
        1,
        &["cannot listen on unix:file: there is something of this name that is not a socket"],
    );
    assert_eq!(fs::read(scene.path("file")).unwrap(), b"precious");
    scene.assert_fails("serve --listen 192.0.2.1:80", 1, &["cannot listen on http://192.0.2.1:80"]);
}
