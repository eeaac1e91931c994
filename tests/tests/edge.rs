//! The programs built by `scripts/cross` for boards give the same predictions and error messages, under emulation, as
//! the program built for this machine.
//!
//! `scripts/test-edge` builds them and names the emulator and the program of each architecture in an environment
//! variable: `EDGE_AARCH64='/usr/bin/qemu-aarch64-static /…/deploy'`. Without such a variable the tests are skipped.

use anyhow::{Context, Result, ensure};
use deploy::agreement::{Agreement, INT8_TOLERANCE, Tolerance, compare};
use image::imageops::FilterType;
use image::{GrayImage, ImageFormat};
use models::architecture::Kind;
use models::card::Precision;
use models::dataset::{self, Dataset, Split};
use models::image_file::FORMATS;
use models::onnx;
use ndarray::{Array2, Axis};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use train::data::Images;
use train::export::{Settings, Written};

const VARIABLES: [&str; 2] = ["EDGE_AARCH64", "EDGE_ARMV7"];
/// Largest difference between logits of fp32 and fp16 files; the mean may be a tenth of it. The operations and their
/// order are the same, but the instructions differ. Observed: 1.2e-5 and 1.1e-6. On 32-bit ARM without NEON, int8 files are
/// computed in floats, where a sum may be rounded to the next step, as between two runtimes.
const TOLERANCE: f32 = 1e-4;
const PICTURES: usize = 60;
const CLASSES: usize = 10;

/// A way to run `deploy`: natively or emulated.
struct Program {
    name: String,
    command: Vec<String>,
}

impl Program {
    fn here() -> Self {
        let path = tests::program("deploy").unwrap();
        Self { name: "this machine".to_owned(), command: vec![path.to_str().unwrap().to_owned()] }
    }

    /// The emulated programs. If there are none, prints how to get them.
    fn boards(test: &str) -> Vec<Self> {
        let board = |variable: &str| Some(Self::emulated(variable, &std::env::var(variable).ok()?));
        let boards: Vec<Self> = VARIABLES.into_iter().filter_map(board).collect();
        if boards.is_empty() {
            // Not `println`, which the test harness captures.
            let _ =
                writeln!(std::io::stderr(), "skipped: {test}: no program for boards was named: run scripts/test-edge");
        }
        boards
    }

