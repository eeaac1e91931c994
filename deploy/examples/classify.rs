//! Uses `deploy` as a library: opens a model file and says what an image shows.
//!
//! `cargo run --release -p deploy --example classify -- model.onnx image.png`

use anyhow::{Result, bail};
use deploy::backend::Options;
use deploy::inputs::ImageSource;
use deploy::model::Model;
use deploy::predict::{Settings, predict};
use std::path::Path;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, image] = &arguments[..] else { bail!("expected a model file and an image") };
    let mut model = Model::open(Path::new(file), &Options::default())?;
    println!("{}", model.runtime());
    predict(&mut model, &[ImageSource::File(image.into())], &Settings::default(), |outcomes| {
        for outcome in outcomes {
            let answer = outcome?;
            println!("{} {:.2} %", answer.label, 100.0 * answer.probability);
        }
        Ok(true)
    })
}
