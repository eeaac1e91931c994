//! The data set on the device: raw u8 images, turned into batches for the network.

pub use crate::source::DataSource;

use crate::augment;
use crate::recipe::Recipe;
use crate::seed::{self, Purpose};
use anyhow::{Context, Result, ensure};
use models::card::{Content, Polarity, Preprocessing};
use models::dataset::{self, Dataset};
use ndarray::{Array4, ArrayView4, Axis};
use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// Images copied to the device at a time.
const COPIED: usize = 256;

/// Labelled images on the device: `images` u8 `[N, C, H, W]`, `labels` i64 `[N]`.
pub struct Images {
    /// Pixel values as read from disk, 0 to 255.
    pub images: Tensor,
    /// The class of each image.
    pub labels: Tensor,
    /// The file of each image; empty if unknown.
    pub files: Vec<PathBuf>,
}

impl Images {
    /// Copies a data set to the device.
    pub fn on_device(set: &Dataset, device: Device) -> Result<Self> {
        let all: Vec<usize> = (0..set.len()).collect();
        let files = all.iter().filter_map(|&image| set.file(image).map(Path::to_owned)).collect();
        Ok(Self { files, ..Self::part(set, &all, device)? })
    }

    /// Copies the images at `places` to the device, without their files. Copies in parts, because a second copy of all
    /// images may not fit into memory.
    fn part(set: &Dataset, places: &[usize], device: Device) -> Result<Self> {
        let (_, channels, height, width) = set.images().dim();
        let shape = |count: usize| [count, channels, height, width].map(|extent| extent as i64);
        let images = Tensor::f_empty(shape(places.len()), (Kind::Uint8, device))?;
        for (index, part) in places.chunks(COPIED).enumerate() {
            let pixels = set.images().select(Axis(0), part);
            let pixels = pixels.as_slice().context("the images are not contiguous in memory")?;
            let pixels = Tensor::f_from_slice(pixels)?.f_view(shape(part.len()))?;
            images.f_narrow(0, (index * COPIED) as i64, part.len() as i64)?.f_copy_(&pixels)?;
        }
        let labels: Vec<i64> = places.iter().map(|&place| set.labels()[place] as i64).collect();
        Ok(Self { images, labels: Tensor::f_from_slice(&labels)?.f_to(device)?, files: Vec::new() })
    }

    /// Copies the images back to the CPU as a data set, without their files.
    pub fn to_set(&self) -> Result<Dataset> {
        let (count, channels, height, width) = self.images.size4()?;
        let shape = [count, channels, height, width].map(|extent| extent as usize);
        let bytes = Vec::<u8>::try_from(self.images.f_to(Device::Cpu)?.f_contiguous()?.f_view([-1])?)?;
        Dataset::new(Array4::from_shape_vec(shape, bytes)?, self.classes()?)
    }

    /// The class of each image.
    pub fn classes(&self) -> Result<Vec<usize>> {
        let labels = Vec::<i64>::try_from(self.labels.f_to(Device::Cpu)?)?;
        Ok(labels.into_iter().map(|label| label as usize).collect())
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.size()[0] as usize
    }

    /// Whether there are no images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The images at `indices` (i64 `[N]`, on any device), without their files.
    pub fn select(&self, indices: &Tensor) -> Result<Self> {
        let indices = indices.f_to(self.images.device())?;
        let (images, labels) = (self.images.f_index_select(0, &indices)?, self.labels.f_index_select(0, &indices)?);
        Ok(Self { images, labels, files: Vec::new() })
    }

    /// At most `count` of the images, evenly spaced, without their files. IDX files may be sorted by class.
    pub fn evenly(&self, count: usize) -> Result<Self> {
        let places: Vec<i64> = dataset::evenly(self.len(), count).map(|place| place as i64).collect();
        self.select(&Tensor::f_from_slice(&places)?)
    }

