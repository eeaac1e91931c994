//! Timing: what is compared takes turns, and each call of a turn is timed.

use anyhow::Result;
use std::time::{Duration, Instant};

/// How long a turn lasts; a call that takes longer is a turn by itself.
const TURN: Duration = Duration::from_millis(25);

/// How long a turn goes untimed at its start: until the caches hold this one's data, and the threads of the one before,
/// which spin for a while in the hope of more work, have gone to sleep.
const SETTLE: Duration = Duration::from_millis(3);

/// A call that takes longer than this is not worth making twice: its caches fill while it runs.
const LONG: f64 = 0.05;

/// The seconds of every call of one turn, at least one; `expected` is what a call took last time.
pub fn turn(expected: Option<f64>, call: &mut dyn FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let start = Instant::now();
    if expected.is_some_and(|seconds| seconds > LONG) {
        std::thread::sleep(SETTLE);
    } else {
        while start.elapsed() < SETTLE {
            call()?;
        }
    }
    let mut times = Vec::new();
    let start = Instant::now();
    while times.is_empty() || start.elapsed() < TURN {
        let before = Instant::now();
        call()?;
        times.push(before.elapsed().as_secs_f64());
    }
    Ok(times)
}

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Until this time is over, with at least [`FEWEST_ROUNDS`] rounds.
    Time(Duration),
    /// So many rounds.
    Rounds(usize),
}

/// With fewer there is no interval of a median.
pub const FEWEST_ROUNDS: usize = 6;

impl Length {
    /// Whether that is enough.
    #[must_use]
    pub fn reached(self, rounds: usize, elapsed: Duration) -> bool {
        match self {
            Self::Time(time) => rounds >= FEWEST_ROUNDS && elapsed >= time,
            Self::Rounds(wanted) => rounds >= wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn a_turn_times_as_many_calls_as_fit() {
        let mut calls = 0;
        let times = turn(None, &mut || {
            calls += 1;
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        })
        .unwrap();
        assert!(times.len() < calls, "{} of {calls}: none was untimed", times.len());
        assert!(times.iter().sum::<f64>() > 0.9 * TURN.as_secs_f64(), "{times:?}");
        assert!(times.iter().all(|&seconds| seconds >= 1e-3), "{times:?}");
    }

    #[test]
    fn a_long_call_is_made_once() {
        let mut calls = 0;
        let mut call = || {
            calls += 1;
            std::thread::sleep(Duration::from_millis(60));
            Ok(())
        };
        assert_eq!(turn(Some(0.06), &mut call).unwrap().len(), 1);
        assert_eq!(calls, 1);
    }

    #[test]
    fn a_call_that_fails_ends_the_turn() {
        assert_eq!(turn(None, &mut || bail!("no")).unwrap_err().to_string(), "no");
    }

    #[test]
    fn a_measurement_ends_when_it_was_asked_to() {
        let time = Length::Time(Duration::from_secs(1));
        assert!(!time.reached(5, Duration::from_secs(9)) && !time.reached(6, Duration::from_millis(999)));
        assert!(time.reached(6, Duration::from_secs(1)));
        let rounds = Length::Rounds(2);
        assert!(!rounds.reached(1, Duration::MAX) && rounds.reached(2, Duration::ZERO));
    }
}
