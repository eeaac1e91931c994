//! The sources of the digits: MNIST's test set and fonts.

use super::random::Random;
use ab_glyph::FontRef;
use anyhow::{Context, Result};
use models::dataset::{Dataset, Split};
use models::files;
use ndarray::{ArrayView2, s};
use std::path::PathBuf;

/// The loaded sources.
pub struct Sources {
    digits: Dataset,
    fonts: Option<PathBuf>,
}

impl Sources {
    /// Loads MNIST's test set, and locates the fonts if `scripts/fonts` fetched them.
    pub fn load() -> Result<Self> {
        Ok(Self { digits: models::dataset::load(&crate::mnist()?, Split::Test)?, fonts: files::fetched("fonts") })
    }

    /// Whether the fonts are available.
    #[must_use]
    pub fn have_fonts(&self) -> bool {
        self.fonts.is_some()
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

    /// Calls `with` with the font in this file.
    pub fn with_font<T>(&self, name: &str, with: impl FnOnce(&FontRef) -> Result<T>) -> Result<T> {
        let path = self.fonts.as_ref().context("fonts are missing: run scripts/fonts")?.join(name);
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let font = FontRef::try_from_slice(&bytes).with_context(|| format!("{} is not a font", path.display()))?;
        with(&font)
    }
}
