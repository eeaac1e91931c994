//! Lines along the edges of images.

use crate::random::{Random, choose};
use tch::{Kind, Tensor};

/// How far the middle of a line is from the edge, and half its width, in pixels of MNIST.
const OFFSET: (f64, f64) = (-0.5, 3.0);
const HALF_WIDTH: (f64, f64) = (0.2, 1.0);

/// Lines along one to four edges, `[N, 1, H, W]`: the rest of a frame, of a form's cell or of ruled paper. Some are
/// broken. A pixel of MNIST is `scale` pixels here.
pub(super) fn lines([count, height, width]: [i64; 3], scale: f64, random: Random) -> Tensor {
    let (each, edges) = ([count, 1, 1, 1], [count, 4, 1, 1]);
    // All four edges in 4 of 10 images, otherwise each with this probability.
    let whole = random.chance(&each, 0.4);
    let on = random.chance(&edges, 0.4).logical_or(&whole);
    let half = random.uniform(&each, HALF_WIDTH.0, HALF_WIDTH.1) * scale;
    let offset = random.uniform(&edges, OFFSET.0, OFFSET.1) * scale;
    // [N, 4, 1, extent]: how much of each pixel a line covers, by the distance to the edge where pixels begin.
    let covered = |extent: i64| {
        let middles = Tensor::arange(extent, (Kind::Float, random.0)) + 0.5;
        (&half + 0.5 - (middles - &offset).abs()).clamp(0.0, 1.0) * &on
    };
    let (across, down) = (covered(width), covered(height));
    let edge = |lines: &Tensor, index: i64| lines.narrow(1, index, 1);
    let columns = edge(&across, 0).maximum(&edge(&across, 1).flip([3]));
    let rows = edge(&down, 2).maximum(&edge(&down, 3).flip([3])).transpose(2, 3);
    let frame = columns.maximum(&rows) * random.uniform(&each, 0.3, 1.0);
    let gaps = random.one(&[count, 1, 7, 7], 0.8).upsample_nearest2d([height, width], None, None);
    choose(&random.chance(&each, 0.3), &(&frame * gaps), &frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn lines_run_along_the_edges_and_leave_the_middle() {
        tch::manual_seed(6);
        for (height, width) in [(28, 28), (56, 84)] {
            let scale = height as f64 / 28.0;
            let lines = lines([2000, height, width], scale, Random(Device::Cpu));
            assert_eq!(lines.size(), [2000, 1, height, width]);
            let (low, high) = (lines.min().double_value(&[]), lines.max().double_value(&[]));
            assert!(low == 0.0 && high > 0.99 && high <= 1.0, "{low} to {high}");
            let edge = (5.0 * scale) as i64;
            let middle = lines.narrow(2, edge, height - 2 * edge).narrow(3, edge, width - 2 * edge);
            assert_eq!(middle.max().double_value(&[]), 0.0);
            // Whole frames (40 %), and those of the others with a line at this edge (40 % of 60 %).
            let sides = [lines.narrow(2, 0, edge), lines.narrow(2, height - edge, edge)];
            for side in sides.map(|side| side.narrow(3, edge, width - 2 * edge)) {
                let share = side.amax([1, 2, 3].as_slice(), false).gt(0.1).to_kind(Kind::Float).mean(Kind::Float);
                let share = share.double_value(&[]);
                assert!((share - 0.64).abs() < 0.06, "{share}");
            }
        }
    }
}
