//! Compares the answers of two runtimes to the same images.

use super::pictures::{Name, Pictures, label};
use super::{Arguments, Format, Ran, counted, fields, open_in, print, print_json, progress, say, table};
use crate::command::text::{grouped, printable};
use anyhow::{Context, Result, bail};
use deploy::agreement::{Agreement, Tolerance, tolerance};
use deploy::backend::Engine;
use deploy::model::Model;
use deploy::parity::answers::{Apart, Comparison, Difference, OtherAnswer, logits};
use deploy::parity::histogram::Histogram;
use models::evaluation::argmax;
use models::{files, picture};
use ndarray::{Array2, Axis};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// Images listed by default.
const WORST: u16 = 5;

/// Most differing answers, and most classes of an image, in the text output.
const SHOWN: usize = 10;

/// Length of the longest bar, in characters.
const BAR: u64 = 40;

/// The document that `--format json` prints.
#[derive(Serialize)]
struct Document {
    model: String,
    data: String,
    reference: Ran,
    compared: Ran,
    within_tolerance: bool,
    #[serde(flatten)]
    agreement: Agreement,
    probabilities: Difference,
    histogram: Histogram,
    worst: Vec<Named<Apart>>,
    other_answers: Vec<Named<OtherAnswer>>,
}

/// A result for one image, with the image's name.
#[derive(Serialize)]
struct Named<T> {
    #[serde(flatten)]
    name: Name,
    #[serde(flatten)]
    found: T,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let engines = [arguments.reference, arguments.compared];
    let mut models = open_in(&arguments.model, &engines, |engine| engine.options(None))?;
    let [reference, compared] = &mut models[..] else { bail!("expected two runtimes") };
    let pictures = Pictures::read(&arguments.pictures, reference, None)?;
    let bar = progress(2 * pictures.images.len_of(Axis(0)));
    let run = |model: &mut Model| logits(model, pictures.images.view(), |more| bar.inc(more as u64));
    let (expected, found) = (run(reference)?, run(compared)?);
    bar.finish_and_clear();

    let precision = reference.card().map(|card| card.precision).unwrap_or_default();
    let tolerance = arguments.tolerance.map_or_else(|| tolerance(precision), Tolerance::of);
    let worst = usize::from(arguments.worst.unwrap_or(WORST));
    let comparison = Comparison::of(expected.view(), found.view(), tolerance, worst)?;
    let document = document(engines, [reference, compared], &pictures, comparison);
    if let Some(folder) = &arguments.save_worst {
        save(&document.worst, &pictures, folder)?;
    }
    match arguments.format {
        Format::Text => print(&to_text(&document, &pictures, reference.labels()))?,
        Format::Json => print_json(&document)?,
    };
    warn_of_one_answer(&expected);
    if document.within_tolerance { Ok(()) } else { Err(disagreement(&document)) }
}

fn document(engines: [Engine; 2], models: [&Model; 2], pictures: &Pictures, comparison: Comparison) -> Document {
    let Comparison { agreement, probabilities, histogram, worst, other_answers } = comparison;
    let [reference, compared] =
        [0, 1].map(|which| Ran { engine: engines[which], runtime: models[which].runtime().clone() });
    let worst = worst.into_iter().map(|found| Named { name: pictures.name(found.image), found });
    let other = other_answers.into_iter().map(|found| Named { name: pictures.name(found.image), found });
    Document {
        model: models[0].name().to_owned(),
        data: pictures.source.clone(),
        reference,
        compared,
        within_tolerance: agreement.holds(),
        agreement,
        probabilities,
        histogram,
        worst: worst.collect(),
        other_answers: other.collect(),
    }
}

fn disagreement(document: &Document) -> anyhow::Error {
    let Document { model, reference, compared, agreement, .. } = document;
    let Agreement { max_difference, mean_difference, beyond_tie, tolerance, .. } = agreement;
    anyhow::anyhow!(
        "{} and {} disagree on {model}: logits differ by up to {max_difference:.1e}, {mean_difference:.1e} on average \
         (limits {:.0e} and {:.0e}), {} beyond a near tie. See where with --layers",
        reference.engine,
        compared.engine,
        tolerance.largest,
        tolerance.mean,
        counted(*beyond_tie, "different answer")
    )
}

/// Warns if all answers are equal. A network that always answers the same, such as an untrained one, agrees with itself
/// even if the engines differ.
fn warn_of_one_answer(logits: &Array2<f32>) {
    let mut answers = logits.rows().into_iter().map(argmax);
    let first = answers.next();
    if logits.nrows() > 1 && answers.all(|answer| Some(answer) == first) {
        say("note: every image got the same answer, so agreement proves little here");
    }
}

