//! Calibration observers: choose the range of an activation for 8-bit quantization from a histogram of its values.

use super::quantize::Range;
use anyhow::Result;
use models::card::RangeObserver;
use tch::{Kind, Tensor};

/// Bins of a histogram: eight for each of the 256 quantization steps of the full range.
const BINS: usize = 2048;

/// Share of the values that [`RangeObserver::Percentile`] cuts off, half at each end.
const CUT_OFF: f64 = 1e-4;

/// Number of ranges that [`RangeObserver::Mse`] tries, from 1 % to 100 % of the range seen.
const CANDIDATES: usize = 100;

/// A histogram of an activation's values between two fixed limits.
pub(super) struct Histogram {
    low: f64,
    high: f64,
    counts: Vec<u64>,
    /// Smallest and largest value seen.
    seen: Option<(f64, f64)>,
}

impl Histogram {
    /// Creates an empty histogram. Values beyond the limits are counted in the outermost bins.
    pub fn new(low: f64, high: f64) -> Self {
        Self { low, high, counts: vec![0; BINS], seen: None }
    }

    /// Adds all values of a tensor.
    pub fn add(&mut self, values: &Tensor) -> Result<()> {
        let (low, high) = (values.f_min()?.f_double_value(&[])?, values.f_max()?.f_double_value(&[])?);
        self.seen = Some(self.seen.map_or((low, high), |seen| (seen.0.min(low), seen.1.max(high))));
        let width = (self.high - self.low) / BINS as f64;
        let bins = values.f_sub_scalar(self.low)?.f_div_scalar(width)?.f_floor()?.f_clamp(0.0, (BINS - 1) as f64)?;
        let counts = bins.f_flatten(0, -1)?.f_to_kind(Kind::Int64)?.f_bincount::<Tensor>(None, BINS as i64)?;
        for (count, more) in self.counts.iter_mut().zip(Vec::<i64>::try_from(counts)?) {
            *count += more as u64;
        }
        Ok(())
    }

    /// The range that `observer` chooses. If no values were seen, the range of 0 alone.
    pub fn range(&self, observer: RangeObserver) -> Range {
        let Some((low, high)) = self.seen else { return Range::between(0.0, 0.0) };
        let (low, high) = (low.min(0.0), high.max(0.0));
        match observer {
            RangeObserver::MinMax => Range::between(low, high),
            RangeObserver::Percentile => {
                let (below, above) = self.percentiles();
                Range::between(below.max(low), above.min(high))
            }
            RangeObserver::Mse => {
                let shrunk = (1..=CANDIDATES).rev().map(|part| {
                    let share = part as f64 / CANDIDATES as f64;
                    Range::between(low * share, high * share)
                });
                let errors = shrunk.map(|range| (self.squared_error(range), range));
                // Of equal errors, the first and so the widest range wins.
                errors.min_by(|one, other| one.0.total_cmp(&other.0)).map_or(Range::between(low, high), |best| best.1)
            }
        }
    }

    /// The centre value of a bin.
    fn centre(&self, bin: usize) -> f64 {
        self.low + (bin as f64 + 0.5) * (self.high - self.low) / BINS as f64
    }

    /// The lower and the upper percentile, with half of [`CUT_OFF`] beyond each.
    ///
    /// Bins around 0 are not counted: after ReLU6 up to nine values in ten are 0, and every range includes 0 anyway.
    fn percentiles(&self) -> (f64, f64) {
        let width = (self.high - self.low) / BINS as f64;
        let counted = |bin: usize| if self.centre(bin).abs() <= width { 0 } else { self.counts[bin] };
        let total: u64 = (0..BINS).map(counted).sum();
        let allowed = total as f64 * CUT_OFF / 2.0;
        let reach = |mut bins: Box<dyn Iterator<Item = usize>>| {
            let mut passed = 0;
            bins.find(|&bin| {
                passed += counted(bin);
                passed as f64 > allowed
            })
        };
        let below = reach(Box::new(0..BINS)).map_or(0.0, |bin| self.centre(bin) - width / 2.0);
        let above = reach(Box::new((0..BINS).rev())).map_or(0.0, |bin| self.centre(bin) + width / 2.0);
        (below, above)
    }

    /// Mean squared error of quantizing the values seen with `range`.
    fn squared_error(&self, range: Range) -> f64 {
        let bins = self.counts.iter().enumerate().filter(|&(_, &count)| count > 0);
        let errors = bins.map(|(bin, &count)| {
            let value = self.centre(bin);
            count as f64 * (range.nearest(value) - value).powi(2)
        });
        errors.sum::<f64>() / self.counts.iter().sum::<u64>().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn histogram(values: &Tensor) -> Histogram {
        let mut histogram = Histogram::new(0.0, 6.0);
        histogram.add(values).unwrap();
        histogram
    }

    #[test]
    fn min_max_keeps_everything_that_was_seen() {
        let values = Tensor::from_slice(&[0.0_f32, 1.0, 3.0]);
        let mut histogram = histogram(&values);
        assert_eq!(histogram.range(RangeObserver::MinMax), Range::between(0.0, 3.0));
        histogram.add(&Tensor::from_slice(&[4.5_f32])).unwrap();
        assert_eq!(histogram.range(RangeObserver::MinMax), Range::between(0.0, 4.5));
    }

    #[test]
    fn a_percentile_cuts_off_the_rarest_values() {
        // Uniform up to 1, plus one value in a hundred thousand at 6.
        let values = Tensor::linspace(0.0, 1.0, 100_000, (Kind::Float, Device::Cpu));
        let values = Tensor::cat(&[values, Tensor::from_slice(&[6.0_f32])], 0);
        let range = histogram(&values).range(RangeObserver::Percentile);
        assert!((f64::from(range.scale) * 255.0 - 1.0).abs() < 0.01, "{range:?}");
    }

    /// For a normal distribution after `ReLU`, the optimal 8-bit range extends to 4.2 standard deviations (Banner et
    /// al., ACIQ, arXiv 1810.05723, and the authors' code).
    #[test]
    fn the_smallest_error_for_a_normal_distribution_is_where_the_literature_has_it() {
        tch::manual_seed(1);
        let values = Tensor::randn([4_000_000], (Kind::Float, Device::Cpu)).relu();
        let range = histogram(&values).range(RangeObserver::Mse);
        let reach = f64::from(range.scale) * 255.0;
        assert!((4.0..4.4).contains(&reach), "{reach} standard deviations");
    }

    #[test]
    fn what_was_never_seen_has_a_range_all_the_same() {
        for observer in RangeObserver::ALL {
            assert_eq!(Histogram::new(0.0, 6.0).range(observer).zero_point, 0);
            assert_eq!(histogram(&Tensor::zeros([4], (Kind::Float, Device::Cpu))).range(observer).scale, 1.0);
        }
    }
}
