//! Summary of a network: shapes, parameters and multiply-adds per layer, and the cost with standard convolutions.

use deploy::text::{counted, grouped, table};
use models::architecture::{Architecture, Convolution, Form, Layer, Op};
use models::cost::{self, Cost};
use serde::Serialize;
use std::fmt::Write;

/// A network's layers and totals.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// The network's architecture.
    pub architecture: Architecture,
    /// One row per layer.
    pub layers: Vec<Row>,
    /// Total cost of all layers.
    pub total: Cost,
    /// Total cost if standard convolutions replaced the depthwise separable pairs.
    pub standard: Cost,
}

/// One layer.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The layer with its shapes.
    #[serde(flatten)]
    pub layer: Layer,
    /// Its cost.
    #[serde(flatten)]
    pub cost: Cost,
    /// Savings of a depthwise separable pair, given on its pointwise layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<Pair>,
}

/// A depthwise separable pair compared with the standard convolution it replaces.
#[derive(Debug, Serialize)]
pub struct Pair {
    /// Multiply-adds of the standard convolution.
    pub standard_multiply_adds: u64,
    /// Multiply-adds of the pair divided by those of the standard convolution: 1/N + 1/D² for N output channels and a
    /// D×D kernel (paper, section 3.1).
    pub ratio: f64,
}

impl Summary {
    /// Computes the summary of a network.
    #[must_use]
    pub fn new(architecture: &Architecture) -> Self {
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
            total: cost::count(&layers),
            standard: cost::count(&cost::with_standard_convolutions(&layers)),
            architecture: architecture.clone(),
        }
    }

    /// The summary as text for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Architecture { channels, classes, .. } = self.architecture;
        let mut text = format!("{}, {}, {classes} classes\n\n", self.architecture, counted(channels, "input channel"));
        let line = |cells: [&str; 6]| cells.map(str::to_owned).to_vec();
        let input = self.layers.first().map(|row| row.layer.input.to_string()).unwrap_or_default();
        let mut rows = vec![
            line(["layer", "kernel", "output", "parameters", "multiply-adds", "ratio"]),
            line(["input", "", &input, "", "", ""]),
        ];
        for Row { layer, cost, pair } in &self.layers {
            rows.push(vec![
                layer.name.clone(),
                kernel(layer.op),
                layer.output.to_string(),
                grouped(cost.parameters),
                grouped(cost.multiply_adds),
                pair.as_ref().map(|pair| format!("{:.3}", pair.ratio)).unwrap_or_default(),
            ]);
        }
        let ratio = self.total.multiply_adds as f64 / self.standard.multiply_adds as f64;
        rows.push(vec![
            "total".to_owned(),
            String::new(),
            String::new(),
            grouped(self.total.parameters),
            grouped(self.total.multiply_adds),
            format!("{ratio:.3}"),
        ]);
        text.push_str(&table(&rows));
        let _ = writeln!(
            text,
            "\nkernel      height×width, then /stride\n\
             parameters  with batch norm's scale and shift\n\
             ratio       multiply-adds of a depthwise and pointwise pair, divided by those\n\
             \u{20}           of the standard convolution that it replaces: 1/N + 1/D² for N\n\
             \u{20}           output channels and a D×D kernel. With standard convolutions, the\n\
             \u{20}           network would need {} multiply-adds.",
            grouped(self.standard.multiply_adds)
        );
        text
    }
}

/// A layer's kernel and stride: `3×3 /2`.
fn kernel(op: Op) -> String {
    match op {
        Op::Convolution(Convolution { kernel, stride, .. }) => format!("{kernel}×{kernel} /{stride}"),
        Op::GlobalAveragePool | Op::Linear => String::new(),
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
    use models::architecture::Kind;

    #[test]
    fn the_table_says_what_the_paper_prints() {
        let summary = Summary::new(&Architecture::imagenet(1.0, 224));
        let text = summary.to_text();
        assert!(text.contains("568,740,352") && text.contains("4,231,976"), "{text}");
        assert!(text.contains("4,867,293,184"), "{text}");
        assert_eq!(summary.layers.len(), 29);
    }

    #[test]
    fn the_table_is_aligned_and_fits_a_terminal() {
        let largest = Architecture { channels: 64, classes: 100_000, ..Architecture::imagenet(1.0, 4096) };
        let smallest = Architecture { channels: 1, classes: 2, stem_stride: 1, ..Architecture::imagenet(0.1, 8) };
        let tutorial = Architecture { kind: Kind::Tutorial, ..Architecture::imagenet(1.0, 224) };
        for architecture in [largest, smallest, tutorial, Architecture::imagenet(1.0, 224)] {
            let text = Summary::new(&architecture).to_text();
            let width = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(width <= 80, "{width}\n{text}");
            // The multiply-adds column is right-aligned with its title.
            let title = text.lines().find(|line| line.starts_with("layer")).unwrap();
            let end = title.chars().count() - "  ratio".len();
            let costs = text.lines().skip_while(|line| !line.starts_with("input")).skip(1);
            for line in costs.take_while(|line| !line.is_empty()) {
                let digits: Vec<char> = line.chars().collect();
                assert!(digits[end - 1].is_ascii_digit() && digits.get(end).is_none_or(|&next| next == ' '), "{text}");
            }
        }
    }
}
