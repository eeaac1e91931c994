//! A small hand-written classifier as an ONNX file, and its answers computed by hand.
//!
//! Each test file compiles this module and uses its own part of it.
#![allow(dead_code, missing_docs, clippy::needless_pass_by_value)]

use deploy::backend::Engine;
use models::architecture::{Architecture, Kind};
use models::card::{Content, GraphInput, Input, ModelCard, Precision, Preprocessing, TRAINED, Training};
use models::onnx::proto::attribute_proto::AttributeType;
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use models::onnx::proto::type_proto::{Tensor, Value};
use models::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto,
};
use ndarray::{Array2, Array4, ArrayView4};
use prost::Message;
use std::path::{Path, PathBuf};

pub const HEIGHT: usize = 8;
pub const WIDTH: usize = 6;
pub const LABELS: [&str; 3] = ["ant", "bee", "cat"];
/// Channels of the one convolution, 3×3 with padding 1.
const HIDDEN: usize = 4;

/// Kernels for horizontal edges, vertical edges and points, and an irregular one.
fn kernel(out: usize, channel: usize, y: usize, x: usize) -> f32 {
    const KERNELS: [[[f32; 3]; 3]; HIDDEN] = [
        [[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]],
        [[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]],
        [[-1.0, -1.0, -1.0], [-1.0, 8.0, -1.0], [-1.0, -1.0, -1.0]],
        [[0.3, -0.2, 0.5], [-0.7, 0.11, 0.13], [0.17, 0.19, -0.23]],
    ];
    KERNELS[out][y][x] / (channel + 1) as f32
}

fn weight(hidden: usize, class: usize) -> f32 {
    const WEIGHTS: [[f32; 3]; HIDDEN] = [[5.0, -3.0, -1.0], [-3.0, 5.0, -1.0], [-1.0, -1.0, 1.5], [0.3, 0.7, -0.2]];
    WEIGHTS[hidden][class]
}

/// Images that differ from each other, `[N, C, 8, 6]`: horizontal stripes, vertical stripes and points, in turn.
pub fn images(count: usize, channels: usize) -> Array4<u8> {
    Array4::from_shape_fn((count, channels, HEIGHT, WIDTH), |(n, c, y, x)| {
        let light = match n % 3 {
            0 => y % 4 < 2,
            1 => x % 4 < 2,
            _ => (x + n) % 3 == 0 && y % 3 == 0,
        };
        let noise = (n * 37 + c * 11 + y * 29 + x * 17) % 50;
        (noise + if light { 100 + n % 100 } else { 0 }) as u8
    })
}

/// The logits of images, computed by hand: scaling, convolution, clipping at 0, mean, matrix product.
pub fn logits_by_hand(images: ArrayView4<u8>) -> Array2<f32> {
    let (count, channels, height, width) = images.dim();
    let mut logits = Array2::zeros((count, LABELS.len()));
    for n in 0..count {
        for hidden in 0..HIDDEN {
            let mut mean = 0.0;
            for y in 0..height {
                for x in 0..width {
                    let mut sum = 0.0;
                    for channel in 0..channels {
                        for (dy, dx) in (0..3).flat_map(|dy| (0..3).map(move |dx| (dy, dx))) {
                            let (row, column) = ((y + dy).wrapping_sub(1), (x + dx).wrapping_sub(1));
                            if row < height && column < width {
                                let pixel = f32::from(images[[n, channel, row, column]]) / 255.0;
                                sum += pixel * kernel(hidden, channel, dy, dx);
                            }
                        }
                    }
                    mean += f32::max(sum, 0.0);
                }
            }
            mean /= (height * width) as f32;
            for class in 0..LABELS.len() {
                logits[[n, class]] += mean * weight(hidden, class);
            }
        }
    }
    logits
}

/// Options for the file.
#[derive(Clone)]
pub struct Example {
    pub card: bool,
    pub channels: usize,
    /// The first extent of input and outputs; `None` leaves it open.
    pub batch: Option<usize>,
    /// Names of two outputs: the product, and its softmax. An empty name leaves the output out.
    pub outputs: [&'static str; 2],
    /// Element type of the input.
    pub element: DataType,
    /// Whether the shape of the outputs states the number of classes.
    pub classes_told: bool,
}

impl Default for Example {
    fn default() -> Self {
        let outputs = ["logits", "probabilities"];
        Self { card: true, channels: 1, batch: None, outputs, element: DataType::Uint8, classes_told: true }
    }
}

impl Example {
    pub fn without_card() -> Self {
        Self { card: false, ..Self::default() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.model().encode_to_vec()
    }

    /// Writes the file into a folder.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("example.onnx");
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }

