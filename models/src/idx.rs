//! The IDX format of the MNIST files: a magic number, the extents, then the bytes.
//!
//! The first two bytes are zero. The third is the element type (8, unsigned byte, is the only one supported here), the
//! fourth the number of dimensions. Each extent is a big-endian 32-bit number. Files may be gzipped.

use crate::dataset::MAX_BYTES;
use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Element type: unsigned byte.
const UNSIGNED_BYTE: u8 = 0x08;

/// Bytes reserved for the first read; each further read doubles the buffer.
const FIRST_BYTES: usize = 1 << 16;

/// An array of unsigned bytes, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// Size of each dimension, outermost first.
    pub extents: Vec<usize>,
    /// The elements; their number is the product of the extents.
    pub data: Vec<u8>,
}

/// Reads a file, which must have `dimensions` dimensions. Gzip is detected by content.
///
/// Fails if the file is shorter or longer than its header says.
pub fn read(path: &Path, dimensions: usize) -> Result<Idx> {
    parse(open(path)?, dimensions).with_context(|| format!("{} is not a complete IDX file", path.display()))
}

/// Reads only the header of a file, which must have `dimensions` dimensions. Returns its extents, outermost first.
pub fn extents(path: &Path, dimensions: usize) -> Result<Vec<usize>> {
    let header = parse_header(&mut open(path)?, dimensions);
    header.map(|(extents, _)| extents).with_context(|| format!("{} is not a complete IDX file", path.display()))
}

/// Opens a file and unpacks it if it starts with the gzip magic number.
fn open(path: &Path) -> Result<Box<dyn Read>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut reader = BufReader::new(file);
    let start = reader.fill_buf().with_context(|| format!("cannot read {}", path.display()))?;
    Ok(if start.starts_with(&[0x1f, 0x8b]) { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) })
}

/// Returns the extents and their product, which is at most [`MAX_BYTES`].
fn parse_header(reader: &mut impl Read, dimensions: usize) -> Result<(Vec<usize>, u64)> {
    let mut magic = [0; 4];
    let found = read_up_to(reader, &mut magic)?;
    ensure!(found > 0, "the file is empty");
    ensure!(found == 4, "it ends after {found} bytes, inside its magic number");
    let expected = [0, 0, UNSIGNED_BYTE, u8::try_from(dimensions)?];
    if magic != expected {
        bail!(
            "magic number 0x{:08x}: expected 0x{:08x} (unsigned bytes, {dimensions} dimension{})",
            u32::from_be_bytes(magic),
            u32::from_be_bytes(expected),
            if dimensions == 1 { "" } else { "s" },
        );
    }
    let mut header = vec![0; 4 * dimensions];
    ensure!(read_up_to(reader, &mut header)? == header.len(), "it ends inside its header");
    let extents: Vec<usize> = header
        .chunks_exact(4)
        .map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
        .collect();
    let length = extents
        .iter()
        .try_fold(1_u64, |product, &extent| product.checked_mul(extent as u64))
        .filter(|&length| length <= MAX_BYTES)
        .with_context(|| format!("its header declares {extents:?} bytes: expected at most {MAX_BYTES} in total"))?;
    Ok((extents, length))
}

/// Reads an unpacked IDX stream to its end. Fails like [`read`].
pub fn parse(mut reader: impl Read, dimensions: usize) -> Result<Idx> {
    let (extents, length) = parse_header(&mut reader, dimensions)?;

    // The buffer grows with the data that arrives, so a header alone cannot claim memory. It reads at most one byte
    // more than the header says: that byte reveals a file that is too long.
    let mut data = Vec::new();
    loop {
        let room = (length + 1 - data.len() as u64).min(data.len().max(FIRST_BYTES) as u64);
        data.try_reserve_exact(room as usize).context("its data does not fit in memory")?;
        let read = reader.by_ref().take(room).read_to_end(&mut data).context("its data cannot be read")?;
        if read == 0 || data.len() as u64 > length {
            break;
        }
    }
    ensure!(
        data.len() as u64 >= length,
        "its header declares {extents:?} = {length} bytes, but only {} follow: the file is truncated",
        data.len()
    );
    ensure!(data.len() as u64 == length, "more bytes follow than the {extents:?} = {length} that its header declares");
    Ok(Idx { extents, data })
}

/// Fills `buffer` until it is full or the stream ends. Returns the number of bytes read.
fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("it cannot be read"),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LABELS: [u8; 11] = [0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1];

    #[test]
    fn bytes_and_extents_are_read() {
        let idx = parse(&LABELS[..], 1).unwrap();
        assert_eq!(idx, Idx { extents: vec![3], data: vec![7, 2, 1] });
        let images = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4];
        assert_eq!(parse(&images[..], 3).unwrap().extents, [1, 2, 2]);
    }

    #[test]
    fn gzipped_files_are_read_by_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&LABELS).unwrap();
        std::fs::write(&path, encoder.finish().unwrap()).unwrap();
        assert_eq!(read(&path, 1).unwrap().data, [7, 2, 1]);
        assert_eq!(extents(&path, 1).unwrap(), [3]);
    }

    /// 500,000 bytes, packed into fewer than 600, in a file whose header says 10.
    #[test]
    fn a_gzip_bomb_is_unpacked_as_far_as_the_header_says() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&[0, 0, 8, 1, 0, 0, 0, 10]).unwrap();
        encoder.write_all(&vec![0; 500_000]).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 600);
        let mut unpacked = 0;
        let counted = Counted { inner: MultiGzDecoder::new(&bomb[..]), count: &mut unpacked };
        assert!(parse(counted, 1).unwrap_err().to_string().contains("more bytes follow"));
        assert_eq!(unpacked, 8 + 10 + 1);
    }

    struct Counted<'a, R> {
        inner: R,
        count: &'a mut usize,
    }

    impl<R: Read> Read for Counted<'_, R> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let read = self.inner.read(buffer)?;
            *self.count += read;
            Ok(read)
        }
    }

    #[test]
    fn large_files_are_read_whole_and_take_no_more_memory_than_they_hold() {
        let mut file = vec![0, 0, 8, 1, 0, 4, 0, 1];
        file.extend((0..0x4_0001_u32).map(|index| (index * 7) as u8));
        let idx = parse(&file[..], 1).unwrap();
        assert_eq!(idx.data, file[8..]);
        assert!(idx.data.capacity() <= idx.data.len() + 1, "{} bytes for {}", idx.data.capacity(), idx.data.len());
    }

    #[test]
    fn every_broken_file_is_refused_with_what_is_wrong() {
        let huge = [0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255];
        let mut longer = LABELS.to_vec();
        longer.push(0);
        for (bytes, dimensions, word) in [
            (&[][..], 1, "empty"),
            (&LABELS[..3], 1, "magic number"),
            (&LABELS[..6], 1, "header"),
            (&LABELS[..9], 1, "truncated"),
            (&longer, 1, "more bytes follow"),
            (&LABELS, 3, "0x00000801"),
            (b"this is text", 1, "0x74686973"),
            (&huge, 3, "expected at most 8589934592 in total"),
        ] {
            let message = format!("{:#}", parse(bytes, dimensions).unwrap_err());
            assert!(message.contains(word), "{message}");
        }
    }
}
