//! Compares the answers of several engines to the same images with those of one engine, the reference.

use super::images::{ImageSet, Name};
use super::{Arguments, Format, Ran, counted, open_in, print, print_json, progress, say, text};
use anyhow::{Context, Result, ensure};
use deploy::agreement::{Agreement, Tolerance, tolerance};
use deploy::backend::Engine;
use deploy::model::Model;
use deploy::parity::answers::{Apart, Comparison, Difference, OtherAnswer, logits};
use deploy::parity::histogram::Histogram;
use models::evaluation::argmax;
use models::{files, image_file};
use ndarray::{Array2, Axis};
use serde::Serialize;
use std::path::Path;

/// Images listed by default.
const WORST: u16 = 5;

/// The document that `--format json` prints.
#[derive(Serialize)]
pub(super) struct Document {
    pub model: String,
    pub data: String,
    pub reference: Ran,
    /// Whether all engines agree with the reference.
    pub within_tolerance: bool,
    pub compared: Vec<Compared>,
}

/// An engine, compared with the reference.
#[derive(Serialize)]
pub(super) struct Compared {
    #[serde(flatten)]
    pub ran: Ran,
    pub within_tolerance: bool,
    #[serde(flatten)]
    pub agreement: Agreement,
    pub probabilities: Difference,
    pub histogram: Histogram,
    pub worst: Vec<Named<Apart>>,
    pub other_answers: Vec<Named<OtherAnswer>>,
}

/// A result for one image, with the image's name.
#[derive(Serialize)]
pub(super) struct Named<T> {
    #[serde(flatten)]
    pub name: Name,
    #[serde(flatten)]
    pub found: T,
}

impl Document {
    /// The engine that differs most from the reference.
    pub fn furthest(&self) -> Option<&Compared> {
        self.compared
            .iter()
            .max_by(|one, other| one.agreement.max_difference.total_cmp(&other.agreement.max_difference))
    }
}

pub(super) fn run(arguments: &Arguments, reference: Engine, compared: &[Engine]) -> Result<()> {
    let engines: Vec<_> = std::iter::once(reference).chain(compared.iter().copied()).collect();
    let mut models = open_in(&arguments.model, &engines, |engine| engine.options(None))?;
    let (first, others) = models.split_first_mut().context("no model was opened")?;
    let images = ImageSet::read(&arguments.images, first, None)?;
    let bar = progress(engines.len() * images.images.len_of(Axis(0)));
    let run = |model: &mut Model| logits(model, images.images.view(), |more| bar.inc(more as u64));
    let precision = first.card().map(|card| card.precision).unwrap_or_default();
    let tolerance = arguments.tolerance.map_or_else(|| tolerance(precision), Tolerance::new);
    let worst = usize::from(arguments.worst.unwrap_or(WORST));
    let expected = run(first)?;
    let compared = others.iter_mut().zip(compared).map(|(model, &engine)| {
        let comparison = Comparison::new(expected.view(), run(model)?.view(), tolerance, worst)
            .with_context(|| format!("{engine} and {reference} cannot be compared"))?;
        Ok(outcome(engine, model, &images, comparison))
    });
    let compared = compared.collect::<Result<Vec<_>>>()?;
    bar.finish_and_clear();

    let document = Document {
        model: first.name().to_owned(),
        data: images.source.clone(),
        reference: Ran { engine: reference, runtime: first.runtime().clone() },
        within_tolerance: compared.iter().all(|one| one.within_tolerance),
        compared,
    };
    if let (Some(folder), Some(furthest)) = (&arguments.save_worst, document.furthest()) {
        save(&furthest.worst, &images, folder)?;
    }
    match arguments.format {
        Format::Text => print(&text::to_text(&document, &images, first.labels()))?,
        Format::Json => print_json(&document)?,
    };
    warn_of_one_answer(&expected);
    let problems: Vec<_> =
        document.compared.iter().filter(|one| !one.within_tolerance).map(|one| disagreement(&document, one)).collect();
    ensure!(problems.is_empty(), "{}. See where with --layers", problems.join("\n"));
    Ok(())
}

fn outcome(engine: Engine, model: &Model, images: &ImageSet, comparison: Comparison) -> Compared {
    let Comparison { agreement, probabilities, histogram, worst, other_answers } = comparison;
    let worst = worst.into_iter().map(|found| Named { name: images.name(found.image), found });
    let other = other_answers.into_iter().map(|found| Named { name: images.name(found.image), found });
    Compared {
        ran: Ran { engine, runtime: model.runtime().clone() },
        within_tolerance: agreement.holds(),
        agreement,
        probabilities,
        histogram,
        worst: worst.collect(),
        other_answers: other.collect(),
    }
}

/// Describes how an engine differs from the reference.
fn disagreement(document: &Document, one: &Compared) -> String {
    let Agreement { max_difference, mean_difference, beyond_tie, tolerance, .. } = &one.agreement;
    format!(
        "{} and {} disagree on {}: logits differ by up to {max_difference:.1e}, {mean_difference:.1e} on average \
         (limits {:.0e} and {:.0e}), {} beyond a near tie",
        document.reference.engine,
        one.ran.engine,
        document.model,
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
fn save(worst: &[Named<Apart>], images: &ImageSet, folder: &Path) -> Result<()> {
    for (rank, Named { name, found }) in worst.iter().enumerate() {
        let image = images.images.index_axis(Axis(0), found.image);
        let (rank, number, slug) = (rank + 1, found.image, name.slug());
        let file = format!("{rank:02}_image-{number}_{slug}_difference-{:.1e}.png", found.max_difference);
        let png = image_file::png(image).with_context(|| format!("image {number} cannot be drawn"))?;
        files::write_whole(&folder.join(file), &png)?;
    }
    say(&format!("{} written to {}", counted(worst.len(), "image"), folder.display()));
    Ok(())
}
