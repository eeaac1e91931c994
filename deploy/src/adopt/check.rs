//! Compares an adopted file with the original, which gets images that were prepared on another path.

use super::facts::{Color, Layout};
use super::plan::Plan;
use crate::agreement::{self, Agreement, Tolerance};
use crate::backend::{Backend, Engine, ImageBatch, ModelFile, Options, ort};
use crate::interface::{Interface, Scores};
use crate::model::Model;
use anyhow::{Context, Result, bail, ensure};
use models::card::GraphInput;
use models::dataset;
use models::evaluation::softmax;
use models::onnx;
use models::onnx::proto::ModelProto;
use models::onnx::proto::tensor_proto::DataType;
use ndarray::{Array2, Array4, ArrayView4, Axis};

/// Most images of the check.
pub const IMAGES: usize = 100;

/// Most bytes of random images. Of very large images there are [`FEWEST`].
const BYTES: usize = 64 << 20;

/// Fewest random images.
const FEWEST: usize = 4;

/// Largest difference of a probability, and of a score as a share of the largest, that is still rounding.
const ROUNDING: f32 = 1e-3;

/// The same for graphs that compute in 8 or 16 bits.
const COARSE: f32 = 5e-2;

/// The original, as its own program would run it, with one float output `[N, classes]`.
pub(super) struct Reference<'a> {
    pub model: &'a ModelProto,
    pub plan: &'a Plan,
    pub output: &'a str,
    pub classes: usize,
    pub scores: Scores,
}

/// What an engine made of the adopted file.
#[derive(Debug)]
pub enum Outcome {
    /// It ran, and this is how far its probabilities agree with the original's.
    Ran(Agreement),
    /// It cannot run the file, for this reason.
    CannotRun(String),
}

/// Images without a subject: blocks of random colours, from coarse to fine.
#[must_use]
pub fn blocks([channels, height, width]: [usize; 3]) -> Array4<u8> {
    let count = (BYTES / (channels * height * width).max(1)).clamp(FEWEST, IMAGES);
    let noise = dataset::noise((count, channels, height, width), 1);
    Array4::from_shape_fn(noise.dim(), |(image, channel, row, column)| {
        let side = 1 << (image % 7);
        noise[[image, channel, row / side, column / side]]
    })
}

impl Reference<'_> {
    /// The original's scores in ONNX Runtime.
    pub(super) fn run(&self, images: ArrayView4<u8>) -> Result<Array2<f32>> {
        let plan = self.plan;
        let [channels, height, width] = plan.image();
        let interface = Interface {
            input: plan.input(),
            takes: GraphInput::Normalised,
            image: [channels, height, width],
            batch: plan.batch,
            // A batch of one is the only one that every graph takes.
            at_once: plan.batch.unwrap_or(1),
            output: self.output.to_owned(),
            scores: self.scores,
            reason: String::new(),
            origin: None,
            doubt: None,
            classes: self.classes,
            notes: Vec::new(),
        };
        let bytes = onnx::encode(self.model);
        let source = ModelFile { name: "the original", bytes: &bytes, model: self.model, interface: &interface };
        let mut session = ort::Session::on_cpu(source, &Options::default(), false)?;
        let values = &plan.values;
        let value = |value: u8, channel: usize| {
            ((f64::from(value) * values.scale - values.mean[channel]) / values.std[channel]) as f32
        };
        let mut scores = Array2::zeros((0, self.classes));
        // All images at once may be too large for the memory as floats.
        for images in images.axis_chunks_iter(Axis(0), interface.at_once) {
            let rows = if plan.element == DataType::Uint8 {
                session.run(ImageBatch::Bytes(arranged(images, plan, |value, _| value).view()))
            } else {
                session.run(ImageBatch::Normalised(arranged(images, plan, value).view()))
            };
            scores.append(Axis(0), rows.context("the original does not run in ONNX Runtime")?.view())?;
        }
        Ok(scores)
    }

    /// Runs the adopted file in every engine of this machine and compares. Fails if ONNX Runtime cannot run it, or if an
    /// engine gives other answers than the original.
    pub(super) fn compare(
        &self,
        name: &str,
        bytes: &[u8],
        images: ArrayView4<u8>,
        progress: &dyn Fn(),
    ) -> Result<Vec<(Engine, Outcome)>> {
        let expected = self.scores.into_logits(self.run(images)?);
        let rounding = if is_coarse(self.model) { COARSE } else { ROUNDING };
        let (engines, _) = Engine::available(Engine::all());
        let mut outcomes = Vec::new();
        for engine in engines {
            progress();
            let found =
                Model::from_bytes(name, bytes, &engine.options(None)).and_then(|mut model| model.logits(images));
            let found = match found {
                Ok(found) => found,
                Err(error) if engine.registration.name == "ort" => return Err(error),
                Err(error) => {
                    outcomes.push((engine, Outcome::CannotRun(format!("{error:#}"))));
                    continue;
                }
            };
            let tolerance = Tolerance { largest: rounding, mean: f64::from(rounding) };
            let agreement =
                agreement::compare(softmax(expected.view()).view(), softmax(found.view()).view(), tolerance)?;
            let apart = if self.scores == Scores::Logits { apart(&expected, &found) } else { 0.0 };
            if agreement.beyond_tie > 0 || agreement.max_difference > rounding || apart > rounding {
                bail!(
                    "in {engine} the adopted file gives other answers than the original in ONNX Runtime: probabilities \
                     differ by up to {:.1e}, scores by up to {apart:.1e} of the largest, {} of {} images get another \
                     class. If the file is quantized to 8 bits, quantize it with reduce_range=True and without Softmax. \
                     Otherwise this is a mistake of the engine or of this program: please report it",
                    agreement.max_difference,
                    agreement.beyond_tie,
                    agreement.images
                );
            }
            outcomes.push((engine, Outcome::Ran(agreement)));
        }
        ensure!(!outcomes.is_empty(), "no engine is available: see deploy backends");
        Ok(outcomes)
    }
}

