//! The table of a network's layers: shapes, parameters, multiply-adds, and what standard convolutions would cost.

use deploy::text::grouped;
use models::architecture::{Architecture, Convolution, Form, Layer, Op};
use models::cost::{self, Cost};
use serde::Serialize;
use std::fmt::Write;

/// A network's layers and totals.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// The network.
    pub architecture: Architecture,
    /// One row per layer.
    pub layers: Vec<Row>,
    /// All layers together.
    pub total: Cost,
    /// The same body with standard convolutions.
    pub standard: Cost,
}

/// One layer.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The layer with its shapes.
    #[serde(flatten)]
    pub layer: Layer,
    /// What it costs.
    #[serde(flatten)]
    pub cost: Cost,
    /// On the pointwise layer of a depthwise separable pair: what the pair saves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<Pair>,
}

/// A depthwise separable pair against the standard convolution it stands for.
#[derive(Debug, Serialize)]
pub struct Pair {
    /// Multiply-adds of the standard convolution.
    pub standard_multiply_adds: u64,
    /// The pair's share of them: 1/N + 1/D², N output channels and a D×D kernel (paper, section 3.1).
    pub ratio: f64,
}

impl Summary {
    /// Counts a network.
    #[must_use]
    pub fn of(architecture: &Architecture) -> Self {
        let layers = architecture.layers();
        let pair = |index: usize| {
            let depthwise = &layers[index.checked_sub(1)?];
            let standard = cost::of_layer(&cost::standard_equivalent(depthwise, &layers[index])?);
            let own = cost::of_layer(depthwise) + cost::of_layer(&layers[index]);
            Some(Pair {
                standard_multiply_adds: standard.multiply_adds,
                ratio: own.multiply_adds as f64 / standard.multiply_adds as f64,
            })
        };
        let row = |(index, layer): (usize, &Layer)| Row {
            layer: layer.clone(),
            cost: cost::of_layer(layer),
            pair: pair(index),
        };
        Self {
            layers: layers.iter().enumerate().map(row).collect(),
            total: cost::of(&layers),
            standard: cost::of(&cost::with_standard_convolutions(&layers)),
            architecture: architecture.clone(),
        }
    }

    /// The table for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Architecture { channels, classes, .. } = self.architecture;
        let mut text = format!("{}, {channels} input channel(s), {classes} classes\n\n", self.architecture);
        let _ = writeln!(
            text,
            "{:<18} {:<20} {:<12} {:<12} {:>11} {:>14} {:>15} {:>7}",
            "layer", "operation", "input", "output", "parameters", "multiply-adds", "as standard", "ratio"
        );
        for Row { layer, cost, pair } in &self.layers {
            let (standard, ratio) = match pair {
                Some(pair) => (grouped(pair.standard_multiply_adds), format!("{:.3}", pair.ratio)),
                None => (String::new(), String::new()),
            };
            let line = format!(
                "{:<18} {:<20} {:<12} {:<12} {:>11} {:>14} {standard:>15} {ratio:>7}",
                layer.name,
                operation(layer.op),
                layer.input,
                layer.output,
                grouped(cost.parameters),
                grouped(cost.multiply_adds),
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let ratio = self.total.multiply_adds as f64 / self.standard.multiply_adds as f64;
        let _ = writeln!(
            text,
            "{:<65} {:>11} {:>14} {:>15} {ratio:>7.3}",
            "total",
            grouped(self.total.parameters),
            grouped(self.total.multiply_adds),
            grouped(self.standard.multiply_adds),
        );
        let _ = writeln!(
            text,
            "\nParameters count batch norm's scale and shift. 'As standard' is what one standard convolution in place of a\ndepthwise and pointwise pair would cost; the ratio is 1/N + 1/D² for N output channels and a D×D kernel."
        );
        text
    }
}

/// What a layer computes, in words.
pub(crate) fn operation(op: Op) -> String {
    match op {
        Op::Convolution(Convolution { form, kernel, stride, .. }) => {
            let form = match form {
                Form::Standard => "conv",
                Form::Depthwise => "depthwise",
                Form::Pointwise => "pointwise",
            };
            format!("{form} {kernel}×{kernel} stride {stride}")
        }
        Op::GlobalAveragePool => "average pool".to_owned(),
        Op::Linear => "linear".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_the_paper_prints() {
        let summary = Summary::of(&Architecture::imagenet(1.0, 224));
        let text = summary.to_text();
        assert!(text.contains("568,740,352") && text.contains("4,231,976"), "{text}");
        assert!(text.contains("4,867,293,184"), "{text}");
        assert_eq!(summary.layers.len(), 29);
    }
}
