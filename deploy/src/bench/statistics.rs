//! Summaries of series of times, and their uncertainty.
//!
//! Times have a lower bound and a long tail, so nothing here assumes a normal distribution. It uses medians, quantiles,
//! and intervals based on order statistics.

use serde::{Deserialize, Serialize};

/// Scales the median absolute deviation to the standard deviation of a normal distribution: 1 / Φ⁻¹(3/4).
const MAD_TO_DEVIATION: f64 = 1.482_602_218_505_602;

/// With fewer turns, their spread says nothing.
const FEWEST_TURNS: usize = 3;

/// A series of times, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of times.
    pub count: usize,
    /// The shortest.
    pub min: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// Confidence interval of the median, at least 95 %, from the medians of the turns ([`median_interval`]). `None`
    /// with fewer than six turns.
    pub interval: Option<[f64; 2]>,
    /// Typical distance of a turn's median from the median of all turns, as a share of it. `None` with fewer than three
    /// turns. Disturbances last longer than one call, so calls of the same turn resemble each other. Measured between
    /// calls, the noise would look smaller than it is.
    pub noise: Option<f64>,
}

impl Summary {
    /// Summarises turns of times; `None` if there are no times.
    #[must_use]
    pub fn from_turns(turns: &[Vec<f64>]) -> Option<Self> {
        let times = sorted(turns.iter().flatten().copied());
        let (&min, &max) = (times.first()?, times.last()?);
        let medians = sorted(turns.iter().filter_map(|turn| quantile(&sorted(turn.iter().copied()), 0.5)));
        Some(Self {
            count: times.len(),
            min,
            mean: times.iter().sum::<f64>() / times.len() as f64,
            p50: quantile(&times, 0.5)?,
            p90: quantile(&times, 0.9)?,
            p99: quantile(&times, 0.99)?,
            max,
            interval: median_interval(&medians),
            noise: noise(&medians),
        })
    }
}

/// Returns the values in ascending order.
#[must_use]
pub fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The quantile `share` (0 to 1) of sorted values; `None` if there are no values. Interpolates linearly, as numpy does
/// by default (type 7 of Hyndman and Fan, "Sample quantiles in statistical packages", 1996).
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = share.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted.get(at.floor() as usize)?, sorted.get(at.ceil() as usize)?);
    Some(below + (above - below) * at.fract())
}

/// Confidence interval of the true median, at least 95 %, for any distribution. Returns two of the sorted values;
/// `None` for fewer than six values, which cannot reach 95 %.
///
/// The k-th smallest of n values exceeds the true median only if fewer than k of them are below it. This has the
/// probability P(B < k) for a binomial B(n, 1/2); the same holds from above.
#[must_use]
pub fn median_interval(sorted: &[f64]) -> Option<[f64; 2]> {
    let n = sorted.len();
    // P(B = i), as a logarithm: 2⁻ⁿ underflows to 0 in an f64 from n = 1075 on.
    let mut logarithm = -(n as f64) * std::f64::consts::LN_2;
    let (mut below, mut rank) = (0.0, 0);
    while rank < n {
        below += logarithm.exp();
        if 2.0 * below > 0.05 {
            break;
        }
        rank += 1;
        logarithm += ((n + 1 - rank) as f64 / rank as f64).ln();
    }
    let index = rank.checked_sub(1)?;
    Some([*sorted.get(index)?, *sorted.get(n - rank)?])
}

/// The typical distance of sorted values from their median, as a share of the median: the median absolute deviation,
/// scaled to a standard deviation. `None` for fewer than three values or a median of 0.
#[must_use]
pub fn noise(sorted_values: &[f64]) -> Option<f64> {
    if sorted_values.len() < FEWEST_TURNS {
        return None;
    }
    let median = quantile(sorted_values, 0.5)?;
    let deviation = quantile(&sorted(sorted_values.iter().map(|value| (value - median).abs())), 0.5)?;
    (median > 0.0).then_some(MAD_TO_DEVIATION * deviation / median)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twelve times with a tail, in arbitrary order.
    const TIMES: [f64; 12] = [1.10, 1.00, 1.05, 0.97, 3.50, 1.02, 1.01, 1.30, 0.99, 1.04, 1.03, 1.20];

    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
    }

    /// Expected values: `numpy.percentile(times, [50, 90, 99])` and `numpy.mean(times)` of numpy 2.4.6.
    #[test]
    fn quantiles_are_those_of_numpy() {
        let summary = Summary::from_turns(&[TIMES.to_vec()]).unwrap();
        assert_near(summary.p50, 1.035);
        assert_near(summary.p90, 1.29);
        assert_near(summary.p99, 3.258);
        assert_near(summary.mean, 1.2675);
        assert_eq!((summary.count, summary.min, summary.max), (12, 0.97, 3.5));
    }

    /// Expected values: `scipy.stats.quantile_test(range(1, n + 1), p=0.5).confidence_interval(0.95)` of scipy 1.17.1;
    /// for 2,000 values, the rank from `scipy.stats.binom.cdf`.
    #[test]
    fn the_interval_of_a_median_is_that_of_scipy() {
        let interval = |n: u32| median_interval(&(1..=n).map(f64::from).collect::<Vec<_>>());
        for (n, low, high) in
            [(6, 1.0, 6.0), (12, 3.0, 10.0), (33, 11.0, 23.0), (100, 40.0, 61.0), (2000, 956.0, 1045.0)]
        {
            assert_eq!(interval(n), Some([low, high]), "{n} values");
        }
        for n in 0..6 {
            assert_eq!(interval(n), None, "{n} values");
        }
    }

    /// Expected value: `scipy.stats.median_abs_deviation(times, scale='normal') / numpy.median(times)`.
    #[test]
    fn noise_is_the_deviation_of_the_turns_medians() {
        let turns: Vec<_> = TIMES.iter().map(|&time| vec![time, time, 9.0 * time]).collect();
        assert_near(Summary::from_turns(&turns).unwrap().noise.unwrap(), 0.057_298_636_463_984_82);
        assert_eq!(noise(&[1.0, 1.0]), None);
        assert_eq!(noise(&[1.0, 1.0, 1.0]), Some(0.0));
        assert_eq!(noise(&[0.0, 0.0, 0.0]), None);
    }

    #[test]
    fn a_quantile_of_few_values_is_one_of_them() {
        assert_eq!((quantile(&[], 0.5), quantile(&[7.0], 0.99)), (None, Some(7.0)));
        assert_eq!((quantile(&[1.0, 2.0], 0.0), quantile(&[1.0, 2.0], 1.0)), (Some(1.0), Some(2.0)));
        assert!(Summary::from_turns(&[]).is_none() && Summary::from_turns(&[vec![]]).is_none());
    }
}
