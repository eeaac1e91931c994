//! The reliability diagram: accuracy against confidence.

use super::Calibrated;
use super::axis::Axis;
use super::figures::{Figures, percent};
use super::html::{escape, scrolling, table};
use deploy::text::{counted, grouped};
use models::evaluation::{BINS, Bin, Metrics, Reliability, interval};
use std::fmt::Write;

/// Size of the drawing in SVG user units.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 416.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 466.0;
/// The upper part: accuracy against confidence.
const TOP: f64 = 26.0;
const MIDDLE: f64 = 270.0;
/// The lower part: number of predictions.
const LOWER: f64 = 316.0;
const BOTTOM: f64 = 376.0;

/// Confidence and accuracy closer than this count as equal.
const NEAR: f64 = 0.005;

/// The section of the page: the network as trained and, if the temperature is known, as exported.
pub(super) fn section(figures: &Figures) -> String {
    let trained = part("trained", "As trained", &figures.metrics, &verdict(&figures.metrics));
    let exported = figures.calibrated.as_ref().map(|Calibrated { temperature, images, metrics }| {
        let images = counted(*images, "held-out image");
        let sentence = format!(
            "train export divides the logits by the temperature {temperature}, fitted to {images}. No answer changes. {}",
            verdict(metrics)
        );
        part("exported", "As exported", metrics, &sentence)
    });
    format!("<section><h2>Confidence</h2>{trained}{}</section>\n", exported.unwrap_or_default())
}

/// Describes the calibration in words.
fn verdict(metrics: &Metrics) -> String {
    let (ece, confidence) = (metrics.calibration.ece, metrics.confidence());
    let verdict = match confidence - metrics.accuracy {
        gap if gap > NEAR => "the network is overconfident",
        gap if gap < -NEAR => "the network is underconfident",
        _ => "its confidence matches its accuracy",
    };
    format!(
        "The mean confidence of the answers is {}, and {} of them are right: {verdict}. The expected calibration error (Guo et al., arXiv 1706.04599, {BINS} bins) is {}.",
        percent(Some(confidence)),
        percent(Some(metrics.accuracy)),
        percent(Some(ece)),
    )
}

/// A reliability diagram, captioned with a sentence, beside its numbers. `id` is unique on the page.
fn part(id: &str, title: &str, metrics: &Metrics, sentence: &str) -> String {
    format!(
        "<div class=\"pair\">\n<figure class=\"card chart\"><h3>{title}, ECE {}</h3>{}<figcaption>{}</figcaption></figure>\n<div class=\"card\"><h3>Every bin</h3>{}</div></div>\n",
        percent(Some(metrics.calibration.ece)),
        diagram(id, &metrics.calibration),
        escape(sentence),
        scrolling(&format!("{title}: confidence and accuracy in numbers"), &bins(&metrics.calibration))
    )
}

fn bins(calibration: &Reliability) -> String {
    let filled = calibration.bins.iter().filter(|bin| bin.count > 0);
    let rows = filled.map(|bin| {
        let range = format!("{:.1} to {:.1} %", bin.above * 100.0, bin.up_to * 100.0);
        vec![range, grouped(bin.count), percent(bin.confidence), percent(bin.accuracy)]
    });
    let caption = "Answers by confidence, the probability of the answer. Empty bins are left out.";
    table("numbers", caption, &["confidence", "answers", "mean", "right"], &rows.collect::<Vec<_>>())
}

fn diagram(id: &str, calibration: &Reliability) -> String {
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\"><title id=\"{id}-title\">Reliability diagram</title><desc id=\"{id}-desc\">Accuracy against confidence in {BINS} bins; the numbers are in the table beside it.</desc>\n"
    );
    let shares = Axis::of_shares();
    let largest = calibration.bins.iter().map(|bin| bin.count).max().unwrap_or(0);
    let counts = Axis::of_counts(largest);
    for tick in shares.ticks() {
        let (x, y) = (LEFT + tick.at * (RIGHT - LEFT), MIDDLE - tick.at * (MIDDLE - TOP));
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{y:.1}\" dy=\".35em\" text-anchor=\"end\">{label}</text><path class=\"grid\" d=\"M{x:.1} {BOTTOM}v4\"/><text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            LEFT - 8.0,
            BOTTOM + 18.0,
            label = tick.label
        );
    }
    // Draws at most four ticks.
    for tick in counts.ticks().iter().step_by(counts.ticks().len().div_ceil(4)) {
        let y = BOTTOM - tick.at * (BOTTOM - LOWER);
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{y:.1}\" dy=\".35em\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            tick.label
        );
    }
    let _ = writeln!(
        svg,
        "<path class=\"axis\" d=\"M{LEFT} {MIDDLE}H{RIGHT}M{LEFT} {BOTTOM}H{RIGHT}\"/><path class=\"ideal\" d=\"M{LEFT} {MIDDLE}L{RIGHT} {TOP}\"/>\
         <text class=\"unit\" x=\"0\" y=\"12\">right answers</text><text class=\"unit\" x=\"0\" y=\"{:.1}\">answers, logarithmic</text><text class=\"unit\" x=\"{RIGHT}\" y=\"{:.1}\" text-anchor=\"end\">confidence</text>\
         <text class=\"note\" x=\"{:.1}\" y=\"{:.1}\">underconfident</text><text class=\"note\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">overconfident</text>",
        LOWER - 15.0,
        HEIGHT - 4.0,
        LEFT + 12.0,
        TOP + 20.0,
        RIGHT - 12.0,
        MIDDLE - 12.0
    );
    for bin in &calibration.bins {
        draw_bin(&mut svg, bin, &counts);
    }
    svg.push_str("</svg>");
    svg
}

/// Draws a bin: a point with the 95 % interval of its accuracy, and a bar for its count.
fn draw_bin(svg: &mut String, bin: &Bin, counts: &Axis) {
    let across = |share: f64| LEFT + share * (RIGHT - LEFT);
    let up = |share: f64| MIDDLE - share * (MIDDLE - TOP);
    let (Some(confidence), Some(accuracy), Some((low, high))) =
        (bin.confidence, bin.accuracy, interval(bin.right, bin.count))
    else {
        return;
    };
    let (x, top) = (across(confidence), BOTTOM - counts.place(bin.count as f64) * (BOTTOM - LOWER));
    let words = format!(
        "{} with confidence {} on average: {} right, 95 % interval {} to {}",
        counted(usize::try_from(bin.count).unwrap_or(usize::MAX), "answer"),
        percent(Some(confidence)),
        percent(Some(accuracy)),
        percent(Some(low)),
        percent(Some(high))
    );
    let _ = writeln!(
        svg,
        "<g><title>{}</title><rect class=\"bar\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/><path class=\"whisker\" d=\"M{x:.1} {:.1}V{:.1}\"/><circle class=\"point test\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4.5\"/></g>",
        escape(&words),
        across(bin.above) + 1.5,
        across(bin.up_to) - across(bin.above) - 3.0,
        BOTTOM - top,
        up(low),
        up(high),
        up(accuracy)
    );
}
