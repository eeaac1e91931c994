//! Optimizers on flat tensors. They exist because the optimizers in `tch` do not expose their state, so it could not be
//! saved.
//!
//! They compute the same updates as PyTorch's `torch.optim.SGD` and `torch.optim.AdamW`; the tests compare single steps
//! with PyTorch.

use crate::recipe::{OptimizerKind, OptimizerRecipe};
use anyhow::Result;
use tch::Tensor;

/// β₂ and ε of `AdamW`: PyTorch's defaults.
const ADAM_BETA2: f64 = 0.999;
const ADAM_EPSILON: f64 = 1e-8;

/// An optimizer with its state.
#[derive(Debug)]
pub struct Optimizer {
    recipe: OptimizerRecipe,
    /// How many leading parameters weight decay applies to.
    decayed: i64,
    state: Vec<(&'static str, Tensor)>,
    /// 1 for each parameter of the body, 0 for those of the classifier; `[total]`.
    body: Tensor,
    /// Steps at the start in which the body is frozen.
    frozen_steps: u64,
}

impl Optimizer {
    /// A new optimizer for `parameters` `[total]`, whose first `decayed` elements are subject to weight decay, or all
    /// of them if the recipe sets `decay_norm_and_bias`. `body` is 1 for each parameter of the body, otherwise 0. The body
    /// is frozen for the first `frozen_steps`.
    pub fn new(
        recipe: &OptimizerRecipe,
        parameters: &Tensor,
        decayed: i64,
        body: Tensor,
        frozen_steps: u64,
    ) -> Result<Self> {
        let names: &[&'static str] = match recipe.kind {
            OptimizerKind::Sgd => &["momentum"],
            OptimizerKind::AdamW => &["average", "square_average"],
        };
        let _guard = tch::no_grad_guard();
        let state = names.iter().map(|&name| Ok((name, parameters.f_zeros_like()?))).collect::<Result<_>>()?;
        let decayed = if recipe.decay_norm_and_bias { parameters.size()[0] } else { decayed };
        Ok(Self { recipe: recipe.clone(), decayed, state, body, frozen_steps })
    }

