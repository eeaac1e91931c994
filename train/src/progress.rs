//! How a run is shown: a bar on a terminal, plain lines otherwise.

use crate::run::Epoch;
use crate::trainer::{Observer, StepReport};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

/// Shows a run on standard output.
pub struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    /// Images and time since the last line of the log.
    images: usize,
    since: Instant,
    losses: Vec<f64>,
    first_step: Option<usize>,
}

impl Default for Progress {
    fn default() -> Self {
        let now = Instant::now();
        let bar = stdout().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} steps  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, started: now, images: 0, since: now, losses: Vec::new(), first_step: None }
    }
}

impl Progress {
    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            // A closed pipe is no reason to stop training.
            None => drop(writeln!(stdout(), "{text}")),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Progress {
    fn steps(&mut self, report: &StepReport) {
        let StepReport { epoch, epochs, step, steps, loss, learning_rate, images, logged } = *report;
        self.images += images;
        self.losses.push(loss);
        let done = (epoch - 1) * steps + step;
        let first = *self.first_step.get_or_insert(done.saturating_sub(images.min(done)));
        let per_step = self.started.elapsed().as_secs_f64() / (done - first.min(done)).max(1) as f64;
        let left = duration(per_step * (epochs * steps - done) as f64);
        let speed = self.images as f64 / self.since.elapsed().as_secs_f64().max(1e-9);
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!("epoch {epoch}/{epochs}"));
            bar.set_length(steps as u64);
            bar.set_position(step as u64);
            bar.set_message(format!("loss {loss:.4}  {speed:.0} img/s  {left} left"));
        }
        if logged {
            let mean = self.losses.iter().sum::<f64>() / self.losses.len().max(1) as f64;
            if self.bar.is_none() {
                self.line(&format!(
                    "epoch {epoch}/{epochs}  step {step:>5}/{steps}  loss {mean:.4}  lr {learning_rate:.5}  {speed:>5.0} img/s  {left} left"
                ));
            }
            self.images = 0;
            self.since = Instant::now();
            self.losses.clear();
        }
    }

    fn epoch(&mut self, epoch: &Epoch, epochs: usize, seconds: f64) {
        let mut text = format!(
            "epoch {}/{epochs}  done in {}  train loss {:.4}",
            epoch.epoch,
            duration(seconds),
            epoch.train_loss
        );
        if let Some(accuracy) = epoch.held_out_accuracy {
            let _ = write!(text, "  held-out {:.2} %", accuracy * 100.0);
        }
        let _ = write!(text, "  test {:.2} %", epoch.test_accuracy * 100.0);
        self.line(&text);
        // The tests of the epoch are no training time.
        self.images = 0;
        self.since = Instant::now();
        self.losses.clear();
    }
}

/// Seconds as people say them: `45 s`, `3 min 05 s`, `2 h 07 min`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let total = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX).as_secs();
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {seconds:02} s"),
        _ => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_as_people_say_them() {
        assert_eq!(duration(45.9), "45 s");
        assert_eq!(duration(185.0), "3 min 05 s");
        assert_eq!(duration(7620.0), "2 h 07 min");
        assert_eq!(duration(f64::NAN), "0 s");
    }
}
