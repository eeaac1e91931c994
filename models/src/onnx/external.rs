//! Tensors that a model stores in other files (ONNX's "external data").
//!
//! A downloaded model could name any file on the machine. So only regular files in the model's own folder are read, and
//! only as many bytes as a tensor's shape requires.

use super::limits;
use super::proto::tensor_proto::DataLocation;
use super::proto::{GraphProto, ModelProto, TensorProto};
use super::{MAX_FILE, encode, parse};
use anyhow::{Context, Result, anyhow, ensure};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// How to turn such a model into a single file; part of error messages.
pub const REMEDY: &str =
    "To make it one file: python3 -c \"import onnx; onnx.save(onnx.load('model.onnx'), 'one.onnx')\"";

/// Whether a tensor's values are in another file.
#[must_use]
pub fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location() == DataLocation::External || !tensor.external_data.is_empty()
}

/// Name of the file that holds a tensor's values, as written in the model; empty if there is none.
#[must_use]
pub fn location(tensor: &TensorProto) -> &str {
    entry(tensor, "location").unwrap_or_default()
}

/// The external files that a model names, without duplicates, in the order of its tensors.
#[must_use]
pub fn files(model: &ModelProto) -> Vec<String> {
    let mut files: Vec<String> = Vec::new();
    let tensors = model.graph.iter().flat_map(tensors).filter(|tensor| is_external(tensor));
    for location in tensors.map(location) {
        if !files.iter().any(|file| file == location) {
            files.push(location.to_owned());
        }
    }
    files
}

/// Returns a model with the tensors from files beside `path` stored in it. Returns `bytes` unchanged if there are none,
/// or if `bytes` is not a model.
pub fn embedded(bytes: Vec<u8>, path: &Path) -> Result<Vec<u8>> {
    // Every model with external data contains this word. The search avoids decoding each large model twice.
    if memchr::memmem::find(&bytes, b"location").is_none() {
        return Ok(bytes);
    }
    let Ok(mut model) = parse(&bytes) else { return Ok(bytes) };
    if files(&model).is_empty() {
        return Ok(bytes);
    }
    let mut folder = Folder::new(path, bytes.len() as u64)?;
    drop(bytes);
    for tensor in model.graph.iter_mut().flat_map(tensors_mut).filter(|tensor| is_external(tensor)) {
        let read = folder.read(tensor).with_context(|| {
            let (name, location) = (&tensor.name, location(tensor));
            format!("{} stores its tensor '{name}' in the file '{location}', which cannot be used", path.display())
        })?;
        tensor.raw_data = read;
        tensor.external_data.clear();
        tensor.set_data_location(DataLocation::Default);
    }
    Ok(encode(&model))
}

/// All tensors stored in a graph: initialisers, and constants in node attributes.
fn tensors(graph: &GraphProto) -> impl Iterator<Item = &TensorProto> {
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    graph.initializer.iter().chain(attributes.flat_map(|attribute| attribute.t.iter().chain(&attribute.tensors)))
}

fn tensors_mut(graph: &mut GraphProto) -> impl Iterator<Item = &mut TensorProto> {
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    let constants = attributes.flat_map(|attribute| attribute.t.iter_mut().chain(&mut attribute.tensors));
    graph.initializer.iter_mut().chain(constants)
}

fn entry<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
}

/// The folder of a model.
struct Folder {
    path: PathBuf,
    /// The resolved folders that may be read: the folder itself and, if the model is a symlink, the folder of its
    /// target.
    real: Vec<PathBuf>,
    /// Bytes that may still be read.
    left: u64,
    /// The file opened last.
    open: Option<(PathBuf, File)>,
}

impl Folder {
    /// `read` bytes of [`MAX_FILE`] are already used.
    fn new(model: &Path, read: u64) -> Result<Self> {
        let name = model.display();
        ensure!(
            model.is_file(),
            "{name} stores tensors in other files in the model's folder, but a pipe has no folder: name the model's \
             file. {REMEDY}"
        );
        let path = model.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        let link = model.canonicalize().with_context(|| format!("cannot read {name}"))?;
        let folders = [path.canonicalize().ok(), link.parent().map(Path::to_owned)];
        Ok(Self {
            path,
            real: folders.into_iter().flatten().collect(),
            left: MAX_FILE.saturating_sub(read),
            open: None,
        })
    }

