//! A confusion matrix as a picture: a row for each true class, a column for each answer.
//!
//! A stand-alone SVG file, which every browser and LaTeX tool-chain shows at any size. The run's report draws the same
//! matrix as a part of its page, in the page's own colours; [`depth`] and [`words`] of a cell are the same in both.

use crate::text::{counted, escape, grouped, percent};
use models::evaluation::{Confusion, Metrics};
use std::fmt::Write;

/// Most classes whose cells are numbered.
pub const NUMBERED: usize = 20;

/// Longest label that is written out, in characters.
const LONGEST: usize = 24;

/// Width of a character of a label, in font sizes: a little more than the mean of a sans-serif font.
const CHARACTER: f64 = 0.58;

/// Room around the picture, in pixels.
const MARGIN: f64 = 20.0;

const STYLE: &str = "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif;\
    fill:#5b6672;font-variant-numeric:tabular-nums}.title{font-size:17px;font-weight:600;fill:#1b2129}\
    .axis{font-size:13px}.label,.number{fill:#1b2129}.number{text-anchor:middle}.none{fill:#a3adb8}\
    .ground{fill:#f6f7f9}.right{fill:#1f66c1}.wrong{fill:#c8401d}";

/// How deep the colour of a cell is, 0 to 1: for right answers the recall; for mistakes their share of the class against
/// `largest` ([`largest_mistake`]), on a square-root scale that keeps small ones visible.
#[must_use]
pub fn depth(confusion: &Confusion, truth: usize, answer: usize, largest: f64) -> f64 {
    let share = confusion.share(truth, answer);
    if truth == answer { share } else { (share / largest).sqrt() }
}

/// The largest share of a class that was taken for one other; above 0.
#[must_use]
pub fn largest_mistake(confusion: &Confusion) -> f64 {
    let shares = confusion.mistakes().into_iter().map(|confused| confusion.share(confused.truth, confused.answer));
    shares.fold(f64::MIN_POSITIVE, f64::max)
}

/// A cell in words.
#[must_use]
pub fn words(confusion: &Confusion, labels: &[String], truth: usize, answer: usize) -> String {
    let (count, of) = (confusion.counts[truth][answer], confusion.counts[truth].iter().sum::<u64>());
    let verb = if truth == answer { "recognised".to_owned() } else { format!("taken for {}", labels[answer]) };
    format!(
        "{} {verb}: {} of {} ({})",
        labels[truth],
        grouped(count),
        grouped(of),
        percent(Some(confusion.share(truth, answer)))
    )
}

/// Sizes in pixels, which follow from the number of classes and the length of their labels.
struct Layout {
    /// Side of a cell.
    cell: f64,
    /// Size of the labels' font.
    font: f64,
    /// Whether the labels of the columns are upright, for want of width.
    upright: bool,
    /// Every so many-th label is written.
    step: usize,
    left: f64,
    top: f64,
}

impl Layout {
    fn of(labels: &[String]) -> Self {
        let classes = labels.len().max(1);
        let cell = if classes <= NUMBERED { 46.0 } else { (720.0 / classes as f64).clamp(1.0, 32.0) };
        let font = if classes <= NUMBERED { 14.0 } else { cell.clamp(9.0, 12.0) };
        let step = (font * 1.1 / cell).ceil().max(1.0) as usize;
        let longest = labels.iter().step_by(step).map(|label| shortened(label).chars().count()).max().unwrap_or(0);
        let length = longest as f64 * font * CHARACTER;
        let upright = length > cell - 4.0;
        let above = if upright { length } else { font };
        Self { cell, font, upright, step, left: MARGIN + 22.0 + length + 8.0, top: MARGIN + 62.0 + above }
    }
}

/// The picture of what a model's answers came to; `title` names the model.
#[must_use]
pub fn svg(title: &str, metrics: &Metrics, labels: &[String]) -> String {
    let layout = Layout::of(labels);
    let Layout { cell, font, left, top, .. } = layout;
    let side = cell * labels.len() as f64;
    let heading = format!("{title}: {} of {}", percent(Some(metrics.accuracy)), counted(metrics.images, "test image"));
    let width = (left + side).max(heading.chars().count() as f64 * 17.0 * CHARACTER + MARGIN) + MARGIN;
    let height = top + side + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n\
         <title>Confusion matrix of {heading}</title>\n<style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"{:.0}\">{heading}</text>\n\
         <text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">answer</text>\n\
         <text class=\"axis\" text-anchor=\"middle\" transform=\"translate({:.1} {:.1}) rotate(-90)\">true class</text>\n\
         <g font-size=\"{font:.1}\">\n",
        MARGIN + 14.0,
        left + side / 2.0,
        MARGIN + 44.0,
        MARGIN + 10.0,
        top + side / 2.0,
        heading = escape(&heading),
    );
    write_labels(&mut svg, &layout, labels);
    write_cells(&mut svg, &layout, &metrics.confusion, labels);
    svg.push_str("</g>\n</svg>\n");
    svg
}

