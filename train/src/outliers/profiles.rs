//! Upright silhouettes given by their width at each height: bottles, clothes, people, tools.

use super::canvas::{Canvas, SIDE};
use super::textures::{SCALES, fields};
use crate::random::{Random, choose};
use tch::{Device, Tensor};

/// Heights at which the width is drawn at random.
const POINTS: i64 = 7;

/// Images `[n, 1, H, W]`, 0 to 1: symmetric or nearly so, smooth or angular, some split from below, a fifth of them on
/// their side.
pub(super) fn profiles(canvas: &Canvas, n: i64) -> Tensor {
    let random = Random(Device::Cpu);
    let each = [n, 1, 1];
    let smooth = random.chance(&each, 0.5);
    // [n, H, 1], from one number per height.
    let curve = |values: &Tensor| {
        let lines = values.upsample_linear1d([canvas.height], true, None);
        choose(&smooth, &lines, &values.upsample_nearest1d([canvas.height], None)).transpose(1, 2)
    };
    let widths = (random.normal(&[n, 1, POINTS]) * 0.4).exp() * random.uniform(&each, 1.5, 11.0);
    let bends = random.uniform(&each, 0.0, 1.5) * random.one(&each, 0.4);
    let axis = random.uniform(&each, -1.5, 1.5) + curve(&random.normal(&[n, 1, POINTS])) * bends;
    let off = (&canvas.columns - axis).abs();
    let rows = canvas.rows.unsqueeze(1);
    let (top, bottom) = (random.uniform(&each, -14.0, -6.0), random.uniform(&each, 6.0, 14.0));
    let inside =
        canvas.covered(&(curve(&widths) - &off)) * canvas.covered(&(&rows - top)) * canvas.covered(&(bottom - &rows));
    // A slit that widens towards the bottom.
    let depth = ((&rows - random.uniform(&each, -6.0, 4.0)) / SIDE).clamp_min(0.0);
    let outside = canvas.covered(&(off - &depth * random.uniform(&each, 0.0, 8.0)));
    let split = random.chance(&each, 0.35).logical_and(&depth.gt(0.0));
    let inside = choose(&split, &(&inside * outside), &inside);

    let texture = fields(canvas, n, &SCALES).squeeze_dim(1) * random.uniform(&each, 0.0, 0.5);
    let shade = (texture - bands(canvas, n) * random.uniform(&each, 0.0, 1.0)).exp() * random.uniform(&each, 0.3, 1.0);
    let image = (inside * shade).clamp(0.0, 1.0).unsqueeze(1);
    let lying = image.transpose(2, 3).upsample_bilinear2d(canvas.extents(), false, None, None);
    choose(&random.chance(&[n, 1, 1, 1], 0.2), &lying, &image)
}

/// Soft bands across the field, `[n, H, 1]`, 0 to 1; half of the fields have none.
fn bands(canvas: &Canvas, n: i64) -> Tensor {
    let random = Random(Device::Cpu);
    let band = random.one(&[n, 1, 9], 0.3).upsample_linear1d([canvas.height], false, None);
    band.transpose(1, 2) * random.one(&[n, 1, 1], 0.5)
}
