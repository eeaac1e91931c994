//! Decides how an image becomes a network's input, from what the graph, the user and the files beside it say. Facts
//! that neither the graph, the files nor the flags give are asked for, never assumed.

use super::facts::{Color, Layout, Size, Sources, Told, per_channel};
use crate::interface::{MAX_BATCH, Scores};
use anyhow::{Context, Result, bail, ensure};
use models::card::{Content, Filter, Fit, Input, MAX_INPUT, Preprocessing, Resize};
use models::onnx::proto::ModelProto;
use models::onnx::proto::tensor_proto::DataType;
use models::onnx::{self, Signature, TensorInfo};
use std::fmt;

/// Everything that is needed to adopt a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Name of the network's input.
    pub source: String,
    /// Element type of the network's input: float, float16 or uint8.
    pub element: DataType,
    /// Order of its axes.
    pub layout: Layout,
    /// Its channels.
    pub color: Color,
    /// Its rows and columns.
    pub size: Size,
    /// Batch size, if it is fixed.
    pub batch: Option<usize>,
    /// How the values of an image file become the network's, (value · scale − mean) / std, in the order of the network's
    /// channels. Values that are not scaled have 1, 0 and 1.
    pub values: Values,
    /// The same as the card says it: for red, green, blue and on the scale 0 to 1.
    pub preprocessing: Preprocessing,
    /// How an image file gets its size.
    pub resize: Resize,
    /// Name of the output.
    pub output: String,
    /// What the user says about the scores.
    pub scores: Option<Scores>,
    /// Names of the classes, if they are known, and who said them.
    pub labels: Told<Vec<String>>,
    /// What was decided and who said so, for people.
    pub told: Vec<Line>,
}

/// Scale, and mean and deviation of each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Multiplies the values of an image file, 0 to 255.
    pub scale: f64,
    /// Mean of each channel after scaling.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel after scaling.
    pub std: Vec<f64>,
}

/// One decision, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What was decided.
    pub what: &'static str,
    /// The decision.
    pub value: String,
    /// Who said so.
    pub by: String,
}

/// The facts that neither the graph, the files nor the flags give, with the usual answers.
#[derive(Debug)]
pub struct Questions {
    input: String,
    missing: Vec<&'static str>,
    hints: Vec<String>,
}

impl std::error::Error for Questions {}

impl fmt::Display for Questions {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { input, missing, hints } = self;
        write!(
            f,
            "neither the file nor a description beside it says how an image becomes its input ({input}). Missing: {}",
            missing.join(", ")
        )?;
        hints.iter().try_for_each(|hint| write!(f, "\n  {hint}"))
    }
}

/// Where a decision comes from if the graph itself leaves no choice.
const GRAPH: &str = "the graph";

impl Plan {
    /// Makes the plan. Fails with [`Questions`] if something is not known.
    pub fn new(model: &ModelProto, sources: &Sources) -> Result<Self> {
        let signature = onnx::signature(model)?;
        let input = input(&signature)?;
        let mut desk = Desk { sources, told: Vec::new(), missing: Vec::new() };

        let axes = input
            .axes::<4>()
            .with_context(|| format!("its input is {input}: expected four axes, [N, C, H, W] or [N, H, W, C]"))?;
        let element = match input.element.as_str() {
            "float" => DataType::Float,
            "float16" => DataType::Float16,
            "uint8" => DataType::Uint8,
            other => bail!("its input is {other}: expected float, float16 or uint8"),
        };
        let layout = desk.layout(input, axes)?;
        let [rows, columns, channels] = match layout {
            Some(Layout::Nhwc) => [axes[1], axes[2], axes[3]],
            _ => [axes[2], axes[3], axes[1]],
        };
        let color = desk.color(input, channels)?;
        let size = desk.size(input, rows, columns)?;
        let batch = desk.batch(input, axes[0])?;
        let values = desk.values(element, color.map_or(3, Color::channels))?;
        let resize = desk.resize()?;
        let output = desk.output(&signature)?;
        let labels = sources.find("--labels", |facts| facts.labels.clone());
        let Desk { told, missing, .. } = desk;
        let (Some(layout), Some(color), Some(size), Some(values), Some(resize), true) =
            (layout, color, size, values, resize, missing.is_empty())
        else {
            return Err(Questions { input: input.to_string(), missing, hints: hints(layout, axes) }.into());
        };
        let preprocessing = values.in_card(color)?;
        Ok(Self {
            source: input.name.clone(),
            element,
            layout,
            color,
            size,
            batch,
            values,
            preprocessing,
            resize,
            output,
            scores: sources.find("--scores", |facts| facts.scores).map(|(scores, _)| scores),
            labels,
            told,
        })
    }

