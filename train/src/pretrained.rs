//! The weights that a network starts from: the shipped body, those of a run, or a MobileNetV1 that timm saved.

pub(crate) mod timm;

use crate::checkpoint::{self, Checkpoint, DataFacts};
use crate::flat::{Flat, Spec};
use crate::network::Network;
use crate::recipe::NetworkRecipe;
use crate::run;
use crate::source::Classes;
use anyhow::{Context, Result, bail, ensure};
use models::architecture::{Architecture, Kind as Layers};
use models::card::Origin;
use models::dataset::{self, Dataset};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::Path;
use tch::{Kind, Tensor};

/// The recipe's word for weights drawn at random.
pub const NONE: &str = "none";

/// The recipe's word for the shipped body.
pub const BODY: &str = "body";

/// The shipped bodies: width, file name and file. `scripts/pretrained` makes them.
const BODIES: [(f64, &str, &[u8]); 2] = [
    (0.25, "body-25.safetensors", include_bytes!("../../models/pretrained/body-25.safetensors")),
    (0.5, "body-50.safetensors", include_bytes!("../../models/pretrained/body-50.safetensors")),
];

/// The last convolution's weights, and its channels at width 1.
const LAST: &str = "block13.pointwise.weight";
const LAST_CHANNELS: f64 = 1024.0;

/// Weights of another network, by the names of our layers.
pub struct Pretrained {
    /// The file that they were read from.
    pub origin: Origin,
    /// How messages call it.
    name: String,
    /// The network that they belong to.
    network: NetworkRecipe,
    /// The data that a run learnt the labels of.
    data: Option<DataFacts>,
    is_checkpoint: bool,
    tensors: HashMap<String, Tensor>,
}

/// Whether a body is shipped for this architecture's layers and width.
#[must_use]
pub fn is_shipped(kind: Layers, width: f64) -> bool {
    kind == Layers::MobilenetV1 && body(width).is_some()
}

fn body(width: f64) -> Option<&'static (f64, &'static str, &'static [u8])> {
    BODIES.iter().find(|(own, ..)| (own - width).abs() < 1e-9)
}

/// Whether a recipe's `from` is a path.
#[must_use]
pub fn is_file(from: &str) -> bool {
    ![NONE, BODY].contains(&from)
}

/// A recipe's `from` with its path made absolute. A relative path is relative to `folder`.
pub fn absolute(from: &str, folder: &Path) -> Result<String> {
    if !is_file(from) {
        return Ok(from.to_owned());
    }
    let path = std::path::absolute(folder.join(from)).with_context(|| format!("cannot find {from}"))?;
    Ok(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.to_owned())
}

/// The weights of a checkpoint's exported network without the classifier, as a safetensors file with timm's names. Errors
/// if it is not a network of timm's: a MobileNetV1 whose first convolution has stride 2.
pub fn body_of(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    let NetworkRecipe { arch, stem_stride, .. } = checkpoint.metadata.recipe.network;
    ensure!(
        (arch, stem_stride) == (Layers::MobilenetV1, 2),
        "{}: only the body of {} with a first stride of 2 can be written",
        checkpoint.metadata.architecture,
        Layers::MobilenetV1
    );
    timm::write(&checkpoint.shipped_tensors(), false)
}

impl Pretrained {
    /// Reads what a recipe's `from` names; `None` if the weights are drawn at random. Errors if it cannot be read, or
    /// if it names the shipped body and there is none for this architecture.
    pub fn find(from: &str, architecture: &Architecture) -> Result<Option<Self>> {
        match from {
            NONE => Ok(None),
            BODY => {
                let own = body(architecture.width).filter(|_| architecture.kind == Layers::MobilenetV1);
                let widths = BODIES.map(|(width, ..)| width.to_string()).join(" and ");
                let (_, name, bytes) = own.with_context(|| {
                    format!(
                        "no body is shipped for {architecture}: --from body needs {} of width {widths}",
                        Layers::MobilenetV1
                    )
                })?;
                Self::parse((*name).to_owned(), Path::new(name), bytes).map(Some)
            }
            path => Self::read(Path::new(path)).map(Some),
        }
    }

    /// Reads a run's folder (the epoch that it exports), a checkpoint, or a safetensors file with timm's names. Errors if
    /// it is none of these.
    pub fn read(given: &Path) -> Result<Self> {
        let path = if given.is_dir() { run::checkpoint_path(Some(given))? } else { given.to_owned() };
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(path.display().to_string(), &path, &bytes)
    }

