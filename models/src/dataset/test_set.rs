//! Chooses the images to evaluate a model on: everything in a folder, except images the model was trained on.

use super::sample::found;
use super::{Catalogue, Dataset, ReadOptions, ReadSplit};
use crate::card::Input;
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;

/// What is known about a model's training images.
#[derive(Clone, Copy, Debug)]
pub struct Trained<'a> {
    /// Name of the data set.
    pub name: &'a str,
    /// Fingerprints of a few of the images ([`super::sample()`]); empty in files written before they were stored.
    pub sample: &'a [String],
    /// [`Dataset::fingerprint`] of the training images, if known.
    pub fingerprint: Option<&'a str>,
    /// Whether the folder is known to be the one the model was trained on.
    pub own: bool,
    /// Whether near-duplicates were kept on one side of the split into training and test images.
    pub near_duplicates_together: bool,
}

/// Labelled images to evaluate a model on.
#[derive(Debug)]
pub struct TestSet {
    /// The images.
    pub set: Dataset,
    /// The classes that occur in it, in the order of the model's labels.
    pub classes: Vec<String>,
    /// Notes for the user: skipped files, assumptions, and whether the model was trained on some of these images.
    pub notes: Vec<String>,
    /// Description of the images, such as `the test split of photos`.
    which: String,
    /// Whether these are all the images in the folder.
    all: bool,
}

impl TestSet {
    /// Describes the images, of which the first `shown` are used, such as `all 300 images of photos`.
    #[must_use]
    pub fn line(&self, shown: usize) -> String {
        let count = self.set.len();
        let images = if count == 1 { "image" } else { "images" };
        let all = if self.all { format!("all {count} {images} of {}", self.which) } else { self.which.clone() };
        match (shown < count, self.all) {
            (true, true) => format!("the first {shown} of {all}"),
            (true, false) => format!("{all}, the first {shown} of {count} {images}"),
            (false, true) => all,
            (false, false) => format!("{all}, {count} {images}"),
        }
    }
}

/// Reads the images in `folder` to evaluate a model on, for a model with these labels and this input. These are its
/// test split if it has one, otherwise all of its images. If the model was trained on this folder (`trained`), they are
/// only the fifth that was kept for the test. Classes are matched by name.
pub fn test_set<'a>(
    folder: &Path,
    labels: &[String],
    input: &Input,
    trained: Option<Trained>,
    options: impl Into<ReadOptions<'a>>,
) -> Result<TestSet> {
    let options = options.into();
    let mut catalogue = Catalogue::open(folder)?;
    if trained.is_some_and(|trained| trained.own) {
        catalogue = catalogue.renamed();
    }
    let mut notes = catalogue.notes().to_vec();
    let shown = folder.display();
    let (set, which, all) = if let Some(place) = catalogue.test_folder() {
        let ReadSplit { set, notes: of_reading } = catalogue.read(super::Split::Test, labels, input, options)?;
        notes.extend(of_reading);
        let below = place.strip_prefix(folder).ok().filter(|below| !below.as_os_str().is_empty());
        let below = below.map_or_else(String::new, |below| format!(" ({}/)", below.display()));
        (set, format!("the test split of {shown}{below}"), false)
    } else {
        let together = trained.is_none_or(|trained| trained.near_duplicates_together);
        let (ReadSplit { set, notes: of_reading }, is_test) = catalogue.read_all(labels, input, options, together)?;
        notes.extend(of_reading);
        let places = |test: bool| (0..set.len()).filter(|&image| is_test[image] == test).collect::<Vec<_>>();
        let parts = || Ok::<_, anyhow::Error>((set.select(&places(false))?, set.select(&places(true))?));
        let own = match trained {
            // A class with a single image has no test image, so a folder of such classes cannot be split.
            Some(trained) if is_test.contains(&true) && is_test.contains(&false) => {
                let (train, test) = parts()?;
                is_own(&trained, &catalogue, &set, &train, &test, &mut notes).then_some(test)
            }
            _ => None,
        };
        match own {
            Some(test) => (test, format!("the test split (a fifth) of {shown}"), false),
            None => (set, shown.to_string(), true),
        }
    };
    if let Some(known) = trained.and_then(|trained| trained_on(trained.sample, &set)) {
        notes.push(format!(
            "the model was trained on some of these images ({known}): its figures do not show how it does on new images"
        ));
    }
    let present: BTreeSet<usize> = set.labels().iter().copied().collect();
    let classes = present.into_iter().map(|class| labels[class].clone()).collect();
    Ok(TestSet { set, classes, notes, which, all })
}

/// Describes how many images of a model's `sample` are in `set`; `None` if at most a tenth are, as in a set that shares a
/// few images with the training set.
#[must_use]
pub fn trained_on(sample: &[String], set: &Dataset) -> Option<String> {
    let known = found(sample, set);
    (known * 10 > sample.len()).then(|| format!("{known} of {} sampled training images", sample.len()))
}