/// The largest difference of two scores, as a share of the largest score.
fn apart(expected: &Array2<f32>, found: &Array2<f32>) -> f32 {
    let largest = expected.iter().fold(f32::MIN_POSITIVE, |largest, score| largest.max(score.abs()));
    let differences = expected.iter().zip(found).map(|(expected, found)| (expected - found).abs());
    differences.fold(0.0, f32::max) / largest
}

/// Whether a graph computes in 8 or 16 bits.
fn is_coarse(model: &ModelProto) -> bool {
    let graph = model.graph.iter();
    let half = |element: i32| [DataType::Float16 as i32, DataType::Bfloat16 as i32].contains(&element);
    is_quantized(model) || graph.flat_map(|graph| &graph.initializer).any(|tensor| half(tensor.data_type))
}

/// Whether a graph quantizes its activations. Weights that are only stored as integers do not count.
pub(super) fn is_quantized(model: &ModelProto) -> bool {
    model.graph.iter().flat_map(|graph| &graph.node).any(|node| {
        node.op_type.contains("Quantize") || node.op_type.starts_with("QLinear") || node.op_type.contains("Integer")
    })
}

/// Images `[N, C, H, W]` in RGB order as the network takes them: in its layout and order of channels. `value` turns a
/// value of this channel of the network into the network's.
fn arranged<T: Clone>(images: ArrayView4<u8>, plan: &Plan, value: impl Fn(u8, usize) -> T) -> Array4<T> {
    let (count, channels, height, width) = images.dim();
    let read = |image: usize, channel: usize, row: usize, column: usize| {
        let from = if plan.color == Color::Bgr { 2 - channel } else { channel };
        value(images[[image, from, row, column]], channel)
    };
    match plan.layout {
        Layout::Nchw => Array4::from_shape_fn((count, channels, height, width), |(n, c, y, x)| read(n, c, y, x)),
        Layout::Nhwc => Array4::from_shape_fn((count, height, width, channels), |(n, y, x, c)| read(n, c, y, x)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::onnx::proto::{GraphProto, NodeProto};

    #[test]
    fn large_images_are_fewer() {
        assert_eq!(blocks([3, 8, 8]).dim().0, IMAGES);
        assert_eq!(blocks([3, 1024, 1024]).dim().0, 21);
    }

    #[test]
    fn quantized_graphs_are_recognised() {
        let model = |kind: &str| {
            let node = NodeProto { op_type: kind.into(), ..NodeProto::default() };
            ModelProto {
                graph: Some(GraphProto { node: vec![node], ..GraphProto::default() }),
                ..ModelProto::default()
            }
        };
        for kind in ["QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger"] {
            assert!(is_quantized(&model(kind)), "{kind}");
        }
        for kind in ["Conv", "Gemm", "DequantizeLinear"] {
            assert!(!is_quantized(&model(kind)), "{kind}");
        }
    }
}
