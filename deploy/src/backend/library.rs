//! Finds ONNX Runtime's shared library and loads it once per process.
//!
//! The `ort` crate panics on a library without the API version that it expects. So each candidate is asked for its
//! version and that API here, before `ort` sees it.

use super::elf;
use super::status::Found;
use libloading::{Library as Handle, Symbol};
use std::ffi::{CStr, OsStr};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The environment variable that names the library. If it is set, nothing else is tried.
pub const VARIABLE: &str = "ORT_DYLIB_PATH";

/// The library's name without a version.
const FILE: &str = "libonnxruntime.so";

/// The names that the system's loader is asked for.
const SYSTEM: [&str; 2] = [FILE, "libonnxruntime.so.1"];

/// The loaded ONNX Runtime.
pub struct Library {
    /// The file, or the bare name that the system's loader found.
    pub path: PathBuf,
    /// Its version, such as `1.32.0`.
    pub version: String,
    environment: ort::environment::Environment,
}

impl Library {
    /// The process's only environment.
    #[must_use]
    pub fn environment(&self) -> &ort::environment::Environment {
        &self.environment
    }

    /// The execution providers that the library was compiled with, best first. They need not work on this machine.
    #[must_use]
    pub fn providers(&self) -> Vec<String> {
        let (mut names, mut count) = (std::ptr::null_mut(), 0);
        let api = ort::api();
        // SAFETY: the call writes an array of `count` NUL-terminated strings, which are copied here and then released.
        unsafe {
            if ort::Error::result_from_status((api.GetAvailableProviders)(&raw mut names, &raw mut count)).is_err() {
                return Vec::new();
            }
            let name = |index| CStr::from_ptr(*names.add(index)).to_string_lossy().into_owned();
            let providers = (0..usize::try_from(count).unwrap_or(0)).map(name).collect();
            // A failure to release them could only leak memory.
            let _ = ort::Error::result_from_status((api.ReleaseAvailableProviders)(names, count));
            providers
        }
    }
}

/// Where ONNX Runtime was searched, and why no place had a usable library.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Missing {
    /// Places and reasons, in the order of the search.
    pub tried: Vec<(String, String)>,
    /// Whether [`VARIABLE`] was set, and so was the only place.
    pub variable: bool,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "no usable ONNX Runtime library (1.{} or newer) was found:", ort::MINOR_VERSION)?;
        for (place, reason) in &self.tried {
            write!(f, "\n  {place}: {reason}")?;
        }
        if self.variable {
            return write!(f, "\n  Correct {VARIABLE}, or unset it to search the usual places");
        }
        write!(
            f,
            "\n  Run scripts/setup in this project's folder. Elsewhere, such as on a board: the Python package onnxruntime \
             has the library (its file capi/{FILE}.1…); set {VARIABLE} to it"
        )
    }
}

/// Loads ONNX Runtime. The first call searches for it; later calls return the same result.
pub fn load() -> Result<&'static Library, Missing> {
    static LOADED: OnceLock<Result<Library, Missing>> = OnceLock::new();
    LOADED.get_or_init(search).as_ref().map_err(Clone::clone)
}

/// Loads ONNX Runtime and describes it.
pub(super) fn find() -> anyhow::Result<Found> {
    let library = load()?;
    let path = library.path.display().to_string();
    Ok(Found { version: Some(library.version.clone()), library: Some(path), providers: library.providers() })
}

/// Tries the places in order and loads the first usable library.
fn search() -> Result<Library, Missing> {
    let variable = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
    let mut tried = Vec::new();
    for (place, path) in candidates(variable.as_deref()) {
        let loaded = match path {
            Some(path) => open(&path),
            None => Err("not found".to_owned()),
        };
        match loaded {
            Ok(library) => return Ok(library),
            Err(reason) => tried.push((place, reason)),
        }
    }
    Err(Missing { tried, variable: variable.is_some() })
}

/// The places to search, each with a description and its path or bare name, if it exists.
///
/// If the variable is set, its library is the only candidate: silently using another one would be a surprise.
fn candidates(variable: Option<&OsStr>) -> Vec<(String, Option<PathBuf>)> {
    if let Some(path) = variable {
        return vec![(format!("{VARIABLE}={}", path.display()), Some(PathBuf::from(path)))];
    }
    let mut places = Vec::new();
    let mut place = |path: PathBuf| places.push((path.display().to_string(), path.exists().then_some(path)));
    // If the program's own path is unknown, there is no folder to search beside it.
    if let Some(folder) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        place(folder.join(FILE));
    }
    place(models::files::fetched("onnxruntime").unwrap_or_else(|| PathBuf::from(".deps/onnxruntime")).join(FILE));
    places.extend(SYSTEM.map(|name| (format!("the system's loader, {name}"), Some(PathBuf::from(name)))));
    places
}