    /// `count` images from index `start`, without their files.
    pub fn slice(&self, start: usize, count: usize) -> Result<Self> {
        let (start, count) = (start as i64, count as i64);
        let (images, labels) = (self.images.f_narrow(0, start, count)?, self.labels.f_narrow(0, start, count)?);
        Ok(Self { images, labels, files: Vec::new() })
    }
}

/// The training images of a run, split by the run's seed.
pub struct TrainingData {
    /// The images that the weights are fitted to.
    pub fit: Images,
    /// The images on which the best checkpoint is chosen, if any.
    pub held_out: Option<Images>,
    /// Mean and standard deviation of the pixels: the recipe's, or measured on the training images.
    pub preprocessing: Preprocessing,
    /// Whether ink is lighter or darker than its background; only drawing augmentations and outliers depend on it.
    pub polarity: Polarity,
}

impl TrainingData {
    /// Splits the training set of `source` and copies it to the device. Errors if too few images remain for one batch,
    /// or if the recipe's normalization has a different number of channels.
    pub fn new(source: &DataSource, recipe: &Recipe, device: Device) -> Result<Self> {
        let total = source.train.len();
        // A validation split replaces the images that the recipe would hold out.
        let hold_out = if source.validation.is_some() { 0 } else { recipe.hold_out };
        ensure!(
            hold_out + recipe.batch_size <= total,
            "{}: {total} training images are too few for a batch of {} with {hold_out} held out: lower --hold-out or --batch-size",
            source.folder.display(),
            recipe.batch_size
        );
        let preprocessing = match &recipe.normalization {
            Some(given) => given.clone(),
            None => measure(source.train.images()),
        };
        let channels = source.input().channels;
        ensure!(
            preprocessing.mean.len() == channels && preprocessing.std.len() == channels,
            "the recipe's normalization is for {} channels, but the images have {channels}",
            preprocessing.mean.len()
        );
        let polarity = match source.content {
            Content::Digit { polarity } => polarity,
            Content::Image => source.train.polarity(),
        };
        ensure!(
            recipe.patience == 0 || hold_out > 0 || source.validation.is_some(),
            "patience needs held-out images: set hold_out, or add a validation split (--folds does not use one)"
        );
        if hold_out == 0 {
            let held_out = source.validation.as_ref().map(|set| Images::on_device(set, device)).transpose()?;
            return Ok(Self { fit: Images::on_device(&source.train, device)?, held_out, preprocessing, polarity });
        }
        seed::set(recipe.seed, Purpose::HoldOut, 0);
        let order = Vec::<i64>::try_from(Tensor::f_randperm(total as i64, (Kind::Int64, Device::Cpu))?)?;
        let part = |image: usize| if source.held_out_by_class { source.train.labels()[image] } else { 0 };
        let parts: Vec<usize> = (0..total).map(part).collect();
        let order: Vec<usize> = order.into_iter().map(|image| image as usize).collect();
        let due = shares(&parts, &order, hold_out);
        let is_held_out = dataset::choose(&order, &parts, &source.train.groups(), due);
        let (held_out, fit): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|&image| is_held_out[image]);
        ensure!(
            !held_out.is_empty(),
            "{}: no image can be held out, because every class has only one: add images, or set --hold-out 0",
            source.folder.display()
        );
        ensure!(
            fit.len() >= recipe.batch_size,
            "{}: {} training images are left after {} were held out with their near-duplicates, too few for a batch of {}: \
             lower --hold-out or --batch-size",
            source.folder.display(),
            fit.len(),
            held_out.len(),
            recipe.batch_size
        );
        let part = |places: &[usize]| Images::part(&source.train, places, device);
        Ok(Self { held_out: Some(part(&held_out)?), fit: part(&fit)?, preprocessing, polarity })
    }

    /// The shuffled order of the fitted images in an epoch, i64 `[N · passes]` on the CPU.
    pub fn order(&self, recipe: &Recipe, epoch: usize) -> Result<Tensor> {
        seed::set(recipe.seed, Purpose::Order, epoch as u64);
        let pass = |_| Tensor::f_randperm(self.fit.len() as i64, (Kind::Int64, Device::Cpu));
        let passes = (0..recipe.passes).map(pass).collect::<Result<Vec<Tensor>, _>>()?;
        Ok(Tensor::f_cat(&passes, 0)?)
    }
}

