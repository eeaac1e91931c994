//! Recipes: the settings of a training run. A recipe is a TOML file, either built in or the user's own; command-line
//! flags override its keys.
//!
//! * `layers`: fills in keys that a file leaves out from its base recipe.
//! * [`keys`]: lists every key with its meaning and range, taken from the structs below; `train recipe` prints the
//!   list.
//! * `mistakes`: reports what is wrong with a file, key by key.

mod augmentation;
mod automatic;
mod document;
mod flags;
pub mod keys;
mod layers;
mod mistakes;
mod normalization;

use crate::pretrained::{self, Pretrained};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use layers::Layers;
use models::architecture::{Architecture, Kind, MAX_RESOLUTION, MIN_RESOLUTION};
use models::card::Preprocessing;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::LazyLock;
use toml::{Table, Value};

pub use augmentation::{Augmentation, ColorJitter, OutlierRecipe};
pub use automatic::{BODY, Decision, PHOTOS};
pub use document::document;
pub use flags::Overrides;
pub use layers::DRAWINGS;

/// The built-in recipes: name and text. Each sets every key.
pub const BUILT_IN: &[(&str, &str)] = &[
    (DEFAULT, include_str!("../../recipes/quick.toml")),
    ("best", include_str!("../../recipes/best.toml")),
    (PHOTOS, include_str!("../../recipes/photos.toml")),
    (BODY, include_str!("../../recipes/body.toml")),
    ("tutorial", include_str!("../../recipes/tutorial.toml")),
];

/// The names of the built-in recipes.
pub static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| BUILT_IN.iter().map(|(name, _)| *name).collect());

/// The recipe used when none is named, and the base of recipes that do not name one.
pub const DEFAULT: &str = "quick";

/// What a recipe is adapted to. By default: IDX files of images that are not digits.
#[derive(Clone, Debug, Default)]
pub struct DataForm {
    /// Whether the images are prepared as digits.
    pub are_digits: bool,
    /// Whether there is a validation split that will be used.
    pub has_validation: bool,
    /// Whether the images are in class folders, or are classes of their own; otherwise they are in IDX files.
    pub are_files: bool,
    /// Number of training images of each class; empty if they are unknown.
    pub class_sizes: Vec<usize>,
}

