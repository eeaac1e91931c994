//! Class activation maps are exact: their means are the logits, in every engine, precision and network.

use deploy::agreement::{FP32_TOLERANCE, compare};
use deploy::backend::Engine;
use deploy::explain::Explainer;
use deploy::model::Model;
use models::architecture::Kind;
use models::card::{GraphInput, Precision};
use models::dataset::{self, Split};
use ndarray::{Array2, Axis};
use tch::Device;
use train::data::{Images, TensorPreprocessor};
use train::evaluate;
use train::export::{Outputs, Settings, Written};

#[test]
fn the_mean_of_a_map_is_the_logit_in_every_engine() {
    let test = dataset::load(&tests::mnist().unwrap(), Split::Test).unwrap().first(4);
    let train = dataset::load(&tests::mnist().unwrap(), Split::Train).unwrap().first(100);
    let calibration = Images::on_device(&train, Device::Cpu).unwrap().images;
    let settings = Settings::default;
    for kind in Kind::ALL {
        let checkpoint = tests::trained(kind).unwrap();
        for settings in [
            settings(),
            Settings { precision: Precision::Fp16, ..settings() },
            Settings { precision: Precision::Int8, ..settings() },
            Settings { takes: GraphInput::Normalised, outputs: Outputs::Logits, batch: Some(2), ..settings() },
        ] {
            let written = Written::new(&checkpoint, &settings, Some(&calibration)).unwrap();
            for engine in Engine::all().filter(|engine| !engine.registration.cuda) {
                let options = engine.options(Some(1));
                let explainer = Explainer::new("exported", &written.bytes, &options).unwrap();
                let logits =
                    Model::from_bytes("exported", &written.bytes, &options).unwrap().logits(test.images()).unwrap();
                let mut means = Array2::zeros(logits.dim());
                for (image, mut row) in test.images().axis_iter(Axis(0)).zip(means.rows_mut()) {
                    let maps = explainer.maps(image).unwrap();
                    row.assign(&maps.mean_axis(Axis(2)).unwrap().mean_axis(Axis(1)).unwrap());
                }
                let agreement = compare(logits.view(), means.view(), FP32_TOLERANCE).unwrap();
                // int8 quantizes the pooled features once more.
                let largest = if settings.precision == Precision::Int8 { 0.3 } else { FP32_TOLERANCE.largest };
                assert!(agreement.max_difference <= largest, "{kind} {settings:?} {engine}: {agreement:?}");
            }
        }
    }
}

/// The maps in the report, which libtorch computes, are those of `deploy predict --explain`.
#[test]
fn libtorch_and_the_engines_draw_the_same_map() {
    let test = dataset::load(&tests::mnist().unwrap(), Split::Test).unwrap().first(1);
    let checkpoint = tests::trained(Kind::MobilenetV1).unwrap();
    let card = checkpoint.card();
    let preprocessor =
        TensorPreprocessor::new(&card.preprocessing, card.network().unwrap().resolution, Device::Cpu).unwrap();
    let images = Images::on_device(&test, Device::Cpu).unwrap().images;
    let network = checkpoint.shipped(Device::Cpu).unwrap();
    let expected = evaluate::activation_map(&network, &preprocessor, &images, 7).unwrap();
    let bytes = train::export::to_bytes(&checkpoint).unwrap();
    for engine in Engine::all().filter(|engine| !engine.registration.cuda) {
        let explainer = Explainer::new("exported", &bytes, &engine.options(Some(1))).unwrap();
        let maps = explainer.maps(test.images().index_axis(Axis(0), 0)).unwrap();
        let found = maps.index_axis(Axis(0), 7);
        assert_eq!(found.dim(), expected.dim());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-3, "{engine}: {found} instead of {expected}");
        }
    }
}
