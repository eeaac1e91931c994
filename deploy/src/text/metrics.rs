//! Formats evaluation results as text.

use super::{grouped, printable, table};
use crate::mistakes::Mistake;
use models::evaluation::{ClassFigures, Confusion, Metrics, Reliability, UNEVEN};
use std::fmt::Write as _;

/// Most rows in a table of classes.
const ROWS: usize = 30;

/// Most kinds of mistakes in a list.
const LISTED: usize = 12;

/// Most images in a list.
const IMAGES: usize = 10;

/// Widest confusion matrix in characters, the width of a terminal.
const COLUMNS: usize = 80;

/// Longest label in a table, in characters.
const LONGEST: usize = 24;

/// Formats a share: `99.42 %`, or a dash for `None`.
#[must_use]
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.2} %", share * 100.0))
}

/// Accuracy, balanced accuracy if the classes are uneven, loss and calibration, as lines for [`super::fields`].
#[must_use]
pub fn headline(metrics: &Metrics) -> Vec<(&'static str, String)> {
    let Metrics { images, correct, accuracy, accuracy_interval, loss, calibration, .. } = metrics;
    let interval = accuracy_interval
        .map_or_else(String::new, |(low, high)| format!("; 95 % interval {:.2} to {:.2} %", low * 100.0, high * 100.0));
    let counts = format!("{} of {}", grouped(*correct), grouped(*images as u64));
    let (ece, confidence) = (calibration.ece * 100.0, metrics.confidence() * 100.0);
    let mut lines = vec![("accuracy", format!("{:.2} % ({counts}{interval})", accuracy * 100.0))];
    let sizes = || metrics.classes.iter().map(|class| class.support).filter(|size| *size > 0);
    if let (Some(least), Some(most)) = (sizes().min(), sizes().max())
        && most >= UNEVEN * least
    {
        let mean = metrics.balanced_accuracy * 100.0;
        lines
            .push(("balanced", format!("{mean:.2} %, the mean over the classes, which have {least} to {most} images")));
    }
    lines.push(("loss", format!("{loss:.4}")));
    lines.push(("calibration", format!("ECE {ece:.2} % (mean confidence {confidence:.2} %)")));
    lines
}

/// What is wrong with a classifier, one line each: it is not provably better than one fixed answer, or never gives an
/// answer that it should.
#[must_use]
pub fn warnings(metrics: &Metrics, labels: &[String]) -> String {
    let mut text = String::new();
    if let (Some((class, share)), Some((low, _))) = (metrics.confusion.majority(), metrics.accuracy_interval)
        && low <= share
        && metrics.accuracy < 1.0
        // With one class, every answer but the right one is worse.
        && share < 1.0
    {
        let _ = writeln!(
            text,
            "warning: not provably better than always answering {}, which is right for {} of these images",
            cell(&labels[class]),
            percent(Some(share))
        );
    }
    let is_missing = |class: &ClassFigures| class.support > 0 && class.answered == 0;
    let missing =
        metrics.classes.iter().zip(labels).filter(|(class, _)| is_missing(class)).map(|(_, label)| cell(label));
    let missing: Vec<String> = missing.collect();
    if !missing.is_empty() {
        let more = missing.len().saturating_sub(LISTED);
        let others = if more > 0 { format!(" and {more} more") } else { String::new() };
        let _ = writeln!(text, "warning: never answered: {}{others}", missing[..missing.len() - more].join(", "));
    }
    text
}

/// A table of each class's precision, recall and F1. With many classes, only those with the lowest F1.
#[must_use]
pub fn classes(figures: &[ClassFigures], labels: &[String]) -> String {
    let mut shown: Vec<_> = figures.iter().zip(labels).collect();
    let left_out = shown.len().saturating_sub(ROWS);
    if left_out > 0 {
        // Classes without an F1 come last: they do not occur.
        shown.sort_by(|(one, _), (other, _)| one.f1.unwrap_or(2.0).total_cmp(&other.f1.unwrap_or(2.0)));
        shown.truncate(ROWS);
    }
    let mut rows = vec![["class", "images", "precision", "recall", "F1"].map(str::to_owned).to_vec()];
    for (&ClassFigures { support, precision, recall, f1, .. }, label) in shown {
        rows.push(vec![cell(label), grouped(support), percent(precision), percent(recall), percent(f1)]);
    }
    let mut text = table(&rows);
    if left_out > 0 {
        let _ = writeln!(text, "The {ROWS} lowest of {} classes; all are in --format json.", labels.len());
    }
    text
}

