//! Tests of the seeds, in a process of their own: libtorch has one generator for all threads, and other tests would
//! draw from it.

use tch::{Device, Kind, Tensor};
use train::seed::{self, Purpose};

#[test]
fn the_same_position_draws_the_same_numbers_and_another_does_not() {
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
