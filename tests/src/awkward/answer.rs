//! What an image shows, and which answers are right for it.

/// What an image shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shows {
    /// One digit, 0…9.
    Digit(u8),
    /// This many digits side by side.
    Digits(usize),
    /// Something else, or nothing.
    NoDigit,
}

/// The answer to an image.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A single digit, 0…9.
    Digit(u8),
    /// An error or a note that there are this many digits.
    Several(usize),
    /// The label `unknown`.
    Unknown,
    /// Any other error, with its message.
    Refused(String),
}

impl Answer {
    /// Whether the answer is right. An image without one digit must not get one; if the answer counts several digits,
    /// the number must be right.
    #[must_use]
    pub fn suits(&self, shows: Shows) -> bool {
        match (self, shows) {
            (Self::Digit(answer), Shows::Digit(digit)) => *answer == digit,
            (Self::Several(answer), Shows::Digits(count)) => *answer == count,
            (Self::Unknown | Self::Refused(_), Shows::Digits(_) | Shows::NoDigit) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_digit_is_right_and_what_is_no_digit_must_not_get_one() {
        let refused = || Answer::Refused("no ink".to_owned());
        let shown = [Shows::Digit(3), Shows::Digits(2), Shows::NoDigit];
        for (answer, right) in [
            (Answer::Digit(3), [true, false, false]),
            (Answer::Digit(2), [false, false, false]),
            (Answer::Several(2), [false, true, false]),
            (Answer::Several(3), [false, false, false]),
            (Answer::Unknown, [false, true, true]),
            (refused(), [false, true, true]),
        ] {
            assert_eq!(shown.map(|shows| answer.suits(shows)), right, "{answer:?}");
        }
    }
}
