//! Draws a confusion matrix: a row for each true class, a column for each answer.
//!
//! [`svg`] makes a stand-alone SVG file, which browsers and LaTeX toolchains show at any size. The report of a run
//! embeds the same [`Drawing`] in its page, with the page's own colours. Both share [`depth`], [`words`] and the
//! [`legend`].

use crate::text::{counted, escape, grouped, percent};
use models::evaluation::{Confusion, Metrics};
use std::fmt::Write;

/// Up to this many classes, cells show their counts.
pub const NUMBERED: usize = 20;

/// Up to this many classes, cells are large enough for every class to be labelled. With more, cells shrink.
const LABELLED: usize = 400;

/// Above this many classes, labels are on all four sides, since two sides may be scrolled out of sight.
const ALL_SIDES: usize = 40;

/// Classes between two guide lines, in a matrix without counts.
const GUIDE: usize = 5;

/// Longest label that is written in full, in characters.
const LONGEST: usize = 24;

/// Width of a character of a label, in font sizes: slightly more than the mean of a sans-serif font.
const CHARACTER: f64 = 0.58;

/// Width of an East Asian character, in font sizes.
const WIDE_CHARACTER: f64 = 1.05;

/// Margin around the drawing, in pixels.
const MARGIN: f64 = 20.0;

/// Height of the heading and legend of a stand-alone drawing, in pixels.
const HEADING: f64 = 96.0;

/// Width of one value of the legend, in pixels.
const SWATCH: f64 = 62.0;

const STYLE: &str = "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif;\
    fill:#5b6672;font-variant-numeric:tabular-nums}.title{font-size:17px;font-weight:600;fill:#1b2129}\
    .axis{font-size:13px}.label,.number{fill:#1b2129}.number{text-anchor:middle}.none{fill:#a3adb8}.legend{font-size:12px}\
    .ground{fill:#f6f7f9}.guide{stroke:#d5dae0}.right{fill:#1f66c1}.wrong{fill:#c8401d}";

/// Colour depth of a cell, 0 to 1. For right answers it is the recall. For mistakes it is their share of the class
/// relative to `largest` ([`largest_mistake`]), on a square-root scale that keeps small ones visible.
#[must_use]
pub fn depth(confusion: &Confusion, truth: usize, answer: usize, largest: f64) -> f64 {
    let share = confusion.share(truth, answer);
    if truth == answer { share } else { (share / largest).sqrt() }
}

/// The largest share of a class that was taken for one other class; always above 0.
#[must_use]
pub fn largest_mistake(confusion: &Confusion) -> f64 {
    let shares = confusion.mistakes().into_iter().map(|confused| confusion.share(confused.truth, confused.answer));
    shares.fold(f64::MIN_POSITIVE, f64::max)
}

/// Describes a cell in words.
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

/// A colour of the legend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Swatch {
    /// Colour depth, 0 to 1, as [`depth`] returns it.
    pub depth: f64,
    /// The share of a class's images that it stands for, 0 to 1.
    pub share: f64,
}

/// The colours of right answers and of mistakes. The second list is empty if there are no mistakes.
#[must_use]
pub fn legend(confusion: &Confusion) -> [Vec<Swatch>; 2] {
    let depths = [0.25, 0.5, 0.75, 1.0];
    let largest = largest_mistake(confusion);
    let right = depths.map(|depth| Swatch { depth, share: depth });
    let wrong = depths.map(|depth| Swatch { depth, share: largest * depth * depth });
    [right.to_vec(), if confusion.mistakes().is_empty() { Vec::new() } else { wrong.to_vec() }]
}

/// Opacity of a cell's or a swatch's colour, 0 to 1. Colours stay light under black numbers.
fn opacity(is_right: bool, numbered: bool, depth: f64) -> f64 {
    match (is_right, numbered) {
        (true, true) => depth * 0.3,
        (true, false) => depth * 0.7,
        (false, true) => 0.08 + depth * 0.62,
        (false, false) => 0.15 + depth * 0.85,
    }
}

/// Sizes in pixels, derived from the number of classes and the length of their labels.
struct Layout {
    /// Side of a cell.
    cell: f64,
    /// Size of the labels' font.
    font: f64,
    /// Whether column labels are rotated because they are wider than a cell.
    upright: bool,
    /// Every `step`-th label is written: 1 unless there are too many classes.
    step: usize,
    left: f64,
    top: f64,
    /// Space for labels on the right and at the bottom; 0 if there are none.
    after: f64,
}

