//! The setup of the run: the network's layers, the recipe, the machine and the versions.

use super::RunReport;
use super::html::{escape, facts, scrolling, table};
use crate::summary::{self, Row, Summary};
use anyhow::Result;
use deploy::text::{counted, grouped};

/// The sections of the page.
pub(super) fn sections(report: &RunReport) -> Result<String> {
    let recipe = report.metadata.recipe.to_toml()?;
    Ok(format!(
        "<section><h2>The network</h2><div class=\"card\">{}</div></section>\n\
         <section><h2>Recipe and machine</h2><div class=\"pair\">\n<div class=\"card\"><h3>Recipe</h3>{}</div>\n\
         <div class=\"card\"><h3>Data and machine</h3>{}{}</div></div></section>\n",
        scrolling("The network's layers", &layers(&Summary::new(&report.metadata.architecture))),
        scrolling("The recipe as TOML", &format!("<pre>{}</pre>", escape(recipe.trim_end()))),
        facts("The run", &run_facts(report)),
        facts("The machine that made this page", &report.machine.facts())
    ))
}

fn run_facts(report: &RunReport) -> Vec<(&'static str, String)> {
    let data = &report.metadata.data;
    let images = |count: usize| counted(count, "image");
    let numbers = |numbers: &[f32]| numbers.iter().map(f32::to_string).collect::<Vec<_>>().join(" ");
    let input = &data.input;
    let mut facts = vec![
        ("trained on", data.name.clone()),
        ("images", format!("{}×{}×{} (channels, height, width)", input.channels, input.height, input.width)),
        ("training images", images(data.fitted)),
        ("held out", images(data.held_out)),
        ("tested on", report.figures.evaluated.clone()),
        ("mean, std", format!("{}, {}", numbers(&data.preprocessing.mean), numbers(&data.preprocessing.std))),
        ("trained with", report.metadata.trained_with.clone()),
        ("measured with", report.figures.measured_with.clone()),
    ];
    if data.held_out == 0 {
        facts.retain(|(name, _)| *name != "held out");
    }
    facts
}

fn layers(summary: &Summary) -> String {
    let mut rows = Vec::new();
    for Row { layer, cost, pair } in &summary.layers {
        rows.push(vec![
            layer.name.clone(),
            summary::operation(layer.op),
            layer.input.to_string(),
            layer.output.to_string(),
            grouped(cost.parameters),
            grouped(cost.multiply_adds),
            pair.as_ref().map_or_else(String::new, |pair| format!("{:.3}", pair.ratio)),
        ]);
    }
    let ratio = summary.total.multiply_adds as f64 / summary.standard.multiply_adds as f64;
    let total = [
        "total",
        "",
        "",
        "",
        &grouped(summary.total.parameters),
        &grouped(summary.total.multiply_adds),
        &format!("{ratio:.3}"),
    ];
    rows.push(total.map(str::to_owned).to_vec());
    let caption = "Shapes are channels×height×width. The ratio is the multiply-adds of a depthwise and pointwise pair, divided by those of the standard convolution that it replaces (arXiv 1704.04861, section 3.1).";
    let heading = ["layer", "operation", "input", "output", "parameters", "multiply-adds", "ratio"];
    table("numbers layers", caption, &heading, &rows)
}
