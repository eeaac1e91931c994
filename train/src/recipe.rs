//! What to do in a run: a TOML file, built in or the user's own, with the command line's flags laid over it.

use anyhow::{Context, Result, bail, ensure};
use models::architecture::{Architecture, Kind};
use models::card::Preprocessing;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The built-in recipes: name and text.
pub const BUILT_IN: [(&str, &str); 3] = [
    ("quick", include_str!("../recipes/quick.toml")),
    ("best", include_str!("../recipes/best.toml")),
    ("tutorial", include_str!("../recipes/tutorial.toml")),
];

/// Everything that decides how a network is trained, but for the data and the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name; names the run's folder too.
    pub name: String,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images in one step. What is left over at the end of an epoch waits for the next shuffle.
    pub batch_size: usize,
    /// Training images that are kept aside to choose the checkpoint that ships; 0: the last one ships.
    #[serde(default)]
    pub hold_out: usize,
    /// Steps between two lines of the log.
    #[serde(default = "fifty")]
    pub log_every: usize,
    /// Seed of every random number of the run.
    #[serde(default = "one")]
    pub seed: u64,
    /// Share of the target that is spread over all classes (Szegedy et al., arXiv 1512.00567, section 7).
    #[serde(default)]
    pub label_smoothing: f64,
    /// Decay per step of the exponential moving average of the weights, which is then what is tested and ships;
    /// 0: no average.
    #[serde(default)]
    pub ema: f64,
    /// Training images, as they are on disk, over which the batch norms of the network that ships are measured after
    /// every epoch; 0: it keeps what training saw, augmented pictures.
    #[serde(default)]
    pub norm_images: usize,
    /// Longest gradient (L2 norm over all parameters); a longer one is shortened to it. 0: any length.
    #[serde(default)]
    pub clip_norm: f64,
    /// Epochs without a better held-out accuracy after which the run ends; 0: never early.
    #[serde(default)]
    pub patience: usize,
    /// What convolutions are computed in during training.
    #[serde(default)]
    pub precision: Precision,
    /// The network.
    pub network: NetworkRecipe,
    /// Mean and standard deviation of the pixels on the scale 0…1; without it they are computed from the training
    /// images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalization: Option<Preprocessing>,
    /// What turns gradients into steps.
    pub optimizer: OptimizerRecipe,
    /// The learning rate over the run.
    pub schedule: ScheduleRecipe,
    /// Random changes to the training images.
    #[serde(default)]
    pub augmentation: Augmentation,
}

fn fifty() -> usize {
    50
}

fn one() -> u64 {
    1
}

fn two() -> usize {
    2
}

/// The network, but for the channels and classes, which come from the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRecipe {
    /// Body: `mobilenet-v1` or `tutorial`.
    pub arch: Kind,
    /// Width multiplier, above 0 and at most 1.
    pub width: f64,
    /// Height and width of the network's input in pixels.
    pub resolution: usize,
    /// Stride of the first convolution: 2 as in the paper, or 1 for tiny pictures.
    #[serde(default = "two")]
    pub stem_stride: usize,
}

/// What convolutions, and so most of the activations, are computed in during training. Weights, their gradients, the
/// norms' statistics and every evaluation are fp32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// bfloat16 on CUDA, fp32 on the CPU (where bfloat16 was measured to be eight times slower without AVX-512).
    #[default]
    Auto,
    /// 32-bit floats.
    Fp32,
    /// bfloat16: mixed precision.
    Bf16,
}

/// What turns gradients into steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerRecipe {
    /// Which one.
    pub kind: OptimizerKind,
    /// Peak learning rate.
    pub lr: f64,
    /// Momentum of SGD, 0 to below 1; β₁ of `AdamW`.
    #[serde(default)]
    pub momentum: f64,
    /// Nesterov's momentum (SGD).
    #[serde(default)]
    pub nesterov: bool,
    /// Weight decay of the convolutions' and classifier's weights.
    #[serde(default)]
    pub weight_decay: f64,
    /// Whether scales, shifts and biases decay too.
    #[serde(default)]
    pub decay_norm_and_bias: bool,
}

/// Which optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum, as `torch.optim.SGD`.
    Sgd,
    /// `AdamW` (Loshchilov and Hutter, arXiv 1711.05101), as `torch.optim.AdamW` with β₂ 0.999 and ε 1e-8.
    AdamW,
}

/// The learning rate over the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRecipe {
    /// Its shape.
    pub kind: ScheduleKind,
    /// Share of all steps in which the rate rises, 0 to below 1.
    #[serde(default)]
    pub warm_up: f64,
}

