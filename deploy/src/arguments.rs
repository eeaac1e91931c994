//! Parsers for flag values, used by this program and by `train`. Errors say in plain words what is accepted.

use crate::text::grouped;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command, Parser};
use std::error::Error;
use std::fmt;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::str::FromStr;

/// Parses the command line, or ends the program with a usage error.
///
/// Flags with a value accept negative numbers as that value. So the error for `--lr -1` says what `--lr` expects,
/// instead of calling `-1` an unexpected argument.
#[must_use]
pub fn parse<P: Parser>() -> P {
    let mut matches = with_negative_numbers(P::command()).get_matches();
    P::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit())
}

fn with_negative_numbers(command: Command) -> Command {
    let allow = |flag: Arg| {
        let takes_values = flag.get_action().takes_values() && !flag.is_positional();
        if takes_values { flag.allow_negative_numbers(true) } else { flag }
    };
    command.mut_args(allow).mut_subcommands(with_negative_numbers)
}

/// The finite numbers between two bounds. Its `Display` text completes "expected".
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    low: Bound<f64>,
    high: Bound<f64>,
}

impl Interval {
    /// The numbers in a range such as `0.0..1.0`, or in a pair of bounds.
    #[must_use]
    pub fn new(range: impl RangeBounds<f64>) -> Self {
        Self { low: range.start_bound().cloned(), high: range.end_bound().cloned() }
    }

    /// Whether a number is in it.
    #[must_use]
    pub fn contains(&self, number: f64) -> bool {
        number.is_finite() && (self.low, self.high).contains(&number)
    }
}

impl RangeBounds<f64> for Interval {
    fn start_bound(&self) -> Bound<&f64> {
        self.low.as_ref()
    }

    fn end_bound(&self) -> Bound<&f64> {
        self.high.as_ref()
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (self.low, self.high) {
            (Bound::Included(low), Bound::Included(high)) => return write!(f, "a number from {low} to {high}"),
            (Bound::Unbounded, Bound::Unbounded) => return f.write_str("a number"),
            (Bound::Included(low), _) => write!(f, "a number of at least {low}")?,
            (Bound::Excluded(low), _) => write!(f, "a number above {low}")?,
            (Bound::Unbounded, _) => f.write_str("a number")?,
        }
        let and = if self.low == Bound::Unbounded { "" } else { " and" };
        match self.high {
            Bound::Included(high) => write!(f, "{and} at most {high}"),
            Bound::Excluded(high) => write!(f, "{and} below {high}"),
            Bound::Unbounded => Ok(()),
        }
    }
}

/// Reads a number in this range, as `f32` or `f64`.
pub fn number<T>(range: impl RangeBounds<f64>) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + Into<f64> + Copy,
{
    let interval = Interval::new(range);
    move |text| {
        let found = text.parse().ok().filter(|&number: &T| interval.contains(number.into()));
        found.ok_or_else(|| format!("expected {interval}"))
    }
}

/// Reads a whole number in this range.
pub fn whole<T>(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: TryFrom<u64>,
{
    move |text| {
        let found =
            text.parse().ok().filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok());
        found.ok_or_else(|| format!("expected {}", whole_number(&range)))
    }
}

/// Describes a range of whole numbers, in words that complete "expected".
#[must_use]
pub fn whole_number(range: &RangeInclusive<u64>) -> String {
    let power = |number: u64| match number {
        u64::MAX => "2⁶⁴ − 1".to_owned(),
        number if number == i64::MAX as u64 => "2⁶³ − 1".to_owned(),
        number => grouped(number),
    };
    format!("a whole number from {} to {}", grouped(*range.start()), power(*range.end()))
}

/// Reads one of these names, which `--help` and the shell's completions list.
pub fn one_of<T>(names: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: Into<Box<dyn Error + Send + Sync>>> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Bound::{Excluded, Included, Unbounded};

    #[test]
    fn numbers_are_read_within_their_range_and_errors_say_which_that_is() {
        let width = number::<f64>((Excluded(0.0), Included(1.0)));
        assert_eq!(width("0.5"), Ok(0.5));
        assert_eq!(width("1"), Ok(1.0));
        for wrong in ["x", "", "0", "-1", "2", "nan", "inf", "0,5", "1e999", "0.5 "] {
            assert_eq!(width(wrong), Err("expected a number above 0 and at most 1".to_owned()), "{wrong}");
        }
        // Too large for `f32`, not for `f64`.
        assert!(number::<f32>(0.0..)("1e39").is_err() && number::<f64>(0.0..)("1e39").is_ok());
        for (interval, words) in [
            (Interval::new(0.0..=1.0), "a number from 0 to 1"),
            (Interval::new(0.0..1.0), "a number of at least 0 and below 1"),
            (Interval::new(0.5..), "a number of at least 0.5"),
            (Interval::new((Excluded(0.0), Unbounded)), "a number above 0"),
            (Interval::new(..2.0), "a number below 2"),
            (Interval::new(..=2.0), "a number at most 2"),
            (Interval::new(..), "a number"),
        ] {
            assert_eq!(interval.to_string(), words);
        }
    }

    #[test]
    fn whole_numbers_are_read_within_their_range() {
        let resolution = whole::<usize>(8..=4096);
        assert_eq!(resolution("224"), Ok(224));
        for wrong in ["", "x", "7", "4097", "-1", "8.5", "99999999999999999999999", "1e3"] {
            assert_eq!(resolution(wrong), Err("expected a whole number from 8 to 4,096".to_owned()), "{wrong}");
        }
        assert!(whole::<u16>(1..=u64::from(u16::MAX))("65536").is_err());
        assert_eq!(whole_number(&(0..=i64::MAX as u64)), "a whole number from 0 to 2⁶³ − 1");
    }
}