    /// Shape of an image, `[C, H, W]`.
    #[must_use]
    pub fn image(&self) -> [usize; 3] {
        [self.color.channels(), self.size.height, self.size.width]
    }

    /// The card's description of the input.
    #[must_use]
    pub fn input(&self) -> Input {
        let [channels, height, width] = self.image();
        Input { resize: self.resize, ..Input::new(channels, height, width, Content::Image) }
    }
}

impl Values {
    /// The same in the terms of a card: on the scale 0 to 1, and in the order red, green, blue.
    fn in_card(&self, color: Color) -> Result<Preprocessing> {
        let on_scale = |number: &f64| (number / (255.0 * self.scale)) as f32;
        let (mut mean, mut std): (Vec<f32>, Vec<f32>) =
            (self.mean.iter().map(on_scale).collect(), self.std.iter().map(on_scale).collect());
        if color == Color::Bgr {
            mean.reverse();
            std.reverse();
        }
        let sound = mean.iter().chain(&std).all(|number| number.is_finite()) && std.iter().all(|&std| std > 0.0);
        ensure!(
            sound,
            "scale {}, mean {:?}, std {:?}: expected std above 0, and numbers near those of images",
            self.scale,
            self.mean,
            self.std
        );
        Ok(Preprocessing { mean, std })
    }
}

