//! Turns pretrained weights into a run without training, so that they can be exported and deployed like any other.

use crate::checkpoint::{self, DataFacts, Metadata, RunProgress};
use crate::device::LIBTORCH;
use crate::network::Network;
use crate::pretrained::{self, Pretrained};
use crate::recipe::{Augmentation, NetworkRecipe, OutlierRecipe, Recipe};
use crate::run::Run;
use crate::source::Classes;
use anyhow::{Context, Result, ensure};
use models::card::{Content, Input, Preprocessing, Resize};
use std::path::{Path, PathBuf};
use tch::Device;

/// The recipe whose remaining keys an imported run has. They have no effect.
const BASE: &str = "quick";

/// How the weights' own program prepares an image.
#[derive(Clone, Debug)]
pub struct Preparation {
    /// Height and width of the network's input in pixels.
    pub resolution: usize,
    /// Mean and standard deviation of each channel, on the scale 0 to 1.
    pub preprocessing: Preprocessing,
    /// How an image gets the size of the input.
    pub resize: Resize,
}

/// A run made of pretrained weights, before it is written.
pub struct Imported {
    network: Network,
    metadata: Metadata,
}

impl Imported {
    /// Builds the network of a file of weights. Errors if the file has no classifier, does not belong to a MobileNetV1,
    /// or if there is not one label for each of its classes.
    pub fn new(name: &str, file: &Path, labels: Vec<String>, preparation: Preparation) -> Result<Self> {
        let pretrained = Pretrained::read(file)?;
        let shown = file.display();
        ensure!(
            !pretrained.is_checkpoint(),
            "{shown} is a checkpoint, which knows its labels and how images are prepared: train export {shown}"
        );
        let classes = pretrained.classes().with_context(|| {
            format!("{shown} has no classifier: start a training run from it with train --from {shown} --data FOLDER")
        })?;
        ensure!(
            labels.len() == classes,
            "{shown} tells {classes} classes apart, but there are {} labels: expected one for each class",
            labels.len()
        );
        let channels = pretrained.channels();
        ensure!([1, 3].contains(&channels), "{shown} takes images with {channels} channels: expected 1 or 3");
        let Preparation { resolution, mut preprocessing, resize } = preparation;
        if channels == 1 {
            for numbers in [&mut preprocessing.mean, &mut preprocessing.std] {
                numbers.dedup();
                ensure!(
                    numbers.len() == 1,
                    "{shown} takes grey images: expected one number in --mean and one in --std"
                );
            }
        }
        let base = Recipe::find(BASE)?;
        let recipe = Recipe {
            name: name.to_owned(),
            from: pretrained::absolute(file.to_str().with_context(|| format!("{shown} is not UTF-8"))?, Path::new(""))?,
            hold_out: 0,
            ema: 0.0,
            normalization: Some(preprocessing.clone()),
            network: NetworkRecipe { resolution, ..pretrained.network().clone() },
            augmentation: Augmentation::default(),
            outliers: OutlierRecipe::default(),
            ..base
        };
        let architecture = recipe.architecture(channels, classes)?;
        let mut network = Network::zeros(&architecture, Device::Cpu)?;
        pretrained.fill(&mut network)?;
        let input = Input { resize, ..Input::new(architecture.channels, resolution, resolution, Content::Image) };
        let metadata = Metadata {
            format: checkpoint::FORMAT,
            recipe,
            architecture,
            data: DataFacts {
                name: "unknown".to_owned(),
                folder: PathBuf::new(),
                labels,
                input,
                preprocessing,
                fitted: 0,
                held_out: 0,
                fingerprint: String::new(),
                test_fingerprint: None,
                sample: Vec::new(),
                validation: false,
                held_out_by_class: false,
                near_duplicates_together: true,
                classes: Classes::Labels,
            },
            progress: RunProgress::default(),
            history: Vec::new(),
            trained_with: format!("imported with libtorch {LIBTORCH}"),
            threads: None,
            started_from: Some(pretrained.origin),
        };
        Ok(Self { network, metadata })
    }