fn write_labels(svg: &mut String, layout: &Layout, labels: &[String]) {
    let &Layout { cell, upright, step, left, top, .. } = layout;
    for (class, label) in labels.iter().enumerate().step_by(step) {
        let middle = (class as f64 + 0.5) * cell;
        let label = escape(&shortened(label));
        let _ = writeln!(
            svg,
            "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" dy=\".35em\" text-anchor=\"end\">{label}</text>",
            left - 8.0,
            top + middle
        );
        let (x, y) = (left + middle, top - 8.0);
        let _ = if upright {
            writeln!(
                svg,
                "<text class=\"label\" dy=\".35em\" transform=\"translate({x:.1} {y:.1}) rotate(-90)\">{label}</text>"
            )
        } else {
            writeln!(svg, "<text class=\"label\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>")
        };
    }
}

fn write_cells(svg: &mut String, layout: &Layout, confusion: &Confusion, labels: &[String]) {
    let &Layout { cell, left, top, .. } = layout;
    let (side, largest, numbered) = (cell * labels.len() as f64, largest_mistake(confusion), labels.len() <= NUMBERED);
    let _ = writeln!(
        svg,
        "<rect class=\"ground\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{side:.1}\" height=\"{side:.1}\"/>"
    );
    let gap = if numbered { 2.0 } else { 0.0 };
    for (truth, row) in confusion.counts.iter().enumerate() {
        for (answer, &count) in row.iter().enumerate() {
            let (x, y) = (left + answer as f64 * cell, top + truth as f64 * cell);
            let middle = format!("x=\"{:.1}\" y=\"{:.1}\" dy=\".35em\"", x + cell / 2.0, y + cell / 2.0);
            if count == 0 {
                if numbered {
                    let _ = writeln!(svg, "<text class=\"number none\" {middle}>·</text>");
                }
                continue;
            }
            let depth = depth(confusion, truth, answer, largest);
            // Under black numbers colours stay light.
            let (class, opacity) = match (truth == answer, numbered) {
                (true, true) => ("right", depth * 0.3),
                (true, false) => ("right", depth * 0.7),
                (false, true) => ("wrong", 0.08 + depth * 0.62),
                (false, false) => ("wrong", 0.15 + depth * 0.85),
            };
            let _ = write!(
                svg,
                "<g><title>{}</title><rect class=\"{class}\" fill-opacity=\"{opacity:.2}\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{:.2}\" rx=\"{gap}\"/>",
                escape(&words(confusion, labels, truth, answer)),
                x + gap / 2.0,
                y + gap / 2.0,
                cell - gap,
                cell - gap
            );
            if numbered {
                let digits = count.to_string().len();
                // Numbers of many digits are made to fit.
                let size = 14.0_f64.min((cell - 6.0) / (digits as f64 * CHARACTER));
                let _ = write!(svg, "<text class=\"number\" font-size=\"{size:.1}\" {middle}>{count}</text>");
            }
            svg.push_str("</g>\n");
        }
    }
}

/// A label cut to what there is room for.
fn shortened(label: &str) -> String {
    if label.chars().count() <= LONGEST {
        return label.to_owned();
    }
    label.chars().take(LONGEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::evaluation::Tally;

    fn metrics(counts: Vec<Vec<u64>>) -> Metrics {
        let empty = Tally::new(counts.len()).metrics();
        Metrics { confusion: Confusion { counts }, ..empty }
    }

    #[test]
    fn every_cell_is_drawn_and_says_what_it_means() {
        let labels = ["<cat>", "dog"].map(str::to_owned);
        let svg = svg("pets & co", &metrics(vec![vec![3, 1], vec![0, 5]]), &labels);
        for words in [
            "pets &amp; co",
            "&lt;cat&gt; taken for dog: 1 of 4 (25.00 %)",
            "dog recognised: 5 of 5 (100.00 %)",
            ">3</text>",
            ">·</text>",
        ] {
            assert!(svg.contains(words), "{words} is not in {svg}");
        }
        assert_eq!((svg.matches("class=\"right\"").count(), svg.matches("class=\"wrong\"").count()), (2, 1));
    }

    #[test]
    fn of_many_classes_only_what_happened_is_drawn() {
        let mut counts = vec![vec![0; 1000]; 1000];
        (0..1000).for_each(|class| counts[class][class] = 1);
        counts[7][9] = 1;
        let labels: Vec<String> = (0..1000).map(|class| format!("a class with a long name, {class}")).collect();
        let svg = svg("many", &metrics(counts), &labels);
        assert_eq!(svg.matches("<g><title>").count(), 1001);
        let named = svg.matches("class=\"label\"").count();
        assert!((100..=220).contains(&named), "{named} labels");
    }

    /// The largest mistake is drawn deepest, a quarter of it half as deep.
    #[test]
    fn small_mistakes_stay_visible() {
        let confusion = Confusion { counts: vec![vec![80, 4, 16], vec![0, 1, 0], vec![0, 0, 1]] };
        let largest = largest_mistake(&confusion);
        let depth = |answer| depth(&confusion, 0, answer, largest);
        assert_eq!((depth(0), depth(2)), (0.8, 1.0));
        assert!((depth(1) - 0.5).abs() < 1e-12);
    }
}
