//! Checks that `report.html` and `train eval` report what was measured, for various data sets.

use models::card::Content;
use models::dataset::Dataset;
use ndarray::Array4;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use tch::Device;
use train::checkpoint::{self, Checkpoint};
use train::data::{DataSource, Images};
use train::network::Network;
use train::recipe::Recipe;
use train::report::{self, Figures, RunReport};
use train::run::{Epoch, Run};
use train::trainer::{Trainer, TrainingObserver};

/// Class names that would break unescaped HTML.
const LABELS: [&str; 3] = ["zero", "<script>alert(1)</script>", "\"R&D\""];

/// The tests must pass with any seed; `scripts/test-seeds` tries several.
fn recipe(epochs: usize, hold_out: usize) -> String {
    let seed = std::env::var("TEST_SEED").unwrap_or_else(|_| "1".to_owned());
    format!(
        "name = \"tiny\"\nseed = {seed}\nepochs = {epochs}\nbatch_size = 8\nhold_out = {hold_out}\nema = 0.9\n\
         base = \"tutorial\"\nnormalization = \"auto\"\n\
         [network]\narch = \"mobilenet-v1\"\nwidth = 0.1\nresolution = 32\n\
         [optimizer]\nkind = \"sgd\"\nlr = 0.05\nmomentum = 0.9\n\
         [schedule]\nkind = \"cosine\"\nwarm_up = 0.2\n"
    )
}

/// Noisy 12×12 images with one bright vertical stripe, whose position is the class.
fn images(count: usize, channels: usize, classes: usize) -> Dataset {
    let value = |(n, c, y, x): (usize, usize, usize, usize)| {
        let noise = (n * 31 + c * 17 + y * 7 + x * 3) % 60;
        (noise + if x / 3 == n % classes { 180 } else { 0 }) as u8
    };
    Dataset::new(Array4::from_shape_fn((count, channels, 12, 12), value), (0..count).map(|n| n % classes).collect())
        .unwrap()
}

fn source(channels: usize, labels: &[&str]) -> DataSource {
    DataSource {
        name: "made <up>".into(),
        folder: "nowhere".into(),
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        content: Content::Image,
        train: images(40, channels, labels.len()),
        validation: None,
        test: images(30, channels, labels.len()),
        held_out_by_class: false,
        near_duplicates_together: true,
        classes: train::source::Classes::Labels,
        has_test: true,
        notes: Vec::new(),
    }
}

/// Trains a tiny network into `folder`.
fn trained(folder: &Path, recipe: &str, source: &DataSource) -> (Run, Trainer) {
    tch::set_num_threads(1);
    let run = Run::create(Some(&folder.join("run")), "tiny").unwrap();
    let mut trainer = Trainer::new(Recipe::parse(recipe).unwrap(), source, Device::Cpu).unwrap();
    let mut nobody: Vec<Box<dyn TrainingObserver>> = Vec::new();
    trainer.run(&run, &mut nobody, &AtomicBool::new(false)).unwrap();
    (run, trainer)
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// Checks that every element is closed in order, that there is no script, and that no number is NaN or infinite.
fn assert_well_formed(html: &str) {
    let mut open = Vec::new();
    for part in html.split('<').skip(1) {
        let (tag, _) = part.split_once('>').unwrap_or_else(|| panic!("'<{part}' does not end"));
        let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        let void = ["meta", "img"].contains(&name.as_str()) || tag.ends_with('/') || tag.starts_with('!');
        assert!(name != "script", "a script: {tag}");
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_deref(), Some(name.as_str()), "closed in the wrong place");
        } else if !void {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    assert!(!html.contains("NaN") && !html.contains(">inf"), "a number that is none");
}

#[test]
fn the_page_says_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let (run, trainer) = trained(folder.path(), &recipe(2, 8), &source(1, &LABELS));
    let page = report::write(&run, trainer.test(), trainer.held_out(), "the test split of made <up>").unwrap();
    assert_eq!(page, run.folder().join("report.html"));
    let html = fs::read_to_string(&page).unwrap();
    assert_well_formed(&html);

    let shipped = trainer.progress().best.unwrap().epoch;
    let epoch = trainer.history()[shipped - 1];
    assert!(html.contains(&format!("<dd class=\"value\">{}</dd>", percent(epoch.test_accuracy))), "{html}");
    assert!(html.contains(&format!("best: epoch {shipped}")));
    for epoch in trainer.history() {
        assert!(html.contains(&format!("<td>{:.4}</td>", epoch.train_loss)), "epoch {}", epoch.epoch);
    }
    for label in ["zero", "&lt;script&gt;alert(1)&lt;/script&gt;", "&quot;R&amp;D&quot;", "made &lt;up&gt;"] {
        assert!(html.contains(label), "{label}");
    }
    for words in ["depthwise 3×3 stride 2", "batch_size = 8", "libtorch 2.13.0 on cpu, 1 thread", "1706.04599"] {
        assert!(html.contains(words), "{words}");
    }
    // The network as trained, and with the temperature that the held-out images give.
    let report = RunReport::measure(&run, trainer.test(), trainer.held_out(), "the test split of made <up>").unwrap();
    let calibrated = report.figures.calibrated.as_ref().unwrap();
    assert_eq!((calibrated.images, calibrated.metrics.correct), (8, report.figures.metrics.correct));
    for (title, metrics) in [("As trained", &report.figures.metrics), ("As exported", &calibrated.metrics)] {
        let heading = format!("<h3>{title}, ECE {}</h3>", percent(metrics.calibration.ece));
        assert!(html.contains(&heading), "{heading}");
    }
    assert!(html.contains(&format!("the temperature {}, fitted to 8 held-out images", calibrated.temperature)));
    // Nothing is loaded from outside: the only addresses are `data:` images.
    assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("url(") && !html.contains("@import"));
    assert_eq!(html.matches("src=\"").count(), html.matches("src=\"data:image/png;base64,").count());
    assert_eq!(
        html,
        RunReport::measure(&run, trainer.test(), trainer.held_out(), "the test split of made <up>")
            .unwrap()
            .to_html()
            .unwrap(),
        "the same run, another page"
    );
}

