//! Finds NVIDIA's libraries and loads them before ONNX Runtime asks the system's loader for them.
//!
//! ONNX Runtime's CUDA provider is a separate library that does not know where CUDA and cuDNN are. It uses libraries that
//! are already loaded, wherever they came from. So we load them from beside ONNX Runtime, or from where `scripts/setup
//! --cuda` puts those of libtorch, and only then leave them to the system.

use super::elf;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use ort::ep::cuda::{CUDA_DYLIBS, CUDNN_DYLIBS};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// ONNX Runtime's library that is linked with NVIDIA's.
const PROVIDER: &str = "libonnxruntime_providers_cuda.so";

/// The driver's library. It must belong to the running driver, so it is never loaded from a folder.
const DRIVER: &str = "libcuda.so.1";

/// Which of NVIDIA's libraries were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Libraries {
    /// Loaded libraries: name, and the folder or "the system".
    pub found: Vec<(String, String)>,
    /// Missing libraries: name, and the loader's message.
    pub missing: Vec<(String, String)>,
}

/// Loads what ONNX Runtime's CUDA provider needs. `onnxruntime` is the path of its main library. The first call loads
/// them; later calls return the same result.
pub fn load(onnxruntime: &Path) -> &'static Libraries {
    static LOADED: OnceLock<Libraries> = OnceLock::new();
    LOADED.get_or_init(|| load_from(&folders(onnxruntime), &wanted(onnxruntime), &mut open))
}

/// Loads one library for the life of the process, visible to anything that asks for it by name.
fn open(path: &Path) -> Result<(), String> {
    // SAFETY: loading a library runs its initialisers. It is NVIDIA's, or what the user put in its place.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    // The handle is never closed.
    let _ = library.map_err(|error| super::library::reason(&error))?.into_raw();
    Ok(())
}

/// The folders to search before the system's.
fn folders(onnxruntime: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    // The path as written and with links resolved: `.deps/onnxruntime` is a link.
    let files = [Some(onnxruntime.to_owned()), onnxruntime.canonicalize().ok()];
    let beside: Vec<PathBuf> = files.iter().flatten().filter_map(|file| Some(file.parent()?.to_owned())).collect();
    folders.extend(beside.iter().filter(|folder| folder.is_dir()).cloned());
    // pip's layout: `onnxruntime/capi/`, `nvidia/*/lib/` and `torch/` are in the same folder.
    let libtorch = models::files::fetched("libtorch").and_then(|link| link.canonicalize().ok());
    let packages = beside.iter().filter_map(|folder| folder.parent()?.parent());
    let packages: Vec<&Path> = packages.chain(libtorch.as_deref().and_then(Path::parent)).collect();
    for package in packages {
        let parts = fs::read_dir(package.join("nvidia")).into_iter().flatten().flatten();
        let mut parts: Vec<_> = parts.map(|part| part.path().join("lib")).filter(|folder| folder.is_dir()).collect();
        parts.sort();
        folders.extend(parts);
    }
    let mut unique = Vec::new();
    for folder in folders {
        if !unique.contains(&folder) {
            unique.push(folder);
        }
    }
    unique
}

/// Names of the libraries needed: those that the provider is linked with, and cuDNN, which it loads on first use.
fn wanted(onnxruntime: &Path) -> Vec<String> {
    let provider = onnxruntime.canonicalize().ok().and_then(|file| Some(file.parent()?.join(PROVIDER)));
    let linked = provider.and_then(|provider| elf::needed(&provider)).unwrap_or_default();
    let mut names: Vec<_> =
        linked.into_iter().filter(|name| name.starts_with("libcu") || name.starts_with("libnv")).collect();
    // If the provider cannot be read, fall back to the list in `ort`.
    if names.is_empty() {
        names.extend(CUDA_DYLIBS.iter().map(|&name| name.to_owned()));
        names.push(DRIVER.to_owned());
    }
    names.extend(CUDNN_DYLIBS.first().map(|&name| name.to_owned()));
    names
}

/// Loads libraries by name. Some depend on others in the list, so those that fail are retried as long as another one
/// loads.
fn load_from(folders: &[PathBuf], names: &[String], open: &mut dyn FnMut(&Path) -> Result<(), String>) -> Libraries {
    let mut libraries = Libraries::default();
    let mut left: Vec<&String> = names.iter().collect();
    loop {
        libraries.missing.clear();
        let before = left.len();
        left.retain(|&name| match load_one(folders, name, open) {
            Ok(place) => {
                libraries.found.push((name.clone(), place));
                false
            }
            Err(reason) => {
                libraries.missing.push((name.clone(), reason));
                true
            }
        });
        if left.is_empty() || left.len() == before {
            return libraries;
        }
    }
}

