//! Images of random noise.

use crate::fingerprint::Fingerprint;
use ndarray::Array4;

/// `[N, C, H, W]` uniformly distributed random pixels, 0 to 255. The same seed gives the same pixels on every machine.
#[must_use]
pub fn noise(shape: (usize, usize, usize, usize), seed: u64) -> Array4<u8> {
    let mut state = Fingerprint::new(&seed.to_le_bytes());
    Array4::from_shape_simple_fn(shape, || {
        state = state.and(&[1]);
        state.spread() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_even_and_follows_from_the_seed() {
        let pixels = noise((4, 3, 64, 64), 7);
        assert_eq!(pixels, noise((4, 3, 64, 64), 7));
        assert_ne!(pixels, noise((4, 3, 64, 64), 8));
        let mut counts = [0; 256];
        pixels.iter().for_each(|&pixel| counts[usize::from(pixel)] += 1);
        // 192 of each on average, with a standard deviation of 14.
        assert!(counts.iter().all(|count| (110..280).contains(count)), "{counts:?}");
    }
}
