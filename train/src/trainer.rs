//! The training loop.

use crate::augment::{self, light_on_dark};
use crate::checkpoint::{self, Best, Checkpoint, DataFacts, Extension, Metadata, RunProgress};
use crate::data::{DataSource, Images, TensorPreprocessor, TrainingData};
use crate::device;
use crate::evaluate::{Evaluation, evaluate};
use crate::network::Network;
use crate::optimizer::{self, Optimizer};
use crate::outliers;
use crate::pretrained::Pretrained;
use crate::recipe::{ClassWeights, ExportedEpoch, Overrides, Precision, Recipe};
use crate::run::{Epoch, Run};
use crate::schedule;
use crate::seed::{self, Purpose};
use anyhow::{Result, bail};
use models::architecture::Architecture;
use models::card::Origin;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tch::{Device, Kind, Reduction, Tensor};

/// Maximum number of steps between two reports, so that the progress bar keeps moving.
const REPORT_EVERY: usize = 10;

/// Receives progress reports from the training loop.
pub trait TrainingObserver {
    /// Called after every few steps.
    fn steps(&mut self, report: &StepReport);
    /// Called during the evaluation after an epoch.
    fn evaluating(&mut self, _: &EvaluationReport) {}
    /// Called when an epoch is done and its checkpoint written. `seconds` is the time it was trained for.
    fn epoch(&mut self, epoch: &Epoch, epochs: usize, seconds: f64);
}

/// Notifies several observers in order.
impl TrainingObserver for Vec<Box<dyn TrainingObserver>> {
    fn steps(&mut self, report: &StepReport) {
        for observer in self {
            observer.steps(report);
        }
    }

    fn evaluating(&mut self, report: &EvaluationReport) {
        for observer in self {
            observer.evaluating(report);
        }
    }

    fn epoch(&mut self, epoch: &Epoch, epochs: usize, seconds: f64) {
        for observer in self {
            observer.epoch(epoch, epochs, seconds);
        }
    }
}

/// The state of the training loop after some steps.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// The current epoch, counted from 1.
    pub epoch: usize,
    /// Epochs in total.
    pub epochs: usize,
    /// Steps done in this epoch.
    pub step: usize,
    /// Steps per epoch.
    pub steps: usize,
    /// Steps taken since the last report.
    pub taken: usize,
    /// Their mean loss.
    pub loss: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Images trained on since the last report.
    pub images: usize,
    /// Whether this step is to be logged, according to the recipe's `log_every`.
    pub logged: bool,
}

/// Progress of an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct EvaluationReport {
    /// The epoch that was just trained, counted from 1.
    pub epoch: usize,
    /// Epochs in total.
    pub epochs: usize,
    /// The images that the network is evaluated on.
    pub on: EvaluatedOn,
    /// Images done.
    pub images: usize,
    /// Images in total.
    pub of: usize,
}

/// The sets of images that a network is evaluated on after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvaluatedOn {
    /// The held-out images: part of the training set, or the validation split.
    HeldOut,
    /// The test images.
    Test,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// All epochs are done.
    Finished,
    /// The recipe's patience ran out.
    StoppedEarly,
    /// The run was asked to stop; the last checkpoint contains the step it stopped at.
    Interrupted,
}

/// A training run in memory.
pub struct Trainer {
    recipe: Recipe,
    data: TrainingData,
    facts: DataFacts,
    test: Images,
    preprocessor: TensorPreprocessor,
    network: Network,
    average: Option<Network>,
    optimizer: Optimizer,
    class_weights: Option<Tensor>,
    progress: RunProgress,
    history: Vec<Epoch>,
    trained_with: String,
    threads: Option<i32>,
    started_from: Option<Origin>,
    start_notes: Vec<String>,
}

impl Trainer {
    /// Starts a new run with the weights that the recipe names. Errors if they cannot be read or do not fit.
    pub fn new(recipe: Recipe, source: &DataSource, device: Device) -> Result<Self> {
        let architecture = recipe.architecture(source.input().channels, source.labels.len())?;
        seed::set(recipe.seed, Purpose::Weights, 0);
        let mut network = Network::initialised(&architecture, device)?;
        let pretrained = Pretrained::find(&recipe.from, &architecture)?;
        let mut start_notes = Vec::new();
        if let Some(pretrained) = &pretrained {
            start_notes = pretrained.fill(&mut network)?;
            if let Some(known) = pretrained.trained_on(&source.test) {
                start_notes
                    .push(format!("fitted to some of the test images ({known}): the test accuracy will be too high"));
            }
        }
        let average = if recipe.ema > 0.0 { Some(network.duplicate()?) } else { None };
        let mut trainer = Self::assemble(recipe, source, network, average, device)?;
        trainer.started_from = pretrained.map(|pretrained| pretrained.origin);
        trainer.start_notes = start_notes;
        Ok(trainer)
    }

