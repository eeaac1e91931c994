//! The instruction sets to use.

use super::channels_last::Instructions;
use super::dense;
use super::lanes::Lane;
use anyhow::{Context, Result};
use std::env;
use std::ffi::OsString;

/// The environment variable that limits them, for tests and for comparisons.
const LIMIT: &str = "DEPLOY_INSTRUCTIONS";

/// Its values: the names of all instruction sets, slowest first.
const NAMES: [&str; 7] = ["scalar", "sse2", "neon", "avx2", "neon-dot-product", "avx-512", "avx-512-vnni"];

/// The instruction sets to use.
#[derive(Clone, Debug)]
pub(super) struct Processor {
    /// For floats, fastest first.
    pub lanes: Vec<Lane>,
    /// For integers; `None` if floats are faster.
    pub instructions: Option<Instructions>,
}

impl Processor {
    /// Those of this processor, up to the one that the environment names.
    pub fn this() -> Result<Self> {
        Self::limited(env::var_os(LIMIT))
    }

    fn limited(limit: Option<OsString>) -> Result<Self> {
        let rank = |name: &str| NAMES.iter().position(|known| *known == name.to_lowercase().replace(' ', "-"));
        let limit = limit.map(|limit| {
            let rank = limit.to_str().and_then(rank);
            rank.with_context(|| {
                format!("{LIMIT} is '{}': expected one of {}", limit.to_string_lossy(), NAMES.join(", "))
            })
        });
        let limit = limit.transpose()?;
        let allowed = |name: &str| limit.is_none_or(|limit| rank(name).is_some_and(|rank| rank <= limit));
        let lanes = Lane::available().into_iter().filter(|lane| allowed(lane.name())).collect();
        // Without vectors for integers, floats are faster: for them, x86-64 has SSE2, and 32-bit ARM a unit of its own.
        let fast = |one: &Instructions| *one != Instructions::Scalar || limit == Some(0);
        let instructions = Instructions::available().into_iter().find(|one| allowed(one.name())).filter(fast);
        Ok(Self { lanes, instructions })
    }

    /// What computes a chain, for people. `integers` says whether it has convolutions in integers.
    pub fn provider(&self, integers: bool) -> String {
        match self.instructions {
            Some(instructions) if integers => format!("own integer convolutions ({})", instructions.name()),
            _ => dense::provider(&self.lanes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_can_be_chosen() {
        let limited = |name: &str| Processor::limited(Some(name.into())).unwrap();
        for lane in Lane::available() {
            assert_eq!(limited(&lane.name().to_lowercase()).lanes[0].name(), lane.name());
        }
        for one in Instructions::available() {
            assert_eq!(limited(&one.name().to_lowercase().replace(' ', "-")).instructions, Some(one));
        }
        let fastest = Processor::limited(None).unwrap();
        assert_eq!(fastest.lanes, Lane::available());
        let error = Processor::limited(Some("mmx".into())).unwrap_err().to_string();
        assert!(error.starts_with("DEPLOY_INSTRUCTIONS is 'mmx': expected one of scalar, sse2, "), "{error}");
    }
}
