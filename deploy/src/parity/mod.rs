//! Two runtimes on the same pictures: how far their answers agree ([`answers`]), and node by node where they part
//! ([`layers`]).

pub mod answers;
pub mod histogram;
pub mod layers;
