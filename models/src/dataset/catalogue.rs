//! What a data folder holds: its classes, the form of its pictures, and its two parts.

use super::class_folders::{ClassFolders, Picture};
use super::{Dataset, Split, decode, idx_files, labels};
use crate::card::{Content, Input, Polarity};
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Told how many pictures are read, and of how many: reading a folder of photographs takes minutes.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// One part of a data set in memory.
#[derive(Debug)]
pub struct Reading {
    /// The pictures.
    pub set: Dataset,
    /// What somebody should know: which files were skipped or could not be read.
    pub notes: Vec<String>,
}

/// A data folder, listed but not read.
#[derive(Debug)]
pub struct Catalogue {
    name: String,
    folder: PathBuf,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Idx,
    Pictures(ClassFolders),
}

impl Catalogue {
    /// Lists what `folder` holds: IDX files if there are any, otherwise one sub-folder of pictures per class.
    pub fn open(folder: &Path) -> Result<Self> {
        ensure!(
            folder.is_dir(),
            "there is no folder {}: run scripts/setup, or name another one with --data",
            folder.display()
        );
        let form = if idx_files::are_in(folder) { Form::Idx } else { Form::Pictures(ClassFolders::list(folder)?) };
        Ok(Self { name: name(folder), folder: folder.to_owned(), form })
    }

    /// The data set's name, such as `mnist`: its folder's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What somebody should know about the folder: which of its files and folders are not read.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        match &self.form {
            Form::Idx => &[],
            Form::Pictures(folders) => &folders.notes,
        }
    }

    /// What the pictures show: a digit each in the IDX files of MNIST, which its folder's name tells; anything otherwise.
    #[must_use]
    pub fn content(&self) -> Content {
        match self.form {
            Form::Idx if self.name.eq_ignore_ascii_case("mnist") => Content::Digit { polarity: Polarity::LightOnDark },
            _ => Content::Picture,
        }
    }

    /// The names of the classes. Of IDX files they come from `labels.txt` in their folder (one a line), from what is
    /// known of a set of that name, or are the numbers; otherwise they are the sub-folders' names, sorted.
    pub fn labels(&self) -> Result<Vec<String>> {
        let labels = match &self.form {
            Form::Pictures(folders) => folders.classes.clone(),
            Form::Idx => labels::of_idx_files(&self.folder, &self.name, idx_files::classes(&self.folder)?)?,
        };
        ensure!(labels.len() >= 2, "{} holds one class: expected at least two to tell apart", self.folder.display());
        Ok(labels)
    }

    /// What a network of this resolution that is trained on it takes. Pictures from IDX files stay as they are, and the
    /// graph resizes them. Pictures from class folders come in all sizes: they are brought to the resolution when they
    /// are read, in grey if none of the training pictures is stored in colour.
    pub fn input(&self, resolution: usize) -> Result<Input> {
        let (channels, height, width) = match &self.form {
            Form::Idx => {
                let (height, width) = idx_files::size(&self.folder, Split::Train)?;
                (1, height, width)
            }
            Form::Pictures(folders) => {
                let pictures = folders.pictures(&self.folder, Split::Train)?;
                let paths: Vec<&Path> = pictures.iter().map(|picture| picture.path.as_path()).collect();
                (if decode::any_in_colour(&paths) { 3 } else { 1 }, resolution, resolution)
            }
        };
        Ok(Input::new(channels, height, width, self.content()))
    }

    /// Reads one part as a network takes it. Each picture's class is its place in `labels`, which class folders find by
    /// their name: so a model can be judged on a folder that lacks some of its classes.
    pub fn read(&self, split: Split, labels: &[String], input: &Input, progress: Progress) -> Result<Reading> {
        match &self.form {
            Form::Idx => self.read_idx(split, labels, input),
            Form::Pictures(folders) => self.read_pictures(folders, split, labels, input, progress),
        }
    }

    fn read_idx(&self, split: Split, labels: &[String], input: &Input) -> Result<Reading> {
        let set = idx_files::load(&self.folder, split)?;
        let (_, channels, height, width) = set.images().dim();
        let (found, expected) = ([channels, height, width], [input.channels, input.height, input.width]);
        ensure!(
            found == expected,
            "{}: the {} pictures are {found:?} (channels, height, width), but {expected:?} are expected",
            self.folder.display(),
            split.name()
        );
        // A model may know more classes than a test set shows. To learn from, more names are names of something else.
        let classes = if split == Split::Train { idx_files::classes(&self.folder)? } else { set.classes() };
        ensure!(
            classes == labels.len() || (classes < labels.len() && split == Split::Test),
            "{}: the {} labels go up to {}, but there are {} class names",
            self.folder.display(),
            split.name(),
            classes - 1,
            labels.len()
        );
        Ok(Reading { set, notes: Vec::new() })
    }

    fn read_pictures(
        &self,
        folders: &ClassFolders,
        split: Split,
        labels: &[String],
        input: &Input,
        progress: Progress,
    ) -> Result<Reading> {
        let classes = folders.classes.iter().map(|class| {
            labels.iter().position(|label| label == class).with_context(|| {
                format!(
                    "{}: the class {class} is none of the known ones ({})",
                    self.folder.display(),
                    labels::first(labels)
                )
            })
        });
        let classes = classes.collect::<Result<Vec<_>>>()?;
        let listed = folders.pictures(&self.folder, split)?;
        let pictures: Vec<(&Path, usize)> =
            listed.iter().map(|Picture { path, class, .. }| (path.as_path(), classes[*class])).collect();
        let what = format!("{} pictures in {}", split.name(), self.folder.display());
        let reading = decode::read(&what, &pictures, input, progress)?;
        if split == Split::Train {
            let learnt: HashSet<usize> = reading.set.labels().iter().copied().collect();
            let missing = (0..labels.len()).find(|class| !learnt.contains(class));
            if let Some(class) = missing {
                bail!("{what}: there are none of the class {} that can be read", labels[class]);
            }
        }
        Ok(reading)
    }
}

