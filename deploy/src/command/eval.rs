//! `deploy eval`: how good is this file?

use super::text::{self, fields, grouped, percent, table};
use super::{
    Format, ModelArguments, ModelOperand, ModelSource, first, listed, names, open_in, print, print_json, progress_of,
    say, say_notes, test_set, usage,
};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueHint};
use deploy::arguments::whole;
use deploy::backend::{Engine, Runtime};
use deploy::confusion_svg;
use deploy::evaluate::{Evaluation, evaluate};
use deploy::mistakes::{self, Mistake};
use deploy::model::Model;
use deploy::named::Named;
use models::dataset::Dataset;
use models::files;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Evaluates a model file on a test set: accuracy, classes, confusions, calibration, speed
#[derive(Args)]
#[command(
    after_help = "If the folder has splits (train and test, by their usual names), the test split is evaluated. \
    Otherwise all images are, or, if the model was trained on this folder, only the fifth that was kept for the test. \
    Classes are matched by name.\n\n\
    The text shows the results of the first engine, and one line for each if there are several. The speed is that of \
    this one run; deploy bench measures it with care.\n\n\
    Examples:\n  \
    deploy eval                                   the embedded model on MNIST\n  \
    deploy eval pets.onnx --data photos           images, one sub-folder per class\n  \
    deploy eval --runtimes all                    in every available engine\n  \
    deploy eval model.onnx --save-confusion confusion.svg\n  \
    deploy eval pets.onnx --data photos --save-mistakes wrong"
)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments<ModelOperand>,

    #[arg(
        long,
        value_name = "LIST",
        conflicts_with_all = ["backend", "device"],
        value_parser = Named::new::<String>(names(["all"])),
        hide_possible_values = true,
        help = format!("Measure in several engines, one after the other: all that are available, or a list such as \
            tract,ort from {}", Engine::names())
    )]
    runtimes: Option<String>,

    /// Folder with the data set: IDX files, or a sub-folder of images per class [default: the one that scripts/setup
    /// fetched for the model's data set]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    data: Option<PathBuf>,

    /// Use only the first N images [default: all]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=1_000_000_000))]
    images: Option<usize>,

    /// Write the confusion matrix as an image (SVG)
    #[arg(long, value_name = "FILE.svg", value_hint = ValueHint::FilePath)]
    save_confusion: Option<PathBuf>,

    /// Copy the misclassified images into this new folder, as TRUE-CLASS/ANSWER-NAME
    #[arg(long, value_name = "DIR")]
    save_mistakes: Option<PathBuf>,

    /// Text for people, or one JSON document for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The document that `--format json` prints.
#[derive(Serialize)]
struct Document {
    model: String,
    data: String,
    /// Which of the data set's images were evaluated.
    evaluated: String,
    labels: Vec<String>,
    /// The classes that occur in the data.
    classes_found: Vec<String>,
    /// The result in the first runtime.
    #[serde(flatten)]
    evaluation: Evaluation,
    /// Every image that was classified wrongly, most confident answers first.
    mistakes: Vec<Mistake>,
    /// The results in each runtime, if `--runtimes` was given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    runtimes: Vec<InRuntime>,
}

/// The figures that differ between runtimes.
#[derive(Serialize)]
struct InRuntime {
    engine: Engine,
    runtime: Runtime,
    correct: u64,
    accuracy: f64,
    loss: f64,
    seconds: f64,
    images_per_second: f64,
}

impl InRuntime {
    fn new(engine: Engine, evaluation: &Evaluation) -> Self {
        let Evaluation { runtime, seconds, images_per_second, metrics, .. } = evaluation.clone();
        let (correct, accuracy, loss) = (metrics.correct, metrics.accuracy, metrics.loss);
        Self { engine, runtime, correct, accuracy, loss, seconds, images_per_second }
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(path) = &arguments.save_confusion {
        let svg = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("svg"));
        ensure!(svg, usage(format!("--save-confusion {}: expected a name that ends in .svg", path.display())));
    }
    let (engines, notes) =
        arguments.runtimes.as_deref().map(|list| listed("--runtimes", list)).transpose()?.unwrap_or_default();
    say_notes(&notes);
    let mut models = if engines.is_empty() {
        vec![arguments.model.open()?]
    } else {
        let ModelArguments { model, cuda, threads, .. } = &arguments.model;
        cuda.validate(&engines)?;
        open_in(model, &engines, |engine| cuda.on(engine, threads.map(usize::from)))?
    };
    let model = models.first_mut().context("no model was opened")?;
    let (name, labels) = (model.name().to_owned(), model.labels().to_vec());
    let (folder, tests) = test_set(model, arguments.data.as_deref(), arguments.model.model.path().is_none())?;
    if let Some(target) = &arguments.save_mistakes {
        mistakes::check_target(target, &folder)?;
    }
    let classes_found = tests.classes.clone();
    let shown = arguments.images.unwrap_or(tests.set.len());
    let evaluated = tests.line(shown);
    let data = first(tests.set, arguments.images)?;