    fn parse(name: String, path: &Path, bytes: &[u8]) -> Result<Self> {
        let is_checkpoint = checkpoint::is_checkpoint(bytes);
        let (tensors, network, data) = if is_checkpoint {
            let checkpoint = Checkpoint::from_bytes(path, bytes)?;
            let metadata = &checkpoint.metadata;
            let has_labels = metadata.data.classes == Classes::Labels && !metadata.is_imported();
            let data = has_labels.then(|| metadata.data.clone());
            (checkpoint.shipped_tensors(), metadata.recipe.network.clone(), data)
        } else {
            let tensors = timm::read(bytes).with_context(|| {
                format!(
                    "{name} has no weights to start from (expected a run's folder, a checkpoint, or a MobileNetV1 that timm \
                     saved as safetensors)"
                )
            })?;
            let last = tensors.get(LAST).and_then(|tensor| tensor.size().first().copied());
            let last = last.with_context(|| format!("{name} has no weights for the last convolution"))?;
            let width = last as f64 / LAST_CHANNELS;
            // The resolution is not stored; this is ImageNet's.
            let network = NetworkRecipe { arch: Layers::MobilenetV1, width, resolution: 224, stem_stride: 2 };
            (tensors, network, None)
        };
        let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let sha256 = format!("{:x}", Sha256::digest(bytes));
        Ok(Self { origin: Origin { file, sha256 }, name, network, data, is_checkpoint, tensors })
    }

    /// Describes how many of the images that the weights were fitted to are in `set`; `None` if they are not, or if it is
    /// not known, as for images of another size.
    #[must_use]
    pub fn trained_on(&self, set: &Dataset) -> Option<String> {
        dataset::trained_on(&self.data.as_ref()?.sample, set)
    }

    /// Whether the weights are those of a run on this data folder.
    #[must_use]
    pub fn is_of(&self, folder: &Path) -> bool {
        let real = |folder: &Path| folder.canonicalize().ok();
        self.data.as_ref().is_some_and(|data| real(&data.folder).is_some() && real(&data.folder) == real(folder))
    }

    /// The network that the weights belong to. Its resolution is a guess for weights that timm saved.
    #[must_use]
    pub fn network(&self) -> &NetworkRecipe {
        &self.network
    }

    /// Whether they are those of a checkpoint.
    #[must_use]
    pub fn is_checkpoint(&self) -> bool {
        self.is_checkpoint
    }