    /// The state tensors by name, each `[total]`.
    pub fn state(&self) -> &[(&'static str, Tensor)] {
        &self.state
    }

    /// Updates `parameters` with `gradient`, both `[total]`, at learning rate `rate`. `step` counts from 0. May
    /// overwrite `gradient`.
    pub fn step(&mut self, parameters: &Tensor, gradient: &mut Tensor, rate: f64, step: u64) -> Result<()> {
        let _guard = tch::no_grad_guard();
        let mut parameters = parameters.shallow_clone();
        let frozen = step < self.frozen_steps;
        // The rate of each parameter as a share of `rate`; `None` if all are 1.
        let shares = match if frozen { 0.0 } else { self.recipe.body_lr } {
            1.0 => None,
            share => Some(body_and_rest(&self.body, share, 1.0)?),
        };
        match self.recipe.kind {
            OptimizerKind::Sgd => self.sgd(&mut parameters, gradient, rate, shares.as_ref(), frozen),
            OptimizerKind::AdamW => self.adamw(&mut parameters, gradient, rate, shares.as_ref(), step),
        }
    }

    /// v ← μ v + (g + λ p); p ← p − η v, or with Nesterov p ← p − η (g + λ p + μ v).
    fn sgd(
        &mut self,
        parameters: &mut Tensor,
        gradient: &mut Tensor,
        rate: f64,
        shares: Option<&Tensor>,
        frozen: bool,
    ) -> Result<()> {
        let OptimizerRecipe { momentum, nesterov, weight_decay, .. } = self.recipe;
        if weight_decay > 0.0 {
            let decay = parameters.f_narrow(0, 0, self.decayed)?.f_mul_scalar(weight_decay)?;
            let _ = gradient.f_narrow(0, 0, self.decayed)?.f_add_(&decay)?;
        }
        if let (Some(shares), true) = (shares, frozen) {
            // A frozen body gathers no momentum either.
            let _ = gradient.f_mul_(shares)?;
        }
        let velocity = &mut self.state[0].1;
        let _ = velocity.f_mul_scalar_(momentum)?.f_add_(gradient)?;
        let direction =
            if nesterov { gradient.f_add_(&velocity.f_mul_scalar(momentum)?)? } else { velocity.shallow_clone() };
        let change = direction.f_mul_scalar(rate)?;
        let _ = parameters.f_sub_(&if let Some(shares) = shares { change.f_mul(shares)? } else { change })?;
        Ok(())
    }

    /// p ← p (1 − η λ); m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²; p ← p − η m̂ / (√v̂ + ε).
    fn adamw(
        &mut self,
        parameters: &mut Tensor,
        gradient: &mut Tensor,
        rate: f64,
        shares: Option<&Tensor>,
        step: u64,
    ) -> Result<()> {
        let OptimizerRecipe { momentum: beta1, weight_decay, .. } = self.recipe;
        if weight_decay > 0.0 {
            let mut decayed = parameters.f_narrow(0, 0, self.decayed)?;
            let _ = match shares {
                None => decayed.f_mul_scalar_(1.0 - rate * weight_decay)?,
                Some(shares) => {
                    let kept = shares.f_narrow(0, 0, self.decayed)?.f_mul_scalar(-rate * weight_decay)?;
                    decayed.f_mul_(&kept.f_add_scalar(1.0)?)?
                }
            };
        }
        if let (Some(shares), true) = (shares, step < self.frozen_steps) {
            let _ = gradient.f_mul_(shares)?;
        }
        let [(_, average), (_, square)] = &mut self.state[..] else { anyhow::bail!("AdamW keeps two averages") };
        let _ = average.f_lerp_(gradient, 1.0 - beta1)?;
        let _ = square.f_mul_scalar_(ADAM_BETA2)?.f_add_(&gradient.f_square()?.f_mul_scalar_(1.0 - ADAM_BETA2)?)?;
        let root_correction = |count: f64| (1.0 - ADAM_BETA2.powf(count)).sqrt();
        let corrected_rate = |count: f64| rate / (1.0 - beta1.powf(count));
        let count = step as f64 + 1.0;
        // As in PyTorch, a parameter's steps count from the first one that moves it.
        let since_thaw = step.checked_sub(self.frozen_steps).map_or(1.0, |steps| steps as f64 + 1.0);
        let (mut denominator, rates) = if self.frozen_steps == 0 {
            (square.f_sqrt()?.f_div_scalar_(root_correction(count))?, None)
        } else {
            let corrections = body_and_rest(&self.body, root_correction(since_thaw), root_correction(count))?;
            let rates = body_and_rest(&self.body, corrected_rate(since_thaw), corrected_rate(count))?;
            (square.f_sqrt()?.f_div_(&corrections)?, Some(rates))
        };
        let _ = denominator.f_add_scalar_(ADAM_EPSILON)?;
        let mut change = average.f_div(&denominator)?;
        let _ = match rates {
            None => change.f_mul_scalar_(corrected_rate(count))?,
            Some(rates) => change.f_mul_(&rates)?,
        };
        let _ = parameters.f_sub_(&if let Some(shares) = shares { change.f_mul(shares)? } else { change })?;
        Ok(())
    }
}

/// One number for each parameter of the body and another for the rest, `[total]`; `is_body` is 1 for the body's.
fn body_and_rest(is_body: &Tensor, body: f64, rest: f64) -> Result<Tensor> {
    Ok(is_body.f_mul_scalar(body - rest)?.f_add_scalar(rest)?)
}

/// Scales a gradient down to L2 norm `longest` if it is longer, as `torch.nn.utils.clip_grad_norm_` does. 0 means no
/// limit.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Three steps from one point with fixed gradients. The expected numbers were printed by PyTorch 2.13.0:
    /// `torch.optim.SGD` and `torch.optim.AdamW` with the arguments each test names.
    const START: [f32; 4] = [0.5, -1.5, 2.0, 0.25];
    const GRADIENTS: [[f32; 4]; 3] = [[0.1, -0.2, 0.3, -0.4], [0.5, 0.25, -0.125, 1.0], [-1.0, 0.75, 0.5, -0.25]];

