//! Finds the mistakes in a recipe: unknown keys, keys in the wrong table, and values that a key does not accept.

use super::keys::{Accepts, KEYS, Key};
use anyhow::{Result, bail};
use deploy::text::printable;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// Minimum similarity for a "did you mean" suggestion (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

/// Maximum number of characters of a wrong value that a message quotes.
const SHOWN: usize = 40;

/// A mistake in a recipe: the key and the message about it.
struct Mistake {
    table: String,
    name: String,
    what: String,
}

/// Parses a recipe file, which may set any subset of the keys.
pub(super) fn read(text: &str) -> Result<Table> {
    let table = match toml::from_str::<Table>(text) {
        Ok(table) => table,
        // The parser's message names its internal type instead of the limit.
        Err(error) if error.message().contains("as i128") => {
            let digits = error.span().and_then(|span| text.get(span)).unwrap_or_default();
            let line = error.span().map_or(0, |span| line_at(text, span.start));
            bail!("line {line}: {} is too large: TOML integers go up to 2⁶³ − 1", shown(digits));
        }
        // The parser's message quotes a line of the file, so it is made printable.
        Err(error) => bail!("{}", error.to_string().trim_end().lines().map(printable).collect::<Vec<_>>().join("\n")),
    };
    refuse(&table, Some(text))?;
    Ok(table)
}

/// Returns an error that lists all mistakes in a recipe, with line numbers if `text` is given. Without `text` the
/// recipe must be complete.
pub(super) fn refuse(table: &Table, text: Option<&str>) -> Result<()> {
    let mut mistakes = Vec::new();
    look_at("", table, &mut mistakes);
    if text.is_none() {
        missing(table, &mut mistakes);
    }
    let lines = text.and_then(|text| Some((text, DeTable::parse(text).ok()?)));
    let mut messages: Vec<_> = mistakes
        .iter()
        .map(|mistake| match &lines {
            Some((text, table)) => match line_of(text, table.get_ref(), mistake) {
                Some(line) => (line, format!("line {line}: {}", mistake.what)),
                None => (0, mistake.what.clone()),
            },
            None => (0, mistake.what.clone()),
        })
        .collect();
    messages.sort_by_key(|(line, _)| *line);
    let messages: Vec<_> = messages.into_iter().map(|(_, message)| message).collect();
    match &messages[..] {
        [] => Ok(()),
        [message] => bail!("{message}"),
        messages => bail!("{} mistakes\n  {}", messages.len(), messages.join("\n  ")),
    }
}

/// Checks the keys of a table. `table` is its name, empty for the top level.
fn look_at(table: &str, keys: &Table, mistakes: &mut Vec<Mistake>) {
    for (name, value) in keys {
        let what = match KEYS.iter().find(|key| key.table == table && key.name == *name) {
            None => unknown(table, name, value),
            Some(key) => match (&key.accepts, value) {
                (Accepts::Table(_), Value::Table(keys)) => {
                    look_at(name, keys, mistakes);
                    continue;
                }
                (accepts, value) if accepts.takes(value) => continue,
                _ => wrong(key, value),
            },
        };
        mistakes.push(Mistake { table: table.to_owned(), name: name.clone(), what });
    }
}

/// Finds keys missing from a complete recipe. Only `[normalization]` can be incomplete, since the other tables are
/// filled in from the base.
fn missing(recipe: &Table, mistakes: &mut Vec<Mistake>) {
    for key in KEYS.iter().filter(|key| !key.table.is_empty()) {
        let table = recipe.get(&key.table).and_then(Value::as_table);
        if table.is_some_and(|table| !table.contains_key(&key.name)) {
            let what = format!("the table [{}] needs the key `{}`: {}", key.table, key.name, key.accepts);
            mistakes.push(Mistake { table: key.table.clone(), name: key.name.clone(), what });
        }
    }
}

fn place(table: &str) -> String {
    if table.is_empty() {
        "at the top level, above the first table".to_owned()
    } else {
        format!("in the table [{table}]")
    }
}