fn load_one(
    folders: &[PathBuf],
    name: &str,
    open: &mut dyn FnMut(&Path) -> Result<(), String>,
) -> Result<String, String> {
    let mut reasons = Vec::new();
    for folder in folders.iter().filter(|_| name != DRIVER) {
        let path = folder.join(name);
        if path.exists() {
            match open(&path) {
                Ok(()) => return Ok(folder.display().to_string()),
                Err(reason) => reasons.push(format!("{}: {reason}", path.display())),
            }
        }
    }
    match open(Path::new(name)) {
        Ok(()) => Ok("the system".to_owned()),
        Err(reason) => {
            // A file that exists but does not load is a better reason than the system not having it.
            reasons.push(reason);
            Err(reasons.swap_remove(0))
        }
    }
}

impl Libraries {
    /// Where they came from, one line per place: `libcublas.so.13, libcudart.so.13 from /usr/lib`.
    #[must_use]
    pub fn origin(&self) -> String {
        let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, place) in &self.found {
            places.entry(place).or_default().push(name);
        }
        let lines: Vec<_> = places.iter().map(|(place, names)| format!("{} from {place}", names.join(", "))).collect();
        lines.join("\n")
    }

    /// What is missing and how to fix it; `None` if nothing is missing.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let mut advice = Vec::new();
        let (driver, others): (Vec<_>, Vec<_>) = self.missing.iter().partition(|(name, _)| name == DRIVER);
        if !driver.is_empty() {
            advice.push(format!(
                "no NVIDIA driver found ({DRIVER}). Install the driver of your GPU; in a container, start it with the \
                 GPU (docker run --gpus all). nvidia-smi shows whether it works"
            ));
        }
        if !others.is_empty() {
            let others: Vec<_> = others
                .iter()
                .map(|(name, reason)| {
                    let plain = reason.starts_with("cannot open shared object file") || reason.is_empty();
                    if plain { name.clone() } else { format!("{name} ({reason})") }
                })
                .collect();
            advice.push(format!(
                "CUDA's or cuDNN's libraries are missing: {}. Run scripts/setup --cuda, or install them and add their \
                 folders to LD_LIBRARY_PATH",
                others.join(", ")
            ));
        }
        (!advice.is_empty()).then(|| advice.join("\n  "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABSENT: &str = "cannot open shared object file: No such file or directory";

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_folder_goes_before_the_system_and_the_driver_comes_from_the_system() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["libcublas.so.13", DRIVER] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let libraries = load_from(
            &[folder.path().to_owned()],
            &names(&["libcublas.so.13", "libcurand.so.10", DRIVER]),
            &mut |_| Ok(()),
        );
        let places: Vec<_> = libraries.found.iter().map(|(_, place)| place.as_str()).collect();
        assert_eq!(places, [folder.path().to_str().unwrap(), "the system", "the system"]);
        assert_eq!(libraries.advice(), None);
    }

    #[test]
    fn what_fails_is_tried_again_once_its_neighbour_is_there() {
        let mut opened = Vec::new();
        let libraries =
            load_from(&[], &names(&["libcublas.so.13", "libcublasLt.so.13", "libcudnn.so.9"]), &mut |path| {
                let name = path.to_str().unwrap().to_owned();
                if name == "libcudnn.so.9" {
                    return Err(ABSENT.to_owned());
                }
                if name == "libcublas.so.13" && !opened.contains(&"libcublasLt.so.13".to_owned()) {
                    return Err("libcublasLt.so.13: cannot open".to_owned());
                }
                opened.push(name);
                Ok(())
            });
        assert_eq!(opened, ["libcublasLt.so.13", "libcublas.so.13"]);
        assert_eq!(libraries.missing, [("libcudnn.so.9".to_owned(), ABSENT.to_owned())]);
    }

    #[test]
    fn the_advice_names_what_is_missing_and_what_to_do() {
        let missing = |missing: &[(&str, &str)]| {
            let missing = missing.iter().map(|&(name, reason)| (name.to_owned(), reason.to_owned())).collect();
            Libraries { missing, ..Libraries::default() }.advice().unwrap()
        };
        let advice = missing(&[(DRIVER, ABSENT)]);
        assert!(advice.contains("no NVIDIA driver found (libcuda.so.1)") && advice.contains("nvidia-smi"), "{advice}");
        assert!(!advice.contains("scripts/setup"), "{advice}");
        let advice = missing(&[("libcublasLt.so.13", ABSENT), ("libcudnn.so.9", "/x/libcudnn.so.9: file too short")]);
        assert!(
            advice.contains("missing: libcublasLt.so.13, libcudnn.so.9 (/x/libcudnn.so.9: file too short). Run"),
            "{advice}"
        );
    }

    #[test]
    fn packages_beside_each_other_are_found() {
        let site = tempfile::tempdir().unwrap();
        let site = site.path().canonicalize().unwrap();
        let [capi, cublas] = [site.join("onnxruntime/capi"), site.join("nvidia/cu13/lib")];
        for folder in [&capi, &cublas, &site.join("nvidia/empty")] {
            fs::create_dir_all(folder).unwrap();
        }
        let library = capi.join("libonnxruntime.so");
        fs::write(&library, "").unwrap();
        let folders = folders(&library);
        assert_eq!(folders[..2], [capi, cublas]);
        assert!(!folders.contains(&site.join("nvidia/empty/lib")));
    }
}
