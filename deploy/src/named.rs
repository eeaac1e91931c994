//! Flag values with names that shells can complete, which may also be something else, such as `cuda:3`.

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::Error;
use clap::{Arg, Command};
use std::ffi::OsStr;
use std::str::FromStr;

/// Parses a flag's value with a function, and offers known names to shell completions. Use it with
/// `hide_possible_values`, since the flag's help already lists the names and what else it takes.
#[derive(Clone)]
pub struct Named<P> {
    names: Vec<&'static str>,
    parse: P,
}

/// A function that parses a value.
type Parse<T> = fn(&str) -> Result<T, <T as FromStr>::Err>;

impl Named<()> {
    /// Parses with [`FromStr`].
    #[must_use]
    pub fn new<T: FromStr>(names: impl Into<Vec<&'static str>>) -> Named<Parse<T>> {
        Named { names: names.into(), parse: T::from_str }
    }
}

impl<P> Named<P> {
    /// Parses with any function.
    #[must_use]
    pub fn with(names: impl Into<Vec<&'static str>>, parse: P) -> Self {
        Self { names: names.into(), parse }
    }
}

impl<P: TypedValueParser> TypedValueParser for Named<P> {
    type Value = P::Value;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<P::Value, Error> {
        self.parse.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.names.iter().map(|&name| PossibleValue::new(name))))
    }
}
