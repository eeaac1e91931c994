//! `train import`.

use super::data::say_line;
use crate::import::{Imported, Preparation};
use crate::recipe::keys;
use crate::run;
use anyhow::{Result, bail};
use clap::Args;
use deploy::arguments::{Interval, number, one_of};
use deploy::text;
use models::card::{Filter, Preprocessing, Resize};
use models::dataset;
use std::ops::Bound;
use std::path::PathBuf;
use std::process::ExitCode;

/// Turn ImageNet weights that timm saved into a run, to export and deploy them without training
#[derive(Args)]
#[command(
    after_help = "The defaults are how timm prepares images for its mobilenetv1 weights. The export puts the normalisation into the \
    graph and the rest into the model card, so that every engine prepares images in this way.\n\nExamples:\n  \
    train import model.safetensors --labels imagenet.txt\n  \
    train export runs/model --data photos    photos: any folder of images, for the check"
)]
pub(super) struct Arguments {
    /// A MobileNetV1 that timm saved as safetensors, of width 1 or less
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// File with the class names in order, one per line
    #[arg(long, value_name = "FILE")]
    labels: PathBuf,
    /// The run's folder [default: the file's name in runs/, numbered if it exists]
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Height and width of the network's input in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 224, value_parser = keys::whole::<usize>("network.resolution"))]
    resolution: usize,
    /// Mean of each channel on the scale 0 to 1: one number, or one for each channel
    #[arg(long, value_name = "R,G,B", default_value = "0.5", value_delimiter = ',', value_parser = number::<f64>(Interval::new((Bound::Included(0.0), Bound::Included(1.0)))))]
    mean: Vec<f64>,
    /// Standard deviation of each channel on the scale 0 to 1: one number, or one for each channel
    #[arg(long, value_name = "R,G,B", default_value = "0.5", value_delimiter = ',', value_parser = number::<f64>(Interval::new((Bound::Excluded(0.0), Bound::Unbounded))))]
    std: Vec<f64>,
    /// How images are resized: nearest, or bilinear, bicubic or lanczos with anti-aliasing
    #[arg(long, value_name = "NAME", default_value = "bicubic", value_parser = one_of::<Filter>(Filter::ALL.map(Filter::name)), hide_possible_values = true)]
    resize: Filter,
    /// Share of the resized image's shorter side that the centre crop keeps
    #[arg(long, value_name = "SHARE", default_value_t = 0.875, value_parser = number::<f64>(Interval::new((Bound::Excluded(0.0), Bound::Included(1.0)))))]
    crop: f64,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        if let Some(out) = &self.out {
            run::check_vacant(out)?;
        }
        let (labels, numbered) = dataset::numbered(dataset::read_names(&self.labels)?);
        for label in numbered {
            say_line(&format!(
                "note: {} repeats the name of a class: the later class is called {label}",
                self.labels.display()
            ));
        }
        let preparation = Preparation {
            resolution: self.resolution,
            preprocessing: Preprocessing { mean: channels("--mean", &self.mean)?, std: channels("--std", &self.std)? },
            resize: Resize { filter: self.resize, crop: self.crop, ..Resize::default() },
        };
        let name = self.file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let imported = Imported::new(&name, &self.file, labels, preparation)?;
        let metadata = imported.metadata();
        let mut lines = vec![
            ("network", metadata.architecture.to_string()),
            ("classes", text::class_list(&metadata.data.labels)),
            ("images", format!("{0}x{0} px, {1}", self.resolution, metadata.data.input.resize)),
        ];
        if let Some(origin) = &metadata.started_from {
            lines.push(("weights", origin.to_string()));
        }
        let run = imported.write(self.out.as_deref())?;
        let folder = run.folder().display().to_string();
        lines.push(("run", folder.clone()));
        text::print(&text::fields(&lines))?;
        text::print(&format!("next:   train export {folder} --data FOLDER (any folder of images, for the check)\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// One number for each of three channels.
fn channels(flag: &str, values: &[f64]) -> Result<Vec<f32>> {
    match values {
        [one] => Ok(vec![*one as f32; 3]),
        [_, _, _] => Ok(values.iter().map(|value| *value as f32).collect()),
        _ => bail!(
            "{flag} has {}: expected one, or one for each of three channels",
            text::counted(values.len(), "number")
        ),
    }
}
