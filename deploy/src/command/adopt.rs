//! `deploy adopt`: makes a file of another exporter follow our contract.

use super::text::{fields, percent, printable, printable_lines};
use super::{print, progress_of, say_notes, usage};
use anyhow::{Result, ensure};
use clap::{ArgAction, Args, ValueHint};
use deploy::adopt::check::{self, Outcome};
use deploy::adopt::facts::{Color, Facts, Layout, Size, quotient};
use deploy::adopt::plan::{Line, Questions};
use deploy::adopt::{Adoption, sources};
use deploy::arguments::{Interval, number, one_of, whole};
use deploy::backend::{Engine, Options, Selection};
use deploy::inputs::{ImageSource, Inputs};
use deploy::interface::Scores;
use deploy::model::Model;
use deploy::saved_inputs::SavedInputs;
use models::card::{Filter, Fit};
use models::evaluation::softmax;
use models::files;
use models::image_file::Reader;
use ndarray::{Array4, ArrayView4, Axis, s};
use std::ops::Bound;
use std::path::PathBuf;

/// Longer decisions are not aligned with the others.
const WIDEST: usize = 32;

/// Most images of a preview.
const SHOWN: usize = 8;

/// Makes an ONNX classifier of another exporter usable, with its preparation of images and its labels inside
#[derive(Args)]
#[command(after_help = "\
The file does not say how an image becomes the network's input, and a wrong guess gives wrong answers without any error. So \
everything that its graph leaves open must be known: from ultralytics' or ONNX's own metadata in the file, from Hugging \
Face's preprocessor_config.json and config.json or timm's config.json in its folder or the one above, or from flags, which \
come first. What is missing is asked for. A value of an image, 0 to 255, becomes (value * SCALE - MEAN) / STD.

The result takes images as bytes and works with every command. Before it is written, every engine must give the same answers \
as the original in ONNX Runtime, which gets images that were prepared separately.

Examples:
  deploy adopt yolo11n-cls.onnx -o pets.onnx          ultralytics: the file says everything
  deploy adopt vit/onnx/model.onnx -o vit.onnx        Hugging Face: with its json files beside it
  deploy adopt resnet18.onnx -o resnet.onnx --labels imagenet.txt --color rgb --mean 0.485,0.456,0.406 \
--std 0.229,0.224,0.225 --resize bilinear --fit crop --crop 0.875 --images photos --preview seen")]
pub struct Arguments {
    /// The file; tensors in files beside it are read into the result
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,

    /// The file to write
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: PathBuf,