    /// Resumes a run from a checkpoint. Errors if the data is not what the run was started with.
    pub fn resume(checkpoint: &Checkpoint, source: &DataSource, device: Device) -> Result<Self> {
        let Metadata { recipe, progress, history, data, started_from, .. } = &checkpoint.metadata;
        let (network, average) = (checkpoint.network(device)?, checkpoint.average(device)?);
        let mut trainer = Self::assemble(recipe.clone(), source, network, average, device)?;
        if let Some(difference) = data.difference(&trainer.facts) {
            bail!(
                "the data in {} is not the data the run was started with ({}): {difference}",
                source.folder.display(),
                data.folder.display()
            );
        }
        for (name, state) in trainer.optimizer.state() {
            state.shallow_clone().f_copy_(checkpoint.optimizer(name)?)?;
        }
        trainer.progress = progress.clone();
        trainer.history.clone_from(history);
        trainer.started_from.clone_from(started_from);
        Ok(trainer)
    }

    fn assemble(
        recipe: Recipe,
        source: &DataSource,
        mut network: Network,
        average: Option<Network>,
        device: Device,
    ) -> Result<Self> {
        let mixed = match recipe.precision {
            Precision::Auto => device.is_cuda(),
            Precision::Fp32 => false,
            Precision::Bf16 => true,
        };
        network.set_training_kind(if mixed { Kind::BFloat16 } else { Kind::Float });
        if recipe.outliers.share > 0.0 {
            outliers::check(&source.input())?;
        }
        let data = TrainingData::new(source, &recipe, device)?;
        let facts = DataFacts::new(source, &data);
        let preprocessor = TensorPreprocessor::new(&data.preprocessing, recipe.network.resolution, device)?;
        let frozen_steps = (recipe.freeze * recipe.steps_per_epoch(data.fit.len())) as u64;
        let parameters = network.parameters().buffer();
        let optimizer =
            Optimizer::new(&recipe.optimizer, parameters, network.decayed(), network.body()?, frozen_steps)?;
        let class_weights = match recipe.class_weights {
            ClassWeights::None => None,
            ClassWeights::Balanced => Some(balanced(&data.fit.classes()?, source.labels.len())?.f_to(device)?),
        };
        let trained_with = device::running_on(device) + if mixed { ", bfloat16" } else { "" };
        Ok(Self {
            test: Images::on_device(&source.test, device)?,
            recipe,
            data,
            facts,
            preprocessor,
            network,
            average,
            optimizer,
            class_weights,
            progress: RunProgress::default(),
            history: Vec::new(),
            trained_with,
            threads: (device == Device::Cpu).then(tch::get_num_threads),
            started_from: None,
            start_notes: Vec::new(),
        })
    }

    /// Changes the number of epochs of a resumed run, even one that had ended. From the next step on, the learning-rate
    /// schedule spans the new number of epochs; steps already taken are unaffected. Writes `recipe.toml` and the last
    /// checkpoint. Errors unless `epochs` exceeds the number of epochs already done.
    pub fn extend(&mut self, run: &Run, epochs: usize) -> Result<()> {
        self.progress.check_total(epochs)?;
        if epochs == self.recipe.epochs && self.progress.outcome(&self.recipe).is_none() {
            return Ok(());
        }
        let from = self.recipe.epochs;
        let recipe = self.recipe.clone().with(&Overrides { epochs: Some(epochs), ..Overrides::default() })?;
        self.progress.extensions.push(Extension {
            after: self.progress.epochs,
            steps: self.progress.total_steps,
            from,
        });
        self.recipe = recipe;
        run.write_recipe(&self.recipe.to_toml()?)?;
        self.write_checkpoint(run, &run.last())
    }

