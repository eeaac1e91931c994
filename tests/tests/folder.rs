//! A user's own images, one sub-folder per class: train → eval → export → deploy, with no options describing the data.

use assert_cmd::Command;
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};
use models::dataset::{self, Dataset, Split};
use ndarray::Axis;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const RECIPE: &str = r#"
name = "own"
base = "tutorial"
normalization = "auto"
epochs = 8
batch_size = 32
ema = 0.9
[network]
arch = "mobilenet-v1"
width = 0.25
resolution = 32
[optimizer]
kind = "sgd"
lr = 0.05
momentum = 0.9
nesterov = true
[schedule]
kind = "cosine"
warm_up = 0.2
"#;

/// The user's working folder.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("own.toml"), format!("seed = {}\n{RECIPE}", tests::seed())).unwrap();
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn program(&self, name: &'static str, arguments: &[&str]) -> Command {
        let mut command = Command::new(tests::program(name).unwrap());
        // The tests run in parallel, and OpenMP's threads wait for each other in busy loops.
        command.current_dir(self.path()).env("OMP_NUM_THREADS", "1").args(arguments);
        command
    }

    /// Runs a command that must succeed. Returns its standard output and standard error.
    fn output(&self, name: &'static str, arguments: &[&str]) -> (String, String) {
        let assert = self.program(name, arguments).assert().success();
        let output = assert.get_output();
        (String::from_utf8(output.stdout.clone()).unwrap(), String::from_utf8(output.stderr.clone()).unwrap())
    }

    fn json(&self, name: &'static str, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.output(name, &[arguments, &["--format", "json"]].concat()).0).unwrap()
    }

    /// Runs a command that must fail with exit code 1. Returns its message.
    fn fails(&self, name: &'static str, arguments: &[&str]) -> String {
        let assert = self.program(name, arguments).assert().failure().code(1);
        let message = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(!message.contains("panicked"), "{message}");
        message
    }

    /// Exports the newest run and evaluates the file in both runtimes. They must agree with the trained network on
    /// every test image, except for near ties. Returns the export's report.
    fn deploy(&self, what: &str, least: f64) -> Value {
        let report = self.json("train", &["export", "-o", "model.onnx", "--overwrite"]);
        let checked = report["check"]["runtimes"].as_array().unwrap();
        for runtime in ["libtorch", "tract", "onnxruntime"] {
            let is_agreed = |entry: &Value| entry["agreement"].is_object();
            let named = |entry: &&Value| entry["runtime"].as_str().unwrap().starts_with(runtime);
            assert!(checked.iter().filter(named).any(is_agreed), "{runtime}: {report}");
        }
        // Another runtime may decide a near tie differently.
        let ties = checked.iter().map(|entry| entry["agreement"]["other_argmax"].as_u64().unwrap()).max().unwrap();
        let trained = self.json("train", &["eval"]);
        tests::learnt(what, trained["accuracy"].as_f64().unwrap(), least).unwrap();
        for backend in ["tract", "ort"] {
            let arguments = ["eval", "--model", "model.onnx", "--data", "data", "--threads", "1", "--backend", backend];
            let found = self.json("deploy", &arguments);
            assert_eq!(found["images"], trained["images"], "{found}");
            let right = |figures: &Value| figures["correct"].as_u64().unwrap();
            assert!(right(&found).abs_diff(right(&trained)) <= ties, "{backend}: {found} is not {trained}");
        }
        self.output("deploy", &["parity", "--model", "model.onnx", "--data", "data"]);
        report
    }

    /// Number of files that `deploy predict` classifies correctly. Each is in a folder named after its class.
    fn predicted(&self, files: &[PathBuf]) -> usize {
        let names: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
        let document =
            self.json("deploy", &[&["predict", "--model", "model.onnx", "--threads", "1"], &names[..]].concat());
        let predictions = document["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), files.len());
        let class = |file: &PathBuf| file.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        predictions.iter().zip(files).filter(|(found, file)| found["label"] == class(file).as_str()).count()
    }
}

/// Writes the first digits of three classes as PNG and JPEG files of various sizes, in one folder per class.
fn write_digits(folder: &Path, digits: &Dataset, each: usize) {
    let classes = ["nought", "one", "two"];
    let mut written = [0; 3];
    for (pixels, &label) in digits.images().axis_iter(Axis(0)).zip(digits.labels()) {
        if label >= classes.len() || written[label] == each {
            continue;
        }
        let number = written[label];
        written[label] += 1;
        let image = GrayImage::from_raw(28, 28, pixels.iter().copied().collect()).unwrap();
        let (width, height) = (20 + (number % 5) as u32 * 9, 24 + (number % 7) as u32 * 6);
        let image = imageops::resize(&image, width, height, FilterType::CatmullRom);
        let class = folder.join(classes[label]);
        fs::create_dir_all(&class).unwrap();
        image.save(class.join(format!("{number:03}.{}", ["png", "jpg"][number % 2]))).unwrap();
    }
    assert_eq!(written, [each; 3]);
}