/// Whether the model was trained on this folder, so that only the images in `test` are new to it.
fn is_own(
    trained: &Trained,
    catalogue: &Catalogue,
    all: &Dataset,
    train: &Dataset,
    test: &Dataset,
    notes: &mut Vec<String>,
) -> bool {
    let Trained { name, sample, fingerprint, own, .. } = *trained;
    if own {
        return true;
    }
    if !sample.is_empty() {
        // If the folder was trained on as a whole, a fifth of the sample is among `test`: 1 of 32 or fewer with a
        // probability of 0.7 %. Adding a few images can move one there.
        return 2 * found(sample, all) >= sample.len() && found(sample, test) <= sample.len() / 32;
    }
    if let Some(fingerprint) = fingerprint {
        return train.fingerprint() == fingerprint;
    }
    if name != catalogue.name() {
        return false;
    }
    notes.push(format!(
        "the model does not say which images it was trained on; {} has the name of its data set, so only the images kept \
         for the test are used",
        catalogue.folder().display()
    ));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::ReadProgress;

    const SILENT: ReadProgress = &|_, _| ();
    use crate::card::Content;
    use crate::dataset::{SplitOptions, Splits, sample};
    use image::{GrayImage, Luma};
    use std::fs;

    /// Writes fifty images of two classes; they differ between seeds.
    fn folder(root: &Path, seed: u32) {
        for class in ["day", "night"] {
            fs::create_dir_all(root.join(class)).unwrap();
            for number in 0..25_u32 {
                let image = GrayImage::from_fn(8, 8, |x, y| {
                    Luma([(x * (31 + 2 * seed) + y * (17 + 2 * u32::from(class == "day")) + number * 7) as u8])
                });
                image.save(root.join(class).join(format!("{number}.png"))).unwrap();
            }
        }
    }

    struct Model {
        labels: Vec<String>,
        input: Input,
        sample: Vec<String>,
        fingerprint: String,
    }

    fn splits(root: &Path) -> Splits {
        let catalogue = Catalogue::open(root).unwrap();
        let (labels, input) = (catalogue.labels().unwrap(), catalogue.input(8, Content::Image).unwrap());
        let choices = SplitOptions { validation: false, together: true };
        Splits::read(&catalogue, &labels, &input, choices, SILENT).unwrap()
    }

    fn model(root: &Path) -> Model {
        let catalogue = Catalogue::open(root).unwrap();
        let (labels, input) = (catalogue.labels().unwrap(), catalogue.input(8, Content::Image).unwrap());
        let set = splits(root).train;
        Model { labels, input, sample: sample(&set), fingerprint: set.fingerprint() }
    }

    #[test]
    fn all_images_are_used_but_for_the_folder_that_was_trained_on() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        folder(&at("data"), 0);
        folder(&at("copy"), 0);
        folder(&at("other/data"), 1);
        let model = model(&at("data"));
        let of = |name: &str, trained: Trained| {
            let root = at(name);
            let set = test_set(&root, &model.labels, &model.input, Some(trained), SILENT).unwrap();
            (set.line(set.set.len()).replace(&*place.path().to_string_lossy(), ""), set.notes.join("\n"))
        };
        let card = Trained {
            name: "data",
            sample: &model.sample,
            fingerprint: None,
            own: false,
            near_duplicates_together: true,
        };
        let all = ("all 50 images of /other/data".to_owned(), String::new());
        let fifth = |name: &str, images: usize| {
            (format!("the test split (a fifth) of /{name}, {images} images"), String::new())
        };
        assert_eq!(
            (of("other/data", card), of("data", card), of("copy", card)),
            (all.clone(), fifth("data", 10), fifth("copy", 10))
        );
        // Trained on every image of the folder: two of the test images are in the sample.
        let sampled = |images: &Dataset, count: usize| sample(images).into_iter().take(count).collect::<Vec<_>>();
        let Splits { train, test, .. } = splits(&at("data"));
        let whole = [sampled(&train, 30), sampled(&test, 2)].concat();
        let (line, note) = of("data", Trained { sample: &whole, ..card });
        assert_eq!(line, "all 50 images of /data");
        assert!(note.contains("(32 of 32 sampled training images)"), "{note}");
        // A card or checkpoint written before samples existed.
        let old = Trained { sample: &[], ..card };
        assert!(of("other/data", old).1.contains("has the name of its data set"));
        assert_eq!(of("copy", old).0, "all 50 images of /copy");
        let checkpoint = Trained { fingerprint: Some(&model.fingerprint), ..old };
        assert_eq!((of("other/data", checkpoint), of("copy", checkpoint)), (all, fifth("copy", 10)));
        // Adding and removing images does not hide that the model was trained on the rest.
        for number in 0..5 {
            fs::rename(at(&format!("other/data/day/{number}.png")), at(&format!("copy/day/new-{number}.png"))).unwrap();
            fs::remove_file(at(&format!("copy/night/{number}.png"))).unwrap();
        }
        assert_eq!(of("copy", card), fifth("copy", 10));
        // After renaming, the test images can no longer be told from the others.
        for number in 0..25 {
            fs::rename(at(&format!("data/day/{number}.png")), at(&format!("data/day/x{number}.png"))).unwrap();
            fs::rename(at(&format!("data/night/{number}.png")), at(&format!("data/night/x{number}.png"))).unwrap();
        }
        let (line, note) = of("data", card);
        assert_eq!(line, "all 50 images of /data");
        assert!(note.contains("(32 of 32 sampled training images)"), "{note}");
    }

    #[test]
    fn a_folder_with_splits_is_judged_on_its_test_split() {
        let place = tempfile::tempdir().unwrap();
        folder(&place.path().join("training"), 0);
        folder(&place.path().join("Testing"), 1);
        let model = model(place.path());
        let set = test_set(place.path(), &model.labels, &model.input, None, SILENT).unwrap();
        assert!(set.line(50).ends_with(" (Testing/), 50 images"), "{}", set.line(50));
        assert!(set.line(20).ends_with(" (Testing/), the first 20 of 50 images"), "{}", set.line(20));
        assert_eq!(set.classes, ["day", "night"]);
    }
}
