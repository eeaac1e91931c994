//! Warm times: every runtime, thread count and batch size in turn, through our own path and through the runtime's own
//! call.

use super::statistics::{Summary, median_interval, quantile, sorted};
use super::turn::{Length, turn};
use crate::backend::Runtime;
use crate::model::Model;
use anyhow::{Context, Result};
use models::fingerprint::Fingerprint;
use ndarray::{Array4, s};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::time::Instant;

/// The times of one runtime at one batch size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The engine that ran the model.
    pub runtime: Runtime,
    /// Images per call.
    pub batch: usize,
    /// Images per second, from the median.
    pub images_per_second: f64,
    /// Seconds per call of [`Model::logits`].
    pub seconds: Summary,
    /// Seconds per call of the runtime itself, on the same images, prepared beforehand
    /// ([`Code::prepared`](crate::backend::engine::Code::prepared)).
    pub raw_seconds: Summary,
    /// How much longer our path takes.
    pub added: Added,
}

/// What our code adds to the runtime's own call.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Added {
    /// Seconds per call. In each round, the two turns run one right after the other, and the difference of their
    /// medians is taken; this is the median of those differences. So longer disturbances of the machine cancel out.
    /// Below 0 if our path is faster.
    pub seconds: f64,
    /// The same as a share of the runtime's own time.
    pub share: f64,
    /// Confidence interval of `seconds`, at least 95 %; `None` with fewer than six rounds.
    pub interval: Option<[f64; 2]>,
}

/// The result of [`measure`].
pub struct Measurement {
    /// In the order of the given batch sizes, and for each in the order of the models.
    pub series: Vec<Series>,
    /// Turns per series.
    pub rounds: usize,
    /// Duration of the measurement in seconds, without the warm-up.
    pub seconds: f64,
}

/// The turns of one model at one batch size.
struct Turns {
    model: usize,
    batch: usize,
    own: Vec<Vec<f64>>,
    raw: Vec<Vec<f64>>,
}

/// Measures models at the given batch sizes, each at least 1, after a warm-up. `progress` is called with the rounds
/// done and the seconds since the first of them began.
///
/// In every round, each model has one turn at every batch size, and another one for its runtime's own call. The order
/// is reversed in every other round, so that no turn always follows the same one. The images are noise: networks of
/// this kind take the same time for any image.
pub fn measure(
    models: &mut [Model],
    batches: &[usize],
    length: Length,
    mut progress: impl FnMut(usize, f64),
) -> Result<Measurement> {
    let images: Vec<_> = models.iter().map(|model| noise(model, batches.iter().copied().max().unwrap_or(1))).collect();
    let places = batches.iter().flat_map(|&batch| (0..models.len()).map(move |model| (model, batch)));
    let mut all: Vec<_> =
        places.map(|(model, batch)| Turns { model, batch, own: Vec::new(), raw: Vec::new() }).collect();

    let mut take = |turns: &mut Turns, raw: bool| -> Result<()> {
        let images = images[turns.model].slice(s![..turns.batch, .., .., ..]);
        let model = &mut models[turns.model];
        let context = format!("cannot measure {} at batch {}", model.runtime(), turns.batch);
        let past = if raw { &mut turns.raw } else { &mut turns.own };
        let expected = past.last().and_then(|turn| turn.last()).copied();
        let mut timed = || {
            if raw {
                return turn(expected, &mut *model.prepared(images)?);
            }
            turn(expected, &mut || model.logits(images).map(|logits| drop(black_box(logits))))
        };
        past.push(timed().context(context)?);
        Ok(())
    };

    for turns in &mut all {
        for raw in [false, true] {
            take(turns, raw)?;
        }
        (turns.own, turns.raw) = (Vec::new(), Vec::new());
    }
    let start = Instant::now();
    let mut rounds = 0;
    while !length.reached(rounds, start.elapsed()) {
        for index in 0..all.len() {
            let index = if rounds % 2 == 0 { index } else { all.len() - 1 - index };
            for raw in [rounds % 2 == 0, rounds % 2 != 0] {
                take(&mut all[index], raw)?;
            }
        }
        rounds += 1;
        progress(rounds, start.elapsed().as_secs_f64());
    }
    let seconds = start.elapsed().as_secs_f64();
    let series = all.iter().map(|turns| series(turns, models[turns.model].runtime())).collect::<Option<_>>();
    Ok(Measurement { series: series.context("nothing was measured")?, rounds, seconds })
}

/// Images of noise `[N, C, H, W]`, the same in every run.
fn noise(model: &Model, count: usize) -> Array4<u8> {
    let input = model.input();
    let mut state = Fingerprint::default();
    Array4::from_shape_simple_fn((count, input.channels, input.height, input.width), || {
        state = state.and(&[1]);
        state.spread() as u8
    })
}

fn series(turns: &Turns, runtime: &Runtime) -> Option<Series> {
    let (seconds, raw_seconds) = (Summary::from_turns(&turns.own)?, Summary::from_turns(&turns.raw)?);
    let images_per_second = turns.batch as f64 / seconds.p50.max(f64::MIN_POSITIVE);
    let added = added(&turns.own, &turns.raw)?;
    Some(Series { runtime: runtime.clone(), batch: turns.batch, images_per_second, seconds, raw_seconds, added })
}

/// Compares the turns of the same rounds.
fn added(own: &[Vec<f64>], raw: &[Vec<f64>]) -> Option<Added> {
    let median = |turn: &Vec<f64>| quantile(&sorted(turn.iter().copied()), 0.5);
    let raw_medians: Vec<f64> = raw.iter().filter_map(median).collect();
    let differences = sorted(own.iter().filter_map(median).zip(&raw_medians).map(|(own, raw)| own - raw));
    let seconds = quantile(&differences, 0.5)?;
    let share = seconds / quantile(&sorted(raw_medians), 0.5)?.max(f64::MIN_POSITIVE);
    Some(Added { seconds, share, interval: median_interval(&differences) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_the_median_of_paired_differences() {
        // In the third round the machine was disturbed: both turns took ten times as long.
        let own = [vec![1.1, 1.1, 9.0], vec![1.2], vec![11.0, 11.0]];
        let raw = [vec![1.0, 1.0, 1.0], vec![1.0], vec![10.0]];
        let added = added(&own, &raw).unwrap();
        assert!((added.seconds - 0.2).abs() < 1e-12 && (added.share - 0.2).abs() < 1e-12, "{added:?}");
        assert_eq!(added.interval, None);
        let none: [Vec<f64>; 0] = [];
        assert!(super::added(&none, &none).is_none());
    }
}
