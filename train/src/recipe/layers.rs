//! Fills in the keys that a recipe leaves out from its base, which may have a base of its own.

use super::keys::BASE;
use super::{BUILT_IN, DEFAULT, NAMES, mistakes};
use crate::pretrained;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use toml::{Table, Value};

/// Largest accepted size of a recipe file in bytes. The built-in ones are about a thousandth of that.
const MAX_BYTES: u64 = 1 << 20;

/// Default values of a table's other keys when a recipe changes the table's `kind`. The comments in `kinds.toml`
/// explain them.
static KINDS: LazyLock<Table> =
    LazyLock::new(|| toml::from_str(include_str!("../../recipes/kinds.toml")).unwrap_or_default());

/// Dependencies between keys: a key, and the key that has no effect without it, each with its table. Turning the first
/// off (0, or `none`) also turns off the second, unless the same recipe sets it.
const NEEDS: [[(&str, &str); 2]; 4] = [
    [("", "hold_out"), ("", "patience")],
    [("", "from"), ("", "freeze")],
    [("", "from"), ("optimizer", "body_lr")],
    [("optimizer", "momentum"), ("optimizer", "nesterov")],
];

/// The keys that the built-in recipes set for drawn digits, as table and key. They do not suit photos or clothes, and
/// letters look like outliers.
pub const DRAWINGS: [(&str, &str); 8] = [
    ("augmentation", "aspect"),
    ("augmentation", "stroke_width"),
    ("augmentation", "low_resolution"),
    ("augmentation", "blur"),
    ("augmentation", "contrast"),
    ("augmentation", "grain"),
    ("augmentation", "lines"),
    ("outliers", "share"),
];

/// A recipe before it is put together: a built-in one, and what the user's own files and flags change in it.
pub(super) struct Layers {
    base: &'static str,
    /// From the file that names the built-in recipe to the one that was asked for.
    own: Vec<Table>,
    /// The files that led to the current one through `base`, to detect cycles.
    files: Vec<PathBuf>,
}

impl Layers {
    /// Finds a recipe by built-in name or by path. If a file sets no `name`, the recipe is named after the file.
    pub(super) fn find(name_or_path: &str) -> Result<Self> {
        let mut layers = Self { base: DEFAULT, own: Vec::new(), files: Vec::new() };
        layers.load(name_or_path, Path::new(""))?;
        if let (Some(file), Some(own)) = (layers.files.first(), layers.own.last_mut()) {
            own.entry("name").or_insert_with(|| name_of(file).into());
        }
        Ok(layers)
    }

    /// Parses the text of a recipe; a base path is relative to the current folder.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut layers = Self { base: DEFAULT, own: Vec::new(), files: Vec::new() };
        layers.add(text, Path::new(""))?;
        Ok(layers)
    }

    /// The same with another layer on top.
    pub(super) fn with(mut self, own: Table) -> Self {
        self.own.push(own);
        self
    }

    /// The name of the built-in recipe.
    pub(super) fn base(&self) -> &'static str {
        self.base
    }

    /// The value that the user's layers set for a key; `table` is empty at the top level.
    pub(super) fn own(&self, table: &str, key: &str) -> Option<&Value> {
        self.own.iter().rev().find_map(|own| get(own, table, key))
    }

    /// Puts the recipe together, with every key filled in. `adapted` is laid over the built-in recipe first.
    pub(super) fn merged(self, adapted: &Table) -> Result<Table> {
        let mut recipe = lay_over(built_in(self.base)?, adapted);
        for own in &self.own {
            recipe = lay_over(recipe, own);
        }
        Ok(recipe)
    }

    /// Loads a built-in recipe, or a file relative to `folder`.
    fn load(&mut self, name_or_path: &str, folder: &Path) -> Result<()> {
        if let Some(name) = NAMES.iter().find(|name| **name == name_or_path) {
            self.base = name;
            return Ok(());
        }
        let path = folder.join(name_or_path);
        let shown = path.display();
        let expected = || format!("expected a TOML file or one of the built-in recipes ({})", NAMES.join(", "));
        ensure!(!path.is_dir(), "{shown} is a folder: {}", expected());
        ensure!(
            path.exists(),
            "recipe '{}' does not exist: {}",
            deploy::text::printable(&shown.to_string()),
            expected()
        );
        ensure!(path.is_file(), "{shown} is not a file: {}", expected());
        let file = path.canonicalize().with_context(|| format!("cannot open {shown}"))?;
        let is_its_own_base = self.files.contains(&file);
        self.files.push(file.clone());
        if is_its_own_base {
            let files: Vec<_> = self.files.iter().map(|file| file.display().to_string()).collect();
            bail!("a recipe cannot be based on itself: {}", files.join(" has the base "));
        }
        let bytes = std::fs::metadata(&file).with_context(|| format!("cannot read {shown}"))?.len();
        ensure!(bytes <= MAX_BYTES, "{shown} has {bytes} bytes: a recipe may have at most {MAX_BYTES}");
        let bytes = std::fs::read(&file).with_context(|| format!("cannot read {shown}"))?;
        let Ok(text) = String::from_utf8(bytes) else { bail!("{shown} is not a recipe: it is not UTF-8 text") };
        self.add(&text, file.parent().unwrap_or(folder)).with_context(|| format!("{shown} is not a valid recipe"))
    }

    /// Adds a recipe's text, after its base.
    fn add(&mut self, text: &str, folder: &Path) -> Result<()> {
        // Some editors on Windows write a byte-order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut own = mistakes::read(text)?;
        if let Some(Value::String(from)) = own.get_mut("from") {
            *from = pretrained::absolute(from, folder)?;
        }
        self.load(own.get(BASE).and_then(Value::as_str).unwrap_or(DEFAULT), folder)?;
        self.own.push(own);
        Ok(())
    }
}