    /// What the run says about itself.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Writes the run into a new folder. Errors as [`Run::create`] does.
    pub fn write(&self, out: Option<&Path>) -> Result<Run> {
        let run = Run::create(out, &self.metadata.recipe.name)?;
        run.write_recipe(&self.metadata.recipe.to_toml()?)?;
        for path in [run.best(), run.last()] {
            checkpoint::write(&path, &self.metadata, &self.network, None, &[])?;
        }
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::pretrained::timm;
    use deploy::backend::{Options, Selection};
    use deploy::model::Model;
    use models::architecture::Architecture;
    use models::card::Filter;
    use models::dataset;
    use std::fs;
    use tch::{Kind, Tensor};

    fn preparation() -> Preparation {
        Preparation {
            resolution: 32,
            preprocessing: Preprocessing { mean: vec![0.5; 3], std: vec![0.5; 3] },
            resize: Resize { filter: Filter::Bicubic, crop: 0.875, ..Resize::default() },
        }
    }

    fn labels(count: usize) -> Vec<String> {
        (0..count).map(|class| format!("class {class}")).collect()
    }

    /// A file of random weights for five classes, and the network.
    fn saved(folder: &Path, channels: usize, classifier: bool) -> (PathBuf, Network) {
        let architecture = Architecture { channels, classes: 5, ..Architecture::imagenet(0.25, 32) };
        let network = Network::initialised(&architecture, Device::Cpu).unwrap();
        let file = folder.join("weights.safetensors");
        fs::write(&file, timm::write(&network.tensors().unwrap(), classifier).unwrap()).unwrap();
        (file, network)
    }

    #[test]
    fn an_imported_run_answers_like_the_network_and_says_where_it_comes_from() {
        for channels in [3, 1] {
            let folder = tempfile::tempdir().unwrap();
            let (file, network) = saved(folder.path(), channels, true);
            let imported = Imported::new("weights", &file, labels(5), preparation()).unwrap();
            let run = imported.write(Some(&folder.path().join("run"))).unwrap();
            let checkpoint = Checkpoint::read(&run.best()).unwrap();
            assert!(checkpoint.metadata.is_imported());
            let card = checkpoint.card();
            let training = card.training.unwrap();
            assert_eq!((training.images, training.epochs, card.input.resize), (0, 0, preparation().resize));
            assert_eq!(training.started_from.unwrap().file, "weights.safetensors");

            let images = dataset::noise((2, channels, 32, 32), 1);
            let options = Options::new(Selection::AutoOnCpu, Some(1));
            let bytes = crate::export::to_bytes(&checkpoint).unwrap();
            let found = Model::from_bytes("imported", &bytes, &options).unwrap().logits(images.view()).unwrap();
            let pixels: Vec<f32> = images.iter().map(|&value| f32::from(value) / 255.0 * 2.0 - 1.0).collect();
            let batch = Tensor::from_slice(&pixels).view([2, channels as i64, 32, 32]);
            let expected = network.forward(&batch, false).unwrap().to_kind(Kind::Float).contiguous().view([-1]);
            for (found, expected) in found.iter().zip(Vec::<f32>::try_from(expected).unwrap()) {
                assert!((found - expected).abs() < 1e-4, "{found} instead of {expected}");
            }
        }
    }

    #[test]
    fn what_cannot_be_imported_is_refused_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |file: &Path, count| {
            let imported = Imported::new("weights", file, labels(count), preparation());
            imported.err().map_or_else(String::new, |error| format!("{error:#}"))
        };
        let (odd, _) = saved(folder.path(), 4, true);
        assert!(refused(&odd, 5).contains("takes images with 4 channels: expected 1 or 3"));
        let (file, _) = saved(folder.path(), 3, true);
        assert!(refused(&file, 4).contains("tells 5 classes apart, but there are 4 labels"));
        let run = Imported::new("weights", &file, labels(5), preparation()).unwrap();
        let run = run.write(Some(&folder.path().join("run"))).unwrap();
        assert!(refused(&run.best(), 5).contains("is a checkpoint"), "{}", refused(&run.best(), 5));
        let (file, _) = saved(folder.path(), 3, false);
        assert!(refused(&file, 5).contains("has no classifier: start a training run from it with train --from"));
    }
}