    /// Reads the values of one tensor.
    fn read(&mut self, tensor: &TensorProto) -> Result<Vec<u8>> {
        let number = |key: &str| -> Result<Option<u64>> {
            let Some(text) = entry(tensor, key) else { return Ok(None) };
            text.parse().map(Some).map_err(|_| anyhow!("its {key} is '{text}': expected a number of bytes"))
        };
        let (offset, told) = (number("offset")?.unwrap_or(0), number("length")?);
        let expected = limits::stored_bytes(tensor).map_err(|error| anyhow!("the tensor {error}"))?;
        let length = told.unwrap_or(expected);
        ensure!(
            length == expected,
            "its length is {length} bytes: expected {expected} for the shape {:?}",
            tensor.dims
        );
        ensure!(length <= self.left, "the model and its tensors are too large: expected at most {MAX_FILE} bytes");
        self.left -= length;

        let file = self.file(location(tensor))?;
        let size = file.metadata()?.len();
        ensure!(
            offset.checked_add(length).is_some_and(|end| end <= size),
            "it has {size} bytes: expected {length} from byte {offset} on. Is it truncated?"
        );
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; usize::try_from(length)?];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Opens a file in this folder. Fails if its path or its target is elsewhere.
    fn file(&mut self, location: &str) -> Result<&mut File> {
        let plain = !location.is_empty()
            && Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        ensure!(plain, "only files in the model's own folder are read. {REMEDY}");
        let path = self.path.join(location);
        if self.open.as_ref().is_none_or(|(open, _)| *open != path) {
            let real = path.canonicalize();
            let real =
                real.with_context(|| format!("cannot read {}: expected it in the model's folder", path.display()))?;
            let inside = self.real.iter().any(|folder| real.starts_with(folder));
            ensure!(
                inside,
                "it is a link to {}: only files in the model's own folder are read. {REMEDY}",
                real.display()
            );
            // Reading a pipe or a device might never end.
            ensure!(real.is_file(), "{} is not a regular file", path.display());
            let file = File::open(&real).with_context(|| format!("cannot read {}", path.display()))?;
            self.open = Some((path, file));
        }
        self.open.as_mut().map(|(_, file)| file).context("it was not opened")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::tensor_proto::DataType;
    use crate::onnx::proto::{NodeProto, StringStringEntryProto};
    use crate::onnx::{read, read_file};
    use std::fs;

    /// Writes a model into `folder`. Its only tensor, two floats, is stored where `entries` say.
    fn written(folder: &Path, entries: &[(&str, &str)]) -> PathBuf {
        let entry = |&(key, value): &(&str, &str)| StringStringEntryProto { key: key.into(), value: value.into() };
        let mut tensor = TensorProto { name: "w".into(), dims: vec![2], ..TensorProto::default() };
        tensor.data_type = DataType::Float as i32;
        tensor.set_data_location(DataLocation::External);
        tensor.external_data = entries.iter().map(entry).collect();
        let graph = GraphProto { node: vec![NodeProto::default()], initializer: vec![tensor], ..GraphProto::default() };
        let path = folder.join("model.onnx");
        fs::write(&path, encode(&ModelProto { graph: Some(graph), ..ModelProto::default() })).unwrap();
        path
    }

    const DATA: [u8; 12] = [9, 9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn a_file_beside_the_model_is_read_into_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("weights")).unwrap();
        for location in ["w.bin", "weights/w.bin", "./w.bin"] {
            fs::write(folder.path().join(location), DATA).unwrap();
            for length in [&[("length", "8")][..], &[]] {
                let path = written(folder.path(), &[&[("location", location), ("offset", "4")], length].concat());
                let model = parse(&read(&path).unwrap()).unwrap();
                let tensor = &model.graph.as_ref().unwrap().initializer[0];
                assert_eq!(tensor.raw_data, DATA[4..], "{location}");
                assert!(!is_external(tensor));
                assert_eq!(files(&parse(&read_file(&path).unwrap()).unwrap()), [location]);
            }
        }
    }

    #[test]
    fn other_files_and_wrong_places_are_refused_with_their_names() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("model");
        fs::create_dir_all(folder.join("folder")).unwrap();
        for path in [outside.path().join("w.bin"), folder.join("w.bin")] {
            fs::write(path, DATA).unwrap();
        }
        let absolute = outside.path().join("w.bin").display().to_string();
        let own = "only files in the model's own folder";
        let mut cases = vec![
            (vec![("location", "no.bin")], "no.bin: expected it in the model"),
            (vec![("location", "../w.bin")], own),
            (vec![("location", absolute.as_str())], own),
            (vec![("location", "folder")], "not a regular file"),
            (vec![("location", "w.bin"), ("offset", "5")], "12 bytes: expected 8 from byte 5 on"),
            (vec![("location", "w.bin"), ("offset", "18446744073709551615")], "12 bytes: expected 8 from byte"),
            (vec![("location", "w.bin"), ("offset", "-1")], "its offset is '-1'"),
            (vec![("location", "w.bin"), ("length", "12")], "its length is 12 bytes: expected 8 for the shape [2]"),
        ];
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("../w.bin", folder.join("link.bin")).unwrap();
            std::process::Command::new("mkfifo").arg(folder.join("pipe.bin")).status().unwrap();
            cases.push((vec![("location", "link.bin")], "it is a link to"));
            cases.push((vec![("location", "pipe.bin")], "not a regular file"));
        }
        for (entries, word) in cases {
            let path = written(&folder, &entries);
            let message = format!("{:#}", read(&path).unwrap_err());
            assert!(message.contains(word) && message.contains("model.onnx stores its tensor 'w'"), "{message}");
        }
    }

    /// The layout of model hub caches: the model and its data are symlinks into another folder.
    #[test]
    #[cfg(unix)]
    fn a_model_that_is_a_link_may_have_its_data_beside_the_real_file() {
        let folder = tempfile::tempdir().unwrap();
        let [files, links] = ["files", "links"].map(|name| folder.path().join(name));
        fs::create_dir_all(&links).unwrap();
        fs::create_dir_all(&files).unwrap();
        written(&files, &[("location", "w.bin"), ("offset", "4")]);
        fs::write(files.join("a1b2c3"), DATA).unwrap();
        std::os::unix::fs::symlink("../files/model.onnx", links.join("model.onnx")).unwrap();
        std::os::unix::fs::symlink("../files/a1b2c3", links.join("w.bin")).unwrap();
        let model = parse(&read(&links.join("model.onnx")).unwrap()).unwrap();
        assert_eq!(model.graph.unwrap().initializer[0].raw_data, DATA[4..]);
    }
}