/// The one input that the user must provide.
fn input(signature: &Signature) -> Result<&TensorInfo> {
    match &signature.inputs[..] {
        [input] => Ok(input),
        inputs => bail!(
            "it has {} inputs: {}. Expected one, an image",
            inputs.len(),
            inputs.iter().map(TensorInfo::to_string).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Where facts become decisions.
struct Desk<'a> {
    sources: &'a Sources,
    told: Vec<Line>,
    /// The flags for facts that neither the graph, the files nor the flags give.
    missing: Vec<&'static str>,
}

impl Desk<'_> {
    fn tell(&mut self, what: &'static str, value: impl fmt::Display, by: &str) {
        self.told.push(Line { what, value: value.to_string(), by: by.to_owned() });
    }

    /// Notes the decision, or that it is missing.
    fn settle<T: Clone + fmt::Display>(&mut self, what: &'static str, flag: &'static str, told: Told<T>) -> Option<T> {
        let Some((fact, by)) = told else {
            self.missing.push(flag);
            return None;
        };
        self.tell(what, &fact, &by);
        Some(fact)
    }

    fn layout(&mut self, input: &TensorInfo, [_, second, _, fourth]: [Option<usize>; 4]) -> Result<Option<Layout>> {
        let is_color = |extent: Option<usize>| matches!(extent, Some(1 | 3));
        let may = |extent: Option<usize>| extent.is_none_or(|extent| matches!(extent, 1 | 3));
        let told = self.sources.find("--layout", |facts| facts.layout);
        let by_shape = match (is_color(second), is_color(fourth)) {
            (true, false) => Some(Layout::Nchw),
            (false, true) => Some(Layout::Nhwc),
            _ => None,
        };
        ensure!(may(second) || may(fourth), "its input is {input}: expected 1 or 3 channels, second or last");
        if let (Some((told, by)), Some(shown)) = (&told, by_shape) {
            // An open extent could still be the channels.
            let possible = match told {
                Layout::Nchw => may(second),
                Layout::Nhwc => may(fourth),
            };
            ensure!(possible || by != "--layout", "{by} says {told}, but its input is {input}: expected {shown}");
        }
        let shape = by_shape.map(|layout| (layout, GRAPH.to_owned()));
        // A description beside the file may be of another export.
        let told = if told.as_ref().is_some_and(|(_, by)| by == "--layout") { told } else { shape.or(told) };
        Ok(self.settle("layout", "--layout", told))
    }

    fn color(&mut self, input: &TensorInfo, channels: Option<usize>) -> Result<Option<Color>> {
        let told = self.sources.find("--color", |facts| facts.color);
        if let (Some((color, by)), Some(channels)) = (&told, channels) {
            ensure!(
                color.channels() == channels,
                "{by} says {color}, which has {} channels, but its input {input} has {channels}",
                color.channels()
            );
        }
        let grey = || (channels == Some(1)).then(|| (Color::Grey, GRAPH.to_owned()));
        Ok(self.settle("color", "--color", told.or_else(grey)))
    }

    fn size(&mut self, input: &TensorInfo, rows: Option<usize>, columns: Option<usize>) -> Result<Option<Size>> {
        let told = self.sources.find("--size", |facts| facts.size);
        let fixed = rows.zip(columns).map(|(height, width)| Size { width, height });
        let Some(size) = fixed else {
            if let Some((Size { width, height }, by)) = &told {
                let fits = rows.is_none_or(|rows| rows == *height) && columns.is_none_or(|columns| columns == *width);
                ensure!(fits, "{by} says {width}x{height} px, but its input is {input}");
            }
            return Ok(self.settle("size", "--size", told));
        };
        ensure!(
            [size.width, size.height].iter().all(|side| (1..=MAX_INPUT).contains(side)),
            "its input is {input}: expected 1 to {MAX_INPUT} rows and columns"
        );
        match told {
            // A description may be of another export; a flag is meant for this file.
            Some((told, by)) if told != size && by == "--size" => {
                bail!("--size says {told}, but its input {input} is fixed at {size}: export it with an open size")
            }
            Some((told, by)) if told != size => self.tell("size", size, &format!("{GRAPH}; {by} says {told}")),
            _ => self.tell("size", size, GRAPH),
        }
        Ok(Some(size))
    }

    fn batch(&mut self, input: &TensorInfo, fixed: Option<usize>) -> Result<Option<usize>> {
        let told = self.sources.find("--batch", |facts| facts.batch);
        if let (Some((told, by)), Some(fixed)) = (&told, fixed) {
            ensure!(*told == fixed, "{by} says {told}, but its input {input} is fixed at {fixed}");
        }
        ensure!(
            fixed.is_none_or(|fixed| (1..=MAX_BATCH).contains(&fixed)),
            "its input is {input}: expected a batch that is open, or 1 to {MAX_BATCH}"
        );
        match (fixed, told) {
            (Some(fixed), _) => self.tell("batch", fixed, GRAPH),
            (None, Some((told, by))) => {
                self.tell("batch", told, &by);
                return Ok(Some(told));
            }
            (None, None) => self.tell("batch", "any", GRAPH),
        }
        Ok(fixed)
    }

    fn values(&mut self, element: DataType, channels: usize) -> Result<Option<Values>> {
        let mean = self.sources.find("--mean", |facts| facts.mean.clone());
        let std = self.sources.find("--std", |facts| facts.std.clone());
        let scale = self.sources.find("--scale", |facts| facts.scale);
        if element == DataType::Uint8 {
            let by = [scale.map(|told| told.1), mean.map(|told| told.1), std.map(|told| told.1)]
                .into_iter()
                .flatten()
                .find(|by| by.starts_with("--"));
            ensure!(
                by.is_none(),
                "{}: the network takes bytes and prepares them itself: leave it out",
                by.unwrap_or_default()
            );
            self.tell("values", "bytes, 0 to 255", GRAPH);
            return Ok(Some(Values { scale: 1.0, mean: vec![0.0; channels], std: vec![1.0; channels] }));
        }
        let flag = |told: Option<&String>| told.is_some_and(|by| by.starts_with("--"));
        // A mean or deviation from a flag does not belong to the scale of a file beside the model.
        let by_flag = flag(mean.as_ref().map(|told| &told.1)) || flag(std.as_ref().map(|told| &told.1));
        let (scale, other) =
            if by_flag && !flag(scale.as_ref().map(|told| &told.1)) { (None, scale) } else { (scale, None) };
        let fits_every_scale = mean.iter().all(|told| told.0.iter().all(|&mean| mean == 0.0))
            && std.iter().all(|told| told.0.iter().all(|&std| std == 1.0));
        // Means of images on the scale 0 to 255 are far above 1.
        let inferred = || {
            let (mean, by) = mean.as_ref()?;
            let (std, _) = std.as_ref()?;
            let small = mean.iter().chain(std).all(|&number| number <= 1.0);
            let large = mean.iter().all(|&mean| mean > 1.0);
            let scale = if small {
                1.0 / 255.0
            } else if large {
                1.0
            } else {
                return None;
            };
            (!fits_every_scale).then(|| (scale, format!("follows from {by}")))
        };
        let scale = scale.or_else(inferred).or_else(|| other.filter(|_| fits_every_scale));
        let list = |numbers: &[f64]| Numbers(numbers.to_vec());
        let scale = scale.map(|(scale, by)| (Scale(scale), by));
        let scale = self.settle("scale", "--scale", scale);
        let mean = self.settle("mean", "--mean", mean.map(|(mean, by)| (list(&mean), by)));
        let std = self.settle("std", "--std", std.map(|(std, by)| (list(&std), by)));
        let (Some(Scale(scale)), Some(Numbers(mean)), Some(Numbers(std))) = (scale, mean, std) else { return Ok(None) };
        let values =
            Values { scale, mean: per_channel("mean", &mean, channels)?, std: per_channel("std", &std, channels)? };
        let end = |value: f64, channel: usize| (value * scale - values.mean[channel]) / values.std[channel];
        let (least, most) = (0..channels).fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), channel| {
            (least.min(end(0.0, channel)), most.max(end(255.0, channel)))
        });
        self.tell("values", format!("{least:.2} to {most:.2}"), "scale, mean and std");
        Ok(Some(values))
    }

    fn resize(&mut self) -> Result<Option<Resize>> {
        let filter = self.sources.find("--resize", |facts| facts.filter);
        let fit = self.sources.find("--fit", |facts| facts.fit);
        let crop = self.sources.find("--crop", |facts| facts.crop);
        let antialias = self.sources.find("--antialias", |facts| facts.antialias);
        let nearest = matches!(filter, Some((Filter::Nearest, _)));
        let smooth = matches!(&antialias, Some((true, by)) if by == "--antialias");
        ensure!(!nearest || !smooth, "--antialias yes: nearest has no anti-aliasing");
        let filter = self.settle("resize", "--resize", filter.map(|(filter, by)| (Shown(filter, filter.name()), by)));
        let fit = self.settle("fit", "--fit", fit.map(|(fit, by)| (Shown(fit, fit.name()), by)));
        // Squashing usually keeps the whole image; a crop needs a share.
        let whole = || matches!(fit, Some(Shown(Fit::Squash, _))).then(|| (1.0, "follows from squash".to_owned()));
        let crop = self.settle("crop", "--crop", crop.or_else(whole));
        let (Some(Shown(filter, _)), Some(Shown(fit, _)), Some(crop)) = (filter, fit, crop) else { return Ok(None) };
        if filter != Filter::Nearest {
            let (smooth, by) = antialias.clone().unwrap_or((true, "default, as in Pillow and torchvision".to_owned()));
            self.tell("antialias", if smooth { "yes" } else { "no" }, &by);
        }
        let resize = Resize {
            filter,
            fit,
            crop,
            antialias: nearest || antialias.is_none_or(|(antialias, _)| antialias),
            rounds_down: self.sources.0.iter().find_map(|source| source.facts.rounds_down).unwrap_or(false),
        };
        resize.validate()?;
        Ok(Some(resize))
    }

    fn output(&mut self, signature: &Signature) -> Result<String> {
        let list = || signature.outputs.iter().map(TensorInfo::to_string).collect::<Vec<_>>().join(", ");
        if let Some((name, by)) = self.sources.find("--output", |facts| facts.output.clone()) {
            let known = signature.outputs.iter().any(|output| output.name == name);
            ensure!(known, "{by} names '{name}', but its outputs are {}", list());
            self.tell("output", &name, &by);
            return Ok(name);
        }
        let floats: Vec<_> = signature.outputs.iter().filter(|output| output.element.starts_with("float")).collect();
        match &floats[..] {
            [output] => {
                self.tell("output", &output.name, GRAPH);
                Ok(output.name.clone())
            }
            [] => bail!("none of its outputs is float: {}. Expected one score per class", list()),
            _ => bail!("it has several outputs: {}. Name the one with one score per class with --output", list()),
        }
    }
}

