//! The kinds of awkward images, one file per family.

mod camera;
mod empty;
mod file_format;
mod frame;
mod held_back;
mod letter;
mod low_resolution;
mod paper;
mod picture;
mod printed;
mod several;
mod stroke;
mod surface;
mod tight;

use super::random::Random;
use super::{Needs, Sources, Specimen};
use anyhow::Result;

type Make = fn(&Sources, usize, &mut Random) -> Result<Specimen>;

/// Images that are awkward in the same way.
pub struct Kind {
    /// Name in the results table. It also seeds the random numbers.
    pub name: &'static str,
    /// What it needs besides MNIST.
    pub needs: Needs,
    /// Lowest accepted share of right answers: a target or, where that is missed, the measured share less about three
    /// images, since rounding differs between processors.
    pub floor: f64,
    make: Make,
}

impl Kind {
    /// Makes image number `index`.
    pub fn image(&self, sources: &Sources, index: usize) -> Result<Specimen> {
        (self.make)(sources, index, &mut Random::new(self.name, index))
    }
}

/// Kinds that belong together in the results.
pub struct Group {
    /// Name in the results table.
    pub name: &'static str,
    /// Lowest accepted mean of its kinds.
    pub floor: f64,
    /// Its kinds.
    pub kinds: &'static [Kind],
}

const fn kind(name: &'static str, floor: f64, make: Make) -> Kind {
    Kind { name, needs: Needs::Nothing, floor, make }
}

const fn fonts(name: &'static str, floor: f64, make: Make) -> Kind {
    Kind { name, needs: Needs::Fonts, floor, make }
}

const fn fashion(name: &'static str, floor: f64, make: Make) -> Kind {
    Kind { name, needs: Needs::Fashion, floor, make }
}

const fn photos(name: &'static str, floor: f64, make: Make) -> Kind {
    Kind { name, needs: Needs::Photos, floor, make }
}

/// The groups: one digit per image in the first two, several in the third, none in the fourth.
pub static GROUPS: [Group; 4] = [
    Group { name: "everyday", floor: 0.97, kinds: &EVERYDAY },
    Group { name: "coarse, cropped, framed", floor: 0.96, kinds: &HARD },
    Group { name: "several digits", floor: 0.78, kinds: &SEVERAL },
    Group { name: "no digit", floor: 0.9, kinds: &NO_DIGIT },
];

/// Kinds that nothing may be adjusted to. They are off by default.
pub static HELD_BACK: Group = Group { name: "held back", floor: 0.9, kinds: &HELD_BACK_KINDS };

const EVERYDAY: [Kind; 26] = [
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

const HARD: [Kind; 17] = [
    kind("enlarged: 8 px, tight", 0.95, low_resolution::tight_8),
    kind("enlarged: 10-16 px, tight", 0.95, low_resolution::tight_larger),
    kind("enlarged: 8 px, margin", 0.95, low_resolution::on_paper_8),
    kind("enlarged: 10-16 px, margin", 0.95, low_resolution::on_paper_larger),
    kind("tiny: 8 px", 0.9, low_resolution::tiny_8),
    kind("tiny: 10-16 px", 0.95, low_resolution::tiny_larger),
    kind("touches 1-2 edges", 0.95, tight::one_or_two),
    kind("touches 3-4 edges", 0.95, tight::three_or_four),
    kind("frame: thin", 0.95, frame::thin),
    kind("frame: thick", 0.95, frame::thick),
    kind("frame: broken", 0.95, frame::broken),
    kind("frame: double", 0.95, frame::double),
    kind("frame: touched", 0.95, frame::touched),
    fonts("form cell with a label", 0.95, frame::with_label),
    kind("brush", 0.93, stroke::brush),
    kind("dotted paper", 0.95, paper::dotted),
    kind("paper with strong lines", 0.95, paper::strong_lines),
];

const SEVERAL: [Kind; 3] = [
    fonts("several: printed", 0.93, several::printed),
    kind("several: hand-written", 0.82, several::handwritten),
    kind("several: touching", 0.72, several::touching),
];

const NO_DIGIT: [Kind; 11] = [
    fonts("letters: capitals", 0.65, letter::capitals),
    fonts("letters: small", 0.71, letter::small),
    fashion("Fashion-MNIST", 0.98, picture::fashion),
    fashion("Fashion-MNIST, enlarged", 0.71, picture::fashion_enlarged),
    photos("photos", 0.96, picture::photo),
    kind("textures", 0.96, surface::texture),
    kind("noise: pixels", 0.98, surface::pixel_noise),
    kind("noise: blotches", 0.98, surface::blotches),
    kind("empty paper", 0.91, empty::plain),
    kind("empty paper with lines", 0.98, empty::lines),
    kind("empty paper with stains", 0.98, empty::stained),
];

const HELD_BACK_KINDS: [Kind; 8] = [
    kind("held back: form field", 0.9, held_back::field),
    kind("held back: whiteboard", 0.9, held_back::whiteboard),
    kind("held back: on the line", 0.9, held_back::on_the_line),
    fonts("held back: receipt", 0.9, held_back::receipt),
    kind("held back: 7 segments", 0.9, held_back::seven_segments),
    fonts("held back: stamp", 0.9, held_back::stamp),
    kind("held back: screenshot", 0.9, held_back::screenshot),
    kind("held back: circled", 0.9, held_back::circled),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_since_they_seed_the_images() {
        let groups = GROUPS.iter().chain([&HELD_BACK]);
        let mut names: Vec<_> = groups.flat_map(|group| group.kinds).map(|kind| kind.name).collect();
        names.sort_unstable();
        assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
    }
}