/// Shape of a learning-rate schedule; see [`crate::schedule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// The peak throughout.
    Constant,
    /// Half a cosine from the peak to 0.
    Cosine,
    /// As `torch.optim.lr_scheduler.OneCycleLR`.
    OneCycle,
}

/// Random changes to the training images, each drawn anew for every image and epoch. All zero: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// Rotation by up to this many degrees to either side.
    pub rotation: f64,
    /// Size changed by up to this share: 0.1 is 0.9 to 1.1 times.
    pub scale: f64,
    /// Shift by up to this share of the picture in both directions.
    pub shift: f64,
    /// Shear by up to this many degrees to either side.
    pub shear: f64,
    /// Standard deviation of a smooth random displacement, as a share of the picture: strokes bend (Simard, Steinkraus,
    /// Platt 2003, "Best practices for convolutional neural networks applied to visual document analysis").
    pub elastic: f64,
    /// Probability that a rectangle of the image is erased (Zhong et al., arXiv 1708.04896).
    pub erasing: f64,
}

/// What the command line changes in a recipe.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--arch`.
    pub arch: Option<Kind>,
    /// `--width`.
    pub width: Option<f64>,
    /// `--resolution`.
    pub resolution: Option<usize>,
    /// `--epochs`.
    pub epochs: Option<usize>,
    /// `--batch-size`.
    pub batch_size: Option<usize>,
    /// `--lr`.
    pub lr: Option<f64>,
    /// `--momentum`.
    pub momentum: Option<f64>,
    /// `--weight-decay`.
    pub weight_decay: Option<f64>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// `--hold-out`.
    pub hold_out: Option<usize>,
}

impl Recipe {
    /// A built-in recipe by its name, or the user's own by its path.
    pub fn find(name_or_path: &str) -> Result<Self> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(text).with_context(|| format!("the built-in recipe {name_or_path} is broken"));
        }
        let path = Path::new(name_or_path);
        let names = BUILT_IN.map(|(name, _)| name).join(", ");
        ensure!(
            path.is_file(),
            "there is no recipe '{name_or_path}': expected a TOML file or one of the built-in recipes ({names})"
        );
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name_or_path}"))?;
        Self::parse(&text).with_context(|| format!("{name_or_path} is not a valid recipe"))
    }

    /// Reads and checks a recipe.
    pub fn parse(text: &str) -> Result<Self> {
        let recipe: Self = toml::from_str(text).map_err(|error| match nearest_key(error.message()) {
            Some(key) => anyhow::anyhow!("{error}did you mean `{key}`?"),
            None => error.into(),
        })?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// The recipe as TOML, every value written out.
    pub fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string(self)?)
    }

    /// Lays the command line's flags over the recipe.
    pub fn with(mut self, flags: &Overrides) -> Result<Self> {
        fn lay<T: Clone>(field: &mut T, flag: Option<&T>) {
            if let Some(value) = flag {
                *field = value.clone();
            }
        }
        lay(&mut self.network.arch, flags.arch.as_ref());
        lay(&mut self.network.width, flags.width.as_ref());
        lay(&mut self.network.resolution, flags.resolution.as_ref());
        lay(&mut self.epochs, flags.epochs.as_ref());
        lay(&mut self.batch_size, flags.batch_size.as_ref());
        lay(&mut self.optimizer.lr, flags.lr.as_ref());
        lay(&mut self.optimizer.momentum, flags.momentum.as_ref());
        lay(&mut self.optimizer.weight_decay, flags.weight_decay.as_ref());
        lay(&mut self.seed, flags.seed.as_ref());
        lay(&mut self.hold_out, flags.hold_out.as_ref());
        self.validate()?;
        Ok(self)
    }

    /// The network for pictures of so many channels and classes.
    pub fn architecture(&self, channels: usize, classes: usize) -> Result<Architecture> {
        let NetworkRecipe { arch, width, resolution, stem_stride } = self.network;
        let architecture = Architecture { kind: arch, width, resolution, channels, classes, stem_stride };
        architecture.validate()?;
        Ok(architecture)
    }

    /// Checks every range.
    fn validate(&self) -> Result<()> {
        let name_is_safe = self.name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
        ensure!(
            !self.name.is_empty() && name_is_safe && !self.name.starts_with('.'),
            "name '{}': expected letters, digits, '-', '_' and '.'",
            self.name
        );
        self.architecture(1, 2)?;
        at_least_one("epochs", self.epochs)?;
        ensure!(self.batch_size >= 2, "batch_size {}: batch norm needs at least 2 images", self.batch_size);
        at_least_one("log_every", self.log_every)?;
        share("label_smoothing", self.label_smoothing)?;
        share("ema", self.ema)?;
        ensure!(
            self.norm_images == 0 || self.norm_images >= self.batch_size,
            "norm_images {} has no effect: expected 0, or at least a batch ({})",
            self.norm_images,
            self.batch_size
        );
        share("optimizer.momentum", self.optimizer.momentum)?;
        share("schedule.warm_up", self.schedule.warm_up)?;
        not_negative("clip_norm", self.clip_norm)?;
        not_negative("optimizer.weight_decay", self.optimizer.weight_decay)?;
        ensure!(
            self.optimizer.lr > 0.0 && self.optimizer.lr.is_finite(),
            "optimizer.lr {}: expected a number above 0",
            self.optimizer.lr
        );
        let Augmentation { rotation, scale, shift, shear, elastic, erasing } = self.augmentation;
        within("augmentation.rotation", rotation, 180.0)?;
        within("augmentation.shear", shear, 60.0)?;
        share("augmentation.scale", scale)?;
        within("augmentation.shift", shift, 1.0)?;
        within("augmentation.elastic", elastic, 1.0)?;
        within("augmentation.erasing", erasing, 1.0)?;
        ensure!(
            !self.optimizer.nesterov || (self.optimizer.kind == OptimizerKind::Sgd && self.optimizer.momentum > 0.0),
            "optimizer.nesterov has no effect without SGD and a momentum above 0"
        );
        if self.schedule.kind == ScheduleKind::OneCycle {
            ensure!(self.schedule.warm_up > 0.0, "schedule.warm_up 0: one-cycle needs a share of steps to rise in");
        }
        if self.patience > 0 && self.hold_out == 0 {
            bail!("patience has no effect without hold_out: early stopping looks at the held-out accuracy");
        }
        Ok(())
    }
}

