//! `train export` calibrates the probabilities of its files without changing an answer.

use deploy::backend::Engine;
use deploy::model::Model;
use models::architecture::Kind;
use models::card::{METADATA_KEY, MeasuredOn};
use models::dataset::{self, Dataset, Split};
use models::evaluation::{Metrics, Tally, argmax, energy, softmax};
use models::onnx;
use ndarray::{Array2, ArrayView2, Axis, concatenate};
use prost::Message;
use std::sync::atomic::AtomicBool;
use tch::Device;
use train::checkpoint::Checkpoint;
use train::data::{DataSource, Images};
use train::export::check::{self, Material};
use train::export::confidence::{self, Temperature};
use train::export::{self, Outputs, Settings, Written};
use train::recipe::Recipe;
use train::run::Run;
use train::source::Choices;
use train::trainer::Trainer;

fn exported(checkpoint: &Checkpoint, settings: &Settings) -> Written {
    Written::new(checkpoint, settings, None).unwrap()
}

/// The checkpoint with a temperature, measured on these images.
fn calibrated(mut checkpoint: Checkpoint, images: &Images, temperature: Temperature) -> Checkpoint {
    let confidence = confidence::measure(&checkpoint, images, MeasuredOn::HeldOut, temperature).unwrap();
    checkpoint.set_confidence(confidence);
    checkpoint
}

fn metrics(logits: ArrayView2<f32>, labels: &[usize]) -> Metrics {
    let mut tally = Tally::new(logits.ncols());
    tally.add(logits, labels);
    tally.metrics()
}

fn logits(written: &Written, engine: &str, set: &Dataset) -> Array2<f32> {
    let engine: Engine = engine.parse().unwrap();
    let mut model = Model::from_bytes("calibrated", &written.bytes, &engine.options(Some(1))).unwrap();
    assert_eq!(model.card(), Some(&written.card));
    model.logits(set.images()).unwrap()
}

/// Images of MNIST's training set from `start` on that the test networks were not trained on.
fn unseen(count: usize) -> Dataset {
    part(&dataset::load(&tests::mnist().unwrap(), Split::Train).unwrap(), 30_000, count)
}

fn part(set: &Dataset, start: usize, count: usize) -> Dataset {
    set.select(&(start..start + count).collect::<Vec<_>>()).unwrap()
}

/// Both networks, in both engines: the answers of the network as trained, and the softmax of its logits divided by the
/// temperature as probabilities.
#[test]
fn a_temperature_changes_the_probabilities_but_no_answer() {
    let held_out = unseen(600);
    let images = Images::on_device(&held_out, Device::Cpu).unwrap();
    let test = dataset::load(&tests::mnist().unwrap(), Split::Test).unwrap().first(500);
    for kind in Kind::ALL {
        let trained = check::reference(&tests::trained(kind).unwrap(), &test).unwrap();
        for (temperature, expected) in
            [(Temperature::Fitted, None), (Temperature::Given(2.0), Some(2.0)), (Temperature::Given(0.3), Some(0.3))]
        {
            let checkpoint = calibrated(tests::trained(kind).unwrap(), &images, temperature);
            let outputs = Outputs::Probabilities;
            let file = exported(&checkpoint, &Settings { outputs, ..Settings::default() });
            let confidence = file.card.confidence.unwrap();
            let used = confidence.temperature;
            println!("{kind}, {temperature}: {confidence:?}");
            assert!(expected.is_none_or(|expected| expected == used));
            assert_eq!((confidence.images, confidence.from), (600, MeasuredOn::HeldOut));
            let wanted = softmax(trained.mapv(|logit| (f64::from(logit) / used) as f32).view());
            for engine in ["tract", "ort"] {
                // For a file that returns probabilities only, `logits` are their logarithms.
                let found = logits(&file, engine, &test).mapv(f32::exp);
                for (image, ((found, wanted), trained)) in
                    found.rows().into_iter().zip(wanted.rows()).zip(trained.rows()).enumerate()
                {
                    let difference = (&found - &wanted).fold(0.0_f32, |largest, value| largest.max(value.abs()));
                    assert!(difference < 1e-3, "{kind}, {engine}, image {image}: {found} instead of {wanted}");
                    let (answer, expected) = (argmax(found), argmax(trained));
                    // Rounding may decide a tie.
                    assert!(answer == expected || trained[expected] - trained[answer] < 1e-3, "{kind}, image {image}");
                }
            }
            let material = Material { test: &test, judges: Some((&test, "test")) };
            file.prove(&checkpoint, &material).unwrap();
        }
    }
}