    pub fn model(&self) -> ModelProto {
        let c = self.channels;
        let kernels = (0..HIDDEN * c * 9).map(|i| kernel(i / (c * 9), i / 9 % c, i % 9 / 3, i % 3)).collect();
        let weights = (0..HIDDEN * LABELS.len()).map(|i| weight(i / LABELS.len(), i % LABELS.len())).collect();
        let [logits, probabilities] = self.outputs.map(|name| if name.is_empty() { "unnamed" } else { name });
        let mut nodes = vec![
            node("Cast", &["image"], "float", vec![integer("to", DataType::Float as i64)]),
            node("Mul", &["float", "scale"], "scaled", vec![]),
            node("Conv", &["scaled", "kernels"], "convolved", vec![integers("pads", &[1, 1, 1, 1])]),
            node("Relu", &["convolved"], "clipped", vec![]),
            node("GlobalAveragePool", &["clipped"], "pooled", vec![]),
            node("Flatten", &["pooled"], "flat", vec![]),
            node("MatMul", &["flat", "weights"], logits, vec![]),
        ];
        if !self.outputs[1].is_empty() {
            nodes.push(node("Softmax", &[logits], probabilities, vec![integer("axis", -1)]));
        }
        let batch = self.batch.map(|batch| batch as i64);
        let classes = self.classes_told.then_some(LABELS.len() as i64);
        let image = [batch, Some(c as i64), Some(HEIGHT as i64), Some(WIDTH as i64)];
        let outputs = self.outputs.iter().filter(|name| !name.is_empty());
        let graph = GraphProto {
            name: "example".into(),
            node: nodes,
            initializer: vec![
                tensor("scale", &[], vec![1.0 / 255.0]),
                tensor("kernels", &[HIDDEN, c, 3, 3], kernels),
                tensor("weights", &[HIDDEN, LABELS.len()], weights),
            ],
            input: vec![value("image", self.element, &image)],
            output: outputs.map(|name| value(name, DataType::Float, &[batch, classes])).collect(),
            ..GraphProto::default()
        };
        let mut model = ModelProto {
            ir_version: 8,
            producer_name: "by hand".into(),
            opset_import: vec![OperatorSetIdProto { version: 13, ..OperatorSetIdProto::default() }],
            graph: Some(graph),
            ..ModelProto::default()
        };
        if self.card {
            card(c).embed(&mut model).unwrap();
        }
        model
    }
}

pub fn card(channels: usize) -> ModelCard {
    ModelCard {
        format: TRAINED,
        architecture: Some(Architecture {
            kind: Kind::MobilenetV1,
            width: 0.25,
            resolution: 32,
            channels,
            classes: LABELS.len(),
            stem_stride: 2,
        }),
        labels: LABELS.map(str::to_owned).to_vec(),
        input: Input {
            name: "image".into(),
            layout: "NCHW".into(),
            element: "uint8".into(),
            channels,
            height: HEIGHT,
            width: WIDTH,
            content: Content::Image,
            resize: models::card::Resize::default(),
        },
        preprocessing: Preprocessing { mean: vec![0.0; channels], std: vec![1.0; channels] },
        takes: GraphInput::Images,
        precision: Precision::Fp32,
        calibration: None,
        confidence: None,
        training: Some(Training {
            data_set: "insects".into(),
            images: 12_345,
            sample: Vec::new(),
            recipe: "by-hand".into(),
            seed: 7,
            epochs: 1,
            held_out_accuracy: None,
            test_accuracy: Some(0.5),
            trained_with: "nothing".into(),
            started_from: None,
        }),
        adopted: None,
    }
}

pub fn node(operator: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        op_type: operator.to_owned(),
        attribute,
        ..NodeProto::default()
    }
}

pub fn integer(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i: Some(i), ..AttributeProto::default() }
}

pub fn integers(name: &str, ints: &[i64]) -> AttributeProto {
    let ints = ints.to_vec();
    AttributeProto { name: name.into(), r#type: AttributeType::Ints as i32, ints, ..AttributeProto::default() }
}

fn tensor(name: &str, dims: &[usize], float_data: Vec<f32>) -> TensorProto {
    let dims = dims.iter().map(|&extent| extent as i64).collect();
    TensorProto { name: name.into(), dims, data_type: DataType::Float as i32, float_data, ..TensorProto::default() }
}

/// Makes a tensor double: a fault that only the runtimes find, in float times double.
pub fn make_double(tensor: &mut TensorProto) {
    tensor.double_data = std::mem::take(&mut tensor.float_data).into_iter().map(f64::from).collect();
    tensor.data_type = DataType::Double as i32;
}

fn value(name: &str, element: DataType, shape: &[Option<i64>]) -> ValueInfoProto {
    let dim = shape.iter().map(|extent| Dimension {
        value: Some(extent.map_or_else(|| dimension::Value::DimParam("N".into()), dimension::Value::DimValue)),
        ..Dimension::default()
    });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let kind = Value::TensorType(Tensor { elem_type: element as i32, shape });
    let kind = Some(TypeProto { value: Some(kind), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type: kind }
}

/// Writes `count` of [`images`] as the test part of an IDX data set, labelled by `label`.
pub fn write_data_set(folder: &Path, count: usize, label: impl Fn(usize) -> u8) {
    let extents = |kind: u8, extents: &[usize]| {
        let extents = extents.iter().flat_map(|&extent| u32::try_from(extent).unwrap().to_be_bytes());
        [0, 0, 8, kind].into_iter().chain(extents).collect::<Vec<_>>()
    };
    let mut bytes = extents(3, &[count, HEIGHT, WIDTH]);
    bytes.extend(images(count, 1));
    std::fs::write(folder.join("t10k-images-idx3-ubyte"), bytes).unwrap();
    let mut labels = extents(1, &[count]);
    labels.extend((0..count).map(label));
    std::fs::write(folder.join("t10k-labels-idx1-ubyte"), labels).unwrap();
}

/// Whether ONNX Runtime is compiled in and its library found. If the library is missing, prints that `test` is skipped.
pub fn onnxruntime_for(test: &str) -> bool {
    #[cfg(feature = "ort")]
    let here = deploy::backend::library::load().inspect_err(|reason| println!("skipped: {test}: {reason}")).is_ok();
    #[cfg(not(feature = "ort"))]
    let here = {
        println!("{test}: without ONNX Runtime, which is not compiled in");
        false
    };
    here
}

/// The engines on the CPU that can be used here. Prints which ones `test` leaves out.
pub fn engines(test: &str) -> Vec<Engine> {
    let (here, absent) = Engine::available(Engine::all().filter(|engine| !engine.registration.cuda));
    for absent in absent {
        println!("skipped: {test}: {absent}");
    }
    here
}