    fn emulated(name: &str, value: &str) -> Self {
        let (emulator, program) = value.split_once(' ').expect("the emulator, a space, the program");
        Self { name: name.to_owned(), command: vec![emulator.to_owned(), program.to_owned()] }
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).current_dir(folder).env_remove("ORT_DYLIB_PATH");
        command
    }

    fn run(&self, folder: &Path, arguments: &[&str]) -> Output {
        let output = self.command(folder).args(arguments).output();
        output.unwrap_or_else(|error| panic!("{} does not start: {error}", self.command[0]))
    }

    /// Runs a command line and returns its standard output. Fails if the command does.
    fn output(&self, folder: &Path, line: &str) -> Result<String> {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let output = self.run(folder, &arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: deploy {line}: {}: {said}", self.name, output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The answers of tract with this instruction set, as CSV.
    fn instructed(&self, instructions: &str, folder: &Path, model: &str) -> String {
        let line = format!("predict pictures --backend tract --format csv --top-k {CLASSES} {model}");
        let mut command = self.command(folder);
        let output = command.env("DEPLOY_INSTRUCTIONS", instructions).args(line.split_whitespace()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}, {instructions}: {said}", self.name);
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, folder: &Path, line: &str) -> Result<Value> {
        let line = format!("{line} --format json");
        serde_json::from_str(&self.output(folder, &line)?).with_context(|| line)
    }

    /// Logarithms of the probabilities of all classes, `[N, classes]`: the logits minus a constant for each image.
    fn logits(&self, folder: &Path, model: &str) -> Result<Array2<f32>> {
        let document = self.json(folder, &format!("predict pictures --backend tract --top-k {CLASSES} {model}"))?;
        let predictions = document["predictions"].as_array().context("no predictions")?;
        let mut logits = Array2::zeros((predictions.len(), CLASSES));
        for (prediction, mut row) in predictions.iter().zip(logits.rows_mut()) {
            let answers = prediction["top"].as_array().context("no answers")?;
            ensure!(answers.len() == CLASSES, "{} classes in {prediction}", answers.len());
            for answer in answers {
                let class = usize::try_from(answer["class"].as_u64().context("no class")?)?;
                row[class] = (answer["probability"].as_f64().context("no probability")? as f32).ln();
            }
        }
        Ok(logits)
    }
}

/// A folder with the images in `images/`, the same images as a data set in `data/`, and exported models.
struct Scene(TempDir);

impl Scene {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let test = dataset::load(&tests::mnist()?, Split::Test)?.first(PICTURES);
        write_images(&folder.path().join("pictures"), &test)?;
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        tests::write_idx(&data, "t10k", &test)?;
        Ok(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Exports the test network and returns the option that names the file.
    fn export(&self, precision: Precision) -> Result<String> {
        let checkpoint = tests::trained(Kind::MobilenetV1)?;
        let calibration = dataset::load(&tests::mnist()?, Split::Train)?.first(300);
        let images = Images::on_device(&calibration, tch::Device::Cpu)?.images;
        let settings = Settings { precision, ..Settings::default() };
        let name = format!("{precision}.onnx");
        fs::write(self.path().join(&name), Written::new(&checkpoint, &settings, Some(&images))?.bytes)?;
        Ok(format!("--model {name}"))
    }
}

/// Writes the images unchanged, but every sixth enlarged to the size of users' images.
fn write_images(folder: &Path, set: &Dataset) -> Result<()> {
    fs::create_dir(folder)?;
    for (index, image) in set.images().axis_iter(Axis(0)).enumerate() {
        let image = GrayImage::from_raw(28, 28, image.iter().copied().collect()).context("28×28 pixels")?;
        let path = folder.join(format!("{index:03}.png"));
        if index % 6 == 0 {
            image::imageops::resize(&image, 311, 311, FilterType::CatmullRom).save(path)?;
        } else {
            image.save(path)?;
        }
    }
    Ok(())
}

#[test]
fn boards_give_the_answers_of_this_machine() {
    let boards = Program::boards("boards_give_the_answers_of_this_machine");
    if boards.is_empty() {
        return;
    }
    let scene = Scene::new().unwrap();
    let mut models = vec![("embedded".to_owned(), String::new(), Tolerance::new(TOLERANCE))];
    for precision in Precision::ALL {
        let tolerance = if precision == Precision::Int8 { INT8_TOLERANCE } else { Tolerance::new(TOLERANCE) };
        models.push((precision.to_string(), scene.export(precision).unwrap(), tolerance));
    }
    for (name, model, tolerance) in models {
        let expected = Program::here().logits(scene.path(), &model).unwrap();
        assert_eq!(expected.nrows(), PICTURES);
        for board in &boards {
            let found = board.logits(scene.path(), &model).unwrap();
            let agreement: Agreement = compare(expected.view(), found.view(), tolerance).unwrap();
            println!("{}, {name}: {agreement:?}", board.name);
            assert!(agreement.holds(), "{}, {name}: {agreement:?}", board.name);
        }
    }
}

/// Integer kernels of every instruction set give the same bits. `DEPLOY_INSTRUCTIONS` forces each.
#[test]
fn int8_probabilities_are_the_same_bits_with_every_instruction_set() {
    let boards = Program::boards("int8_probabilities_are_the_same_bits_with_every_instruction_set");
    if boards.is_empty() {
        return;
    }
    let scene = Scene::new().unwrap();
    let model = scene.export(Precision::Int8).unwrap();
    let here = Program::here();
    let expected = here.instructed("scalar", scene.path(), &model);
    let mut programs = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") {
            programs.push((&here, "avx2"));
        }
        if is_x86_feature_detected!("avx512vnni") {
            programs.push((&here, "avx-512-vnni"));
        }
    }
    for board in &boards {
        programs.extend([(board, "scalar"), (board, "neon")]);
        if board.name == "EDGE_AARCH64" {
            programs.push((board, "neon-dot-product"));
        }
    }
    for (program, instructions) in programs {
        let found = program.instructed(instructions, scene.path(), &model);
        assert!(found == expected, "{}, {instructions}: {found}, expected {expected}", program.name);
    }
}