/// The card's figures, computed once more from the file and the held-out images.
#[test]
fn the_card_tells_the_calibration_and_the_threshold_of_the_file() {
    let held_out = unseen(2000);
    let images = Images::on_device(&held_out, Device::Cpu).unwrap();
    let trained = check::reference(&tests::trained(Kind::MobilenetV1).unwrap(), &held_out).unwrap();
    let checkpoint = calibrated(tests::trained(Kind::MobilenetV1).unwrap(), &images, Temperature::Fitted);
    let file = exported(&checkpoint, &Settings::default());
    let confidence = file.card.confidence.unwrap();
    let found = logits(&file, "ort", &held_out);
    let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-3, "{found} instead of {expected}");
    near(confidence.ece_before, metrics(trained.view(), held_out.labels()).calibration.ece);
    near(confidence.ece_after, metrics(found.view(), held_out.labels()).calibration.ece);
    // No other temperature is likelier.
    let loss = |factor: f32| metrics((&found * factor).view(), held_out.labels()).loss;
    assert!(loss(1.0) < loss(0.98) && loss(1.0) < loss(1.02), "{} {} {}", loss(0.98), loss(1.0), loss(1.02));
    let threshold = confidence.energy.unwrap().reject_below;
    let below = |threshold: f32| found.rows().into_iter().filter(|row| energy(row.view()) < threshold).count();
    // 20 of 2,000, give or take those within the engines' rounding and the rounding of the threshold.
    assert!(below(threshold - 2e-3) <= 20 && below(threshold + 2e-3) >= 20, "{}", below(threshold));
}

#[test]
fn without_a_temperature_the_file_is_the_same_except_for_its_card() {
    let images = Images::on_device(&unseen(150), Device::Cpu).unwrap();
    let bare = |bytes: &[u8]| {
        let mut model = onnx::parse(bytes).unwrap();
        model.metadata_props.retain(|entry| entry.key != METADATA_KEY);
        model.encode_to_vec()
    };
    for kind in Kind::ALL {
        let plain = export::to_bytes(&tests::trained(kind).unwrap()).unwrap();
        let off = calibrated(tests::trained(kind).unwrap(), &images, Temperature::Off);
        let off = exported(&off, &Settings::default());
        let confidence = off.card.confidence.unwrap();
        assert_eq!((confidence.temperature, confidence.ece_before), (1.0, confidence.ece_after));
        assert!(bare(&off.bytes) == bare(&plain), "{kind}");
        let two = calibrated(tests::trained(kind).unwrap(), &images, Temperature::Given(2.0));
        assert!(bare(&exported(&two, &Settings::default()).bytes) != bare(&plain), "{kind}");
    }
}

/// The digits 0, 1 and 2 of a data set.
fn three_classes(set: &Dataset) -> Dataset {
    let chosen: Vec<usize> = (0..set.len()).filter(|&image| set.labels()[image] < 3).collect();
    set.select(&chosen).unwrap()
}

/// Label smoothing leaves a network far less confident than it is right. After the export, the calibration error on
/// 15,000 images that it has never seen is at most 1 %.
///
/// About 99 % of the answers are right. By chance alone, with a perfect network, the error would be about 0.1 %, and the
/// 2,000 images that the temperature is fitted to leave the mean confidence uncertain by 0.2 %.
#[test]
fn the_probabilities_of_a_network_of_three_classes_are_calibrated() {
    tch::set_num_threads(1);
    let mnist = tests::mnist().unwrap();
    let recipe = Recipe::parse(&tests::small_recipe(Kind::MobilenetV1)).unwrap();
    let recipe = Recipe { epochs: 3, hold_out: 2000, label_smoothing: 0.1, ..recipe };
    let mut source = DataSource::read(&mnist, recipe.network.resolution, Choices::default(), &|_, _| ()).unwrap();
    let (train, test) = (three_classes(&source.train), three_classes(&source.test));
    let fresh = part(&train, 8000, train.len() - 8000);
    let images = concatenate(Axis(0), &[fresh.images(), test.images()]).unwrap();
    let fresh = Dataset::new(images, [fresh.labels(), test.labels()].concat()).unwrap();
    source.labels.truncate(3);
    (source.train, source.test) = (train.first(8000), test.first(500));

    let folder = tempfile::tempdir().unwrap();
    let run = Run::create(Some(folder.path()), "three").unwrap();
    let mut trainer = Trainer::new(recipe, &source, Device::Cpu).unwrap();
    trainer.run(&run, &mut tests::Silent, &AtomicBool::new(false)).unwrap();
    let checkpoint = Checkpoint::read(&run.best()).unwrap();
    let trained = metrics(check::reference(&checkpoint, &fresh).unwrap().view(), fresh.labels());
    tests::learnt("three classes", trained.accuracy, 0.9).unwrap();
    assert!(trained.calibration.ece > 0.03, "it needs no calibration: {}", trained.calibration.ece);

    let checkpoint = calibrated(checkpoint, trainer.held_out().unwrap(), Temperature::Fitted);
    let file = exported(&checkpoint, &Settings::default());
    for engine in ["tract", "ort"] {
        let found = metrics(logits(&file, engine, &fresh).view(), fresh.labels());
        println!(
            "margin: {engine}: ECE {:.2} % on {} images, {:.2} % before, accuracy {:.2} %, {:?}",
            100.0 * found.calibration.ece,
            found.images,
            100.0 * trained.calibration.ece,
            100.0 * found.accuracy,
            file.card.confidence
        );
        assert!(found.calibration.ece <= 0.01, "{engine}: {}", found.calibration.ece);
    }
}
