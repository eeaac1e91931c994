//! Chart axes: map values to positions and choose ticks at round numbers.

/// Mantissas of ticks.
const MANTISSAS: [f64; 3] = [1.0, 2.0, 5.0];

/// Maximum number of ticks on a logarithmic axis; with more, only powers of ten are labelled.
const CROWDED: usize = 9;

/// Ratio of largest to smallest value from which the axis is logarithmic.
const WIDE: f64 = 8.0;

/// How values are mapped to the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Linear.
    Linear,
    /// Logarithmic.
    Log,
    /// Accuracies by the logarithm of the error rate: 90 %, 99 % and 99.9 % are equally spaced.
    LogError,
}

/// A labelled position on the axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Position, 0 (low end) to 1.
    pub at: f64,
    /// The label.
    pub label: String,
}

/// One axis of a chart.
#[derive(Clone, Debug)]
pub struct Axis {
    scale: Scale,
    /// The ends of the axis, after the scale's transformation.
    low: f64,
    high: f64,
    /// Errors below this are drawn at this value, since 0 has no logarithm.
    least: f64,
    ticks: Vec<Tick>,
}

impl Axis {
    /// An axis for losses: logarithmic if they span a wide range, otherwise linear.
    #[must_use]
    pub fn of_losses(values: &[f64]) -> Self {
        let (low, high) = range(values, (0.0, 1.0));
        if low > 0.0 && high / low >= WIDE { Self::logarithmic(low, high) } else { Self::linear(low, high, number) }
    }

    /// An axis in percent for accuracies (0 to 1) measured on `images` images: by the logarithm of the error if the
    /// errors span a wide range, otherwise linear.
    #[must_use]
    pub fn of_accuracies(values: &[f64], images: usize) -> Self {
        let (low, high) = range(values, (0.0, 1.0));
        let least = 0.5 / images.max(1) as f64;
        let (few, many) = ((1.0 - high).max(least), (1.0 - low).max(least));
        if many / few >= WIDE {
            return Self::by_error(few, many, least);
        }
        let mut axis = Self::linear(low, high, |value, step| format!("{} %", number(value * 100.0, step * 100.0)));
        // An accuracy cannot exceed 100 %, so the axis ends there.
        if axis.high > 1.0 && high <= 1.0 {
            axis = axis.up_to(1.0);
        }
        axis
    }

    /// A linear axis from 0 to the largest value.
    #[must_use]
    pub fn from_zero(values: &[f64]) -> Self {
        let (_, high) = range(values, (0.0, 1.0));
        Self::linear(0.0, if high > 0.0 { high } else { 1.0 }, number)
    }

    /// A logarithmic axis for counts. It starts below 1, so that a bar for a count of 1 has some height.
    #[must_use]
    pub fn of_counts(largest: u64) -> Self {
        let decades = (largest.max(1) as f64).log10().ceil().max(1.0) as i32;
        let label = |decade: i32| match decade {
            ..3 => 10_u64.pow(decade.unsigned_abs()).to_string(),
            3..6 => format!("{} k", 10_u64.pow(decade.unsigned_abs() - 3)),
            _ => format!("1e{decade}"),
        };
        let (low, high) = (-0.5, f64::from(decades));
        let ticks = (0..=decades).map(|decade| (f64::from(decade), label(decade)));
        Self::assemble(Scale::Log, low, high, 0.0, ticks)
    }

    /// A linear axis for shares, 0 to 100 %.
    #[must_use]
    pub fn of_shares() -> Self {
        let ticks = (0..=5).map(|fifth| (f64::from(fifth) / 5.0, format!("{} %", fifth * 20)));
        Self::assemble(Scale::Linear, 0.0, 1.0, 0.0, ticks)
    }