/// A value of an enum with its name.
#[derive(Clone)]
struct Shown<T>(T, &'static str);

impl<T> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.1)
    }
}

/// A list of numbers, for people.
#[derive(Clone)]
struct Numbers(Vec<f64>);

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0.iter().map(f64::to_string).collect::<Vec<_>>().join(", "))
    }
}

/// A factor, written as people know it.
#[derive(Clone)]
struct Scale(f64);

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let below = 1.0 / self.0;
        let whole = (below * 2.0).round() / 2.0;
        if below > 1.5 && (below - whole).abs() < 1e-9 * below {
            write!(f, "1/{whole}")
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// The usual answers, for a layout.
fn hints(layout: Option<Layout>, [_, second, _, fourth]: [Option<usize>; 4]) -> Vec<String> {
    let torch = "--color rgb --scale 1/255 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --resize bilinear --fit crop --crop 0.875";
    let keras = "--color rgb --scale 1/255 --mean 0.5 --std 0.5 --resize nearest --fit squash";
    let caffe = "--color bgr --scale 1 --mean 103.939,116.779,123.68 --std 1 --resize nearest --fit squash";
    let raw = "--color rgb --scale 1 --mean 0 --std 1 --resize nearest --fit squash";
    let unit = "--color rgb --scale 1/255 --mean 0 --std 1 --resize bilinear --fit crop --crop 1";
    let mut hints = vec!["Give it as in the program that trained the network. Usual answers:".to_owned()];
    let mut add = |who: &str, what: &str| hints.push(format!("{who:<42}{what}"));
    let open = second.is_none() && fourth.is_none();
    if layout != Some(Layout::Nhwc) || open {
        add("torchvision, most of the ONNX model zoo:", torch);
        add("ToTensor() alone:", unit);
    }
    if layout != Some(Layout::Nchw) || open {
        add("Keras MobileNet, Inception, Xception:", keras);
        add("Keras ResNet, VGG:", caffe);
        add("Keras EfficientNet, MobileNetV3, ConvNeXt:", raw);
    }
    hints
}
