//! Geometric augmentation: affine maps and elastic displacements.

use crate::recipe::Augmentation;
use anyhow::Result;
use std::f64::consts::PI;
use tch::{Device, Kind, Tensor};

/// `interpolation_mode` of `grid_sampler`.
const BILINEAR: i64 = 0;
/// `padding_mode` of `grid_sampler`: samples outside the image take the value at its border, which suits any
/// background.
const BORDER: i64 = 1;

/// Control points per axis whose displacement is drawn at random; between them it is interpolated. On MNIST they are
/// about six pixels apart, which is roughly the correlation length of the displacements of Simard et al. (smoothed with
/// σ = 4 px on images of 29 px).
const CONTROL_POINTS: i64 = 5;

/// Resamples float `images` `[N, C, H, W]` to `[N, C, resolution, resolution]`, each with its own random affine map and
/// elastic displacement.
///
/// If all ranges are zero, this is the same bilinear resize with half-pixel centres as in evaluation and in the
/// exported graph.
pub fn moved(images: &Tensor, augmentation: &Augmentation, resolution: i64) -> Result<Tensor> {
    let count = images.size4()?.0;
    let maps = random_maps(augmentation, count)?.f_to(images.device())?;
    let field = match augmentation.elastic {
        elastic if elastic > 0.0 => Some(random_field(elastic, count, resolution)?.f_to(images.device())?),
        _ => None,
    };
    sample(images, &maps, field.as_ref(), resolution)
}

/// Samples each of `images` `[N, C, H, W]` bilinearly through its affine map in `maps` `[N, 2, 3]`, displaced by
/// `field` `[N, resolution, resolution, 2]` (x and y in the coordinates of the map).
fn sample(images: &Tensor, maps: &Tensor, field: Option<&Tensor>, resolution: i64) -> Result<Tensor> {
    let (count, channels, _, _) = images.size4()?;
    let mut grid = Tensor::f_affine_grid_generator(maps, [count, channels, resolution, resolution], false)?;
    if let Some(field) = field {
        grid = grid.f_add(field)?;
    }
    Ok(images.f_grid_sampler(&grid, BILINEAR, BORDER, false)?)
}

/// Smooth random displacements `[N, resolution, resolution, 2]`. `elastic` is their standard deviation at the control
/// points, as a share of the image; between the points they are interpolated bicubically.
fn random_field(elastic: f64, count: i64, resolution: i64) -> Result<Tensor> {
    let points = Tensor::f_randn([count, 2, CONTROL_POINTS, CONTROL_POINTS], (Kind::Float, Device::Cpu))?;
    let field = points.f_upsample_bicubic2d([resolution, resolution], true, None, None)?;
    // The image is 2 wide and 2 high in these coordinates.
    Ok(field.f_mul_scalar(2.0 * elastic)?.f_permute([0, 2, 3, 1])?)
}

/// Random affine maps `[N, 2, 3]` from output to input coordinates, both −1 to 1 (`torch.nn.functional.affine_grid`):
/// rotation · shear · aspect ratio / scale, plus a shift.
fn random_maps(augmentation: &Augmentation, count: i64) -> Result<Tensor> {
    let uniform = |range: f64| -> Result<Tensor> {
        Ok(Tensor::f_empty([count], (Kind::Float, Device::Cpu))?.f_uniform_(-1.0, 1.0)?.f_mul_scalar(range)?)
    };
    let angle = uniform(augmentation.rotation * PI / 180.0)?;
    let shear = uniform(augmentation.shear * PI / 180.0)?.f_tan()?;
    let size = uniform(augmentation.scale)?.f_add_scalar(1.0)?;
    // A shift by the whole width is 2 in these coordinates.
    let (x, y) = (uniform(2.0 * augmentation.shift)?, uniform(2.0 * augmentation.shift)?);
    let (sin, cos) = (angle.f_sin()?.f_div(&size)?, angle.f_cos()?.f_div(&size)?);
    let rows = [&cos, &cos.f_mul(&shear)?.f_sub(&sin)?, &x, &sin, &sin.f_mul(&shear)?.f_add(&cos)?, &y];
    let maps = Tensor::f_stack(&rows, 1)?.f_view([count, 2, 3])?;
    if augmentation.aspect > 0.0 { stretched(&maps, &uniform(augmentation.aspect)?) } else { Ok(maps) }
}