#[test]
fn digits_as_image_files_are_trained_exported_and_deployed() {
    let place = Place::new();
    let data = place.path().join("data");
    let digits = dataset::load(&tests::mnist().unwrap(), Split::Train).unwrap().first(6000);
    write_digits(&data, &digits, 400);
    // Other files that are often in such folders.
    fs::write(data.join("notes.txt"), "from the attic").unwrap();
    fs::write(data.join("one/.DS_Store"), "").unwrap();
    fs::write(data.join("two/broken.jpg"), "not an image").unwrap();

    let (log, notes) =
        place.output("train", &["--recipe", "own.toml", "--data", "data", "--hold-out", "60", "--threads", "1"]);
    assert!(log.contains("training images and 60 held out"), "{log}");
    assert!(notes.contains("skipped") && notes.contains("1 hidden, 1 .txt"), "{notes}");
    assert!(notes.contains("cannot be read and are skipped") && notes.contains("two/broken.jpg"), "{notes}");
    place.deploy("digits as image files", 0.8);

    let card = &place.json("deploy", &["inspect", "--model", "model.onnx"])["card"];
    assert_eq!(card["labels"], serde_json::json!(["nought", "one", "two"]));
    assert_eq!((&card["input"]["channels"], &card["input"]["height"]), (&1.into(), &32.into()));
    assert_eq!(card["training"]["data_set"], "data");

    // Unseen digits in various sizes.
    let others = place.path().join("others");
    write_digits(&others, &dataset::load(&tests::mnist().unwrap(), Split::Test).unwrap(), 10);
    let files: Vec<PathBuf> = ["nought", "one", "two"]
        .iter()
        .flat_map(|class| fs::read_dir(others.join(class)).unwrap().map(|entry| entry.unwrap().path()))
        .collect();
    let right = place.predicted(&files);
    tests::learnt("digits as large drawings", right as f64 / files.len() as f64, 0.7).unwrap();

    a_resumed_run_wants_the_same_images(&place);
}

fn a_resumed_run_wants_the_same_images(place: &Place) {
    place.output("train", &["--resume", "runs/own"]);
    // A finished run can only be resumed with more epochs.
    let resume = ["--resume", "runs/own", "--epochs", "9"];
    let file = place.path().join("data/one/000.png");
    let (gone, original) = (place.path().join("000.png"), fs::read(&file).unwrap());
    fs::rename(&file, &gone).unwrap();
    let message = place.fails("train", &resume);
    // The file was a training image, or it was a test image and a training image took its place.
    assert!(message.contains("training images"), "{message}");
    let mut image = image::load_from_memory(&original).unwrap().to_luma8();
    imageops::invert(&mut image);
    image.save(&file).unwrap();
    let message = place.fails("train", &[&resume[..], &["--data", "data"]].concat());
    assert!(message.contains("have changed (fingerprint"), "{message}");
    fs::rename(&gone, &file).unwrap();
    fs::create_dir(place.path().join("data/three")).unwrap();
    fs::copy(&file, place.path().join("data/three/1.png")).unwrap();
    fs::copy(&file, place.path().join("data/three/2.png")).unwrap();
    let message = place.fails("train", &resume);
    assert!(message.contains("unknown classes: three; expected some of nought, one, two"), "{message}");
}

/// A disc or square on a dark background. Its size and position depend on `number`.
fn shape(is_disc: bool, colour: Rgb<u8>, number: u32) -> RgbImage {
    let (width, height) = (48 + number % 6 * 12, 48 + number % 4 * 16);
    let side = f64::from(width.min(height));
    let radius = side * (0.22 + f64::from(number % 3) * 0.06);
    let centre = (f64::from(width) / 2.0 + f64::from(number % 5) - 2.0, f64::from(height) / 2.0);
    RgbImage::from_fn(width, height, |x, y| {
        let (dx, dy) = ((f64::from(x) - centre.0).abs(), (f64::from(y) - centre.1).abs());
        let inside = if is_disc { dx.hypot(dy) < radius } else { dx.max(dy) < radius * 0.86 };
        if inside { colour } else { Rgb([(number * 7 % 50) as u8, 20, 30]) }
    })
}