    let evaluations = measure(models, &data).with_context(|| format!("cannot evaluate on {}", folder.display()))?;
    let runtimes = engines.iter().zip(&evaluations).map(|(&engine, evaluation)| InRuntime::new(engine, evaluation));
    let runtimes = runtimes.collect();
    let evaluation = evaluations.into_iter().next().context("nothing was evaluated")?;
    let mistakes = mistakes::named(&evaluation.mistakes, &labels, |image| data.file(image));
    if let Some(target) = &arguments.save_mistakes {
        say(&mistakes::save_all(&mistakes, &data, target)?);
    }
    let data = folder.display().to_string();
    let document = Document { model: name, data, evaluated, labels, classes_found, evaluation, mistakes, runtimes };
    if let Some(path) = &arguments.save_confusion {
        save_confusion(&document, path)?;
    }
    match arguments.format {
        Format::Text => print(&to_text(&document))?,
        Format::Json => print_json(&document)?,
    };
    Ok(())
}

fn measure(models: Vec<Model>, data: &Dataset) -> Result<Vec<Evaluation>> {
    let bar = progress_of("evaluating", models.len() * data.len());
    let evaluations = models.into_iter().enumerate().map(|(index, mut model)| {
        evaluate(&mut model, data, |done| bar.set_position((index * data.len() + done) as u64))
    });
    let evaluations = evaluations.collect::<Result<Vec<_>>>()?;
    bar.finish_and_clear();
    Ok(evaluations)
}

fn save_confusion(document: &Document, path: &Path) -> Result<()> {
    let Document { model, labels, evaluation, .. } = document;
    // The file name alone: the folder says little below an image.
    let title = Path::new(model).file_name().map_or_else(|| model.clone(), |name| name.to_string_lossy().into_owned());
    let svg = confusion_svg::svg(&title, &evaluation.metrics, labels);
    files::write_whole(path, svg.as_bytes())?;
    say(&format!("confusion matrix: {}", path.display()));
    Ok(())
}

fn to_text(document: &Document) -> String {
    let Document { model, evaluated, labels, classes_found, evaluation, mistakes, runtimes, .. } = document;
    let Evaluation { runtime, seconds, images_per_second, metrics, .. } = evaluation;
    let mut lines = vec![
        ("model", model.clone()),
        ("data", evaluated.clone()),
        ("classes", text::class_list(classes_found)),
        ("runtime", runtime.to_string()),
    ];
    lines.extend(text::headline(metrics));
    lines.push(("speed", format!("{images_per_second:.0} images/s ({seconds:.2} s)")));
    let mut parts = vec![fields(&lines)];
    if runtimes.len() > 1 {
        parts.push(in_runtimes(runtimes));
    }
    parts.extend([
        text::classes(&metrics.classes, labels),
        text::confusion(&metrics.confusion, labels),
        text::mistakes(&metrics.confusion, labels),
        text::calibration(&metrics.calibration),
        text::worst(mistakes),
        text::weakest(metrics, labels),
        text::warnings(metrics, labels),
    ]);
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn in_runtimes(runtimes: &[InRuntime]) -> String {
    let mut rows = vec![["runtime", "right", "accuracy", "loss", "images/s"].map(str::to_owned).to_vec()];
    for InRuntime { engine, runtime, correct, accuracy, loss, images_per_second, .. } in runtimes {
        rows.push(vec![
            format!("{engine}: {runtime}"),
            grouped(*correct),
            percent(Some(*accuracy)),
            format!("{loss:.4}"),
            format!("{images_per_second:.0}"),
        ]);
    }
    table(&rows)
}
