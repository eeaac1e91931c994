//! Learning-rate schedules.

use crate::recipe::{ScheduleKind, ScheduleRecipe};
use std::f64::consts::PI;

/// One-cycle starts at the peak divided by this (PyTorch's `div_factor`).
const ONE_CYCLE_START: f64 = 25.0;

/// One-cycle ends at its start divided by this (PyTorch's `final_div_factor`).
const ONE_CYCLE_END: f64 = 1e4;

/// The learning rate of `step`, counted from 0, in a run of `steps` steps with the given peak.
///
/// Constant and cosine rise linearly during the warm-up: the first step takes `peak / warm-up steps`. One-cycle is
/// `torch.optim.lr_scheduler.OneCycleLR(max_lr=peak, total_steps=steps, pct_start=warm_up)`: half a cosine up, half a
/// cosine down.
#[must_use]
pub fn learning_rate(schedule: ScheduleRecipe, peak: f64, step: u64, steps: u64) -> f64 {
    let (step, steps) = (step as f64, steps as f64);
    let rising = schedule.warm_up * steps;
    match schedule.kind {
        ScheduleKind::Constant | ScheduleKind::Cosine if step + 1.0 < rising => peak * (step + 1.0) / rising,
        ScheduleKind::Constant => peak,
        ScheduleKind::Cosine => half_cosine(peak, 0.0, (step - rising).max(0.0) / (steps - rising).max(1.0)),
        ScheduleKind::OneCycle => {
            let start = peak / ONE_CYCLE_START;
            let top = rising - 1.0;
            if step <= top {
                half_cosine(start, peak, if top > 0.0 { step / top } else { 1.0 })
            } else {
                half_cosine(peak, start / ONE_CYCLE_END, (step - top) / (steps - 1.0 - top).max(1.0))
            }
        }
    }
}

/// Half a cosine from `from` at position 0 to `to` at position 1.
fn half_cosine(from: f64, to: f64, position: f64) -> f64 {
    to + (from - to) / 2.0 * ((PI * position.clamp(0.0, 1.0)).cos() + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(kind: ScheduleKind, warm_up: f64, steps: u64) -> Vec<f64> {
        (0..steps).map(|step| learning_rate(ScheduleRecipe { kind, warm_up }, 0.1, step, steps)).collect()
    }

    #[test]
    fn the_warm_up_is_linear_and_the_cosine_ends_near_zero() {
        let rates = rates(ScheduleKind::Cosine, 0.2, 10);
        assert!((rates[0] - 0.05).abs() < 1e-12 && (rates[1] - 0.1).abs() < 1e-12, "{rates:?}");
        assert!((rates[2] - 0.1).abs() < 1e-12, "{rates:?}");
        assert!((rates[6] - 0.05).abs() < 1e-12, "{rates:?}");
        assert!(rates[9] < 0.005 && rates[9] > 0.0, "{rates:?}");
    }

    /// Printed by PyTorch 2.13.0: `OneCycleLR(max_lr=0.1, total_steps=10, pct_start=0.3)`, and the same with 8 steps
    /// and 0.25.
    #[test]
    fn one_cycle_is_pytorchs() {
        let ten = [
            0.004,
            0.052,
            0.1,
            0.095_048_463,
            0.081_174_565,
            0.061_126_202,
            0.038_874_198,
            0.018_825_835,
            0.004_951_936_8,
            4e-7,
        ];
        let eight = [0.004, 0.1, 0.093_301_297, 0.075_000_1, 0.050_000_2, 0.025_000_3, 0.006_699_103, 4e-7];
        for (found, expected) in
            [(rates(ScheduleKind::OneCycle, 0.3, 10), &ten[..]), (rates(ScheduleKind::OneCycle, 0.25, 8), &eight[..])]
        {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
            }
        }
    }

    #[test]
    fn a_constant_rate_is_constant() {
        assert!(rates(ScheduleKind::Constant, 0.0, 5).iter().all(|&rate| rate.to_bits() == 0.1_f64.to_bits()));
    }
}
