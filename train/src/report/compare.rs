//! The page of `train compare`: the curves of several runs in shared charts, and a table of their differences.

use super::axis::Axis;
use super::chart::{Chart, Line};
use super::curves::{figure, loss, values};
use super::figures::percent;
use super::html::{escape, scrolling, table};
use crate::compare::{Comparison, Side};
use crate::run::Epoch;
use deploy::text::shortened;
use std::fmt::Write;

/// Number of colours, and of dash patterns that distinguish runs with the same colour.
const COLOURS: usize = 8;
const DASHES: usize = 4;

/// Maximum number of runs for which lines are named at their ends, and length of such a name in characters.
const NAMED: usize = 5;
const LONGEST: usize = 9;

const STYLE: &str = include_str!("compare.css");

/// The page as HTML.
#[must_use]
pub fn to_html(comparison: &Comparison) -> String {
    let names: Vec<&str> = comparison.sides.iter().map(|side| side.name.as_str()).collect();
    let title = match names.as_slice() {
        [one, other] => format!("{one} and {other}"),
        names => format!("{} runs", names.len()),
    };
    let mut body = format!(
        "<header><p class=\"eyebrow\">comparison of training runs</p><h1>{}</h1>\n<ul class=\"legend\">",
        escape(&title)
    );
    for (index, name) in names.iter().enumerate() {
        let _ = writeln!(
            body,
            "<li><svg viewBox=\"0 0 32 12\" aria-hidden=\"true\"><path class=\"line {}\" d=\"M1 6H31\"/></svg>{}</li>",
            class(index),
            escape(name)
        );
    }
    body.push_str("</ul></header>\n<section><h2>Curves</h2><div class=\"pair\">\n");
    body.push_str(&charts(comparison));
    body.push_str("</div></section>\n<section><h2>Differences</h2><div class=\"card\">");
    body.push_str(&scrolling("What differs between the runs", &rows(comparison, &names)));
    body.push_str("</div></section>\n");
    super::page(&format!("{title} compared"), STYLE, &body, "Made by <code>train compare</code>.")
}

fn class(index: usize) -> String {
    format!("s{} d{}", index % COLOURS, index / COLOURS % DASHES)
}

fn charts(comparison: &Comparison) -> String {
    let held_out = |value: fn(&Epoch) -> Option<f64>| {
        comparison.sides.iter().any(|side| side.metadata.history.iter().any(|epoch| value(epoch).is_some()))
    };
    let mut html = String::new();
    let accuracy = |id, title: &str, caption: &str, value: fn(&Epoch) -> Option<f64>| {
        let lines = lines(comparison, value);
        // The sizes of the sets are not always known, so the smallest non-zero error is assumed to be one image.
        let errors = values(&lines).into_iter().map(|accuracy| 1.0 - accuracy).filter(|&error| error > 1e-9);
        let images = errors.reduce(f64::min).map_or(1, |error| (1.0 / error).round() as usize);
        let y = Axis::of_accuracies(&values(&lines), images);
        figure(title, &chart(comparison, id, title, "accuracy", y, lines, |value| percent(Some(value))), caption)
    };
    let losses = |id, title: &str, caption: &str, value: fn(&Epoch) -> Option<f64>| {
        let lines = lines(comparison, value);
        let y = Axis::of_losses(&values(&lines));
        figure(title, &chart(comparison, id, title, "cross-entropy", y, lines, |value| loss(Some(value))), caption)
    };
    let caution = if comparison.same_data {
        ""
    } else {
        " The runs were trained or tested on different images: do not compare these."
    };
    html.push_str(&accuracy(
        "test-accuracy",
        "Test accuracy",
        &format!("Share of the test images that are classified correctly.{caution}"),
        |epoch| Some(epoch.test_accuracy),
    ));
    if held_out(|epoch| epoch.held_out_accuracy) {
        let chosen = comparison.sides.iter().all(|side| side.metadata.progress.best.is_some());
        let choice = if chosen { " The best epoch is chosen by it." } else { "" };
        html.push_str(&accuracy(
            "held-out-accuracy",
            "Held-out accuracy",
            &format!("Share of the held-out images that are classified correctly.{choice}"),
            |epoch| epoch.held_out_accuracy,
        ));
    }
    html.push_str(&losses(
        "train-loss",
        "Training loss",
        "Mean over the epoch's steps, with the label smoothing and the augmentation of each recipe.",
        |epoch| Some(epoch.train_loss),
    ));
    html.push_str(&losses("test-loss", "Test loss", "After each epoch, without label smoothing.", |epoch| {
        Some(epoch.test_loss)
    }));
    html
}

fn lines(comparison: &Comparison, value: fn(&Epoch) -> Option<f64>) -> Vec<Line> {
    let line = |(index, side): (usize, &Side)| Line {
        name: shortened(&side.name, LONGEST),
        class: class(index),
        named: comparison.sides.len() <= NAMED,
        marked: true,
        points: side.metadata.history.iter().filter_map(|epoch| Some((epoch.epoch as f64, value(epoch)?))).collect(),
    };
    comparison.sides.iter().enumerate().map(line).filter(|line| !line.points.is_empty()).collect()
}

fn chart(
    comparison: &Comparison,
    id: &'static str,
    title: &str,
    unit: &'static str,
    y: Axis,
    lines: Vec<Line>,
    say: fn(f64) -> String,
) -> Chart {
    let epochs = comparison.sides.iter().map(|side| side.metadata.history.len()).max().unwrap_or(1);
    Chart {
        id,
        title: format!("{title} after each epoch"),
        unit,
        x: Axis::of_epochs(1, epochs),
        y,
        lines,
        mark: None,
        say,
    }
}

fn rows(comparison: &Comparison, names: &[&str]) -> String {
    let heading: Vec<&str> = std::iter::once("").chain(names.iter().copied()).collect();
    let rows: Vec<Vec<String>> = comparison
        .differences
        .iter()
        .map(|difference| {
            let values = difference
                .values
                .iter()
                .map(|value| value.as_ref().map_or_else(|| "–".to_owned(), |value| value.replace(" %", "\u{a0}%")));
            std::iter::once(difference.key.clone()).chain(values).collect()
        })
        .collect();
    let caption = "Only what differs is shown, plus the accuracies, which are those of each run's best checkpoint.";
    table("differences", caption, &heading, &rows)
}
