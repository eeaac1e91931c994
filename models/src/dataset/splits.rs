//! Reads the splits of a data folder for training, and reports the copies and near-duplicates among its images.

use super::{Catalogue, Dataset, ReadOptions, ReadSplit, Split, duplicates};
use crate::card::Input;
use crate::fingerprint::Fingerprint;
use anyhow::Result;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// Most groups of near-duplicates that a note lists, and most files of each.
const LISTED: usize = 5;

/// How to read the splits.
#[derive(Clone, Copy, Debug)]
pub struct SplitOptions {
    /// Whether to read the validation split, if there is one.
    pub validation: bool,
    /// Whether to keep near-duplicates on one side of every split. Earlier versions did not.
    pub together: bool,
}

/// The splits of a data folder, in memory.
///
/// Near-duplicates of class folders are on one side. A folder without a test split is divided accordingly. Otherwise
/// training images that are near-duplicates of test or validation images are left out, and validation images that are
/// near-duplicates of test images, unless that would remove most of a class. The images of IDX files are published sets,
/// so they stay as they are.
#[derive(Debug)]
pub struct Splits {
    /// Images to train on.
    pub train: Dataset,
    /// Images to choose the best checkpoint by.
    pub validation: Option<Dataset>,
    /// Images for the final evaluation.
    pub test: Dataset,
    /// Notes for the user: files that were skipped or could not be read, and near-duplicates.
    pub notes: Vec<String>,
}

impl Splits {
    /// Reads the splits of `catalogue` as the network's input, with these class names. Fails if a class has no training
    /// image.
    pub fn read<'a>(
        catalogue: &Catalogue,
        labels: &[String],
        input: &Input,
        choices: SplitOptions,
        options: impl Into<ReadOptions<'a>>,
    ) -> Result<Self> {
        let options = options.into();
        let folder = catalogue.folder();
        if catalogue.test_folder().is_none() {
            return Self::divide(catalogue, labels, input, choices.together, options);
        }
        let mut notes = Vec::new();
        let mut read = |split: Split| {
            let reading = catalogue.read(split, labels, input, options)?;
            notes.extend(reading.notes);
            Ok::<_, anyhow::Error>(reading.set)
        };
        let train = read(Split::Train)?;
        let validation =
            (choices.validation && catalogue.has_validation()).then(|| read(Split::Validation)).transpose()?;
        let test = read(Split::Test)?;
        let mut splits = Self { train, validation, test, notes };
        if !catalogue.has_class_folders() {
            splits.report_copies(folder);
        } else if choices.together {
            splits.separate(labels, folder)?;
        }
        Ok(splits)
    }

    /// Reads a folder without a test split.
    fn divide(
        catalogue: &Catalogue,
        labels: &[String],
        input: &Input,
        together: bool,
        options: ReadOptions,
    ) -> Result<Self> {
        let folder = catalogue.folder();
        let (ReadSplit { set, mut notes }, is_test) = catalogue.read_all(labels, input, options, together)?;
        notes.extend(report(&[&set], folder));
        let groups_of = |side: bool| set.groups.iter().zip(&is_test).filter(move |(_, is_test)| **is_test == side);
        let learnt: HashSet<usize> = groups_of(false).map(|(group, _)| *group).collect();
        let resembling = groups_of(true).filter(|(group, _)| learnt.contains(group)).count();
        notes.extend((resembling > 0).then(|| {
            format!(
                "{}: test images that are near-duplicates of training images: {resembling}. Their class has only one \
                 group, so its accuracy does not show how the model does on new images",
                folder.display()
            )
        }));
        let images = |side: bool| (0..is_test.len()).filter(|&image| is_test[image] == side).collect::<Vec<_>>();
        let (test, mut train) = (set.select(&images(true))?, set);
        train.keep(&images(false))?;
        catalogue.expect_every_class(&train, labels)?;
        Ok(Self { train, validation: None, test, notes })
    }

    /// Removes near-duplicates of test images from the other splits, and those of validation images from the training.
    fn separate(&mut self, labels: &[String], folder: &Path) -> Result<()> {
        let mut sides = vec![("test", &mut self.test)];
        sides.extend(self.validation.as_mut().map(|set| ("validation", set)));
        sides.push(("training", &mut self.train));
        let sets: Vec<&Dataset> = sides.iter().map(|(_, set)| &**set).collect();
        let groups = duplicates::groups(&sets);
        let mut rest = &groups[..];
        for (_, set) in &mut sides {
            let (own, others) = rest.split_at(set.len());
            (set.groups, rest) = (own.to_vec(), others);
        }
        self.notes.extend(report(&sides.iter().map(|(_, set)| &**set).collect::<Vec<_>>(), folder));
        let mut seen: HashSet<usize> = HashSet::new();
        let mut earlier = Vec::new();
        for (name, set) in sides {
            let is_like = |image: &usize| seen.contains(&set.groups[*image]);
            let (mut all, mut like) = (vec![0; labels.len()], vec![0; labels.len()]);
            for image in 0..set.len() {
                all[set.labels[image]] += 1;
                like[set.labels[image]] += usize::from(is_like(&image));
            }
            // A class that would lose most of its images keeps them.
            let keeps: Vec<bool> = all.iter().zip(&like).map(|(all, like)| 2 * like > *all).collect();
            let kept: Vec<usize> =
                (0..set.len()).filter(|image| keeps[set.labels[*image]] || !is_like(image)).collect();
            let (removed, others) = (set.len() - kept.len(), earlier.join(" or "));
            let folder = folder.display();
            if removed > 0 {
                self.notes.push(format!(
                    "{folder}: {name} images left out, because they are near-duplicates of {others} images: {removed}"
                ));
            }
            for class in (0..labels.len()).filter(|&class| keeps[class]) {
                self.notes.push(format!(
                    "{folder}: {name} images of {} that are near-duplicates of {others} images: {} of {}. They are used \
                     all the same, so the accuracy of this class does not show how the model does on new images",
                    labels[class], like[class], all[class]
                ));
            }
            seen.extend(set.groups.iter().copied());
            if removed > 0 {
                set.keep(&kept)?;
            }
            earlier.push(name);
        }
        Ok(())
    }

    /// Reports exact copies among the images of IDX files.
    fn report_copies(&mut self, folder: &Path) {
        let fingerprints = |set: &Dataset| -> Vec<u64> {
            let images = set.images.outer_iter();
            images.map(|image| Fingerprint::new(image.as_slice().unwrap_or_default()).spread()).collect()
        };
        let train = fingerprints(&self.train);
        let distinct: HashSet<u64> = train.iter().copied().collect();
        let within = train.len() - distinct.len();
        let across = fingerprints(&self.test).iter().filter(|image| distinct.contains(image)).count();
        if within + across > 0 {
            self.notes.push(format!(
                "{}: {within} training images are copies of others, and {across} test images are copies of training \
                 images; all are used",
                folder.display()
            ));
        }
    }
}

