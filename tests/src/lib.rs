//! Shared by the tests that span crates: MNIST, small networks trained on it, and the built programs.

pub mod awkward;

use anyhow::{Context, Result, ensure};
use models::architecture::Kind;
use models::dataset::{Dataset, Split};
use models::files;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use train::checkpoint::Checkpoint;
use train::data::DataSource;
use train::recipe::Recipe;
use train::run::{Epoch, Run};
use train::source::Choices;
use train::trainer::{StepReport, Trainer, TrainingObserver};

/// The folder in which `scripts/setup` put MNIST. Fails if it is missing.
pub fn mnist() -> Result<PathBuf> {
    files::fetched("mnist").context("MNIST was not found: run scripts/setup")
}

/// Seed of every network that a test trains: `TEST_SEED`, or 1. No test may depend on it; `scripts/test-seeds` runs the
/// tests with several seeds.
///
/// # Panics
///
/// If `TEST_SEED` is not a whole number.
#[must_use]
pub fn seed() -> u64 {
    match std::env::var("TEST_SEED") {
        Ok(seed) => seed.parse().unwrap_or_else(|_| panic!("TEST_SEED={seed}: expected a whole number")),
        Err(_) => 1,
    }
}

/// Fails if a network trained by a test is not accurate enough for the test to be meaningful. The bound must be far
/// below the accuracy reached with any seed on any processor: `scripts/test-seeds` collects the line printed here.
pub fn learnt(what: &str, accuracy: f64, bound: f64) -> Result<()> {
    println!("margin: {what}: reached {:.1} %, bound {:.1} %", 100.0 * accuracy, 100.0 * bound);
    ensure!(accuracy >= bound, "{what}: only {:.1} % of the answers are right", 100.0 * accuracy);
    Ok(())
}

/// A recipe that trains a narrow network in seconds, well enough for its predictions to be meaningful.
#[must_use]
pub fn small_recipe(kind: Kind) -> String {
    let seed = seed();
    format!(
        r#"name = "small"
seed = {seed}
epochs = 1
batch_size = 50
hold_out = 500
log_every = 50
ema = 0.98
base = "tutorial"
normalization = "auto"

[network]
arch = "{kind}"
width = 0.25
resolution = 32

[optimizer]
kind = "sgd"
lr = 0.1
momentum = 0.9
nesterov = true
weight_decay = 5e-4

[schedule]
kind = "cosine"
warm_up = 0.2

[augmentation]
rotation = 5.0
shift = 0.05
"#
    )
}

/// Writes the first images of MNIST as a separate data set named `mnist`, and returns its folder.
pub fn subset(parent: &Path, train: usize, test: usize) -> Result<PathBuf> {
    let folder = parent.join("mnist");
    std::fs::create_dir_all(&folder)?;
    for (split, prefix, count) in [(Split::Train, "train", train), (Split::Test, "t10k", test)] {
        let set = models::dataset::load(&mnist()?, split)?.first(count);
        write_idx(&folder, prefix, &set)?;
    }
    Ok(folder)
}

/// Writes a data set as the two IDX files of one split.
pub fn write_idx(folder: &Path, prefix: &str, set: &Dataset) -> Result<()> {
    let images = set.images();
    let extents = [set.len(), images.shape()[2], images.shape()[3]];
    let header = |extents: &[usize]| -> Result<Vec<u8>> {
        let mut bytes = vec![0, 0, 8, u8::try_from(extents.len())?];
        for &extent in extents {
            bytes.extend(u32::try_from(extent)?.to_be_bytes());
        }
        Ok(bytes)
    };
    let mut bytes = header(&extents)?;
    bytes.extend(images.iter());
    std::fs::write(folder.join(format!("{prefix}-images-idx3-ubyte")), bytes)?;
    let mut bytes = header(&extents[..1])?;
    for &label in set.labels() {
        bytes.push(u8::try_from(label)?);
    }
    std::fs::write(folder.join(format!("{prefix}-labels-idx1-ubyte")), bytes)?;
    Ok(())
}

/// A narrow network of this kind, trained on the first 20,000 images of MNIST, once per process.
pub fn trained(kind: Kind) -> Result<Checkpoint> {
    static FILES: [OnceLock<std::result::Result<Vec<u8>, String>>; Kind::ALL.len()] =
        [const { OnceLock::new() }; Kind::ALL.len()];
    let file = FILES[kind as usize].get_or_init(|| train(kind).map_err(|error| format!("{error:#}")));
    match file {
        Ok(bytes) => Checkpoint::from_bytes(Path::new("the small network"), bytes),
        Err(reason) => anyhow::bail!("{reason}"),
    }
}

/// Returns the bytes of a trained checkpoint, and checks its test accuracy. An untrained network gives every image the
/// same answer, so engines agreeing on it would prove nothing.
fn train(kind: Kind) -> Result<Vec<u8>> {
    // Tests run in parallel, and OpenMP's threads wait for each other in busy loops. With more threads than cores
    // everything takes many times longer.
    tch::set_num_threads(1);
    let recipe = Recipe::parse(&small_recipe(kind))?;
    let mut source = DataSource::read(&mnist()?, recipe.network.resolution, Choices::default(), &|_, _| ())?;
    source.train = source.train.first(20_000);
    source.test = source.test.first(1000);
    let out = tempfile::tempdir()?;
    let run = Run::create(Some(out.path()), &recipe.name)?;
    let mut trainer = Trainer::new(recipe, &source, tch::Device::Cpu)?;
    trainer.run(&run, &mut Silent, &AtomicBool::new(false))?;
    let accuracy = trainer.history().last().map_or(0.0, |epoch| epoch.test_accuracy);
    learnt(&format!("{kind}, trained for the tests"), accuracy, 0.8)?;
    Ok(std::fs::read(run.best())?)
}

/// An observer that prints nothing.
pub struct Silent;

impl TrainingObserver for Silent {
    fn steps(&mut self, _: &StepReport) {}
    fn epoch(&mut self, _: &Epoch, _: usize, _: f64) {}
}

/// Path of a program of this workspace, built with the profile of this test. Cargo does not build the programs of other
/// packages for a test.
pub fn program(name: &'static str) -> Result<PathBuf> {
    static BUILT: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let folder = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    match folder {
        Ok(folder) => Ok(folder.join(name)),
        Err(reason) => anyhow::bail!("{reason}"),
    }
}

/// Builds the programs and returns their folder, that of this test's profile.
fn build() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().nth(2).context("the test is not in target/<profile>/deps")?;
    let target = folder.parent().context("the profile's folder is not in target")?;
    let profile = if folder.ends_with("debug") { "dev" } else { "release" };
    let status = Command::new(env!("CARGO"))
        // The whole workspace: otherwise shared dependencies have other features, and everything is compiled a second
        // time.
        .args(["build", "--quiet", "--workspace", "--bins", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    ensure!(status.success(), "cannot build the programs");
    Ok(folder.to_owned())
}
