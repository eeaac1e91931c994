//! Inspects shared library files: whether the system's loader can load one, and what it is linked with. The loader
//! itself reports little, and only after loading a library.

use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use std::env::consts::ARCH;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The machines that this program may be built for, with their names in Rust.
const MACHINES: [(elf::Machine, &str); 9] = [
    (elf::EM_X86_64, "x86_64"),
    (elf::EM_AARCH64, "aarch64"),
    (elf::EM_386, "x86"),
    (elf::EM_ARM, "arm"),
    (elf::EM_RISCV, "riscv64"),
    (elf::EM_PPC64, "powerpc64"),
    (elf::EM_S390, "s390x"),
    (elf::EM_LOONGARCH, "loongarch64"),
    (elf::EM_MIPS, "mips"),
];

/// Files often mistaken for a shared library, by their first bytes.
const OTHER_FORMATS: [(&[u8], &str); 7] = [
    (b"!<arch>\n", "a static library (.a)"),
    (b"MZ", "a library for Windows"),
    (b"\xcf\xfa\xed\xfe", "a library for macOS"),
    (b"\xca\xfe\xba\xbe", "a library for macOS"),
    (b"PK\x03\x04", "a zip archive, such as a Python wheel: unpack it first"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"version https://git-lfs", "a pointer of Git LFS: fetch the file itself"),
];

/// Checks that the loader can load a regular file as a library of this program. The error says what it is instead.
///
/// The loader maps a truncated file without checking, and the program would die of a bus error when it reads the
/// missing part.
pub fn check(path: &Path) -> Result<(), String> {
    let cannot_read = |error: std::io::Error| format!("cannot read it: {error}");
    let mut file = File::open(path).map_err(cannot_read)?;
    let length = file.metadata().map_err(cannot_read)?.len();
    let mut start = Vec::new();
    file.by_ref().take(64).read_to_end(&mut start).map_err(cannot_read)?;
    let built = match start.get(..5) {
        _ if start.is_empty() => return Err("an empty file: expected a shared library".to_owned()),
        Some(b"\x7fELF\x01") => Built::read::<FileHeader32<Endianness>>(file, length),
        Some(b"\x7fELF\x02") => Built::read::<FileHeader64<Endianness>>(file, length),
        _ => {
            let known = OTHER_FORMATS.iter().find(|(mark, _)| start.starts_with(mark));
            let text =
                || if start.iter().all(u8::is_ascii) && !start.contains(&0) { "a text file" } else { "other data" };
            return Err(format!("not a shared library but {}", known.map_or_else(text, |(_, what)| what)));
        }
    };
    built?.fits()
}

/// What a library was built for.
struct Built {
    machine: elf::Machine,
    kind: elf::FileType,
    /// 32 or 64.
    bits: usize,
    little_endian: bool,
}

impl Built {
    fn read<H: FileHeader<Endian = Endianness>>(file: File, length: u64) -> Result<Self, String> {
        let broken = |error: object::Error| format!("truncated or broken: {error}; it has {length} bytes");
        let data = ReadCache::new(file);
        let header = H::parse(&data).map_err(broken)?;
        let endian = header.endian().map_err(broken)?;
        // Linkers put the section table last, but other tools may have moved it.
        header.section_headers(endian, &data).map_err(broken)?;
        for segment in header.program_headers(endian, &data).map_err(broken)? {
            let (offset, size) = segment.file_range(endian);
            let end = offset.saturating_add(size);
            if segment.p_type(endian) == elf::PT_LOAD && end > length {
                return Err(format!("truncated: it has {length} of {end} bytes"));
            }
        }
        Ok(Self {
            machine: header.e_machine(endian),
            kind: header.e_type(endian),
            bits: if header.is_type_64() { 64 } else { 32 },
            little_endian: endian == Endianness::Little,
        })
    }

