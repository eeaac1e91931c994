//! Loads arbitrary bytes and arbitrary graphs as models. Each must give an answer or an error, without a panic and
//! without exhausting the machine. `tests/fuzz` does the same for as long as you like.
#![cfg(feature = "tract")]

#[path = "../../models/tests/choices/mod.rs"]
mod choices;
mod example;
mod hostile;

use choices::{Choices, bytes, changed, seeds};
use deploy::backend::Engine;
use deploy::model::Model;
use example::Example;
use models::onnx::limits::{Footprint, Limits};
use models::onnx::{self, proto::ModelProto};
use ndarray::Array4;
use prost::Message;

/// Opens a model and runs it on a black image. `None` if it was refused before a runtime saw it, otherwise whether it
/// answered.
///
/// The program's limits suit a machine, but not a test of thousands of models. Models larger than needed to find a
/// fault are only checked against the limits.
fn run(bytes: &[u8]) -> Option<bool> {
    let options = "tract".parse::<Engine>().unwrap().options(Some(1));
    onnx::parse(bytes).ok().filter(is_small)?;
    match Model::from_bytes("any", bytes, &options) {
        Ok(mut model) => {
            let input = model.input();
            let black = Array4::zeros((1, input.channels, input.height, input.width));
            Some(model.logits(black.view()).is_ok())
        }
        Err(error) => format!("{error:#}").contains("tract cannot load").then_some(false),
    }
}

fn is_small(model: &ModelProto) -> bool {
    let limits =
        Limits { elements: 1 << 20, memory: 1 << 24, values: 1 << 26, multiply_adds: 1 << 24, ..Limits::default() };
    [1, 32].iter().all(|&batch| Footprint::estimate(model, batch, &limits).is_ok())
}

/// How many models ran, how many tract refused, and how many were stopped before that.
#[derive(Debug, Default)]
struct Tally {
    ran: usize,
    refused: usize,
    stopped: usize,
}

impl Tally {
    fn add(&mut self, bytes: &[u8]) {
        match run(bytes) {
            Some(true) => self.ran += 1,
            Some(false) => self.refused += 1,
            None => self.stopped += 1,
        }
    }
}

#[test]
fn any_bytes_are_a_model_or_an_error() {
    let mut tally = Tally::default();
    for (number, (_, seed)) in (0..).zip(seeds("onnx_load")) {
        for case in 0..300 {
            let choices = bytes(number * 1000 + case, 64);
            tally.add(&changed(&seed, &mut Choices(&choices)));
        }
    }
    assert!(tally.ran > 30 && tally.stopped > 30, "{tally:?}");
}

#[test]
fn any_change_of_a_model_is_a_model_or_an_error() {
    let mut tally = Tally::default();
    for case in 0..1500 {
        let choices = bytes(case, 128);
        let mut choices = Choices(&choices);
        let mut model = Example { card: choices.once_in(2), ..Example::default() }.model();
        hostile::change(&mut model, &mut choices);
        tally.add(&model.encode_to_vec());
    }
    assert!(tally.ran > 100 && tally.stopped > 100, "{tally:?}");
}

#[test]
fn any_graph_is_a_model_or_an_error() {
    let mut tally = Tally::default();
    for case in 0..500 {
        let choices = bytes(case, 256);
        tally.add(&hostile::graph::model(&mut Choices(&choices)).encode_to_vec());
    }
    assert!(tally.ran > 30 && tally.stopped > 30, "{tally:?}");
}
