//! Every key of a recipe: its table, meaning and accepted values.
//!
//! The list is generated from the structs in [`super`]: names and types are what serde reads, meanings are the doc
//! comments, ranges are the attributes. Validation, `--help`, `train recipe` and recipes/README.md all use this list,
//! so they cannot disagree.

use super::automatic::Rules;
use super::{DEFAULT, PHOTOS, Recipe, layers};
use deploy::arguments::{self, Interval, whole_number};
use schemars::generate::SchemaSettings;
use serde_json::Value as Json;
use std::fmt::{self, Write};
use std::ops::{Bound, RangeInclusive};
use std::sync::LazyLock;
use toml::Value;

/// The key of a recipe file that names its base recipe.
pub(super) const BASE: &str = "base";

/// A key, or a table of keys.
#[derive(Debug)]
pub struct Key {
    /// The table that contains it; empty at the top level.
    pub table: String,
    /// Its name.
    pub name: String,
    /// What it means, from the doc comment.
    pub meaning: String,
    /// The values it accepts.
    pub accepts: Accepts,
}

/// The values that a key accepts. Its `Display` text completes the phrase "expected …".
#[derive(Debug)]
pub enum Accepts {
    /// A whole number.
    Whole(RangeInclusive<u64>),
    /// A number.
    Number(Interval),
    /// A list of numbers.
    Numbers(Interval),
    /// `true` or `false`.
    Switch,
    /// One of these strings.
    OneOf(Vec<String>),
    /// Any string.
    Text,
    /// A table, or this string in its place.
    Table(Option<String>),
}

/// All keys, in the order of a recipe file: a table's keys follow the table.
pub static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let schema = settings.into_generator().into_root_schema_for::<Recipe>();
    let mut keys = vec![Key {
        table: String::new(),
        name: BASE.to_owned(),
        meaning: "Recipe that supplies the missing keys: a built-in one, or a TOML file, relative to this file."
            .to_owned(),
        accepts: Accepts::Text,
    }];
    read("", schema.as_value(), &mut keys);
    keys
});

/// Reads the keys of a table, and of the tables in it, from its JSON schema.
fn read(table: &str, schema: &Json, keys: &mut Vec<Key>) {
    // Every key is required, and `required` keeps the struct's order, whereas `properties` is sorted.
    let names = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    for name in names {
        let schema = &schema["properties"][name];
        let meaning = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
        let accepts = accepts(schema);
        let is_table = matches!(accepts, Accepts::Table(_));
        keys.push(Key { table: table.to_owned(), name: name.to_owned(), meaning, accepts });
        if is_table {
            read(name, schema, keys);
        }
    }
}

fn accepts(schema: &Json) -> Accepts {
    let number = |schema: &Json| {
        let bound = |inclusive: &str, exclusive: &str| match (schema[inclusive].as_f64(), schema[exclusive].as_f64()) {
            (Some(bound), _) => Bound::Included(bound),
            (None, Some(bound)) => Bound::Excluded(bound),
            (None, None) => Bound::Unbounded,
        };
        Interval::new((bound("minimum", "exclusiveMinimum"), bound("maximum", "exclusiveMaximum")))
    };
    let names = |list: &Json, name: fn(&Json) -> Option<&str>| {
        Accepts::OneOf(list.as_array().into_iter().flatten().filter_map(name).map(str::to_owned).collect())
    };
    match schema["type"].as_str() {
        _ if schema.get("oneOf").is_some() => names(&schema["oneOf"], |variant| variant["const"].as_str()),
        _ if schema.get("enum").is_some() => names(&schema["enum"], Json::as_str),
        Some("integer") => {
            Accepts::Whole(schema["minimum"].as_u64().unwrap_or(0)..=schema["maximum"].as_u64().unwrap_or(u64::MAX))
        }
        Some("number") => Accepts::Number(number(schema)),
        Some("array") => Accepts::Numbers(number(&schema["items"])),
        Some("boolean") => Accepts::Switch,
        Some("object") => Accepts::Table(schema["x-or"].as_str().map(str::to_owned)),
        _ => Accepts::Text,
    }
}

impl Key {
    /// The key's full path, such as `optimizer.lr`.
    #[must_use]
    pub fn path(&self) -> String {
        if self.table.is_empty() { self.name.clone() } else { format!("{}.{}", self.table, self.name) }
    }

