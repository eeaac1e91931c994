//! Which runtimes work here, and why the others do not.

use serde::Serialize;

/// The state of one runtime.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// `tract`, `onnxruntime` or `cuda`.
    pub name: &'static str,
    /// Whether this program was built with it.
    pub compiled_in: bool,
    /// Whether it can be used here.
    pub available: bool,
    /// The runtime's own version, if known.
    pub version: Option<String>,
    /// Where its library was found. For CUDA: NVIDIA's libraries and where they came from.
    pub library: Option<String>,
    /// Execution providers compiled into it.
    pub providers: Vec<String>,
    /// Why it is not available, and what to do.
    pub reason: Option<String>,
}

impl Status {
    /// Version, library and providers, or the reason why it is not available, for people.
    #[must_use]
    pub fn text(&self) -> String {
        if let Some(reason) = &self.reason {
            return format!("unavailable: {reason}");
        }
        let version = self.version.as_deref().unwrap_or("available");
        let library = self.library.as_ref().map_or_else(String::new, |library| format!("\nlibrary: {library}"));
        format!("{version}{library}\nproviders: {}", self.providers.join(", "))
    }

    fn unavailable(name: &'static str, compiled_in: bool, reason: String) -> Self {
        let (version, library, providers) = (None, None, Vec::new());
        Self { name, compiled_in, available: false, version, library, providers, reason: Some(reason) }
    }

    #[cfg_attr(all(feature = "tract", feature = "ort", feature = "cuda"), allow(dead_code))]
    fn not_compiled_in(name: &'static str, feature: &str) -> Self {
        Self::unavailable(name, false, format!("not compiled in: rebuild with --features {feature}"))
    }
}

/// tract, ONNX Runtime and CUDA, in this order.
#[must_use]
pub fn all() -> [Status; 3] {
    [tract(), onnxruntime(), cuda()]
}

#[cfg(feature = "tract")]
fn tract() -> Status {
    Status {
        name: "tract",
        compiled_in: true,
        available: true,
        version: Some(super::tract::VERSION.to_owned()),
        library: None,
        providers: super::tract::providers(),
        reason: None,
    }
}

#[cfg(not(feature = "tract"))]
fn tract() -> Status {
    Status::not_compiled_in("tract", "tract")
}

#[cfg(feature = "ort")]
fn onnxruntime() -> Status {
    match super::library::load() {
        Ok(library) => Status {
            name: "onnxruntime",
            compiled_in: true,
            available: true,
            version: Some(library.version.clone()),
            library: Some(library.path.display().to_string()),
            providers: library.providers(),
            reason: None,
        },
        Err(missing) => Status::unavailable("onnxruntime", true, missing.to_string()),
    }
}

#[cfg(not(feature = "ort"))]
fn onnxruntime() -> Status {
    Status::not_compiled_in("onnxruntime", "ort")
}

#[cfg(feature = "cuda")]
fn cuda() -> Status {
    let probed = match super::library::load() {
        Ok(library) => super::cuda::probe(library, 0).map(|()| library).map_err(|error| format!("{error:#}")),
        Err(_) => Err("it needs ONNX Runtime".to_owned()),
    };
    match probed {
        Ok(library) => Status {
            name: "cuda",
            compiled_in: true,
            available: true,
            version: None,
            library: Some(origin(super::nvidia::load(&library.path))),
            providers: vec!["CUDAExecutionProvider".to_owned()],
            reason: None,
        },
        Err(reason) => Status::unavailable("cuda", true, reason),
    }
}

/// Where NVIDIA's libraries came from, one line per place: `libcublas.so.13, libcudart.so.13 from /usr/lib`.
#[cfg(feature = "cuda")]
fn origin(libraries: &super::nvidia::Libraries) -> String {
    let mut places: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    for (name, place) in &libraries.found {
        places.entry(place).or_default().push(name);
    }
    let lines: Vec<_> = places.iter().map(|(place, names)| format!("{} from {place}", names.join(", "))).collect();
    lines.join("\n")
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Status {
    Status::not_compiled_in("cuda", "cuda")
}