/// The value of a key of a partial recipe; `table` is empty at the top level.
pub(super) fn get<'a>(recipe: &'a Table, table: &str, key: &str) -> Option<&'a Value> {
    if table.is_empty() { recipe.get(key) } else { recipe.get(table)?.get(key) }
}

/// Sets a key of a partial recipe; `table` is empty at the top level.
pub(super) fn set(recipe: &mut Table, table: &str, key: &str, value: Value) {
    let place = match table {
        "" => Some(recipe),
        table => recipe.entry(table).or_insert_with(|| Table::new().into()).as_table_mut(),
    };
    if let Some(place) = place {
        place.insert(key.to_owned(), value);
    }
}

/// The [`DRAWINGS`] that a built-in recipe sets, turned off.
pub(super) fn drawings_off(base: &str) -> Result<Table> {
    let recipe = built_in(base)?;
    let mut off = Table::new();
    for (table, key) in DRAWINGS {
        if recipe.get(table).is_some_and(|table| table.get(key).is_some()) {
            set(&mut off, table, key, 0.0.into());
        }
    }
    Ok(off)
}

/// Parses a built-in recipe.
pub(super) fn built_in(name: &str) -> Result<Table> {
    let built_in = BUILT_IN.iter().find(|(built_in, _)| *built_in == name);
    let (_, text) = built_in.with_context(|| format!("no built-in recipe '{name}'"))?;
    toml::from_str(text).with_context(|| format!("the built-in recipe {name} is broken"))
}

/// The kinds of a table that have their own defaults.
pub(super) fn kinds(table: &str) -> impl Iterator<Item = (&'static String, &'static Table)> {
    let kinds = KINDS.get(table).and_then(Value::as_table).into_iter().flatten();
    kinds.filter_map(|(kind, defaults)| Some((kind, defaults.as_table()?)))
}

/// Whether a character is allowed in a recipe's name, which is also used as a folder name.
pub(super) fn may_be_in_a_name(char: char) -> bool {
    char.is_alphanumeric() || "-_.".contains(char)
}

/// Derives a recipe's name from its file's name: `my recipe.toml` becomes `my-recipe`.
fn name_of(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name: String = stem.chars().map(|char| if may_be_in_a_name(char) { char } else { '-' }).collect();
    match name.trim_start_matches('.') {
        "" => "recipe".to_owned(),
        name => name.to_owned(),
    }
}