/// Saves the worst images. File names hold rank, index, label or file, and difference.
fn save(worst: &[Named<Apart>], pictures: &Pictures, folder: &Path) -> Result<()> {
    for (rank, Named { name, found }) in worst.iter().enumerate() {
        let picture = pictures.images.index_axis(Axis(0), found.image);
        let (rank, number, slug) = (rank + 1, found.image, name.slug());
        let file = format!("{rank:02}_image-{number}_{slug}_difference-{:.1e}.png", found.max_difference);
        let png = picture::png(picture).with_context(|| format!("image {number} cannot be drawn"))?;
        files::write_whole(&folder.join(file), &png)?;
    }
    say(&format!("{} written to {}", counted(worst.len(), "image"), folder.display()));
    Ok(())
}

fn to_text(document: &Document, pictures: &Pictures, labels: &[String]) -> String {
    let Document { model, reference, compared, agreement, probabilities, .. } = document;
    let Agreement { max_difference, mean_difference, other_argmax, beyond_tie, tolerance, .. } = agreement;
    let verdict = if document.within_tolerance { "agree" } else { "DISAGREE" };
    let summary = fields(&[
        ("model", model.clone()),
        ("data", pictures.line()),
        ("reference", reference.line()),
        ("compared", compared.line()),
        (
            "logits",
            format!(
                "differ by up to {max_difference:.1e}, {mean_difference:.1e} on average (limits {:.0e} and {:.0e})",
                tolerance.largest, tolerance.mean
            ),
        ),
        ("probabilities", format!("differ by up to {:.1e}, {:.1e} on average", probabilities.max, probabilities.mean)),
        ("answers", format!("{} differ, {beyond_tie} beyond a near tie", grouped(*other_argmax as u64))),
        ("verdict", verdict.to_owned()),
    ]);
    let mut parts = vec![summary, histogram(&document.histogram)];
    if !document.other_answers.is_empty() {
        parts.push(other_answers(document, labels));
    }
    if let Some(first) = document.worst.first() {
        parts.extend([worst(document, labels), logits_of(document, first, labels)]);
    }
    parts.join("\n")
}

/// The histogram from the first to the last bin that is not empty, with a bar for each.
fn histogram(histogram: &Histogram) -> String {
    let rows = histogram.rows();
    let filled = |(_, count): &(String, u64)| *count > 0;
    let first = rows.iter().position(filled).unwrap_or(0);
    let last = rows.iter().rposition(filled).unwrap_or(0);
    let total: u64 = rows.iter().map(|(_, count)| count).sum();
    let largest = rows.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let mut text = String::from("Differences of logits\n");
    for (name, count) in &rows[first..=last] {
        // Rounded up, so that every bin that is not empty has a mark.
        let bar = "#".repeat((count * BAR).div_ceil(largest) as usize);
        let (share, count) = (100.0 * *count as f64 / total.max(1) as f64, grouped(*count));
        let line = format!("  {name:12}  {count:>12}  {share:6.2} %  {bar}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn other_answers(document: &Document, labels: &[String]) -> String {
    let (reference, compared) = (document.reference.engine, document.compared.engine);
    let heading = ["different answers".to_owned(), reference.to_string(), compared.to_string(), "margin".to_owned()];
    let mut rows = vec![[&heading[..], &[String::new()]].concat()];
    for Named { name, found } in document.other_answers.iter().take(SHOWN) {
        rows.push(vec![
            format!("image {}", name.line(found.image)),
            printable(&label(labels, found.reference)),
            printable(&label(labels, found.compared)),
            format!("{:.1e}", found.margin),
            if found.near_tie { "near tie".to_owned() } else { String::new() },
        ]);
    }
    let mut text = table(&rows);
    if document.other_answers.len() > SHOWN {
        let all = grouped(document.other_answers.len() as u64);
        let _ = writeln!(text, "The first {SHOWN} of {all}; all are in --format json.");
    }
    text
}

fn worst(document: &Document, labels: &[String]) -> String {
    let (reference, compared) = (document.reference.engine, document.compared.engine);
    let heading = ["worst images".to_owned(), reference.to_string(), compared.to_string(), "difference".to_owned()];
    let mut rows = vec![heading.to_vec()];
    for Named { name, found } in &document.worst {
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

fn logits_of(document: &Document, worst: &Named<Apart>, labels: &[String]) -> String {
    let (reference, compared) = (document.reference.engine, document.compared.engine);
    let heading = ["class".to_owned(), reference.to_string(), compared.to_string(), "difference".to_owned()];
    let Apart { image, reference_logits, compared_logits, .. } = &worst.found;
    let mut classes: Vec<_> = reference_logits.iter().zip(compared_logits).enumerate().collect();
    // With many classes, show only those that differ most.
    classes.sort_by(|(_, (a, b)), (_, (c, d))| (*c - *d).abs().total_cmp(&(*a - *b).abs()));
    classes.truncate(SHOWN);
    classes.sort_by_key(|(class, _)| *class);
    let mut rows = vec![heading.to_vec()];
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
        let text = histogram(&counts);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].starts_with("  0   ") && lines[1].ends_with(&"#".repeat(40)), "{text}");
        assert!(
            lines.last().unwrap().starts_with("  1e-3 to 1e-2")
                && lines.last().unwrap().ends_with("25.00 %  ####################")
        );
        assert!(!text.contains("1e-2 to 1e-1"), "{text}");
    }
}
