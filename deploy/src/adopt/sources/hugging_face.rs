//! Hugging Face's `preprocessor_config.json` and `config.json`.

use super::super::facts::{Color, Facts, Layout, Size};
use super::{field, names, numbers, refuse_unknown};
use anyhow::{Context, Result, bail, ensure};
use models::card::{Filter, Fit};
use serde_json::Value;

/// Reads either file. `None` if it is something else. Follows the image processors of transformers.
pub fn read(json: &Value) -> Result<Option<Facts>> {
    if ["image_processor_type", "feature_extractor_type", "image_mean", "do_rescale", "do_resize"]
        .iter()
        .any(|&key| json.get(key).is_some())
    {
        return processor(json).map(Some);
    }
    let Some(labels) = json.get("id2label") else { return Ok(None) };
    let problem = json.get("problem_type").and_then(Value::as_str);
    ensure!(
        problem != Some("multi_label_classification"),
        "its problem_type is multi_label_classification: expected one class per image"
    );
    let labels = names(labels).context("id2label: expected an object with the class numbers as keys")?;
    Ok(Some(Facts { labels: Some(labels), ..Facts::default() }))
}

/// Reads the settings of an image processor.
fn processor(json: &Value) -> Result<Facts> {
    let kind = ["image_processor_type", "feature_extractor_type"]
        .iter()
        .find_map(|key| json.get(key)?.as_str())
        .unwrap_or_default();
    refuse_unknown(
        json,
        "do_",
        &[
            "do_resize",
            "do_center_crop",
            "do_rescale",
            "do_normalize",
            "do_flip_channel_order",
            "do_convert_rgb",
            "do_reduce_labels",
        ],
    )?;
    ensure!(!kind.starts_with("Perceiver"), "the {kind} crops before it resizes, which is not supported");
    let flag = |key: &str, default| Ok::<_, anyhow::Error>(field(json, key, Value::as_bool)?.unwrap_or(default));
    let (scale, offset) = if flag("do_rescale", true)? {
        let scale = field(json, "rescale_factor", Value::as_f64)?.unwrap_or(1.0 / 255.0);
        (scale, if flag("rescale_offset", false)? { 1.0 } else { 0.0 })
    } else {
        (1.0, 0.0)
    };
    let (mean, std) = if flag("do_normalize", json.get("image_mean").is_some())? {
        let mean = field(json, "image_mean", numbers)?.context("it has no image_mean")?;
        (mean, field(json, "image_std", numbers)?.context("it has no image_std")?)
    } else {
        (vec![0.0], vec![1.0])
    };
    // EfficientNet's processor divides by the deviation twice if the network has its classifier.
    let twice = kind.starts_with("EfficientNet") && flag("include_top", true)?;
    let std: Vec<f64> = std.into_iter().map(|std| if twice { std * std } else { std }).collect();
    let shape = Shape::read(json, kind)?;
    let flipped = flag("do_flip_channel_order", kind.starts_with("MobileViT"))?;
    Ok(Facts {
        layout: Some(Layout::Nchw),
        color: Some(if flipped { Color::Bgr } else { Color::Rgb }),
        scale: Some(scale),
        mean: Some(mean.into_iter().map(|mean| mean + offset).collect()),
        std: Some(std),
        size: shape.map(|shape| shape.size),
        fit: shape.map(|shape| shape.fit),
        crop: shape.map(|shape| shape.crop),
        filter: filter(json)?,
        antialias: Some(true),
        rounds_down: Some(true),
        ..Facts::default()
    })
}

/// How an image gets its size.
#[derive(Clone, Copy)]
struct Shape {
    size: Size,
    fit: Fit,
    crop: f64,
}

/// The sides that `size` or `crop_size` gives.
#[derive(Clone, Copy)]
enum Sides {
    Both(Size),
    Shortest(usize),
}

/// Processors that take a single number in `size` for the shorter side (`default_to_square=False` in transformers). For
/// the others it is the side of a square.
const SHORTER_SIDE: [&str; 10] =
    ["Bit", "ChineseCLIP", "CLIP", "ConvNext", "Levit", "MobileNet", "MobileViT", "PoolFormer", "TextNet", "ViTHybrid"];

