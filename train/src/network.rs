//! The network in libtorch, built from [`Architecture::layers`].
//!
//! Activations are channels-last in memory: depthwise convolutions are much faster with this layout, and libtorch's
//! convolutions, norms and clamps preserve it.

use crate::export::fold::Weights;
use crate::flat::{Flat, Spec};
use anyhow::{Context, Result, ensure};
use models::architecture::{Architecture, Convolution, Layer, Op};
use std::collections::{BTreeMap, HashMap};
use tch::{Device, Kind, Tensor};

/// Epsilon that batch norm adds to the variance; PyTorch's default.
pub const BATCH_NORM_EPSILON: f64 = 1e-5;

/// Weight of a batch's statistics in the update of the running ones; PyTorch's default.
const BATCH_NORM_MOMENTUM: f64 = 0.1;

/// One step of the forward pass. Tensors are given as indices into the views.
enum Step {
    Convolution { name: String, convolution: Convolution, weight: usize, after: Option<After> },
    Pool,
    Linear { weight: usize, bias: usize },
}

/// What comes between a convolution and its ReLU6: a batch norm, or a bias if the norm is folded.
enum After {
    Norm(Norm),
    Bias(usize),
}

/// A batch norm: indices of scale and shift among the parameters, of running mean and variance among the statistics.
struct Norm {
    scale: usize,
    shift: usize,
    mean: usize,
    variance: usize,
}

/// MobileNetV1 with its weights.
pub struct Network {
    architecture: Architecture,
    steps: Vec<Step>,
    parameters: Flat,
    parameter_views: Vec<Tensor>,
    statistics: Flat,
    statistic_views: Vec<Tensor>,
    decayed: i64,
    training_kind: Kind,
}

impl Network {
    /// Builds the network with all weights zero, for the caller to fill in.
    ///
    /// The parameters hold all convolution and classifier weights first, then the scales, shifts and biases, so that
    /// weight decay can skip the latter.
    pub fn zeros(architecture: &Architecture, device: Device) -> Result<Self> {
        Self::build(architecture, device, false)
    }

    /// Builds the network on the CPU with its batch norms folded into the convolutions. Errors if a weight or bias is
    /// missing.
    pub(crate) fn folded(architecture: &Architecture, weights: &BTreeMap<String, Weights>) -> Result<Self> {
        let mut network = Self::build(architecture, Device::Cpu, true)?;
        let mut values = Vec::new();
        for Spec { name, .. } in network.parameters.specs() {
            let own = name.rsplit_once('.').and_then(|(layer, part)| {
                let Weights { weight, bias, .. } = weights.get(layer)?;
                if part == "weight" { Some(weight) } else { bias.as_ref() }
            });
            values.push(Tensor::f_from_slice(own.with_context(|| format!("there is no {name}"))?)?);
        }
        network.parameters.copy_from(&Tensor::f_cat(&values, 0)?)?;
        Ok(network)
    }

    fn build(architecture: &Architecture, device: Device, folded: bool) -> Result<Self> {
        let layers = architecture.layers();
        let weights: Vec<Spec> = layers.iter().filter_map(weight).collect();
        let decayed = weights.iter().map(Spec::len).sum();
        let mut parameters = weights;
        let mut statistics = Vec::new();
        let mut steps = Vec::new();
        let mut next_weight = 0;
        for Layer { name, op, output, .. } in &layers {
            let channels = output.channels as i64;
            let add = |specs: &mut Vec<Spec>, suffix: &str| {
                specs.push(Spec::new(format!("{name}.{suffix}"), [channels]));
                specs.len() - 1
            };
            let weight = next_weight;
            steps.push(match *op {
                Op::Convolution(convolution) => {
                    next_weight += 1;
                    let after = match (convolution.normalised, folded) {
                        (false, _) => None,
                        (true, true) => Some(After::Bias(add(&mut parameters, "bias"))),
                        (true, false) => Some(After::Norm(Norm {
                            scale: add(&mut parameters, "norm.scale"),
                            shift: add(&mut parameters, "norm.shift"),
                            mean: add(&mut statistics, "norm.mean"),
                            variance: add(&mut statistics, "norm.variance"),
                        })),
                    };
                    Step::Convolution { name: name.clone(), convolution, weight, after }
                }
                Op::GlobalAveragePool => Step::Pool,
                Op::Linear => {
                    next_weight += 1;
                    Step::Linear { weight, bias: add(&mut parameters, "bias") }
                }
            });
        }
        let (parameters, statistics) = (Flat::zeros(parameters, device)?, Flat::zeros(statistics, device)?);
        Ok(Self {
            architecture: architecture.clone(),
            steps,
            parameter_views: parameters.views(true)?,
            statistic_views: statistics.views(false)?,
            parameters,
            statistics,
            decayed,
            training_kind: Kind::Float,
        })
    }