/// How many of `count` images to hold out of each part of the set: in proportion to its size, the largest remainders
/// rounded up, but never its last image. `parts` has the part of each image. Equal remainders are rounded up in the
/// random `order` of the images, or the last of many small classes would never be held out.
fn shares(parts: &[usize], order: &[usize], count: usize) -> Vec<usize> {
    let mut sizes = vec![0; parts.iter().max().map_or(0, |&part| part + 1)];
    let mut firsts = vec![parts.len(); sizes.len()];
    for (place, &image) in order.iter().enumerate() {
        sizes[parts[image]] += 1;
        firsts[parts[image]] = firsts[parts[image]].min(place);
    }
    let mut shares: Vec<usize> = sizes.iter().map(|size| size * count / parts.len()).collect();
    for _ in shares.iter().sum()..count {
        // How far a part is from its share, times the number of images.
        let missing = |part: &usize| (sizes[*part] * count) as i64 - (shares[*part] * parts.len()) as i64;
        let open = (0..sizes.len()).filter(|&part| shares[part] + 1 < sizes[part]);
        match open.max_by_key(|part| (missing(part), Reverse(firsts[*part]))) {
            Some(part) => shares[part] += 1,
            None => break,
        }
    }
    shares
}

/// Mean and standard deviation of each channel of `images` `[N, C, H, W]` on the scale 0 to 1, rounded to four decimals
/// to keep the model card readable.
fn measure(images: ArrayView4<u8>) -> Preprocessing {
    let (mut mean, mut std) = (Vec::new(), Vec::new());
    for channel in images.axis_iter(Axis(1)) {
        // How often each value occurs: converting the pixels to floats would take several times the set's memory.
        let mut counts = [0_u64; 256];
        for &value in channel {
            counts[usize::from(value)] += 1;
        }
        let average = |of: &dyn Fn(f64) -> f64| -> f64 {
            let sum: f64 = (0..256).map(|value| counts[value] as f64 * of(value as f64 / 255.0)).sum();
            sum / channel.len() as f64
        };
        let center = average(&|value| value);
        let rounded = |value: f64| ((value * 1e4).round() / 1e4) as f32;
        mean.push(rounded(center));
        // A constant channel is not scaled.
        let spread = rounded(average(&|value| (value - center).powi(2)).sqrt());
        std.push(if spread > 0.0 { spread } else { 1.0 });
    }
    Preprocessing { mean, std }
}

/// Converts u8 images to the network's input: normalised, at its resolution.
pub struct TensorPreprocessor {
    scale: Tensor,
    shift: Tensor,
    resolution: i64,
}

