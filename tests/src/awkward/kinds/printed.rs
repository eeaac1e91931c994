//! Digits in fonts on a plain background, as in screenshots and scans.

use super::super::random::Random;
use super::super::scene::{Colour, Scene, srgb};
use super::super::shape::Shape;
use super::super::{Sources, Specimen, encode};
use anyhow::Result;

/// All fonts.
pub const FONTS: [&str; 20] = [
    "DejaVuSans.ttf",
    "LiberationSans-Regular.ttf",
    "Lato-Regular.ttf",
    "Courier Prime Sans.otf",
    "DejaVuSerif.ttf",
    "LiberationSerif-Regular.ttf",
    "EBGaramond12-Regular.otf",
    "RobotoSlab-Regular.otf",
    "DejaVuSans-Bold.ttf",
    "LiberationSans-Bold.ttf",
    "Lato-Black.ttf",
    "LiberationSerif-Bold.ttf",
    "DejaVuSansMono.ttf",
    "LiberationMono-Regular.ttf",
    "Courier Prime.otf",
    "DejaVuSansMono-Bold.ttf",
    "ComicNeue-Regular.otf",
    "Humor-Sans.ttf",
    "breipfont.ttf",
    "dkg.ttf",
];

pub fn sans(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    printed(sources, index, random, &FONTS[0..4])
}

pub fn serif(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    printed(sources, index, random, &FONTS[4..8])
}

pub fn bold(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    printed(sources, index, random, &FONTS[8..12])
}

pub fn monospaced(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    printed(sources, index, random, &FONTS[12..16])
}

pub fn handwriting(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    printed(sources, index, random, &FONTS[16..20])
}

/// Cycles through all digits of all fonts.
fn printed(sources: &Sources, index: usize, random: &mut Random, fonts: &[&str]) -> Result<Specimen> {
    let label = (index % 10) as u8;
    let font = fonts[index / 10 % fonts.len()];
    let bytes = character(sources, random, font, char::from(b'0' + label), 800.0)?;
    Ok(Specimen::digit(label, font.to_owned(), bytes))
}

/// The file of an image of one character, 20 to `highest` pixels high. Size, position, colours and format are random.
pub fn character(sources: &Sources, random: &mut Random, font: &str, character: char, highest: f32) -> Result<Vec<u8>> {
    let height = random.scale(20.0, highest);
    let shape = sources.with_font(font, |font| Shape::printed(font, character, height))?;
    let mut margin = || (height * random.scale(0.1, 1.5)).max(2.0) as usize;
    let (left, right, top, bottom) = (margin(), margin(), margin(), margin());
    let (ink, ground) = colours(random);
    let mut scene = Scene::plain(shape.width + left + right, shape.height + top + bottom, ground);
    scene.paint(&shape, left as i64, top as i64, ink, 1.0);
    let noise = *random.pick(&[0.0, 0.0, 1.0, 3.0]);
    let image = scene.photographed(random, noise);
    encode::any(image, random)
}

/// Ink and background: mostly dark on light, otherwise light on dark or coloured.
pub fn colours(random: &mut Random) -> (Colour, Colour) {
    let dark = random.below(70) as u8;
    let light = 255 - random.below(60) as u8;
    let (dark, light) = (srgb(dark, dark, dark), srgb(light, light, light));
    match random.below(10) {
        0..=4 => (dark, light),
        5..=6 => (light, dark),
        7 => (*random.pick(&[srgb(200, 30, 30), srgb(30, 60, 190), srgb(20, 130, 50), srgb(230, 120, 0)]), light),
        8 => (light, *random.pick(&[srgb(150, 20, 20), srgb(20, 40, 120), srgb(0, 90, 60), srgb(60, 60, 70)])),
        _ => (dark, *random.pick(&[srgb(255, 230, 90), srgb(180, 220, 255), srgb(200, 240, 190)])),
    }
}
