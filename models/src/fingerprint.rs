//! A short name for bytes: the same on every machine and in every version, so that it may be kept in files.

/// FNV-1a with 64 bits (Fowler, Noll and Vo, <http://www.isthe.com/chongo/tech/comp/fnv>). Tells a changed data set
/// from an unchanged one; it is no protection against somebody who wants two to look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// The fingerprint of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::default().and(bytes)
    }

    /// The fingerprint of all bytes so far, followed by these.
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    /// The number itself.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }

    /// A number in which every bit depends on every byte: the last bytes hardly reach the upper bits of the fingerprint
    /// itself, so that names that differ in their last digit would be sorted next to each other. The steps are the
    /// output function of `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
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

    /// Of the test vectors that the authors publish (`test_fnv.c`).
    #[test]
    fn the_fingerprint_is_fnv_1a() {
        for (text, expected) in [("", "cbf29ce484222325"), ("a", "af63dc4c8601ec8c"), ("foobar", "85944171f73967e8")] {
            assert_eq!(Fingerprint::of(text.as_bytes()).to_string(), expected);
        }
        assert_eq!(Fingerprint::of(b"foo").and(b"bar"), Fingerprint::of(b"foobar"));
    }
}
