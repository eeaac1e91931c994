//! Any bytes as an image, for a model of digits and for one of photographs.
//!
//! The images are few-pixelled, so that there are many of them; the code is the same with any limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use models::card::{Content, Input, Polarity};
use models::image_file::Reader;

fuzz_target!(|bytes: &[u8]| {
    let reader = Reader { max_pixels: 1 << 16, ..Reader::default() };
    for input in [
        Input::new(1, 28, 28, Content::Digit { polarity: Polarity::LightOnDark }),
        Input::new(3, 32, 24, Content::Image),
    ] {
        if let Ok(readings) = reader.from_bytes("any", bytes, &input) {
            assert!((1..=8).contains(&readings.len()));
            for reading in readings {
                assert_eq!(reading.pixels.len(), input.channels * input.height * input.width);
            }
        }
    }
});