    /// The default value, followed by the defaults for other values of the table's `kind` where they differ.
    #[must_use]
    pub fn default(&self) -> String {
        if self.table.is_empty() && self.name == BASE {
            return format!("\"{DEFAULT}\"");
        }
        if self.table.is_empty() && self.name == "name" {
            return "the file's name".to_owned();
        }
        let quick = layers::built_in(DEFAULT).unwrap_or_default();
        let mut text = match value(&quick, self) {
            Some(value) if !value.is_table() => value.to_string(),
            _ => return String::new(),
        };
        for (kind, table) in layers::kinds(&self.table) {
            if let Some(other) = table.get(&self.name).filter(|other| other.to_string() != text) {
                let _ = write!(text, "; {kind}: {other}");
            }
        }
        text
    }
}

/// Returns the value of a key in a recipe, if set.
pub(super) fn value<'a>(recipe: &'a toml::Table, key: &Key) -> Option<&'a Value> {
    if key.table.is_empty() { recipe.get(&key.name) } else { recipe.get(&key.table)?.get(&key.name) }
}

/// Finds a key by its path, such as `optimizer.lr`.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    let (table, name) = path.rsplit_once('.').unwrap_or(("", path));
    KEYS.iter().find(|key| key.table == table && key.name == name)
}

/// The `--help` text of the flag that sets this key. It ends with [`defaults`].
#[must_use]
pub fn help(path: &str) -> String {
    format!("{} {}", description(path), defaults(path))
}

/// What a key is if its flag is missing, for `--help`: the values of the two recipes that `train` uses by itself.
#[must_use]
pub fn defaults(path: &str) -> String {
    let Some(key) = find(path) else { return String::new() };
    let photos = layers::built_in(PHOTOS).unwrap_or_default();
    let photos = match value(&photos, key) {
        Some(value) if !Rules::of(PHOTOS).is_some_and(|rules| rules.choose(&key.table, &key.name)) => value.to_string(),
        _ => "from the data".to_owned(),
    };
    format!("[default: the recipe's; {PHOTOS}: {photos}; {DEFAULT}: {}]", key.default()).replace('"', "")
}

/// A key's meaning and accepted values for `--help`: the first sentence of its documentation, followed by the values.
/// The sentence of an [`Accepts::OneOf`] key already lists its values, so they are not repeated.
#[must_use]
pub fn description(path: &str) -> String {
    let Some(key) = find(path) else { return String::new() };
    let meaning = key.meaning.replace('`', "");
    let sentence = meaning.split(". ").next().unwrap_or_default().trim_end_matches('.');
    match key.accepts {
        Accepts::OneOf(_) => sentence.to_owned(),
        _ => format!("{sentence} ({})", key.accepts),
    }
}

/// Returns a parser for the flag that sets this whole-number key.
pub fn whole<T: TryFrom<u64>>(
    path: &'static str,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| match find(path).map(|key| &key.accepts) {
        Some(Accepts::Whole(range)) => arguments::whole(range.clone())(text),
        _ => Err(format!("{path} is not a recipe key for a whole number")),
    }
}

/// Returns a parser for the flag that sets this floating-point key.
pub fn number(path: &'static str) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| match find(path).map(|key| &key.accepts) {
        Some(Accepts::Number(interval)) => arguments::number(*interval)(text),
        _ => Err(format!("{path} is not a recipe key for a number")),
    }
}

impl Accepts {
    /// Whether the key accepts this value.
    #[must_use]
    pub fn takes(&self, value: &Value) -> bool {
        let in_interval = |interval: &Interval, value: &Value| match value {
            Value::Integer(number) => interval.contains(*number as f64),
            Value::Float(number) => interval.contains(*number),
            _ => false,
        };
        match (self, value) {
            (Self::Whole(range), Value::Integer(number)) => u64::try_from(*number).is_ok_and(|n| range.contains(&n)),
            (Self::Number(interval), value) => in_interval(interval, value),
            (Self::Numbers(interval), Value::Array(values)) => values.iter().all(|value| in_interval(interval, value)),
            (Self::Switch, Value::Boolean(_)) | (Self::Text, Value::String(_)) | (Self::Table(_), Value::Table(_)) => {
                true
            }
            (Self::OneOf(names), Value::String(text)) => names.contains(text),
            (Self::Table(Some(instead)), Value::String(text)) => text == instead,
            _ => false,
        }
    }
}