/// Merges a recipe that sets some keys over one that sets all.
pub(super) fn lay_over(mut below: Table, own: &Table) -> Table {
    for (name, value) in own.iter().filter(|(name, _)| *name != BASE) {
        match (below.get_mut(name), value) {
            (Some(Value::Table(below)), Value::Table(own)) => {
                if let Some(kind) = own.get("kind").filter(|kind| below.get("kind") != Some(kind)) {
                    *below = defaults(name, kind);
                }
                below.extend(own.clone());
            }
            _ => {
                below.insert(name.clone(), value.clone());
            }
        }
    }
    let is_off = |value: &Value| {
        value.as_integer() == Some(0) || value.as_float() == Some(0.0) || value.as_str() == Some(pretrained::NONE)
    };
    for [switch, dependent] in NEEDS {
        if get(own, switch.0, switch.1).is_some_and(is_off) && get(own, dependent.0, dependent.1).is_none() {
            let off = match get(&below, dependent.0, dependent.1) {
                Some(Value::Boolean(_)) => false.into(),
                Some(Value::Integer(_)) => 0.into(),
                // A share of another rate.
                Some(Value::Float(_)) => 1.0.into(),
                _ => continue,
            };
            set(&mut below, dependent.0, dependent.1, off);
        }
    }
    below
}

