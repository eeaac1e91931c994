//! What a classifier's answers are worth, as text.

use super::{counted, grouped, printable, table};
use models::evaluation::{Calibration, ClassFigures, Confusion, Metrics};
use std::fmt::Write as _;

/// Most classes whose confusion matrix is still readable as text, and most rows of a table of classes.
const READABLE: usize = 30;

/// Most kinds of mistakes that are listed.
const LISTED: usize = 12;

/// `99.42 %`, or a dash for a share of nothing.
#[must_use]
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.2} %", share * 100.0))
}

/// The figures in three lines, for [`super::fields`]: accuracy, loss and calibration.
#[must_use]
pub fn headline(metrics: &Metrics) -> [(&'static str, String); 3] {
    let Metrics { images, correct, accuracy, accuracy_interval, loss, calibration, .. } = metrics;
    let interval = accuracy_interval
        .map_or_else(String::new, |(low, high)| format!("; 95 % interval {:.2} to {:.2} %", low * 100.0, high * 100.0));
    let counts = format!("{} of {}", grouped(*correct), grouped(*images as u64));
    let (ece, confidence) = (calibration.ece * 100.0, metrics.confidence() * 100.0);
    [
        ("accuracy", format!("{:.2} % ({counts}{interval})", accuracy * 100.0)),
        ("loss", format!("{loss:.4}")),
        ("calibration", format!("ECE {ece:.2} % (mean confidence {confidence:.2} %)")),
    ]
}

/// Precision, recall and F1 of each class; of many classes only those with the lowest F1.
#[must_use]
pub fn classes(figures: &[ClassFigures], labels: &[String]) -> String {
    let mut shown: Vec<_> = figures.iter().zip(labels).collect();
    let left_out = shown.len().saturating_sub(READABLE);
    if left_out > 0 {
        // A class that does not occur says nothing.
        shown.sort_by(|(one, _), (other, _)| one.f1.unwrap_or(2.0).total_cmp(&other.f1.unwrap_or(2.0)));
        shown.truncate(READABLE);
    }
    let mut rows = vec![["class", "images", "precision", "recall", "F1"].map(str::to_owned).to_vec()];
    for (&ClassFigures { support, precision, recall, f1, .. }, label) in shown {
        rows.push(vec![printable(label), grouped(support), percent(precision), percent(recall), percent(f1)]);
    }
    let mut text = table(&rows);
    if left_out > 0 {
        let _ = writeln!(text, "The {READABLE} lowest of {} classes; all are in --format json.", labels.len());
    }
    text
}

/// The class of which the smallest share was recognised, in one line.
#[must_use]
pub fn weakest(metrics: &Metrics, labels: &[String]) -> String {
    let figures = metrics.classes.iter().zip(labels);
    let recall = figures.filter_map(|(figures, label)| Some((label, figures.recall?, figures.support)));
    // Of equals the one with more images.
    let weakest = recall.min_by(|one, other| one.1.total_cmp(&other.1).then(other.2.cmp(&one.2)));
    let Some((label, recall, support)) = weakest else { return String::new() };
    if recall >= 1.0 {
        return "weakest class: none, every image was recognised\n".to_owned();
    }
    let images = counted(usize::try_from(support).unwrap_or(usize::MAX), "image");
    format!("weakest class: {}, {:.1} % of {images}\n", printable(label), recall * 100.0)
}

/// A confusion matrix: a row per true class, a column per answer; a dot where nothing was confused. Of many classes it
/// is only said where to find it.
#[must_use]
pub fn confusion(confusion: &Confusion, labels: &[String]) -> String {
    if labels.len() > READABLE {
        return format!("The confusion matrix of {} classes is in --format json.\n", labels.len());
    }
    let heading = std::iter::once("true \\ answer".to_owned()).chain(labels.iter().map(|label| printable(label)));
    let mut rows = vec![heading.collect::<Vec<_>>()];
    for (label, counts) in labels.iter().zip(&confusion.counts) {
        let cells = counts.iter().map(|&count| if count == 0 { "·".to_owned() } else { count.to_string() });
        rows.push(std::iter::once(printable(label)).chain(cells).collect());
    }
    table(&rows)
}

/// What was taken for what, the most frequent first, with its share of the class.
#[must_use]
pub fn mistakes(confusion: &Confusion, labels: &[String]) -> String {
    let mistakes = confusion.mistakes();
    if mistakes.is_empty() {
        return "No mistakes.\n".to_owned();
    }
    let name = |class: usize| labels.get(class).map_or_else(|| class.to_string(), |label| printable(label));
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

/// The reliability diagram in numbers: how sure the answers of each bin were, and how many of them were right.
#[must_use]
pub fn calibration(calibration: &Calibration) -> String {
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

    fn labels(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_confusion_matrix_has_a_row_per_truth_and_a_column_per_answer() {
        let counts = Confusion { counts: vec![vec![980, 0], vec![3, 1132]] };
        let text = confusion(&counts, &labels(&["zero", "one"]));
        assert_eq!(text, "true \\ answer  zero   one\nzero            980     ·\none               3  1132\n");
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
    fn the_weakest_class_has_the_lowest_share_of_recognised_images() {
        let names = labels(&["cat", "d\u{1b}og", "never"]);
        let say = |counts: [[u64; 3]; 3]| {
            let mut metrics = models::evaluation::Tally::new(3).metrics();
            metrics.classes = Confusion { counts: counts.map(Vec::from).to_vec() }.classes();
            weakest(&metrics, &names)
        };
        // Precision does not count: 3 of 4 dogs are right, 9 of 10 cats.
        assert_eq!(say([[9, 1, 0], [1, 3, 0], [0, 0, 0]]), "weakest class: d\u{fffd}og, 75.0 % of 4 images\n");
        assert_eq!(say([[0, 1, 0], [0, 3, 0], [0, 0, 0]]), "weakest class: cat, 0.0 % of 1 image\n");
        assert_eq!(say([[9, 0, 0], [0, 3, 0], [0, 0, 0]]), "weakest class: none, every image was recognised\n");
        assert_eq!(say([[0; 3]; 3]), "");
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
        assert!(confusion(&counts, &names).contains("40 classes"));
    }
}