    /// The recipe.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The network's architecture.
    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        self.network.architecture()
    }

    /// Number of trained parameters.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.network.parameters().buffer().numel()
    }

    /// libtorch's version, device, threads and whether it trains in bfloat16.
    #[must_use]
    pub fn trained_with(&self) -> &str {
        &self.trained_with
    }

    /// The file that the first weights came from; `None` if they were drawn at random.
    #[must_use]
    pub fn started_from(&self) -> Option<&Origin> {
        self.started_from.as_ref()
    }

    /// How the first weights were adapted to the data; empty for a resumed run.
    #[must_use]
    pub fn start_notes(&self) -> &[String] {
        &self.start_notes
    }

    /// The completed epochs.
    #[must_use]
    pub fn history(&self) -> &[Epoch] {
        &self.history
    }

    /// How far the run has progressed.
    #[must_use]
    pub fn progress(&self) -> &RunProgress {
        &self.progress
    }

    /// The data it is trained on.
    #[must_use]
    pub fn facts(&self) -> &DataFacts {
        &self.facts
    }

    /// The test images, on the training device.
    #[must_use]
    pub fn test(&self) -> &Images {
        &self.test
    }

    /// The held-out images on the device, if any.
    #[must_use]
    pub fn held_out(&self) -> Option<&Images> {
        self.data.held_out.as_ref()
    }

    /// The network that is tested and exported: the moving average if there is one.
    fn shipped(&self) -> &Network {
        self.average.as_ref().unwrap_or(&self.network)
    }

    /// Steps per epoch.
    #[must_use]
    pub fn steps_per_epoch(&self) -> usize {
        self.recipe.steps_per_epoch(self.data.fit.len())
    }

    /// Trains until all epochs are done, patience runs out, or `stop` is set. Evaluates the network and writes a
    /// checkpoint after every epoch. When `stop` is set, finishes the current step and writes a checkpoint. Errors if
    /// the loss is no longer finite.
    pub fn run(&mut self, run: &Run, observer: &mut dyn TrainingObserver, stop: &AtomicBool) -> Result<RunEnd> {
        let mut seconds = run.seconds();
        seconds.resize(self.history.len(), 0.0);
        if !self.history.is_empty() {
            // A process killed between writing the checkpoint and the history leaves the history one line short.
            run.write_history(&self.history, &seconds)?;
        }
        loop {
            if let Some(outcome) = self.progress.outcome(&self.recipe) {
                return Ok(outcome);
            }
            let started = Instant::now();
            let trained = self.train_epoch(observer, stop)?;
            let time = started.elapsed().as_secs_f64();
            let Some(epoch) = (if trained { self.finish_epoch(run, observer, stop)? } else { None }) else {
                self.write_checkpoint(run, &run.last())?;
                return Ok(RunEnd::Interrupted);
            };
            seconds.push(time);
            run.write_history(&self.history, &seconds)?;
            observer.epoch(&epoch, self.recipe.epochs, time);
        }
    }

    /// Takes the remaining steps of the epoch; returns false if it was stopped before the last one.
    fn train_epoch(&mut self, observer: &mut dyn TrainingObserver, stop: &AtomicBool) -> Result<bool> {
        let order = self.data.order(&self.recipe, self.progress.epochs)?;
        let steps = self.steps_per_epoch();
        // Losses stay on the device until they are reported: reading each one would synchronise with the GPU after
        // every step.
        let mut losses: Vec<Tensor> = Vec::new();
        while self.progress.step < steps {
            let (loss, learning_rate) = self.step(&order)?;
            losses.push(loss);
            let stopping = stop.load(Ordering::Relaxed);
            let step = self.progress.step;
            let logged = step.is_multiple_of(self.recipe.log_every);
            if logged || stopping || step == steps || losses.len() >= REPORT_EVERY {
                let report = StepReport {
                    epoch: self.progress.epochs + 1,
                    epochs: self.recipe.epochs,
                    step,
                    steps,
                    taken: losses.len(),
                    loss: self.account(&losses, learning_rate)?,
                    learning_rate,
                    images: losses.len() * self.recipe.batch_size,
                    logged,
                };
                losses.clear();
                observer.steps(&report);
            }
            if stopping && self.progress.step < steps {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Trains for `count` steps without evaluations or checkpoints and returns the mean loss. `scripts/bench` measures
    /// this.
    pub fn run_steps(&mut self, count: usize) -> Result<f64> {
        let mut losses = Vec::with_capacity(count);
        let mut rate = 0.0;
        let mut order = self.data.order(&self.recipe, self.progress.epochs)?;
        for _ in 0..count {
            if self.progress.step >= self.steps_per_epoch() {
                self.progress = RunProgress { epochs: self.progress.epochs + 1, step: 0, ..self.progress.clone() };
                order = self.data.order(&self.recipe, self.progress.epochs)?;
            }
            let (loss, used) = self.step(&order)?;
            losses.push(loss);
            rate = used;
        }
        self.account(&losses, rate)
    }

    /// One step: forward, backward, optimizer, average. Returns the loss of the images, without that of the outliers,
    /// still on the device, and the learning rate.
    fn step(&mut self, order: &Tensor) -> Result<(Tensor, f64)> {
        let batch_size = self.recipe.batch_size;
        let position = self.progress.total_steps;
        let total = (self.steps_per_epoch() * self.recipe.epochs) as u64;
        let rate = schedule::learning_rate(self.recipe.schedule, self.recipe.optimizer.lr, position, total);

        let start = (self.progress.step * batch_size) as i64;
        let batch = self.data.fit.select(&order.f_narrow(0, start, batch_size as i64)?)?;
        let count = batch_size as i64;
        let outliers = self.recipe.outliers.count(batch_size) as i64;
        let images = if outliers > 0 { self.with_outliers(&batch.images, outliers)? } else { batch.images };
        let (augmentation, polarity) = (&self.recipe.augmentation, self.data.polarity);
        let input = self.preprocessor.training(&images, &self.recipe, polarity, position)?;
        let (input, targets) =
            if augmentation.mixes() { self.mixed(&input, &batch.labels)? } else { (input, batch.labels) };
        let frozen = self.progress.epochs < self.recipe.freeze;
        let logits = self.network.forward(&input, !frozen)?;
        let (smoothing, weights) = (self.recipe.label_smoothing, self.class_weights.as_ref());
        let own = logits.f_narrow(0, 0, count)?;
        let loss = own.f_cross_entropy_loss(&targets, weights, Reduction::Mean, -100, smoothing)?;
        let mut gradient = if outliers > 0 {
            let others = outliers::loss(&logits.f_narrow(0, count, outliers)?)?;
            self.network.gradients(&loss.f_add(&others.f_mul_scalar(self.recipe.outliers.weight)?)?)?
        } else {
            self.network.gradients(&loss)?
        };
        optimizer::clip(&mut gradient, self.recipe.clip_norm)?;
        self.optimizer.step(self.network.parameters().buffer(), &mut gradient, rate, position)?;
        if let Some(average) = &mut self.average {
            // Early in training the average spans fewer steps, so that it forgets the random initialisation (as
            // TensorFlow's `ExponentialMovingAverage` does with `num_updates`).
            let decay = self.recipe.ema.min((1.0 + position as f64) / (10.0 + position as f64));
            average.move_towards(&self.network, 1.0 - decay)?;
        }
        self.progress.step += 1;
        self.progress.total_steps += 1;
        Ok((loss.f_detach()?, rate))
    }

    /// Mixes the images of a network `input`, which outliers may follow, with each other. Also returns their targets
    /// `[N, classes]`.
    fn mixed(&self, input: &Tensor, labels: &Tensor) -> Result<(Tensor, Tensor)> {
        let (count, outliers) = (labels.size()[0], input.size()[0] - labels.size()[0]);
        let targets = labels.f_one_hot(self.architecture().classes as i64)?.f_to_kind(Kind::Float)?;
        let (images, targets) = augment::mixed(&input.f_narrow(0, 0, count)?, &targets, &self.recipe.augmentation)?;
        Ok((Tensor::f_cat(&[images, input.f_narrow(0, count, outliers)?], 0)?, targets))
    }

    /// A batch of `images` `[N, 1, H, W]`, followed by `count` outliers, as floats from 0 to 255.
    fn with_outliers(&self, images: &Tensor, count: i64) -> Result<Tensor> {
        seed::set(self.recipe.seed, Purpose::Outliers, self.progress.total_steps);
        let (images, polarity) = (images.f_to_kind(Kind::Float)?, self.data.polarity);
        let drawn = outliers::draw(&light_on_dark(&images, polarity)?, count)?;
        Ok(Tensor::f_cat(&[images, light_on_dark(&drawn, polarity)?], 0)?)
    }

    /// Reads the losses of the last steps and returns their mean. A loss that is not finite ends the run.
    fn account(&mut self, losses: &[Tensor], learning_rate: f64) -> Result<f64> {
        let values = Vec::<f64>::try_from(Tensor::f_stack(losses, 0)?.f_to_kind(Kind::Double)?)?;
        if let Some(index) = values.iter().position(|loss| !loss.is_finite()) {
            bail!(
                "the loss became {} in step {} of epoch {} at learning rate {learning_rate}: the run stops and keeps its last checkpoint. Try a lower --lr, a longer schedule.warm_up or a clip_norm",
                values[index],
                self.progress.step - values.len() + index + 1,
                self.progress.epochs + 1,
            );
        }
        // Adds one by one: an interruption shifts the report boundaries, and the sum must not depend on them.
        for loss in &values {
            self.progress.loss_sum += loss;
        }
        Ok(values.iter().sum::<f64>() / values.len() as f64)
    }

    /// Re-estimates the batch-norm statistics of the exported network on `norm_images` unaugmented training images, if
    /// the recipe asks for it.
    fn measure_norms(&mut self) -> Result<()> {
        // A frozen body keeps its statistics.
        if self.progress.epochs < self.recipe.freeze {
            return Ok(());
        }
        let size = self.recipe.batch_size;
        let order = self.data.order(&self.recipe, self.progress.epochs)?;
        let (fit, preprocessor) = (&self.data.fit, &self.preprocessor);
        let batches = (0..self.recipe.norm_images.min(fit.len()) / size).map(|index| {
            let indices = order.f_narrow(0, (index * size) as i64, size as i64)?;
            preprocessor.evaluation(&fit.select(&indices)?.images)
        });
        self.average.as_mut().unwrap_or(&mut self.network).measure_norms(batches)
    }

    /// Evaluates the network, records the epoch and writes the checkpoints; `None` if it was stopped before that. A run
    /// resumed from there re-estimates the batch-norm statistics, with the same result.
    fn finish_epoch(
        &mut self,
        run: &Run,
        observer: &mut dyn TrainingObserver,
        stop: &AtomicBool,
    ) -> Result<Option<Epoch>> {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.measure_norms()?;
        let (epoch, epochs) = (self.progress.epochs + 1, self.recipe.epochs);
        let mut measure = |on: EvaluatedOn, images: &Images| {
            let of = images.len();
            evaluate(self.shipped(), &self.preprocessor, images, &mut |images| {
                observer.evaluating(&EvaluationReport { epoch, epochs, on, images, of });
                !stop.load(Ordering::Relaxed)
            })
        };
        let held_out = match &self.data.held_out {
            Some(images) => match measure(EvaluatedOn::HeldOut, images)? {
                None => return Ok(None),
                measured => measured,
            },
            None => None,
        };
        let Some(test) = measure(EvaluatedOn::Test, &self.test)? else { return Ok(None) };
        let RunProgress { step, total_steps, loss_sum, .. } = self.progress;
        let total = (self.steps_per_epoch() * self.recipe.epochs) as u64;
        let epoch = Epoch {
            epoch: self.progress.epochs + 1,
            learning_rate: schedule::learning_rate(
                self.recipe.schedule,
                self.recipe.optimizer.lr,
                total_steps.saturating_sub(1),
                total,
            ),
            train_loss: loss_sum / step.max(1) as f64,
            held_out_loss: held_out.map(|held_out| held_out.loss),
            held_out_accuracy: held_out.map(|held_out| held_out.accuracy),
            test_loss: test.loss,
            test_accuracy: test.accuracy,
        };
        self.history.push(epoch);
        self.progress = RunProgress { epochs: epoch.epoch, step: 0, loss_sum: 0.0, ..self.progress.clone() };
        // Without held-out images there is nothing to choose by, so the last epoch counts as the best.
        let held_out = held_out.filter(|_| self.recipe.exported_epoch == ExportedEpoch::Best);
        let improved = match (held_out, self.progress.best) {
            (Some(Evaluation { loss, accuracy }), Some(best)) => best.is_beaten_by(accuracy, loss),
            _ => true,
        };
        if improved {
            self.progress.best =
                held_out.map(|Evaluation { loss, accuracy }| Best { epoch: epoch.epoch, accuracy, loss });
            // Best first, then last: a run killed in between resumes from the older `last` and writes both again.
            self.write_checkpoint(run, &run.best())?;
        }
        self.write_checkpoint(run, &run.last())?;
        Ok(Some(epoch))
    }

    fn write_checkpoint(&self, run: &Run, path: &Path) -> Result<()> {
        run.check_owned()?;
        let metadata = Metadata {
            format: checkpoint::FORMAT,
            recipe: self.recipe.clone(),
            architecture: self.network.architecture().clone(),
            data: self.facts.clone(),
            progress: self.progress.clone(),
            history: self.history.clone(),
            trained_with: self.trained_with.clone(),
            threads: self.threads,
            started_from: self.started_from.clone(),
        };
        checkpoint::write(path, &metadata, &self.network, self.average.as_ref(), self.optimizer.state())
    }
}

/// The weight of each of `count` classes, `[count]`, inversely proportional to its number of images (scikit-learn's
/// `class_weight="balanced"`): the mean over the images is 1. Classes without images get 0.
fn balanced(classes: &[usize], count: usize) -> Result<Tensor> {
    let mut sizes = vec![0_usize; count];
    for &class in classes {
        sizes[class] += 1;
    }
    let used = sizes.iter().filter(|&&size| size > 0).count();
    let weight = |&size: &usize| if size > 0 { classes.len() as f32 / (used * size) as f32 } else { 0.0 };
    Ok(Tensor::f_from_slice(&sizes.iter().map(weight).collect::<Vec<f32>>())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Classes;
    use models::card::Content;
    use models::dataset::{self, Dataset};

    /// Eight colour images of two classes.
    fn source() -> DataSource {
        let set = || {
            let pixels = dataset::noise((8, 3, 32, 32), 1);
            Dataset::new(pixels, (0..8).map(|image| image % 2).collect()).unwrap()
        };
        DataSource {
            name: "made".to_owned(),
            folder: "made".into(),
            labels: vec!["cat".to_owned(), "ox".to_owned()],
            content: Content::Image,
            train: set(),
            validation: None,
            test: set(),
            held_out_by_class: true,
            near_duplicates_together: true,
            classes: Classes::Labels,
            has_test: true,
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_frozen_body_keeps_its_weights_and_statistics_until_it_is_thawed() {
        let recipe = Recipe::parse(
            "base = \"photos\"\nname = \"made\"\nfrom = \"body\"\nfreeze = 1\nepochs = 2\nbatch_size = 4\n\
             [network]\nwidth = 0.25\nresolution = 32\n",
        );
        let mut trainer = Trainer::new(recipe.unwrap(), &source(), Device::Cpu).unwrap();
        assert_eq!(trainer.started_from().unwrap().file, "body-25.safetensors");
        assert_eq!(trainer.start_notes(), ["with a new classifier"]);
        let copy = |trainer: &Trainer| {
            let network = &trainer.network;
            [network.parameters(), network.statistics()].map(|flat| flat.buffer().copy())
        };
        let body = trainer.network.body().unwrap();
        let moved = |now: &Tensor, before: &Tensor| (now - before).abs();
        let [weights, statistics] = copy(&trainer);
        trainer.run_steps(2).unwrap();
        let [now, same] = copy(&trainer);
        assert!(same.equal(&statistics));
        let change = moved(&now, &weights);
        assert_eq!((&change * &body).max().double_value(&[]), 0.0, "the body moved");
        assert!(change.max().double_value(&[]) > 0.0, "the classifier did not move");
        trainer.run_steps(1).unwrap();
        let [later, statistics] = copy(&trainer);
        assert!((moved(&later, &now) * &body).max().double_value(&[]) > 0.0, "the body is still frozen");
        assert!(!statistics.equal(&same));
    }

    /// `sklearn.utils.class_weight.compute_class_weight("balanced", …)` for 2 and 6 images: 8 / (2 · 2) and 8 / (2 ·
    /// 6).
    #[test]
    fn every_class_has_the_same_total_weight() {
        let weights = balanced(&[0, 2, 2, 2, 0, 2, 2, 2], 3).unwrap();
        let weights = Vec::<f32>::try_from(weights).unwrap();
        for (found, expected) in weights.iter().zip([2.0, 0.0, 2.0 / 3.0]) {
            assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
        }
    }
}
