//! Picture files: which there are, and how they are decoded.

use anyhow::{Context, Result, bail, ensure};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

/// Most pixels a picture may have by default: what the largest cameras yield.
pub const MAX_PIXELS: u64 = 200_000_000;

/// Most memory that decoding one picture may take, and most bytes of its file.
const MAX_BYTES: u64 = 1 << 30;

/// The formats that are read, for messages; a JPEG's orientation is that of its EXIF entry.
pub const FORMATS: &str = match (cfg!(feature = "webp"), cfg!(feature = "bmp")) {
    (true, true) => "PNG, JPEG, WebP, BMP, PNM",
    (true, false) => "PNG, JPEG, WebP, PNM",
    (false, true) => "PNG, JPEG, BMP, PNM",
    (false, false) => "PNG, JPEG, PNM",
};

/// Whether a file's name ends like that of a picture in one of the [`FORMATS`].
#[must_use]
pub fn has_picture_ending(path: &Path) -> bool {
    path.extension().and_then(ImageFormat::from_extension).is_some_and(|format| format.reading_enabled())
}

/// Decodes a picture file of at most so many pixels. The format is told by its content, not by its name.
pub(super) fn open(path: &Path, max_pixels: u64) -> Result<DynamicImage> {
    let read = || {
        let file = File::open(path)?;
        // So that it is read in one go; what a file tells of itself is not believed beyond that.
        let told = file.metadata().map_or(0, |metadata| metadata.len().min(READ_AHEAD));
        bytes(file, told as usize + 1)
    };
    let bytes: Result<_> = read();
    let bytes = bytes.with_context(|| format!("cannot read {}", path.display()))?;
    decode(&bytes, max_pixels).with_context(|| format!("{} is not a picture that can be read", path.display()))
}

/// Whether a picture file stores colours, as its header says: nothing is decoded.
pub fn is_in_colour(path: &Path) -> Result<bool> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let decoder = decoder(BufReader::new(file), u64::MAX);
    let decoder = decoder.with_context(|| format!("{} is not a picture that can be read", path.display()))?;
    Ok(decoder.color_type().has_color())
}

/// Most memory that is set aside for a file before it is read.
const READ_AHEAD: u64 = 64 << 20;

/// The bytes of a file or a pipe, unless there are more than a picture can have; some `expected` of them.
pub(super) fn bytes(source: impl Read, expected: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(expected);
    source.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= MAX_BYTES, "it is longer than {MAX_BYTES} bytes");
    Ok(bytes)
}

/// Decodes a picture from memory and turns it upright, as its EXIF orientation says: cameras store what the sensor
/// saw.
pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<DynamicImage> {
    let mut decoder = decoder(Cursor::new(bytes), max_pixels)?;
    ensure!(!is_cut_off(bytes), "the JPEG data breaks off: is the file truncated?");
    // A broken EXIF entry is no reason to refuse a picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// Reads a picture's header. A picture of too many pixels, or one that would take too much memory, is refused.
fn decoder<'a>(file: impl BufRead + Seek + 'a, max_pixels: u64) -> Result<impl ImageDecoder + 'a> {
    let mut reader = ImageReader::new(file).with_guessed_format()?;
    match reader.format() {
        None => bail!("its content is none of the formats this program reads ({FORMATS})"),
        Some(format) if !format.reading_enabled() => {
            bail!("it is a {format:?} picture: this program was built to read {FORMATS}")
        }
        Some(_) => (),
    }
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    ensure!(pixels > 0, "it has {width}x{height} pixels: expected at least one");
    ensure!(pixels <= max_pixels, "it has {width}x{height} = {pixels} pixels: expected at most {max_pixels}");
    // As `ImageReader::decode` does: the decoders themselves do not count what they decode into.
    let total = decoder.total_bytes();
    ensure!(total <= MAX_BYTES, "it would take {total} bytes in memory: expected at most {MAX_BYTES}");
    Ok(decoder)
}

