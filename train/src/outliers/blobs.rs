//! Clip art: filled superellipses painted over one another, flat or textured, many of them mirror-symmetric.

use super::canvas::{Canvas, SIDE};
use super::strokes;
use super::textures::{SCALES, fields};
use crate::random::{Random, choose};
use std::f64::consts::PI;
use tch::{Device, Kind, Tensor};

/// Largest number of shapes in an image.
const SHAPES: i64 = 5;

/// Images `[n, 1, H, W]`, 0 to 1.
pub(super) fn blobs(canvas: &Canvas, n: i64) -> Tensor {
    let random = Random(Device::Cpu);
    let (each, shape) = ([n, 1, 1, 1], [n, SHAPES, 1, 1]);
    let lit = random.one(&each, 0.25);
    let mut image = lit * (random.uniform(&each, 0.0, 1.0) + fields(canvas, n, &SCALES[..3]) * 0.15);

    let number = Tensor::arange(SHAPES, (Kind::Int64, Device::Cpu)).view([SHAPES, 1, 1]);
    let first = number.eq(0);
    let used = number.lt_tensor(&(random.index(&each, SHAPES) + 1));
    let inside = superellipses(canvas, n, &first) * used;

    let base = random.uniform(&each, 0.35, 1.0);
    let is_flat = random.chance(&each, 0.4);
    let texture = fields(canvas, n, &SCALES) * random.uniform(&each, 0.0, 1.0).square() * 0.5;
    let level = choose(&is_flat.logical_or(&first), &base, &random.uniform(&shape, 0.0, 1.0));
    // A hole; never the first shape, which lies below all others.
    let hole = random.chance(&shape, 0.25).logical_and(&first.logical_not());
    let level = (level + texture) * hole.logical_not();
    for index in 0..SHAPES {
        let (inside, level) = (inside.narrow(1, index, 1), level.narrow(1, index, 1));
        image = &image + inside * (level - &image);
    }
    let mirrored = image.maximum(&image.flip([3]));
    inked(canvas, &choose(&random.chance(&each, 0.4), &mirrored, &image).clamp(0.0, 1.0))
}

/// Adds light strokes to some of the images and cuts strokes out of others: prints, seams, handles.
fn inked(canvas: &Canvas, images: &Tensor) -> Tensor {
    let random = Random(Device::Cpu);
    let n = images.size()[0];
    let each = [n, 1, 1, 1];
    let ink = strokes::glyphs(canvas, n) * random.uniform(&each, 0.4, 1.0);
    let way = random.uniform(&each, 0.0, 1.0);
    let cut = choose(&way.lt(0.3), &(images * (1.0 - &ink)), images);
    choose(&way.lt(0.15), &images.maximum(&ink), &cut)
}

/// Which share of each pixel each shape covers, `[n, SHAPES, H, W]`: diamonds, ellipses and rounded boxes, half of them
/// turned. The first of an image is larger and closer to the middle.
fn superellipses(canvas: &Canvas, n: i64, first: &Tensor) -> Tensor {
    let random = Random(Device::Cpu);
    let shape = [n, SHAPES, 1, 1];
    let angle = random.uniform(&shape, 0.0, PI) * random.one(&shape, 0.5);
    let half = SIDE / 2.0;
    let centre = || {
        let spread = first.to_kind(Kind::Float) * -0.2 + 0.5;
        (random.normal(&shape) * spread).clamp(-0.7, 0.7) * half
    };
    let radius = || choose(first, &random.uniform(&shape, 0.25, 0.75), &random.uniform(&shape, 0.08, 0.6)) * half;
    let (wide, high) = (radius(), radius());
    let power = random.uniform(&shape, 0.0, 3.5).exp2();
    let (x, y) = (&canvas.columns - centre(), canvas.rows.unsqueeze(1) - centre());
    let (sin, cos) = (angle.sin(), angle.cos());
    let along = ((&x * &cos + &y * &sin) / &wide).abs();
    let across = ((y * cos - x * sin) / &high).abs();
    let norm = (along.pow(&power) + across.pow(&power)).pow(&power.reciprocal());
    canvas.covered(&((1.0 - norm) * wide.minimum(&high)))
}