impl fmt::Display for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Whole(range) => f.write_str(&whole_number(range)),
            Self::Number(interval) => interval.fmt(f),
            Self::Numbers(interval) => write!(f, "a list with {interval} for each channel"),
            Self::Switch => f.write_str("true or false"),
            Self::Text => f.write_str("a string"),
            Self::OneOf(names) => {
                for (index, name) in names.iter().enumerate() {
                    let before = match index {
                        0 => "",
                        _ if index + 1 == names.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{before}\"{name}\"")?;
                }
                Ok(())
            }
            Self::Table(None) => f.write_str("a table"),
            Self::Table(Some(instead)) => write!(f, "a table, or \"{instead}\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::card::Preprocessing;
    use std::collections::BTreeSet;
    use toml::Table;

    /// Serde reads exactly the keys it writes and rejects any other.
    #[test]
    fn the_documented_keys_are_those_that_serde_reads() {
        let mut recipe = Recipe::find("quick").unwrap();
        recipe.normalization = Some(Preprocessing { mean: vec![0.5], std: vec![0.5] });
        let written = Table::try_from(&recipe).unwrap();
        let mut read = BTreeSet::from(["base".to_owned()]);
        for (name, value) in &written {
            read.insert(name.clone());
            for inner in value.as_table().into_iter().flat_map(Table::keys) {
                read.insert(format!("{name}.{inner}"));
            }
        }
        assert_eq!(KEYS.iter().map(Key::path).collect::<BTreeSet<_>>(), read);
        assert_eq!(KEYS.len(), read.len());
        for key in KEYS.iter().filter(|key| key.name != "base") {
            assert!(!key.meaning.is_empty(), "{}", key.path());
            assert!(value(&written, key).is_some_and(|value| key.accepts.takes(value)), "{}", key.path());
            let mut more = written.clone();
            let table = match &key.table[..] {
                "" => &mut more,
                table => more[table].as_table_mut().unwrap(),
            };
            table.insert("unheard_of".to_owned(), 1.into());
            assert!(more.try_into::<Recipe>().is_err(), "{}", key.path());
        }
    }

    /// Each documented default is the value a recipe gets if it does not set the key.
    #[test]
    fn the_documented_defaults_are_the_real_ones() {
        let shown = |recipe: &Recipe, key: &Key| {
            value(&Table::try_from(recipe).unwrap(), key).map(ToString::to_string).unwrap_or_default()
        };
        let empty = Recipe::parse("name = \"empty\"").unwrap();
        assert_eq!(empty, Recipe { name: "empty".to_owned(), ..Recipe::find("quick").unwrap() });
        let adamw = Recipe::parse("name = \"a\"\n[optimizer]\nkind = \"adamw\"").unwrap();
        let constant = Recipe::parse("name = \"a\"\n[schedule]\nkind = \"constant\"").unwrap();
        let one_cycle = Recipe::parse("name = \"a\"\n[schedule]\nkind = \"one-cycle\"").unwrap();
        for key in KEYS.iter() {
            let is_table = matches!(key.accepts, Accepts::Table(None));
            if is_table || ["base", "name", "normalization.mean", "normalization.std"].contains(&&*key.path()) {
                continue;
            }
            let text = key.default();
            let mut parts = text.split("; ");
            assert_eq!(parts.next(), Some(&*shown(&empty, key)), "{}", key.path());
            for part in parts {
                let (kind, value) = part.split_once(": ").unwrap();
                let recipe = match kind {
                    "adamw" => &adamw,
                    "constant" => &constant,
                    _ => &one_cycle,
                };
                assert_eq!(value, shown(recipe, key), "{} of {kind}", key.path());
            }
        }
        assert_eq!((adamw.optimizer.lr, adamw.optimizer.momentum, adamw.optimizer.nesterov), (0.001, 0.9, false));
        assert_eq!((constant.schedule.warm_up, one_cycle.schedule.warm_up), (0.0, 0.3));
    }

    /// Checks the table in recipes/README.md; `UPDATE=1` rewrites it.
    #[test]
    fn the_readme_lists_every_key() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        let (before, rest) = readme.split_once("<!-- keys -->\n").unwrap();
        let (table, after) = rest.split_once("<!-- end of keys -->").unwrap();
        let mut expected = "| key | meaning | values | default |\n|---|---|---|---|\n".to_owned();
        for key in KEYS.iter() {
            let name = match key.accepts {
                Accepts::Table(_) => format!("**[{}]**", key.path()),
                _ => format!("`{}`", key.path()),
            };
            writeln!(expected, "| {name} | {} | {} | {} |", key.meaning, key.accepts, key.default()).unwrap();
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, format!("{before}<!-- keys -->\n{expected}<!-- end of keys -->{after}")).unwrap();
            return;
        }
        assert_eq!(table, expected, "UPDATE=1 cargo test -p train the_readme_lists_every_key");
    }
}