/// Whether a JPEG has lost its end. The decoder fills what is missing with grey, which nobody should train on.
///
/// After the start of the first scan the marker "end of image" cannot occur before the end: in the compressed data a
/// 0 follows every 255, and a thumbnail in the EXIF entry comes earlier.
fn is_cut_off(bytes: &[u8]) -> bool {
    const END: [u8; 2] = [0xff, 0xd9];
    let Some(mut rest) = bytes.strip_prefix(&[0xff, 0xd8]) else { return false };
    loop {
        match rest {
            // Any number of 255 may come before a marker.
            [0xff, 0xff, ..] => rest = &rest[1..],
            [0xff, 0xda, scan @ ..] => return !scan.windows(2).any(|pair| pair == END),
            // A segment: its length counts its own two bytes.
            [0xff, _, high, low, ..] => match rest.get(2 + usize::from(u16::from_be_bytes([*high, *low]))..) {
                Some(next) => rest = next,
                None => return true,
            },
            // What is no chain of segments is the decoder's to judge.
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use image::{GrayImage, Luma, RgbImage};

    /// A black picture with one white corner, 40×24 px, as a JPEG.
    fn jpeg() -> Vec<u8> {
        let picture = GrayImage::from_fn(40, 24, |x, y| Luma([if x < 16 && y < 8 { 255 } else { 0 }]));
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        bytes.into_inner()
    }

    /// The same with an EXIF entry that says how it is to be turned (Exif 2.3, tag 0x0112, 1 to 8).
    fn turned(orientation: u8) -> Vec<u8> {
        let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0".to_vec();
        exif.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0]);
        let mut bytes = jpeg();
        let segment = [&[0xff, 0xe1, 0, u8::try_from(exif.len() + 2).unwrap()], &exif[..]].concat();
        bytes.splice(2..2, segment);
        bytes
    }

    #[test]
    fn photographs_are_turned_upright() {
        // Where the white corner ends up: bottom right after half a turn, top right after a quarter clockwise.
        for (orientation, size, white) in
            [(1, (40, 24), (2, 2)), (3, (40, 24), (37, 21)), (6, (24, 40), (21, 2)), (8, (24, 40), (2, 37))]
        {
            let picture = decode(&turned(orientation), MAX_PIXELS).unwrap().to_luma8();
            assert_eq!(picture.dimensions(), size, "orientation {orientation}");
            assert!(picture.get_pixel(white.0, white.1)[0] > 200, "orientation {orientation}");
            assert!(picture.get_pixel(size.0 / 2, size.1 / 2)[0] < 50, "orientation {orientation}");
        }
    }

    /// Without the check the decoder would fill the lower half with grey.
    #[test]
    fn a_picture_that_breaks_off_is_refused() {
        let mut noise = Fingerprint::default();
        let picture = GrayImage::from_fn(100, 100, |x, _| {
            noise = noise.and(&x.to_le_bytes());
            Luma([noise.spread() as u8])
        });
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let mut whole = Cursor::new(Vec::new());
            picture.write_to(&mut whole, format).unwrap();
            let whole = whole.into_inner();
            decode(&whole, MAX_PIXELS).unwrap();
            for length in [3, 20, 200, whole.len() / 2, whole.len() - 100] {
                assert!(decode(&whole[..length], MAX_PIXELS).is_err(), "{format:?}, {length} of {} bytes", whole.len());
            }
            decode(&[&whole, &b"what some cameras append"[..]].concat(), MAX_PIXELS).unwrap();
        }
        let mut half = Cursor::new(Vec::new());
        picture.write_to(&mut half, ImageFormat::Jpeg).unwrap();
        let half = half.into_inner();
        let half = &half[..half.len() / 2];
        assert!(
            DynamicImage::from_decoder(decoder(Cursor::new(half), MAX_PIXELS).unwrap()).is_ok(),
            "the check is needed no more"
        );
    }

    #[test]
    fn colour_is_told_by_the_header() {
        let folder = tempfile::tempdir().unwrap();
        let (grey, colour) = (folder.path().join("grey.jpg"), folder.path().join("colour.png"));
        std::fs::write(&grey, jpeg()).unwrap();
        RgbImage::new(4, 4).save(&colour).unwrap();
        assert_eq!((is_in_colour(&grey).unwrap(), is_in_colour(&colour).unwrap()), (false, true));
        assert!(is_in_colour(&folder.path().join("missing.png")).is_err());
    }

    #[test]
    fn pictures_are_told_by_their_ending_before_they_are_opened() {
        for name in ["a.png", "b.JPG", "c.jpeg", "d.bmp", "e.pgm", "f.webp"] {
            assert!(has_picture_ending(Path::new(name)), "{name}");
        }
        for name in ["a.txt", "b", ".png", "c.tiff", "d.png.part"] {
            assert!(!has_picture_ending(Path::new(name)), "{name}");
        }
    }

    /// PNM, BMP and others can say so, and no decoder minds.
    #[test]
    fn a_picture_without_pixels_is_refused() {
        for bytes in [&b"P5 0 3 255\n"[..], b"P6 3 0 255\n"] {
            let message = format!("{:#}", decode(bytes, MAX_PIXELS).unwrap_err());
            assert!(message.contains("expected at least one"), "{message}");
        }
    }

    #[test]
    fn text_is_not_a_picture() {
        let message = format!("{:#}", decode(b"hello, I am a text file", MAX_PIXELS).unwrap_err());
        assert!(message.contains("none of the formats"), "{message}");
    }
}
