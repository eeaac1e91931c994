//! Which classes are told apart: confusion matrix, precision and recall, the most frequent mistakes.

use super::figures::{Figures, percent};
use super::html::{escape, scrolling, table};
use deploy::confusion_picture::{NUMBERED, depth, largest_mistake, words};
use deploy::text::{counted, grouped};
use std::fmt::Write;

/// Most kinds of mistakes that are listed.
const LISTED: usize = 12;

/// The section of the page.
pub(super) fn section(figures: &Figures) -> String {
    let matrix = if figures.labels.len() <= NUMBERED { numbered(figures) } else { drawn(figures) };
    let matrix = scrolling("Confusion matrix", &matrix);
    format!(
        "<section><h2>Which classes</h2><div class=\"pair\">\n<div class=\"card\"><h3>Confusion matrix</h3>{matrix}\
         <p class=\"caption\">A row for each true class, a column for each answer. The deeper a mistake's colour, the \
         larger its share of the class.</p></div>\n\
         <div class=\"card\"><h3>Precision and recall</h3>{}</div>\n\
         <div class=\"card wide\"><h3>Most frequent mistakes</h3>{}</div></div></section>\n",
        scrolling("Precision and recall", &precision_and_recall(figures)),
        frequent(figures)
    )
}

fn numbered(figures: &Figures) -> String {
    let (confusion, labels) = (&figures.metrics.confusion, &figures.labels);
    let largest = largest_mistake(confusion);
    let mut html = format!(
        "<table class=\"matrix\" style=\"--classes:{}\"><thead><tr><td class=\"corner\">true \\ answer</td>",
        labels.len()
    );
    for label in labels {
        let _ = write!(html, "<th scope=\"col\">{}</th>", escape(label));
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
    let confusion = &figures.metrics.confusion;
    let (classes, largest) = (figures.labels.len(), largest_mistake(confusion));
    let mut svg = format!(
        "<svg class=\"matrix\" viewBox=\"0 0 {classes} {classes}\" role=\"img\" aria-labelledby=\"matrix-title matrix-desc\"><title id=\"matrix-title\">Confusion matrix</title><desc id=\"matrix-desc\">{} of {classes} classes; the most frequent mistakes are listed below.</desc>\n<rect class=\"ground\" width=\"{classes}\" height=\"{classes}\"/>",
        counted(figures.metrics.images, "test image"),
    );
    for (truth, row) in confusion.counts.iter().enumerate() {
        for (answer, _) in row.iter().enumerate().filter(|&(_, &count)| count > 0) {
            let class = if truth == answer { "right" } else { "wrong" };
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{answer}\" y=\"{truth}\" width=\"1\" height=\"1\" style=\"--depth:{:.2}\"><title>{}</title></rect>",
                depth(confusion, truth, answer, largest),
                escape(&words(confusion, &figures.labels, truth, answer))
            );
        }
    }
    svg.push_str("</svg>");
    svg
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
        "Precision: how often an answer is right. Recall: how many of a class are recognised. F1: their harmonic mean.";
    table("numbers", caption, &heading, &rows)
}

/// The kinds of mistakes, one small label each.
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
