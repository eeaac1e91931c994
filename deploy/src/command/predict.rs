//! `deploy predict`: what is on these pictures?

use super::text::{counted, printable};
use super::{Format, ModelArguments, print, print_json, say};
use anyhow::{Result, bail, ensure};
use clap::Args;
use deploy::backend::Runtime;
use deploy::model::Model;
use models::evaluation::softmax;
use models::picture;
use ndarray::{Array4, ArrayView1, Axis};
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;

/// Answers shown per picture unless the user says otherwise, or fewer if there are not so many classes.
const TOP: usize = 3;

/// Pictures decoded before they are run together.
const CHUNK: usize = 64;

/// Says what is on pictures
#[derive(Args)]
#[command(after_help = "A picture that cannot be used is named and skipped, and the exit code is 1.\n\n\
    Example:\n  deploy predict seven.png photo.jpg --model model.onnx --top-k 2")]
pub struct Arguments {
    /// Pictures: PNG, JPEG, WebP, BMP or PNM, of any size
    #[arg(required = true, value_name = "IMG")]
    images: Vec<PathBuf>,

    #[command(flatten)]
    model: ModelArguments,

    /// Answers to show per picture [default: 3]
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,

    /// For people, or one document for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The document that `--format json` prints.
#[derive(Serialize)]
struct Document {
    model: String,
    runtime: Runtime,
    notes: Vec<String>,
    predictions: Vec<Prediction>,
    errors: Vec<Failure>,
}

/// What is on one picture.
#[derive(Serialize)]
struct Prediction {
    file: String,
    /// The likeliest answer.
    #[serde(flatten)]
    best: Answer,
    /// The likeliest answers, best first.
    top: Vec<Answer>,
}

/// One class and how likely it is.
#[derive(Clone, Serialize)]
struct Answer {
    label: String,
    class: usize,
    probability: f32,
}

/// Why there is no answer for a picture.
#[derive(Serialize)]
struct Failure {
    file: String,
    error: String,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut model = arguments.model.open()?;
    let top = top(arguments.top_k, model.labels().len())?;
    let text = arguments.format == Format::Text;
    if text {
        say(&format!("{}: {}", model.name(), model.runtime()));
    }
    let layout = Layout::of(&arguments.images, &model);
    let (mut predictions, mut errors) = (Vec::new(), Vec::new());
    for files in arguments.images.chunks(CHUNK) {
        let (found, failed) = predict(&mut model, files, top)?;
        for Failure { error, .. } in &failed {
            say(&format!("error: {error}"));
        }
        errors.extend(failed);
        if text && !print(&layout.lines(&found))? {
            break;
        }
        predictions.extend(found);
    }
    let failed = errors.len();
    if !text {
        let (name, notes) = (model.name().to_owned(), model.notes().to_vec());
        print_json(&Document { model: name, runtime: model.runtime().clone(), notes, predictions, errors })?;
    }
    if failed > 0 {
        bail!("{} of {} could not be used", failed, counted(arguments.images.len(), "picture"));
    }
    Ok(())
}

/// How many answers to show.
fn top(asked: Option<usize>, classes: usize) -> Result<usize> {
    if let Some(asked) = asked {
        ensure!((1..=classes).contains(&asked), "--top-k {asked}: expected 1 to {classes}, the model's classes");
    }
    Ok(asked.unwrap_or(TOP.min(classes)))
}

/// Reads the pictures and runs those that can be used, together.
fn predict(model: &mut Model, files: &[PathBuf], top: usize) -> Result<(Vec<Prediction>, Vec<Failure>)> {
    let (mut names, mut inputs, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for path in files {
        let file = path.display().to_string();
        match picture::Reader::default().read(path, model.input()) {
            Ok(input) => {
                names.push(file);
                inputs.push(input);
            }
            Err(error) => failures.push(Failure { file, error: format!("{error:#}") }),
        }
    }
    let input = model.input();
    let mut images = Array4::zeros((inputs.len(), input.channels, input.height, input.width));
    for (mut image, input) in images.outer_iter_mut().zip(&inputs) {
        image.assign(input);
    }
    let probabilities = softmax(model.logits(images.view())?.view());
    let predictions = names.into_iter().zip(probabilities.axis_iter(Axis(0)));
    let predictions = predictions.map(|(file, row)| {
        let top = answers(row, model.labels(), top);
        Prediction { file, best: top[0].clone(), top }
    });
    Ok((predictions.collect(), failures))
}

/// The `top` likeliest classes, best first; of equals the lower number.
fn answers(probabilities: ArrayView1<f32>, labels: &[String], top: usize) -> Vec<Answer> {
    let mut answers: Vec<_> = probabilities
        .iter()
        .zip(labels)
        .enumerate()
        .map(|(class, (&probability, label))| Answer { label: label.clone(), class, probability })
        .collect();
    answers.sort_by(|one, other| other.probability.total_cmp(&one.probability));
    answers.truncate(top);
    answers
}

/// Widths of the columns, the same for all pictures.
struct Layout {
    file: usize,
    label: usize,
}

impl Layout {
    fn of(files: &[PathBuf], model: &Model) -> Self {
        let width = |name: &str| printable(name).chars().count();
        Self {
            file: files.iter().map(|file| width(&file.display().to_string())).max().unwrap_or(0),
            label: model.labels().iter().map(|label| width(label)).max().unwrap_or(0),
        }
    }

    /// One line per picture: file, best answer, and the others in parentheses.
    fn lines(&self, predictions: &[Prediction]) -> String {
        let mut text = String::new();
        for Prediction { file, best, top } in predictions {
            let (file_width, label_width) = (self.file, self.label);
            let (file, label, percent) = (printable(file), printable(&best.label), best.probability * 100.0);
            let _ = write!(text, "{file:file_width$}  {label:label_width$}  {percent:6.2} %");
            let others: Vec<_> = top[1..]
                .iter()
                .map(|answer| format!("{:label_width$} {:5.2} %", printable(&answer.label), answer.probability * 100.0))
                .collect();
            let _ = if others.is_empty() { writeln!(text) } else { writeln!(text, "   ({})", others.join(", ")) };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_likeliest_answers_come_first() {
        let labels = ["a", "b", "c"].map(str::to_owned);
        let top = answers(array![0.2, 0.4, 0.4].view(), &labels, 2);
        assert_eq!((top.len(), top[0].class, top[1].label.as_str()), (2, 1, "c"));
    }

    #[test]
    fn no_more_answers_than_classes() {
        assert_eq!(top(None, 2).unwrap(), 2);
        assert_eq!(top(Some(5), 10).unwrap(), 5);
        for asked in [0, 11] {
            assert!(top(Some(asked), 10).unwrap_err().to_string().contains("expected 1 to 10"));
        }
    }

    #[test]
    fn lines_are_aligned() {
        let answer = |label: &str, probability| Answer { label: label.into(), class: 0, probability };
        let prediction = |file: &str, best: Answer, others: &[Answer]| {
            let top = [std::slice::from_ref(&best), others].concat();
            Prediction { file: file.into(), best, top }
        };
        let layout = Layout { file: 6, label: 3 };
        let text = layout.lines(&[
            prediction("a.png", answer("cat", 1.0), &[]),
            prediction("bb.png", answer("ox", 0.75), &[answer("cat", 0.2), answer("ox", 0.05)]),
        ]);
        assert_eq!(text, "a.png   cat  100.00 %\nbb.png  ox    75.00 %   (cat 20.00 %, ox   5.00 %)\n");
    }
}
