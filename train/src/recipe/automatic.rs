//! What the recipes `photos` and `body` choose from the data: the weights they start from, the batch size, how long the
//! network trains, what is held out, and the weights of the classes.
//!
//! `train/recipes/README.md` documents the rules for users.

use super::{NetworkRecipe, layers};
use crate::pretrained::{self, Pretrained};
use deploy::text::counted;
use models::architecture::Kind;
use models::evaluation::UNEVEN;
use toml::{Table, Value};

/// The built-in recipe for class folders.
pub const PHOTOS: &str = "photos";

/// The built-in recipe for images without labels.
pub const BODY: &str = "body";

/// The rules of a recipe whose keys are chosen from the data.
pub(super) struct Rules {
    /// The keys that are chosen, with their tables.
    keys: &'static [(&'static str, &'static str)],
    /// Batch sizes, and the fitted images from which on they are used.
    batch_sizes: &'static [(usize, usize)],
    /// Fewest steps of a run from random weights. A network needs this many even for a few images.
    steps: usize,
    /// Fewest steps of a run from pretrained weights.
    steps_pretrained: usize,
}

impl Rules {
    /// The rules of a built-in recipe; `None` if it does not depend on the data.
    pub(super) fn of(base: &str) -> Option<Self> {
        match base {
            PHOTOS => Some(Self {
                keys: &[
                    ("", "from"),
                    ("", "hold_out"),
                    ("", "batch_size"),
                    ("", "passes"),
                    ("", "epochs"),
                    ("", "class_weights"),
                ],
                batch_sizes: &[(10_000, 64), (1000, 32), (0, 16)],
                steps: 5000,
                steps_pretrained: 1000,
            }),
            BODY => Some(Self {
                keys: &[("", "batch_size"), ("", "passes"), ("", "epochs")],
                batch_sizes: &[(0, 128)],
                steps: 10_000,
                steps_pretrained: 10_000,
            }),
            _ => None,
        }
    }

    /// Whether a key is chosen; `table` is empty at the top level.
    pub(super) fn choose(&self, table: &str, key: &str) -> bool {
        self.keys.contains(&(table, key))
    }
}

/// One in this many training images of each class is held out, but at most [`MOST_HELD_OUT`]. Sets with fewer than
/// [`FEWEST_TO_HOLD_OUT`] need every image for training.
const HELD_OUT_SHARE: usize = 8;
const MOST_HELD_OUT: usize = 2000;
const FEWEST_TO_HOLD_OUT: usize = 40;

/// Fewest steps of an epoch.
const STEPS_PER_EPOCH: usize = 100;

/// Epochs of a run, at least: more images get more steps.
const FEWEST_EPOCHS: usize = 10;

/// A value that was chosen for a key, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The key's table; empty at the top level.
    pub table: &'static str,
    /// The key's name.
    pub key: &'static str,
    /// The value.
    pub value: Value,
    /// The reason, as the end of a line.
    pub reason: String,
}

/// Chooses the keys that the built-in recipe `base` leaves to the data. `own` returns what the user has set for a table's
/// key: the others then follow from it.
pub(super) fn decide<'a>(
    rules: &Rules,
    base: &'a Table,
    class_sizes: &[usize],
    has_validation: bool,
    own: impl Fn(&str, &str) -> Option<&'a Value>,
) -> Vec<Decision> {
    let set = |table: &str, key: &str| own(table, key).or_else(|| layers::get(base, table, key));
    let mut decisions = Vec::new();
    decisions.extend(rules.choose("", "from").then(|| start(own("", "from"), set)).flatten());
    let pretrained = own("", "from")
        .or(decisions.first().map(|choice| &choice.value))
        .and_then(Value::as_str)
        .is_some_and(|from| from != pretrained::NONE);
    let images: usize = class_sizes.iter().sum();
    let mut decide = |table, key, value: usize, reason: String| -> usize {
        decisions.push(Decision { table, key, value: (value as i64).into(), reason });
        own(table, key).and_then(Value::as_integer).map_or(value, |own| own as usize)
    };
    let held_out = if has_validation || !rules.choose("", "hold_out") {
        0
    } else {
        let (count, reason) = match images / HELD_OUT_SHARE {
            _ if images < FEWEST_TO_HOLD_OUT => (0, format!("fewer than {FEWEST_TO_HOLD_OUT} training images")),
            _ if class_sizes.iter().all(|size| *size < 2) => (0, "every class has only one image".to_owned()),
            count if count > MOST_HELD_OUT => (MOST_HELD_OUT, "enough to calibrate the probabilities".to_owned()),
            count => (count, format!("one in {HELD_OUT_SHARE} of each class")),
        };
        decide("", "hold_out", count, reason)
    };
    let fitted = images.saturating_sub(held_out).max(2);
    let batch = rules.batch_sizes.iter().find(|(from, _)| fitted >= *from).map_or(2, |(_, size)| *size);
    // A few files may turn out to be unreadable.
    let most = fitted.saturating_sub((fitted / 10).max(1)).max(2);
    let batch = decide("", "batch_size", batch.min(most), format!("for {}", counted(fitted, "image"))).max(1);
    let passes = STEPS_PER_EPOCH.div_ceil((fitted / batch).max(1));
    let passes =
        decide("", "passes", passes, format!("at least {} per epoch", counted(STEPS_PER_EPOCH, "step"))).max(1);
    let per_epoch = (fitted * passes / batch).max(1);
    let steps = if pretrained { rules.steps_pretrained } else { rules.steps };
    let epochs = steps.div_ceil(per_epoch).max(FEWEST_EPOCHS);
    decide("", "epochs", epochs, counted(epochs * per_epoch, "step"));
    let (most, least) = (class_sizes.iter().max(), class_sizes.iter().min());
    if let (Some(most), Some(least), true) = (most, least, rules.choose("", "class_weights"))
        && most >= &(UNEVEN as usize * least)
    {
        let reason = format!("classes have from {least} to {most} images");
        decisions.push(Decision { table: "", key: "class_weights", value: "balanced".into(), reason });
    }
    decisions
}

