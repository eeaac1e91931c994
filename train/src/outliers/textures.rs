//! Textures: random fields of several scales, stripes, grids and dots, at any contrast.

use super::canvas::{Canvas, SIDE};
use crate::random::{Random, choose};
use std::f64::consts::{FRAC_PI_2, PI, TAU};
use tch::{Device, Kind, Tensor};

/// Cells per side of the layers of a random field. The last is one cell per pixel.
pub(super) const SCALES: [i64; 6] = [2, 3, 5, 8, 14, SIDE as i64];

/// Layers with fewer cells are interpolated bicubically, the others bilinearly.
const COARSE: i64 = 14;

/// Textures `[n, 1, H, W]`, 0 to 1. A third keep to the middle of the field.
pub(super) fn textures(canvas: &Canvas, n: i64) -> Tensor {
    let random = Random(Device::Cpu);
    let each = [n, 1, 1, 1];
    let (kind, grain, waves) = (random.uniform(&each, 0.0, 1.0), fields(canvas, n, &SCALES), waves(canvas, n));
    let field =
        choose(&kind.lt(0.4), &grain, &choose(&kind.lt(0.7), &(&waves * 1.4), &(fields(canvas, n, &SCALES) + &waves)));
    // At the largest contrasts the field is black and white.
    let contrast = random.log_uniform(&each, 0.08, 4.0);
    let level = random.uniform(&each, -0.5, 0.5) * (&contrast + 1.0) + 0.5;
    let image = (field * contrast + level).clamp(0.0, 1.0);
    let inner = SIDE / 2.0 - random.uniform(&each, 2.0, 9.0);
    let inside =
        canvas.covered(&(&inner - canvas.columns.abs())) * canvas.covered(&(&inner - canvas.rows.abs().unsqueeze(1)));
    choose(&random.chance(&each, 0.35), &(&image * inside), &image)
}

/// Random fields `[n, 1, H, W]` with about mean 0 and deviation 1: a weighted sum of noise with `scales` cells per side.
pub(super) fn fields(canvas: &Canvas, n: i64, scales: &[i64]) -> Tensor {
    let random = Random(Device::Cpu);
    let weights = random.uniform(&[n, scales.len() as i64], 0.0, 1.0).pow_tensor_scalar(3);
    let deviation = weights.square().sum_dim_intlist([1_i64].as_slice(), false, Kind::Float).sqrt();
    let mut total = Tensor::zeros([n, 1, canvas.height, canvas.width], (Kind::Float, Device::Cpu));
    for (index, &cells) in scales.iter().enumerate() {
        let extents = canvas.extents();
        let layer = if cells == SIDE as i64 {
            random.normal(&[n, 1, canvas.height, canvas.width])
        } else {
            let noise = random.normal(&[n, 1, cells, cells]);
            if cells < COARSE {
                noise.upsample_bicubic2d(extents, false, None, None)
            } else {
                noise.upsample_bilinear2d(extents, false, None, None)
            }
        };
        total += layer * weights.select(1, index as i64).view([n, 1, 1, 1]);
    }
    total / deviation.view([n, 1, 1, 1])
}

/// Stripes `[n, 1, H, W]`, −1 to 1, or grids and dots where two sets of stripes meet.
fn waves(canvas: &Canvas, n: i64) -> Tensor {
    let random = Random(Device::Cpu);
    let each = [n, 1, 1, 1];
    let stripes = || {
        let right = random.index(&each, 2) * FRAC_PI_2;
        let angle = choose(&random.chance(&each, 0.5), &random.uniform(&each, 0.0, PI), &right);
        let frequency = random.log_uniform(&each, 1.0, 11.0) * (TAU / SIDE);
        let place = &canvas.columns * angle.cos() + canvas.rows.unsqueeze(1) * angle.sin();
        (place * frequency + random.uniform(&each, 0.0, TAU)).sin()
    };
    let (first, second) = (stripes(), stripes());
    let kind = random.uniform(&each, 0.0, 1.0);
    choose(&kind.lt(0.4), &first, &choose(&kind.lt(0.7), &first.maximum(&second), &(&first * second)))
}
