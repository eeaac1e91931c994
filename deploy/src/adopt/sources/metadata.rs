//! ONNX's own metadata on images (`docs/MetadataProps.md` of ONNX), as Azure Custom Vision and Windows ML tools write it.

use super::super::facts::{Color, Facts, Source};
use anyhow::{Result, bail};
use models::onnx::proto::ModelProto;

/// What the keys `Image.BitmapPixelFormat` and `Image.NominalPixelRange` say. `None` if the file has neither.
pub fn read(model: &ModelProto) -> Result<Option<Source>> {
    let entry =
        |key: &str| model.metadata_props.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    let color = match entry("Image.BitmapPixelFormat") {
        None => None,
        Some("Gray8") => Some(Color::Grey),
        Some("Rgb8") => Some(Color::Rgb),
        Some("Bgr8") => Some(Color::Bgr),
        Some(other) => bail!("its metadata has Image.BitmapPixelFormat = {other}: expected Gray8, Rgb8 or Bgr8"),
    };
    let range = match entry("Image.NominalPixelRange") {
        None => None,
        Some("NominalRange_0_255") => Some((1.0, 0.0, 1.0)),
        Some("Normalized_0_1") => Some((1.0 / 255.0, 0.0, 1.0)),
        Some("Normalized_1_1") => Some((1.0 / 255.0, 0.5, 0.5)),
        Some(other) => bail!(
            "its metadata has Image.NominalPixelRange = {other}: expected NominalRange_0_255, Normalized_0_1 or \
             Normalized_1_1"
        ),
    };
    if color.is_none() && range.is_none() {
        return Ok(None);
    }
    let facts = Facts {
        color,
        scale: range.map(|(scale, ..)| scale),
        mean: range.map(|(_, mean, _)| vec![mean]),
        std: range.map(|(.., std)| vec![std]),
        ..Facts::default()
    };
    Ok(Some(Source { name: "ONNX metadata".to_owned(), facts }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::onnx::proto::StringStringEntryProto;

    #[test]
    fn the_pixel_format_and_range_are_read() {
        let model = |entries: &[(&str, &str)]| ModelProto {
            metadata_props: entries
                .iter()
                .map(|&(key, value)| StringStringEntryProto { key: key.into(), value: value.into() })
                .collect(),
            ..ModelProto::default()
        };
        assert_eq!(read(&model(&[("author", "x")])).unwrap(), None);
        let custom_vision = [("Image.BitmapPixelFormat", "Bgr8"), ("Image.NominalPixelRange", "NominalRange_0_255")];
        let Facts { color, scale, mean, std, .. } = read(&model(&custom_vision)).unwrap().unwrap().facts;
        assert_eq!((color, scale, mean, std), (Some(Color::Bgr), Some(1.0), Some(vec![0.0]), Some(vec![1.0])));
        let message = read(&model(&[("Image.BitmapPixelFormat", "Bgra8")])).unwrap_err().to_string();
        assert!(message.contains("Bgra8: expected"), "{message}");
    }
}
