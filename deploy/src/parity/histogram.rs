//! A histogram of differences by powers of ten.

use serde::Serialize;

/// Exponent of the smallest decade. Smaller differences are counted together.
const LOWEST: i32 = -8;

/// Decades from 1e-8 up to 1.
const DECADES: usize = 8;

/// Counts of differences per decade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Histogram {
    /// Differences of exactly 0.
    pub equal: u64,
    /// Differences above 0 and below 1e-8.
    pub below: u64,
    /// Differences per decade: from 1e-8 to below 1e-7, and so on up to below 1.
    pub decades: [u64; DECADES],
    /// Differences of 1 and more.
    pub above: u64,
}

impl Histogram {
    /// Counts a difference, a finite number of at least 0.
    pub fn add(&mut self, difference: f32) {
        if difference == 0.0 {
            self.equal += 1;
            return;
        }
        // A boundary belongs to the decade above it. A logarithm could round it to either side.
        let decades_above = |difference: f64| (1..=DECADES as i32).filter(|n| difference >= power(LOWEST + n)).count();
        let difference = f64::from(difference);
        match (difference < power(LOWEST), decades_above(difference)) {
            (true, _) => self.below += 1,
            (false, DECADES) => self.above += 1,
            (false, decade) => self.decades[decade] += 1,
        }
    }

    /// Name and count of each bin, from the smallest differences to the largest.
    #[must_use]
    pub fn rows(&self) -> Vec<(String, u64)> {
        let decade = |n: usize| format!("1e{} to 1e{}", LOWEST + n as i32, LOWEST + 1 + n as i32);
        let decades = self.decades.iter().enumerate().map(|(n, &count)| (decade(n), count));
        let ends = [("0".to_owned(), self.equal), (format!("below 1e{LOWEST}"), self.below)];
        ends.into_iter().chain(decades).chain([("1 and more".to_owned(), self.above)]).collect()
    }
}

fn power(exponent: i32) -> f64 {
    10.0_f64.powi(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_counted_in_its_decade() {
        let mut histogram = Histogram::default();
        for difference in [0.0, f32::MIN_POSITIVE, 2e-8, 1.5e-5, 9.9e-5, 0.5, 1.0, 7.0, f32::MAX] {
            histogram.add(difference);
        }
        assert_eq!((histogram.equal, histogram.below, histogram.above), (1, 1, 3));
        assert_eq!(histogram.decades, [1, 0, 0, 2, 0, 0, 0, 1]);
        let rows = histogram.rows();
        assert_eq!(rows.iter().map(|(_, count)| count).sum::<u64>(), 9);
        assert_eq!(rows[5], ("1e-5 to 1e-4".to_owned(), 2));
        assert_eq!((rows[0].0.as_str(), rows[10].0.as_str()), ("0", "1 and more"));
    }
}
