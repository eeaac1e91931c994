//! `deploy bench` as a user sees it: what it prints, writes, compares and refuses.
#![cfg(feature = "tract")]

mod example;
mod scene;

use deploy::bench::BenchReport;
use example::Example;
use scene::Scene;
use serde_json::Value;

/// The quickest possible measurement.
const QUICK: &str = "bench --model example.onnx --backend tract --threads 1 --batch-sizes 1,4 --rounds 6";

impl Scene {
    /// Writes a copy of a result with all times per call multiplied by `factor`.
    fn changed(&self, from: &str, to: &str, factor: f64) {
        let mut report = BenchReport::read(&self.path(from)).unwrap();
        for series in &mut report.series {
            series.seconds.p50 *= factor;
        }
        std::fs::write(self.path(to), serde_json::to_string(&report).unwrap()).unwrap();
    }
}

#[test]
fn a_measurement_tells_times_and_cold_starts() {
    let scene = Scene::new();
    let said = scene.deploy(QUICK);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    for words in [
        "example.onnx, ",
        "tract 0.",
        "tract 0.23.9, tract-linalg with own convolutions on",
        "6 rounds in ",
        "p50 ms",
        "95 % interval",
        "images/s",
        "runtime's own call, ms",
        "first prediction ms",
        "peak memory MB",
    ] {
        assert!(said.stdout.contains(words), "{words} in {}", said.stdout);
    }
    assert_eq!(said.stdout.lines().filter(|line| line.starts_with("tract ")).count(), 5, "{}", said.stdout);
}

#[test]
fn the_json_document_holds_together_and_is_written_whole() {
    let scene = Scene::new();
    let said = scene.deploy(&format!("{QUICK} --format json -o deep/result.json"));
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    assert_eq!(std::fs::read_to_string(scene.path("deep/result.json")).unwrap(), said.stdout);
    let document: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&document["format"], &document["rounds"]), (&Value::from(1), &Value::from(6)));
    let report = BenchReport::read(&scene.path("deep/result.json")).unwrap();
    let batches: Vec<_> = report.series.iter().map(|series| series.batch).collect();
    assert_eq!(batches, [1, 4]);
    for series in &report.series {
        let times = &series.seconds;
        assert!(0.0 < times.min && times.min <= times.p50 && times.p50 <= times.p90 && times.p90 <= times.p99);
        assert!(times.p99 <= times.max && times.count >= 6);
        let [low, high] = times.interval.unwrap();
        assert!(times.min <= low && low <= high && high <= times.max, "{times:?}");
        let expected = series.batch as f64 / times.p50;
        assert!((series.images_per_second / expected - 1.0).abs() < 1e-9);
        assert!((series.runtime.threads, &*series.runtime.name) == (1, "tract"));
    }
    let [start] = &report.cold_starts[..] else { panic!("{:?}", report.cold_starts) };
    assert!(start.process_seconds.min > start.load_seconds.min + start.first_seconds.min, "{start:?}");
    if cfg!(target_os = "linux") {
        // A program that has loaded a model is larger than a megabyte, and this model is tiny.
        assert!((1 << 20..1 << 30).contains(&start.peak_memory.unwrap()), "{start:?}");
    }
}

#[test]
#[cfg(feature = "ort")]
fn both_runtimes_are_measured_in_one_run() {
    if !example::onnxruntime_for("both_runtimes_are_measured_in_one_run") {
        return;
    }
    let scene = Scene::new();
    let said = scene
        .deploy("bench --model example.onnx --device cpu --threads 2,1,2 --batch-sizes 2 --rounds 1 --format json");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let document: Value = serde_json::from_str(&said.stdout).unwrap();
    let series = document["series"].as_array().unwrap();
    let measured = series.iter().map(|series| {
        let runtime = &series["runtime"];
        (runtime["name"].as_str().unwrap(), runtime["threads"].as_u64().unwrap())
    });
    let expected = [("tract", 1), ("onnxruntime", 1), ("tract", 2), ("onnxruntime", 2)];
    assert_eq!(measured.collect::<Vec<_>>(), expected);
    assert_eq!(document["cold_starts"].as_array().unwrap().len(), 2);
    assert!(series[0]["seconds"]["interval"].is_null());
    assert!(document["notes"].to_string().contains("at least 6 rounds"), "{}", document["notes"]);
}

