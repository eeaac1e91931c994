//! Writes the comparison of answers for people: a line for each engine, then details of the one that differs most.

use super::answers::{Compared, Document, Named};
use super::images::{ImageSet, label};
use super::{fields, table};
use crate::command::text::{grouped, printable};
use deploy::agreement::Agreement;
use deploy::parity::answers::{Apart, OtherAnswer};
use deploy::parity::histogram::Histogram;
use models::evaluation::argmax;
use std::fmt::Write;

/// Most differing answers, and most classes of an image, that are listed.
const SHOWN: usize = 10;

/// Length of the longest bar, in characters.
const BAR: u64 = 40;

pub(super) fn to_text(document: &Document, images: &ImageSet, labels: &[String]) -> String {
    let Some(furthest) = document.furthest() else { return String::new() };
    let Agreement { max_difference, mean_difference, tolerance, .. } = &furthest.agreement;
    let mut lines =
        vec![("model", document.model.clone()), ("data", images.line()), ("reference", document.reference.line())];
    let keys = std::iter::once("compared").chain(std::iter::repeat(""));
    lines.extend(keys.zip(document.compared.iter().map(|one| one.ran.line())));
    lines.push((
        "logits",
        format!(
            "differ by up to {max_difference:.1e}, {mean_difference:.1e} on average (limits {:.0e} and {:.0e})",
            tolerance.largest, tolerance.mean
        ),
    ));
    lines.push(("verdict", verdict(document.within_tolerance).to_owned()));
    let mut parts = vec![fields(&lines), engines(&document.compared)];
    let pair = [document.reference.engine, furthest.ran.engine].map(|engine| engine.to_string());
    parts.push(histogram(&furthest.histogram, &pair));
    if !furthest.other_answers.is_empty() {
        parts.push(other_answers(&furthest.other_answers, &pair, labels));
    }
    if let Some(first) = furthest.worst.first() {
        parts.extend([worst(&furthest.worst, &pair, labels), logits_of(first, &pair, labels)]);
    }
    parts.join("\n")
}

fn verdict(agree: bool) -> &'static str {
    if agree { "agree" } else { "DISAGREE" }
}

/// One line for each engine that was compared with the reference: differences of logits and of probabilities, and
/// answers that changed, in all and beyond a near tie.
fn engines(compared: &[Compared]) -> String {
    let heading = ["compared", "max diff", "mean diff", "prob diff", "changed", "beyond tie", ""];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for Compared { ran, within_tolerance, agreement, probabilities, .. } in compared {
        rows.push(vec![
            ran.engine.to_string(),
            format!("{:.1e}", agreement.max_difference),
            format!("{:.1e}", agreement.mean_difference),
            format!("{:.1e}", probabilities.max),
            grouped(agreement.other_argmax as u64),
            grouped(agreement.beyond_tie as u64),
            verdict(*within_tolerance).to_owned(),
        ]);
    }
    table(&rows)
}

/// The histogram from the first to the last bin that is not empty, with a bar for each.
fn histogram(histogram: &Histogram, [reference, compared]: &[String; 2]) -> String {
    let rows = histogram.rows();
    let filled = |(_, count): &(String, u64)| *count > 0;
    let first = rows.iter().position(filled).unwrap_or(0);
    let last = rows.iter().rposition(filled).unwrap_or(0);
    let total: u64 = rows.iter().map(|(_, count)| count).sum();
    let largest = rows.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let mut text = format!("Differences of logits, {compared} and {reference}\n");
    for (name, count) in &rows[first..=last] {
        // Rounded up, so that every bin that is not empty has a mark.
        let bar = "#".repeat((count * BAR).div_ceil(largest) as usize);
        let (share, count) = (100.0 * *count as f64 / total.max(1) as f64, grouped(*count));
        let line = format!("  {name:12}  {count:>12}  {share:6.2} %  {bar}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn other_answers(all: &[Named<OtherAnswer>], [reference, compared]: &[String; 2], labels: &[String]) -> String {
    let mut rows = vec![["different answers", reference, compared, "margin", ""].map(str::to_owned).to_vec()];
    for Named { name, found } in all.iter().take(SHOWN) {
        rows.push(vec![
            format!("image {}", name.line(found.image)),
            printable(&label(labels, found.reference)),
            printable(&label(labels, found.compared)),
            format!("{:.1e}", found.margin),
            if found.near_tie { "near tie".to_owned() } else { String::new() },
        ]);
    }
    let mut text = table(&rows);
    if all.len() > SHOWN {
        let all = grouped(all.len() as u64);
        let _ = writeln!(text, "The first {SHOWN} of {all}; all are in --format json.");
    }
    text
}

fn worst(all: &[Named<Apart>], [reference, compared]: &[String; 2], labels: &[String]) -> String {
    let mut rows = vec![["worst images", reference, compared, "difference"].map(str::to_owned).to_vec()];
    for Named { name, found } in all {
        let answer = |logits: &[f32]| printable(&label(labels, argmax(ndarray::ArrayView1::from(logits))));
        rows.push(vec![
            format!("image {}", name.line(found.image)),
            answer(&found.reference_logits),
            answer(&found.compared_logits),
            format!("{:.1e}", found.max_difference),
        ]);
    }
    table(&rows)
}

fn logits_of(worst: &Named<Apart>, [reference, compared]: &[String; 2], labels: &[String]) -> String {
    let Apart { image, reference_logits, compared_logits, .. } = &worst.found;
    let mut classes: Vec<_> = reference_logits.iter().zip(compared_logits).enumerate().collect();
    // With many classes, show only those that differ most.
    classes.sort_by(|(_, (a, b)), (_, (c, d))| (*c - *d).abs().total_cmp(&(*a - *b).abs()));
    classes.truncate(SHOWN);
    classes.sort_by_key(|(class, _)| *class);
    let mut rows = vec![["class", reference, compared, "difference"].map(str::to_owned).to_vec()];
    for (class, (expected, found)) in classes {
        let difference = format!("{:.1e}", (expected - found).abs());
        rows.push(vec![printable(&label(labels, class)), format!("{expected:.5}"), format!("{found:.5}"), difference]);
    }
    format!("Logits of image {image}\n{}", table(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_histogram_shows_what_there_is() {
        let mut counts = Histogram::default();
        for difference in [0.0, 0.0, 3e-5, 5e-3] {
            counts.add(difference);
        }
        let text = histogram(&counts, &["ort".to_owned(), "tract".to_owned()]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].starts_with("  0   ") && lines[1].ends_with(&"#".repeat(40)), "{text}");
        assert!(
            lines.last().unwrap().starts_with("  1e-3 to 1e-2")
                && lines.last().unwrap().ends_with("25.00 %  ####################")
        );
        assert!(!text.contains("1e-2 to 1e-1"), "{text}");
    }
}