    /// Channels of the images: 1 or 3.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.tensors.get("stem.weight").and_then(|tensor| tensor.size().get(1).copied()).unwrap_or(3) as usize
    }

    /// How many classes the weights tell apart; `None` if they have no classifier.
    #[must_use]
    pub fn classes(&self) -> Option<usize> {
        Some(*self.tensors.get("classifier.weight")?.size().first()? as usize)
    }

    /// Copies the weights into a network. A classifier for another number of classes keeps the network's own weights,
    /// and the first convolution is adapted to grey or colour images: notes say so. Errors if anything else does not
    /// match, and names it.
    pub fn fill(&self, network: &mut Network) -> Result<Vec<String>> {
        let classifier = network.architecture().classifier();
        let (mut notes, mut wrong) = (Vec::new(), Vec::new());
        let (parameters, statistics) = network.state_mut();
        for flat in [parameters, statistics] {
            self.copy(flat, &classifier, &mut notes, &mut wrong)?;
        }
        notes.dedup();
        if wrong.is_empty() {
            return Ok(notes);
        }
        bail!(
            "{} does not fit {}: it belongs to {} of width {}\n  {}{}",
            self.name,
            network.architecture(),
            self.network.arch,
            self.network.width,
            wrong[..wrong.len().min(5)].join("\n  "),
            if wrong.len() > 5 { format!("\n  and {} more", wrong.len() - 5) } else { String::new() }
        )
    }

    /// Copies the weights into a buffer. Adds to the notes, and to the list of tensors that do not match.
    fn copy(&self, flat: &mut Flat, classifier: &str, notes: &mut Vec<String>, wrong: &mut Vec<String>) -> Result<()> {
        let mut values = Vec::new();
        for (Spec { name, shape }, own) in flat.specs().iter().zip(flat.views(false)?) {
            let found = self.tensors.get(name).map(|tensor| (tensor, tensor.size()));
            let layer = name.rsplit_once('.').map_or(&**name, |(layer, _)| layer);
            let tensor = match found {
                Some((tensor, size)) if size == *shape => tensor.shallow_clone(),
                _ if layer == classifier => {
                    notes.push("with a new classifier".to_owned());
                    own
                }
                Some((tensor, size)) if name == "stem.weight" && (size.get(1), shape[1]) == (Some(&3), 1) => {
                    notes.push(
                        "for grey images: the first convolution's weights are summed over the colours".to_owned(),
                    );
                    tensor.f_sum_dim_intlist([1_i64].as_slice(), true, Kind::Float)?
                }
                Some((tensor, size)) if name == "stem.weight" && (size.get(1), shape[1]) == (Some(&1), 3) => {
                    notes.push(
                        "for colour images: each colour gets a third of the first convolution's weights".to_owned(),
                    );
                    tensor.f_div_scalar(3.0)?.f_repeat([1, 3, 1, 1])?
                }
                Some((_, size)) => {
                    wrong.push(format!("{name} has shape {size:?}: expected {shape:?}"));
                    continue;
                }
                None => {
                    wrong.push(format!("{name} is missing"));
                    continue;
                }
            };
            values.push(tensor.f_to(flat.buffer().device())?.f_reshape([-1])?);
        }
        if wrong.is_empty() { flat.copy_from(&Tensor::f_cat(&values, 0)?) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn architecture(width: f64, channels: usize, classes: usize) -> Architecture {
        Architecture { channels, classes, ..Architecture::imagenet(width, 32) }
    }

    /// A file with the body of a network, and the network.
    fn saved(architecture: &Architecture) -> (tempfile::TempDir, Network) {
        let folder = tempfile::tempdir().unwrap();
        let network = Network::initialised(architecture, Device::Cpu).unwrap();
        let bytes = timm::write(&network.tensors().unwrap(), false).unwrap();
        std::fs::write(folder.path().join("body.safetensors"), bytes).unwrap();
        (folder, network)
    }

    fn filled(folder: &Path, architecture: &Architecture) -> Result<(Network, Vec<String>)> {
        let pretrained = Pretrained::read(&folder.join("body.safetensors"))?;
        let mut network = Network::initialised(architecture, Device::Cpu)?;
        let notes = pretrained.fill(&mut network)?;
        Ok((network, notes))
    }

    fn tensor(network: &Network, name: &str) -> Tensor {
        let flat = network.parameters();
        let place = flat.specs().iter().position(|spec| spec.name == name).unwrap();
        flat.views(false).unwrap().swap_remove(place)
    }

    #[test]
    fn a_body_comes_back_and_the_classifier_is_new() {
        let (folder, network) = saved(&architecture(0.25, 3, 10));
        let (found, notes) = filled(folder.path(), &architecture(0.25, 3, 4)).unwrap();
        assert_eq!(notes, ["with a new classifier"]);
        for name in ["stem.weight", "block7.depthwise.weight", "block13.pointwise.norm.scale"] {
            assert!(tensor(&found, name).equal(&tensor(&network, name)), "{name}");
        }
        assert!(found.statistics().buffer().equal(network.statistics().buffer()));
        assert!(tensor(&found, "classifier.weight").abs().max().double_value(&[]) > 0.0);
    }

    /// A grey image has equal colours, so that the first convolution answers as before.
    #[test]
    fn the_first_convolution_sums_the_colours_for_grey_images() {
        let (folder, network) = saved(&architecture(0.25, 3, 10));
        let (grey, notes) = filled(folder.path(), &architecture(0.25, 1, 10)).unwrap();
        assert!(notes[0].contains("summed over the colours"), "{notes:?}");
        let image = Tensor::rand([1, 1, 8, 8], (Kind::Float, Device::Cpu));
        let answer = |network: &Network, image: &Tensor| {
            image.conv2d(&tensor(network, "stem.weight"), None::<Tensor>, [2, 2], [1, 1], [1, 1], 1)
        };
        let difference = answer(&grey, &image) - answer(&network, &image.repeat([1, 3, 1, 1]));
        assert!(difference.abs().max().double_value(&[]) < 1e-5);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (folder, _) = saved(&architecture(0.25, 3, 10));
        let message = filled(folder.path(), &architecture(0.5, 3, 10)).err().unwrap().to_string();
        assert!(message.contains("it belongs to mobilenet-v1 of width 0.25"), "{message}");
        assert!(message.contains("stem.weight has shape [8, 3, 3, 3]: expected [16, 3, 3, 3]"), "{message}");
        assert!(message.contains(" more"), "{message}");
        let tutorial = Architecture { kind: Layers::Tutorial, ..architecture(0.25, 3, 10) };
        let message = filled(folder.path(), &tutorial).err().unwrap().to_string();
        assert!(message.contains("head.weight is missing"), "{message}");
    }

    #[test]
    fn files_without_weights_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body.safetensors");
        let numbers = [0_u8; 4];
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &numbers).unwrap();
        for (bytes, word) in [
            (b"text".to_vec(), "not a complete safetensors file"),
            (safetensors::serialize([("layer1.weight", &view)], None).unwrap(), "belong to neither: layer1.weight"),
            (safetensors::serialize([("bn1.bias", &view)], None).unwrap(), "no weights for the last convolution"),
        ] {
            std::fs::write(&file, bytes).unwrap();
            let message = format!("{:#}", Pretrained::read(&file).err().unwrap());
            assert!(message.contains(word) && message.contains("body.safetensors"), "{message}");
        }
    }

    #[test]
    fn the_shipped_bodies_fit_their_networks() {
        for (width, ..) in BODIES {
            for channels in [1, 3] {
                let architecture = architecture(width, channels, 4);
                let body = Pretrained::find(BODY, &architecture).unwrap().unwrap();
                body.fill(&mut Network::zeros(&architecture, Device::Cpu).unwrap()).unwrap();
            }
        }
        let message = Pretrained::find(BODY, &architecture(0.3, 3, 4)).err().unwrap().to_string();
        assert!(message.contains("no body is shipped for mobilenet-v1 width 0.3"), "{message}");
    }
}
