//! The results by class: confusion matrix, precision and recall, and the most frequent mistakes.

use super::figures::{Figures, percent};
use super::html::{escape, scrolling, table};
use deploy::confusion_svg::{Drawing, NUMBERED, depth, largest_mistake, legend, words};
use deploy::text::{self, counted, grouped};
use std::fmt::Write;

/// Maximum number of confused class pairs listed.
const LISTED: usize = 30;

/// Longest label in characters that is written horizontally above a column; with any longer one, the labels are
/// rotated.
const SHORT: usize = 5;

/// The section of the page.
pub(super) fn section(figures: &Figures) -> String {
    let is_numbered = figures.labels.len() <= NUMBERED;
    let matrix = if is_numbered { numbered(figures) } else { drawn(figures) };
    let matrix = scrolling("Confusion matrix", &matrix);
    let card = if is_numbered { "card" } else { "card wide" };
    format!(
        "<section><h2>Classes</h2><div class=\"pair\">\n<div class=\"{card}\"><h3>Confusion matrix</h3>{matrix}{}\
         <p class=\"caption\">Rows are true classes, columns are answers.{} {}</p></div>\n\
         <div class=\"card\"><h3>Precision and recall</h3>{}</div>\n\
         <div class=\"card wide\"><h3>Most frequent mistakes</h3>{}</div></div></section>\n",
        html_legend(figures, is_numbered),
        if is_numbered { "" } else { " Point at a cell to see its numbers." },
        remarks(figures),
        scrolling("Precision and recall", &precision_and_recall(figures)),
        frequent(figures)
    )
}

/// The weakest class, and what is wrong with the classifier.
fn remarks(figures: &Figures) -> String {
    let (metrics, labels) = (&figures.metrics, &figures.labels);
    let warnings = text::warnings(metrics, labels);
    let mut sentences = vec![sentence(text::weakest(metrics, labels).trim_end())];
    sentences.extend(warnings.lines().map(sentence));
    escape(&sentences.join(" "))
}

/// Turns a line into a sentence: capitalises it and adds a full stop.
fn sentence(line: &str) -> String {
    let mut chars = line.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}

/// The legend of the colours.
fn html_legend(figures: &Figures, is_numbered: bool) -> String {
    let class = if is_numbered { "legend" } else { "legend drawn" };
    let mut html = format!("<div class=\"{class}\">");
    let rows =
        [("right", "Recognised, share of the class:"), ("wrong", "Mistaken for another class, share of the class:")];
    for (swatches, (class, name)) in legend(&figures.metrics.confusion).iter().zip(rows) {
        if swatches.is_empty() {
            continue;
        }
        let _ = write!(html, "<p>{name}");
        for swatch in swatches {
            let _ = write!(
                html,
                " <span><i class=\"{class}\" style=\"--depth:{:.2}\"></i>{}</span>",
                swatch.depth,
                percent(Some(swatch.share))
            );
        }
        html.push_str("</p>");
    }
    html.push_str("</div>\n");
    html
}

fn numbered(figures: &Figures) -> String {
    let (confusion, labels) = (&figures.metrics.confusion, &figures.labels);
    let largest = largest_mistake(confusion);
    let turned = if labels.iter().any(|label| label.chars().count() > SHORT) { " turned" } else { "" };
    let mut html = format!(
        "<table class=\"matrix{turned}\" style=\"--classes:{}\"><thead><tr><td class=\"corner\">true \\ answer</td>",
        labels.len()
    );
    for label in labels {
        let _ = write!(html, "<th scope=\"col\"><span>{}</span></th>", escape(label));
    }
    html.push_str("</tr></thead><tbody>\n");
    for (truth, (label, row)) in labels.iter().zip(&confusion.counts).enumerate() {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(label));
        for (answer, &count) in row.iter().enumerate() {
            if count == 0 {
                html.push_str("<td class=\"none\">·</td>");
                continue;
            }
            let class = if truth == answer { "right" } else { "wrong" };
            let _ = write!(
                html,
                "<td class=\"{class}\" style=\"--depth:{:.2}\" title=\"{}\">{count}</td>",
                depth(confusion, truth, answer, largest),
                escape(&words(confusion, &figures.labels, truth, answer))
            );
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table>");
    html
}

fn drawn(figures: &Figures) -> String {
    let Drawing { width, height, elements } = Drawing::new(&figures.metrics.confusion, &figures.labels);
    format!(
        "<svg class=\"matrix\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-labelledby=\"matrix-title matrix-desc\"><title id=\"matrix-title\">Confusion matrix</title><desc id=\"matrix-desc\">{} of {} classes; the most frequent mistakes are listed below.</desc>\n{elements}</svg>",
        counted(figures.metrics.images, "test image"),
        figures.labels.len()
    )
}

fn precision_and_recall(figures: &Figures) -> String {
    let mut rows = Vec::new();
    for (label, class) in figures.labels.iter().zip(&figures.metrics.classes) {
        rows.push(vec![
            label.clone(),
            grouped(class.support),
            percent(class.precision),
            percent(class.recall),
            percent(class.f1),
        ]);
    }
    let heading = ["class", "images", "precision", "recall", "F1"];
    let caption =
        "Precision: share of answers that are right. Recall: share of the class that is recognised. F1: harmonic mean.";
    table("numbers", caption, &heading, &rows)
}

/// The most frequent pairs of true class and prediction.
fn frequent(figures: &Figures) -> String {
    let mistakes = figures.metrics.confusion.mistakes();
    if mistakes.is_empty() {
        return format!("<p>None in {}.</p>", counted(figures.metrics.images, "test image"));
    }
    let mut html = String::from("<ol class=\"kinds\">\n");
    for confused in mistakes.iter().take(LISTED) {
        let (truth, answer) = (&figures.labels[confused.truth], &figures.labels[confused.answer]);
        let _ = writeln!(
            html,
            "<li><b>{}</b> taken for <b>{}</b> <span>×{}</span></li>",
            escape(truth),
            escape(answer),
            grouped(confused.count)
        );
    }
    html.push_str("</ol>");
    if mistakes.len() > LISTED {
        let _ = write!(html, "<p class=\"caption\">The {LISTED} most frequent of {} kinds.</p>", mistakes.len());
    }
    html
}