#[test]
fn boards_count_the_right_answers_of_this_machine() {
    let boards = Program::boards("boards_count_the_right_answers_of_this_machine");
    if boards.is_empty() {
        return;
    }
    let scene = Scene::new().unwrap();
    let line = "eval --backend tract --data data";
    let expected = Program::here().json(scene.path(), line).unwrap();
    assert!(expected["correct"].as_u64().unwrap() as usize > PICTURES * 9 / 10, "{expected}");
    for board in boards {
        let found = board.json(scene.path(), line).unwrap();
        for fact in ["images", "correct", "confusion"] {
            assert_eq!(found[fact], expected[fact], "{}: {fact}", board.name);
        }
    }
}

#[test]
fn boards_tell_what_they_have() {
    let here = Program::here();
    for board in Program::boards("boards_tell_what_they_have") {
        let folder = tempfile::tempdir().unwrap();
        for line in ["inspect", "inspect --format json", "--version"] {
            assert_eq!(board.output(folder.path(), line).unwrap(), here.output(folder.path(), line).unwrap());
        }
        let backends = board.json(folder.path(), "backends").unwrap();
        let tract = &backends["backends"][0];
        assert_eq!((&tract["name"], &tract["available"]), (&"tract".into(), &true.into()), "{backends}");
        let version = &here.json(folder.path(), "backends").unwrap()["backends"][0]["version"];
        assert_eq!(&tract["version"], version);
    }
}

/// A command line with a broken model or image, and the expected exit code and message.
struct Bad {
    line: String,
    code: i32,
    word: &'static str,
}

/// Writes broken files into the folder and returns the command lines that use them.
fn bad_input(folder: &Path) -> Result<Vec<Bad>> {
    let good = deploy::embedded::MODEL;
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes);
    write("short.onnx", &good[..good.len() / 2])?;
    write("empty.onnx", &[])?;
    write("text.onnx", b"no model at all")?;
    // More elements than 32 bits can count, and more than fit into any memory.
    for (name, extent) in [("large.onnx", 1 << 33), ("endless.onnx", i64::MAX / 2)] {
        let mut model = onnx::parse(good)?;
        let graph = model.graph.as_mut().context("no graph")?;
        graph.initializer.iter_mut().max_by_key(|tensor| tensor.raw_data.len()).context("no weights")?.dims[0] = extent;
        write(name, &onnx::encode(&model))?;
    }
    // A convolution without weights, on which tract panics.
    let mut model = onnx::parse(good)?;
    let node = model.graph.as_mut().and_then(|graph| graph.node.iter_mut().find(|node| node.op_type == "Conv"));
    node.context("no convolution")?.input.truncate(1);
    write("bare.onnx", &onnx::encode(&model))?;

    let mut png = Vec::new();
    GrayImage::new(28, 28).write_to(&mut std::io::Cursor::new(&mut png), ImageFormat::Png)?;
    write("blank.png", &png)?;
    write("short.png", &png[..png.len() / 2])?;
    write("text.png", b"not an image")?;
    // A header may claim any size, here 65,535 by 65,535 pixels.
    write("large.pgm", b"P5 65535 65535 255\n")?;

    let model = |file: &str, word| Bad { line: format!("predict blank.png --model {file}"), code: 1, word };
    let image = |file: &str, word| Bad { line: format!("predict {file}"), code: 1, word };
    Ok(vec![
        model("short.onnx", "truncated"),
        model("empty.onnx", "empty"),
        model("text.onnx", "not a complete ONNX model"),
        model("large.onnx", "large.onnx cannot be used"),
        model("endless.onnx", "endless.onnx cannot be used"),
        model("bare.onnx", "bare.onnx cannot be used"),
        model("nowhere.onnx", "cannot read nowhere.onnx"),
        image("blank.png", "blank.png"),
        image("short.png", "short.png"),
        image("text.png", "text.png"),
        image("large.pgm", "large.pgm"),
        image("nowhere.png", "nowhere.png"),
        Bad { line: "eval --data nowhere".to_owned(), code: 1, word: "nowhere: folder not found" },
        Bad { line: "predict blank.png --threads 0".to_owned(), code: 2, word: "--threads" },
    ])
}

