//! Letters that cannot be taken for digits, printed like the digits.
//!
//! Left out is every letter that a reader who expects a digit could take for one in some of the fonts: D, O, Q and o
//! (0), I, i, j and l (1), Z and z (2), y (4), S and s (5), G and b (6), B (8), g and q (9).

use super::super::random::Random;
use super::super::{Sources, Specimen};
use super::printed::{FONTS, character};
use anyhow::Result;

const CAPITALS: &[u8] = b"ACEFHJKLMNPRTUVWXY";
const SMALL: &[u8] = b"acdefhkmnprtuvwx";

fn letter(sources: &Sources, index: usize, random: &mut Random, letters: &[u8]) -> Result<Specimen> {
    let letter = char::from(letters[index % letters.len()]);
    let font = FONTS[index % FONTS.len()];
    let bytes = character(sources, random, font, letter, 250.0)?;
    Ok(Specimen::no_digit(format!("{letter} in {font}"), bytes))
}

pub fn capitals(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    letter(sources, index, random, CAPITALS)
}

pub fn small(sources: &Sources, index: usize, random: &mut Random) -> Result<Specimen> {
    letter(sources, index, random, SMALL)
}