    fn recipe(kind: OptimizerKind, momentum: f64, nesterov: bool, weight_decay: f64) -> OptimizerRecipe {
        OptimizerRecipe { kind, lr: 0.1, body_lr: 1.0, momentum, nesterov, weight_decay, decay_norm_and_bias: false }
    }

    /// The last two parameters are the classifier's.
    fn steps(recipe: &OptimizerRecipe, rate: f64, decayed: i64) -> Vec<Vec<f32>> {
        steps_frozen(recipe, rate, decayed, 0)
    }

    /// The body is frozen for the first steps.
    fn steps_frozen(recipe: &OptimizerRecipe, rate: f64, decayed: i64, frozen: u64) -> Vec<Vec<f32>> {
        let parameters = Tensor::from_slice(&START);
        let body = Tensor::from_slice(&[1_f32, 1.0, 0.0, 0.0]);
        let mut optimizer = Optimizer::new(recipe, &parameters, decayed, body, frozen).unwrap();
        let mut seen = Vec::new();
        for (step, gradient) in GRADIENTS.iter().enumerate() {
            let mut gradient = Tensor::from_slice(gradient);
            optimizer.step(&parameters, &mut gradient, rate, step as u64).unwrap();
            seen.push(Vec::<f32>::try_from(&parameters).unwrap());
        }
        seen
    }