/// Everything that decides how a network is trained, except the data and the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the recipe and of its runs' folders: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The weights that the network starts from: `body`, the shipped ones for its width; `none`, drawn at random; or a
    /// file, relative to this one: a run's folder, a checkpoint, or a MobileNetV1 that timm saved as safetensors.
    // Checkpoints of earlier versions leave it out.
    #[serde(default = "at_random")]
    #[schemars(!default)]
    pub from: String,
    /// Epochs at the start in which only the classifier is trained. The body, with its batch-norm statistics, stays as
    /// it is.
    // Checkpoints of earlier versions leave it out.
    #[serde(default)]
    #[schemars(!default, range(min = 0, max = 100_000))]
    pub freeze: usize,
    /// Number of epochs. After each, the network is tested and a checkpoint is written.
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: usize,
    /// Passes over the training images in an epoch. Small sets need several, or tests and checkpoints take most of the
    /// time.
    // Checkpoints of earlier versions leave it out.
    #[serde(default = "one")]
    #[schemars(!default, range(min = 1, max = 100_000))]
    pub passes: usize,
    /// Images per step. Images left over at the end of an epoch are not used in it.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub batch_size: usize,
    /// Training images held out to choose the best epoch and to calibrate the probabilities. 0: none, and the last epoch is
    /// exported.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub hold_out: usize,
    /// The epoch that is exported: the `best` on the held-out images, or the `last`. Few held-out images would choose
    /// it by chance.
    // Checkpoints of earlier versions leave it out.
    #[serde(default)]
    #[schemars(!default)]
    pub exported_epoch: ExportedEpoch,
    /// Steps between log lines.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub log_every: usize,
    /// Seed of all random numbers in the run.
    // TOML has no larger integers.
    #[schemars(range(min = 0, max = i64::MAX))]
    pub seed: u64,
    /// Share of the target probability that is spread over all classes (Szegedy et al., arXiv 1512.00567, section 7).
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub label_smoothing: f64,
    /// Weight of each class in the loss: `balanced` gives every class the same total weight, however many images it
    /// has; `none` gives every image the same.
    // Checkpoints of earlier versions leave it out.
    #[serde(default)]
    #[schemars(!default)]
    pub class_weights: ClassWeights,
    /// Decay per step of the exponential moving average of the weights. The average is what is tested and exported. 0:
    /// no average.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub ema: f64,
    /// Training images, without augmentation, on which the batch-norm statistics are measured after every epoch: at
    /// least a batch, and not while the body is frozen. 0: the statistics come from the augmented images seen in training.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub norm_images: usize,
    /// Maximum L2 norm of the gradient over all parameters; larger gradients are scaled down to it. 0: no limit.
    #[schemars(range(min = 0))]
    pub clip_norm: f64,
    /// Epochs without a better held-out accuracy after which the run stops early; 0: never. Needs
    /// held-out images: `hold_out`, or a validation split.
    #[schemars(range(min = 0, max = 100_000))]
    pub patience: usize,
    /// Number format of convolutions, and so of most activations, during training. `auto` is bf16 on CUDA and fp32 on
    /// the CPU.
    pub precision: Precision,
    /// Mean and standard deviation for normalising images. The line `normalization = "auto"` instead of the table
    /// measures them on the training images.
    // Checkpoints of earlier versions leave it out.
    #[serde(default, with = "normalization")]
    #[schemars(!default, required, with = "normalization::Given", extend("x-or" = normalization::AUTO))]
    pub normalization: Option<Preprocessing>,
    /// The network. Its channels and classes come from the data.
    pub network: NetworkRecipe,
    /// The optimizer.
    pub optimizer: OptimizerRecipe,
    /// The learning-rate schedule.
    pub schedule: ScheduleRecipe,
    /// Random changes to the training images, different for every image and epoch. All zero: none.
    pub augmentation: Augmentation,
    /// Random changes of colour, as torchvision's `ColorJitter` makes them. All zero: none.
    // Checkpoints of earlier versions leave it out.
    #[serde(default)]
    #[schemars(!default)]
    pub color_jitter: ColorJitter,
    /// Images of none of the classes, drawn at random and added to every batch. The network learns to answer them with
    /// equal probabilities (Hendrycks et al., arXiv 1812.04606).
    // Checkpoints of earlier versions leave it out.
    #[serde(default)]
    #[schemars(!default)]
    pub outliers: OutlierRecipe,
}

fn one() -> usize {
    1
}

fn whole() -> f64 {
    1.0
}

fn at_random() -> String {
    pretrained::NONE.to_owned()
}

/// Which epoch of a run is exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum ExportedEpoch {
    #[default]
    Best,
    Last,
}

/// How much each class counts in the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
// Doc comments on the values would spread the flag's `--help` over several lines, and turn the key's list of values
// into one of descriptions.
#[allow(missing_docs)]
pub enum ClassWeights {
    Balanced,
    #[default]
    None,
}

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkRecipe {
    /// Architecture: `mobilenet-v1` is the paper's, `tutorial` the source tutorial's variant.
    #[schemars(schema_with = "architectures")]
    pub arch: Kind,
    /// Width multiplier α.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub width: f64,
    /// Height and width of the network's input in pixels.
    #[schemars(range(min = MIN_RESOLUTION, max = MAX_RESOLUTION))]
    pub resolution: usize,
    /// Stride of the first convolution: 2 as in the paper, 1 for tiny images.
    #[schemars(range(min = 1, max = 2))]
    pub stem_stride: usize,
}

fn architectures(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": Kind::ALL.map(Kind::name) })
}

/// Number format of convolutions in training. Weights, their gradients, the norms' statistics and every evaluation are
/// always fp32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// bfloat16 on CUDA, fp32 on the CPU (where bfloat16 was measured to be eight times slower without AVX-512).
    Auto,
    /// 32-bit floats.
    Fp32,
    /// bfloat16: mixed precision.
    Bf16,
}