impl TensorPreprocessor {
    /// Creates a preprocessor for a network with this resolution.
    pub fn new(preprocessing: &Preprocessing, resolution: usize, device: Device) -> Result<Self> {
        let (scale, shift) = preprocessing.scale_and_shift();
        let per_channel = |values: &[f32]| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(values)?.f_view([1, values.len() as i64, 1, 1])?.f_to(device)?)
        };
        Ok(Self { scale: per_channel(&scale)?, shift: per_channel(&shift)?, resolution: resolution as i64 })
    }

    /// Converts u8 images `[N, C, H, W]` to the network's input `[N, C, resolution, resolution]`, exactly as the
    /// exported graph does.
    pub fn evaluation(&self, images: &Tensor) -> Result<Tensor> {
        let normalised = self.normalised(&images.f_to_kind(Kind::Float)?)?;
        let (_, _, height, width) = normalised.size4()?;
        let square = [self.resolution, self.resolution];
        Ok(if [height, width] == square {
            normalised
        } else {
            normalised.f_upsample_bilinear2d(square, false, None, None)?
        })
    }

    /// Like [`Self::evaluation`], for u8 or float images from 0 to 255 whose ink has this `polarity`, with random
    /// augmentation. `step` counts from the start of the run and, with the recipe's seed, decides the random changes.
    pub fn training(&self, images: &Tensor, recipe: &Recipe, polarity: Polarity, step: u64) -> Result<Tensor> {
        let Recipe { augmentation, color_jitter, seed, .. } = recipe;
        seed::set(*seed, Purpose::Augmentation, step);
        let images = if augmentation.draws() { &augment::drawn(images, augmentation, polarity)? } else { images };
        let images = augment::recoloured(images, color_jitter, augmentation)?;
        let mut batch = if augmentation.moves() {
            let moved = augment::moved(&images.f_to_kind(Kind::Float)?, augmentation, self.resolution)?;
            self.normalised(&moved)?
        } else {
            self.evaluation(&images)?
        };
        if augmentation.erasing > 0.0 {
            batch = augment::erase(&batch, augmentation.erasing)?;
        }
        Ok(batch)
    }

    fn normalised(&self, values: &Tensor) -> Result<Tensor> {
        Ok(values.f_mul(&self.scale)?.f_add_(&self.shift)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Overrides;
    use crate::source::Classes;

    fn source(count: usize, channels: usize) -> DataSource {
        let images = Array4::from_shape_fn((count, channels, 4, 6), |(n, c, y, x)| (n * 31 + c * 7 + y * 6 + x) as u8);
        let set = Dataset::new(images, (0..count).map(|n| n % 3).collect()).unwrap();
        DataSource {
            name: "made".into(),
            folder: "made".into(),
            labels: vec!["a".into(), "b".into(), "c".into()],
            content: Content::Image,
            train: set.clone(),
            validation: None,
            test: set,
            held_out_by_class: false,
            near_duplicates_together: true,
            classes: Classes::Labels,
            has_test: true,
            notes: Vec::new(),
        }
    }

    fn recipe(hold_out: usize, batch_size: usize) -> Recipe {
        let flags = Overrides { hold_out: Some(hold_out), batch_size: Some(batch_size), ..Overrides::default() };
        Recipe::find("quick").unwrap().with(&flags).unwrap()
    }

    #[test]
    fn every_class_gives_its_share_of_held_out_images() {
        let labels = |sizes: &[usize]| -> Vec<usize> {
            sizes.iter().enumerate().flat_map(|(class, &size)| vec![class; size]).collect()
        };
        for (sizes, count, expected) in [
            (&[5, 5, 5][..], 3, &[1, 1, 1][..]),
            (&[5, 5, 5], 4, &[2, 1, 1]),
            (&[90, 9, 1], 10, &[9, 1, 0]),
            (&[0, 2, 2], 2, &[0, 1, 1]),
            // The last image of a class is never held out.
            (&[3, 1, 1], 4, &[2, 0, 0]),
            (&[1, 1], 1, &[0, 0]),
        ] {
            let labels = labels(sizes);
            let order: Vec<usize> = (0..labels.len()).collect();
            assert_eq!(shares(&labels, &order, count), expected, "{count} of {sizes:?}");
        }
        assert_eq!(shares(&[0, 0, 1, 1, 2, 2], &[5, 0, 2, 4, 3, 1], 2), [1, 0, 1], "equal shares in random order");
        let source = DataSource { held_out_by_class: true, ..source(50, 1) };
        let data = TrainingData::new(&source, &recipe(9, 8), Device::Cpu).unwrap();
        let mut classes = data.held_out.unwrap().classes().unwrap();
        classes.sort_unstable();
        assert_eq!(classes, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn held_out_images_are_not_fitted_to() {
        let data = TrainingData::new(&source(50, 1), &recipe(10, 8), Device::Cpu).unwrap();
        let held_out = data.held_out.unwrap();
        assert_eq!((data.fit.len(), held_out.len()), (40, 10));
        let firsts = |images: &Images| {
            Vec::<i64>::try_from(images.images.select(3, 0).select(2, 0).select(1, 0).to_kind(Kind::Int64)).unwrap()
        };
        let mut all = firsts(&data.fit);
        all.extend(firsts(&held_out));
        all.sort_unstable();
        let mut expected: Vec<i64> = (0..50).map(|n| i64::from((n * 31) as u8)).collect();
        expected.sort_unstable();
        assert_eq!(all, expected);
    }

    #[test]
    fn a_validation_split_is_held_out_in_place_of_training_images() {
        let (whole, validation) = (source(50, 1), source(7, 1).test);
        let data =
            TrainingData::new(&DataSource { validation: Some(validation), ..whole }, &recipe(10, 8), Device::Cpu)
                .unwrap();
        assert_eq!((data.fit.len(), data.held_out.unwrap().len()), (50, 7));
    }

    #[test]
    fn too_few_images_are_an_error_that_says_so() {
        let message = TrainingData::new(&source(15, 1), &recipe(10, 8), Device::Cpu).err().unwrap().to_string();
        assert!(message.contains("15 training images are too few for a batch of 8 with 10 held out"), "{message}");
    }

    #[test]
    fn early_stopping_needs_held_out_images() {
        let patient = Recipe { patience: 3, ..recipe(0, 8) };
        let message = TrainingData::new(&source(15, 1), &patient, Device::Cpu).err().unwrap().to_string();
        assert!(message.contains("patience needs held-out images"), "{message}");
        let with_validation = DataSource { validation: Some(source(9, 1).test), ..source(15, 1) };
        assert!(TrainingData::new(&with_validation, &patient, Device::Cpu).is_ok());
    }

    /// Against numpy: `x.mean()` and `x.std()` of the pixels over 255.
    #[test]
    fn mean_and_deviation_are_those_of_the_pixels() {
        let pixels = Array4::from_shape_vec((2, 2, 1, 2), vec![0_u8, 255, 51, 102, 7, 7, 7, 7]).unwrap();
        let Preprocessing { mean, std } = measure(pixels.view());
        // Channel 0 has 0, 255, 7, 7; channel 1 has 51, 102, 7, 7.
        assert_eq!(mean, [0.2637, 0.1637]);
        assert_eq!(std, [0.4252, 0.1535]);
    }

    /// `(x / 255 − mean) / std`, as torchvision's `ToTensor` and `Normalize`.
    #[test]
    fn evaluation_normalises_each_channel_and_keeps_the_values_in_place() {
        let preprocessing = Preprocessing { mean: vec![0.5, 0.1, 0.0], std: vec![0.25, 0.5, 1.0] };
        let preprocessor = TensorPreprocessor::new(&preprocessing, 4, Device::Cpu).unwrap();
        let images = Tensor::arange(48, (Kind::Uint8, Device::Cpu)).view([1, 3, 4, 4]);
        let batch = preprocessor.evaluation(&images).unwrap();
        for (channel, y, x) in [(0, 0, 0), (1, 2, 3), (2, 3, 1)] {
            let value = (channel * 16 + y * 4 + x) as f64 / 255.0;
            let expected = (value - f64::from(preprocessing.mean[channel as usize]))
                / f64::from(preprocessing.std[channel as usize]);
            assert!((batch.double_value(&[0, channel, y, x]) - expected).abs() < 1e-6);
        }
    }

    /// Expected values worked out by hand for a tiny set.
    #[test]
    fn mean_and_deviation_are_measured_per_channel() {
        let images = Array4::from_shape_vec((2, 2, 1, 2), vec![0_u8, 255, 255, 255, 0, 0, 0, 0]).unwrap();
        let measured = measure(images.view());
        assert_eq!(measured, Preprocessing { mean: vec![0.25, 0.5], std: vec![0.433, 0.5] });
    }
}
