//! Tests of the seeds, in a process of their own: libtorch has one generator for all threads, and other tests would
//! draw from it.

use models::card::Polarity;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tch::{Device, Kind, Tensor};
use train::recipe::Augmentation;
use train::seed::{self, Purpose};
use train::{augment, outliers};

/// Lets one test at a time use the generator.
fn alone() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_same_position_draws_the_same_numbers_and_another_does_not() {
    let _alone = alone();
    let draw = |run, purpose, position| {
        seed::set(run, purpose, position);
        Vec::<f64>::try_from(Tensor::rand([4], (Kind::Double, Device::Cpu))).unwrap()
    };
    let first = draw(1, Purpose::Order, 0);
    assert_eq!(first, draw(1, Purpose::Order, 0));
    assert_ne!(first, draw(1, Purpose::Order, 1));
    assert_ne!(first, draw(1, Purpose::Augmentation, 0));
    assert_ne!(first, draw(2, Purpose::Order, 0));
}

#[test]
fn a_step_always_has_the_same_outliers_and_another_step_has_others() {
    let _alone = alone();
    let images = Tensor::arange(4 * 28 * 28, (Kind::Float, Device::Cpu)).remainder(256).view([4, 1, 28, 28]);
    let drawn = |step| {
        seed::set(1, Purpose::Outliers, step);
        outliers::draw(&images, 26).unwrap()
    };
    let first = drawn(0);
    assert_eq!(first, drawn(0));
    assert_ne!(first, drawn(1));
}

/// Dark ink on light paper becomes thicker, blurred and dimmed exactly as its negative does.
#[test]
fn dark_ink_is_changed_as_light_ink() {
    let _alone = alone();
    let augmentation = Augmentation {
        stroke_width: 1.0,
        low_resolution: 0.5,
        blur: 0.5,
        contrast: 1.0,
        grain: 1.0,
        lines: 1.0,
        ..Augmentation::default()
    };
    let light = Tensor::randint(256, [50, 1, 28, 28], (Kind::Float, Device::Cpu));
    let dark: Tensor = 255.0 - &light;
    let changed = |images: &Tensor, polarity| {
        seed::set(1, Purpose::Augmentation, 8);
        augment::drawn(images, &augmentation, polarity).unwrap()
    };
    let (light_changed, dark_changed) = (changed(&light, Polarity::LightOnDark), changed(&dark, Polarity::DarkOnLight));
    let dark_changed: Tensor = 255.0 - dark_changed;
    let difference = (dark_changed - &light_changed).abs().max().double_value(&[]);
    assert!(difference < 1e-3, "{difference}");
    assert!((light_changed - light).abs().max().double_value(&[]) > 50.0);
}
