//! Compares two runtimes on the same images: how far their answers agree ([`answers`]), and node by node where they
//! differ ([`layers`]).

pub mod answers;
pub mod histogram;
pub mod layers;
