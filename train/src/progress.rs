//! Progress output of a training run: a bar on a terminal, plain lines otherwise.

use crate::run::Epoch;
use crate::trainer::{EvaluatedOn, EvaluationReport, StepReport, TrainingObserver};
use deploy::text::grouped;
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::{Duration, Instant};

/// Longest and shortest bar, in columns. With less room than the shortest, no bar is drawn.
const LONGEST: usize = 30;
const SHORTEST: usize = 8;

/// Prints the progress of a run: lines to standard output and, if that is a terminal, a bar to standard error.
pub struct ProgressDisplay {
    bar: Option<ProgressBar>,
    started: Instant,
    /// Steps taken since the start of this process.
    taken: usize,
    /// Images trained on since the last log line, and when that line was due.
    images: usize,
    since: Instant,
    losses: Vec<f64>,
}

impl Default for ProgressDisplay {
    fn default() -> Self {
        let now = Instant::now();
        let bar = stdout().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            // Truncates the message at the width of the terminal.
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        // Hidden if standard error is redirected or the terminal cannot erase a line (TERM=dumb).
        let bar = bar.filter(|bar| !bar.is_hidden());
        Self { bar, started: now, taken: 0, images: 0, since: now, losses: Vec::new() }
    }
}

impl ProgressDisplay {
    fn line(&self, text: &str) {
        // Ignores a closed pipe, so that training continues.
        let write = || drop(writeln!(stdout(), "{text}"));
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl TrainingObserver for ProgressDisplay {
    fn steps(&mut self, report: &StepReport) {
        let StepReport { epoch, epochs, step, steps, taken, loss, learning_rate, images, logged } = *report;
        self.images += images;
        self.taken += taken;
        self.losses.push(loss);
        let to_do = (epochs * steps).saturating_sub((epoch - 1) * steps + step);
        let left = duration(time_left(self.started.elapsed().as_secs_f64(), self.taken, to_do));
        let speed = self.images as f64 / self.since.elapsed().as_secs_f64().max(1e-9);
        if let Some(bar) = &self.bar {
            let start = format!("epoch {epoch}/{epochs}");
            let notes = [format!("{left} left"), format!("loss {loss:.4}"), format!("{speed:.0} img/s")];
            bar.set_message(bar_line(&start, step, steps, &notes, columns()));
        }
        if logged {
            let mean = self.losses.iter().sum::<f64>() / self.losses.len().max(1) as f64;
            if self.bar.is_none() {
                self.line(&format!(
                    "epoch {epoch}/{epochs}  step {step}/{steps}  loss {mean:.4}  lr {learning_rate:.5}  {speed:.0} img/s  {left} left"
                ));
            }
            self.images = 0;
            self.since = Instant::now();
            self.losses.clear();
        }
    }

    fn evaluating(&mut self, report: &EvaluationReport) {
        let EvaluationReport { epoch, epochs, on, images, of } = *report;
        if let Some(bar) = &self.bar {
            let what = match on {
                EvaluatedOn::HeldOut => "evaluating on held-out images",
                EvaluatedOn::Test => "testing",
            };
            let start = format!("epoch {epoch}/{epochs}  {what}");
            bar.set_message(bar_line(&start, images, of, &[], columns()));
        }
    }

    fn epoch(&mut self, epoch: &Epoch, epochs: usize, seconds: f64) {
        let mut text = format!("epoch {}/{epochs}  train loss {:.4}", epoch.epoch, epoch.train_loss);
        if let Some(accuracy) = epoch.held_out_accuracy {
            let _ = write!(text, "  held-out {:.2} %", accuracy * 100.0);
        }
        let _ = write!(text, "  test {:.2} %  {}", epoch.test_accuracy * 100.0, duration(seconds));
        self.line(&text);
        // Evaluation does not count as training time.
        self.images = 0;
        self.since = Instant::now();
        self.losses.clear();
    }
}

/// Estimates the time for the remaining steps in seconds, from the mean time of the steps so far.
fn time_left(seconds: f64, taken: usize, to_do: usize) -> f64 {
    seconds / taken.max(1) as f64 * to_do as f64
}

/// Width of the terminal on standard error in columns; 80 if it is not a terminal.
fn columns() -> usize {
    terminal_size::terminal_size_of(stderr()).map_or(80, |(width, _)| usize::from(width.0))
}

/// One line with a progress bar, at most `columns` wide. Notes that do not fit are left out, and so is the bar if it
/// would be too short.
fn bar_line(start: &str, done: usize, of: usize, notes: &[String], columns: usize) -> String {
    let count = format!("{}/{}", grouped(done as u64), grouped(of as u64));
    let mut line = format!("{start}  {count}");
    for note in notes {
        if line.chars().count() + 2 + note.chars().count() < columns {
            let _ = write!(line, "  {note}");
        }
    }
    let room = columns.saturating_sub(line.chars().count() + 3).min(LONGEST);
    if room < SHORTEST {
        return line;
    }
    let full = room * done.min(of) / of.max(1);
    let bar = "█".repeat(full) + &"░".repeat(room - full);
    format!("{start}  {bar}{}", &line[start.len()..])
}

/// Formats a duration in seconds for people: `45 s`, `3 min 05 s`, `2 h 07 min`.
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
    use super::{bar_line, duration, time_left};

    #[test]
    fn durations_read_as_people_say_them() {
        assert_eq!(duration(45.9), "45 s");
        assert_eq!(duration(185.0), "3 min 05 s");
        assert_eq!(duration(7620.0), "2 h 07 min");
        assert_eq!(duration(f64::NAN), "0 s");
    }

    /// A resumed run with 100 steps left took 10 steps in 5 s. Neither the batch size nor earlier steps matter.
    #[test]
    fn the_time_left_counts_only_steps_of_this_process() {
        assert_eq!(time_left(5.0, 10, 100), 50.0);
        assert_eq!(time_left(5.0, 0, 0), 0.0);
    }

    #[test]
    fn the_bar_fits_the_terminal_and_drops_what_does_not() {
        let notes = ["2 min 05 s left".to_owned(), "loss 0.1234".to_owned(), "1600 img/s".to_owned()];
        for columns in 0..200 {
            let line = bar_line("epoch 3/5", 120, 453, &notes, columns);
            assert!(line.chars().count() < columns.max("epoch 3/5  120/453".len() + 1), "{columns}: {line}");
        }
        assert_eq!(bar_line("epoch 3/5", 120, 453, &notes, 36), "epoch 3/5  120/453  2 min 05 s left");
        assert_eq!(bar_line("epoch 3/5  testing", 500, 1000, &[], 40), "epoch 3/5  testing  ████░░░░  500/1,000");
    }
}
