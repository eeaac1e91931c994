//! The kinds of awkward images, one file per family.

mod camera;
mod file_format;
mod paper;
mod printed;
mod stroke;

use super::random::Random;
use super::{Sources, Specimen};
use anyhow::Result;

/// Images that are awkward in the same way.
pub struct Kind {
    /// Name in the results table.
    pub name: &'static str,
    /// Whether it needs the fonts.
    pub printed: bool,
    /// Lowest accepted accuracy: the measured one less about three of 120 images, since rounding differs between
    /// processors.
    pub floor: f64,
    make: fn(&Sources, usize, &mut Random) -> Result<Specimen>,
}

impl Kind {
    /// Makes image number `index`.
    pub fn image(&self, sources: &Sources, index: usize) -> Result<Specimen> {
        (self.make)(sources, index, &mut Random::new(self.name, index))
    }
}

const fn kind(name: &'static str, floor: f64, make: fn(&Sources, usize, &mut Random) -> Result<Specimen>) -> Kind {
    Kind { name, printed: false, floor, make }
}

const fn fonts(name: &'static str, floor: f64, make: fn(&Sources, usize, &mut Random) -> Result<Specimen>) -> Kind {
    Kind { name, printed: true, floor, make }
}

/// All kinds.
pub const ALL: [Kind; 26] = [
    fonts("printed: sans", 0.97, printed::sans),
    fonts("printed: serif", 0.97, printed::serif),
    fonts("printed: bold", 0.97, printed::bold),
    fonts("printed: monospaced", 0.97, printed::monospaced),
    fonts("printed: hand-written", 0.97, printed::handwriting),
    kind("photograph, 3000×2000", 0.97, camera::photograph),
    kind("shadow", 0.95, camera::shadow),
    kind("low contrast", 0.96, camera::low_contrast),
    kind("out of focus", 0.96, camera::out_of_focus),
    kind("turned by hand", 0.96, camera::turned),
    kind("table around the paper", 0.91, camera::table),
    kind("ruled paper", 0.96, paper::ruled),
    kind("squared paper", 0.96, paper::squared),
    kind("specks", 0.97, paper::specks),
    kind("chalk on a board", 0.96, paper::chalk),
    kind("pens of all colours", 0.95, stroke::pens),
    kind("pencil", 0.94, stroke::pencil),
    kind("thin strokes", 0.95, stroke::thin),
    kind("marker", 0.93, stroke::marker),
    kind("coloured on coloured", 0.95, stroke::coloured),
    kind("JPEG, quality 10 to 40", 0.97, file_format::artefacts),
    kind("EXIF orientation", 0.95, file_format::orientation),
    kind("transparent", 0.95, file_format::transparent),
    kind("16 bits", 0.97, file_format::sixteen_bits),
    kind("cropped to the ink", 0.95, file_format::cropped),
    kind("small", 0.96, file_format::small),
];