/// The message about a key that its table does not have.
fn unknown(table: &str, name: &str, value: &Value) -> String {
    let is_table = value.is_table();
    let homes: Vec<_> = KEYS.iter().filter(|key| key.name == name).collect();
    if let Some(home) = homes.first() {
        if matches!(home.accepts, Accepts::Table(_)) && is_table {
            return format!("[{table}.{name}] belongs to the top level: write [{name}]");
        }
        let homes: Vec<_> = homes.iter().map(|key| place(&key.table)).collect();
        return format!("`{name}` belongs {}, not {}", homes.join(" or "), short(table));
    }
    let shown = printable(name);
    let what = if is_table && table.is_empty() { "table".to_owned() } else { "key".to_owned() };
    let likeness = |key: &&Key| {
        let name = name.to_lowercase().replace('-', "_");
        // One word of a name, such as `flip`, counts almost as much as the whole.
        let words = key.name.split('_').map(|word| 0.95 * strsim::jaro_winkler(&name, word));
        let alike = words.fold(strsim::jaro_winkler(&name, &key.name), f64::max);
        // Among equally similar keys, prefers one in this table.
        if key.table == table { alike + 1e-6 } else { alike }
    };
    let fits = |key: &&Key| matches!(key.accepts, Accepts::Table(_)) == is_table;
    // Of equally similar keys, the first.
    let nearest = KEYS.iter().rev().filter(fits).max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|key| likeness(key) >= ALIKE) {
        Some(key) if key.table == table => format!("unknown {what} `{shown}`: did you mean `{}`?", key.name),
        Some(key) => format!("unknown {what} `{shown}`: did you mean `{}` {}?", key.name, place(&key.table)),
        None => {
            let names: Vec<_> = KEYS.iter().filter(|key| key.table == table).map(|key| key.name.as_str()).collect();
            format!("unknown {what} `{shown}`: expected {}", names.join(", "))
        }
    }
}

fn short(table: &str) -> String {
    if table.is_empty() { "at the top level".to_owned() } else { format!("in [{table}]") }
}