    /// Replace the file if it exists
    #[arg(long)]
    overwrite: bool,

    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help = CONFIG_HELP)]
    config: Vec<PathBuf>,

    /// Order of the input's axes: nchw (PyTorch) or nhwc (TensorFlow) [default: follows from its shape]
    #[arg(long, value_name = "NAME", value_parser = one_of::<Layout>(Layout::NAMES), hide_possible_values = true)]
    layout: Option<Layout>,

    /// What the channels are: rgb, bgr (Caffe, OpenCV) or grey
    #[arg(long, value_name = "NAME", value_parser = one_of::<Color>(Color::NAMES), hide_possible_values = true)]
    color: Option<Color>,

    /// Factor for the values 0 to 255, such as 1/255 [default: follows from the mean]
    #[arg(long, value_name = "SCALE", value_parser = |text: &str| quotient(text))]
    scale: Option<f64>,

    /// Mean after scaling: one number, or one for each channel in the network's order
    #[arg(long, value_name = "A,B,C", action = ArgAction::Set, value_delimiter = ',', value_parser = number::<f64>(..))]
    mean: Option<Vec<f64>>,

    /// Standard deviation after scaling: one number, or one for each channel
    #[arg(long, value_name = "A,B,C", action = ArgAction::Set, value_delimiter = ',',
        value_parser = number::<f64>(above_zero(Bound::Unbounded)))]
    std: Option<Vec<f64>>,

    /// Width and height of the input, such as 224 or 320x240, if the file leaves them open
    #[arg(long, value_name = "PIXELS")]
    size: Option<Size>,

    /// What happens to images of another aspect ratio: crop (the centre is kept) or squash
    #[arg(long, value_name = "NAME", value_parser = one_of::<Fit>(Fit::ALL.map(Fit::name)), hide_possible_values = true)]
    fit: Option<Fit>,

    /// Share of the resized image's shorter side that the centre crop keeps: 0.875 for 224 of 256 pixels
    #[arg(long, value_name = "SHARE", value_parser = number::<f64>(above_zero(Bound::Included(1.0))))]
    crop: Option<f64>,

    /// Interpolation: nearest, bilinear, bicubic or lanczos, as in Pillow
    #[arg(long, value_name = "NAME", value_parser = one_of::<Filter>(Filter::ALL.map(Filter::name)), hide_possible_values = true)]
    resize: Option<Filter>,

    /// Whether it is antialiased: yes (Pillow, torchvision) or no (OpenCV, TensorFlow; only bilinear) [default: yes]
    #[arg(long, value_name = "YES|NO", value_parser = |text: &str| yes_or_no(text))]
    antialias: Option<bool>,

    /// Class names in order: one per line, or JSON such as id2label
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    labels: Option<PathBuf>,

    /// What the output holds, if you want it checked: logits or probabilities [default: found out by a test run]
    #[arg(long, value_name = "NAME", value_parser = one_of::<Scores>(Scores::NAMES), hide_possible_values = true)]
    scores: Option<Scores>,

    /// The output with one score per class, if there are several
    #[arg(long, value_name = "NAME")]
    output: Option<String>,

    /// Images per run, if the file leaves it open but works only with this number
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=1024))]
    batch: Option<usize>,

    /// Images, or folders of them, for the check [default: random patterns]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, num_args = 1..)]
    images: Vec<PathBuf>,

    /// Write what the network sees of the first eight images into this folder, and print its answers
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, requires = "images")]
    preview: Option<PathBuf>,
}

/// File names would need code marks in a documentation comment.
const CONFIG_HELP: &str = "A description of the network's images that is not beside the file: preprocessor_config.json, \
                           config.json or timm's pretrained_cfg; may be given several times";

/// Numbers above 0.
fn above_zero(most: Bound<f64>) -> Interval {
    Interval::new((Bound::Excluded(0.0), most))
}

fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("expected yes or no"),
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let target = &arguments.out;
    ensure!(!target.is_dir(), "-o {}: it is a folder, expected a file", target.display());
    ensure!(
        arguments.overwrite || !target.exists(),
        "{} already exists: give another name with -o, or --overwrite",
        target.display()
    );
    let adoption = Adoption::new(&arguments.file, arguments.facts()?, &arguments.config);
    let adoption = adoption.map_err(|error| {
        if error.root_cause().is::<Questions>() { usage(printable_lines(&format!("{error:#}"))) } else { error }
    })?;
    say_notes(&adoption.notes);
    let width = adoption.told.iter().map(|line| line.value.chars().count().min(WIDEST)).max().unwrap_or(0);
    let line = |Line { what, value, by }: &Line| (*what, format!("{:width$}  {}", printable(value), printable(by)));
    print(&fields(&adoption.told.iter().map(line).collect::<Vec<_>>()))?;

    let (sources, pixels) = arguments.pixels(&adoption)?;
    let previews = arguments.preview.as_ref().map(|folder| SavedInputs::plan(folder, &sources)).transpose()?;
    let bar = progress_of("comparing", Engine::available(Engine::all()).0.len());
    let outcomes = files::write_checked(target, &adoption.bytes, |_| adoption.check(pixels.view(), &|| bar.inc(1)));
    bar.finish_and_clear();
    let mut checked: Vec<(String, String)> = Vec::new();
    for (engine, outcome) in outcomes? {
        let outcome = match outcome {
            Outcome::Ran(agreement) => {
                format!("same classes, probabilities differ by at most {:.1e}", agreement.max_difference)
            }
            Outcome::CannotRun(reason) => format!("cannot run it: {}", printable(&reason)),
        };
        checked.push((engine.to_string(), outcome));
    }
    let which = if sources.is_empty() { "random patterns" } else { "images" };
    let mut text = format!("\nCompared with the original on {} {which}:\n", pixels.dim().0);
    text += &fields(&checked.iter().map(|(engine, outcome)| (engine.as_str(), outcome.clone())).collect::<Vec<_>>());
    print(&text)?;
    if !sources.is_empty() {
        preview(&adoption, &sources, previews.as_ref(), pixels.view())?;
    }
    print(&format!("\nwrote  {}\n", target.display()))?;
    Ok(())
}

