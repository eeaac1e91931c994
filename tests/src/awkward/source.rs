//! The sources: MNIST's test set, fonts, Fashion-MNIST's test set and photographs.

use super::random::Random;
use ab_glyph::FontRef;
use anyhow::{Context, Result, ensure};
use image::RgbImage;
use models::dataset::{Dataset, Split};
use models::files;
use ndarray::{ArrayView2, s};
use std::path::{Path, PathBuf};

/// The loaded sources.
pub struct Sources {
    digits: Dataset,
    fonts: Option<PathBuf>,
    fashion: Option<Dataset>,
    /// The photographs and their names.
    photos: Vec<(String, RgbImage)>,
}

/// What a kind of image needs besides MNIST. `scripts/awkward-images` fetches it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// Fonts.
    Fonts,
    /// Fashion-MNIST's test set.
    Fashion,
    /// Photographs.
    Photos,
}

impl Sources {
    /// Loads MNIST's test set, and what `scripts/awkward-images` fetched.
    pub fn load() -> Result<Self> {
        let load = |folder: &Path| models::dataset::load(folder, Split::Test);
        Ok(Self {
            digits: load(&crate::mnist()?)?,
            fonts: files::fetched("fonts"),
            fashion: files::fetched("fashion-mnist").as_deref().map(load).transpose()?,
            photos: files::fetched("photos").as_deref().map(read_photos).transpose()?.unwrap_or_default(),
        })
    }

    /// Whether what this kind of image needs is available.
    #[must_use]
    pub fn have(&self, needed: Needs) -> bool {
        match needed {
            Needs::Nothing => true,
            Needs::Fonts => self.fonts.is_some(),
            Needs::Fashion => self.fashion.is_some(),
            Needs::Photos => !self.photos.is_empty(),
        }
    }

    /// A random digit of the test set, `[28, 28]`, its label, and a name for it.
    pub fn digit(&self, random: &mut Random) -> (ArrayView2<'_, u8>, u8, String) {
        let index = random.below(self.digits.len());
        (
            self.digits.images().slice_move(s![index, 0, .., ..]),
            self.digits.labels()[index] as u8,
            format!("MNIST {index}"),
        )
    }

    /// A random image of Fashion-MNIST's test set, `[28, 28]`, light on dark, and a name for it.
    pub fn garment(&self, random: &mut Random) -> Result<(ArrayView2<'_, u8>, String)> {
        let garments = self.fashion.as_ref().context("Fashion-MNIST is missing: run scripts/awkward-images")?;
        let index = random.below(garments.len());
        Ok((garments.images().slice_move(s![index, 0, .., ..]), format!("Fashion-MNIST {index}")))
    }

    /// The number of photographs.
    #[must_use]
    pub fn photos(&self) -> usize {
        self.photos.len()
    }

    /// Photograph number `index`, starting again after the last, and its name.
    pub fn photo(&self, index: usize) -> Result<(&RgbImage, &str)> {
        ensure!(!self.photos.is_empty(), "photographs are missing: run scripts/awkward-images");
        let (name, photo) = &self.photos[index % self.photos.len()];
        Ok((photo, name))
    }

    /// Calls `with` with the font in this file.
    pub fn with_font<T>(&self, name: &str, with: impl FnOnce(&FontRef) -> Result<T>) -> Result<T> {
        let path = self.fonts.as_ref().context("fonts are missing: run scripts/awkward-images")?.join(name);
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let font = FontRef::try_from_slice(&bytes).with_context(|| format!("{} is not a font", path.display()))?;
        with(&font)
    }
}

/// The photographs in a folder, sorted by name.
fn read_photos(folder: &Path) -> Result<Vec<(String, RgbImage)>> {
    let mut names: Vec<String> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    let open = |name: String| {
        let photo = image::open(folder.join(&name)).with_context(|| format!("cannot read the photograph {name}"))?;
        Ok((name, photo.into_rgb8()))
    };
    names.into_iter().map(open).collect()
}