    fn assert_close(found: &[Vec<f32>], expected: [[f32; 4]; 3]) {
        for (found, expected) in found.iter().zip(expected) {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 3e-7, "{found} instead of {expected}");
            }
        }
    }

    /// `SGD(lr=0.1)`.
    #[test]
    fn plain_sgd_steps_as_pytorchs() {
        let found = steps(&recipe(OptimizerKind::Sgd, 0.0, false, 0.0), 0.1, 4);
        assert_close(
            &found,
            [[0.49, -1.48, 1.97, 0.29], [0.44, -1.505, 1.982_500_1, 0.19], [0.54, -1.58, 1.932_500_1, 0.215]],
        );
    }

    /// `SGD(lr=0.1, momentum=0.9, weight_decay=0.01)`.
    #[test]
    fn momentum_and_weight_decay_step_as_pytorchs() {
        let found = steps(&recipe(OptimizerKind::Sgd, 0.9, false, 0.01), 0.1, 4);
        assert_close(
            &found,
            [
                [0.489_5, -1.478_5, 1.968, 0.289_75],
                [0.429_560_48, -1.482_671_5, 1.949_732, 0.225_235_22],
                [0.475_185_36, -1.559_943_2, 1.881_341_1, 0.191_946_74],
            ],
        );
    }

    /// `SGD(lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)`.
    #[test]
    fn nesterov_steps_as_pytorchs() {
        let found = steps(&recipe(OptimizerKind::Sgd, 0.9, true, 0.01), 0.1, 4);
        assert_close(
            &found,
            [
                [0.480_05, -1.459_15, 1.939_2, 0.325_525],
                [0.375_632_9, -1.486_462_6, 1.933_345_6, 0.167_104],
                [0.516_375_9, -1.629_532_9, 1.819_898_5, 0.162_000_57],
            ],
        );
    }

    /// `AdamW(lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)`.
    #[test]
    fn adamw_steps_as_pytorchs() {
        let found = steps(&recipe(OptimizerKind::AdamW, 0.9, false, 0.1), 0.01, 4);
        assert_close(
            &found,
            [
                [0.489_5, -1.488_5, 1.988, 0.259_75],
                [0.480_400_06, -1.488_638_9, 1.982_690_7, 0.255_068_1],
                [0.482_589_04, -1.493_519_8, 1.973_952, 0.252_928_5],
            ],
        );
    }

    #[test]
    fn what_comes_after_the_weights_does_not_decay() {
        for kind in [OptimizerKind::Sgd, OptimizerKind::AdamW] {
            let decayed = steps(&recipe(kind, 0.9, false, 0.1), 0.1, 4);
            let half = steps(&recipe(kind, 0.9, false, 0.1), 0.1, 2);
            let none = steps(&recipe(kind, 0.9, false, 0.0), 0.1, 4);
            assert_eq!((&half[2][..2], &half[2][2..]), (&decayed[2][..2], &none[2][2..]));
        }
    }

    /// Parameter groups with learning rates 0.1 and 0.01, both with `momentum=0.9, weight_decay=0.01, nesterov=True`
    /// (`AdamW`: `weight_decay=0.1`). A rate of its own for the body is the same as steps of the body alone at that rate.
    #[test]
    fn the_body_has_a_rate_of_its_own() {
        for (kind, nesterov, decay) in [(OptimizerKind::Sgd, true, 0.01), (OptimizerKind::AdamW, false, 0.1)] {
            let plain = recipe(kind, 0.9, nesterov, decay);
            let (fast, slow) = (steps(&plain, 0.1, 4), steps(&plain, 0.01, 4));
            let both = steps(&OptimizerRecipe { body_lr: 0.1, ..plain }, 0.1, 4);
            for ((both, fast), slow) in both.iter().zip(&fast).zip(&slow) {
                for (found, expected) in both.iter().zip([slow[0], slow[1], fast[2], fast[3]]) {
                    assert!((found - expected).abs() < 1e-6, "{kind:?}: {found} instead of {expected}");
                }
            }
        }
    }

    /// A frozen body stays as it is, to the bit, and then starts without momentum.
    #[test]
    fn a_frozen_body_does_not_move() {
        for (kind, nesterov, decay) in [(OptimizerKind::Sgd, true, 0.01), (OptimizerKind::AdamW, false, 0.1)] {
            let plain = recipe(kind, 0.9, nesterov, decay);
            let (free, frozen) = (steps(&plain, 0.1, 4), steps_frozen(&plain, 0.1, 4, 3));
            for (frozen, free) in frozen.iter().zip(&free) {
                assert_eq!((&frozen[..2], &frozen[2..]), (&START[..2], &free[2..]), "{kind:?}");
            }
        }
        let plain = recipe(OptimizerKind::Sgd, 0.9, false, 0.0);
        let thawed = steps_frozen(&plain, 0.1, 4, 2);
        assert!((thawed[2][0] - (START[0] - 0.1 * GRADIENTS[2][0])).abs() < 1e-6, "{thawed:?}");
        // Adam's first step has the size of the learning rate, for any gradient.
        let thawed = steps_frozen(&recipe(OptimizerKind::AdamW, 0.9, false, 0.0), 0.1, 4, 2);
        assert!((thawed[2][0] - (START[0] + 0.1)).abs() < 1e-5, "{thawed:?}");
        assert!((thawed[2][1] - (START[1] - 0.1)).abs() < 1e-5, "{thawed:?}");
    }

    /// `torch.nn.utils.clip_grad_norm_(…, 2.0)` of (3, 4, 12), whose norm is 13.
    #[test]
    fn clipping_shortens_as_pytorchs() {
        let mut gradient = Tensor::from_slice(&[3_f32, 4.0, 12.0]);
        clip(&mut gradient, 20.0).unwrap();
        assert_eq!(Vec::<f32>::try_from(&gradient).unwrap(), [3.0, 4.0, 12.0]);
        clip(&mut gradient, 2.0).unwrap();
        let found = Vec::<f32>::try_from(&gradient).unwrap();
        for (found, expected) in found.iter().zip([0.461_538_43, 0.615_384_6, 1.846_153_7]) {
            assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
        }
    }
}
