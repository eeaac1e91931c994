//! The metadata that ultralytics writes into the files it exports.

use super::super::facts::{Color, Facts, Layout, Size, Source};
use anyhow::{Context, Result, bail, ensure};
use models::card::{Filter, Fit};
use models::onnx::proto::ModelProto;

/// Reads it. `None` if another program wrote the file. Follows `ultralytics.data.augment.classify_transforms`: the
/// shorter side is resized, the centre cropped, and values are divided by 255.
pub fn read(model: &ModelProto) -> Result<Option<Source>> {
    let entry =
        |key: &str| model.metadata_props.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    let (Some(task), Some(size), Some(names)) = (entry("task"), entry("imgsz"), entry("names")) else {
        return Ok(None);
    };
    ensure!(task == "classify", "its metadata says that its task is '{task}': expected classify");
    let sides =
        size.trim_matches(['[', ']']).split(',').map(|side| side.trim().parse().ok()).collect::<Option<Vec<usize>>>();
    let size = match sides.as_deref() {
        Some(&[height, width]) => Size { width, height },
        Some(&[side]) => Size::square(side),
        _ => bail!("its metadata has imgsz = {size}: expected height and width"),
    };
    let labels =
        names_of(names).with_context(|| format!("its metadata has names = {names:.60}: expected {{0: 'name', …}}"))?;
    let color = match entry("channels") {
        None | Some("3") => Color::Rgb,
        Some("1") => Color::Grey,
        Some(other) => bail!("its metadata has channels = {other}: expected 1 or 3"),
    };
    let facts = Facts {
        layout: Some(Layout::Nchw),
        color: Some(color),
        scale: Some(1.0 / 255.0),
        mean: Some(vec![0.0]),
        std: Some(vec![1.0]),
        size: Some(size),
        // Its classify_transforms keeps the aspect ratio only for square inputs.
        fit: Some(if size.width == size.height { Fit::Crop } else { Fit::Squash }),
        crop: Some(1.0),
        filter: Some(Filter::Bilinear),
        antialias: Some(true),
        labels: Some(labels),
        ..Facts::default()
    };
    Ok(Some(Source { name: "ultralytics metadata".to_owned(), facts }))
}

/// The values of a Python dictionary whose keys are 0, 1, 2 and so on, and whose values are strings.
fn names_of(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let mut names = Vec::new();
    while !rest.is_empty() {
        let (key, value) = rest.split_once(':')?;
        (key.trim().parse() == Ok(names.len())).then_some(())?;
        let value = value.trim_start();
        let quote = value.chars().next().filter(|quote| ['\'', '"'].contains(quote))?;
        let (mut name, mut characters) = (String::new(), value[1..].char_indices());
        let end = loop {
            match characters.next()? {
                (end, character) if character == quote => break end,
                (_, '\\') => name.push(characters.next()?.1),
                (_, character) => name.push(character),
            }
        };
        names.push(name);
        rest = value[end + 2..].trim_start();
        if !rest.is_empty() {
            rest = rest.strip_prefix(',')?.trim_start();
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::onnx::proto::StringStringEntryProto;

    #[test]
    fn pythons_dictionaries_are_read() {
        let names = |text| names_of(text).map(|names| names.join("|"));
        assert_eq!(
            names(r#"{0: 'tench', 1: "hen's egg", 2: 'a, b: {c}', 3: 'it\'s'}"#).unwrap(),
            "tench|hen's egg|a, b: {c}|it's"
        );
        assert_eq!(names("{}").unwrap(), "");
        assert_eq!(names("{0: 'é', 1: '',}").unwrap(), "é|");
        for wrong in ["", "[1]", "{1: 'a'}", "{0: 'a}", "{0: a}", "{0: 'a' 1: 'b'}", r"{0: 'a\", "{0: }"] {
            assert_eq!(names(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_classifiers_are_taken() {
        let model = |task: &str, size: &str| {
            let entries = [("task", task), ("imgsz", size), ("names", "{0: 'a', 1: 'b'}")];
            let entry = |&(key, value): &(&str, &str)| StringStringEntryProto { key: key.into(), value: value.into() };
            ModelProto { metadata_props: entries.iter().map(entry).collect(), ..ModelProto::default() }
        };
        let square = read(&model("classify", "[224, 224]")).unwrap().unwrap().facts;
        assert_eq!((square.size, square.fit), (Some(Size::square(224)), Some(Fit::Crop)));
        let Facts { size, fit, labels, .. } = read(&model("classify", "[224, 320]")).unwrap().unwrap().facts;
        assert_eq!(fit, Some(Fit::Squash));
        assert_eq!((size, labels.unwrap().len()), (Some(Size { width: 320, height: 224 }), 2));
        assert!(read(&model("detect", "[224, 224]")).unwrap_err().to_string().contains("'detect': expected classify"));
        assert_eq!(read(&ModelProto::default()).unwrap(), None);
    }
}
