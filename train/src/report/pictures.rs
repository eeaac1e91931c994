//! The mistakes the network is surest of, as pictures.

use super::figures::{Figures, Mistake, percent};
use super::html::escape;
use anyhow::{Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use deploy::text::{counted, grouped};
use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use ndarray::Array3;
use std::fmt::Write;
use std::io::Cursor;

/// Longest side of a picture on the page, in its own pixels; larger ones are made smaller, so that the page stays light.
const LONGEST: u32 = 128;

/// The section of the page.
pub(super) fn section(figures: &Figures) -> Result<String> {
    let all = figures.metrics.wrong();
    let mut html = String::from("<section><h2>Worst mistakes</h2>");
    if figures.mistakes.is_empty() {
        let _ = write!(
            html,
            "<div class=\"card\"><p>None in {}.</p></div></section>",
            counted(figures.metrics.images, "test image")
        );
        return Ok(html);
    }
    let shown = figures.mistakes.len();
    let which = if all > shown as u64 {
        format!("The {shown} of {} mistakes that the network is surest of", grouped(all))
    } else {
        format!("{}, the surest first", counted(shown, "mistake"))
    };
    let _ = writeln!(
        html,
        "<div class=\"card\"><p class=\"caption\">{which}: what the picture is, what it was taken for, and how sure the network was.</p><ul class=\"mistakes\">"
    );
    for mistake in &figures.mistakes {
        html.push_str(&item(figures, mistake)?);
    }
    html.push_str("</ul></div></section>\n");
    Ok(html)
}

fn item(figures: &Figures, mistake: &Mistake) -> Result<String> {
    let (truth, answer) = (escape(&figures.labels[mistake.truth]), escape(&figures.labels[mistake.answer]));
    let probability = percent(Some(f64::from(mistake.probability)));
    let index = mistake.index;
    Ok(format!(
        "<li><img src=\"{}\" alt=\"test image {index}: {truth} taken for {answer}\"><b>{truth}</b> taken for <b>{answer}</b><small>{probability} sure</small><small>image {index}</small></li>\n",
        data_uri(&mistake.picture)?
    ))
}

/// A picture `[C, H, W]` of one or three channels as a PNG file inside a `data:` URI (RFC 2397).
pub fn data_uri(picture: &Array3<u8>) -> Result<String> {
    let (channels, height, width) = picture.dim();
    let (columns, rows) = (u32::try_from(width)?, u32::try_from(height)?);
    // [C, H, W] to [H, W, C], as pictures are stored.
    let bytes: Vec<u8> = picture.view().permuted_axes([1, 2, 0]).iter().copied().collect();
    let drawn = match channels {
        1 => GrayImage::from_raw(columns, rows, bytes).map(DynamicImage::from),
        3 => RgbImage::from_raw(columns, rows, bytes).map(DynamicImage::from),
        _ => None,
    };
    let Some(mut drawn) = drawn else { bail!("a picture of {channels} channels cannot be shown: expected 1 or 3") };
    if drawn.width().max(drawn.height()) > LONGEST {
        drawn = drawn.resize(LONGEST, LONGEST, FilterType::Triangle);
    }
    let mut png = Cursor::new(Vec::new());
    drawn.write_to(&mut png, ImageFormat::Png)?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png.into_inner())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(uri: &str) -> DynamicImage {
        let bytes = STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        image::load_from_memory_with_format(&bytes, ImageFormat::Png).unwrap()
    }

    #[test]
    fn grey_and_coloured_pictures_survive() {
        let grey = Array3::from_shape_fn((1, 2, 3), |(_, y, x)| (y * 100 + x) as u8);
        assert_eq!(decoded(&data_uri(&grey).unwrap()).to_luma8().into_raw(), [0, 1, 2, 100, 101, 102]);
        let colours = Array3::from_shape_fn((3, 1, 2), |(c, _, x)| (c * 50 + x) as u8);
        assert_eq!(decoded(&data_uri(&colours).unwrap()).to_rgb8().into_raw(), [0, 50, 100, 1, 51, 101]);
        assert!(data_uri(&Array3::zeros((2, 4, 4))).is_err());
    }

    #[test]
    fn large_pictures_are_made_smaller() {
        let picture = decoded(&data_uri(&Array3::zeros((3, 200, 400))).unwrap());
        assert_eq!((picture.width(), picture.height()), (128, 64));
    }
}