    /// Builds the network with the default initialisation of PyTorch's modules, drawn from libtorch's CPU generator:
    /// convolutions and classifier uniform within ±1/√fan-in (`kaiming_uniform_` with a = √5), norms as the identity.
    pub fn initialised(architecture: &Architecture, device: Device) -> Result<Self> {
        let mut network = Self::zeros(architecture, device)?;
        let _guard = tch::no_grad_guard();
        let mut fan_in = 1;
        let mut values = Vec::new();
        for spec in network.parameters.specs() {
            let mut tensor = Tensor::f_zeros([spec.len()], (tch::Kind::Float, Device::Cpu))?;
            if spec.name.ends_with(".weight") {
                fan_in = spec.shape[1..].iter().product();
            }
            if spec.name.ends_with("norm.scale") {
                let _ = tensor.f_fill_(1.0)?;
            } else if !spec.name.ends_with("norm.shift") {
                let bound = 1.0 / (fan_in as f64).sqrt();
                let _ = tensor.f_uniform_(-bound, bound)?;
            }
            values.push(tensor);
        }
        network.parameters.copy_from(&Tensor::f_cat(&values, 0)?)?;
        for (spec, view) in network.statistics.specs().iter().zip(&mut network.statistic_views) {
            let _ = view.f_fill_(if spec.name.ends_with("variance") { 1.0 } else { 0.0 })?;
        }
        Ok(network)
    }

    /// Makes a deep copy: the same values, no shared memory.
    pub fn duplicate(&self) -> Result<Self> {
        let mut copy = Self::zeros(&self.architecture, self.device())?;
        copy.parameters.copy_from(self.parameters.buffer())?;
        copy.statistics.copy_from(self.statistics.buffer())?;
        Ok(copy)
    }

    /// Divides every logit by `temperature`, by dividing the weight and bias of the classifier, the last layer with
    /// weights. Computed in f64 and rounded once. Errors if anything but averages follows the classifier.
    pub fn divide_logits(&mut self, temperature: f64) -> Result<()> {
        let _guard = tch::no_grad_guard();
        let name = self.architecture.classifier();
        if let Some(Op::Convolution(convolution)) =
            self.architecture.layers().into_iter().find(|layer| layer.name == name).map(|layer| layer.op)
        {
            ensure!(!convolution.normalised, "a ReLU6 follows the last layer, {name}");
        }
        let prefix = format!("{name}.");
        for (spec, view) in self.parameters.specs().iter().zip(&mut self.parameter_views) {
            if spec.name.starts_with(&prefix) {
                let divided = view.f_to_kind(Kind::Double)?.f_div_scalar(temperature)?;
                view.f_copy_(&divided.f_to_kind(Kind::Float)?)?;
            }
        }
        Ok(())
    }

    /// The parameters and statistics by name. They share the network's memory.
    pub fn tensors(&self) -> Result<HashMap<String, Tensor>> {
        let mut tensors = HashMap::new();
        for flat in [&self.parameters, &self.statistics] {
            tensors.extend(flat.specs().iter().map(|spec| spec.name.clone()).zip(flat.views(false)?));
        }
        Ok(tensors)
    }

    /// 1 for each parameter of the body, 0 for those of the classifier; `[total]`.
    pub fn body(&self) -> Result<Tensor> {
        let prefix = format!("{}.", self.architecture.classifier());
        let share = |spec: &Spec| {
            let share = if spec.name.starts_with(&prefix) { 0.0 } else { 1.0 };
            Tensor::f_full([spec.len()], share, (Kind::Float, self.device()))
        };
        Ok(Tensor::f_cat(&self.parameters.specs().iter().map(share).collect::<Result<Vec<_>, _>>()?, 0)?)
    }