    /// Checks that it is a library for the machine of this program.
    fn fits(&self) -> Result<(), String> {
        let name = MACHINES.iter().find(|(machine, _)| *machine == self.machine).map(|(_, name)| *name);
        let known = MACHINES.iter().any(|(_, name)| *name == ARCH);
        let same = (name == Some(ARCH) || !known)
            && self.bits == usize::BITS as usize
            && self.little_endian == cfg!(target_endian = "little");
        if !same {
            let order = |little| if little { "" } else { ", big-endian" };
            return Err(format!(
                "built for {}, {}-bit{}; this program needs {ARCH}, {}-bit{}",
                name.map_or_else(|| format!("machine {}", self.machine.0), str::to_owned),
                self.bits,
                order(self.little_endian),
                usize::BITS,
                order(cfg!(target_endian = "little"))
            ));
        }
        match self.kind {
            elf::ET_DYN => Ok(()),
            elf::ET_EXEC => Err("a program: expected a shared library".to_owned()),
            elf::ET_REL => Err("an object file (.o): expected a shared library".to_owned()),
            _ => Err("not a shared library".to_owned()),
        }
    }
}

/// Names of the libraries that a 64-bit library is linked with, in its order. `None` if the file is something else or
/// broken.
#[cfg(feature = "cuda")]
pub fn needed(path: &Path) -> Option<Vec<String>> {
    let data = ReadCache::new(File::open(path).ok()?);
    let header = FileHeader64::<Endianness>::parse(&data).ok()?;
    let endian = header.endian().ok()?;
    let table = header.sections(endian, &data).ok()?.dynamic_table(endian, &data).ok()?;
    let needed = table.iter().filter(|entry| entry.tag == elf::DT_NEEDED);
    needed.map(|entry| Some(String::from_utf8_lossy(table.string(entry).ok()?).into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_program_could_be_a_library() {
        if cfg!(target_os = "linux") {
            check(&std::env::current_exe().unwrap()).unwrap();
        }
    }

    #[test]
    fn what_is_not_a_library_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library.so");
        for (bytes, word) in [
            (&b""[..], "an empty file"),
            (b"!<arch>\nrest", "a static library (.a)"),
            (b"MZ\x90\0", "a library for Windows"),
            (b"GROUP ( libc.so.6 )\n", "a text file"),
            (b"\0\0\0\0", "other data"),
            (b"\x7fELF\x02\x01\x01", "truncated or broken"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let reason = check(&path).unwrap_err();
            assert!(reason.contains(word), "{reason}");
        }
    }

    /// Classes, byte orders and machine numbers as in the ELF specification.
    #[test]
    fn another_machine_is_named() {
        let built = |machine, bits, little_endian| Built { machine, kind: elf::ET_DYN, bits, little_endian };
        for (built, words) in [
            (built(elf::Machine(43), 64, true), "built for machine 43, 64-bit; this program needs"),
            (built(elf::EM_S390, 64, false), "built for s390x, 64-bit, big-endian"),
            (built(elf::EM_386, 32, true), "built for x86, 32-bit"),
        ] {
            if !words.contains(ARCH) {
                let reason = built.fits().unwrap_err();
                assert!(reason.contains(words), "{reason}");
            }
        }
    }

    #[test]
    #[cfg(all(feature = "cuda", target_os = "linux", target_pointer_width = "64", target_endian = "little"))]
    fn this_test_program_needs_the_c_library() {
        let needed = needed(&std::env::current_exe().unwrap()).unwrap();
        assert!(needed.iter().any(|name| name.starts_with("libc.so")), "{needed:?}");
    }

    #[test]
    #[cfg(feature = "cuda")]
    fn what_is_not_a_library_needs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library.so");
        assert_eq!(needed(&path), None);
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for length in [0, 10, 63, 64, 100, 500] {
            std::fs::write(&path, &program[..length]).unwrap();
            assert_eq!(needed(&path), None, "{length} bytes");
        }
        // A nonsensical header: the largest possible offsets and sizes.
        let mut header = program[..6].to_vec();
        header.resize(64, 0xff);
        std::fs::write(&path, &header).unwrap();
        assert_eq!(needed(&path), None);
    }
}
