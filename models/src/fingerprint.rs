//! A short hash of bytes. It is the same on every machine and in every version, so it can be stored in files.

/// 64-bit FNV-1a (Fowler, Noll and Vo, <http://www.isthe.com/chongo/tech/comp/fnv>). Detects that a data set has
/// changed. Not cryptographic: collisions are easy to construct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// The fingerprint of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self::default().and(bytes)
    }

    /// The fingerprint of everything hashed so far, followed by `bytes`.
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    /// The fingerprint as a number.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }

    /// A number in which every bit depends on every byte. In the fingerprint itself the last bytes hardly reach the
    /// upper bits, so names that differ only in their last digit would sort next to each other. The mixing steps are
    /// the output function of `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
    /// 2014).
    #[must_use]
    pub fn spread(self) -> u64 {
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl std::fmt::Display for Fingerprint {
    /// Sixteen hexadecimal digits.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test vectors published by the authors (`test_fnv.c`).
    #[test]
    fn the_fingerprint_is_fnv_1a() {
        for (text, expected) in [("", "cbf29ce484222325"), ("a", "af63dc4c8601ec8c"), ("foobar", "85944171f73967e8")] {
            assert_eq!(Fingerprint::new(text.as_bytes()).to_string(), expected);
        }
        assert_eq!(Fingerprint::new(b"foo").and(b"bar"), Fingerprint::new(b"foobar"));
    }
}