/// The test set that a model is judged on: of the data set in `folder`, as a model with these labels and this input
/// takes it.
pub fn test_set(folder: &Path, labels: &[String], input: &Input, progress: Progress) -> Result<Reading> {
    let catalogue = Catalogue::open(folder)?;
    let Reading { set, notes } = catalogue.read(Split::Test, labels, input, progress)?;
    Ok(Reading { set, notes: [catalogue.notes(), &notes].concat() })
}

/// The folder's own name, also where it is reached through a link; of `.` that of the folder it stands for.
fn name(folder: &Path) -> String {
    let resolved = || folder.canonicalize().ok()?.file_name().map(ToOwned::to_owned);
    let name = folder.file_name().map(ToOwned::to_owned).or_else(resolved);
    name.map_or_else(|| "data".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture;
    use image::{GrayImage, Luma, RgbImage};
    use ndarray::Axis;
    use std::fs;

    fn silent() -> Progress<'static> {
        &|_, _| ()
    }

    /// A set of three grey 2×2 pictures to learn from and one for the test, of the classes 0, 1 and 3.
    fn idx(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let write = |name: &str, extents: &[u32], data: &[u8]| {
            let mut bytes = vec![0, 0, 8, u8::try_from(extents.len()).unwrap()];
            bytes.extend(extents.iter().flat_map(|extent| extent.to_be_bytes()));
            bytes.extend(data);
            fs::write(folder.join(name), bytes).unwrap();
        };
        write("train-images-idx3-ubyte", &[3, 2, 2], &[7; 12]);
        write("train-labels-idx1-ubyte", &[3], &[0, 1, 0]);
        write("t10k-images-idx3-ubyte", &[1, 2, 2], &[9; 4]);
        write("t10k-labels-idx1-ubyte", &[1], &[3]);
    }

    /// Grey pictures of many sizes in two class folders, ten each.
    fn pictures(folder: &Path) {
        for (class, grey) in [("day", 200), ("night", 10)] {
            fs::create_dir_all(folder.join(class)).unwrap();
            for number in 0..10 {
                let picture = GrayImage::from_fn(20 + number, 15, |x, y| Luma([grey + (x + y) as u8]));
                let ending = if number % 2 == 0 { "png" } else { "jpg" };
                picture.save(folder.join(class).join(format!("{number}.{ending}"))).unwrap();
            }
        }
    }

    #[test]
    fn idx_pictures_keep_their_size_and_must_fit_the_model() {
        let folder = tempfile::tempdir().unwrap();
        idx(folder.path());
        let catalogue = Catalogue::open(folder.path()).unwrap();
        let (labels, input) = (catalogue.labels().unwrap(), catalogue.input(64).unwrap());
        assert_eq!(labels, ["0", "1", "2", "3"]);
        assert_eq!((input.channels, input.height, input.width), (1, 2, 2));
        assert_eq!(test_set(folder.path(), &labels, &input, silent()).unwrap().set.labels(), [3]);
        let fails = |labels: &[String], input: &Input| {
            test_set(folder.path(), labels, input, silent()).unwrap_err().to_string()
        };
        let message = fails(&labels[..2], &input);
        assert!(message.contains("test labels go up to 3, but there are 2 class names"), "{message}");
        let more = [&labels[..], &["4".to_owned()]].concat();
        assert!(test_set(folder.path(), &more, &input, silent()).is_ok());
        let message = catalogue.read(Split::Train, &more, &input, silent()).unwrap_err().to_string();
        assert!(message.contains("train labels go up to 3, but there are 5 class names"), "{message}");
        let message = fails(&labels, &Input { channels: 3, ..input });
        assert!(message.contains("[1, 2, 2] (channels, height, width), but [3, 2, 2] are expected"), "{message}");
    }

    /// What training reads is what prediction makes of the same file.
    #[test]
    fn pictures_are_read_as_they_are_predicted() {
        let folder = tempfile::tempdir().unwrap();
        pictures(folder.path());
        let catalogue = Catalogue::open(folder.path()).unwrap();
        let (labels, input) = (catalogue.labels().unwrap(), catalogue.input(12).unwrap());
        assert_eq!(labels, ["day", "night"]);
        assert_eq!((input.channels, input.height, input.width, input.content), (1, 12, 12, Content::Picture));
        let Form::Pictures(folders) = &catalogue.form else { panic!("{catalogue:?}") };
        for (split, count) in [(Split::Train, 16), (Split::Test, 4)] {
            let Reading { set, notes } = catalogue.read(split, &labels, &input, silent()).unwrap();
            assert!(notes.is_empty(), "{notes:?}");
            assert_eq!(set.images().dim(), (count, 1, 12, 12));
            let files = folders.pictures(folder.path(), split).unwrap();
            for ((file, found), &label) in files.iter().zip(set.images().axis_iter(Axis(0))).zip(set.labels()) {
                assert_eq!(found, picture::Reader::default().read(&file.path, &input).unwrap());
                assert!(file.path.starts_with(folder.path().join(&labels[label])));
            }
        }
        let again = Catalogue::open(folder.path()).unwrap().read(Split::Train, &labels, &input, silent()).unwrap();
        let once = catalogue.read(Split::Train, &labels, &input, silent()).unwrap();
        assert_eq!(again.set.fingerprint(), once.set.fingerprint());
    }

    #[test]
    fn a_picture_in_colour_makes_three_channels() {
        let folder = tempfile::tempdir().unwrap();
        pictures(folder.path());
        for number in 10..15 {
            RgbImage::new(9, 9).save(folder.path().join(format!("day/{number}.png"))).unwrap();
        }
        assert_eq!(Catalogue::open(folder.path()).unwrap().input(12).unwrap().channels, 3);
    }

    #[test]
    fn class_folders_find_their_place_among_a_models_labels_by_name() {
        let folder = tempfile::tempdir().unwrap();
        pictures(folder.path());
        let input = Catalogue::open(folder.path()).unwrap().input(8).unwrap();
        let labels = ["night", "dusk", "day"].map(str::to_owned);
        let labels_found = test_set(folder.path(), &labels, &input, silent()).unwrap().set.labels().to_vec();
        assert_eq!([0, 1, 2].map(|class| labels_found.iter().filter(|&&label| label == class).count()), [2, 0, 2]);
        let message = test_set(folder.path(), &labels[..2], &input, silent()).unwrap_err().to_string();
        assert!(message.contains("the class day is none of the known ones (night, dusk)"), "{message}");
        // To learn from, no class may be without pictures.
        let catalogue = Catalogue::open(folder.path()).unwrap();
        let message = catalogue.read(Split::Train, &labels, &input, silent()).unwrap_err().to_string();
        assert!(message.contains("none of the class dusk"), "{message}");
    }

    #[test]
    fn a_class_by_itself_cannot_be_learnt() {
        let folder = tempfile::tempdir().unwrap();
        pictures(folder.path());
        fs::remove_dir_all(folder.path().join("day")).unwrap();
        let message = Catalogue::open(folder.path()).unwrap().labels().unwrap_err().to_string();
        assert!(message.contains("holds one class"), "{message}");
    }

    /// Debian's package `dataset-fashion-mnist`.
    #[test]
    fn fashion_mnist_is_read_as_debian_ships_it() {
        let folder = Path::new("/usr/share/datasets/fashion-mnist");
        if !folder.is_dir() {
            println!("skipped: Fashion-MNIST is not here (apt-get install dataset-fashion-mnist)");
            return;
        }
        let catalogue = Catalogue::open(folder).unwrap();
        let (labels, input) = (catalogue.labels().unwrap(), catalogue.input(64).unwrap());
        assert_eq!((catalogue.name(), input.content), ("fashion-mnist", Content::Picture));
        assert_eq!((labels.len(), labels[5].as_str()), (10, "Sandal"));
        for (split, each) in [(Split::Train, 6000), (Split::Test, 1000)] {
            let set = catalogue.read(split, &labels, &input, silent()).unwrap().set;
            assert_eq!(set.images().dim(), (10 * each, 1, 28, 28));
            for class in 0..10 {
                assert_eq!(set.labels().iter().filter(|&&label| label == class).count(), each);
            }
        }
    }
}