impl Arguments {
    fn facts(&self) -> Result<Facts> {
        Ok(Facts {
            layout: self.layout,
            color: self.color,
            scale: self.scale,
            mean: self.mean.clone(),
            std: self.std.clone(),
            size: self.size,
            fit: self.fit,
            crop: self.crop,
            filter: self.resize,
            antialias: self.antialias,
            rounds_down: None,
            labels: self.labels.as_deref().map(sources::labels).transpose()?,
            output: self.output.clone(),
            scores: self.scores,
            batch: self.batch,
        })
    }

    /// The images of the check, as the card prepares them; random patterns if the user names none.
    fn pixels(&self, adoption: &Adoption) -> Result<(Vec<ImageSource>, Array4<u8>)> {
        let input = &adoption.card.input;
        let shape = [input.channels, input.height, input.width];
        if self.images.is_empty() {
            return Ok((Vec::new(), check::blocks(shape)));
        }
        let Inputs { sources, notes } = Inputs::from_arguments(&self.images)?;
        say_notes(&notes);
        let reader = Reader::default();
        let (mut read, mut pixels) = (Vec::new(), Vec::new());
        for source in sources.into_iter().take(check::IMAGES) {
            pixels.extend(source.read(&reader, input)?.swap_remove(0).pixels);
            read.push(source);
        }
        let [channels, height, width] = shape;
        let pixels = Array4::from_shape_vec((read.len(), channels, height, width), pixels)?;
        Ok((read, pixels))
    }
}

/// How much more confident a network must be with exchanged colours before we doubt their order.
const DOUBT: f32 = 0.05;

/// Writes and prints what the network sees and answers, and a doubt about the order of the colours.
fn preview(
    adoption: &Adoption,
    sources: &[ImageSource],
    saved: Option<&SavedInputs>,
    pixels: ArrayView4<u8>,
) -> Result<()> {
    let options = Options { engine: Selection::AutoOnCpu, ..Options::default() };
    let mut model = Model::from_bytes("the adopted file", &adoption.bytes, &options)?;
    let probabilities = softmax(model.logits(pixels)?.view());
    if let Some(saved) = saved {
        let mut rows = Vec::new();
        for (number, (source, shares)) in sources.iter().zip(probabilities.rows()).take(SHOWN).enumerate() {
            let path = saved.write(number, pixels.index_axis(Axis(0), number))?;
            let best = models::evaluation::argmax(shares);
            let answer = format!("{} ({})", printable(&model.labels()[best]), percent(Some(f64::from(shares[best]))));
            rows.push((printable(&source.name()), format!("{answer}, seen in {}", printable(&files::name(&path)))));
        }
        print("\nWhat the network sees and answers:\n")?;
        print(&fields(&rows.iter().map(|(name, answer)| (name.as_str(), answer.clone())).collect::<Vec<_>>()))?;
    }
    if pixels.dim().1 == 3 {
        let certainty = |shares: &ndarray::Array2<f32>| {
            shares.rows().into_iter().map(|row| row.fold(0.0_f32, |most, &share| most.max(share))).sum::<f32>()
                / shares.nrows() as f32
        };
        let swapped = softmax(model.logits(pixels.slice(s![.., ..;-1, .., ..]))?.view());
        let (sure, surer) = (certainty(&probabilities), certainty(&swapped));
        if surer > sure + DOUBT {
            say_notes(&[format!(
                "with red and blue exchanged, the network would be more confident in its answers ({} instead of {} on \
                 average): is --color right?",
                percent(Some(f64::from(surer))),
                percent(Some(f64::from(sure)))
            )]);
        }
    }
    Ok(())
}