/// The weights to start from: the shipped body, if there is one for the network that the user wants. `value` returns what
/// the user or the recipe has set for a table's key.
fn start<'a>(from: Option<&Value>, value: impl Fn(&str, &str) -> Option<&'a Value>) -> Option<Decision> {
    let kind: Kind = value("network", "arch")?.as_str()?.parse().ok()?;
    let width = value("network", "width")?;
    let width = width.as_float().or(width.as_integer().map(|one| one as f64))?;
    let fits = value("network", "stem_stride")?.as_integer()? == 2 && pretrained::is_shipped(kind, width);
    let is_open = from.and_then(Value::as_str).is_none_or(|from| from == pretrained::BODY);
    let reason = "pretrained weights need fewer images".to_owned();
    (fits && is_open).then(|| Decision { table: "", key: "from", value: pretrained::BODY.into(), reason })
}

/// The network that pretrained weights belong to.
pub(super) fn network_of(pretrained: &Pretrained) -> Vec<Decision> {
    let NetworkRecipe { arch, width, stem_stride, .. } = pretrained.network();
    let reason = format!("that of {}", pretrained.origin.file);
    let decide = |key, value| Decision { table: "network", key, value, reason: reason.clone() };
    vec![
        decide("arch", arch.name().into()),
        decide("width", (*width).into()),
        decide("stem_stride", (*stem_stride as i64).into()),
    ]
}

/// The decisions as a partial recipe.
pub(super) fn to_table(decisions: &[Decision]) -> Table {
    let mut top = Table::new();
    for Decision { table, key, value, .. } in decisions {
        layers::set(&mut top, table, key, value.clone());
    }
    top
}

#[cfg(test)]
mod tests {
    use super::super::{ClassWeights, DataForm, Overrides, Recipe};
    use super::*;

    fn data(classes: &[usize]) -> DataForm {
        DataForm { class_sizes: classes.to_vec(), ..DataForm::default() }
    }

    /// Held-out images, batch size, passes and epochs.
    fn chosen(form: &DataForm) -> [usize; 4] {
        let (recipe, decisions) = Recipe::for_data(PHOTOS, &Overrides::default(), form).unwrap();
        assert!(decisions.iter().all(|choice| Rules::of(PHOTOS).unwrap().choose(choice.table, choice.key)));
        [recipe.hold_out, recipe.batch_size, recipe.passes, recipe.epochs]
    }

    #[test]
    fn a_run_follows_from_the_size_of_the_data() {
        assert_eq!(chosen(&data(&[48; 4])), [24, 16, 10, 10]);
        // Every image counts; 1 step per pass.
        assert_eq!(chosen(&data(&[6; 4])), [0, 16, 100, 10]);
        assert_eq!(chosen(&data(&[1, 1])), [0, 2, 100, 10]);
        assert_eq!(chosen(&data(&[2000; 4])), [1000, 32, 1, 10]);
        assert_eq!(chosen(&data(&[6000; 10])), [2000, 64, 1, 10]);
        assert_eq!(chosen(&data(&[1; 100])), [0, 16, 17, 10]);
        // The validation split is used instead.
        assert_eq!(chosen(&DataForm { has_validation: true, ..data(&[48; 4]) })[..2], [0, 16]);
    }