impl Shape {
    /// `None` if the processor does not give all images the same size.
    fn read(json: &Value, kind: &str) -> Result<Option<Self>> {
        let flag = |key: &str, default| Ok::<_, anyhow::Error>(field(json, key, Value::as_bool)?.unwrap_or(default));
        if !flag("do_resize", true)? {
            return Ok(None);
        }
        let shorter = json["size"].is_u64() && SHORTER_SIDE.iter().any(|start| kind.starts_with(start));
        let resized = match field(json, "size", sides)?.context("it has no size")? {
            Sides::Both(square) if shorter => Sides::Shortest(square.width),
            sides => sides,
        };
        let cropped = match field(json, "crop_size", sides)? {
            Some(Sides::Both(size)) => Some(size),
            Some(Sides::Shortest(side)) => Some(Size::square(side)),
            None => None,
        };
        // Only ConvNeXt's processor has a default.
        let default = kind.starts_with("ConvNext").then_some(224.0 / 256.0);
        let share = field(json, "crop_pct", Value::as_f64)?.or(default);
        let crops = flag("do_center_crop", cropped.is_some() && share.is_none())?;
        if let (Some(share), Sides::Shortest(side), false) = (share, resized, crops) {
            // ConvNeXt: large images are squashed, the others resized by the share and cropped.
            let fit = if side < 384 { Fit::Crop } else { Fit::Squash };
            let crop = if fit == Fit::Crop { share } else { 1.0 };
            return Ok(Some(Self { size: Size::square(side), fit, crop }));
        }
        let (fit, resized) = match resized {
            Sides::Both(size) => (Fit::Squash, size),
            // LeViT resizes to more than it says.
            Sides::Shortest(side) if kind.starts_with("Levit") => (Fit::Crop, Size::square(side * 256 / 224)),
            Sides::Shortest(side) => (Fit::Crop, Size::square(side)),
        };
        // PoolFormer resizes by a share before it crops.
        let enlarge = |side: usize| share.map_or(side, |share| (side as f64 / share) as usize);
        let resized = Size { width: enlarge(resized.width), height: enlarge(resized.height) };
        let Some(size) = cropped.filter(|_| crops) else {
            // With a shorter side and no crop, the longer side depends on the image.
            return Ok((fit == Fit::Squash).then_some(Self { size: resized, fit, crop: 1.0 }));
        };
        let crop = size.width as f64 / resized.width as f64;
        ensure!(
            crop <= 1.0 && size.height * resized.width == size.width * resized.height,
            "it crops {size} from {resized}: expected the same share of width and height"
        );
        Ok(Some(Self { size, fit, crop }))
    }
}

/// A size: a number, or an object with height and width or with the shorter side.
fn sides(json: &Value) -> Option<Sides> {
    let side = |key: &str| json.get(key)?.as_u64().and_then(|side| usize::try_from(side).ok()).filter(|side| *side > 0);
    if let Some(number) = json.as_u64() {
        return Some(Sides::Both(Size::square(usize::try_from(number).ok().filter(|side| *side > 0)?)));
    }
    match (side("height"), side("width"), side("shortest_edge"), json.get("longest_edge")) {
        (Some(height), Some(width), None, None) => Some(Sides::Both(Size { width, height })),
        (None, None, Some(side), None | Some(Value::Null)) => Some(Sides::Shortest(side)),
        _ => None,
    }
}

