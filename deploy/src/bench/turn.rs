//! Timing: the candidates take turns, and each call of a turn is timed.

use anyhow::Result;
use std::time::{Duration, Instant};

/// Duration of a turn. A call that takes longer is a turn by itself.
const TURN: Duration = Duration::from_millis(25);

/// Untimed start of a turn. It fills the caches with this candidate's data. Meanwhile the threads of the previous one,
/// which spin for a while in the hope of more work, go to sleep.
const SETTLE: Duration = Duration::from_millis(3);

/// Calls longer than this, in seconds, are not repeated to warm up: the caches fill during the call itself.
const LONG: f64 = 0.05;

/// Runs one turn and returns the seconds of each call, at least one. `expected` is the duration of an earlier call.
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
    /// This many rounds.
    Rounds(usize),
}

/// With fewer rounds, a median has no 95 % interval.
pub const FEWEST_ROUNDS: usize = 6;

impl Length {
    /// Whether these rounds and this time are enough.
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
