//! Reads a number of steps from each line of standard input, trains for that many steps and prints the seconds taken
//! and the mean loss. `scripts/bench` can thereby alternate it with other programs.
//!
//! Arguments: width multiplier, resolution, batch size, threads.

use anyhow::{Context, Result};
use models::files;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::Instant;
use train::data::DataSource;
use train::recipe::{Overrides, Recipe};
use train::source::Choices;
use train::trainer::Trainer;

/// Plain SGD with momentum and no augmentation, as in the PyTorch loops it is compared with.
const RECIPE: &str = r#"
base = "tutorial"
name = "bench"
epochs = 1000
batch_size = 32
[network]
arch = "mobilenet-v1"
width = 1.0
resolution = 224
[normalization]
mean = [0.1307]
std = [0.3081]
[optimizer]
kind = "sgd"
lr = 0.01
momentum = 0.9
[schedule]
kind = "constant"
"#;

fn main() -> Result<()> {
    train::memory::keep_freed_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [width, resolution, batch_size, threads] = &arguments[..] else {
        anyhow::bail!("expected width, resolution, batch size and threads");
    };
    tch::set_num_threads(threads.parse()?);
    let recipe = Recipe::parse(RECIPE)?.with(&Overrides {
        width: Some(width.parse()?),
        resolution: Some(resolution.parse()?),
        batch_size: Some(batch_size.parse()?),
        ..Overrides::default()
    })?;
    let folder = files::fetched("mnist").context("MNIST was not found: run scripts/setup")?;
    let source = DataSource::read(&folder, recipe.network.resolution, Choices::default(), &|_, _| ())?;
    let mut trainer = Trainer::new(recipe, &source, tch::Device::Cpu)?;
    for line in stdin().lock().lines() {
        let steps = line?.trim().parse()?;
        let started = Instant::now();
        let loss = trainer.run_steps(steps)?;
        writeln!(stdout(), "{} {loss}", started.elapsed().as_secs_f64())?;
    }
    Ok(())
}