/// Pillow's number of a filter.
fn filter(json: &Value) -> Result<Option<Filter>> {
    Ok(match field(json, "resample", Value::as_u64)? {
        None => None,
        Some(0) => Some(Filter::Nearest),
        Some(1) => Some(Filter::Lanczos),
        Some(2) => Some(Filter::Bilinear),
        Some(3) => Some(Filter::Bicubic),
        Some(other) => bail!("resample is {other}: expected 0 (nearest), 1 (lanczos), 2 (bilinear) or 3 (bicubic)"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(json: &Value) -> Facts {
        super::read(json).unwrap().unwrap()
    }

    /// The settings of five kinds of networks on the hub.
    #[test]
    fn processors_say_how_an_image_gets_its_size() {
        let base = |more: Value| {
            let mut json = json!({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 2});
            json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let Facts { size, fit, crop, .. } = read(&json);
            (size.unwrap().width, fit.unwrap(), crop.unwrap())
        };
        let square = json!({"height": 224, "width": 224});
        assert_eq!(base(json!({"size": square})), (224, Fit::Squash, 1.0));
        assert_eq!(base(json!({"size": 224})), (224, Fit::Squash, 1.0));
        let cropped = json!({"size": {"shortest_edge": 256}, "do_center_crop": true, "crop_size": square});
        assert_eq!(base(cropped), (224, Fit::Crop, 0.875));
        let share = |side| json!({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": side}, "crop_pct": 0.875});
        assert_eq!(base(share(224)), (224, Fit::Crop, 0.875));
        assert_eq!(base(share(384)), (384, Fit::Squash, 1.0));
        let mut default = share(224);
        default["crop_pct"] = Value::Null;
        assert_eq!(base(default), (224, Fit::Crop, 0.875));
        // As files of 2022 have it.
        let old = |kind: &str, more: Value| {
            let mut json = json!({"feature_extractor_type": format!("{kind}FeatureExtractor"), "size": 224});
            json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            base(json)
        };
        assert_eq!(old("ConvNext", json!({"crop_pct": 0.875})), (224, Fit::Crop, 0.875));
        assert_eq!(old("CLIP", json!({"crop_size": 224, "do_center_crop": true})), (224, Fit::Crop, 1.0));
        assert_eq!(old("MobileViT", json!({"size": 288, "crop_size": 256})), (256, Fit::Crop, 256.0 / 288.0));
        assert_eq!(old("DeiT", json!({"size": 256, "crop_size": 224})), (224, Fit::Squash, 0.875));
        assert_eq!(old("ViT", json!({})), (224, Fit::Squash, 1.0));
        let levit = json!({"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 224}, "do_center_crop": true, "crop_size": square});
        assert_eq!(base(levit), (224, Fit::Crop, 0.875));
        let pool =
            json!({"size": {"shortest_edge": 224}, "crop_pct": 0.9, "do_center_crop": true, "crop_size": square});
        assert_eq!(base(pool), (224, Fit::Crop, 224.0 / 248.0));
    }

    #[test]
    fn values_are_scaled_as_the_processor_does_it() {
        let json = json!({"do_rescale": true, "do_normalize": false, "size": {"shortest_edge": 288}, "resample": 2,
            "crop_size": {"height": 256, "width": 256}, "do_flip_channel_order": true});
        let facts = read(&json);
        assert_eq!((facts.color, facts.mean, facts.std), (Some(Color::Bgr), Some(vec![0.0]), Some(vec![1.0])));
        let offset = json!({"image_processor_type": "EfficientNetImageProcessor", "rescale_factor": 1.0 / 127.5,
            "rescale_offset": true, "do_normalize": true, "image_mean": [0.0], "image_std": [0.5], "size": 224});
        let facts = read(&offset);
        assert_eq!((facts.mean, facts.std), (Some(vec![1.0]), Some(vec![0.25])));
        assert_eq!(facts.filter, None);
    }

    #[test]
    fn a_processor_without_one_size_leaves_it_to_the_flags() {
        for more in [json!({"size": {"shortest_edge": 224}}), json!({"do_resize": false})] {
            let mut json = json!({"image_mean": [0.5], "image_std": [0.5]});
            json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let Facts { mean, size, fit, crop, .. } = read(&json);
            assert_eq!((mean, size, fit, crop), (Some(vec![0.5]), None, None, None), "{more}");
        }
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        let refused = |more: Value, word: &str| {
            let mut json = json!({"image_mean": [0.5], "image_std": [0.5], "size": 224});
            json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let message = format!("{:#}", super::read(&json).unwrap_err());
            assert!(message.contains(word), "{message}");
        };
        refused(json!({"do_pad": true}), "do_pad is true");
        refused(json!({"size": {"longest_edge": 224}}), "size is");
        refused(json!({"resample": 5}), "resample is 5");
        refused(
            json!({"crop_size": {"height": 256, "width": 256}, "do_center_crop": true}),
            "crops 256x256 px from 224x224 px",
        );
        let message =
            super::read(&json!({"id2label": {"0": "a"}, "problem_type": "multi_label_classification"})).unwrap_err();
        assert!(message.to_string().contains("one class per image"));
    }
}