/// Changes affine maps `[N, 2, 3]` so that their input becomes wider by a factor of e to the power of `wider` `[N]`, and
/// flatter by as much.
fn stretched(maps: &Tensor, wider: &Tensor) -> Result<Tensor> {
    // What is stretched is read at a coordinate that is smaller by the same factor.
    let factors = Tensor::f_stack(&[&wider.f_neg()?, wider], 1)?.f_exp()?.f_unsqueeze(2)?;
    let linear = maps.f_narrow(2, 0, 2)?.f_mul(&factors)?;
    Ok(Tensor::f_cat(&[linear, maps.f_narrow(2, 2, 1)?], 2)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn without_ranges_the_map_is_the_bilinear_resize() {
        tch::manual_seed(3);
        let images = Tensor::rand([2, 1, 28, 28], (Kind::Float, Device::Cpu));
        for resolution in [28, 64, 20] {
            let sampled = moved(&images, &Augmentation::default(), resolution).unwrap();
            let resized = images.upsample_bilinear2d([resolution, resolution], false, None, None);
            assert!(difference(&sampled, &resized) < 1e-5, "{resolution} px");
        }
    }

    /// Expected values: `F.grid_sample(…, padding_mode="border")` over `F.affine_grid` of one irregular map, printed by
    /// PyTorch 2.13.0.
    #[test]
    fn a_map_samples_as_pytorchs() {
        let images = Tensor::arange(16, (Kind::Float, Device::Cpu)).view([1, 1, 4, 4]);
        let map = Tensor::from_slice(&[0.9_f32, -0.2, 0.1, 0.3, 1.1, -0.2]).view([1, 2, 3]);
        let found = Vec::<f32>::try_from(sample(&images, &map, None, 4).unwrap().view([-1])).unwrap();
        let expected =
            [0.65, 1.55, 2.45, 3.0, 0.85, 2.95, 5.05, 7.0, 5.05, 7.15, 9.25, 11.35, 9.25, 11.35, 13.45, 14.75];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} instead of {expected}");
        }
    }

    /// A quarter turn is far beyond what a recipe would use, but exact: it must equal `rot90`.
    #[test]
    fn a_quarter_turn_rotates_the_array() {
        let images = Tensor::rand([1, 1, 8, 8], (Kind::Float, Device::Cpu));
        let map = Tensor::from_slice(&[0_f32, -1., 0., 1., 0., 0.]).view([1, 2, 3]);
        let turned = sample(&images, &map, None, 8).unwrap();
        assert!(
            difference(&turned, &images.rot90(1, [2, 3])) < 1e-5
                || difference(&turned, &images.rot90(-1, [2, 3])) < 1e-5
        );
    }

    #[test]
    fn maps_stay_within_their_ranges_and_reach_for_them() {
        tch::manual_seed(4);
        let augmentation = Augmentation { rotation: 10.0, scale: 0.1, shift: 0.1, ..Augmentation::default() };
        let maps = random_maps(&augmentation, 20_000).unwrap();
        let column = |row: i64, column: i64| maps.select(1, row).select(1, column);
        let (cos, sin) = (column(0, 0), column(1, 0));
        let size = (cos.square() + sin.square()).sqrt().reciprocal();
        let angle = sin.divide(&cos).atan() * (180.0 / PI);
        let shift = column(0, 2) / 2.0;
        for (name, values, low, high) in
            [("size", size, 0.9, 1.1), ("angle", angle, -10.0, 10.0), ("shift", shift, -0.1, 0.1)]
        {
            let (least, most) = (values.min().double_value(&[]), values.max().double_value(&[]));
            let slack = (high - low) * 0.01;
            assert!(least >= low - 1e-4 && most <= high + 1e-4, "{name}: {least} to {most}");
            assert!(least < low + slack && most > high - slack, "{name}: {least} to {most}");
        }
    }

    /// Expected values: row 3 of `F.grid_sample(…, padding_mode="border")` over `F.affine_grid` of a map with the diagonal
    /// e^−0.5, e^0.5, printed by PyTorch 2.13.0.
    #[test]
    fn stretching_makes_wider_and_flatter() {
        let values: Vec<f32> = (0..64_u8)
            .map(|index| (index / 8, index % 8))
            .map(|(y, x)| f32::from((y * y * 3 + x * 5 + x * y) % 17) / 16.0)
            .collect();
        let images = Tensor::from_slice(&values).view([1, 1, 8, 8]);
        let identity = Tensor::from_slice(&[1_f32, 0., 0., 0., 1., 0.]).view([1, 2, 3]);
        let maps = stretched(&identity, &Tensor::from_slice(&[0.5_f32])).unwrap();
        let found = Vec::<f32>::try_from(sample(&images, &maps, None, 8).unwrap().select(2, 3).view([-1])).unwrap();
        let expected = [0.2637, 0.55467, 0.42195, 0.35094, 0.43288, 0.65605, 0.92967, 0.5762];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{found} instead of {expected}");
        }
        tch::manual_seed(7);
        let augmentation = Augmentation { aspect: 0.2, ..Augmentation::default() };
        let maps = random_maps(&augmentation, 5000).unwrap();
        let wide = maps.select(1, 0).select(1, 0).log();
        let tall = maps.select(1, 1).select(1, 1).log();
        assert!(difference(&wide, &-tall) < 1e-5);
        let most = wide.abs().max().double_value(&[]);
        assert!(most > 0.198 && most < 0.2 + 1e-6, "{most}");
    }

    /// With the identity map, one displacement for all pixels is a shift by that amount.
    #[test]
    fn a_displacement_moves_pixels_by_its_share_of_the_image() {
        let images = Tensor::rand([1, 1, 8, 8], (Kind::Float, Device::Cpu));
        let identity = Tensor::from_slice(&[1_f32, 0., 0., 0., 1., 0.]).view([1, 2, 3]);
        // One pixel to the right is an eighth of the image, 2 / 8 in the coordinates of the grid.
        let field = Tensor::from_slice(&[0.25_f32, 0.0]).view([1, 1, 1, 2]).expand([1, 8, 8, 2], false);
        let moved = sample(&images, &identity, Some(&field), 8).unwrap();
        assert!(difference(&moved.narrow(3, 0, 7), &images.narrow(3, 1, 7)) < 1e-6);
    }

    #[test]
    fn displacements_have_the_deviation_asked_for_and_are_smooth() {
        tch::manual_seed(6);
        let field = random_field(0.05, 2000, 28).unwrap();
        assert_eq!(field.size(), [2000, 28, 28, 2]);
        // The corners are control points; a share of 0.05 is 0.1 in the coordinates of the grid.
        let corner = field.select(1, 0).select(1, 27).std(true).double_value(&[]);
        assert!((corner - 0.1).abs() < 0.005, "{corner}");
        let step = (field.narrow(2, 1, 27) - field.narrow(2, 0, 27)).square().mean(Kind::Float).sqrt();
        assert!(step.double_value(&[]) < 0.03, "{step:?} from one pixel to the next");
    }
}