    /// An axis for epochs from `first` (0 or 1) to `last`; a single epoch is centred.
    #[must_use]
    pub fn of_epochs(first: usize, last: usize) -> Self {
        let (mut low, mut high) = (first as f64, last as f64);
        if last <= first {
            (low, high) = (low - 0.5, low + 0.5);
        }
        let step = (1..).flat_map(|power| [1, 2, 5].map(|mantissa| mantissa * 10_usize.pow(power - 1)));
        let step = step.take(24).find(|&step| last.saturating_sub(first) / step <= 7).unwrap_or(1);
        let ticks = (first..=last.max(first)).filter(|epoch| epoch.is_multiple_of(step));
        Self::assemble(Scale::Linear, low, high, 0.0, ticks.map(|epoch| (epoch as f64, epoch.to_string())))
    }

    /// The position of a value, 0 (low end) to 1, clamped to the ends.
    #[must_use]
    pub fn place(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
            Scale::LogError => -(1.0 - value).max(self.least).log10(),
        };
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// The ticks, from low to high.
    #[must_use]
    pub fn ticks(&self) -> &[Tick] {
        &self.ticks
    }

    /// How values are mapped to the axis.
    #[must_use]
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Puts ticks at multiples of 1, 2 or 5 times a power of ten; both ends of the axis are ticks.
    fn linear(low: f64, high: f64, label: impl Fn(f64, f64) -> String) -> Self {
        let (low, high) =
            if high > low { (low, high) } else { (low - low.abs().max(0.01) * 0.1, high + high.abs().max(0.01) * 0.1) };
        let rough = (high - low) / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].map(|mantissa| mantissa * power).into_iter().find(|&step| step >= rough * 0.999);
        let step = step.unwrap_or(rough);
        // The tolerance keeps a rounding error, as in 0.1 + 0.2, from adding another step.
        let (first, last) = ((low / step + 1e-6).floor(), (high / step - 1e-6).ceil());
        let ticks = (first as i64..=last as i64).map(|index| (index as f64 * step, label(index as f64 * step, step)));
        Self::assemble(Scale::Linear, first * step, last * step, 0.0, ticks)
    }

    fn logarithmic(low: f64, high: f64) -> Self {
        let ticks = around(low, high);
        let (low, high) = ends(&ticks);
        let ticks = thinned(&ticks).into_iter().map(|value| (value.log10(), number(value, value)));
        Self::assemble(Scale::Log, low.log10(), high.log10(), 0.0, ticks)
    }

    fn by_error(few: f64, many: f64, least: f64) -> Self {
        let ticks: Vec<f64> = around(few, many).into_iter().filter(|&error| error <= 1.0).collect();
        let (few, many) = ends(&ticks);
        let label = |error: f64| format!("{} %", number((1.0 - error) * 100.0, error * 100.0));
        let ticks = thinned(&ticks).into_iter().rev().map(|error| (-error.log10(), label(error)));
        Self::assemble(Scale::LogError, -many.log10(), -few.log10(), least.min(few), ticks)
    }

    fn assemble(scale: Scale, low: f64, high: f64, least: f64, ticks: impl Iterator<Item = (f64, String)>) -> Self {
        let place = |value: f64| (value - low) / (high - low);
        let ticks = ticks.map(|(value, label)| Tick { at: place(value), label }).collect();
        Self { scale, low, high, least, ticks }
    }

    /// Cuts the axis off above a value.
    fn up_to(self, high: f64) -> Self {
        let value = |tick: &Tick| self.low + tick.at * (self.high - self.low);
        let ticks: Vec<_> = self.ticks.iter().map(|tick| (value(tick), tick.label.clone())).collect();
        let inside = ticks.into_iter().filter(|&(value, _)| value <= high + 1e-12);
        Self::assemble(self.scale, self.low, high, self.least, inside)
    }
}

/// Smallest and largest finite value, or `otherwise` if there are none.
fn range(values: &[f64], otherwise: (f64, f64)) -> (f64, f64) {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low <= high { (low, high) } else { otherwise }
}

/// 1, 2 and 5 times powers of ten, from the last one at or below `low` to the first one at or above `high`.
fn around(low: f64, high: f64) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all: Vec<f64> = decades.flat_map(|decade| MANTISSAS.map(|mantissa| mantissa * 10_f64.powi(decade))).collect();
    let first = all.iter().rposition(|&value| value <= low * 1.000_001).unwrap_or(0);
    let last = all.iter().position(|&value| value >= high * 0.999_999).unwrap_or(all.len() - 1);
    all[first..=last.max(first)].to_vec()
}

