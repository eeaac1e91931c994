//! Metadata of an image file: which way it is turned, and how much memory the rest may take.

use exif::{In, Tag, Value};
use image::ImageFormat;
use image::metadata::Orientation;

/// Most bytes of a PNG's metadata (colour profile, text, EXIF) once they are decompressed.
pub(super) const MAX_BYTES: u64 = 16 << 20;

/// DEFLATE stores at most this many bytes in one.
const MAX_COMPRESSION: u64 = 1032;

/// Bytes of memory that the metadata of a file of `length` bytes may take while the header is read. The buffer that it
/// is decompressed into doubles as it grows.
pub(super) fn memory(format: ImageFormat, length: u64) -> u64 {
    if format == ImageFormat::Png { 2 * MAX_BYTES.min(length.saturating_mul(MAX_COMPRESSION)) } else { 0 }
}

/// The EXIF entry of a PNG (chunk `eXIf`, before or behind the image data) or a WebP (chunk `EXIF`).
pub(super) fn exif_chunk(format: ImageFormat, bytes: &[u8]) -> Option<&[u8]> {
    let (mut rest, wanted) = match format {
        ImageFormat::Png => (bytes.get(8..)?, b"eXIf"),
        ImageFormat::WebP => (bytes.get(12..)?, b"EXIF"),
        _ => return None,
    };
    loop {
        let (first, after) = rest.split_first_chunk::<4>()?;
        let (second, after) = after.split_first_chunk::<4>()?;
        // A checksum follows a PNG's chunk. WebP's chunks have an even number of bytes.
        let (name, length, padding) = if format == ImageFormat::Png {
            (second, u32::from_be_bytes(*first), 4)
        } else {
            let length = u32::from_le_bytes(*second);
            (first, length, length as usize % 2)
        };
        let (data, after) = after.split_at_checked(length as usize)?;
        if name == wanted {
            return Some(data);
        }
        rest = after.get(padding..)?;
    }
}

/// The orientation in an EXIF entry (Exif 2.3, tag 0x0112). Accepts every TIFF integer type.
pub(super) fn orientation(mut entry: Vec<u8>) -> Option<Orientation> {
    if entry.starts_with(b"Exif\0\0") {
        entry.drain(..6);
    }
    let mut reader = exif::Reader::new();
    reader.continue_on_error(true);
    let exif = reader.read_raw(entry).or_else(|error| error.distill_partial_result(|_| ())).ok()?;
    let value = match &exif.get_field(Tag::Orientation, In::PRIMARY)?.value {
        Value::SByte(values) => u8::try_from(*values.first()?).ok(),
        Value::SShort(values) => u8::try_from(*values.first()?).ok(),
        Value::SLong(values) => u8::try_from(*values.first()?).ok(),
        value => u8::try_from(value.get_uint(0)?).ok(),
    };
    Orientation::from_exif(value?)
}

#[cfg(test)]
mod tests {
    use crate::image_file::file::{self, Limits};
    use image::{DynamicImage, GrayImage, ImageFormat, Luma};
    use std::io::Cursor;

    fn read(bytes: &[u8]) -> DynamicImage {
        file::decode(bytes, Limits { max_pixels: file::MAX_PIXELS, rows: 28 }).unwrap().image
    }

    /// An image of 40×24 px: black with one white corner.
    fn corner(format: ImageFormat) -> Vec<u8> {
        let image = GrayImage::from_fn(40, 24, |x, y| Luma([if x < 16 && y < 8 { 255 } else { 0 }]));
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// An EXIF entry with an orientation (Exif 2.3, tag 0x0112, 1 to 8), stored as the TIFF integer type `kind` in
    /// either byte order.
    fn entry(orientation: u8, kind: u8, big_endian: bool) -> Vec<u8> {
        let length = match kind {
            1 | 6 => 1,
            3 | 8 => 2,
            _ => 4,
        };
        let word = |value: u32, length: usize| {
            if big_endian { value.to_be_bytes()[4 - length..].to_vec() } else { value.to_le_bytes()[..length].to_vec() }
        };
        let mut exif = if big_endian { b"MM".to_vec() } else { b"II".to_vec() };
        for (value, length) in [(42, 2), (8, 4), (1, 2), (0x0112, 2), (kind.into(), 2), (1, 4)] {
            exif.extend(word(value, length));
        }
        exif.extend(word(orientation.into(), length));
        exif.resize(exif.len() + 4 - length + 4, 0);
        exif
    }

    /// A JPEG with this segment APP1 `at` bytes from its start.
    fn jpeg(exif: &[u8], at: usize) -> Vec<u8> {
        let mut bytes = corner(ImageFormat::Jpeg);
        let length = u8::try_from(exif.len() + 8).unwrap();
        bytes.splice(at..at, [&[0xff, 0xe1, 0, length], &b"Exif\0\0"[..], exif].concat());
        bytes
    }

    fn turned(orientation: u8, kind: u8, big_endian: bool) -> Vec<u8> {
        jpeg(&entry(orientation, kind, big_endian), 2)
    }

    /// A PNG with a chunk put before the last `from_end` bytes; its checksum is right.
    fn png(name: [u8; 4], data: &[u8], from_end: usize) -> Vec<u8> {
        let mut bytes = corner(ImageFormat::Png);
        let mut checksum = flate2::Crc::new();
        checksum.update(&name);
        checksum.update(data);
        let length = u32::try_from(data.len()).unwrap();
        let chunk = [&length.to_be_bytes(), &name[..], data, &checksum.sum().to_be_bytes()].concat();
        let at = bytes.len() - from_end;
        bytes.splice(at..at, chunk);
        bytes
    }

    #[test]
    fn photographs_are_turned_upright() {
        // Where the white corner ends up: bottom right after a half turn, top right after a clockwise quarter turn.
        for (orientation, size, white) in
            [(1, (40, 24), (2, 2)), (3, (40, 24), (37, 21)), (6, (24, 40), (21, 2)), (8, (24, 40), (2, 37))]
        {
            // The TIFF types BYTE, SHORT, LONG and their signed versions.
            for (kind, big_endian) in [1, 3, 4, 6, 8, 9].into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
                let image = read(&turned(orientation, kind, big_endian)).to_luma8();
                let case = format!("orientation {orientation}, kind {kind}, big-endian {big_endian}");
                assert_eq!(image.dimensions(), size, "{case}");
                assert!(image.get_pixel(white.0, white.1)[0] > 200, "{case}");
                assert!(image.get_pixel(size.0 / 2, size.1 / 2)[0] < 50, "{case}");
            }
        }
    }