#[test]
fn coloured_images_in_two_parts_are_trained_exported_and_deployed() {
    let place = Place::new();
    let classes = [
        ("blue disc", true, Rgb([30, 60, 220])),
        ("red disc", true, Rgb([220, 50, 40])),
        ("red square", false, Rgb([220, 50, 40])),
    ];
    for (part, numbers) in [("train", 0..160), ("test", 160..190)] {
        for (class, is_disc, colour) in classes {
            let folder = place.path().join("data").join(part).join(class);
            fs::create_dir_all(&folder).unwrap();
            for number in numbers.clone() {
                let image = DynamicImage::from(shape(is_disc, colour, number));
                let (ending, format) =
                    if number % 2 == 0 { ("png", ImageFormat::Png) } else { ("jpeg", ImageFormat::Jpeg) };
                image.save_with_format(folder.join(format!("{number}.{ending}")), format).unwrap();
            }
        }
    }
    place.output("train", &["--recipe", "own.toml", "--data", "data", "--epochs", "12", "--threads", "1"]);
    let report = place.deploy("coloured shapes", 0.8);
    assert_eq!((&report["check"]["images"], &report["check"]["noise"]), (&256.into(), &166.into()), "{report}");
    let card = &place.json("deploy", &["inspect", "--model", "model.onnx"])["card"];
    assert_eq!((&card["input"]["channels"], &card["input"]["width"]), (&3.into(), &32.into()));
    let files: Vec<PathBuf> = classes
        .iter()
        .flat_map(|(class, ..)| [161, 162].map(|number| (class, number)))
        .map(|(class, number)| place.path().join(format!("data/test/{class}/{number}.{}", ["png", "jpeg"][number % 2])))
        .collect();
    let right = place.predicted(&files);
    tests::learnt("coloured shapes, predicted", right as f64 / files.len() as f64, 0.6).unwrap();
}

/// Only as many steps as needed to see what was chosen: 100 per epoch.
#[test]
fn a_folder_of_photos_needs_no_other_flags() {
    let place = Place::new();
    for (class, is_disc, count) in [("disc", true, 40), ("square", false, 15)] {
        let folder = place.path().join("photos").join(class);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            shape(is_disc, Rgb([200, 120, 40]), number).save(folder.join(format!("{number}.png"))).unwrap();
        }
    }
    let (log, _) = place.output("train", &["--data", "photos", "--epochs", "1", "--threads", "1"]);
    // A fifth is kept for the test: 32 and 12 images remain.
    for line in [
        "recipe        photos, 1 epoch, batch size 16",
        "hold out 5: one in 8 of each class",
        "batch size 16: for 39 images",
        "passes 50: at least 100 steps per epoch",
        "from body: pretrained weights need fewer images",
        "class weights balanced: classes have from 12 to 32 images",
        "39 training images and 5 held out to calibrate the last epoch",
        "horizontal flip 0.5",
        "balanced accuracy: ",
        "exported checkpoint: epoch 1, the last, test accuracy",
    ] {
        assert!(log.contains(line), "expected '{line}' in:\n{log}");
    }
    assert!(!log.contains("epochs 1:"), "the user chose it:\n{log}");
    let recipe = fs::read_to_string(place.path().join("runs/photos/recipe.toml")).unwrap();
    assert!(recipe.contains("passes = 50\n") && recipe.contains("class_weights = \"balanced\"\n"), "{recipe}");
    place.output("train", &["export", "-o", "model.onnx"]);

    let folds = ["--data", "photos", "--epochs", "1", "--folds", "2", "--width", "0.1", "--threads", "1"];
    let (log, _) = place.output("train", &folds);
    for line in ["fold 2 of 2: 2", "mean ", "standard deviation", " of 55 are right"] {
        assert!(log.contains(line), "expected '{line}' in:\n{log}");
    }
    assert!(!place.path().join("runs/photos-2").exists());
    // At any resolution.
    for resolution in ["96", "64"] {
        let own = ["--data", "photos", "--folds", "2", "--from", "runs/photos", "--resolution", resolution];
        let message = place.fails("train", &own);
        assert!(message.contains("was trained on images that the folds would test"), "{message}");
    }
    let message = place.fails("train", &["--data", "photos", "--folds", "16"]);
    assert!(
        message.contains("the class square has 1") && message.contains("expected at least one for each of 16 folds"),
        "{message}"
    );
}

/// A picture of 25 coloured patches that depend on `number`.
fn patches(number: u32) -> RgbImage {
    let level = |x: u32, y: u32| (number * 25 + y * 5 + x + 1).wrapping_mul(2_654_435_761).to_le_bytes();
    let coarse = RgbImage::from_fn(5, 5, |x, y| Rgb([level(x, y)[1], level(x, y)[2], level(x, y)[3]]));
    imageops::resize(&coarse, 48, 48, FilterType::CatmullRom)
}

