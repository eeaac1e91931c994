//! Writes a recipe as a TOML file that explains every key, as `train recipe` prints it.

use super::Recipe;
use super::automatic::Rules;
use super::keys::{BASE, KEYS, Key, value};
use super::layers::Layers;
use anyhow::Result;
use std::fmt::Write;
use toml::{Table, Value};

/// Width of the comments in columns.
const COLUMNS: usize = 80;

/// The recipe as TOML with every key, each preceded by its meaning, range and default. Parsing the text gives the same
/// recipe. Errors if the recipe is not valid.
pub fn document(name_or_path: &str) -> Result<String> {
    // Rejects a recipe that no run would accept.
    Recipe::find(name_or_path)?;
    let layers = Layers::find(name_or_path)?;
    let rules = Rules::of(layers.base());
    let is_chosen = |key: &Key| {
        let (table, name) = (key.table.as_str(), key.name.as_str());
        rules.as_ref().is_some_and(|rules| rules.choose(table, name)) && layers.own(table, name).is_none()
    };
    let chosen: Vec<bool> = KEYS.iter().map(is_chosen).collect();
    // Keys that are left out come from the base, which chooses some of them from the data.
    let base = chosen.contains(&true).then_some(layers.base());
    let recipe = layers.merged(&Table::new())?;
    let mut text = String::new();
    for (key, is_chosen) in KEYS.iter().zip(chosen) {
        match base {
            Some(base) if key.name == BASE => {
                let _ = writeln!(text, "{}{BASE} = \"{base}\"", comment(&key.meaning));
            }
            _ => write(&mut text, key, &recipe, is_chosen),
        }
    }
    Ok(text)
}

/// Writes a key. One that `is_chosen` from the data is a comment.
fn write(text: &mut String, key: &Key, recipe: &Table, is_chosen: bool) {
    text.push_str(if text.is_empty() { "" } else { "\n" });
    let (meaning, value) = (&key.meaning, value(recipe, key));
    if value.is_some_and(Value::is_table) {
        let _ = writeln!(text, "{}[{}]", comment(meaning), key.name);
        return;
    }
    let about = format!("{meaning} Values: {}. Default: {}.", key.accepts, key.default());
    let _ = match value {
        Some(value) if is_chosen => {
            writeln!(text, "{}# {} = {value}", comment(&format!("{about} Chosen from the data unless set.")), key.name)
        }
        Some(value) => writeln!(text, "{}{} = {value}", comment(&about), key.name),
        // Every key is set here, so a base would have no effect.
        None if key.name == BASE => writeln!(text, "{}# {BASE} = {}", comment(&about), key.default()),
        // The key belongs to a table that a string replaces, such as `normalization = "auto"`.
        None => writeln!(
            text,
            "{}",
            comment(&format!("`{}` in [{}]: {meaning} Values: {}.", key.name, key.table, key.accepts)).trim_end()
        ),
    };
}

/// Wraps text into lines that begin with `# `.
fn comment(words: &str) -> String {
    let (mut text, mut width) = (String::new(), 0);
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if width == 0 || width + 1 + length > COLUMNS {
            text.push_str(if width == 0 { "#" } else { "\n#" });
            width = 1;
        }
        text.push(' ');
        text.push_str(word);
        width += 1 + length;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::NAMES;

    #[test]
    fn a_printed_recipe_explains_every_key_and_is_the_same_recipe() {
        for name in NAMES.iter() {
            let text = document(name).unwrap();
            assert_eq!(Recipe::parse(&text).unwrap(), Recipe::find(name).unwrap());
            assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
            let explained = text.replace("\n# ", " ");
            for key in KEYS.iter() {
                assert!(explained.contains(&key.meaning), "{name}: {}", key.path());
            }
        }
        let quick = document("quick").unwrap();
        let expected = "# Peak learning rate. Values: a number above 0. Default: 0.1; adamw: 0.001.\nlr = 0.1\n";
        assert!(quick.contains(expected), "{quick}");
    }
}
