//! What a shared library is linked with, read from its file: the system's loader cannot be asked without loading it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Types of segments and tags of the dynamic section, from the ELF specification ("Tool Interface Standard", 1995).
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;

/// Far more than any library has of segments, and of bytes in its dynamic section or in a name.
const MOST_SEGMENTS: u64 = 256;
const MOST_DYNAMIC: u64 = 1 << 16;
const LONGEST_NAME: u64 = 256;

/// The names of the libraries that a 64-bit little-endian ELF file needs, in its order; `None` if it is no such file, or
/// a broken one.
pub fn needed(path: &Path) -> Option<Vec<String>> {
    let mut file = File::open(path).ok()?;
    let header = part(&mut file, 0, 64)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (field(&header, 32, 8)?, field(&header, 54, 2)?, field(&header, 56, 2)?);
    if size < 56 || count > MOST_SEGMENTS {
        return None;
    }
    let table = part(&mut file, table, size * count)?;
    let segments: Vec<&[u8]> = table.chunks_exact(usize::try_from(size).ok()?).collect();
    let of_kind = |kind| segments.iter().filter(move |segment| field(segment, 0, 4) == Some(kind));

    let dynamic = of_kind(PT_DYNAMIC).next()?;
    let (offset, length) = (field(dynamic, 8, 8)?, field(dynamic, 32, 8)?);
    let dynamic = part(&mut file, offset, length.min(MOST_DYNAMIC))?;
    let entries: Vec<_> =
        dynamic.chunks_exact(16).map_while(|entry| Some((field(entry, 0, 8)?, field(entry, 8, 8)?))).collect();
    let entries: Vec<_> = entries.into_iter().take_while(|&(tag, _)| tag != 0).collect();

    // The table of names is given by its address in memory; the segment that is loaded there tells its place in the file.
    let address = entries.iter().find(|&&(tag, _)| tag == DT_STRTAB)?.1;
    let names = of_kind(PT_LOAD).find_map(|segment| {
        let (offset, start, length) = (field(segment, 8, 8)?, field(segment, 16, 8)?, field(segment, 32, 8)?);
        let within = address.checked_sub(start).filter(|&within| within < length)?;
        offset.checked_add(within)
    })?;
    let needed = entries.iter().filter(|&&(tag, _)| tag == DT_NEEDED);
    needed.map(|&(_, name)| text(&mut file, names.checked_add(name)?)).collect()
}

/// The bytes of a part of a file, all of them.
fn part(file: &mut File, offset: u64, length: u64) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(offset)).ok()?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == length).then_some(bytes)
}

/// A terminated string.
fn text(file: &mut File, offset: u64) -> Option<String> {
    file.seek(SeekFrom::Start(offset)).ok()?;
    let mut bytes = Vec::new();
    file.take(LONGEST_NAME).read_to_end(&mut bytes).ok()?;
    let end = bytes.iter().position(|&byte| byte == 0)?;
    String::from_utf8(bytes.get(..end)?.to_vec()).ok()
}

/// An unsigned number of so many bytes, the lowest first.
fn field(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    Some(bytes.get(at..at + size)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(target_os = "linux", target_pointer_width = "64", target_endian = "little"))]
    fn this_test_program_needs_the_c_library() {
        let needed = needed(&std::env::current_exe().unwrap()).unwrap();
        assert!(needed.iter().any(|name| name.starts_with("libc.so")), "{needed:?}");
    }

    #[test]
    fn what_is_no_whole_library_needs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library.so");
        assert_eq!(needed(&path), None);
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for length in [0, 10, 63, 64, 100, 500] {
            std::fs::write(&path, &program[..length]).unwrap();
            assert_eq!(needed(&path), None, "{length} bytes");
        }
        // A header of nonsense: offsets and sizes as large as can be.
        let mut header = program[..6].to_vec();
        header.resize(64, 0xff);
        std::fs::write(&path, &header).unwrap();
        assert_eq!(needed(&path), None);
    }
}