/// The number of classes and the first of them: `4: bird, cat, dog, ship`.
#[must_use]
pub fn class_list(labels: &[String]) -> String {
    let mut text = format!("{}: ", labels.len());
    for (index, label) in labels.iter().enumerate() {
        let next = cell(label);
        // Leave room on the terminal's line for the words before it, and for the end.
        if text.chars().count() + next.chars().count() > COLUMNS - 20 {
            text.push('…');
            break;
        }
        let comma = if index + 1 < labels.len() { ", " } else { "" };
        text = text + &next + comma;
    }
    text
}

/// A label for a table, cut if it is too long.
fn cell(label: &str) -> String {
    let label = printable(label);
    if label.chars().count() <= LONGEST {
        return label;
    }
    label.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// Formats a confusion matrix: a row per true class, a column per answer, and a dot for 0. If the names do not fit on a
/// terminal, the columns are numbered. If that does not fit either, the text says where to find the matrix.
#[must_use]
pub fn confusion(confusion: &Confusion, labels: &[String]) -> String {
    // A column takes at least three characters. With thousands of classes, the text would have millions of cells.
    if 3 * labels.len() <= COLUMNS {
        let named = matrix(confusion, |_, label| cell(label), |_, label| cell(label), labels);
        if is_narrow(&named) {
            return named;
        }
        let numbered =
            matrix(confusion, |class, label| format!("{class} {}", cell(label)), |class, _| class.to_string(), labels);
        if is_narrow(&numbered) {
            return numbered;
        }
    }
    format!(
        "The confusion matrix of {} classes is too wide for text: see the report of a run\n\
         (report.html), deploy eval --save-confusion, or --format json.\n",
        labels.len()
    )
}

fn is_narrow(text: &str) -> bool {
    text.lines().all(|line| line.chars().count() <= COLUMNS)
}

fn matrix(
    confusion: &Confusion,
    row: impl Fn(usize, &str) -> String,
    column: impl Fn(usize, &str) -> String,
    labels: &[String],
) -> String {
    let names = labels.iter().enumerate();
    let heading = std::iter::once("true \\ answer".to_owned()).chain(names.map(|(class, label)| column(class, label)));
    let mut rows = vec![heading.collect::<Vec<_>>()];
    for (class, (label, counts)) in labels.iter().zip(&confusion.counts).enumerate() {
        let cells = counts.iter().map(|&count| if count == 0 { "·".to_owned() } else { count.to_string() });
        rows.push(std::iter::once(row(class, label)).chain(cells).collect());
    }
    table(&rows)
}

/// The most confident mistakes, two lines each: what was taken for what, and the image.
#[must_use]
pub fn worst(mistakes: &[Mistake]) -> String {
    let mut text = String::new();
    if mistakes.is_empty() {
        return text;
    }
    text.push_str("worst mistakes\n");
    let percent = |probability: f32| percent(Some(f64::from(probability)));
    for mistake in mistakes.iter().take(IMAGES) {
        let second = match (&mistake.second, mistake.second_probability) {
            (Some(second), Some(probability)) => format!("; then {}, {}", cell(second), percent(probability)),
            _ => String::new(),
        };
        let (truth, answer) = (cell(&mistake.truth), cell(&mistake.answer));
        let _ = writeln!(text, "{truth} taken for {answer} ({}{second})", percent(mistake.probability));
        let _ = writeln!(text, "  {}", printable(&mistake.image()));
    }
    if mistakes.len() > IMAGES {
        let _ = writeln!(
            text,
            "The {IMAGES} most confident of {} mistakes; all are in --format json.",
            grouped(mistakes.len() as u64)
        );
    }
    text
}

/// The class with the lowest recall, in one line.
#[must_use]
pub fn weakest(metrics: &Metrics, labels: &[String]) -> String {
    let figures = metrics.classes.iter().enumerate();
    let recall = figures.filter_map(|(class, figures)| Some((class, figures.recall?, figures.support)));
    // Of equal recalls, take the class with more images.
    let weakest = recall.min_by(|one, other| one.1.total_cmp(&other.1).then(other.2.cmp(&one.2)));
    let Some((class, recall, support)) = weakest else { return String::new() };
    if recall >= 1.0 {
        return "weakest class: none, every image was recognised\n".to_owned();
    }
    let confused = metrics.confusion.mistakes();
    let confused = confused.iter().find(|confused| confused.truth == class);
    let answer = confused
        .map_or_else(String::new, |confused| format!(" (most often taken for {})", cell(&labels[confused.answer])));
    let line = format!(
        "weakest class: {}, {:.1} % of {}",
        cell(&labels[class]),
        recall * 100.0,
        super::counted(usize::try_from(support).unwrap_or(usize::MAX), "image")
    );
    let gap = if line.chars().count() + answer.chars().count() > COLUMNS { "\n " } else { "" };
    format!("{line}{gap}{answer}\n")
}

/// Which classes were taken for which, most frequent first, with their share of the class.
#[must_use]
pub fn mistakes(confusion: &Confusion, labels: &[String]) -> String {
    let mistakes = confusion.mistakes();
    if mistakes.is_empty() {
        return "No mistakes.\n".to_owned();
    }
    let name = |class: usize| labels.get(class).map_or_else(|| class.to_string(), |label| cell(label));
    let mut rows = vec![["most frequent mistakes", "images", "of the class"].map(str::to_owned).to_vec()];
    for mistake in mistakes.iter().take(LISTED) {
        let (truth, answer) = (mistake.truth, mistake.answer);
        let share = percent(Some(confusion.share(truth, answer)));
        rows.push(vec![format!("{} taken for {}", name(truth), name(answer)), grouped(mistake.count), share]);
    }
    let mut text = table(&rows);
    if mistakes.len() > LISTED {
        let _ = writeln!(text, "The {LISTED} most frequent of {} kinds.", mistakes.len());
    }
    text
}

/// The reliability diagram as a table: for each bin, the mean confidence and the share of right answers.
#[must_use]
pub fn calibration(calibration: &Reliability) -> String {
    let mut rows = vec![["confidence", "answers", "mean", "right"].map(str::to_owned).to_vec()];
    for bin in calibration.bins.iter().filter(|bin| bin.count > 0) {
        let range = format!("{:.1} to {:.1} %", bin.above * 100.0, bin.up_to * 100.0);
        rows.push(vec![range, grouped(bin.count), percent(bin.confidence), percent(bin.accuracy)]);
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::evaluation::Tally;
    use ndarray::Array2;

    fn labels(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_confusion_matrix_has_a_row_per_truth_and_a_column_per_answer() {
        let counts = Confusion { counts: vec![vec![980, 0], vec![3, 1132]] };
        let text = confusion(&counts, &labels(&["zero", "one"]));
        assert_eq!(text, "true \\ answer  zero   one\nzero            980     ·\none               3  1132\n");
    }

    fn metrics(truths_and_answers: &[(usize, usize)], classes: usize) -> Metrics {
        let mut tally = Tally::new(classes);
        for &(truth, answer) in truths_and_answers {
            let logits = Array2::from_shape_fn((1, classes), |(_, class)| if class == answer { 5.0 } else { 0.0 });
            tally.add(logits.view(), &[truth]);
        }
        tally.metrics()
    }

    #[test]
    fn a_useless_classifier_is_called_one() {
        let names = labels(&["cat", "dog", "ox"]);
        // Always the same answer.
        let constant: Vec<_> = (0..60).map(|image| (image % 3, 0)).collect();
        let text = warnings(&metrics(&constant, 3), &names);
        assert!(text.contains("always answering cat, which is right for 33.33 % of these images"), "{text}");
        assert!(text.contains("warning: never answered: dog, ox\n"), "{text}");
        // 99 %, but no better than one answer.
        let rare: Vec<_> = (0..1000).map(|image| (usize::from(image < 10), 0)).collect();
        let metrics = self::metrics(&rare, 2);
        let text = warnings(&metrics, &names[..2]);
        assert!(text.contains("right for 99.00 %") && text.contains("never answered: dog"), "{text}");
        assert!(headline(&metrics)[1].1.starts_with("50.00 %, the mean over the classes, which have 10 to 990"));
        let good: Vec<_> = (0..60).map(|image| (image % 3, image % 3)).collect();
        assert_eq!(warnings(&self::metrics(&good, 3), &names), "");
        assert_eq!(warnings(&self::metrics(&[(1, 1)], 3), &names), "", "one image, answered correctly");
        let one_class: Vec<_> = (0..60).map(|image| (0, usize::from(image == 7))).collect();
        assert_eq!(warnings(&self::metrics(&one_class, 3), &names), "");
    }

    #[test]
    fn mistakes_are_listed_by_how_often_they_were_made() {
        let counts = Confusion { counts: vec![vec![9, 1, 0], vec![0, 2, 2], vec![0, 0, 5]] };
        let text = mistakes(&counts, &labels(&["a", "b", "c"]));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].starts_with("b taken for c") && lines[1].ends_with("2       50.00 %"), "{text}");
        assert!(lines[2].starts_with("a taken for b") && lines[2].ends_with("1       10.00 %"), "{text}");
        assert_eq!(mistakes(&Confusion { counts: vec![vec![1]] }, &labels(&["a"])), "No mistakes.\n");
    }

    #[test]
    fn of_many_classes_the_lowest_are_shown() {
        let mut counts = Confusion::new(40);
        for class in 0..40 {
            counts.counts[class][class] = 100;
        }
        counts.counts[35][36] = 50;
        let names: Vec<String> = (0..40).map(|class| format!("class-{class}")).collect();
        let text = classes(&counts.classes(), &names);
        assert!(text.lines().nth(1).unwrap().starts_with("class-35 "), "{text}");
        assert!(text.lines().nth(2).unwrap().starts_with("class-36 "), "{text}");
        assert!(text.ends_with("The 30 lowest of 40 classes; all are in --format json.\n"), "{text}");
        assert!(confusion(&counts, &names).contains("40 classes is too wide"));
    }

    #[test]
    fn a_matrix_with_long_names_has_numbers_above_its_columns() {
        let mut counts = Confusion::new(10);
        counts.counts[3][4] = 1234;
        let names: Vec<String> = (0..10).map(|class| format!("a very long name of a class, {class}")).collect();
        let text = confusion(&counts, &names);
        assert!(is_narrow(&text), "{text}");
        assert!(
            text.starts_with("true \\ answer")
                && text.lines().nth(4).unwrap().starts_with("3 a very long name of a c…"),
            "{text}"
        );
    }

    #[test]
    fn the_weakest_class_is_named_with_what_it_is_taken_for() {
        let weakest = |counts: Vec<Vec<u64>>| {
            let confusion = Confusion { counts };
            let metrics = models::evaluation::Tally::new(3).metrics();
            let metrics = Metrics { classes: confusion.classes(), confusion, ..metrics };
            weakest(&metrics, &labels(&["bird", "plane", "ship"]))
        };
        assert_eq!(
            weakest(vec![vec![25, 12, 4], vec![1, 9, 0], vec![0, 0, 0]]),
            "weakest class: bird, 61.0 % of 41 images (most often taken for plane)\n"
        );
        assert_eq!(
            weakest(vec![vec![5, 0, 0], vec![0, 9, 0], vec![0, 0, 1]]),
            "weakest class: none, every image was recognised\n"
        );
        assert_eq!(weakest(vec![vec![0; 3]; 3]), "");
    }

    #[test]
    fn the_first_classes_are_listed_on_one_line() {
        assert_eq!(class_list(&labels(&["cat", "dog"])), "2: cat, dog");
        let many = class_list(&vec!["a class".to_owned(); 100]);
        assert!(
            many.starts_with("100: a class, a class, ") && many.ends_with(", …") && many.chars().count() <= 64,
            "{many}"
        );
    }

    #[test]
    fn the_worst_mistakes_are_listed_with_their_images() {
        let mistake = |file: Option<&str>| Mistake {
            index: 7,
            file: file.map(str::to_owned),
            truth: "cat".into(),
            answer: "dog".into(),
            probability: 0.875,
            second: Some("cat".into()),
            second_probability: Some(0.125),
        };
        let text = worst(&[mistake(Some("photos/a.png")), mistake(None)]);
        let of = "cat taken for dog (87.50 %; then cat, 12.50 %)\n";
        assert_eq!(text, format!("worst mistakes\n{of}  photos/a.png\n{of}  image 7\n"));
        assert!(
            worst(&vec![mistake(None); 11])
                .ends_with("The 10 most confident of 11 mistakes; all are in --format json.\n")
        );
        assert_eq!(worst(&[]), "");
    }
}
