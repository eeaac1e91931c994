//! The worst mistakes section: the most confident wrong predictions with their images, class names and files.

use super::figures::{Figures, Shown, percent};
use super::html::escape;
use anyhow::{Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use deploy::mistakes::Mistake;
use deploy::text::{counted, grouped};
use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use ndarray::Array3;
use std::fmt::Write;
use std::io::Cursor;
use std::path::Path;

/// Longest side of an embedded image in pixels. Larger images are scaled down to keep the page small.
const LONGEST: u32 = 128;

/// Maximum number of mistakes in the list of names; the JSON output has them all.
const LISTED: usize = 500;

/// The section of the page.
pub(super) fn section(figures: &Figures) -> Result<String> {
    let mut html = String::from("<section><h2>Worst mistakes</h2>");
    if figures.mistakes.is_empty() {
        let _ = write!(
            html,
            "<div class=\"card\"><p>None in {}.</p></div></section>",
            counted(figures.metrics.images, "test image")
        );
        return Ok(html);
    }
    let (shown, all) = (figures.shown.len(), figures.mistakes.len());
    let which = if all > shown {
        format!("The {shown} mistakes with the highest probability, of {} in all", grouped(all as u64))
    } else {
        format!("All {}, highest probability first", counted(all, "mistake"))
    };
    let _ = writeln!(
        html,
        "<div class=\"card\"><p class=\"caption\">{which}. Each image is shown as the network sees it, with its true \
         class, the answer and its probability, and the second guess. Below it is the class activation map of the \
         answer: yellow is what speaks for it most, grey what does not.</p><ul class=\"mistakes\">"
    );
    for (mistake, shown) in figures.mistakes.iter().zip(&figures.shown) {
        html.push_str(&item(mistake, shown)?);
    }
    html.push_str("</ul>");
    if all > shown {
        html.push_str(&list(&figures.mistakes));
    }
    html.push_str("</div></section>\n");
    Ok(html)
}

fn item(mistake: &Mistake, shown: &Shown) -> Result<String> {
    let (truth, answer, name) = (escape(&mistake.truth), escape(&mistake.answer), escape(&mistake.image()));
    let short = shown.file.as_deref().and_then(Path::file_name).map(|name| escape(&name.to_string_lossy()));
    let name = match &shown.file {
        Some(file) => {
            format!("<a href=\"{}\" title=\"{name}\">{}</a>", file_address(file), short.as_deref().unwrap_or(&name))
        }
        None => name.clone(),
    };
    Ok(format!(
        "<li><img src=\"{}\" alt=\"{truth} taken for {answer}\"><img src=\"{}\" alt=\"where the network saw {answer}\"><b>{truth}</b> taken for <b>{answer}</b><small>{}</small>{}<small>{name}</small></li>\n",
        data_uri(&shown.image)?,
        data_uri(&shown.explanation)?,
        percent(Some(f64::from(mistake.probability))),
        second(mistake).map_or_else(String::new, |second| format!("<small>then {}</small>", escape(&second)))
    ))
}

/// The second guess, such as `cat, 12.50 %`.
fn second(mistake: &Mistake) -> Option<String> {
    let (second, probability) = (mistake.second.as_ref()?, mistake.second_probability?);
    Some(format!("{second}, {}", percent(Some(f64::from(probability)))))
}

/// The names of the misclassified images, in a collapsed list.
fn list(mistakes: &[Mistake]) -> String {
    let mut rows = Vec::new();
    for mistake in mistakes.iter().take(LISTED) {
        rows.push(vec![
            mistake.image(),
            mistake.truth.clone(),
            format!("{}, {}", mistake.answer, percent(Some(f64::from(mistake.probability)))),
            second(mistake).unwrap_or_default(),
        ]);
    }
    let caption = if mistakes.len() > LISTED {
        format!("The first {LISTED}; train eval --format json lists all.")
    } else {
        String::new()
    };
    let table = super::html::table("names", &caption, &["image", "true class", "answer", "second guess"], &rows);
    format!(
        "<details><summary>All mistakes by name</summary>{}</details>",
        super::html::scrolling("All mistakes by name", &table)
    )
}

/// The `file:` URI of a path (RFC 8089), percent-encoding any unusual bytes.
fn file_address(path: &Path) -> String {
    let mut address = String::from("file://");
    for &byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            address.push(char::from(byte));
        } else {
            let _ = write!(address, "%{byte:02X}");
        }
    }
    address
}

/// Encodes an image `[C, H, W]` with one or three channels as a PNG in a `data:` URI (RFC 2397). Errors for any other
/// number of channels.
pub fn data_uri(image: &Array3<u8>) -> Result<String> {
    let (channels, height, width) = image.dim();
    let (columns, rows) = (u32::try_from(width)?, u32::try_from(height)?);
    // [C, H, W] to [H, W, C], the pixel order of the image crate.
    let bytes: Vec<u8> = image.view().permuted_axes([1, 2, 0]).iter().copied().collect();
    let drawn = match channels {
        1 => GrayImage::from_raw(columns, rows, bytes).map(DynamicImage::from),
        3 => RgbImage::from_raw(columns, rows, bytes).map(DynamicImage::from),
        _ => None,
    };
    let Some(mut drawn) = drawn else { bail!("cannot show an image with {channels} channels: expected 1 or 3") };
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
    fn grey_and_coloured_images_survive() {
        let grey = Array3::from_shape_fn((1, 2, 3), |(_, y, x)| (y * 100 + x) as u8);
        assert_eq!(decoded(&data_uri(&grey).unwrap()).to_luma8().into_raw(), [0, 1, 2, 100, 101, 102]);
        let colours = Array3::from_shape_fn((3, 1, 2), |(c, _, x)| (c * 50 + x) as u8);
        assert_eq!(decoded(&data_uri(&colours).unwrap()).to_rgb8().into_raw(), [0, 50, 100, 1, 51, 101]);
        assert!(data_uri(&Array3::zeros((2, 4, 4))).is_err());
    }

    #[test]
    fn a_files_address_holds_any_name() {
        assert_eq!(file_address(Path::new("/a b/<\u{e9}>#1.png")), "file:///a%20b/%3C%C3%A9%3E%231.png");
    }

    #[test]
    fn large_images_are_made_smaller() {
        let image = decoded(&data_uri(&Array3::zeros((3, 200, 400))).unwrap());
        assert_eq!((image.width(), image.height()), (128, 64));
    }
}