/// The message about a value that a key does not accept.
fn wrong(key: &Key, value: &Value) -> String {
    let found = match value {
        Value::String(text) => format!("the string \"{}\"", shown(text)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => value.to_string(),
        Value::Datetime(_) => "a date".to_owned(),
        Value::Array(values) => {
            format!("the list [{}]", shown(&values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")))
        }
        Value::Table(_) => "a table".to_owned(),
    };
    let hint = match (&key.accepts, value) {
        (Accepts::OneOf(names), Value::String(text)) => {
            let likeness = |name: &&String| strsim::jaro_winkler(&text.to_lowercase(), name);
            let nearest = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            nearest.filter(|name| likeness(name) >= ALIKE).map(|name| format!("did you mean \"{name}\"?"))
        }
        (Accepts::OneOf(_) | Accepts::Text, _) => None,
        (Accepts::Table(_), _) => Some(format!("write [{}] on a line of its own and its keys below", key.name)),
        (accepts, Value::String(text)) => {
            // The string may be a number or a boolean in quotation marks.
            let bare = toml::from_str::<Table>(&format!("value = {text}")).ok();
            let meant = bare.as_ref().and_then(|table| table.get("value")).filter(|value| accepts.takes(value));
            meant.map(|value| format!("write {value} without quotation marks"))
        }
        _ => None,
    };
    let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("`{}`: expected {}, found {found}{hint}", key.path(), key.accepts)
}

/// Makes the user's text safe to print and shortens it.
fn shown(text: &str) -> String {
    let text = printable(text);
    if text.chars().count() <= SHOWN { text } else { text.chars().take(SHOWN).collect::<String>() + "…" }
}

/// The line of a key, counted from 1.
fn line_of(text: &str, top: &DeTable, mistake: &Mistake) -> Option<usize> {
    let table = match &mistake.table[..] {
        "" => top,
        table => match top.iter().find(|(key, _)| key.get_ref() == table)?.1.get_ref() {
            DeValue::Table(table) => table,
            _ => return None,
        },
    };
    let (key, _) = table.iter().find(|(key, _)| *key.get_ref() == mistake.name)?;
    Some(line_at(text, key.span().start))
}

fn line_at(text: &str, position: usize) -> usize {
    1 + text.bytes().take(position).filter(|&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error message for a recipe, parsed without its base.
    fn said(text: &str) -> String {
        format!("{:#}", read(text).unwrap_err())
    }

    #[test]
    fn a_key_at_the_wrong_level_is_told_its_table() {
        for (text, message) in [
            ("# mine\nlr = 0.1\n", "line 2: `lr` belongs in the table [optimizer], not at the top level"),
            (
                "[optimizer]\nepochs = 3\n",
                "line 2: `epochs` belongs at the top level, above the first table, not in [optimizer]",
            ),
            ("[schedule]\n\nwidth = 0.5", "line 3: `width` belongs in the table [network], not in [schedule]"),
            (
                "kind = \"sgd\"",
                "line 1: `kind` belongs in the table [optimizer] or in the table [schedule], not at the top level",
            ),
            (
                "[optimizer.schedule]\nkind = \"cosine\"",
                "line 1: [optimizer.schedule] belongs to the top level: write [schedule]",
            ),
            (
                "[network]\nbase = \"best\"",
                "line 2: `base` belongs at the top level, above the first table, not in [network]",
            ),
        ] {
            assert_eq!(said(text), message);
        }
    }

    #[test]
    fn an_unknown_key_is_compared_with_those_there_are() {
        for (text, message) in [
            ("epoch = 7", "line 1: unknown key `epoch`: did you mean `epochs`?"),
            ("batch-size = 7", "line 1: unknown key `batch-size`: did you mean `batch_size`?"),
            ("momentun = 0.1", "line 1: unknown key `momentun`: did you mean `momentum` in the table [optimizer]?"),
            ("[augmentaton]\nscale = 0.1", "line 1: unknown table `augmentaton`: did you mean `augmentation`?"),
            ("[schedule]\nfoo = 1", "line 2: unknown key `foo`: expected kind, warm_up"),
            ("[augmentation]\nflips = 0.5", "line 2: unknown key `flips`: did you mean `horizontal_flip`?"),
            ("[augmentation]\nhue = 0.1", "line 2: `hue` belongs in the table [color_jitter], not in [augmentation]"),
            ("[augmentation]\ngrayscale = 0.1", "line 2: unknown key `grayscale`: did you mean `greyscale`?"),
        ] {
            assert_eq!(said(text), message);
        }
    }

    #[test]
    fn a_wrong_value_is_shown_beside_what_is_expected() {
        for (text, message) in [
            (
                "epochs = \"7\"",
                "line 1: `epochs`: expected a whole number from 1 to 100,000, found the string \"7\"; write 7 without quotation marks",
            ),
            ("epochs = 7.5", "line 1: `epochs`: expected a whole number from 1 to 100,000, found 7.5"),
            ("epochs = -1", "line 1: `epochs`: expected a whole number from 1 to 100,000, found -1"),
            ("[network]\nwidth = 2", "line 2: `network.width`: expected a number above 0 and at most 1, found 2"),
            ("[optimizer]\nlr = nan", "line 2: `optimizer.lr`: expected a number above 0, found nan"),
            ("[optimizer]\nnesterov = 1", "line 2: `optimizer.nesterov`: expected true or false, found 1"),
            (
                "[optimizer]\nkind = \"Adam\"",
                "line 2: `optimizer.kind`: expected \"sgd\" or \"adamw\", found the string \"Adam\"; did you mean \"adamw\"?",
            ),
            (
                "optimizer = \"adamw\"",
                "line 1: `optimizer`: expected a table, found the string \"adamw\"; write [optimizer] on a line of its own and its keys below",
            ),
            ("name = 2024-01-01", "line 1: `name`: expected a string, found a date"),
            (
                "[normalization]\nmean = 0.5\nstd = [0.0]",
                "2 mistakes\n  line 2: `normalization.mean`: expected a list with a number from 0 to 1 for each channel, found 0.5\n  \
                 line 3: `normalization.std`: expected a list with a number above 0 for each channel, found the list [0.0]",
            ),
            (
                "seed = 99999999999999999999",
                "line 1: 99999999999999999999 is too large: TOML integers go up to 2⁶³ − 1",
            ),
        ] {
            assert_eq!(said(text), message);
        }
        assert!(said("epochs = 3\nlr = 0,1").contains("line 2"));
        let long = said(&format!("precision = \"{}\\u001b\"", "x".repeat(1000)));
        assert!(long.len() < 200 && !long.contains('\u{1b}'), "{long}");
        let control = said("name = \"\u{1b}[2J\"");
        assert!(control.contains("line 1") && !control.contains('\u{1b}'), "{control}");
    }
}
