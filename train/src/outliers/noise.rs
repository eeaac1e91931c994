//! Noise: uniform, Gaussian, salt and pepper, and in blocks, of any density.

use super::canvas::{Canvas, SIDE};
use crate::random::{Random, choose};
use tch::{Device, Kind, Tensor};

/// Images `[n, 1, H, W]`, 0 to 1.
pub(super) fn noise(canvas: &Canvas, n: i64) -> Tensor {
    let random = Random(Device::Cpu);
    let (each, field) = ([n, 1, 1, 1], [n, 1, canvas.height, canvas.width]);
    let density = random.uniform(&each, 0.0, 1.0).square();
    let on = |shape: &[i64]| random.uniform(shape, 0.0, 1.0).lt_tensor(&density);
    let salt = on(&field).to_kind(Kind::Float);
    let uniform = random.uniform(&field, 0.0, 1.0);
    let plain = choose(&random.chance(&each, 0.5), &uniform, &(&uniform * &salt));
    let spread = random.uniform(&each, 0.02, 0.6);
    let gaussian = (random.normal(&field) * spread + random.uniform(&each, 0.0, 1.0)).clamp(0.0, 1.0);
    let cells = SIDE as i64 / (2 * (1 + random.index(&[1], 2).int64_value(&[0])));
    let blocks = random.uniform(&[n, 1, cells, cells], 0.0, 1.0) * on(&[n, 1, cells, cells]);
    let blocks = blocks.upsample_nearest2d(canvas.extents(), None, None);
    let kind = random.index(&each, 4);
    choose(&kind.eq(0), &plain, &choose(&kind.eq(1), &gaussian, &choose(&kind.eq(2), &salt, &blocks)))
}
