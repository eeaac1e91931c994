//! Reproducible random numbers: every use derives its own seed from the run's seed.
//!
//! `tch` does not expose libtorch's generator state, so none is saved. What a step draws depends only on the run's seed
//! and the step's number, so a resumed run draws the same numbers as an uninterrupted one.

/// What the random numbers are used for. Gives different uses at the same position different seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Weight initialisation.
    Weights = 1,
    /// Which training images are held out.
    HoldOut = 2,
    /// The order of the images in an epoch.
    Order = 3,
    /// The augmentation of a batch.
    Augmentation = 4,
    /// The outliers of a batch.
    Outliers = 5,
}

/// Seeds libtorch's CPU generator for one purpose at one position: an epoch, or a step counted from the start of the
/// run.
pub fn set(seed: u64, purpose: Purpose, position: u64) {
    let mixed = mix(mix(mix(seed) ^ purpose as u64) ^ position);
    // The cast keeps all 64 bits: libtorch stores the seed as unsigned.
    tch::manual_seed(mixed as i64);
}

/// `SplitMix64`'s step (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of the reference implementation (Vigna, `splitmix64.c`) with seed 0.
    #[test]
    fn mixing_is_splitmix64() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }
}