/// The known key that an unknown one is most like. Serde's message names both: "unknown field `epoch`, expected one of
/// `name`, `epochs`, …".
fn nearest_key(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().filter(|_| message.starts_with("unknown field"))?;
    let likeness = |key: &&str| strsim::jaro_winkler(unknown, key);
    let nearest = quoted.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    Some(nearest.to_owned())
}

fn at_least_one(name: &str, value: usize) -> Result<()> {
    ensure!(value >= 1, "{name} 0: expected at least 1");
    Ok(())
}

fn not_negative(name: &str, value: f64) -> Result<()> {
    ensure!(value >= 0.0 && value.is_finite(), "{name} {value}: expected 0 or more");
    Ok(())
}

fn share(name: &str, value: f64) -> Result<()> {
    ensure!((0.0..1.0).contains(&value), "{name} {value}: expected 0 or more, and below 1");
    Ok(())
}

fn within(name: &str, value: f64, largest: f64) -> Result<()> {
    ensure!((0.0..=largest).contains(&value), "{name} {value}: expected 0 to {largest}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_recipes_are_valid_and_survive_writing() {
        for (name, _) in BUILT_IN {
            let recipe = Recipe::find(name).unwrap();
            assert_eq!(recipe.name, name);
            assert_eq!(Recipe::parse(&recipe.to_toml().unwrap()).unwrap(), recipe);
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
        assert_eq!(recipe.augmentation, Augmentation::default());
    }

    #[test]
    fn flags_are_laid_over_the_recipe() {
        let flags = Overrides { epochs: Some(3), lr: Some(0.2), ..Overrides::default() };
        let recipe = Recipe::find("quick").unwrap().with(&flags).unwrap();
        assert_eq!((recipe.epochs, recipe.optimizer.lr), (3, 0.2));
        let bad = Overrides { lr: Some(-1.0), ..Overrides::default() };
        assert!(Recipe::find("quick").unwrap().with(&bad).is_err());
    }

    #[test]
    fn mistakes_are_named() {
        let quick = BUILT_IN[0].1;
        for (from, to, word) in [
            ("epochs = 7", "epoch = 7", "did you mean `epochs`?"),
            ("warm_up = 0.2", "warmup = 0.2", "did you mean `warm_up`?"),
            ("[augmentation]", "[augmentaton]", "did you mean `augmentation`?"),
            ("kind = \"cosine\"", "kind = \"cosin\"", "cosine"),
            ("width = 0.25", "width = 2.5", "width multiplier 2.5"),
            ("momentum = 0.9", "momentum = 1.0", "optimizer.momentum 1"),
            ("momentum = 0.9", "momentum = 0.0", "nesterov has no effect"),
            ("hold_out = 2000", "hold_out = 0\npatience = 3", "patience has no effect"),
            (
                "hold_out = 2000",
                "norm_images = 100",
                "norm_images 100 has no effect: expected 0, or at least a batch (128)",
            ),
        ] {
            assert!(quick.contains(from), "{from}");
            let message = format!("{:#}", Recipe::parse(&quick.replace(from, to)).unwrap_err());
            assert!(message.contains(word), "{message}");
        }
    }
}