#[test]
fn every_mistake_of_a_network_that_always_says_the_same_is_shown_in_colour() {
    let folder = tempfile::tempdir().unwrap();
    let (run, trainer) = trained(folder.path(), &recipe(1, 0), &source(3, &["left", "right"]));
    let metadata = Checkpoint::read(&run.best()).unwrap().metadata;
    let recipe = Recipe { ema: 0.0, ..metadata.recipe.clone() };
    let metadata = checkpoint::Metadata { recipe, ..metadata };
    let nothing = Network::zeros(&metadata.architecture, Device::Cpu).unwrap();
    checkpoint::write(&run.best(), &metadata, &nothing, None, &[]).unwrap();

    let report = RunReport::measure(&run, trainer.test(), trainer.held_out(), "the test split of made <up>").unwrap();
    let figures = &report.figures;
    assert_eq!((figures.metrics.accuracy, figures.mistakes.len()), (0.5, 15));
    assert_eq!(figures.metrics.confusion.counts, [vec![15, 0], vec![15, 0]]);
    assert_eq!((figures.metrics.classes[0].precision, figures.metrics.classes[1].precision), (Some(0.5), None));
    assert_eq!(figures.metrics.calibration.ece, 0.0, "half sure and half right");
    assert!(figures.mistakes.iter().all(|mistake| mistake.truth == "right"
        && mistake.second.as_deref() == Some("right")
        && mistake.index % 2 == 1));
    assert_eq!(figures.shown[0].image.dim(), (3, 12, 12));
    assert!(figures.to_text().contains('–') && !figures.to_text().contains("NaN"), "{}", figures.to_text());
    let html = report.to_html().unwrap();
    assert_well_formed(&html);
    // Each with its class activation map.
    assert_eq!(html.matches("<img src=").count(), 2 * 15);
}

#[test]
fn one_epoch_two_hundred_and_a_hundred_classes_make_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let (run, trainer) = trained(folder.path(), &recipe(1, 0), &source(1, &LABELS));
    let mut report =
        RunReport::measure(&run, trainer.test(), trainer.held_out(), "the test split of made <up>").unwrap();
    let html = report.to_html().unwrap();
    assert_well_formed(&html);
    assert!(!html.contains("held-out accuracy") && !html.contains("As exported"), "nothing was held out");

    let epoch = |epoch: usize| {
        let error = 0.9 / epoch as f64;
        let accuracy = if epoch > 150 { 1.0 } else { 1.0 - error };
        Epoch {
            epoch,
            learning_rate: 0.1,
            train_loss: 2.0 * error,
            held_out_loss: Some(error),
            held_out_accuracy: Some(accuracy),
            test_loss: if epoch == 3 { f64::INFINITY } else { error },
            test_accuracy: accuracy,
        }
    };
    report.history = (1..=200).map(epoch).collect();
    report.seconds = vec![1.0; 200];
    report.metadata.recipe.epochs = 200;
    let html = report.to_html().unwrap();
    assert!(html.contains("logarithm of the error") && html.contains("exported: epoch 1"));
    assert_well_formed(&html);

    let classes = 100;
    let labels: Vec<String> = (0..classes).map(|class| format!("class {class}")).collect();
    report.figures.metrics.confusion.counts =
        (0..classes).map(|truth| (0..classes).map(|answer| u64::from(answer <= truth)).collect()).collect();
    report.figures.metrics.classes = report.figures.metrics.confusion.classes();
    report.figures.labels = labels;
    report.figures.mistakes.clear();
    report.figures.shown.clear();
    let html = report.to_html().unwrap();
    assert!(html.contains("class 99 taken for class 98: 1 of 100 (1.00 %)"));
    assert_well_formed(&html);
    assert!(report.figures.to_text().contains("100 classes"));
}