    /// Sets the number format of convolutions in training: [`Kind::Float`] (the default) or [`Kind::BFloat16`].
    pub fn set_training_kind(&mut self, kind: Kind) {
        self.training_kind = kind;
    }

    /// The architecture it is built from.
    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The device that holds its weights.
    #[must_use]
    pub fn device(&self) -> Device {
        self.parameters.buffer().device()
    }

    /// The trained parameters.
    #[must_use]
    pub fn parameters(&self) -> &Flat {
        &self.parameters
    }

    /// The running means and variances of the batch norms.
    #[must_use]
    pub fn statistics(&self) -> &Flat {
        &self.statistics
    }

    /// The parameters and the statistics, to write to.
    pub fn state_mut(&mut self) -> (&mut Flat, &mut Flat) {
        (&mut self.parameters, &mut self.statistics)
    }

    /// How many leading parameters are convolution and classifier weights, to which weight decay applies.
    #[must_use]
    pub fn decayed(&self) -> i64 {
        self.decayed
    }

    /// Moves every parameter and statistic the fraction `share`, 0 to 1, of the way towards `other`'s.
    pub fn move_towards(&mut self, other: &Self, share: f64) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for (own, target) in [(&self.parameters, &other.parameters), (&self.statistics, &other.statistics)] {
            let _ = own.buffer().shallow_clone().f_lerp_(target.buffer(), share)?;
        }
        Ok(())
    }

    /// Logits `[N, classes]` of a normalised batch `[N, C, resolution, resolution]`. With `training`, batch norm uses
    /// the batch's own mean and variance and updates the running ones.
    pub fn forward(&self, batch: &Tensor, training: bool) -> Result<Tensor> {
        let kind = if training { self.training_kind } else { Kind::Float };
        self.pass(batch, kind, training.then_some(BATCH_NORM_MOMENTUM), |_, x| Ok(x))
    }

    /// Logits as from [`Self::forward`] in evaluation. Every activation after a ReLU6 is passed to `tap` with the name
    /// of its layer and replaced by what `tap` returns.
    pub(crate) fn tapped(&self, batch: &Tensor, tap: impl FnMut(&str, Tensor) -> Result<Tensor>) -> Result<Tensor> {
        self.pass(batch, Kind::Float, None, tap)
    }

    /// Class activation maps `[N, classes, rows, columns]` of a normalised batch (Zhou et al., arXiv 1512.04150): what the
    /// classifier makes of the features at each place. The mean of a map is the class's logit.
    pub fn activation_maps(&self, batch: &Tensor) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        let mut features = None;
        let _ = self.tapped(batch, |_, x| {
            features = Some(x.shallow_clone());
            Ok(x)
        })?;
        let features = features.context("the network has no layers")?;
        let name = self.architecture.classifier();
        let part = |part: &str| {
            let name = format!("{name}.{part}");
            let place = self.parameters.specs().iter().position(|spec| spec.name == name)?;
            Some(&self.parameter_views[place])
        };
        let weight = part("weight").context("the network has no classifier")?;
        let kernel = weight.f_view([weight.size()[0], weight.size()[1], 1, 1])?;
        Ok(features.f_conv2d(&kernel, part("bias"), [1, 1], [0, 0], [1, 1], 1)?)
    }

    /// Sets the running means and variances of the batch norms to their averages over normalised batches
    /// `[N, C, resolution, resolution]` ("precise batch norm": Wu and Johnson, arXiv 2105.07576, section 3).
    ///
    /// The statistics from training lag behind the weights and come from augmented images, which the network does not
    /// see in use.
    pub fn measure_norms(&mut self, batches: impl IntoIterator<Item = Result<Tensor>>) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for (index, batch) in batches.into_iter().enumerate() {
            // A momentum of 1/n makes the running statistics the mean over all n batches so far; the first batch
            // replaces the old ones.
            let _ = self.pass(&batch?, Kind::Float, Some(1.0 / (index + 1) as f64), |_, x| Ok(x))?;
        }
        Ok(())
    }

    /// The forward pass in `kind`. With `momentum`, batch norm uses the batch's own mean and variance and moves the
    /// running ones towards them by that fraction. `tap` is as for [`Self::tapped`].
    fn pass(
        &self,
        batch: &Tensor,
        kind: Kind,
        momentum: Option<f64>,
        mut tap: impl FnMut(&str, Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let parameter = |index: usize| &self.parameter_views[index];
        let statistic = |index: usize| &self.statistic_views[index];
        let mut x = channels_last(&batch.f_to_kind(kind)?)?;
        for step in &self.steps {
            x = match step {
                Step::Convolution { name, convolution, weight, after } => {
                    let Convolution { stride, padding, groups, .. } = *convolution;
                    let [stride, padding, dilation] = [stride, padding, 1].map(|value| [value as i64; 2]);
                    // A no-op for fp32.
                    let weight = parameter(*weight).f_to_kind(kind)?;
                    let bias = if let Some(After::Bias(bias)) = after { Some(parameter(*bias)) } else { None };
                    let mut x = x.f_conv2d(&weight, bias, stride, padding, dilation, groups as i64)?;
                    if let Some(After::Norm(norm)) = after {
                        x = x.f_batch_norm(
                            Some(parameter(norm.scale)),
                            Some(parameter(norm.shift)),
                            Some(statistic(norm.mean)),
                            Some(statistic(norm.variance)),
                            momentum.is_some(),
                            momentum.unwrap_or(BATCH_NORM_MOMENTUM),
                            BATCH_NORM_EPSILON,
                            true,
                        )?;
                    }
                    if after.is_some() { tap(name, x.f_relu6_()?)? } else { x }
                }
                Step::Pool => x.f_adaptive_avg_pool2d([1, 1])?,
                Step::Linear { weight, bias } => {
                    x.f_flatten(1, -1)?.f_to_kind(Kind::Float)?.f_linear(parameter(*weight), Some(parameter(*bias)))?
                }
            };
        }
        Ok(x.f_flatten(1, -1)?.f_to_kind(Kind::Float)?)
    }

    /// Gradients of a scalar `loss` with respect to every parameter, as one flat tensor `[total]` in the order of the
    /// parameters. Errors if `loss` is not a scalar.
    pub fn gradients(&self, loss: &Tensor) -> Result<Tensor> {
        ensure!(loss.numel() == 1, "the loss has {} numbers: expected one", loss.numel());
        let gradients = Tensor::f_run_backward(&[loss], &self.parameter_views, false, false)?;
        let _guard = tch::no_grad_guard();
        let flat = gradients.iter().map(|gradient| gradient.f_reshape([-1])).collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::f_cat(&flat, 0)?)
    }
}