#[test]
#[cfg(feature = "onnx")]
fn tract_is_measured_with_our_operators_and_as_released() {
    let scene = Scene::new();
    let bench = "bench --model example.onnx --runtimes tract,tract-stock --threads 1 --batch-sizes 1 --rounds 1";
    let said = scene.deploy(&format!("{bench} --format json"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let document: Value = serde_json::from_str(&said.stdout).unwrap();
    for part in ["series", "cold_starts"] {
        let names: Vec<_> = document[part].as_array().unwrap().iter().map(|each| &each["runtime"]["name"]).collect();
        assert_eq!(names, ["tract", "tract as released"], "{part}");
    }
}

#[test]
fn markdown_is_a_table_to_paste() {
    let said = Scene::new().deploy(&format!("{QUICK} --format markdown"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let lines: Vec<_> = said.stdout.lines().collect();
    assert!(lines[0].starts_with("- model: example.onnx, "), "{}", said.stdout);
    let heading = lines.iter().position(|line| line.starts_with("| runtime | threads | batch | p50 ms |")).unwrap();
    assert!(lines[heading - 1].is_empty() && lines[heading + 1].starts_with("| --- | ---: |"), "{}", said.stdout);
    let columns = |line: &str| line.matches(" | ").count();
    assert_eq!(columns(lines[heading]), columns(lines[heading + 2]));
    assert!(lines[heading + 2].starts_with("| tract | 1 | 1 | "), "{}", said.stdout);
}

#[test]
fn what_got_slower_fails_and_what_got_faster_does_not() {
    let scene = Scene::new();
    assert_eq!(scene.deploy(&format!("{QUICK} -o now.json")).code, Some(0));
    // A change far beyond any noise.
    scene.changed("now.json", "faster-then.json", 0.001);
    let said = scene.deploy(&format!("{QUICK} --compare faster-then.json"));
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    assert!(said.stdout.contains("WORSE") && said.stdout.contains(" worse, "), "{}", said.stdout);
    assert!(said.stderr.starts_with("error: ") && said.stderr.contains("worse by more than noise"), "{}", said.stderr);
    scene.changed("now.json", "slower-then.json", 1000.0);
    let said = scene.deploy(&format!("{QUICK} --compare slower-then.json --format json"));
    let document: Value = serde_json::from_str(&said.stdout).unwrap();
    let changes = document["comparison"]["changes"].as_array().unwrap();
    let verdicts = changes.iter().filter(|change| change["figure"].as_str().unwrap().starts_with("batch"));
    assert_eq!(verdicts.filter(|change| change["verdict"] == "better").count(), 2, "{}", said.stdout);
}

#[test]
fn a_result_of_another_model_is_refused_before_anything_is_measured() {
    let scene = Scene::new();
    assert_eq!(scene.deploy(&format!("{QUICK} -o before.json")).code, Some(0));
    std::fs::write(scene.path("other.onnx"), Example { channels: 3, ..Example::default() }.bytes()).unwrap();
    // It would measure for ten minutes, but must fail at once.
    let said = scene.deploy("bench --model other.onnx --backend tract --time 600 --compare before.json");
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""));
    assert!(said.stderr.contains("for another model (example.onnx, "), "{}", said.stderr);
    std::fs::write(scene.path("no.json"), "{}").unwrap();
    for (file, words) in [("no.json", "is not a result of deploy bench"), ("none.json", "cannot read none.json")] {
        let said = scene.deploy(&format!("{QUICK} --compare {file}"));
        assert_eq!(said.code, Some(1));
        assert!(said.stderr.contains(words), "{}", said.stderr);
    }
}

#[test]
fn a_model_that_cannot_be_used_is_named_once() {
    let scene = Scene::new();
    for (model, words) in [("empty.onnx", "empty.onnx cannot be used"), ("none.onnx", "cannot read none.onnx")] {
        let said = scene.deploy(&format!("bench --model {model} --backend tract --rounds 1"));
        assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""));
        assert!(said.stderr.starts_with("error: ") && said.stderr.contains(words), "{}", said.stderr);
        assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    let scene = Scene::new();
    for (flags, words) in [
        ("--backend auto", "expected tract, tract-stock"),
        ("--runtimes tract,tract", "twice"),
        ("--runtimes tract --backend tract", "--backend"),
        ("--runtimes tract --device cpu", "--device"),
        ("--stock-tract", "--stock-tract"),
        ("--backend tract --device cpu", "no effect with --backend tract"),
        ("--backend tract --device cuda", "use --backend ort"),
        ("--time 5 --rounds 3", "cannot be used with"),
        ("--time 0", "expected a number from 0.1 to 86400"),
        ("--time nan", "expected a number from 0.1 to 86400"),
        ("--rounds 0", "--rounds"),
        ("--threads 0", "--threads"),
        ("--batch-sizes 1,0", "--batch-sizes"),
        ("--batch-sizes 2000", "--batch-sizes"),
        ("--format csv", "markdown"),
    ] {
        let said = scene.deploy(&format!("bench --model example.onnx {flags}"));
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{flags}: {}", said.stderr);
        assert!(said.stderr.contains(words), "{flags}: {}", said.stderr);
    }
}