#[test]
fn labels_the_network_does_not_know_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (run, _) = trained(folder.path(), &recipe(1, 0), &source(1, &LABELS));
    let checkpoint = Checkpoint::read(&run.best()).unwrap();
    let measure = |set: &Dataset| {
        let images = Images::on_device(set, Device::Cpu).unwrap();
        Figures::measure(&checkpoint, &images, None, "these", &|_, _| ()).unwrap_err().to_string()
    };
    assert!(measure(&images(10, 1, 4)).contains("labels up to 3, but the network has only 3 classes"));
    assert!(measure(&images(9, 3, 3)).contains("the network expects [1, 12, 12]"));
}

/// Does what a user would: trains, remakes the report, evaluates.
#[test]
fn what_eval_and_report_print_is_what_history_says() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = folder.join("stripes");
    fs::create_dir(&data).unwrap();
    for (prefix, count) in [("train", 60), ("t10k", 45)] {
        let set = images(count, 1, 3);
        let header = |extents: &[u32]| {
            let extents: Vec<u8> = extents.iter().flat_map(|extent| extent.to_be_bytes()).collect();
            [vec![0, 0, 8, extents.len() as u8 / 4], extents].concat()
        };
        let images = [header(&[count as u32, 12, 12]), set.images().iter().copied().collect()].concat();
        let labels = [header(&[count as u32]), set.labels().iter().map(|&label| label as u8).collect()].concat();
        fs::write(data.join(format!("{prefix}-images-idx3-ubyte")), images).unwrap();
        fs::write(data.join(format!("{prefix}-labels-idx1-ubyte")), labels).unwrap();
    }
    fs::write(folder.join("tiny.toml"), recipe(2, 12)).unwrap();
    let train = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
        // One thread, as in training: with more, the last digits of a loss may differ.
        let output = command.current_dir(folder).env("OMP_NUM_THREADS", "1").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let log = train(&["--recipe", "tiny.toml", "--data", "stripes", "--threads", "1", "--tensorboard"]);
    assert!(log.contains("report: runs/tiny/report.html"), "{log}");
    let page = folder.join("runs/tiny/report.html");
    let first = fs::read_to_string(&page).unwrap();
    fs::remove_file(&page).unwrap();
    assert_eq!(train(&["report"]).trim(), "runs/tiny/report.html");
    let headline = |html: &str| html.split_once("<section>").unwrap().0.to_owned();
    assert_eq!(headline(&fs::read_to_string(&page).unwrap()), headline(&first));

    let history = fs::read_to_string(folder.join("runs/tiny/history.csv")).unwrap();
    for (checkpoint, named) in [("runs/tiny", "best"), ("runs/tiny/last.safetensors", "last")] {
        let figures: Value = serde_json::from_str(&train(&["eval", checkpoint, "--format", "json"])).unwrap();
        let epoch = figures["epochs"].as_u64().unwrap() as usize;
        let line = history.lines().nth(epoch).unwrap();
        let (accuracy, loss) = (figures["accuracy"].as_f64().unwrap(), figures["loss"].as_f64().unwrap());
        assert!(line.contains(&format!(",{loss:.6},{accuracy:.6},")), "{named}: {figures} and {line}");
        assert_eq!(figures["confusion"]["counts"].as_array().unwrap().len(), 3);
        assert_eq!(figures["calibration"]["bins"].as_array().unwrap().len(), 15);
        let text = train(&["eval", checkpoint]);
        assert!(text.contains(&percent(accuracy)) && text.contains("true \\ answer"), "{text}");
    }
    let events = fs::read_dir(folder.join("runs/tiny"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("events.out.tfevents."));
    assert_eq!(events.count(), 1);
}