fn ends(ticks: &[f64]) -> (f64, f64) {
    match (ticks.first(), ticks.last()) {
        (Some(&low), Some(&high)) if low < high => (low, high),
        (Some(&only), _) => (only / 2.0, only * 2.0),
        _ => (0.1, 1.0),
    }
}

/// Reduces ticks to a readable number: if there are too many, keeps only powers of ten, and if those are too many,
/// every second, third, …
fn thinned(ticks: &[f64]) -> Vec<f64> {
    if ticks.len() <= CROWDED {
        return ticks.to_vec();
    }
    let decades: Vec<f64> =
        ticks.iter().copied().filter(|tick| (tick.log10() - tick.log10().round()).abs() < 1e-6).collect();
    let every = decades.len().div_ceil(CROWDED).max(1);
    decades.into_iter().step_by(every).collect()
}

/// Formats a number with as many decimals as a step of this size needs; very small and very large numbers as `5e-6`.
#[must_use]
pub fn number(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e6).contains(&value.abs()) {
        let text = format!("{value:.3e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'));
    }
    // The tolerance keeps a step of 0.1 from being treated as 0.0999….
    let decimals = (-(step.abs().log10() + 1e-9).floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks().iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn ticks_are_the_numbers_people_choose() {
        assert_eq!(labels(&Axis::from_zero(&[0.1])), ["0", "0.05", "0.10"]);
        assert_eq!(labels(&Axis::from_zero(&[0.08])), ["0", "0.02", "0.04", "0.06", "0.08"]);
        assert_eq!(labels(&Axis::of_losses(&[0.55, 0.8])), ["0.5", "0.6", "0.7", "0.8"]);
        assert_eq!(labels(&Axis::of_losses(&[0.021, 0.9])), ["0.02", "0.05", "0.1", "0.2", "0.5", "1"]);
        assert_eq!(labels(&Axis::of_accuracies(&[0.988, 0.994], 10_000)), ["98.8 %", "99.0 %", "99.2 %", "99.4 %"]);
        assert_eq!(
            labels(&Axis::of_accuracies(&[0.85, 0.994], 10_000)),
            ["80 %", "90 %", "95 %", "98 %", "99 %", "99.5 %"]
        );
        assert_eq!(labels(&Axis::from_zero(&[1e-5])), ["0", "5e-6", "1e-5"]);
    }

    #[test]
    fn one_epoch_and_two_hundred_have_readable_axes() {
        assert_eq!(labels(&Axis::of_epochs(1, 1)), ["1"]);
        assert_eq!(Axis::of_epochs(1, 1).place(1.0), 0.5);
        assert_eq!(labels(&Axis::of_epochs(1, 6)), ["1", "2", "3", "4", "5", "6"]);
        assert_eq!(labels(&Axis::of_epochs(1, 200)), ["50", "100", "150", "200"]);
    }

    #[test]
    fn equal_and_missing_values_still_have_an_axis() {
        for values in [&[][..], &[0.5], &[0.0, 0.0], &[1.0], &[f64::NAN, f64::INFINITY], &[1.0, 0.1]] {
            for axis in [Axis::of_losses(values), Axis::of_accuracies(values, 10), Axis::from_zero(values)] {
                assert!(axis.ticks().len() >= 2 && axis.ticks().len() <= CROWDED, "{values:?}: {axis:?}");
                assert!(
                    axis.ticks().iter().all(|tick| (-1e-9..=1.0 + 1e-9).contains(&tick.at)),
                    "{values:?}: {axis:?}"
                );
                for &value in values {
                    let place = axis.place(value);
                    assert!((0.0..=1.0).contains(&place) || value.is_nan(), "{value} at {place}");
                }
            }
        }
    }

    #[test]
    fn a_perfect_accuracy_is_drawn_at_half_a_mistake() {
        let axis = Axis::of_accuracies(&[0.5, 1.0], 100);
        assert_eq!(axis.scale(), Scale::LogError);
        assert!(axis.place(1.0) > axis.place(0.99) && axis.place(1.0) <= 1.0);
    }
}
