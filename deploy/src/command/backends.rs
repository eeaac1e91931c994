//! `deploy backends`: what can run here, and why something cannot?

use super::text::{counted, fields};
use super::{Format, print, print_json};
use anyhow::Result;
use clap::Args;
use deploy::backend::Options;
use serde::Serialize;

/// Shows which runtimes are compiled in and found, and why something is unavailable
#[derive(Args)]
pub struct Arguments {
    /// For people, or one document for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The document that `--format json` prints.
#[derive(Serialize)]
struct Document {
    /// Threads used by default.
    threads: usize,
    backends: Vec<Status>,
    /// What `--backend auto --device auto` takes.
    auto: Option<&'static str>,
}

/// The state of one runtime.
#[derive(Serialize)]
struct Status {
    name: &'static str,
    compiled_in: bool,
    available: bool,
    version: Option<String>,
    /// Where its library was found; of CUDA, NVIDIA's libraries and where they came from.
    library: Option<String>,
    /// Execution providers compiled into it.
    providers: Vec<String>,
    /// Why it is not available, and what to do.
    reason: Option<String>,
}

impl Status {
    fn unavailable(name: &'static str, compiled_in: bool, reason: String) -> Self {
        let (version, library, providers) = (None, None, Vec::new());
        Self { name, compiled_in, available: false, version, library, providers, reason: Some(reason) }
    }

    #[cfg_attr(all(feature = "tract", feature = "ort", feature = "cuda"), allow(dead_code))]
    fn not_compiled_in(name: &'static str, feature: &str) -> Self {
        Self::unavailable(name, false, format!("not compiled in: rebuild with --features {feature}"))
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let backends = vec![tract(), onnxruntime(), cuda()];
    let auto = match &backends[..] {
        [_, _, cuda] if cuda.available => Some("onnxruntime on cuda:0"),
        [_, onnxruntime, _] if onnxruntime.available => Some("onnxruntime on cpu"),
        [tract, ..] if tract.available => Some("tract on cpu"),
        _ => None,
    };
    let document = Document { threads: Options::default().threads(), backends, auto };
    match arguments.format {
        Format::Text => print(&text(&document))?,
        Format::Json => print_json(&document)?,
    };
    Ok(())
}

#[cfg(feature = "tract")]
fn tract() -> Status {
    Status {
        name: "tract",
        compiled_in: true,
        available: true,
        version: Some(deploy::backend::tract::VERSION.to_owned()),
        library: None,
        providers: vec!["tract-linalg".to_owned()],
        reason: None,
    }
}

#[cfg(not(feature = "tract"))]
fn tract() -> Status {
    Status::not_compiled_in("tract", "tract")
}

#[cfg(feature = "ort")]
fn onnxruntime() -> Status {
    match deploy::backend::library::load() {
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
    let probed = match deploy::backend::library::load() {
        Ok(library) => deploy::backend::cuda::probe(library, 0).map(|()| library).map_err(|error| format!("{error:#}")),
        Err(_) => Err("it needs ONNX Runtime".to_owned()),
    };
    match probed {
        Ok(library) => Status {
            name: "cuda",
            compiled_in: true,
            available: true,
            version: None,
            library: Some(origin(deploy::backend::nvidia::load(&library.path))),
            providers: vec!["CUDAExecutionProvider".to_owned()],
            reason: None,
        },
        Err(reason) => Status::unavailable("cuda", true, reason),
    }
}

/// Where NVIDIA's libraries came from: `libcublas.so.13 and 4 more from /usr/lib`, a line per place.
#[cfg(feature = "cuda")]
fn origin(libraries: &deploy::backend::nvidia::Libraries) -> String {
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

fn text(document: &Document) -> String {
    let mut lines: Vec<(&str, String)> =
        document.backends.iter().map(|status| (status.name, describe(status))).collect();
    lines.push(("auto takes", document.auto.unwrap_or("nothing: no runtime is available").to_owned()));
    lines.push(("default", counted(document.threads, "thread")));
    fields(&lines)
}

/// What there is to say of one runtime.
fn describe(status: &Status) -> String {
    if let Some(reason) = &status.reason {
        return format!("unavailable: {reason}");
    }
    let version = status.version.as_deref().unwrap_or("available");
    let library = status.library.as_ref().map_or_else(String::new, |library| format!("\nlibrary: {library}"));
    format!("{version}{library}\nproviders: {}", status.providers.join(", "))
}
