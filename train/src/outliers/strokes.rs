//! Glyphs of random pen strokes, like letters and symbols, and scratches of a few pixels.

use super::canvas::Canvas;
use crate::random::{Random, choose};
use std::f64::consts::{PI, TAU};
use tch::{Device, Kind, Tensor};

/// Largest number of strokes in a glyph, and the probability of each number.
const STROKES: i64 = 4;
const NUMBERS: [f32; STROKES as usize] = [0.10, 0.35, 0.35, 0.20];

/// Points per stroke.
const POINTS: i64 = 32;

/// How sharp the soft minimum of the distances to the points is.
const SHARPNESS: f64 = 2.5;

/// Glyphs `[n, 1, H, W]`, 0 to 1.
pub(super) fn glyphs(canvas: &Canvas, n: i64) -> Tensor {
    let random = Random(Device::Cpu);
    pen(canvas, &paths(n), &random.uniform(&[n, 1], 15.0, 21.0))
}

/// Scratches `[n, 1, H, W]`, 0 to 1: tiny glyphs or nothing, on a black or a grey ground.
pub(super) fn scratches(canvas: &Canvas, n: i64) -> Tensor {
    let random = Random(Device::Cpu);
    let tiny = pen(canvas, &paths(n), &random.uniform(&[n, 1], 1.5, 7.0));
    let each = [n, 1, 1, 1];
    let ground = random.uniform(&each, 0.0, 1.0) * random.one(&each, 0.4);
    (tiny * random.one(&each, 0.6)).maximum(&ground)
}

/// The strokes of each glyph as points `[n, STROKES · POINTS, 2]` (x and y, about −1 to 1): straight lines, bent lines
/// (cubic Bézier curves) and elliptic arcs between the nine points of a jittered 3×3 grid. Half of the strokes start
/// where the one before ends.
///
/// A glyph of one stroke is neither straight nor a closed arc: it would be a 1 or a 0.
fn paths(n: i64) -> Tensor {
    let random = Random(Device::Cpu);
    let (each, point) = ([n, STROKES, 1], [n, STROKES, 1, 1]);
    let count = Tensor::from_slice(&NUMBERS).multinomial(n, true).unsqueeze(1) + 1;
    let stroke = Tensor::arange(STROKES, (Kind::Int64, Device::Cpu));
    let single = count.eq(1).logical_and(&stroke.eq(0)).unsqueeze(2);

    let anchors = grid() + random.normal(&[n, 9, 2]) * 0.15;
    let start = random.index(&[n, STROKES], 9);
    // Never the point where it starts.
    let end = (&start + random.index(&[n, STROKES], 8) + 1).remainder(9);
    let (others, before) = (start.narrow(1, 1, STROKES - 1), end.narrow(1, 0, STROKES - 1));
    let joined = choose(&random.chance(&[n, STROKES - 1], 0.5), &before, &others);
    let start = Tensor::cat(&[start.narrow(1, 0, 1), joined], 1);
    let at = |index: &Tensor| anchors.gather(1, &index.unsqueeze(2).expand([n, STROKES, 2], false), false);
    let (from, to) = (at(&start), at(&end));

    let time = Tensor::linspace(0.0, 1.0, POINTS, (Kind::Float, Device::Cpu));
    let bezier = bezier(&from, &to, &single, &time);

    let sweep = random.uniform(&each, 0.6 * PI, TAU);
    let sweep = choose(&single, &sweep.clamp_max(4.2), &sweep) * random.sign(&each);
    let angle = random.uniform(&each, 0.0, TAU) + sweep * &time;
    let arc = Tensor::stack(&[angle.cos(), angle.sin()], 3) * random.uniform(&[n, STROKES, 1, 2], 0.3, 0.95);
    // Half of the arcs start at the anchor, the others have their centre near the middle.
    let anchor = from.unsqueeze(2);
    let arc = &arc + choose(&random.chance(&point, 0.5), &(&anchor - arc.narrow(2, 0, 1)), &(&anchor / 2.0));

    let path = choose(&random.chance(&point, 0.3), &arc, &bezier);
    // Strokes beyond the glyph's number repeat its first.
    let used = stroke.lt_tensor(&count).view([n, STROKES, 1, 1]);
    let path = choose(&used, &path, &path.narrow(1, 0, 1));
    let narrower = Tensor::cat(&[random.uniform(&[n, 1, 1], 0.55, 1.0), Tensor::ones([n, 1, 1], FLOAT)], 2);
    path.reshape([n, -1, 2]) * narrower
}

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

