//! timm's `pretrained_cfg`, as it is or in the `config.json` of a model on the Hugging Face hub.

use super::super::facts::{Color, Facts, Layout, Size};
use super::{field, names, numbers};
use anyhow::{Context, Result, bail};
use models::card::{Filter, Fit};
use serde_json::Value;

/// Reads such a description. `None` if it is something else. Follows `timm.data.resolve_data_config` and
/// `timm.data.transforms_factory.transforms_imagenet_eval`.
pub fn read(json: &Value) -> Result<Option<Facts>> {
    let Some(cfg) = json
        .get("pretrained_cfg")
        .or(Some(json))
        .filter(|cfg| cfg.get("crop_pct").is_some() && cfg.get("input_size").is_some())
    else {
        return Ok(None);
    };
    let size = field(cfg, "input_size", numbers)?.context("it has no input_size")?;
    let &[channels, height, width] = &size[..] else {
        bail!("input_size is {size:?}: expected [channels, height, width]")
    };
    let filter = match field(cfg, "interpolation", |value| value.as_str().map(str::to_owned))?.as_deref() {
        Some("bilinear" | "random") => Filter::Bilinear,
        None | Some("bicubic") => Filter::Bicubic,
        Some("nearest") => Filter::Nearest,
        Some("lanczos") => Filter::Lanczos,
        Some(other) => bail!("interpolation is {other}: expected nearest, bilinear, bicubic or lanczos"),
    };
    let fit = match field(cfg, "crop_mode", |value| value.as_str().map(str::to_owned))?.as_deref() {
        None | Some("center") => Fit::Crop,
        Some("squash") => Fit::Squash,
        Some(other) => bail!("crop_mode is {other}: expected center or squash"),
    };
    // The config of the hub has the labels beside the `pretrained_cfg`; older ones have them in it.
    let labels = [json, cfg].into_iter().find_map(|part| part.get("label_names").filter(|names| !names.is_null()));
    Ok(Some(Facts {
        layout: Some(Layout::Nchw),
        color: match channels {
            1.0 => Some(Color::Grey),
            3.0 => Some(Color::Rgb),
            _ => bail!("input_size has {channels} channels: expected 1 or 3"),
        },
        scale: Some(1.0 / 255.0),
        mean: Some(field(cfg, "mean", numbers)?.context("it has no mean")?),
        std: Some(field(cfg, "std", numbers)?.context("it has no std")?),
        size: Some(Size { width: width as usize, height: height as usize }),
        fit: Some(fit),
        crop: Some(field(cfg, "crop_pct", Value::as_f64)?.unwrap_or(0.875)),
        filter: Some(filter),
        antialias: Some(true),
        labels: labels.and_then(names),
        ..Facts::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_hub_config_and_a_bare_one_say_the_same() {
        let cfg = json!({"input_size": [3, 240, 256], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
            "interpolation": "bicubic", "crop_pct": 0.95, "crop_mode": "squash", "url": "", "classifier": "head.fc"});
        let facts = read(&cfg).unwrap().unwrap();
        assert_eq!(facts.size, Some(Size { width: 256, height: 240 }));
        assert_eq!((facts.fit, facts.crop, facts.filter), (Some(Fit::Squash), Some(0.95), Some(Filter::Bicubic)));
        let hub = json!({"architecture": "resnet18", "pretrained_cfg": cfg, "label_names": ["a", "b"]});
        let labels = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(read(&hub).unwrap().unwrap(), Facts { labels, ..facts });
        assert_eq!(read(&json!({"id2label": {"0": "a"}})).unwrap(), None);
        let short =
            json!({"input_size": [3, 224, 224], "crop_pct": 0.9, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]});
        assert_eq!(read(&short).unwrap().unwrap().filter, Some(Filter::Bicubic));
        for (key, value) in
            [("crop_mode", json!("border")), ("interpolation", json!("box")), ("input_size", json!([3]))]
        {
            let mut cfg = cfg.clone();
            cfg[key] = value;
            assert!(read(&cfg).unwrap_err().to_string().contains(key));
        }
    }
}