/// The optimizer and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptimizerRecipe {
    /// Optimizer: `sgd` as `torch.optim.SGD`, `adamw` as `torch.optim.AdamW` with β₂ 0.999 and ε 1e-8.
    pub kind: OptimizerKind,
    /// Peak learning rate.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr: f64,
    /// Learning rate of the body, as a share of `lr`. 1: the body learns as fast as the classifier.
    // Checkpoints of earlier versions leave it out.
    #[serde(default = "whole")]
    #[schemars(!default, range(max = 1), extend("exclusiveMinimum" = 0))]
    pub body_lr: f64,
    /// Momentum of SGD; β₁ of `AdamW`.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub momentum: f64,
    /// Nesterov momentum. Needs SGD and a momentum above 0.
    pub nesterov: bool,
    /// Weight decay of convolution and classifier weights.
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
    /// Whether weight decay also applies to batch-norm scales and shifts and to biases.
    pub decay_norm_and_bias: bool,
}

/// Which optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum, as `torch.optim.SGD`.
    Sgd,
    /// `AdamW` (Loshchilov and Hutter, arXiv 1711.05101), as `torch.optim.AdamW` with β₂ 0.999 and ε 1e-8.
    AdamW,
}

/// The learning rate over the run; see [`crate::schedule`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRecipe {
    /// Shape: `constant` stays at the peak, `cosine` falls to 0 along half a cosine, `one-cycle` is
    /// `torch.optim.lr_scheduler.OneCycleLR`.
    pub kind: ScheduleKind,
    /// Share of all steps during which the rate rises to its peak. `one-cycle` needs a share above 0.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub warm_up: f64,
}

/// Shape of a learning-rate schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// The peak throughout.
    Constant,
    /// Half a cosine from the peak to 0.
    Cosine,
    /// As `torch.optim.lr_scheduler.OneCycleLR`.
    OneCycle,
}

impl Recipe {
    /// Loads a built-in recipe by name, or a user's recipe by path. Keys that a file leaves out come from its base.
    /// Errors if the file cannot be read or is not a valid recipe.
    pub fn find(name_or_path: &str) -> Result<Self> {
        let table = Layers::find(name_or_path)?.merged(&Table::new())?;
        Self::from_table(table).with_context(|| format!("{name_or_path} is not a valid recipe"))
    }

    /// Like [`Self::find`], with command-line flags laid over it, adapted to the data: for images that are not digits,
    /// what the built-in recipes set for drawn digits is off ([`DRAWINGS`]); the recipes `photos` and `body` choose values
    /// from the sizes of the classes. The user's own files and flags override both. Also returns the choices.
    pub fn for_data(name_or_path: &str, flags: &Overrides, data: &DataForm) -> Result<(Self, Vec<Decision>)> {
        let layers = Layers::find(name_or_path)?.with(flags.to_table()?);
        // Recipes with rules are made for images that are not digits, so they keep what they set.
        let rules = automatic::Rules::of(layers.base());
        let keeps_drawings = data.are_digits || rules.is_some();
        let mut adapted = if keeps_drawings { Table::new() } else { layers::drawings_off(layers.base())? };
        let base = layers::built_in(layers.base())?;
        let mut decisions = match &rules {
            Some(rules) if !data.class_sizes.is_empty() => {
                let own = |table: &str, key: &str| layers.own(table, key);
                automatic::decide(rules, &base, &data.class_sizes, data.has_validation, own)
            }
            _ => Vec::new(),
        };
        let from = layers.own("", "from").and_then(Value::as_str).filter(|from| pretrained::is_file(from));
        if let Some(from) = from {
            let own = automatic::network_of(&Pretrained::read(Path::new(from))?);
            let differs = |choice: &Decision| layers::get(&base, choice.table, choice.key) != Some(&choice.value);
            decisions.splice(0..0, own.into_iter().filter(differs));
        }
        adapted = layers::lay_over(adapted, &automatic::to_table(&decisions));
        let decisions = decisions.into_iter().filter(|choice| layers.own(choice.table, choice.key).is_none()).collect();
        let recipe = Self::from_table(layers.merged(&adapted)?);
        Ok((recipe.with_context(|| format!("{name_or_path} is not a valid recipe"))?, decisions))
    }

    /// Parses the `recipe.toml` of a run. Keys that its version did not have yet are off.
    pub fn of_run(text: &str) -> Result<Self> {
        let layers = Layers::parse(text)?;
        let off = layers::drawings_off(layers.base())?;
        Self::from_table(layers.merged(&off)?)
    }