#[test]
fn images_without_labels_make_a_body_for_other_runs() {
    let place = Place::new();
    for (folder, numbers) in [("more/a", 0..30), ("more", 30..60), ("photos/x", 60..80), ("photos/y", 80..100)] {
        fs::create_dir_all(place.path().join(folder)).unwrap();
        for number in numbers {
            patches(number).save(place.path().join(folder).join(format!("{number}.png"))).unwrap();
        }
    }
    patches(3).save(place.path().join("more/copy.png")).unwrap();
    let small = ["--width", "0.1", "--resolution", "32", "--epochs", "1", "--threads", "1"];
    let (log, notes) = place.output("train", &[&["--data", "more", "--unlabelled"], &small[..]].concat());
    for line in [
        "recipe        body, 1 epoch, batch size 55",
        "passes 100: at least 100 steps per epoch",
        "60 training images, none held out",
        "classes       60: 30.png, ",
        "next:   train --data LABELLED --from runs/body",
    ] {
        assert!(log.contains(line), "expected '{line}' in:\n{log}");
    }
    assert!(notes.contains("near-duplicates of other images, left out: 1"), "{notes}");
    assert!(notes.contains("each image is a class of its own"), "{notes}");
    let (log, _) = place.output("train", &["--resume", "runs/body", "--epochs", "2"]);
    assert!(log.contains("continues     at epoch 2 of 2"), "{log}");
    let (log, _) = place.output("train", &["--resume", "runs/body"]);
    assert!(
        log.contains("is finished: 2 epochs done") && !place.path().join("runs/body/report.html").exists(),
        "{log}"
    );
    let message = place.fails("train", &["eval", "runs/body"]);
    assert!(message.contains("the run's images have no labels, so there is nothing to evaluate"), "{message}");
    let message = place.fails("train", &["--data", "more", "--unlabelled", "--hold-out", "3"]);
    assert!(message.contains("--hold-out 0"), "{message}");

    let from = ["--data", "photos", "--from", "runs/body", "--epochs", "1", "--threads", "1"];
    let (log, _) = place.output("train", &from);
    for line in ["width 0.1: that of best.safetensors", "with a new classifier", "classes       2: x, y"] {
        assert!(log.contains(line), "expected '{line}' in:\n{log}");
    }
}

#[test]
fn the_batch_fits_the_smallest_fold() {
    let place = Place::new();
    for (folder, numbers) in [("photos/x", 0..12), ("photos/y", 12..24)] {
        fs::create_dir_all(place.path().join(folder)).unwrap();
        for number in numbers {
            patches(number).save(place.path().join(folder).join(format!("{number}.png"))).unwrap();
        }
    }
    let small = ["--width", "0.1", "--resolution", "32", "--epochs", "1", "--threads", "1"];
    let (log, _) = place.output("train", &[&["--data", "photos", "--folds", "2"], &small[..]].concat());
    assert!(log.contains("fold 2 of 2: 12 images to train on, 12 to test on"), "{log}");
}

#[test]
fn folders_that_cannot_be_learnt_from_are_refused_before_a_run_is_started() {
    let place = Place::new();
    let data = place.path().join("data");
    let digits = dataset::load(&tests::mnist().unwrap(), Split::Train).unwrap().first(600);
    write_digits(&data, &digits, 20);
    let train = ["--recipe", "own.toml", "--data", "data", "--out", "run"];
    let refused = |arguments: &[&str], words: &[&str]| {
        let message = place.fails("train", &[&train[..], arguments].concat());
        for word in words {
            assert!(message.contains(word), "expected '{word}' in:\n{message}");
        }
        assert!(!place.path().join("run").exists());
    };
    refused(&["--batch-size", "64"], &["48 training images are too few for a batch of 64", "--batch-size"]);
    fs::write(place.path().join("labels.txt"), "one\ntwo\n").unwrap();
    refused(&["--labels", "labels.txt"], &["unknown classes: nought; expected some of one, two"]);
    for number in 0..10 {
        fs::write(data.join(format!("one/{number:03}.png")), "not an image").unwrap();
    }
    refused(&[], &["data cannot be read", "one/000.png", "repair or remove them"]);
    fs::create_dir(data.join("empty")).unwrap();
    refused(&[], &["data/empty contains no images"]);
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir(&data).unwrap();
    refused(&[], &["data contains neither IDX files", "nor a sub-folder of images"]);
}
