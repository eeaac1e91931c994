//! The header of the page: what was trained and the main results.

use super::RunReport;
use super::figures::percent;
use super::html::escape;
use crate::progress::duration;
use crate::recipe::ExportedEpoch;
use deploy::text::{counted, grouped};
use models::cost;
use std::fmt::Write;

/// A key figure, shown in a large font.
struct Tile {
    name: &'static str,
    value: String,
    notes: Vec<String>,
}

/// The header of the page.
pub(super) fn header(report: &RunReport) -> String {
    let data = &report.metadata.data;
    let mut html = format!(
        "<header><p class=\"eyebrow\">training report</p><h1>{}</h1><p class=\"lead\">{} on {}</p>\n<dl class=\"tiles\">",
        escape(&report.name),
        escape(&report.metadata.architecture.to_string()),
        escape(&data.name)
    );
    for Tile { name, value, notes } in tiles(report) {
        let _ = write!(html, "<div><dt>{name}</dt><dd class=\"value\">{}</dd>", escape(&value));
        for note in notes {
            let _ = write!(html, "<dd>{}</dd>", escape(&note));
        }
        html.push_str("</div>\n");
    }
    html.push_str("</dl></header>\n");
    html
}

fn tiles(report: &RunReport) -> Vec<Tile> {
    let figures = &report.figures;
    let wrong = usize::try_from(figures.metrics.wrong()).unwrap_or(usize::MAX);
    let mut accuracy = vec![format!("{} in {}", counted(wrong, "mistake"), grouped(figures.metrics.images as u64))];
    if let Some((low, high)) = figures.metrics.accuracy_interval {
        accuracy.push(format!("95 % interval {:.2} to {}", low * 100.0, percent(Some(high))));
    }
    let recipe = &report.metadata.recipe;
    let shipped = report.shipped();
    let mut epoch = vec![format!("of {} ({})", report.history.len(), report.ending())];
    epoch.push(match report.metadata.progress.best {
        Some(best) => format!("best on held-out images: {}", percent(Some(best.accuracy))),
        None if recipe.exported_epoch == ExportedEpoch::Last => "the last one, as the recipe says".to_owned(),
        None => "the last one: none held out".to_owned(),
    });
    let mut calibration = vec![
        format!("mean confidence {}", percent(Some(figures.metrics.confidence()))),
        format!("test loss {:.4}", figures.metrics.loss),
    ];
    if let Some(calibrated) = &figures.calibrated {
        calibration.push(format!("as exported {}", percent(Some(calibrated.metrics.calibration.ece))));
    }
    let total = cost::count(&report.metadata.architecture.layers());
    let mut tiles = vec![
        Tile { name: "Test accuracy", value: percent(Some(figures.metrics.accuracy)), notes: accuracy },
        Tile { name: "Best epoch", value: shipped.to_string(), notes: epoch },
        Tile { name: "Calibration error", value: percent(Some(figures.metrics.calibration.ece)), notes: calibration },
        Tile {
            name: "Parameters",
            value: grouped(total.parameters),
            notes: vec![format!("{} multiply-adds per image", grouped(total.multiply_adds))],
        },
    ];
    let seconds: f64 = report.seconds.iter().sum();
    if seconds > 0.0 && report.seconds.iter().all(|&seconds| seconds > 0.0) {
        let images =
            (recipe.steps_per_epoch(report.metadata.data.fitted) * recipe.batch_size * report.history.len()) as f64;
        let speed = format!("{} images per second", grouped((images / seconds).round() as u64));
        tiles.push(Tile {
            name: "Training time",
            value: duration(seconds),
            notes: vec![speed, report.metadata.trained_with.clone()],
        });
    }
    tiles
}
