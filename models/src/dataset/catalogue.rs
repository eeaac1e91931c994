//! The contents of a data folder: its classes, the format of its images, and its splits.

use super::class_folders::{ClassFolders, ImagePath, TestSource};
use super::labels::{Names, UnknownClasses};
use super::{Dataset, Split, decode, duplicates, idx_files, labels};
use crate::card::{Content, Input, Polarity};
use crate::digit::Reading;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization;

/// Called with the number of images read so far and their total. Reading a folder of photographs takes minutes.
pub type ReadProgress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// Called with all readings of an image to choose one. Each thread that reads images calls it.
pub type Choose<'a> = &'a (dyn Fn(Vec<Reading>) -> Result<Reading> + Sync);

/// How image files are read. From a [`ReadProgress`] alone, the most plausible reading of each image is taken.
#[derive(Clone, Copy)]
pub struct ReadOptions<'a> {
    /// Called after each image.
    pub progress: ReadProgress<'a>,
    /// Chooses one of the readings of an image.
    pub choose: Choose<'a>,
}

impl<'a> From<ReadProgress<'a>> for ReadOptions<'a> {
    fn from(progress: ReadProgress<'a>) -> Self {
        Self { progress, choose: &|mut readings| Ok(readings.swap_remove(0)) }
    }
}

impl<'a, F: Fn(usize, usize) + Sync> From<&'a F> for ReadOptions<'a> {
    fn from(progress: &'a F) -> Self {
        (progress as ReadProgress).into()
    }
}

/// One split of a data set, in memory.
#[derive(Debug)]
pub struct ReadSplit {
    /// The images.
    pub set: Dataset,
    /// Notes for the user: files that were skipped or could not be read.
    pub notes: Vec<String>,
}

/// A data folder whose files have been listed but not read.
#[derive(Debug)]
pub struct Catalogue {
    name: String,
    folder: PathBuf,
    form: Form,
    renamed: bool,
}

#[derive(Debug)]
enum Form {
    Idx,
    Folders(ClassFolders),
}

impl Catalogue {
    /// Lists the contents of `folder`: IDX files if there are any, otherwise one sub-folder of images per class.
    pub fn open(folder: &Path) -> Result<Self> {
        ensure!(
            folder.is_dir(),
            "{}: folder not found: expected a data set (IDX files, or a sub-folder of images per class); name it with \
             --data",
            folder.display()
        );
        let form = if idx_files::are_in(folder) { Form::Idx } else { Form::Folders(ClassFolders::list(folder)?) };
        Ok(Self { name: name(folder), folder: folder.to_owned(), form, renamed: false })
    }

    /// Allows the model's class names to differ from those of the IDX files: names that do not match are then matched
    /// by number. Otherwise they are an error.
    #[must_use]
    pub fn renamed(self) -> Self {
        Self { renamed: true, ..self }
    }

