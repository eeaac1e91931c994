//! What the recipe `photos` chooses from the data: the size of the network, how long it trains, and what is held out.
//!
//! `train/recipes/README.md` documents the rules for users.

use super::layers;
use deploy::text::counted;
use models::dataset::Overview;
use models::evaluation::UNEVEN;
use toml::{Table, Value};

/// The built-in recipe whose keys are chosen from the data.
pub const PHOTOS: &str = "photos";

/// The keys that are chosen, with their tables.
pub(super) const CHOSEN: [(&str, &str); 6] = [
    ("", "hold_out"),
    ("", "batch_size"),
    ("", "passes"),
    ("", "epochs"),
    ("network", "resolution"),
    ("", "class_weights"),
];

/// One in this many training images of each class is held out, but at most [`MOST_HELD_OUT`]. Sets with fewer than
/// [`FEWEST_TO_HOLD_OUT`] need every image for training.
const HELD_OUT_SHARE: usize = 8;
const MOST_HELD_OUT: usize = 2000;
const FEWEST_TO_HOLD_OUT: usize = 40;

/// Batch sizes, and the fitted images from which on they are used.
const BATCH_SIZES: [(usize, usize); 3] = [(10_000, 64), (1000, 32), (0, 16)];

/// Steps in a run, at least, and in an epoch. A network needs this many even for a few images.
const STEPS: usize = 2000;
const STEPS_PER_EPOCH: usize = 100;

/// Epochs of a run, at least: more images get more steps.
const FEWEST_EPOCHS: usize = 10;

/// Resolutions, and the shorter sides of the images from which on they are used.
const RESOLUTIONS: [(u32, usize); 2] = [(48, 64), (0, 32)];

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

/// Chooses the keys of the recipe `photos` for a data folder. `own` returns what the user has set for a table's key:
/// the others then follow from it.
pub(super) fn decide(
    overview: &Overview,
    has_validation: bool,
    own: impl Fn(&str, &str) -> Option<i64>,
) -> Vec<Decision> {
    let images: usize = overview.classes.iter().sum();
    let mut decisions = Vec::new();
    let mut decide = |table, key, value: usize, reason: String| -> usize {
        decisions.push(Decision { table, key, value: (value as i64).into(), reason });
        own(table, key).map_or(value, |own| own as usize)
    };
    let held_out = if has_validation {
        0
    } else {
        let (count, reason) = match images / HELD_OUT_SHARE {
            _ if images < FEWEST_TO_HOLD_OUT => (0, format!("fewer than {FEWEST_TO_HOLD_OUT} training images")),
            count if count > MOST_HELD_OUT => (MOST_HELD_OUT, "enough to calibrate the probabilities".to_owned()),
            count => (count, format!("one in {HELD_OUT_SHARE} of each class")),
        };
        decide("", "hold_out", count, reason)
    };
    let fitted = images.saturating_sub(held_out).max(2);
    let batch = BATCH_SIZES.iter().find(|(from, _)| fitted >= *from).map_or(2, |(_, size)| *size);
    // A few files may turn out to be unreadable.
    let most = fitted.saturating_sub((fitted / 10).max(1)).max(2);
    let batch = decide("", "batch_size", batch.min(most), format!("for {}", counted(fitted, "image"))).max(1);
    let passes = STEPS_PER_EPOCH.div_ceil((fitted / batch).max(1));
    let passes =
        decide("", "passes", passes, format!("at least {} per epoch", counted(STEPS_PER_EPOCH, "step"))).max(1);
    let per_epoch = (fitted * passes / batch).max(1);
    let epochs = STEPS.div_ceil(per_epoch).max(FEWEST_EPOCHS);
    decide("", "epochs", epochs, counted(epochs * per_epoch, "step"));
    let side = overview.side;
    let resolution = RESOLUTIONS.iter().find(|(from, _)| side >= *from).map_or(32, |(_, resolution)| *resolution);
    decide("network", "resolution", resolution, format!("the shorter side of the images is {side} px"));
    let (most, least) = (overview.classes.iter().max(), overview.classes.iter().min());
    if let (Some(most), Some(least)) = (most, least)
        && most >= &(UNEVEN as usize * least)
    {
        let reason = format!("classes have from {least} to {most} images");
        decisions.push(Decision { table: "", key: "class_weights", value: "balanced".into(), reason });
    }
    decisions
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

    fn data(classes: &[usize], side: u32) -> DataForm {
        let overview = Some(Overview { classes: classes.to_vec(), side });
        DataForm { are_digits: false, has_validation: false, overview }
    }

    /// Held-out images, batch size, passes, epochs and resolution.
    fn chosen(form: &DataForm) -> [usize; 5] {
        let (recipe, decisions) = Recipe::for_data(PHOTOS, &Overrides::default(), form).unwrap();
        assert!(decisions.iter().all(|choice| CHOSEN.contains(&(choice.table, choice.key))));
        [recipe.hold_out, recipe.batch_size, recipe.passes, recipe.epochs, recipe.network.resolution]
    }

    #[test]
    fn a_run_follows_from_the_size_of_the_data() {
        assert_eq!(chosen(&data(&[48; 4], 200)), [24, 16, 10, 20, 64]);
        // Every image counts; 1 step per pass.
        assert_eq!(chosen(&data(&[6; 4], 60)), [0, 16, 100, 14, 64]);
        assert_eq!(chosen(&data(&[1, 1], 20)), [0, 2, 100, 20, 32]);
        assert_eq!(chosen(&data(&[2000; 4], 47)), [1000, 32, 1, 10, 32]);
        assert_eq!(chosen(&data(&[6000; 10], 48)), [2000, 64, 1, 10, 64]);
        // The validation split is used instead.
        assert_eq!(chosen(&DataForm { has_validation: true, ..data(&[48; 4], 200) })[..2], [0, 16]);
    }

    #[test]
    fn uneven_classes_are_weighted() {
        for (classes, expected) in [(&[20, 39][..], ClassWeights::None), (&[20, 40], ClassWeights::Balanced)] {
            let (recipe, _) = Recipe::for_data(PHOTOS, &Overrides::default(), &data(classes, 200)).unwrap();
            assert_eq!(recipe.class_weights, expected, "{classes:?}");
        }
    }

    #[test]
    fn what_the_user_sets_is_kept_and_the_rest_follows() {
        let flags = Overrides { batch_size: Some(8), epochs: Some(3), ..Overrides::default() };
        let (recipe, decisions) = Recipe::for_data(PHOTOS, &flags, &data(&[48; 4], 200)).unwrap();
        assert_eq!((recipe.batch_size, recipe.epochs, recipe.passes, recipe.hold_out), (8, 3, 5, 24));
        let keys: Vec<&str> = decisions.iter().map(|choice| choice.key).collect();
        assert_eq!(keys, ["hold_out", "passes", "resolution"]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.toml");
        std::fs::write(&file, "base = \"photos\"\n[network]\nresolution = 128").unwrap();
        let (recipe, decisions) =
            Recipe::for_data(file.to_str().unwrap(), &Overrides::default(), &data(&[48; 4], 200)).unwrap();
        assert_eq!((&*recipe.name, recipe.network.resolution, recipe.epochs), ("mine", 128, 20));
        assert!(decisions.iter().all(|choice| choice.key != "resolution"));
        // The other recipes do not depend on the size of the data.
        let (recipe, decisions) = Recipe::for_data("best", &Overrides::default(), &data(&[48; 4], 200)).unwrap();
        assert_eq!((recipe.epochs, decisions.len()), (20, 0));
        assert_eq!((recipe.outliers.share, recipe.augmentation.lines), (0.0, 0.0));
    }
}