/// The name and shape of a layer's weight, if it has one: `[output, input / groups, kernel, kernel]` or `[output,
/// input]`.
fn weight(layer: &Layer) -> Option<Spec> {
    let (input, output) = (layer.input.channels, layer.output.channels);
    let shape = match layer.op {
        Op::Convolution(Convolution { kernel, groups, .. }) => vec![output, input / groups, kernel, kernel],
        Op::GlobalAveragePool => return None,
        Op::Linear => vec![output, input],
    };
    Some(Spec::new(format!("{}.weight", layer.name), shape.into_iter().map(|extent| extent as i64).collect::<Vec<_>>()))
}

/// Copies a tensor to channels-last layout, if it does not have it.
///
/// `tch` does not expose memory formats, so the strides are set explicitly. With one channel both layouts hold the same
/// bytes, and only explicit strides make libtorch treat the tensor as channels-last.
fn channels_last(images: &Tensor) -> Result<Tensor> {
    let (count, channels, height, width) = images.size4()?;
    let interleaved = images.f_permute([0, 2, 3, 1])?.f_contiguous()?;
    let strides = [height * width * channels, 1, width * channels, channels];
    Ok(interleaved.f_as_strided([count, channels, height, width], strides, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::architecture::Kind as Body;
    use models::cost;

    fn small(kind: Body) -> Architecture {
        Architecture { kind, width: 0.25, resolution: 32, channels: 1, classes: 10, stem_stride: 2 }
    }

    /// `MixUp`, for one, returns contiguous images. One channel needs the strides, too.
    #[test]
    fn every_batch_is_made_channels_last() {
        for (channels, strides) in [(1, [64, 1, 8, 1]), (3, [192, 1, 24, 3])] {
            let batch = Tensor::arange(2 * channels * 64, (Kind::Float, Device::Cpu)).view([2, channels, 8, 8]);
            let marked = channels_last(&batch).unwrap();
            assert_eq!((marked.stride(), marked.size()), (strides.to_vec(), batch.size()));
            assert!(marked.equal(&batch));
            assert_eq!(channels_last(&marked).unwrap().data_ptr(), marked.data_ptr(), "copied twice");
        }
        let network = Network::initialised(&small(Body::MobilenetV1), Device::Cpu).unwrap();
        let images = Tensor::randn([2, 1, 32, 32], (Kind::Float, Device::Cpu));
        let _guard = tch::no_grad_guard();
        let mut layers = 0;
        let mut is_channels_last = |_: &str, x: Tensor| {
            let (_, channels, _, width) = x.size4()?;
            // Where there is one pixel, both layouts are the same.
            assert!(width == 1 || x.stride()[1..] == [1, channels * width, channels], "{:?}", x.stride());
            layers += 1;
            Ok(x)
        };
        let _ = network.tapped(&images, &mut is_channels_last).unwrap();
        assert!(layers > 20);
    }

    /// Nothing but the classifier changes, and the logits are the old ones divided by the number.
    #[test]
    fn divided_logits_are_those_of_the_network_divided() {
        tch::manual_seed(1);
        let _guard = tch::no_grad_guard();
        let images = Tensor::randn([64, 1, 32, 32], (Kind::Float, Device::Cpu));
        for kind in Body::ALL {
            let network = Network::initialised(&small(kind), Device::Cpu).unwrap();
            let logits = network.forward(&images, false).unwrap();
            for temperature in [2.0, 0.61] {
                let mut divided = network.duplicate().unwrap();
                divided.divide_logits(temperature).unwrap();
                let found = divided.forward(&images, false).unwrap();
                let difference = (found * temperature - &logits).abs().max().double_value(&[]);
                let size = logits.abs().max().double_value(&[]);
                assert!(difference < 1e-5 * size, "{kind}: {difference} of {size}");
                let before = network.parameters().views(false).unwrap();
                let after = divided.parameters().views(false).unwrap();
                for ((spec, before), after) in network.parameters().specs().iter().zip(before).zip(after) {
                    assert_eq!(before.equal(&after), !spec.name.starts_with("classifier"), "{}", spec.name);
                }
            }
            // Halving is exact.
            let mut half = network.duplicate().unwrap();
            half.divide_logits(2.0).unwrap();
            assert!((half.forward(&images, false).unwrap() * 2.0).equal(&logits), "{kind}");
        }
    }

    /// Batch norm with the measured statistics gives the same result as with the batch's own, except that the running
    /// variance divides by n − 1 instead of n.
    #[test]
    fn measured_norms_are_those_of_the_images() {
        tch::manual_seed(1);
        let mut network = Network::initialised(&small(Body::MobilenetV1), Device::Cpu).unwrap();
        let _guard = tch::no_grad_guard();
        let batch = || Tensor::randn([1024, 1, 32, 32], (Kind::Float, Device::Cpu)) * 3.0 + 2.0;
        let images = batch();
        let expected = network.duplicate().unwrap().forward(&images, true).unwrap();
        let difference =
            |network: &Network| (network.forward(&images, false).unwrap() - &expected).abs().max().double_value(&[]);
        let before = difference(&network);
        network.measure_norms([Ok(images.shallow_clone())]).unwrap();
        let after = difference(&network);
        assert!(after < 0.05 * before, "{before} {after}");
        // All batches have the same weight, in any order.
        let batches = [batch(), batch(), batch()];
        let measured = |order: [usize; 3]| {
            let mut network = network.duplicate().unwrap();
            network.measure_norms(order.map(|index| Ok(batches[index].shallow_clone()))).unwrap();
            network.statistics().buffer().copy()
        };
        let difference = (measured([0, 1, 2]) - measured([2, 0, 1])).abs().max().double_value(&[]);
        assert!(difference < 1e-5, "{difference}");
    }

    #[test]
    fn the_network_has_as_many_parameters_as_the_cost_model_counts() {
        for kind in Body::ALL {
            let network = Network::zeros(&small(kind), Device::Cpu).unwrap();
            let counted = cost::count(&small(kind).layers()).parameters;
            assert_eq!(network.parameters().buffer().numel() as u64, counted, "{kind}");
        }
    }

    #[test]
    fn both_kinds_yield_one_row_of_logits_for_each_image() {
        for kind in Body::ALL {
            let network = Network::initialised(&small(kind), Device::Cpu).unwrap();
            let batch = Tensor::rand([3, 1, 32, 32], (Kind::Float, Device::Cpu));
            assert_eq!(network.forward(&batch, true).unwrap().size(), [3, 10], "{kind}");
        }
    }

    /// Takes a step along the negative gradient whose first-order effect lowers the loss by 1 %, and checks the actual
    /// fall.
    #[test]
    fn the_gradient_has_a_number_for_each_parameter_and_says_how_fast_the_loss_falls() {
        let mut network = Network::initialised(&small(Body::MobilenetV1), Device::Cpu).unwrap();
        let batch = Tensor::rand([16, 1, 32, 32], (Kind::Float, Device::Cpu));
        let loss = |network: &Network| network.forward(&batch, true).unwrap().square().mean(Kind::Float);
        let before = loss(&network);
        let gradient = network.gradients(&before).unwrap();
        assert_eq!(gradient.size(), network.parameters().buffer().size());
        let slope = gradient.square().sum(Kind::Double).double_value(&[]);
        let before = before.double_value(&[]);
        let step = 0.01 * before / slope;
        let moved = tch::no_grad(|| network.parameters().buffer() - gradient * step);
        network.state_mut().0.copy_from(&moved).unwrap();
        let fall = (before - loss(&network).double_value(&[])) / (0.01 * before);
        assert!((0.7..1.3).contains(&fall), "{fall} of the expected fall");
    }

    #[test]
    fn the_mean_of_an_activation_map_is_the_logit() {
        for body in [Body::MobilenetV1, Body::Tutorial] {
            let network = Network::initialised(&small(body), Device::Cpu).unwrap();
            let batch = Tensor::rand([2, 1, 32, 32], (Kind::Float, Device::Cpu));
            let maps = network.activation_maps(&batch).unwrap();
            let means = maps.mean_dim([2_i64, 3].as_slice(), false, Kind::Float);
            let difference = means - network.forward(&batch, false).unwrap();
            assert!(difference.abs().max().double_value(&[]) < 1e-5, "{body:?}: {difference}");
        }
    }

    #[test]
    fn a_duplicate_shares_nothing() {
        let network = Network::initialised(&small(Body::MobilenetV1), Device::Cpu).unwrap();
        let mut copy = network.duplicate().unwrap();
        let zeros = network.parameters().buffer().zeros_like();
        copy.state_mut().0.copy_from(&zeros).unwrap();
        assert!(network.parameters().buffer().abs().max().double_value(&[]) > 0.0);
    }

    /// An untrained network amplifies rounding errors too much to compare values, so the test checks that bfloat16
    /// learns as well as fp32.
    #[test]
    fn mixed_precision_learns_with_fp32_weights() {
        let labels = Tensor::arange(32, (Kind::Int64, Device::Cpu)).remainder(2);
        // Class 1 is bright on the left.
        let brightness = labels.to_kind(Kind::Float).view([32, 1, 1, 1]);
        let left = Tensor::arange(32, (Kind::Float, Device::Cpu)).lt(16.0).to_kind(Kind::Float).view([1, 1, 1, 32]);
        let batch = Tensor::rand([32, 1, 32, 32], (Kind::Float, Device::Cpu)) + brightness * left;
        let last_loss = |kind: Kind| {
            let mut network = Network::initialised(&small(Body::MobilenetV1), Device::Cpu).unwrap();
            network.set_training_kind(kind);
            let mut last = f64::NAN;
            for _ in 0..12 {
                let logits = network.forward(&batch, true).unwrap();
                let loss = logits.cross_entropy_for_logits(&labels);
                let gradient = network.gradients(&loss).unwrap();
                assert_eq!((logits.kind(), gradient.kind()), (Kind::Float, Kind::Float));
                let moved = tch::no_grad(|| network.parameters().buffer() - gradient * 0.1);
                network.state_mut().0.copy_from(&moved).unwrap();
                last = loss.double_value(&[]);
            }
            last
        };
        for kind in [Kind::Float, Kind::BFloat16] {
            let loss = last_loss(kind);
            assert!(loss < 0.3, "{kind:?}: {loss}, from ln 10 = 2.3");
        }
    }
}