    /// Name of the data set, such as `mnist`: the name of its folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Path of the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Notes for the user: files and folders that will not be read.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        match &self.form {
            Form::Idx => &[],
            Form::Folders(folders) => &folders.notes,
        }
    }

    /// What the images show, as far as it can be detected: digits if they are the MNIST training images, anything
    /// otherwise. Fails if the IDX files cannot be read.
    pub fn content(&self) -> Result<Content> {
        Ok(match self.form {
            Form::Idx if idx_files::are_mnist(&self.folder)? => Content::Digit { polarity: Polarity::LightOnDark },
            _ => Content::Image,
        })
    }

    /// The content of IDX images that the user has declared to be digits; measures their polarity. Fails for class
    /// folders, whose images cannot be declared digits.
    pub fn digits(&self) -> Result<Content> {
        ensure!(
            matches!(self.form, Form::Idx),
            "{} contains image files: only the images in IDX files can be declared digits",
            self.folder.display()
        );
        Ok(Content::Digit { polarity: idx_files::load(&self.folder, Split::Train)?.polarity() })
    }

    /// Whether the images are in class folders, not in IDX files.
    #[must_use]
    pub fn has_class_folders(&self) -> bool {
        matches!(self.form, Form::Folders(_))
    }

    /// Whether the folder has a validation split.
    #[must_use]
    pub fn has_validation(&self) -> bool {
        matches!(&self.form, Form::Folders(folders) if folders.has_validation())
    }

    /// The folder of the test images; `None` if a fifth of each class is kept for the test instead.
    #[must_use]
    pub fn test_folder(&self) -> Option<&Path> {
        match &self.form {
            Form::Idx => Some(&self.folder),
            Form::Folders(folders) => match &folders.test_source {
                TestSource::Folder(folder) => Some(folder),
                TestSource::Fifth => None,
            },
        }
    }

    /// The class names. For IDX files they come from `labels.txt` beside them (one per line) or from a built-in list
    /// for known data sets; otherwise they are the numbers that occur. For class folders they are the folder names,
    /// sorted. Fails if there are fewer than two.
    pub fn labels(&self) -> Result<Vec<String>> {
        let labels = match &self.form {
            Form::Folders(folders) => folders.classes.clone(),
            Form::Idx => match self.names()? {
                Names::Given(names) => names,
                Names::Numbers => {
                    let splits = [Split::Train, Split::Test].map(|split| idx_files::labels(&self.folder, split));
                    let [train, test] = splits;
                    let used: BTreeSet<u8> = train?.into_iter().chain(test?).flatten().collect();
                    used.into_iter().map(|label| label.to_string()).collect()
                }
            },
        };
        ensure!(
            labels.len() >= 2,
            "{} contains one class: expected at least two{}",
            self.folder.display(),
            self.nested().map_or_else(String::new, |folder| format!(
                ". If the sub-folders of {0} are the classes, name {0} as the folder",
                folder.display()
            ))
        );
        Ok(labels)
    }

    /// The folder whose sub-folders contain all images, as those of a class with sub-folders do.
    fn nested(&self) -> Option<PathBuf> {
        let Form::Folders(folders) = &self.form else { return None };
        let all = folders.all();
        let parents: BTreeSet<&Path> = all.iter().filter_map(|image| image.path.parent()).collect();
        let above: BTreeSet<&Path> = parents.iter().filter_map(|parent| parent.parent()).collect();
        (parents.len() >= 2 && above.len() == 1).then(|| above.first().map(|folder| folder.to_path_buf())).flatten()
    }

    /// Number of training images of each class that has some, in the order of the classes.
    pub fn class_sizes(&self) -> Result<Vec<usize>> {
        let classes: Vec<usize> = match &self.form {
            Form::Folders(folders) => {
                folders.images(&self.folder, Split::Train)?.iter().map(|image| image.class).collect()
            }
            Form::Idx => {
                let labels = idx_files::labels(&self.folder, Split::Train)?.unwrap_or_default();
                labels.into_iter().map(usize::from).collect()
            }
        };
        let mut sizes = BTreeMap::new();
        for class in classes {
            *sizes.entry(class).or_insert(0) += 1;
        }
        Ok(sizes.into_values().collect())
    }

    fn names(&self) -> Result<Names> {
        Names::of_idx_files(&self.folder, idx_files::labels(&self.folder, Split::Train)?.as_deref())
    }

    /// The input of a network trained on this folder. IDX images keep their size, and the graph resizes them. Images in
    /// class folders are resized to `resolution` when they are read. They become grey if no training image is stored in
    /// colour, otherwise RGB.
    pub fn input(&self, resolution: usize, content: Content) -> Result<Input> {
        let (channels, height, width) = match &self.form {
            Form::Idx => {
                let (height, width) = idx_files::size(&self.folder, Split::Train)?;
                (1, height, width)
            }
            Form::Folders(folders) => {
                let images = folders.images(&self.folder, Split::Train)?;
                let paths: Vec<&Path> = images.iter().map(|image| image.path.as_path()).collect();
                (if decode::any_in_colour(&paths) { 3 } else { 1 }, resolution, resolution)
            }
        };
        Ok(Input::new(channels, height, width, content))
    }

    /// Reads one split as the network's input. Classes are matched by name: a label is an index into `labels`. For
    /// evaluation the folder may lack some of the classes; the training split must have an image of each.
    pub fn read<'a>(
        &self,
        split: Split,
        labels: &[String],
        input: &Input,
        options: impl Into<ReadOptions<'a>>,
    ) -> Result<ReadSplit> {
        let reading = match &self.form {
            Form::Idx => self.read_idx(split, labels, input),
            Form::Folders(folders) => {
                let listed = folders.images(&self.folder, split)?;
                let what = format!("{} images in {}", split.name(), self.folder.display());
                self.read_images(folders, listed, &what, labels, input, options.into())
            }
        }?;
        if split == Split::Train {
            self.expect_every_class(&reading.set, labels)?;
        }
        Ok(reading)
    }

    /// Fails if the training images `train` have none of one of the classes.
    pub(super) fn expect_every_class(&self, train: &Dataset, labels: &[String]) -> Result<()> {
        let learnt: BTreeSet<usize> = train.labels().iter().copied().collect();
        let missing: Vec<String> =
            (0..labels.len()).filter(|class| !learnt.contains(class)).map(|class| labels[class].clone()).collect();
        ensure!(
            missing.is_empty(),
            "{}: these classes have no readable training image: {}",
            self.folder.display(),
            labels::listed(&missing)
        );
        Ok(())
    }

    /// Reads all images of a folder that keeps a fifth of each class for the test. Also returns, for each image,
    /// whether it is a test image. Unless `together` is false, near-duplicates are on one side.
    pub(super) fn read_all(
        &self,
        labels: &[String],
        input: &Input,
        options: ReadOptions,
        together: bool,
    ) -> Result<(ReadSplit, Vec<bool>)> {
        let Form::Folders(folders) = &self.form else {
            bail!("{} has its own test split", self.folder.display());
        };
        let what = format!("images in {}", self.folder.display());
        let mut reading = self.read_images(folders, &folders.all(), &what, labels, input, options)?;
        let test: BTreeSet<&Path> =
            folders.images(&self.folder, Split::Test)?.iter().map(|image| image.path.as_path()).collect();
        let set = &mut reading.set;
        let planned: Vec<bool> =
            (0..set.len()).map(|image| set.file(image).is_some_and(|file| test.contains(file))).collect();
        if !together {
            return Ok((reading, planned));
        }
        let groups = duplicates::groups(&[set]);
        let mut due = vec![0; labels.len()];
        for (&label, is_test) in set.labels().iter().zip(&planned) {
            due[label] += usize::from(*is_test);
        }
        let planned_images = |test: bool| (0..set.len()).filter(|&image| planned[image] == test).collect::<Vec<_>>();
        let order = [planned_images(true), planned_images(false)].concat();
        let is_test = duplicates::choose(&order, set.labels(), &groups, due);
        set.groups = groups;
        Ok((reading, is_test))
    }

    fn read_idx(&self, split: Split, labels: &[String], input: &Input) -> Result<ReadSplit> {
        let set = idx_files::load(&self.folder, split)?;
        let (_, channels, height, width) = set.images().dim();
        let (found, expected) = ([channels, height, width], [input.channels, input.height, input.width]);
        ensure!(
            found == expected,
            "{}: the {} images are {found:?} (channels, height, width): expected {expected:?}",
            self.folder.display(),
            split.name()
        );
        let (classes, notes) = self.classes_of_numbers(&set, labels)?;
        Ok(ReadSplit { set: set.with_labels(&classes), notes })
    }

    /// For each number in the IDX labels, its index in `labels`. Also returns notes for the user.
    fn classes_of_numbers(&self, set: &Dataset, labels: &[String]) -> Result<(Vec<usize>, Vec<String>)> {
        let folder = self.folder.display();
        let used: BTreeSet<usize> = set.labels().iter().copied().collect();
        let names = self.names()?;
        let mut classes: Vec<usize> = (0..set.classes()).collect();
        let mut unknown = Vec::new();
        for &number in &used {
            let name = names.name(number).with_context(|| folder.to_string())?;
            match labels.iter().position(|label| *label == name) {
                Some(class) => classes[number] = class,
                None => unknown.push(name),
            }
        }
        if unknown.is_empty() {
            return Ok((classes, Vec::new()));
        }
        let are_numbers = names == Names::Numbers;
        let none_is_number = labels.iter().all(|label| label.parse::<usize>().is_err());
        ensure!(self.renamed || (are_numbers && none_is_number), UnknownClasses::new(&self.folder, &unknown, labels));
        ensure!(
            set.classes() <= labels.len(),
            "{folder}: the labels go up to {}, but there are {} class names ({})",
            set.classes() - 1,
            labels.len(),
            labels::first(labels)
        );
        let note = format!(
            "{folder} has no labels.txt: its labels are taken as indices into the model's classes (0: {}, 1: {}, …)",
            labels[0],
            labels.get(1).map_or("", String::as_str)
        );
        Ok(((0..set.classes()).collect(), if self.renamed { Vec::new() } else { vec![note] }))
    }

    fn read_images(
        &self,
        folders: &ClassFolders,
        listed: &[ImagePath],
        what: &str,
        labels: &[String],
        input: &Input,
        options: ReadOptions,
    ) -> Result<ReadSplit> {
        // Labels from elsewhere may be written in another Unicode form.
        let names: Vec<String> = labels.iter().map(|label| label.nfc().collect()).collect();
        let places: Vec<Option<usize>> =
            folders.classes.iter().map(|class| names.iter().position(|name| name == class)).collect();
        let unknown = folders.classes.iter().zip(&places).filter(|(_, place)| place.is_none());
        let unknown: Vec<String> = unknown.map(|(class, _)| class.clone()).collect();
        ensure!(unknown.is_empty(), UnknownClasses::new(&self.folder, &unknown, labels));
        let images: Vec<(&Path, usize)> = listed
            .iter()
            .map(|ImagePath { path, class, .. }| (path.as_path(), places[*class].unwrap_or_default()))
            .collect();
        decode::read(what, &images, input, options)
    }
}

