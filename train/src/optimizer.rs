//! Optimizers on flat tensors, whose state can be saved: `tch`'s own do not give theirs out.
//!
//! The arithmetic is PyTorch's (`torch.optim.SGD`, `torch.optim.AdamW`); the tests compare single steps with PyTorch.

use crate::recipe::{OptimizerKind, OptimizerRecipe};
use anyhow::Result;
use tch::Tensor;

/// `AdamW`'s decay of the squared gradients' average, and what is added to its root: PyTorch's defaults.
const ADAM_BETA2: f64 = 0.999;
const ADAM_EPSILON: f64 = 1e-8;

/// An optimizer with its state.
#[derive(Debug)]
pub struct Optimizer {
    recipe: OptimizerRecipe,
    /// How many of the parameters, from the first, decay.
    decayed: i64,
    state: Vec<(&'static str, Tensor)>,
}

impl Optimizer {
    /// A fresh optimizer for `parameters` `[total]`, of which the first `decayed` are weights proper.
    pub fn new(recipe: &OptimizerRecipe, parameters: &Tensor, decayed: i64) -> Result<Self> {
        let names: &[&'static str] = match recipe.kind {
            OptimizerKind::Sgd => &["momentum"],
            OptimizerKind::AdamW => &["average", "square_average"],
        };
        let _guard = tch::no_grad_guard();
        let state = names.iter().map(|&name| Ok((name, parameters.f_zeros_like()?))).collect::<Result<_>>()?;
        let decayed = if recipe.decay_norm_and_bias { parameters.size()[0] } else { decayed };
        Ok(Self { recipe: recipe.clone(), decayed, state })
    }

    /// The state by name, each `[total]`.
    pub fn state(&self) -> &[(&'static str, Tensor)] {
        &self.state
    }

    /// Moves `parameters` by one step against `gradient`, both `[total]`. `step` counts from 0.
    pub fn step(&mut self, parameters: &Tensor, gradient: &mut Tensor, rate: f64, step: u64) -> Result<()> {
        let _guard = tch::no_grad_guard();
        let mut parameters = parameters.shallow_clone();
        match self.recipe.kind {
            OptimizerKind::Sgd => self.sgd(&mut parameters, gradient, rate),
            OptimizerKind::AdamW => self.adamw(&mut parameters, gradient, rate, step),
        }
    }

    /// v ← μ v + (g + λ p); p ← p − η v, or with Nesterov p ← p − η (g + λ p + μ v).
    fn sgd(&mut self, parameters: &mut Tensor, gradient: &mut Tensor, rate: f64) -> Result<()> {
        let OptimizerRecipe { momentum, nesterov, weight_decay, .. } = self.recipe;
        if weight_decay > 0.0 {
            let decay = parameters.f_narrow(0, 0, self.decayed)?.f_mul_scalar(weight_decay)?;
            let _ = gradient.f_narrow(0, 0, self.decayed)?.f_add_(&decay)?;
        }
        let velocity = &mut self.state[0].1;
        let _ = velocity.f_mul_scalar_(momentum)?.f_add_(gradient)?;
        let direction =
            if nesterov { gradient.f_add_(&velocity.f_mul_scalar(momentum)?)? } else { velocity.shallow_clone() };
        let _ = parameters.f_sub_(&direction.f_mul_scalar(rate)?)?;
        Ok(())
    }

    /// p ← p (1 − η λ); m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²; p ← p − η m̂ / (√v̂ + ε).
    fn adamw(&mut self, parameters: &mut Tensor, gradient: &Tensor, rate: f64, step: u64) -> Result<()> {
        let OptimizerRecipe { momentum: beta1, weight_decay, .. } = self.recipe;
        if weight_decay > 0.0 {
            let _ = parameters.f_narrow(0, 0, self.decayed)?.f_mul_scalar_(1.0 - rate * weight_decay)?;
        }
        let [(_, average), (_, square)] = &mut self.state[..] else { anyhow::bail!("AdamW keeps two averages") };
        let _ = average.f_lerp_(gradient, 1.0 - beta1)?;
        let _ = square.f_mul_scalar_(ADAM_BETA2)?.f_add_(&gradient.f_square()?.f_mul_scalar_(1.0 - ADAM_BETA2)?)?;
        let count = step as f64 + 1.0;
        let root_correction = (1.0 - ADAM_BETA2.powf(count)).sqrt();
        let mut denominator = square.f_sqrt()?.f_div_scalar_(root_correction)?;
        let _ = denominator.f_add_scalar_(ADAM_EPSILON)?;
        let scaled = average.f_div(&denominator)?.f_mul_scalar_(rate / (1.0 - beta1.powf(count)))?;
        let _ = parameters.f_sub_(&scaled)?;
        Ok(())
    }
}

/// Shortens a gradient whose L2 norm is above `longest`, as `torch.nn.utils.clip_grad_norm_`. 0: any length.
pub fn clip(gradient: &mut Tensor, longest: f64) -> Result<()> {
    if longest > 0.0 {
        let _guard = tch::no_grad_guard();
        let norm = gradient.f_norm()?.f_double_value(&[])?;
        let factor = longest / (norm + 1e-6);
        if factor < 1.0 {
            let _ = gradient.f_mul_scalar_(factor)?;
        }
    }
    Ok(())
}
