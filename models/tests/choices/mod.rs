//! Files that mean harm, made from any bytes: the same bytes make the same file. Tests take their bytes from a seed,
//! `tests/fuzz` takes them from libFuzzer.
//!
//! Each test file compiles this module and uses its own part of it.
#![allow(dead_code, missing_docs)]

use models::fingerprint::Fingerprint;
use std::path::Path;

/// The small whole files that fuzzing a target starts from, and what once broke something: name and bytes, by name.
pub fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds").join(target);
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
    };
    let mut seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(read).collect();
    seeds.sort();
    assert!(!seeds.is_empty());
    seeds
}

/// Bytes from a seed.
pub fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let start = Fingerprint::new(&seed.to_le_bytes());
    (0..count).map(|index| start.and(&index.to_le_bytes()).spread() as u8).collect()
}

/// Decisions taken from bytes; when these are used up, always the first of what there is to choose.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// A number below `count`, or 0.
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), if count > 256 { self.byte() } else { 0 }])) % count.max(1)
    }

    pub fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    /// True in one of N cases.
    pub fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    /// Mostly a small number, sometimes one at an edge of what a reader might expect.
    pub fn number(&mut self) -> i64 {
        const EDGES: [i64; 14] = [
            -1,
            0,
            i64::MAX,
            i64::MIN,
            1 << 40,
            1 << 31,
            (1 << 31) - 1,
            -(1 << 31),
            1 << 62,
            1 << 20,
            1_000_000_007,
            65_536,
            -2,
            255,
        ];
        if self.once_in(6) { self.pick(&EDGES) } else { self.below(9) as i64 }
    }
}

/// Changes a file as accidents and attackers do: bits, lengths, missing and repeated parts.
pub fn changed(file: &[u8], choices: &mut Choices) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..=choices.below(2) {
        if bytes.is_empty() {
            return bytes;
        }
        let place = choices.below(bytes.len().min(65_536));
        // Headers decide: half of all changes are made near the beginning.
        let place = if choices.once_in(2) { place % bytes.len().min(64) } else { place };
        let end = (place + choices.below(64)).min(bytes.len());
        match choices.below(7) {
            0 => bytes[place] ^= 1 << choices.below(8),
            1 => bytes[place] = choices.byte(),
            2 => bytes.truncate(place),
            3 => drop(bytes.drain(place..end)),
            4 => {
                let part = bytes[place..end].to_vec();
                bytes.splice(place..place, part);
            }
            // A length, whichever end comes first, or a count in seven bits each.
            5 => {
                let extreme = choices.pick(&[0xff, 0x00, 0x7f, 0x80]);
                bytes[place..end.min(place + 4)].fill(extreme);
            }
            _ => {
                let more = [choices.byte(), choices.byte(), choices.byte()];
                bytes.splice(place..place, more);
            }
        }
    }
    bytes
}
