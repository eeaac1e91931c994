//! The training curves: loss, accuracy and learning rate over the epochs, as charts and as a table.

use super::RunReport;
use super::axis::Axis;
use super::chart::{Chart, Line};
use super::figures::percent;
use super::html::{escape, scrolling, table};
use crate::progress::duration;
use crate::recipe::{Augmentation, Recipe, ScheduleKind};
use crate::run::Epoch;
use crate::schedule;
use std::fmt::Write;

/// Number of intervals into which the learning-rate curve is divided.
const RATES: u64 = 240;

const TRAIN: &str = "train";
const HELD_OUT: &str = "held-out";
const TEST: &str = "test";

/// The section of the page.
pub(super) fn section(report: &RunReport) -> String {
    let mut html = String::from("<section><h2>Training</h2><div class=\"pair\">\n");
    let recipe = &report.metadata.recipe;
    html.push_str(&figure("Loss", &losses(report), &loss_caption(recipe)));
    let caption = match (report.metadata.progress.best, report.metadata.data.held_out) {
        (Some(_), _) => {
            "Share of the images that are classified correctly. The best epoch is chosen on the held-out images, never on the test set."
        }
        (None, 0) => "Share of the test images that are classified correctly.",
        (None, _) => {
            "Share of the images that are classified correctly. The last epoch is exported, as the recipe says."
        }
    };
    html.push_str(&figure("Accuracy", &accuracies(report), caption));
    html.push_str(&figure("Learning rate", &rates(report), &rate_caption(recipe)));
    let _ = write!(
        html,
        "<div class=\"card\"><h3>Every epoch</h3>{}</div>",
        scrolling("Every epoch in numbers", &epochs(report))
    );
    html.push_str("</div></section>\n");
    html
}

pub(super) fn figure(title: &str, chart: &Chart, caption: &str) -> String {
    format!(
        "<figure class=\"card chart\"><h3>{}</h3>{}<figcaption>{}</figcaption></figure>\n",
        escape(title),
        chart.svg(),
        escape(caption)
    )
}

fn line(name: &'static str, history: &[Epoch], value: impl Fn(&Epoch) -> Option<f64>) -> Line {
    let points = history.iter().filter_map(|epoch| Some((epoch.epoch as f64, value(epoch)?))).collect();
    Line { name: name.to_owned(), class: name.to_owned(), named: true, marked: true, points }
}

/// All values of some lines.
pub(super) fn values(lines: &[Line]) -> Vec<f64> {
    lines.iter().flat_map(|line| line.points.iter().map(|&(_, value)| value)).collect()
}

fn mark(report: &RunReport) -> Option<(f64, String)> {
    let shipped = report.shipped();
    let which = if report.metadata.progress.best.is_some() { "best" } else { "exported" };
    (report.history.len() > 1).then(|| (shipped as f64, format!("{which}: epoch {shipped}")))
}

fn losses(report: &RunReport) -> Chart {
    let history = &report.history;
    let mut lines = vec![
        line(TRAIN, history, |epoch| Some(epoch.train_loss)),
        line(HELD_OUT, history, |epoch| epoch.held_out_loss),
        line(TEST, history, |epoch| Some(epoch.test_loss)),
    ];
    lines.retain(|line| !line.points.is_empty());
    Chart {
        id: "loss",
        title: "Loss after each epoch".to_owned(),
        unit: "cross-entropy",
        x: Axis::of_epochs(1, history.len()),
        y: Axis::of_losses(&values(&lines)),
        lines,
        mark: mark(report),
        say: |value| loss(Some(value)),
    }
}

fn accuracies(report: &RunReport) -> Chart {
    let history = &report.history;
    let mut lines = vec![
        line(HELD_OUT, history, |epoch| epoch.held_out_accuracy),
        line(TEST, history, |epoch| Some(epoch.test_accuracy)),
    ];
    lines.retain(|line| !line.points.is_empty());
    Chart {
        id: "accuracy",
        title: "Accuracy after each epoch".to_owned(),
        unit: "accuracy",
        x: Axis::of_epochs(1, history.len()),
        y: Axis::of_accuracies(&values(&lines), report.figures.metrics.images),
        lines,
        mark: mark(report),
        say: |accuracy| percent(Some(accuracy)),
    }
}

