//! Brings an image to the size of a model's input.

use super::resample::{Extent, Pixels, resample};
use crate::card::{Fit, Resize};
use image::imageops;
use image::{DynamicImage, ImageBuffer, Pixel};
use std::borrow::Cow;

/// Resizes an image and crops its centre to `(width, height)`, as torchvision's `Resize` and `CenterCrop` do.
pub(super) fn resized(image: &DynamicImage, (width, height): (u32, u32), resize: Resize) -> Cow<'_, DynamicImage> {
    if (image.width(), image.height()) == (width, height) && resize.crop >= 1.0 {
        return Cow::Borrowed(image);
    }
    Cow::Owned(match image {
        DynamicImage::ImageLuma8(image) => resized_bytes(image, (width, height), resize).into(),
        DynamicImage::ImageRgb8(image) => resized_bytes(image, (width, height), resize).into(),
        other if other.color().has_color() => resized_bytes(&other.to_rgb8(), (width, height), resize).into(),
        other => resized_bytes(&other.to_luma8(), (width, height), resize).into(),
    })
}

fn resized_bytes<P: Pixel<Subpixel = u8>>(
    image: &ImageBuffer<P, Vec<u8>>,
    (width, height): (u32, u32),
    resize: Resize,
) -> ImageBuffer<P, Vec<u8>> {
    let full = full_size(image.dimensions(), (width, height), resize);
    // torchvision's `CenterCrop` rounds with Python's `round`.
    let round = if resize.rounds_down { f64::floor } else { f64::round_ties_even };
    let extent = |full: usize, kept: u32| {
        let start = round((full - kept as usize) as f64 / 2.0) as usize;
        Extent { full, kept: start..start + kept as usize }
    };
    let (columns, rows) = (extent(full.0, width), extent(full.1, height));
    if !resize.antialias {
        return interpolated(image, &columns, &rows);
    }
    let (wide, high) = (image.width() as usize, image.height() as usize);
    let channels = usize::from(P::CHANNEL_COUNT);
    let bytes =
        resample(Pixels { bytes: image.as_raw(), columns: wide, rows: high, channels }, &columns, &rows, resize.filter);
    ImageBuffer::from_raw(width, height, bytes).unwrap_or_else(|| ImageBuffer::new(width, height))
}

/// Columns and rows of the whole image after resizing, before it is cropped to `(width, height)`.
fn full_size((columns, rows): (u32, u32), (width, height): (u32, u32), resize: Resize) -> (usize, usize) {
    let [wide, high] = [width, height].map(|side| resize.before_crop(side as usize));
    if resize.fit == Fit::Squash {
        return (wide, high);
    }
    let scale = (wide as f64 / f64::from(columns)).max(high as f64 / f64::from(rows));
    // Nudged, because a side that is exactly as long as asked must not lose a pixel to rounding.
    let full = |extent: u32, least: usize| ((f64::from(extent) * scale + 1e-6) as usize).max(least);
    (full(columns, wide), full(rows, high))
}