impl Layout {
    fn new(labels: &[String]) -> Self {
        let classes = labels.len().max(1);
        let (cell, font) = match classes {
            ..=NUMBERED => (46.0, 14.0),
            21..=60 => (20.0, 13.0),
            61..=LABELLED => (14.0, 11.5),
            _ => ((LABELLED as f64 * 14.0 / classes as f64).max(1.0), 11.5),
        };
        let step = (font / cell).ceil().max(1.0) as usize;
        let widths = labels.iter().step_by(step).map(|label| width(&shortened(label)) * font);
        let length = widths.fold(0.0, f64::max);
        let upright = length > cell - 4.0;
        let above = if upright { length } else { font };
        let after = if classes > ALL_SIDES { length + 12.0 } else { 0.0 };
        Self { cell, font, upright, step, left: 22.0 + length + 8.0, top: 24.0 + above + 8.0, after }
    }
}

/// Estimated width of a text, in font sizes.
fn width(text: &str) -> f64 {
    text.chars()
        .map(|char| {
            if ('\u{1100}'..).contains(&char) && !('\u{1e00}'..'\u{2e80}').contains(&char) {
                WIDE_CHARACTER
            } else {
                CHARACTER
            }
        })
        .sum()
}

/// A matrix and its labels as SVG elements. Their classes are `title`, `axis`, `label`, `ground`, `guide`, `number`,
/// `none`, `right` and `wrong`; the surrounding file sets their colours.
pub struct Drawing {
    /// Width in pixels.
    pub width: f64,
    /// Height in pixels.
    pub height: f64,
    /// The elements.
    pub elements: String,
}

impl Drawing {
    /// Draws which class was taken for which.
    #[must_use]
    pub fn new(confusion: &Confusion, labels: &[String]) -> Self {
        let layout = Layout::new(labels);
        let &Layout { cell, font, left, top, after, .. } = &layout;
        let side = cell * labels.len() as f64;
        let mut elements = format!(
            "<text class=\"axis\" x=\"{left:.1}\" y=\"13\">answer</text>\n\
             <text class=\"axis\" text-anchor=\"end\" transform=\"translate(13 {top:.1}) rotate(-90)\">true class</text>\n\
             <g style=\"font-size:{font:.1}px\">\n",
        );
        write_labels(&mut elements, &layout, labels);
        write_cells(&mut elements, &layout, confusion, labels);
        elements.push_str("</g>\n");
        Self { width: left + side + after, height: top + side + after, elements }
    }
}

/// Draws a model's confusion matrix as a stand-alone SVG file. `title` names the model.
#[must_use]
pub fn svg(title: &str, metrics: &Metrics, labels: &[String]) -> String {
    let Drawing { width, height, elements } = Drawing::new(&metrics.confusion, labels);
    let heading = format!("{title}: {} of {}", percent(Some(metrics.accuracy)), counted(metrics.images, "image"));
    let legend_width = 8.0 * SWATCH + 230.0;
    let width = width.max(self::width(&heading) * 17.0).max(legend_width) + 2.0 * MARGIN;
    let height = height + HEADING + 2.0 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n\
         <title>Confusion matrix of {heading}</title>\n<style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"{:.0}\">{heading}</text>\n",
        MARGIN + 14.0,
        heading = escape(&heading),
    );
    write_legend(&mut svg, &metrics.confusion, labels.len() <= NUMBERED);
    let _ = writeln!(svg, "<g transform=\"translate({MARGIN} {:.0})\">\n{elements}</g>\n</svg>", MARGIN + HEADING);
    svg
}

fn write_legend(svg: &mut String, confusion: &Confusion, numbered: bool) {
    let mut x = MARGIN;
    for (swatches, class, name) in legend(confusion)
        .iter()
        .zip(["right", "wrong"])
        .zip(["recognised", "taken for another class"])
        .map(|((s, c), n)| (s, c, n))
    {
        if swatches.is_empty() {
            continue;
        }
        let _ = writeln!(
            svg,
            "<text class=\"legend\" x=\"{x:.0}\" y=\"{:.0}\">{name}: share of the class</text>",
            MARGIN + 44.0
        );
        for (index, swatch) in swatches.iter().enumerate() {
            let x = x + index as f64 * SWATCH;
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" fill-opacity=\"{:.2}\" x=\"{x:.0}\" y=\"{:.0}\" width=\"{:.0}\" height=\"12\"/><text class=\"legend\" x=\"{x:.0}\" y=\"{:.0}\">{}</text>",
                opacity(class == "right", numbered, swatch.depth),
                MARGIN + 52.0,
                SWATCH - 2.0,
                MARGIN + 78.0,
                percent(Some(swatch.share))
            );
        }
        x += swatches.len() as f64 * SWATCH + 40.0;
    }
}

