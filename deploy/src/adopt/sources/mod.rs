//! What a model file and the files beside it say about how an image becomes the network's input.

mod hugging_face;
mod metadata;
mod timm;
mod ultralytics;
mod zip_map;

pub use zip_map::unpacked;

use super::facts::Source;
use anyhow::{Context, Result, bail, ensure};
use models::onnx::proto::ModelProto;
use models::{dataset, files};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Files that other programs write beside a model, and read from there.
const NEIGHBOURS: [&str; 3] = ["preprocessor_config.json", "config.json", "pretrained_cfg.json"];

/// Largest description that is read, in bytes: that of 22,000 classes has a tenth of it.
const MOST: u64 = 1 << 24;

/// What files say, the most trusted first: these descriptions, the model's metadata, and descriptions beside the model
/// or in the folder above, where Optimum leaves them. Also returns which of the last cannot be used, for people.
pub fn known(model: &ModelProto, path: &Path, described: &[PathBuf]) -> Result<(Vec<Source>, Vec<String>)> {
    let (mut sources, mut unused) = (Vec::new(), Vec::new());
    for path in described {
        let read = read(path)?.with_context(|| {
            let shown = path.display();
            format!(
                "{shown} is not a description of a classifier's images: expected Hugging Face's \
                     preprocessor_config.json or config.json, or timm's pretrained_cfg"
            )
        })?;
        sources.push(read);
    }
    sources.extend(ultralytics::read(model)?);
    sources.extend(metadata::read(model)?);
    for upwards in ["", ".."] {
        let beside = |name: &&str| path.with_file_name(upwards).join(name);
        let found: Vec<_> = NEIGHBOURS.iter().map(beside).filter(|path| path.is_file()).collect();
        for path in &found {
            // Nobody named this file, and it may belong to another program.
            match read(path) {
                Ok(source) => sources.extend(source),
                Err(error) => unused.push(format!("a file beside the model is not used: {error:#}")),
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    Ok((sources, unused))
}

/// Reads a JSON file. Returns `None` if it describes something else.
fn read(path: &Path) -> Result<Option<Source>> {
    let context = || format!("cannot read {}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(context)?;
    file.take(MOST).read_to_string(&mut text).with_context(context)?;
    let json = parse(&text, path)?;
    let facts = if let Some(facts) = timm::read(&json).transpose() {
        Some(facts)
    } else {
        hugging_face::read(&json).transpose()
    };
    let facts = facts.transpose().with_context(|| format!("{} cannot be used", path.display()))?;
    Ok(facts.map(|facts| Source { name: files::name(path), facts }))
}

/// Reads class names: a text file with one name per line, or JSON: a list of names, an object with the class numbers as
/// keys (`id2label`) or as values (`class_indices`), or an object with lists that end in the name (Keras's
/// `imagenet_class_index.json`). Names can occur more than once.
pub fn labels(path: &Path) -> Result<Vec<String>> {
    let json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    if !json {
        return dataset::read_names(path);
    }
    let context = || format!("cannot read {}", path.display());
    let json = parse(&std::fs::read_to_string(path).with_context(context)?, path)?;
    // Hugging Face's config.json has them among other things.
    names(json.get("id2label").unwrap_or(&json)).with_context(|| {
        format!("{}: expected a list of class names, or an object with the class numbers as keys", path.display())
    })
}

/// Parses the text of a JSON file. Programs on Windows put a byte-order mark before it.
fn parse(text: &str, path: &Path) -> Result<Value> {
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text).with_context(|| format!("{} is not JSON", path.display()))
}

/// Class names from a list, or from an object whose keys are 0, 1, 2 and so on.
fn names(json: &Value) -> Option<Vec<String>> {
    let name = |value: &Value| match value {
        Value::String(name) => Some(name.clone()),
        // Keras: a WordNet number and the name.
        Value::Array(parts) => parts.last()?.as_str().map(str::to_owned),
        _ => None,
    };
    match json {
        Value::Array(names) => names.iter().map(name).collect(),
        // Keras's class_indices and torchvision's class_to_idx: names with their numbers.
        Value::Object(numbers) if !numbers.is_empty() && numbers.values().all(Value::is_u64) => {
            let mut names: Vec<_> =
                numbers.iter().filter_map(|(name, number)| Some((number.as_u64()?, name))).collect();
            names.sort_unstable();
            let whole = names.iter().enumerate().all(|(index, (number, _))| index as u64 == *number);
            whole.then(|| names.into_iter().map(|(_, name)| name.clone()).collect())
        }
        Value::Object(names) => (0..names.len()).map(|class| name(names.get(&class.to_string())?)).collect(),
        _ => None,
    }
}

/// The numbers of a list.
fn numbers(json: &Value) -> Option<Vec<f64>> {
    match json {
        Value::Number(number) => Some(vec![number.as_f64()?]),
        Value::Array(numbers) => numbers.iter().map(Value::as_f64).collect(),
        _ => None,
    }
}

/// Refuses what would be ignored: every key that starts like this and is not known, unless it is false or null.
fn refuse_unknown(json: &Value, prefix: &str, known: &[&str]) -> Result<()> {
    for (key, value) in json.as_object().into_iter().flatten() {
        let set = !matches!(value, Value::Null | Value::Bool(false));
        ensure!(
            !key.starts_with(prefix) || known.contains(&key.as_str()) || !set,
            "{key} is {value}, which is not supported: give flags instead"
        );
    }
    Ok(())
}

/// The field as this type. Fails if it is another.
fn field<T>(json: &Value, key: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
    match json.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match read(value) {
            Some(read) => Ok(Some(read)),
            None => bail!("{key} is {value}: not understood"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn class_names_are_read_in_every_form() {
        let expected = Some(vec!["cat".to_owned(), "dog".to_owned()]);
        for json in [
            json!(["cat", "dog"]),
            json!({"1": "dog", "0": "cat"}),
            json!({"0": ["n01", "cat"], "1": ["n02", "dog"]}),
            json!({"dog": 1, "cat": 0}),
        ] {
            assert_eq!(names(&json), expected, "{json}");
        }
        for json in [json!({"0": "cat", "2": "dog"}), json!({"cat": 1}), json!("cat"), json!([1, 2])] {
            assert_eq!(names(&json), None, "{json}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_json() {
        let path = Path::new("names.json");
        assert_eq!(parse("\u{feff}[\"cat\"]", path).unwrap(), json!(["cat"]));
        assert!(parse("{ // x", path).unwrap_err().to_string().contains("names.json is not JSON"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let json = json!({"do_resize": true, "do_thumbnail": false, "do_pad": true, "size": "large"});
        refuse_unknown(&json, "do_", &["do_resize", "do_pad"]).unwrap();
        let message = refuse_unknown(&json, "do_", &["do_resize"]).unwrap_err().to_string();
        assert!(message.starts_with("do_pad is true, which is not supported"), "{message}");
        assert!(field(&json, "size", Value::as_u64).unwrap_err().to_string().contains("size is \"large\""));
        assert_eq!(field(&json, "crop", Value::as_u64).unwrap(), None);
    }
}