/// Loads one candidate. The error says why it is not usable.
fn open(path: &Path) -> Result<Library, String> {
    let version = probe(path)?;
    let environment = ort::init_from(path)
        .map_err(|error| error.to_string())?
        .with_name("deploy")
        .with_telemetry(false)
        .build()
        .map_err(|error| error.to_string())?;
    // Errors already contain what ONNX Runtime logs about them. `ORT_LOG` is the `ort` crate's own switch.
    if std::env::var_os("ORT_LOG").is_none() {
        environment.set_log_level(ort::logging::LogLevel::Fatal);
    }
    Ok(Library { path: path.to_owned(), version, environment })
}

/// The version of the library at `path`, if it offers the API that `ort` needs.
fn probe(path: &Path) -> Result<String, String> {
    // A bare name is looked up by the loader; it is not a path that could be checked here.
    if path.components().count() > 1 {
        look_at(path)?;
    }
    // SAFETY: loading a library runs its initialisers. It is ONNX Runtime, or what the user put in its place.
    let handle = unsafe { Handle::new(path) }.map_err(|error| reason(&error))?;
    // SAFETY: the symbol has this type in every version of ONNX Runtime (`onnxruntime_c_api.h`).
    let base: Symbol<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase> =
        unsafe { handle.get(b"OrtGetApiBase") }
            .map_err(|_| "a library, but not ONNX Runtime: it lacks OrtGetApiBase")?;
    // SAFETY: the function takes no arguments and returns a pointer to a static structure, or null.
    let base = unsafe { base().as_ref() }.ok_or("its OrtGetApiBase returns nothing")?;
    // SAFETY: the function returns a static string, or null.
    let version = unsafe { (base.GetVersionString)() };
    if version.is_null() {
        return Err("it does not report its version".to_owned());
    }
    // SAFETY: not null, static and NUL-terminated.
    let version = unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned();
    // SAFETY: the function accepts any number and returns null for versions that it does not know.
    if unsafe { (base.GetApi)(ort::MINOR_VERSION) }.is_null() {
        let needed = ort::MINOR_VERSION;
        return Err(format!("ONNX Runtime {version} is too old: expected 1.{needed} or newer"));
    }
    Ok(version)
}

/// Rejects what cannot be ONNX Runtime's library before the system's loader sees it. The loader would wait forever on a
/// pipe, and its message about a library for another machine does not help.
fn look_at(path: &Path) -> Result<(), String> {
    let metadata = path.metadata().map_err(|error| cannot_read(&error))?;
    if metadata.is_dir() {
        return Err(format!("a folder: expected the file {FILE}"));
    }
    if !metadata.is_file() {
        return Err(format!("a pipe or a device: expected the file {FILE}"));
    }
    // Other systems have other formats; leave those to their loaders.
    if cfg!(target_os = "linux") { elf::check(path) } else { Ok(()) }
}

/// Why a file cannot be read.
fn cannot_read(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "not found (No such file or directory)".to_owned(),
        _ => format!("cannot read it: {error}"),
    }
}

/// The loader's message without the path, which the place already names.
pub(super) fn reason(error: &libloading::Error) -> String {
    let message = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    message.split_once(": ").map_or(message.clone(), |(_, rest)| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_the_only_place_if_it_is_set() {
        let places = candidates(Some(OsStr::new("/opt/ort.so")));
        assert_eq!(places, [("ORT_DYLIB_PATH=/opt/ort.so".to_owned(), Some(PathBuf::from("/opt/ort.so")))]);
        let places: Vec<_> = candidates(None).into_iter().map(|(place, _)| place).collect();
        assert_eq!(places.len(), 4);
        assert!(places[0].ends_with("/libonnxruntime.so"), "{places:?}");
        assert!(places[1].ends_with(".deps/onnxruntime/libonnxruntime.so"), "{places:?}");
        assert!(places[2].ends_with("libonnxruntime.so") && places[3].ends_with("libonnxruntime.so.1"), "{places:?}");
    }

    #[test]
    fn what_is_not_a_library_is_refused_with_a_reason() {
        let folder = std::env::temp_dir();
        let reason = probe(&folder).unwrap_err();
        assert!(reason.contains("a folder"), "{reason}");
        let reason = probe(&folder.join("no-such-folder/libonnxruntime.so")).unwrap_err();
        assert!(reason.contains("No such file"), "{reason}");
        // This test program is a complete ELF file, but not ONNX Runtime.
        let reason = probe(&std::env::current_exe().unwrap()).unwrap_err();
        assert!(!reason.is_empty());
    }

    #[test]
    fn the_message_names_every_place() {
        let tried = vec![("a".to_owned(), "not found".to_owned()), ("b".to_owned(), "too old".to_owned())];
        let message = Missing { tried, variable: false }.to_string();
        assert!(message.contains("\n  a: not found\n  b: too old\n"), "{message}");
        assert!(message.contains("1.24 or newer") && message.contains("scripts/setup"), "{message}");
    }
}