fn write_labels(svg: &mut String, layout: &Layout, labels: &[String]) {
    let &Layout { cell, upright, step, left, top, after, .. } = layout;
    let side = cell * labels.len() as f64;
    for (class, label) in labels.iter().enumerate().step_by(step) {
        let middle = (class as f64 + 0.5) * cell;
        let label = escape(&shortened(label));
        let mut row = |x: f64, anchor: &str| {
            let y = top + middle;
            let _ = writeln!(
                svg,
                "<text class=\"label\" x=\"{x:.1}\" y=\"{y:.1}\" dy=\".35em\" text-anchor=\"{anchor}\">{label}</text>"
            );
        };
        row(left - 8.0, "end");
        if after > 0.0 {
            row(left + side + 8.0, "start");
        }
        let mut column = |y: f64, anchor: &str| {
            let x = left + middle;
            let _ = if upright {
                writeln!(
                    svg,
                    "<text class=\"label\" dy=\".35em\" text-anchor=\"{anchor}\" transform=\"translate({x:.1} {y:.1}) rotate(-90)\">{label}</text>"
                )
            } else {
                writeln!(svg, "<text class=\"label\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>")
            };
        };
        column(top - 8.0, "start");
        if after > 0.0 {
            column(top + side + 8.0, "end");
        }
    }
}

fn write_cells(svg: &mut String, layout: &Layout, confusion: &Confusion, labels: &[String]) {
    let &Layout { cell, left, top, .. } = layout;
    let (side, largest, numbered) = (cell * labels.len() as f64, largest_mistake(confusion), labels.len() <= NUMBERED);
    let _ = writeln!(
        svg,
        "<rect class=\"ground\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{side:.1}\" height=\"{side:.1}\"/>"
    );
    if !numbered && cell >= 4.0 {
        for class in (GUIDE..labels.len()).step_by(GUIDE) {
            let at = class as f64 * cell;
            let (x, y, right, bottom) = (left + at, top + at, left + side, top + side);
            let _ =
                writeln!(svg, "<path class=\"guide\" d=\"M{x:.1} {top:.1}V{bottom:.1}M{left:.1} {y:.1}H{right:.1}\"/>");
        }
    }
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
            let class = if truth == answer { "right" } else { "wrong" };
            let _ = write!(
                svg,
                "<g><title>{}</title><rect class=\"{class}\" fill-opacity=\"{:.2}\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{:.2}\" rx=\"{gap}\"/>",
                escape(&words(confusion, labels, truth, answer)),
                opacity(truth == answer, numbered, depth),
                x + gap / 2.0,
                y + gap / 2.0,
                cell - gap,
                cell - gap
            );
            if numbered {
                let digits = count.to_string().len();
                // Shrink numbers with many digits to fit the cell.
                let size = 14.0_f64.min((cell - 6.0) / (digits as f64 * CHARACTER));
                let _ = write!(svg, "<text class=\"number\" font-size=\"{size:.1}\" {middle}>{count}</text>");
            }
            svg.push_str("</g>\n");
        }
    }
}

/// Cuts a label to at most [`LONGEST`] characters.
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
        // Two cells and four swatches of right answers; one cell and four swatches of mistakes.
        assert_eq!((svg.matches("class=\"right\"").count(), svg.matches("class=\"wrong\"").count()), (6, 5));
        assert!(svg.contains("recognised: share of the class") && svg.contains(">25.00 %</text>"), "{svg}");
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
        // Every third label, on each of the four sides.
        assert_eq!(named, 4 * 334);
    }

    #[test]
    fn every_one_of_two_hundred_classes_is_labelled_at_a_legible_size() {
        for classes in [21, 40, 60, 200, 400] {
            let labels: Vec<String> = (0..classes).map(|class| format!("klasse 猫 <{class}>")).collect();
            let layout = Layout::new(&labels);
            assert!(layout.step == 1 && layout.font >= 11.0 && layout.cell >= layout.font, "{classes}");
            let drawing = Drawing::new(&Confusion::new(classes), &labels);
            let sides = if classes > ALL_SIDES { 4 } else { 2 };
            assert_eq!(drawing.elements.matches("class=\"label\"").count(), sides * classes);
            assert!(drawing.elements.contains("klasse 猫 &lt;20&gt;"));
        }
    }

    #[test]
    fn the_legend_says_which_share_a_colour_stands_for() {
        let confusion = Confusion { counts: vec![vec![80, 4, 16], vec![0, 1, 0], vec![0, 0, 1]] };
        let [right, wrong] = legend(&confusion);
        assert_eq!((right[3].share, wrong[3].share), (1.0, 0.16));
        // The cell of 4 % is half as deep as the cell of 16 %.
        assert_eq!((wrong[1].depth, wrong[1].share), (0.5, 0.04));
        assert!(legend(&Confusion { counts: vec![vec![1]] })[1].is_empty());
    }

    /// The largest mistake is drawn deepest; one a quarter as large is drawn half as deep.
    #[test]
    fn small_mistakes_stay_visible() {
        let confusion = Confusion { counts: vec![vec![80, 4, 16], vec![0, 1, 0], vec![0, 0, 1]] };
        let largest = largest_mistake(&confusion);
        let depth = |answer| depth(&confusion, 0, answer, largest);
        assert_eq!((depth(0), depth(2)), (0.8, 1.0));
        assert!((depth(1) - 0.5).abs() < 1e-12);
    }
}
