//! Prints lines for people.

use super::Printer;
use crate::command::text::{print, printable};
use anyhow::Result;
use deploy::predict::{Answer, ChosenReading, Prediction, PredictionResult, UNKNOWN};
use models::card::Polarity;
use models::digit::Place;
use std::fmt::Write;

/// Aligned columns. Their widths come from the names, so they are known before the first result.
pub struct Text {
    file: usize,
    /// Width of the best answer's column; the answer may be [`UNKNOWN`].
    best: usize,
    /// Width of the other answers' labels.
    label: usize,
}

impl Text {
    /// Computes the widths from the images' names and the labels. `unknown` tells whether answers may be [`UNKNOWN`].
    pub fn new(names: impl Iterator<Item = String>, labels: &[String], unknown: bool) -> Self {
        let width = |name: &str| printable(name).chars().count();
        let label = labels.iter().map(|label| width(label)).max().unwrap_or(0);
        let best = if unknown { label.max(width(UNKNOWN)) } else { label };
        Self { file: names.map(|name| width(&name)).max().unwrap_or(0), best, label }
    }

    /// File, best answer, and the other answers in parentheses. If the best answer is unknown, all answers are in
    /// parentheses. If the network's input was saved, its file and where in the image it comes from. If the answer was
    /// explained, the file of the explanation.
    fn line(&self, prediction: &Prediction) -> String {
        let Prediction { file, label, class, probability, top, reading, input, explanation } = prediction;
        let (file_width, best_width, label_width) = (self.file, self.best, self.label);
        let (file, label) = (printable(file), printable(label));
        let percent = class.map_or_else(String::new, |_| format!("{:.2} %", probability * 100.0));
        let mut line = format!("{file:file_width$}  {label:best_width$}  {percent:>8}");
        let others = top.iter().skip(usize::from(class.is_some()));
        let other = |Answer { label, probability, .. }: &Answer| {
            format!("{:label_width$} {:5.2} %", printable(label), probability * 100.0)
        };
        let others: Vec<_> = others.map(other).collect();
        if !others.is_empty() {
            let _ = write!(line, "   ({})", others.join(", "));
        }
        if let Some(input) = input {
            let _ = write!(line, "   {}", printable(input));
            if let Some(ChosenReading { number, of, place }) = reading {
                let Place { polarity, left, top, width, height } = place;
                let ink = if *polarity == Polarity::DarkOnLight { "dark" } else { "light" };
                let _ = write!(line, ": {ink} ink, {width}x{height} px at {left},{top}; reading {number} of {of}");
            }
        }
        if let Some(explanation) = explanation {
            let _ = write!(line, "   {}", printable(explanation));
        }
        line + "\n"
    }
}

impl Printer for Text {
    /// Skips failures, which are reported on standard error only.
    fn add(&mut self, outcomes: Vec<PredictionResult>) -> Result<bool> {
        print(&outcomes.iter().flatten().map(|prediction| self.line(prediction)).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(file: &str, top: &[(&str, f32)]) -> Prediction {
        let answer = |&(label, probability): &(&str, f32)| Answer { label: label.into(), class: 0, probability };
        let top: Vec<_> = top.iter().map(answer).collect();
        let Answer { label, class, probability } = top[0].clone();
        let (file, class) = (file.into(), Some(class));
        Prediction { file, label, class, probability, top, reading: None, input: None, explanation: None }
    }

    #[test]
    fn lines_are_aligned() {
        let names = ["a.png", "bb.png"].map(str::to_owned);
        let text = Text::new(names.into_iter(), &["ox".into(), "cat".into()], false);
        assert_eq!(text.line(&prediction("a.png", &[("cat", 1.0)])), "a.png   cat  100.00 %\n");
        let line = text.line(&prediction("bb.png", &[("ox", 0.75), ("cat", 0.2), ("ox", 0.05)]));
        assert_eq!(line, "bb.png  ox    75.00 %   (cat 20.00 %, ox   5.00 %)\n");
    }

    #[test]
    fn an_unknown_image_shows_its_best_guess() {
        let text = Text::new(["a.png".to_owned()].into_iter(), &["ox".into()], true);
        let likely = prediction("a.png", &[("ox", 0.5)]);
        let unknown = Prediction { label: UNKNOWN.into(), class: None, ..likely.clone() };
        assert_eq!(text.line(&unknown), "a.png  unknown             (ox 50.00 %)\n");
        assert_eq!(text.line(&likely), "a.png  ox        50.00 %\n");
    }

    #[test]
    fn a_saved_input_is_named_with_its_place() {
        let text = Text::new(["a.png".to_owned()].into_iter(), &["ox".into()], false);
        let place = Place { polarity: Polarity::DarkOnLight, left: 7, top: 8, width: 20, height: 30 };
        let reading = Some(ChosenReading { number: 2, of: 6, place });
        let saved = Prediction { reading, input: Some("seen/a.png".into()), ..prediction("a.png", &[("ox", 1.0)]) };
        let expected = "a.png  ox  100.00 %   seen/a.png: dark ink, 20x30 px at 7,8; reading 2 of 6\n";
        assert_eq!(text.line(&saved), expected);
    }
}
