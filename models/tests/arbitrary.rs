//! Any bytes at all, as image, IDX file, card or model: an answer or an error, never a panic, and never more memory
//! than the file is worth. `tests/fuzz` does the same for as long as one likes.

mod choices;

use choices::{Choices, bytes, changed, seeds};
use models::card::{Content, Input, ModelCard, Polarity};
use models::image_file::Reader;
use models::{idx, onnx};

/// Changes of each seed, and files of random bytes.
const CASES: u64 = 400;

/// Calls `test` with random bytes and with changes of the target's seeds; says how many of the changed files it still
/// took for good.
fn everything(target: &str, mut test: impl FnMut(&[u8]) -> bool) -> usize {
    for case in 0..CASES {
        test(&bytes(case, case as usize));
    }
    let mut good = 0;
    for (number, (name, seed)) in (0..).zip(seeds(target)) {
        test(&seed);
        for case in 0..CASES {
            let choices = bytes(number * CASES + case + 1, 64);
            let file = changed(&seed, &mut Choices(&choices));
            good += usize::from(test(&file));
        }
        assert!(!name.is_empty());
    }
    good
}

#[test]
fn any_bytes_are_an_image_or_an_error() {
    let reader = Reader { max_pixels: 1 << 16, polarity: None };
    let digit = Input::new(1, 28, 28, Content::Digit { polarity: Polarity::LightOnDark });
    let photograph = Input::new(3, 32, 24, Content::Image);
    let good = everything("image", |bytes| {
        let one = reader.from_bytes("any", bytes, &digit).is_ok();
        let other = reader.from_bytes("any", bytes, &photograph).is_ok();
        one || other
    });
    assert!(good > 500, "only {good} changed images were read: the changes are too coarse to get far");
}

#[test]
fn any_bytes_are_an_idx_file_or_an_error() {
    let good = everything("idx", |bytes| {
        let plain = [1, 3].map(|dimensions| idx::parse(bytes, dimensions));
        for idx in plain.iter().flatten() {
            assert_eq!(idx.data.len(), idx.extents.iter().product::<usize>());
        }
        plain.iter().any(Result::is_ok)
    });
    assert!(good > 40, "only {good}");
}

#[test]
fn any_text_is_a_card_or_an_error() {
    let good = everything("card", |bytes| {
        let card = ModelCard::parse(&String::from_utf8_lossy(bytes));
        card.is_ok_and(|card| {
            // What is read can be written and read again.
            ModelCard::parse(&serde_json::to_string(&card).unwrap()).unwrap() == card
        })
    });
    assert!(good > 10, "only {good}");
}

#[test]
fn any_bytes_are_a_model_or_an_error() {
    let good = everything("onnx_load", |bytes| onnx::parse(bytes).is_ok());
    assert!(good > 100, "only {good}");
}