/// The points of a 3×3 grid, `[9, 2]`.
fn grid() -> Tensor {
    let points: Vec<f32> =
        (0..9_u8).flat_map(|point| [f32::from(point % 3) - 1.0, f32::from(point / 3) - 1.0]).collect();
    Tensor::from_slice(&points).view([9, 2])
}

/// Cubic Bézier curves `[n, STROKES, POINTS, 2]`. The two inner control points are on the line, on one side of it (a
/// bow), or on opposite sides (an S).
fn bezier(from: &Tensor, to: &Tensor, single: &Tensor, time: &Tensor) -> Tensor {
    let random = Random(Device::Cpu);
    let each = [from.size()[0], STROKES, 1];
    let along = to - from;
    let across = Tensor::cat(&[-along.narrow(2, 1, 1), along.narrow(2, 0, 1)], 2);
    let kind = random.uniform(&each, 0.0, 1.0);
    let kind = choose(single, &(&kind * 0.55 + 0.45), &kind);
    let bow = random.uniform(&each, 0.3, 1.2) * random.sign(&each) * kind.gt(0.45);
    let other = choose(&kind.lt(0.85), &bow, &-&bow);
    let controls = [
        from.shallow_clone(),
        from + &along / 3.0 + bow * &across,
        from + along * (2.0 / 3.0) + other * across,
        to.shallow_clone(),
    ];
    let rest: Tensor = 1.0 - time;
    let weights =
        [rest.pow_tensor_scalar(3), rest.square() * time * 3.0, rest * time.square() * 3.0, time.pow_tensor_scalar(3)];
    Tensor::stack(&weights, 1).matmul(&Tensor::stack(&controls, 2))
}

/// Draws points `[n, P, 2]` with a round pen of random width, scaled to a box of `extent` units `[n, 1]` and centred by
/// mass or by the box.
fn pen(canvas: &Canvas, points: &Tensor, extent: &Tensor) -> Tensor {
    let random = Random(Device::Cpu);
    let n = points.size()[0];
    let radius = random.uniform(&[n, 1], 0.4, 1.9);
    let (low, high) = (points.amin(1, false), points.amax(1, false));
    let own = (&high - &low).amax(1, true).clamp_min(0.2);
    let factor = (extent - &radius * 2.0).clamp_min(1.0) / own;
    let middle = choose(
        &random.chance(&[n, 1], 0.7),
        &points.mean_dim([1_i64].as_slice(), false, Kind::Float),
        &((low + high) / 2.0),
    );
    let points = (points - middle.unsqueeze(1)) * factor.unsqueeze(2);
    // The distance to the nearest point is a soft minimum: the sum of exp(−SHARPNESS · d²) over the points. It is a
    // product of two matrices, since the exponential of a squared distance is one factor for x and one for y.
    let near = |middles: &Tensor, axis: i64| ((middles - points.narrow(2, axis, 1)).square() * -SHARPNESS).exp();
    let sum = near(&canvas.rows, 1).transpose(1, 2).bmm(&near(&canvas.columns, 0));
    let distance = ((sum + 1e-30).log() / -SHARPNESS).clamp_min(0.0).sqrt();
    canvas.covered(&(radius.unsqueeze(2) - distance)).unsqueeze(1)
}