/// A note that lists groups of near-duplicates, first those in several classes; `None` if there are none.
fn report(sets: &[&Dataset], folder: &Path) -> Option<String> {
    let mut groups: BTreeMap<usize, Vec<(&Dataset, usize)>> = BTreeMap::new();
    for set in sets {
        for (image, &group) in set.groups.iter().enumerate() {
            groups.entry(group).or_default().push((set, image));
        }
    }
    let in_classes = |group: &[(&Dataset, usize)]| {
        group.iter().map(|(set, image)| set.labels[*image]).collect::<HashSet<usize>>().len()
    };
    let mut groups: Vec<_> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(in_classes(group)));
    let images: usize = groups.iter().map(Vec::len).sum();
    let mut lines = vec![format!(
        "{}: {images} images are copies or near-duplicates of each other, in {} {}:",
        folder.display(),
        groups.len(),
        if groups.len() == 1 { "group" } else { "groups" }
    )];
    for group in groups.iter().take(LISTED) {
        let name = |(set, image): &(&Dataset, usize)| {
            let file = set.file(*image)?;
            Some(file.strip_prefix(folder).unwrap_or(file).display().to_string())
        };
        let mut names: Vec<String> = group.iter().filter_map(name).collect();
        names.sort_unstable();
        names.truncate(LISTED);
        names.extend((group.len() > LISTED).then(|| format!("and {} more", group.len() - LISTED)));
        let warning = if in_classes(group) > 1 { "  (in different classes: is a label wrong?)" } else { "" };
        lines.push(format!("  {}{warning}", names.join(", ")));
    }
    lines.extend((groups.len() > LISTED).then(|| format!("  and {} more groups", groups.len() - LISTED)));
    (images > 0).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Content;
    use crate::dataset::ReadProgress;
    use image::{Rgb, RgbImage, imageops};
    use std::fs;
    use tempfile::TempDir;

    /// A picture of 64×64 px that differs with `seed`.
    fn picture(seed: u32) -> RgbImage {
        let level = |parts: [u32; 4]| Fingerprint::new(&parts.map(u32::to_le_bytes).concat()).spread() as u8;
        let coarse = RgbImage::from_fn(5, 5, |x, y| Rgb([1, 2, 3].map(|channel| level([seed, channel, x, y]))));
        imageops::resize(&coarse, 64, 64, imageops::FilterType::CatmullRom)
    }

    /// Saves pictures by name and seed. A name that ends in `.jpg` gets a darker one of another size.
    fn folder(files: &[(String, u32)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, seed) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let picture = picture(*seed);
            if name.contains(".jpg") {
                let darker =
                    RgbImage::from_fn(64, 64, |x, y| Rgb(picture.get_pixel(x, y).0.map(|value| value / 6 * 5)));
                imageops::resize(&darker, 48, 48, imageops::FilterType::Triangle).save(path).unwrap();
            } else {
                picture.save(path).unwrap();
            }
        }
        folder
    }

    fn read(folder: &TempDir, together: bool) -> Splits {
        let catalogue = Catalogue::open(folder.path()).unwrap();
        let input = catalogue.input(64, Content::Image).unwrap();
        let choices = SplitOptions { validation: true, together };
        let progress: ReadProgress = &|_, _| ();
        Splits::read(&catalogue, &catalogue.labels().unwrap(), &input, choices, progress).unwrap()
    }

    fn names(set: &Dataset, folder: &TempDir) -> Vec<String> {
        let name = |image| set.file(image).unwrap().strip_prefix(folder.path()).unwrap().display().to_string();
        let mut names: Vec<String> = (0..set.len()).map(name).collect();
        names.sort_unstable();
        names
    }

    /// Ten images per class, two of which have four copies each.
    #[test]
    fn copies_stay_on_one_side_when_a_fifth_is_kept_for_the_test() {
        let mut files = Vec::new();
        for (class, first) in [("cat", 0), ("ox", 100)] {
            files.extend((0..10).map(|number| (format!("{class}/{number}.png"), first + number)));
            files.extend((0..8).map(|number| (format!("{class}/{number}.copy.jpg"), first + number % 2)));
        }
        let folder = folder(&files);
        let splits = read(&folder, true);
        let (train, test) = (names(&splits.train, &folder), names(&splits.test, &folder));
        let original = |name: &String| {
            let (class, number) = name.split_once('/').unwrap();
            let number: u32 = number.split('.').next().unwrap().parse().unwrap();
            format!("{class}/{}", if name.contains(".copy.") { number % 2 } else { number })
        };
        let learnt: HashSet<String> = train.iter().map(original).collect();
        assert!(!test.iter().map(original).any(|name| learnt.contains(&name)), "{test:?}");
        assert_eq!((train.len(), test.len()), (27, 9));
        let note = splits.notes.iter().find(|note| note.contains("near-duplicates")).unwrap();
        assert!(note.contains("20 images are copies or near-duplicates of each other, in 4 groups"), "{note}");
        assert!(note.contains("cat/0.png") && note.contains("cat/4.copy.jpg"), "{note}");

        // Without them the split is that of earlier versions.
        let before = read(&folder, false);
        assert!(before.notes.is_empty(), "{:?}", before.notes);
        let learnt: HashSet<String> = names(&before.train, &folder).iter().map(original).collect();
        assert!(names(&before.test, &folder).iter().map(original).any(|name| learnt.contains(&name)));
    }

    #[test]
    fn copies_of_test_images_are_not_trained_on() {
        let file = |name: &str, seed: u32| (name.to_owned(), seed);
        let folder = folder(&[
            file("train/cat/0.png", 0),
            file("train/cat/1.png", 1),
            file("train/cat/copy.jpg", 5),
            file("train/ox/2.png", 2),
            file("train/ox/3.png", 3),
            file("val/cat/4.png", 4),
            file("val/cat/copy.jpg", 6),
            file("val/ox/7.png", 7),
            file("test/cat/5.png", 5),
            file("test/ox/6.png", 6),
        ]);
        let splits = read(&folder, true);
        assert_eq!(
            names(&splits.train, &folder),
            ["train/cat/0.png", "train/cat/1.png", "train/ox/2.png", "train/ox/3.png"]
        );
        assert_eq!(names(&splits.validation.unwrap(), &folder), ["val/cat/4.png", "val/ox/7.png"]);
        assert_eq!(names(&splits.test, &folder), ["test/cat/5.png", "test/ox/6.png"]);
        let notes = splits.notes.join("\n");
        assert!(
            notes
                .contains("training images left out, because they are near-duplicates of test or validation images: 1"),
            "{notes}"
        );
        assert!(notes.contains("val/cat/copy.jpg  (in different classes"), "{notes}");
    }

    #[test]
    fn a_class_of_copies_is_used_and_the_figures_are_said_to_be_unfair() {
        let files = [("a/1.png", 1), ("a/2.jpg", 1), ("a/3.jpg", 1), ("b/1.png", 4), ("b/2.png", 5), ("b/3.png", 6)];
        let files = files.map(|(name, seed)| (name.to_owned(), seed));
        let splits = read(&folder(&files), true);
        assert_eq!((splits.train.len(), splits.test.len()), (4, 2));
        let notes = splits.notes.join("\n");
        assert!(notes.contains("test images that are near-duplicates of training images: 1"), "{notes}");
        // The same with splits.
        let in_splits =
            |(name, seed): &(String, u32)| [(format!("train/{name}"), *seed), (format!("test/{name}"), *seed)];
        let files: Vec<(String, u32)> = files.iter().flat_map(in_splits).collect();
        let splits = read(&folder(&files), true);
        assert_eq!((splits.train.len(), splits.test.len()), (6, 6));
        let notes = splits.notes.join("\n");
        assert!(notes.contains("training images of a that are near-duplicates of test images: 3 of 3"), "{notes}");
    }
}