#[test]
fn boards_refuse_bad_input_in_the_same_words() {
    let boards = Program::boards("boards_refuse_bad_input_in_the_same_words");
    if boards.is_empty() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = Program::here();
    for Bad { line, code, word } in bad_input(folder.path()).unwrap() {
        let line = format!("{line} --backend tract");
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let told = |program: &Program| {
            let output = program.run(folder.path(), &arguments);
            // Two differences are expected: the line about the runtime names the instruction set, and the board's
            // program supports fewer formats.
            let said = String::from_utf8(output.stderr).unwrap();
            let said: Vec<&str> = said.lines().filter(|line| !line.contains(": tract ")).collect();
            (output.status.code(), said.join("\n").replace(&FORMATS.to_string(), "PNG, JPEG, PNM"))
        };
        let expected = told(&here);
        assert!(expected.0 == Some(code) && expected.1.contains(word), "{line}: {expected:?}");
        for board in &boards {
            assert_eq!(told(board), expected, "{}: {line}", board.name);
        }
    }
}

#[test]
fn a_runtime_that_was_left_out_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for board in Program::boards("a_runtime_that_was_left_out_is_named") {
        let image: PathBuf = folder.path().join("blank.png");
        GrayImage::new(28, 28).save(image).unwrap();
        let output = board.run(folder.path(), &["predict", "blank.png", "--backend", "ort"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("--features ort"), "{}: {said}", board.name);
    }
}

/// ONNX Runtime's own library for aarch64 does not run under QEMU. A fake library that reports an old version shows
/// that the program loads what it finds.
#[test]
fn a_board_program_finds_or_misses_onnxruntime() {
    let Ok(value) = std::env::var("EDGE_AARCH64_ORT") else {
        println!("skipped: a_board_program_finds_or_misses_onnxruntime: EDGE_AARCH64_ORT is not set");
        return;
    };
    let board = Program::emulated("EDGE_AARCH64_ORT", &value);
    let folder = tempfile::tempdir().unwrap();
    GrayImage::from_fn(28, 28, |x, _| image::Luma([if x == 14 { 255 } else { 0 }]))
        .save(folder.path().join("1.png"))
        .unwrap();
    let fake = folder.path().join("fake.so");
    let source = folder.path().join("fake.c");
    fs::write(
        &source,
        r#"static const void *api(unsigned version) { return 0; }
           static const char *version(void) { return "1.10.0"; }
           static const struct { const void *(*api)(unsigned); const char *(*version)(void); } base = { api, version };
           const void *OrtGetApiBase(void) { return &base; }"#,
    )
    .unwrap();
    let compiled =
        Command::new("aarch64-linux-gnu-gcc").args(["-shared", "-fPIC", "-o"]).args([&fake, &source]).status();
    assert!(compiled.unwrap().success());

    for (library, reason) in [
        (None, "the system's loader, libonnxruntime.so: "),
        (Some(Path::new("nowhere.so")), "No such file"),
        (Some(fake.as_path()), "ONNX Runtime 1.10.0 is too old"),
    ] {
        let told = |line: &str| {
            let mut command = board.command(folder.path());
            command.args(line.split_whitespace()).envs(library.map(|library| ("ORT_DYLIB_PATH", library)));
            let output = command.output().unwrap();
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            (output.status.code(), said)
        };
        for (line, code, word) in [
            ("predict 1.png --backend ort", 1, "error: no usable ONNX Runtime"),
            ("backends", 0, "auto uses       tract\n"),
            ("predict 1.png", 0, "embedded): tract "),
        ] {
            let (found, said) = told(line);
            assert!(found == Some(code) && said.contains(word), "{line}: {found:?} {said}");
            assert!(said.contains(reason) || library.is_none() && code == 0, "{line}: {reason} in {said}");
        }
    }
}