/// Default values of a table's keys for this kind: from `kinds.toml`, otherwise those of `quick`, whose kind it is.
fn defaults(table: &str, kind: &Value) -> Table {
    let own = kinds(table).find(|(name, _)| Some(name.as_str()) == kind.as_str()).map(|(_, defaults)| defaults.clone());
    let quick = || built_in(DEFAULT).ok()?.remove(table).and_then(|table| table.try_into().ok());
    own.or_else(quick).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{DataForm, OptimizerKind, Overrides, Recipe, ScheduleKind};
    use std::fs;
    use std::path::Path;

    /// Writes recipes into a temporary folder and loads the first.
    fn found(files: &[(&str, &str)]) -> (tempfile::TempDir, anyhow::Result<Recipe>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let recipe = Recipe::find(folder.path().join(files[0].0).to_str().unwrap());
        (folder, recipe)
    }

    fn read(text: &str) -> Recipe {
        found(&[("mine.toml", text)]).1.unwrap()
    }

    fn refused(files: &[(&str, &str)]) -> String {
        format!("{:#}", found(files).1.unwrap_err())
    }

    #[test]
    fn missing_keys_come_from_the_base() {
        let [quick, best] = ["quick", "best"].map(|name| Recipe::find(name).unwrap());
        assert_eq!(read(""), Recipe { name: "mine".to_owned(), ..quick.clone() });
        let recipe = read("epochs = 3\n[network]\nwidth = 0.5\n");
        assert_eq!((recipe.epochs, recipe.network.width), (3, 0.5));
        assert_eq!((recipe.network.resolution, recipe.optimizer), (64, quick.optimizer));
        let recipe = read("base = \"best\"\n[augmentation]\nrotation = 0");
        assert_eq!((recipe.epochs, &recipe.network), (best.epochs, &best.network));
        assert_eq!((recipe.augmentation.rotation, recipe.augmentation.shear), (0.0, 10.0));
        assert!(!recipe.to_toml().unwrap().contains("base"));
    }

    #[test]
    fn a_file_may_be_the_base_of_another() {
        let files = [
            ("a.toml", "base = \"more/b.toml\"\nepochs = 3"),
            ("more/b.toml", "name = \"bee\"\nbase = \"../c.toml\"\nepochs = 4\nbatch_size = 32"),
            ("c.toml", "base = \"best\"\nbatch_size = 16\nseed = 9"),
        ];
        let recipe = found(&files).1.unwrap();
        assert_eq!((&*recipe.name, recipe.epochs, recipe.batch_size, recipe.seed), ("a", 3, 32, 9));
        assert_eq!(recipe.ema, 0.999);
    }

    #[test]
    fn a_base_that_cannot_be_read_is_named() {
        let circle = refused(&[("a.toml", "base = \"b.toml\""), ("b.toml", "base = \"./a.toml\"")]);
        assert!(
            circle.contains("cannot be based on itself: ") && circle.matches("a.toml has the base").count() == 1,
            "{circle}"
        );
        assert!(refused(&[("a.toml", "base = \"a.toml\"")]).contains("a.toml has the base "));
        let message = refused(&[("a.toml", "base = \"bset\"")]);
        assert!(message.contains("a.toml is not a valid recipe") && message.contains("bset'"), "{message}");
        assert!(message.contains("quick, best, photos, body, tutorial"), "{message}");
        let message = refused(&[("a.toml", "base = \"b.toml\""), ("b.toml", "\nepoch = 1")]);
        assert!(message.contains("b.toml is not a valid recipe: line 2: unknown key"), "{message}");
        assert!(refused(&[("a.toml", "base = \".\"")]).contains("is a folder"));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("latin.toml");
        fs::write(&file, b"name = \"caf\xe9\"").unwrap();
        let message = format!("{:#}", Recipe::find(file.to_str().unwrap()).unwrap_err());
        assert!(message.contains("not UTF-8 text"), "{message}");
    }

    /// Otherwise the base's learning rate, chosen for another optimizer, would be used.
    #[test]
    fn another_kind_brings_its_own_values() {
        let recipe = read("[optimizer]\nkind = \"adamw\"");
        assert_eq!((recipe.optimizer.lr, recipe.optimizer.nesterov), (0.001, false));
        let recipe = read("[optimizer]\nkind = \"adamw\"\nlr = 0.01\n[schedule]\nkind = \"one-cycle\"");
        assert_eq!((recipe.optimizer.lr, recipe.optimizer.weight_decay), (0.01, 0.01));
        assert_eq!((recipe.schedule.kind, recipe.schedule.warm_up), (ScheduleKind::OneCycle, 0.3));
        // Setting the same kind again changes nothing.
        let recipe = read("base = \"best\"\n[optimizer]\nkind = \"sgd\"");
        assert_eq!((recipe.optimizer.lr, recipe.optimizer.nesterov), (0.08, true));
        let files = [
            ("a.toml", "base = \"b.toml\"\n[optimizer]\nkind = \"sgd\"\nmomentum = 0"),
            ("b.toml", "[optimizer]\nkind = \"adamw\""),
        ];
        let optimizer = found(&files).1.unwrap().optimizer;
        assert_eq!((optimizer.kind, optimizer.lr, optimizer.nesterov), (OptimizerKind::Sgd, 0.1, false));
    }

    #[test]
    fn what_depends_on_a_key_that_is_switched_off_is_off_too() {
        let recipe = read("[optimizer]\nmomentum = 0.0");
        assert!(!recipe.optimizer.nesterov);
        let files = [("a.toml", "base = \"b.toml\"\nhold_out = 0"), ("b.toml", "patience = 3")];
        assert_eq!(found(&files).1.unwrap().patience, 0);
    }

    /// A built-in recipe's drawing augmentations and outliers suit digits only; the user's own suit the user's images.
    #[test]
    fn for_other_images_only_the_users_own_drawing_augmentations_and_outliers_are_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.toml");
        fs::write(&file, "[augmentation]\nblur = 0.4\n[outliers]\nshare = 0.1").unwrap();
        let find = |name: &str| Recipe::for_data(name, &Overrides::default(), &DataForm::default()).unwrap().0;
        let mine = find(file.to_str().unwrap());
        assert_eq!((mine.augmentation.blur, mine.augmentation.lines, mine.augmentation.rotation), (0.4, 0.0, 10.0));
        assert_eq!((mine.outliers.share, mine.outliers.weight), (0.1, 0.5));
        let quick = find("quick");
        assert!(!quick.augmentation.draws() && quick.augmentation.moves() && quick.outliers.share == 0.0);
        for (table, key) in super::DRAWINGS {
            let digits = super::built_in("quick").unwrap();
            assert!(digits[table][key].as_float().unwrap() > 0.0, "{table}.{key}");
        }
    }

    #[test]
    fn the_normalization_of_a_base_can_be_changed_and_taken_away() {
        let recipe = read("base = \"tutorial\"\nnormalization = \"auto\"");
        assert_eq!(recipe.normalization, None);
        let given = read("base = \"tutorial\"\n[normalization]\nmean = [0.5]").normalization.unwrap();
        assert_eq!((given.mean, given.std), (vec![0.5], vec![0.3081]));
        let given = read("[normalization]\nmean = [0.5]\nstd = [0.25]").normalization.unwrap();
        assert_eq!((given.mean, given.std), (vec![0.5], vec![0.25]));
    }

    #[test]
    fn a_recipe_without_a_name_is_called_as_its_file() {
        for (file, name) in [
            ("mine.toml", "mine"),
            ("my recipe.toml", "my-recipe"),
            ("a.b.toml", "a.b"),
            ("été", "été"),
            ("...toml", "recipe"),
            ("name.toml", "name"),
        ] {
            assert_eq!(found(&[(file, "epochs = 1")]).1.unwrap().name, name);
            assert_eq!(super::name_of(Path::new(file)), name);
        }
        assert_eq!(read("name = \"other\"").name, "other");
    }

    #[test]
    fn files_from_windows_are_read() {
        assert_eq!(read("\u{feff}epochs = 3\r\n[network]\r\nwidth = 0.5\r\n").epochs, 3);
    }
}
