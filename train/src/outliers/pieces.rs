//! Pieces of training images: two side by side, halves in the wrong places, enlarged fragments.

use super::canvas::{Canvas, SIDE};
use crate::random::{Random, choose};
use tch::{Device, Kind, Tensor};

/// `interpolation_mode` and `padding_mode` of `grid_sampler`: bilinear, and 0 outside the image.
const BILINEAR: i64 = 0;
const ZEROS: i64 = 0;

/// Images `[n, 1, H, W]`, 0 to 1, made of `images` (on any device, 0 to 1, light on dark).
pub(super) fn pieces(canvas: &Canvas, images: &Tensor, n: i64) -> Tensor {
    let random = Random(Device::Cpu);
    let pick = || {
        let index = random.index(&[n], images.size()[0]).to(images.device());
        images.index_select(0, &index).to(Device::Cpu)
    };
    let (a, b) = (pick(), pick());
    let kind = random.uniform(&[n, 1, 1, 1], 0.0, 1.0);
    let fragments = fragments(canvas, &b);
    choose(&kind.lt(0.45), &pairs(canvas, &a, &b), &choose(&kind.lt(0.85), &halves(canvas, &a, &b), &fragments))
}

/// The right half of one image at the left, and the left half of another at the right.
fn halves(canvas: &Canvas, a: &Tensor, b: &Tensor) -> Tensor {
    let half = canvas.width / 2;
    Tensor::cat(&[a.narrow(3, half, canvas.width - half), b.narrow(3, 0, half)], 3)
}

/// The middles of two images, squeezed into one field.
fn pairs(canvas: &Canvas, a: &Tensor, b: &Tensor) -> Tensor {
    let Canvas { height, width, .. } = *canvas;
    let choice = Random(Device::Cpu).index(&[1], 3).int64_value(&[0]);
    let share = |extent: i64, units: f64| (extent as f64 * units / SIDE).round() as i64;
    let (tall, edge) = (share(height, 18.0 + 4.0 * choice as f64), share(width, 1.0));
    let (top, left) = (share(height, 2.0), share(width, 4.0));
    let squeezed = |image: &Tensor, wide: i64| {
        let middle = image.narrow(2, top, height - 2 * top).narrow(3, left, width - 2 * left);
        middle.internal_upsample_bilinear2d_aa([tall, wide], false, None, None)
    };
    let wide = (width - 2 * edge) / 2;
    let pair = Tensor::cat(&[squeezed(a, wide), squeezed(b, width - 2 * edge - wide)], 3);
    let above = (height - tall) / 2;
    pair.constant_pad_nd([edge, edge, above, height - tall - above])
}

/// Parts of an image, enlarged.
fn fragments(canvas: &Canvas, image: &Tensor) -> Tensor {
    let random = Random(Device::Cpu);
    let n = image.size()[0];
    let scale = random.uniform(&[n, 1, 1], 1.8, 2.6).reciprocal() * Tensor::eye(2, (Kind::Float, Device::Cpu));
    let shift = random.uniform(&[n, 2, 1], 0.2, 0.5) * random.sign(&[n, 2, 1]);
    let grid =
        Tensor::affine_grid_generator(&Tensor::cat(&[scale, shift], 2), [n, 1, canvas.height, canvas.width], false);
    image.grid_sampler(&grid, BILINEAR, ZEROS, false)
}