    /// Parses and validates the text of a recipe. Missing keys come from its base; a base path is relative to the
    /// current folder.
    pub fn parse(text: &str) -> Result<Self> {
        Self::from_table(Layers::parse(text)?.merged(&Table::new())?)
    }

    /// Steps in an epoch of this many images.
    #[must_use]
    pub fn steps_per_epoch(&self, images: usize) -> usize {
        images * self.passes / self.batch_size.max(1)
    }

    /// Returns the recipe as TOML with every value written out.
    pub fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string(self)?)
    }

    /// Applies command-line flags to the recipe and validates the result.
    pub fn with(self, flags: &Overrides) -> Result<Self> {
        Self::from_table(layers::lay_over(Table::try_from(self)?, &flags.to_table()?))
    }

    /// Returns the network's architecture for images with this many channels and classes. Errors if the architecture is
    /// invalid.
    pub fn architecture(&self, channels: usize, classes: usize) -> Result<Architecture> {
        let NetworkRecipe { arch, width, resolution, stem_stride } = self.network;
        let architecture = Architecture { kind: arch, width, resolution, channels, classes, stem_stride };
        architecture.validate()?;
        Ok(architecture)
    }

    /// Validates and converts a table that sets every key.
    fn from_table(table: Table) -> Result<Self> {
        mistakes::refuse(&table, None)?;
        let recipe: Self = table.try_into()?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// Checks the name and the constraints between keys. The range of each key has been checked before.
    fn validate(&self) -> Result<()> {
        let name_is_safe = self.name.chars().all(layers::may_be_in_a_name);
        ensure!(
            !self.name.is_empty() && name_is_safe && !self.name.starts_with('.'),
            "name '{}': expected letters, digits, '-', '_' and '.', and no leading '.'",
            deploy::text::printable(&self.name)
        );
        self.architecture(1, 2)?;
        ensure!(
            self.norm_images == 0 || self.norm_images >= self.batch_size,
            "norm_images {} has no effect: expected 0, or at least a batch ({})",
            self.norm_images,
            self.batch_size
        );
        if let Some(Preprocessing { mean, std }) = &self.normalization {
            ensure!(
                mean.len() == std.len() && [1, 3].contains(&mean.len()),
                "[normalization] has {} in mean and {} in std: expected one number in each for grey images, or three for \
                 colour",
                deploy::text::counted(mean.len(), "number"),
                std.len()
            );
        }
        let OptimizerRecipe { kind, momentum, nesterov, .. } = self.optimizer;
        ensure!(
            !nesterov || (kind == OptimizerKind::Sgd && momentum > 0.0),
            "optimizer.nesterov has no effect without SGD and a momentum above 0"
        );
        if self.schedule.kind == ScheduleKind::OneCycle {
            ensure!(self.schedule.warm_up > 0.0, "schedule.warm_up 0: expected a share above 0 with one-cycle");
        }
        ensure!(
            self.from != pretrained::NONE || (self.freeze == 0 && self.optimizer.body_lr == 1.0),
            "freeze and optimizer.body_lr need a pretrained body (from): a body that starts at random must learn as fast \
             as the classifier"
        );
        ensure!(
            self.freeze < self.epochs || self.freeze == 0,
            "freeze {}: expected fewer than the {} of the run",
            self.freeze,
            deploy::text::counted(self.epochs, "epoch")
        );
        ensure!(
            self.patience == 0 || self.exported_epoch == ExportedEpoch::Best,
            "patience has no effect with exported_epoch = \"last\": early stopping looks for the best epoch"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick() -> Recipe {
        Recipe::find("quick").unwrap()
    }

    #[test]
    fn the_built_in_recipes_set_every_key_and_survive_writing() {
        for &(name, text) in BUILT_IN {
            let recipe = Recipe::find(name).unwrap();
            assert_eq!(recipe.name, name);
            assert_eq!(toml::from_str::<Recipe>(text).unwrap(), recipe);
            assert_eq!(Recipe::parse(&recipe.to_toml().unwrap()).unwrap(), recipe);
            // A run's `recipe.toml` sets every key, so it does not change meaning when the program's defaults do.
            assert_eq!(toml::from_str::<Recipe>(&recipe.to_toml().unwrap()).unwrap(), recipe);
            // Checkpoints hold it as JSON.
            assert_eq!(serde_json::from_str::<Recipe>(&serde_json::to_string(&recipe).unwrap()).unwrap(), recipe);
        }
    }

    /// The hyper-parameters the source tutorial states.
    #[test]
    fn the_tutorial_is_trained_as_the_tutorial_says() {
        let recipe = Recipe::find("tutorial").unwrap();
        assert_eq!((recipe.batch_size, recipe.epochs, recipe.log_every), (32, 5, 50));
        assert_eq!((recipe.network.arch, recipe.network.resolution), (Kind::Tutorial, 224));
        assert_eq!((recipe.optimizer.lr, recipe.optimizer.momentum), (0.05, 0.5));
        assert_eq!(recipe.normalization.unwrap(), Preprocessing { mean: vec![0.1307], std: vec![0.3081] });
        assert_eq!((recipe.augmentation, recipe.outliers), (Augmentation::default(), OutlierRecipe::default()));
        assert_eq!((recipe.label_smoothing, recipe.ema, recipe.optimizer.weight_decay), (0.0, 0.0, 0.0));
    }

    /// Checkpoints and the `recipe.toml` of earlier versions lack the drawing augmentations and the outliers.
    #[test]
    fn recipes_of_earlier_versions_have_neither_drawing_augmentations_nor_outliers() {
        let (expected, _) = Recipe::for_data("best", &Overrides::default(), &DataForm::default()).unwrap();
        assert_eq!((expected.outliers.share, expected.augmentation.stroke_width), (0.0, 0.0));
        let mut old = Table::try_from(&expected).unwrap();
        old.remove("outliers");
        let augmentation = old["augmentation"].as_table_mut().unwrap();
        for (_, key) in DRAWINGS.iter().filter(|(table, _)| *table == "augmentation") {
            augmentation.remove(*key).unwrap();
        }
        assert_eq!(Recipe::of_run(&old.to_string()).unwrap(), expected);
        assert_eq!(serde_json::from_value::<Recipe>(serde_json::to_value(&old).unwrap()).unwrap(), expected);
        // Newer ones set every key.
        let quick = quick();
        assert_eq!(Recipe::of_run(&quick.to_toml().unwrap()).unwrap(), quick);
    }

    #[test]
    fn flags_are_laid_over_the_recipe() {
        let flags = Overrides { epochs: Some(3), lr: Some(0.2), stem_stride: Some(1), ..Overrides::default() };
        let recipe = quick().with(&flags).unwrap();
        assert_eq!((recipe.epochs, recipe.optimizer.lr, recipe.network.stem_stride), (3, 0.2, 1));
        assert_eq!(quick().with(&Overrides::default()).unwrap(), quick());
        let tutorial = Recipe::find("tutorial").unwrap();
        assert_eq!(tutorial.clone().with(&Overrides::default()).unwrap(), tutorial);
        let bad = Overrides { lr: Some(-1.0), ..Overrides::default() };
        assert!(quick().with(&bad).is_err());
        // No flag sets `nesterov`, so a momentum of 0 must switch it off.
        let plain = Overrides { momentum: Some(0.0), ..Overrides::default() };
        assert!(!quick().with(&plain).unwrap().optimizer.nesterov);
    }

    #[test]
    fn keys_that_contradict_each_other_are_named() {
        for (text, word) in [
            ("[optimizer]\nnesterov = true\nmomentum = 0.0", "nesterov has no effect"),
            ("[optimizer]\nkind = \"adamw\"\nnesterov = true", "nesterov has no effect"),
            ("exported_epoch = \"last\"\npatience = 3", "patience has no effect with exported_epoch"),
            ("norm_images = 100", "norm_images 100 has no effect: expected 0, or at least a batch (128)"),
            ("[schedule]\nkind = \"one-cycle\"\nwarm_up = 0", "expected a share above 0 with one-cycle"),
            ("[normalization]\nmean = [0.5, 0.5, 0.5]\nstd = [0.5]", "3 numbers in mean and 1 in std"),
            ("[normalization]\nmean = [0.5]", "the table [normalization] needs the key `std`: a list"),
            ("name = \"a/b\"", "name 'a/b': expected letters"),
        ] {
            let text = if text.contains("name") { text.to_owned() } else { format!("name = \"x\"\n{text}") };
            let message = format!("{:#}", Recipe::parse(&text).unwrap_err());
            assert!(message.contains(word), "{message}");
        }
    }
}
