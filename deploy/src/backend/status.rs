//! Which engines can be used here, and why the others cannot.

use super::Engine;
use serde::Serialize;

/// The state of one engine.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The engine.
    #[serde(rename = "name")]
    pub engine: Engine,
    /// What it is.
    pub about: &'static str,
    /// Whether this program was built with it.
    pub compiled_in: bool,
    /// Whether it can be used here.
    pub available: bool,
    /// What was found.
    #[serde(flatten)]
    pub found: Found,
    /// Why it is not available, and what to do.
    pub reason: Option<String>,
}

/// What was found of an engine that can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The engine's own version, if known.
    pub version: Option<String>,
    /// Where its library was found. For CUDA: NVIDIA's libraries and where they came from.
    pub library: Option<String>,
    /// What can compute, such as ONNX Runtime's execution providers.
    pub providers: Vec<String>,
}

/// The state of every engine, in the order of the table.
#[must_use]
pub fn all() -> Vec<Status> {
    Engine::all().map(Engine::status).collect()
}

/// Names and descriptions of engines for people, as [`crate::text::fields`] prints them. What several have in common is
/// told once.
#[must_use]
pub fn lines(all: &[Status]) -> Vec<(&'static str, String)> {
    let line = |(index, status): (usize, &Status)| {
        let Status { engine, about, found, reason, .. } = status;
        let same = all[..index].iter().find(|other| (&other.found, &other.reason) == (found, reason));
        let more = match (same, reason) {
            (Some(other), Some(_)) => format!(": for the same reason as {}", other.engine),
            (Some(other), None) => format!("\nlibrary and providers: those of {}", other.engine),
            (None, Some(reason)) => format!(": {reason}"),
            (None, None) => {
                let library = found.library.as_ref().map_or_else(String::new, |place| format!("\nlibrary: {place}"));
                format!("{library}\nproviders: {}", found.providers.join(", "))
            }
        };
        let state = if status.available { found.version.as_deref().unwrap_or("available") } else { "unavailable" };
        (engine.registration.name, format!("{state} ({about}){more}"))
    };
    all.iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_engines_have_in_common_is_printed_once() {
        let mut all = all();
        for status in &mut all {
            (status.available, status.found, status.reason) = (false, Found::default(), Some("the reason".to_owned()));
        }
        let lines = lines(&all);
        assert_eq!(lines[0], ("tract", "unavailable (tract with our operators): the reason".to_owned()));
        assert_eq!(lines[1].1, "unavailable (tract as released): for the same reason as tract");
        let reasons: Vec<_> = lines.iter().filter(|(_, text)| text.ends_with(": the reason")).collect();
        assert_eq!(reasons.len(), 1, "{lines:?}");
    }
}