    #[test]
    fn a_body_learns_from_any_number_of_images() {
        for (images, expected) in [(40, (36, 100, 91)), (5000, (128, 3, 86)), (400_000, (128, 1, 10))] {
            let (recipe, decisions) = Recipe::for_data(BODY, &Overrides::default(), &data(&vec![1; images])).unwrap();
            assert!(decisions.iter().all(|choice| Rules::of(BODY).unwrap().choose(choice.table, choice.key)));
            assert_eq!((recipe.batch_size, recipe.passes, recipe.epochs), expected, "{images} images");
            assert_eq!((recipe.hold_out, &*recipe.from), (0, pretrained::NONE));
            assert!(recipe.augmentation.blur > 0.0);
        }
    }

    /// The start, the width and the epochs.
    fn started(flags: &Overrides) -> (String, f64, usize) {
        let (recipe, _) = Recipe::for_data(PHOTOS, flags, &data(&[48; 4])).unwrap();
        (recipe.from, recipe.network.width, recipe.epochs)
    }

    #[test]
    fn a_network_starts_from_the_shipped_body_if_it_fits() {
        let body = |width| (pretrained::BODY.to_owned(), width, 10);
        let scratch = |width| (pretrained::NONE.to_owned(), width, 48);
        let flags = Overrides::default;
        assert_eq!(started(&flags()), body(0.5));
        assert_eq!(started(&Overrides { width: Some(0.25), ..flags() }), body(0.25));
        assert_eq!(started(&Overrides { width: Some(0.3), ..flags() }), scratch(0.3));
        assert_eq!(started(&Overrides { from: Some("none".to_owned()), ..flags() }), scratch(0.5));
        assert_eq!(started(&Overrides { stem_stride: Some(1), ..flags() }), scratch(0.5));
        assert_eq!(started(&Overrides { epochs: Some(3), ..flags() }).2, 3);
    }

    #[test]
    fn the_network_is_that_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body.safetensors");
        std::fs::write(&file, include_bytes!("../../../models/pretrained/body-25.safetensors")).unwrap();
        let recipe = folder.path().join("mine.toml");
        std::fs::write(&recipe, "base = \"quick\"\nfrom = \"body.safetensors\"\n[network]\nresolution = 96").unwrap();
        let form = data(&[48; 4]);
        let (recipe, decisions) = Recipe::for_data(recipe.to_str().unwrap(), &Overrides::default(), &form).unwrap();
        assert_eq!((&*recipe.from, recipe.network.width), (file.to_str().unwrap(), 0.25));
        // Everything else is as in `quick` already.
        assert_eq!(decisions, []);
        let photos = folder.path().join("photos.toml");
        std::fs::write(&photos, "base = \"photos\"\nfrom = \"body.safetensors\"").unwrap();
        let (recipe, decisions) = Recipe::for_data(photos.to_str().unwrap(), &Overrides::default(), &form).unwrap();
        assert_eq!((recipe.network.width, recipe.epochs), (0.25, 10));
        assert_eq!((decisions[0].key, &*decisions[0].reason), ("width", "that of body.safetensors"));
    }

    #[test]
    fn uneven_classes_are_weighted() {
        for (classes, expected) in [(&[20, 39][..], ClassWeights::None), (&[20, 40], ClassWeights::Balanced)] {
            let (recipe, _) = Recipe::for_data(PHOTOS, &Overrides::default(), &data(classes)).unwrap();
            assert_eq!(recipe.class_weights, expected, "{classes:?}");
        }
    }

    #[test]
    fn what_the_user_sets_is_kept_and_the_rest_follows() {
        let flags = Overrides { batch_size: Some(8), epochs: Some(3), ..Overrides::default() };
        let (recipe, decisions) = Recipe::for_data(PHOTOS, &flags, &data(&[48; 4])).unwrap();
        assert_eq!((recipe.batch_size, recipe.epochs, recipe.passes, recipe.hold_out), (8, 3, 5, 24));
        let keys: Vec<&str> = decisions.iter().map(|choice| choice.key).collect();
        assert_eq!(keys, ["from", "hold_out", "passes"]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.toml");
        std::fs::write(&file, "base = \"photos\"\n[network]\nresolution = 128").unwrap();
        let (recipe, decisions) =
            Recipe::for_data(file.to_str().unwrap(), &Overrides::default(), &data(&[48; 4])).unwrap();
        assert_eq!((&*recipe.name, recipe.network.resolution, recipe.epochs), ("mine", 128, 10));
        assert!(decisions.iter().all(|choice| choice.key != "resolution"));
        // The other recipes do not depend on the size of the data.
        let (recipe, decisions) = Recipe::for_data("best", &Overrides::default(), &data(&[48; 4])).unwrap();
        assert_eq!((recipe.epochs, decisions.len()), (Recipe::find("best").unwrap().epochs, 0));
        assert_eq!((recipe.outliers.share, recipe.augmentation.lines), (0.0, 0.0));
    }
}