/// Interpolates between the nearest pixels, with half-pixel centres: `OpenCV`'s `INTER_LINEAR`, and TensorFlow's `resize`
/// without anti-aliasing.
fn interpolated<P: Pixel<Subpixel = u8>>(
    image: &ImageBuffer<P, Vec<u8>>,
    columns: &Extent,
    rows: &Extent,
) -> ImageBuffer<P, Vec<u8>> {
    // Beyond the outer centres, the outer pixels go on.
    let place = |index: u32, from: u32, to: &Extent| {
        let place = ((to.kept.start + index as usize) as f64 + 0.5) * f64::from(from) / to.full as f64 - 0.5;
        place.clamp(0.0, f64::from(from - 1)) as f32
    };
    ImageBuffer::from_fn(columns.kept.len() as u32, rows.kept.len() as u32, |column, row| {
        let (column, row) = (place(column, image.width(), columns), place(row, image.height(), rows));
        imageops::interpolate_bilinear(image, column, row).unwrap_or(*image.get_pixel(0, 0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Filter;
    use image::{GenericImageView, GrayImage, Rgb, RgbImage};

    #[test]
    fn a_wide_image_keeps_its_centre_unless_it_is_squashed() {
        let inner = |x| (28..84).contains(&x);
        let image = RgbImage::from_fn(112, 56, |x, _| Rgb([if inner(x) { 9 } else { 200 }; 3])).into();
        let at = |fit, x| {
            let resize = Resize { fit, ..Resize::default() };
            resized(&image, (28, 28), resize).to_rgb8().get_pixel(x, 14)[0]
        };
        assert_eq!([at(Fit::Crop, 2), at(Fit::Crop, 14)], [9, 9]);
        assert_eq!([at(Fit::Squash, 2), at(Fit::Squash, 14), at(Fit::Squash, 25)], [200, 9, 200]);
    }

    /// At a height of 28 px its full width would be 560,000 px.
    #[test]
    fn an_image_of_one_row_is_resized_in_part() {
        let image = GrayImage::from_fn(20_000, 1, |x, _| image::Luma([if x == 10_000 { 80 } else { 0 }])).into();
        for fit in Fit::ALL {
            assert_eq!(resized(&image, (28, 28), Resize { fit, ..Resize::default() }).dimensions(), (28, 28));
        }
    }

    /// The first rows of what other programs return for a pattern of this width and height, cut to 8×8 px:
    /// `CenterCrop(8)(Resize(int(8 / crop), interpolation)(image))` of torchvision 0.28.0, where the third case is not
    /// resized at all; Pillow 13.0.0's `resize` to 8×8 px, 10×10 px and, to be cropped, 8×17 px; the same sizes with
    /// OpenCV 5.0.0's `INTER_LINEAR`.
    #[test]
    #[allow(clippy::too_many_lines)] // Mostly numbers.
    fn images_are_resized_and_cropped_as_other_programs_do() {
        use Filter::{Bicubic, Bilinear, Lanczos, Nearest};
        use Fit::{Crop, Squash};
        let cases = [
            (
                41,
                24,
                Bilinear,
                true,
                Crop,
                1.0,
                [[95, 146, 113, 138, 140, 125, 120, 116], [127, 111, 120, 123, 122, 133, 120, 135]],
            ),
            (
                23,
                50,
                Bicubic,
                true,
                Crop,
                0.8,
                [[101, 138, 131, 105, 141, 139, 108, 122], [131, 137, 121, 140, 148, 114, 112, 100]],
            ),
            (
                9,
                12,
                Bicubic,
                true,
                Crop,
                0.875,
                [[44, 81, 118, 155, 192, 229, 15, 52], [99, 136, 173, 210, 247, 33, 70, 107]],
            ),
            (
                41,
                24,
                Nearest,
                true,
                Squash,
                1.0,
                [[85, 19, 204, 138, 109, 43, 228, 162], [250, 184, 118, 52, 23, 208, 142, 76]],
            ),
            (
                23,
                50,
                Lanczos,
                true,
                Squash,
                0.8,
                [[135, 113, 143, 116, 104, 126, 122, 115], [172, 84, 128, 156, 75, 134, 164, 84]],
            ),
            (
                41,
                24,
                Bicubic,
                true,
                Squash,
                1.0,
                [[111, 119, 130, 137, 129, 117, 118, 141], [139, 125, 114, 123, 128, 128, 125, 129]],
            ),
            (
                23,
                50,
                Nearest,
                true,
                Crop,
                1.0,
                [[139, 250, 110, 221, 44, 155, 15, 126], [92, 203, 63, 174, 248, 108, 219, 79]],
            ),
            (
                41,
                24,
                Bilinear,
                false,
                Squash,
                1.0,
                [[87, 26, 216, 154, 93, 31, 221, 160], [237, 191, 130, 68, 117, 196, 135, 74]],
            ),
            (
                5,
                6,
                Bilinear,
                false,
                Squash,
                1.0,
                [[0, 16, 39, 62, 85, 109, 132, 148], [7, 23, 46, 69, 92, 116, 139, 155]],
            ),
            (
                23,
                50,
                Bilinear,
                false,
                Crop,
                1.0,
                [[130, 236, 92, 198, 54, 160, 69, 122], [65, 167, 104, 128, 161, 90, 165, 128]],
            ),
        ];
        for (across, down, filter, antialias, fit, crop, expected) in cases {
            let pattern = GrayImage::from_fn(across, down, |x, y| image::Luma([((x * 37 + y * y * 11) % 251) as u8]));
            let resize = Resize { filter, fit, crop, antialias, ..Resize::default() };
            let found = resized(&pattern.into(), (8, 8), resize).to_luma8();
            for (found, &expected) in found.iter().zip::<&[u8]>(expected.as_flattened()) {
                assert!(
                    found.abs_diff(expected) <= u8::from(!antialias),
                    "{across}x{down}, {resize}: {found} instead of {expected}"
                );
            }
        }
    }

    /// The first row that `CenterCrop(8)` of torchvision 0.28.0 and `center_crop` of transformers 4.57.6 keep of an image
    /// with this many rows.
    #[test]
    fn half_a_pixel_is_rounded_as_the_exporter_does_it() {
        for (rows, even, down) in [(9, 0, 0), (10, 1, 1), (11, 2, 1), (13, 2, 2), (15, 4, 3)] {
            let image = GrayImage::from_fn(8, rows, |_, y| image::Luma([y as u8])).into();
            for (rounds_down, expected) in [(false, even), (true, down)] {
                let resize = Resize { rounds_down, ..Resize::default() };
                assert_eq!(resized(&image, (8, 8), resize).to_luma8().as_raw()[0], expected, "{rows}, {rounds_down}");
            }
        }
    }

    /// FNV-1a of the bytes that Pillow 13.0.0 returns: `Image.fromarray(pattern).resize(size, filter).tobytes()`.
    #[test]
    fn every_byte_is_pillows() {
        use Filter::{Bicubic, Bilinear, Lanczos, Nearest};
        let cases = [
            ((97, 61), (32, 32), Nearest, 0x1baa_08d7_3cf1_dfff),
            ((97, 61), (32, 32), Bilinear, 0xa1af_2e23_f88d_904a),
            ((97, 61), (32, 32), Bicubic, 0x8e94_b8da_5bc9_2bd6),
            ((97, 61), (32, 32), Lanczos, 0xc53c_2fae_51e8_e519),
            ((97, 61), (200, 33), Nearest, 0x31c6_1acf_4f35_b67e),
            ((97, 61), (200, 33), Bilinear, 0x16a9_2cdf_9ade_8370),
            ((97, 61), (200, 33), Bicubic, 0x9ce7_10dd_783d_583f),
            ((97, 61), (200, 33), Lanczos, 0xe37f_3088_72a5_c15a),
            ((40, 40), (40, 17), Nearest, 0xf67f_b0bd_baaa_80e2),
            ((40, 40), (40, 17), Bilinear, 0x1c19_2840_c49c_1db0),
            ((40, 40), (40, 17), Bicubic, 0x1e3f_24e4_7888_c62b),
            ((40, 40), (40, 17), Lanczos, 0x88f0_4e0e_ec46_012e),
            ((33, 70), (90, 70), Nearest, 0x0b34_cbe4_9a05_bd04),
            ((33, 70), (90, 70), Bilinear, 0xc200_576e_92c0_f8b1),
            ((33, 70), (90, 70), Bicubic, 0x8005_4df9_58be_3c7a),
            ((33, 70), (90, 70), Lanczos, 0x9241_02f8_7bd6_5814),
            ((300, 8), (24, 16), Nearest, 0xe81c_96c4_d75e_b231),
            ((300, 8), (24, 16), Bilinear, 0x10ed_4e83_de02_b91b),
            ((300, 8), (24, 16), Bicubic, 0x4b25_45ec_f0fc_1339),
            ((300, 8), (24, 16), Lanczos, 0x0143_89e7_0c2e_caa4),
        ];
        for ((across, down), size, filter, expected) in cases {
            let pattern = RgbImage::from_fn(across, down, |x, y| {
                Rgb([(x * 37 + y * y * 11) % 251, (x * x * 3 + y * 29) % 256, (x * y * 7 + x * 5) % 253]
                    .map(|value| value as u8))
            });
            let resize = Resize { filter, fit: Fit::Squash, ..Resize::default() };
            let found = resized(&pattern.into(), size, resize).to_rgb8().into_raw();
            let hash = found
                .iter()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            assert_eq!(hash, expected, "{across}x{down} to {size:?}, {filter:?}");
        }
    }
}