/// The name of the data set in a folder: the last component of the path, even if it is a symlink; for `.` the name of the
/// current folder.
#[must_use]
pub fn name(folder: &Path) -> String {
    let resolved = || folder.canonicalize().ok()?.file_name().map(ToOwned::to_owned);
    let name = folder.file_name().map(ToOwned::to_owned).or_else(resolved);
    name.map_or_else(|| "data".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::test_set;
    use crate::image_file;
    use image::{GrayImage, Luma, RgbImage};
    use ndarray::Axis;
    use std::fs;

    fn silent() -> ReadProgress<'static> {
        &|_, _| ()
    }

    #[test]
    fn the_training_images_of_each_class_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["train/a/1.png", "train/a/2.png", "train/a/3.png", "train/b/4.png", "test/a/1.png"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            RgbImage::new(9, 9).save(path).unwrap();
        }
        assert_eq!(Catalogue::open(folder.path()).unwrap().class_sizes().unwrap(), [3, 1]);
        let numbers = tempfile::tempdir().unwrap();
        idx(numbers.path());
        assert_eq!(Catalogue::open(numbers.path()).unwrap().class_sizes().unwrap(), [2, 1]);
    }

    /// Writes an IDX data set of grey 2×2 images: three for training and one for the test, with the classes 0, 1 and 3.
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

    /// Writes grey images of various sizes into two class folders, ten each.
    fn images(folder: &Path) {
        for (class, grey) in [("day", 200), ("night", 10)] {
            fs::create_dir_all(folder.join(class)).unwrap();
            for number in 0..10 {
                let image = GrayImage::from_fn(20 + number, 15, |x, y| Luma([grey + (x + y) as u8]));
                let ending = if number % 2 == 0 { "png" } else { "jpg" };
                image.save(folder.join(class).join(format!("{number}.{ending}"))).unwrap();
            }
        }
    }

    fn read_test(folder: &Path, labels: &[String], input: &Input) -> Result<Dataset> {
        Ok(test_set(folder, labels, input, None, silent())?.set)
    }

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn idx_images_keep_their_size_and_must_fit_the_model() {
        let folder = tempfile::tempdir().unwrap();
        idx(folder.path());
        let catalogue = Catalogue::open(folder.path()).unwrap();
        let (labels, input) = (catalogue.labels().unwrap(), catalogue.input(64, Content::Image).unwrap());
        // Numbers that do not occur are not classes.
        assert_eq!(labels, ["0", "1", "3"]);
        assert_eq!((input.channels, input.height, input.width), (1, 2, 2));
        assert_eq!(read_test(folder.path(), &labels, &input).unwrap().labels(), [2]);
        let fails = |labels: &[String], input: &Input| read_test(folder.path(), labels, input).unwrap_err().to_string();
        let message = fails(&labels[..2], &input);
        assert!(message.ends_with("unknown classes: 3; expected some of 0, 1"), "{message}");
        let message = catalogue.read(Split::Train, &labels, &input, silent()).unwrap_err().to_string();
        assert!(message.contains("no readable training image: 3"), "{message}");
        let message = fails(&labels, &Input { channels: 3, ..input });
        assert!(message.contains("[1, 2, 2] (channels, height, width): expected [3, 2, 2]"), "{message}");
    }

    #[test]
    fn idx_labels_find_their_place_by_name() {
        let folder = tempfile::tempdir().unwrap();
        idx(folder.path());
        let input = Catalogue::open(folder.path()).unwrap().input(64, Content::Image).unwrap();
        let read = |labels: &[&str]| test_set(folder.path(), &strings(labels), &input, None, silent());
        // Without class names, and if no label is a number, the numbers are indices; a note says so.
        let set = read(&["a", "b", "c", "d"]).unwrap();
        assert_eq!((set.set.labels(), set.notes.len()), (&[3][..], 1));
        assert!(set.notes[0].contains("no labels.txt") && set.notes[0].contains("(0: a, 1: b, …)"), "{:?}", set.notes);
        assert!(read(&["a", "b"]).unwrap_err().to_string().contains("go up to 3, but there are 2 class names (a, b)"));
        assert_eq!(read(&["3", "2", "1", "0"]).unwrap().set.labels(), [0]);

        fs::write(folder.path().join("labels.txt"), "w\nx\ny\nz\n").unwrap();
        let set = read(&["z", "y", "x", "w"]).unwrap();
        assert_eq!((set.set.labels(), set.notes.len()), (&[0][..], 0));
        assert_eq!(set.classes, ["z"]);
        let message = read(&["a", "b", "c", "d"]).unwrap_err().to_string();
        assert!(message.ends_with("unknown classes: z; expected some of a, b, c, d"), "{message}");
        // The model may have been trained with other class names.
        let renamed = Catalogue::open(folder.path()).unwrap().renamed();
        let found = renamed.read(Split::Test, &strings(&["a", "b", "c", "d"]), &input, silent()).unwrap();
        assert_eq!(found.set.labels(), [3]);
        fs::write(folder.path().join("labels.txt"), "w\nx\ny\n").unwrap();
        let message = format!("{:#}", read(&["w", "x", "y"]).unwrap_err());
        assert!(message.contains(": label 3 has no name: labels.txt names 3 classes"), "{message}");
    }

    #[test]
    fn digits_are_declared_and_their_polarity_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("mnist");
        idx(&root);
        let catalogue = Catalogue::open(&root).unwrap();
        // A folder's name says nothing about the images.
        assert_eq!(catalogue.content().unwrap(), Content::Image);
        assert_eq!(catalogue.digits().unwrap(), Content::Digit { polarity: Polarity::LightOnDark });
        let path = root.join("train-images-idx3-ubyte");
        let light = fs::read(&path).unwrap()[..16].iter().copied().chain([250; 12]).collect::<Vec<u8>>();
        fs::write(path, light).unwrap();
        assert_eq!(catalogue.digits().unwrap(), Content::Digit { polarity: Polarity::DarkOnLight });
        images(folder.path().join("files").as_path());
        let message = Catalogue::open(&folder.path().join("files")).unwrap().digits().unwrap_err().to_string();
        assert!(message.contains("only the images in IDX files"), "{message}");
    }

    /// Training and prediction prepare a file identically.
    #[test]
    fn images_are_read_as_they_are_predicted() {
        let folder = tempfile::tempdir().unwrap();
        images(folder.path());
        let catalogue = Catalogue::open(folder.path()).unwrap();
        let (labels, input) = (catalogue.labels().unwrap(), catalogue.input(12, Content::Image).unwrap());
        assert_eq!(labels, ["day", "night"]);
        assert_eq!((input.channels, input.height, input.width, input.content), (1, 12, 12, Content::Image));
        let Form::Folders(folders) = &catalogue.form else { panic!("{catalogue:?}") };
        for (split, count) in [(Split::Train, 16), (Split::Test, 4)] {
            let ReadSplit { set, notes } = catalogue.read(split, &labels, &input, silent()).unwrap();
            assert!(notes.is_empty(), "{notes:?}");
            assert_eq!(set.images().dim(), (count, 1, 12, 12));
            let files = folders.images(folder.path(), split).unwrap();
            for ((file, found), &label) in files.iter().zip(set.images().axis_iter(Axis(0))).zip(set.labels()) {
                assert_eq!(found, image_file::Reader::default().read(&file.path, &input).unwrap());
                assert!(file.path.starts_with(folder.path().join(&labels[label])));
            }
        }
        let again = Catalogue::open(folder.path()).unwrap().read(Split::Train, &labels, &input, silent()).unwrap();
        let once = catalogue.read(Split::Train, &labels, &input, silent()).unwrap();
        assert_eq!(again.set.fingerprint(), once.set.fingerprint());
    }

    #[test]
    fn an_image_in_colour_makes_three_channels() {
        let folder = tempfile::tempdir().unwrap();
        images(folder.path());
        for number in 10..15 {
            RgbImage::new(9, 9).save(folder.path().join(format!("day/{number}.png"))).unwrap();
        }
        assert_eq!(Catalogue::open(folder.path()).unwrap().input(12, Content::Image).unwrap().channels, 3);
    }

    #[test]
    fn class_folders_find_their_place_among_a_models_labels_by_name() {
        let folder = tempfile::tempdir().unwrap();
        images(folder.path());
        let input = Catalogue::open(folder.path()).unwrap().input(8, Content::Image).unwrap();
        let labels = ["night", "dusk", "day"].map(str::to_owned);
        let labels_found = read_test(folder.path(), &labels, &input).unwrap().labels().to_vec();
        assert_eq!([0, 1, 2].map(|class| labels_found.iter().filter(|&&label| label == class).count()), [10, 0, 10]);
        let message = read_test(folder.path(), &labels[1..2], &input).unwrap_err().to_string();
        assert!(message.ends_with("unknown classes: day, night; expected some of dusk"), "{message}");
        // Training needs images of every class.
        let catalogue = Catalogue::open(folder.path()).unwrap();
        let message = catalogue.read(Split::Train, &labels, &input, silent()).unwrap_err().to_string();
        assert!(message.contains("no readable training image: dusk"), "{message}");
    }

    #[test]
    fn a_class_by_itself_cannot_be_learnt() {
        let folder = tempfile::tempdir().unwrap();
        images(folder.path());
        fs::remove_dir_all(folder.path().join("day")).unwrap();
        let message = Catalogue::open(folder.path()).unwrap().labels().unwrap_err().to_string();
        assert!(message.ends_with("contains one class: expected at least two"), "{message}");
        // As in an archive whose folder has the name of the data set.
        let folder = tempfile::tempdir().unwrap();
        images(&folder.path().join("flowers"));
        let message = Catalogue::open(folder.path()).unwrap().labels().unwrap_err().to_string();
        assert!(message.contains("/flowers are the classes, name "), "{message}");
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
        let (labels, input) = (catalogue.labels().unwrap(), catalogue.input(64, catalogue.content().unwrap()).unwrap());
        assert_eq!((catalogue.name(), input.content), ("fashion-mnist", Content::Image));
        assert_eq!((labels.len(), labels[5].as_str()), (10, "Sandal"));
        assert!(read_test(folder, &(0..10).map(|class| class.to_string()).collect::<Vec<_>>(), &input).is_err());
        for (split, each) in [(Split::Train, 6000), (Split::Test, 1000)] {
            let set = catalogue.read(split, &labels, &input, silent()).unwrap().set;
            assert_eq!(set.images().dim(), (10 * each, 1, 28, 28));
            for class in 0..10 {
                assert_eq!(set.labels().iter().filter(|&&label| label == class).count(), each);
            }
        }
    }
}