    #[test]
    fn a_broken_exif_entry_is_left_alone() {
        for (orientation, kind) in [(0, 3), (9, 3), (255, 4), (6, 2), (6, 7), (6, 13), (6, 200)] {
            let image = read(&turned(orientation, kind, false));
            assert_eq!((image.width(), image.height()), (40, 24), "orientation {orientation}, kind {kind}");
        }
        let whole = turned(6, 3, true);
        for at in 6..whole.len() - corner(ImageFormat::Jpeg).len() {
            for byte in [0, 0x80, 255] {
                let mut broken = whole.clone();
                broken[at] = byte;
                read(&broken);
            }
        }
    }

    #[test]
    fn the_entry_may_lie_anywhere() {
        let plain = corner(ImageFormat::Jpeg);
        let marker = |wanted: u8| plain.windows(2).position(|pair| pair == [0xff, wanted]).unwrap();
        for at in [2, marker(0xc0), marker(0xc4), marker(0xda)] {
            assert_eq!(read(&jpeg(&entry(6, 3, true), at)).width(), 24, "JPEG, byte {at}");
        }
        // PNG: before the image data (signature and IHDR are 33 bytes), and before IEND, as ImageMagick 6 writes it.
        for from_end in [corner(ImageFormat::Png).len() - 33, 12] {
            let exif = entry(6, 3, false);
            assert_eq!(read(&png(*b"eXIf", &exif, from_end)).width(), 24, "{from_end} bytes from the end");
            assert_eq!(read(&png(*b"eXIf", &[b"Exif\0\0", &exif[..]].concat(), from_end)).width(), 24);
        }
        // A length that reaches beyond the file.
        let mut broken = png(*b"eXIf", &entry(6, 3, false), 12);
        let at = broken.windows(4).position(|name| name == b"eXIf").unwrap();
        broken[at - 4] = 0x7f;
        assert_eq!(read(&broken).width(), 40);
    }

    #[test]
    #[cfg(feature = "webp")]
    fn a_webp_is_turned_and_a_chunk_longer_than_the_file_takes_no_memory() {
        let plain = corner(ImageFormat::WebP);
        // The extended format (VP8X, with the flag for EXIF) around the simple one.
        let extended = |length: u32, exif: &[u8]| {
            let chunks = [
                &b"WEBPVP8X\x0a\0\0\0\x08\0\0\0\x27\0\0\x17\0\0"[..],
                &plain[12..],
                b"EXIF",
                &length.to_le_bytes(),
                exif,
            ]
            .concat();
            [b"RIFF", &u32::try_from(chunks.len()).unwrap().to_le_bytes()[..], &chunks].concat()
        };
        let exif = entry(8, 3, true);
        assert_eq!(read(&extended(u32::try_from(exif.len()).unwrap(), &exif)).width(), 24);
        let _ = file::decode(&extended(4_000_000_000, &exif), Limits { max_pixels: 1000, rows: 28 });
    }

    #[test]
    fn metadata_beyond_the_limit_is_refused() {
        let start = corner(ImageFormat::Png).len() - 33;
        let bytes = png(*b"eXIf", &vec![0; 2 * super::MAX_BYTES as usize], start);
        let refused = file::decode(&bytes, Limits { max_pixels: 1000, rows: 28 }).err().unwrap();
        assert!(format!("{refused:#}").contains("metadata (such as EXIF"), "{refused:#}");
    }

    #[test]
    fn a_colour_profile_that_unpacks_to_gigabytes_is_left_packed() {
        use flate2::{Compression, write::ZlibEncoder};
        use std::io::Write;
        let mut profile = ZlibEncoder::new(b"profile\0\0".to_vec(), Compression::fast());
        for _ in 0..64 {
            profile.write_all(&vec![0; 1 << 20]).unwrap();
        }
        let bytes = png(*b"iCCP", &profile.finish().unwrap(), corner(ImageFormat::Png).len() - 33);
        assert_eq!(read(&bytes).width(), 40);
        assert_eq!(super::memory(ImageFormat::Png, bytes.len() as u64), 2 * super::MAX_BYTES);
    }
}
