//! Geometric augmentation: affine maps, crops and elastic displacements.

use crate::random::{Random, choose};
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

/// Widest aspect ratio of a random crop, and how often one is drawn before the centre is taken: torchvision's values.
const CROP_ASPECT: f64 = 4.0 / 3.0;
const CROP_ATTEMPTS: i64 = 10;

/// Resamples float `images` `[N, C, H, W]` to `[N, C, resolution, resolution]`, each with its own random crop, affine
/// map and elastic displacement.
///
/// If all ranges are zero, this is the same bilinear resize with half-pixel centres as in evaluation and in the
/// exported graph.
pub fn moved(images: &Tensor, augmentation: &Augmentation, resolution: i64) -> Result<Tensor> {
    let (count, _, height, width) = images.size4()?;
    let mut maps = random_maps(augmentation, count)?;
    if augmentation.random_crop > 0.0 {
        maps = cropped(&maps, &random_crops([count, height, width], augmentation.random_crop), [height, width]);
    }
    if augmentation.horizontal_flip + augmentation.vertical_flip > 0.0 {
        let sign = |probability: f64| Random(Device::Cpu).one(&[count], probability) * -2.0 + 1.0;
        maps = mirrored(&maps, &sign(augmentation.horizontal_flip), &sign(augmentation.vertical_flip));
    }
    let maps = maps.f_to(images.device())?;
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

/// Changes affine maps `[N, 2, 3]` so that their input becomes wider by a factor of e to the power of `wider` `[N]`,
/// and flatter by as much.
fn stretched(maps: &Tensor, wider: &Tensor) -> Result<Tensor> {
    // What is stretched is read at a coordinate that is smaller by the same factor.
    let factors = Tensor::f_stack(&[&wider.f_neg()?, wider], 1)?.f_exp()?.f_unsqueeze(2)?;
    let linear = maps.f_narrow(2, 0, 2)?.f_mul(&factors)?;
    Ok(Tensor::f_cat(&[linear, maps.f_narrow(2, 2, 1)?], 2)?)
}

/// Windows `[N, 4]` of random crops of images with these extents, `[N, H, W]`: top, left, height and width in pixels,
/// as `RandomResizedCrop.get_params` draws them. A crop keeps at least the share `smallest` of the area.
fn random_crops([count, height, width]: [i64; 3], smallest: f64) -> Tensor {
    let random = Random(Device::Cpu);
    let attempts = [count, CROP_ATTEMPTS];
    let area = random.uniform(&attempts, smallest, 1.0) * (height * width) as f64;
    let aspect = random.log_uniform(&attempts, 1.0 / CROP_ASPECT, CROP_ASPECT);
    let (wide, tall) = ((&area * &aspect).sqrt().round(), (&area / &aspect).sqrt().round());
    let fits = |side: &Tensor, extent: i64| side.ge(1.0).logical_and(&side.le(extent as f64));
    let fit = fits(&wide, width).logical_and(&fits(&tall, height)).to_kind(Kind::Int64);
    // The first attempt that fits; none if the maximum is 0.
    let (found, first) = fit.max_dim(1, true);
    let chosen = |sides: &Tensor, whole: f64| {
        let sides = sides.gather(1, &first, false);
        choose(&found.gt(0), &sides, &sides.full_like(whole))
    };
    // Otherwise the largest central crop with a permitted aspect ratio.
    let (whole_width, whole_height) = (width as f64, height as f64);
    let wide = chosen(&wide, whole_width.min((whole_height * CROP_ASPECT).round()));
    let tall = chosen(&tall, whole_height.min((whole_width * CROP_ASPECT).round()));
    let start = |side: &Tensor, extent: i64| {
        let room: Tensor = extent as f64 - side;
        let anywhere = (random.uniform(&[count, 1], 0.0, 1.0) * (&room + 1.0)).floor().minimum(&room);
        choose(&found.gt(0), &anywhere, &(room / 2.0).floor())
    };
    Tensor::cat(&[start(&tall, height), start(&wide, width), tall, wide], 1)
}

/// Changes affine maps `[N, 2, 3]` so that they read from these windows `[N, 4]` of images with these extents, as if
/// the windows were the whole images.
fn cropped(maps: &Tensor, windows: &Tensor, [height, width]: [i64; 2]) -> Tensor {
    // Columns of the window reversed: x comes before y in the maps.
    let (start, side) = (windows.narrow(1, 0, 2).flip([1]), windows.narrow(1, 2, 2).flip([1]));
    let extents = Tensor::from_slice(&[width as f32, height as f32]);
    let share = &side / &extents;
    let centre = (start * 2.0 + side) / extents - 1.0;
    let nothing = Tensor::zeros([maps.size()[0], 2, 2], (Kind::Float, Device::Cpu));
    maps * share.unsqueeze(2) + Tensor::cat(&[nothing, centre.unsqueeze(2)], 2)
}

/// Changes affine maps `[N, 2, 3]` so that images are mirrored where the sign `[N]` is −1: left to right by
/// `horizontal`, top to bottom by `vertical`.
fn mirrored(maps: &Tensor, horizontal: &Tensor, vertical: &Tensor) -> Tensor {
    maps * Tensor::stack(&[horizontal, vertical, &horizontal.ones_like()], 1).unsqueeze(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    /// An irregular image `[1, 1, 8, 8]`: (3y² + 5x + xy) mod 17, as a share of 16.
    fn irregular() -> Tensor {
        let value = |y: u8, x: u8| f32::from((y * y * 3 + x * 5 + x * y) % 17) / 16.0;
        let values: Vec<f32> = (0..64_u8).map(|index| value(index / 8, index % 8)).collect();
        Tensor::from_slice(&values).view([1, 1, 8, 8])
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

    /// Expected values: row 3 of `F.grid_sample(…, padding_mode="border")` over `F.affine_grid` of a map with the
    /// diagonal e^−0.5, e^0.5, printed by PyTorch 2.13.0.
    #[test]
    fn stretching_makes_wider_and_flatter() {
        let images = irregular();
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

    /// Expected values: rows 3 and 4 of `resized_crop(image, 1, 2, 5, 4, [8, 8], antialias=False)` by torchvision
    /// 0.28.0. At the window's border it repeats pixels, where ours reads those beyond; hence the columns in the
    /// middle.
    #[test]
    fn a_window_is_resized_as_torchvisions_crop() {
        let images = irregular();
        let identity = Tensor::from_slice(&[1_f32, 0., 0., 0., 1., 0.]).view([1, 2, 3]);
        let windows = Tensor::from_slice(&[1_f32, 2., 5., 4.]).view([1, 4]);
        let crop = sample(&images, &cropped(&identity, &windows, [8, 8]), None, 8).unwrap();
        let expected =
            [[0.5, 0.375, 0.34961, 0.42383, 0.58105, 0.82129], [0.54395, 0.27246, 0.2666, 0.52637, 0.70312, 0.79688]];
        for (row, expected) in [3, 4].into_iter().zip(expected) {
            let found = Vec::<f32>::try_from(crop.select(2, row).narrow(2, 1, 6).reshape([-1])).unwrap();
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 2e-5, "{found} instead of {expected}");
            }
        }
        let sign = Tensor::from_slice(&[-1_f32]);
        for (horizontal, vertical, axis) in [(&sign, &sign.ones_like(), 3), (&sign.ones_like(), &sign, 2)] {
            let mirrored = sample(&images, &mirrored(&identity, horizontal, vertical), None, 8).unwrap();
            assert!(difference(&mirrored, &images.flip([axis])) < 1e-5);
        }
    }

    /// Mean and deviation of top, left, height and width, and the mean share of the area, of 20,000 windows that
    /// `RandomResizedCrop.get_params` of torchvision 0.28.0 drew with a scale from 0.3 to 1.
    #[test]
    fn windows_are_distributed_as_torchvisions() {
        tch::manual_seed(5);
        for (extents, means, deviations, area) in [
            ([64, 64], [7.567, 7.490, 48.988, 49.010], [6.693, 6.634, 8.323, 8.287], 0.5960),
            ([40, 64], [2.887, 13.910, 34.251, 36.375], [3.012, 9.069, 4.026, 6.432], 0.4916),
        ] {
            let windows = random_crops([20_000, extents[0], extents[1]], 0.3);
            for column in 0..4 {
                let values = windows.select(1, column as i64);
                let (mean, deviation) =
                    (values.mean(Kind::Double).double_value(&[]), values.std(true).double_value(&[]));
                assert!((mean - means[column]).abs() < 0.3, "{mean} instead of {}", means[column]);
                assert!((deviation - deviations[column]).abs() < 0.2, "{deviation} instead of {}", deviations[column]);
            }
            let areas = windows.select(1, 2) * windows.select(1, 3) / (extents[0] * extents[1]) as f64;
            let mean = areas.mean(Kind::Double).double_value(&[]);
            assert!((mean - area).abs() < 0.005, "{mean} instead of {area}");
        }
        // Too wide for any crop of that area: torchvision takes the centre, 27 px wide.
        let centre = Tensor::from_slice(&[0_f32, 36., 20., 27.]).view([1, 4]);
        assert_eq!(random_crops([1, 20, 100], 0.9), centre);
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