/// The learning-rate chart: the part of the schedule that is done, and the rest as planned.
fn rates(report: &RunReport) -> Chart {
    let Recipe { schedule, ref optimizer, epochs, .. } = report.metadata.recipe;
    let progress = &report.metadata.progress;
    // Exact, because the best checkpoint is written at the end of an epoch.
    let per_epoch = progress.total_steps / progress.epochs.max(1) as u64;
    let all = per_epoch * epochs as u64;
    let done = report.history.len() as f64;
    let points: Vec<(f64, f64)> = (0..=RATES)
        .map(|index| (all.saturating_sub(1)) * index / RATES)
        .map(|step| {
            let total = per_epoch * progress.planned(&report.metadata.recipe, step) as u64;
            let rate = schedule::learning_rate(schedule, optimizer.lr, step, total);
            (step as f64 / per_epoch.max(1) as f64, rate)
        })
        .collect();
    let (taken, planned) = points.into_iter().partition(|&(epoch, _)| epoch <= done);
    let line = |name: &str, points| Line { name: name.into(), class: name.into(), named: false, marked: false, points };
    let lines = vec![line("planned", planned), line("rate", taken)];
    Chart {
        id: "rate",
        title: format!("Learning rate over {epochs} epochs, at most {}", optimizer.lr),
        unit: "learning rate",
        x: Axis::of_epochs(0, epochs),
        y: Axis::from_zero(&values(&lines)),
        lines,
        mark: None,
        say: |rate| format!("{rate:.5}"),
    }
}

/// The caption of the loss chart: how the training loss differs from the others.
fn loss_caption(recipe: &Recipe) -> String {
    let mut reasons = Vec::new();
    if recipe.label_smoothing > 0.0 {
        reasons.push(format!("label smoothing {}", recipe.label_smoothing));
    }
    if recipe.augmentation != Augmentation::default() {
        reasons.push("augmented images".to_owned());
    }
    let train = "The training loss is the mean over the epoch's steps";
    if reasons.is_empty() {
        return format!("{train}; the other losses are measured at its end.");
    }
    format!("{train}, with {}. The other losses are measured at its end, without them.", reasons.join(" and "))
}

fn rate_caption(recipe: &Recipe) -> String {
    let shape = match recipe.schedule.kind {
        ScheduleKind::Constant => "Constant",
        ScheduleKind::Cosine => "Half a cosine down to 0",
        ScheduleKind::OneCycle => "One cycle: half a cosine up, half a cosine down",
    };
    let warm_up = match recipe.schedule.warm_up {
        share if share > 0.0 => format!(", rising in the first {} % of the steps", (share * 1000.0).round() / 10.0),
        _ => String::new(),
    };
    format!("{shape}, peak {}{warm_up}.", recipe.optimizer.lr)
}

/// Formats a loss, or a dash if there is none or it is not finite.
pub(super) fn loss(loss: Option<f64>) -> String {
    loss.filter(|loss| loss.is_finite()).map_or_else(|| "–".to_owned(), |loss| format!("{loss:.4}"))
}

fn epochs(report: &RunReport) -> String {
    let held_out = report.history.iter().any(|epoch| epoch.held_out_accuracy.is_some());
    let mut heading = vec!["epoch", "train loss"];
    if held_out {
        // Non-breaking hyphens.
        heading.extend(["held\u{2011}out loss", "held\u{2011}out accuracy"]);
    }
    heading.extend(["test loss", "test accuracy", "time"]);
    let rows = report.history.iter().zip(&report.seconds).map(|(epoch, &seconds)| {
        let mut row = vec![epoch.epoch.to_string(), loss(Some(epoch.train_loss))];
        if held_out {
            row.extend([loss(epoch.held_out_loss), percent(epoch.held_out_accuracy)]);
        }
        let time = if seconds > 0.0 { duration(seconds) } else { "–".to_owned() };
        row.extend([loss(Some(epoch.test_loss)), percent(Some(epoch.test_accuracy)), time]);
        row
    });
    table("numbers", "Loss and accuracy after each epoch", &heading, &rows.collect::<Vec<_>>())
}
