//! JPEG: damaged files are refused, and huge ones are decoded at reduced size.
//!
//! The decoder computes what libjpeg-turbo computes, bit for bit, so images have the same pixels here as in the programs
//! that train with Pillow, OpenCV or torchvision. It fails if a scan's data ends early. Where whole scans are missing, it
//! would continue with what it has, so [`Scans`] counts them.

use anyhow::{Context, Result, bail, ensure};
use image::{DynamicImage, GrayImage, RgbImage};
use libjpeg_turbo_rs::{DecodeLimits, Decoder, PixelFormat, ScalingFactor};
use std::borrow::Cow;
use std::io::Read;

/// Images with more pixels are decoded at a half, a quarter or an eighth of their width and height: no network needs
/// more.
const FULL_SIZE_PIXELS: u64 = 32_000_000;

/// Most scans of an image. Programs that look for the smallest file write up to 20; thousands of empty ones, which fit
/// into a small file, would take minutes.
const MAX_SCANS: usize = 100;

/// The contents of the header.
pub(super) struct Header {
    /// Width and height in pixels.
    pub size: (u16, u16),
    /// Whether the image has colours.
    pub colour: bool,
    /// Bytes per decoded pixel.
    channels: u64,
    progressive: bool,
}

impl Header {
    /// Reads up to the frame header. Fails for files that are not read: lossless, hierarchical or arithmetic ones, or
    /// more than 8 bits.
    pub fn read(mut source: impl Read) -> Result<Self> {
        let mut start = [0; 2];
        source.read_exact(&mut start).context(CUT_OFF)?;
        ensure!(start == [0xff, 0xd8], "it does not start like a JPEG");
        let mut last = 0;
        loop {
            let mut byte = [0];
            source.read_exact(&mut byte).context(CUT_OFF)?;
            let marker = (last == 0xff && ![0, 0xff].contains(&byte[0])).then_some(byte[0]);
            [last] = byte;
            // Markers without a segment.
            let Some(marker) = marker.filter(|marker| !matches!(marker, 0x01 | 0xd0..=0xd9)) else { continue };
            let mut length = [0; 2];
            source.read_exact(&mut length).context(CUT_OFF)?;
            let mut segment = Vec::new();
            let length = u64::from(u16::from_be_bytes(length)).saturating_sub(2);
            source.by_ref().take(length).read_to_end(&mut segment)?;
            ensure!(segment.len() as u64 == length, CUT_OFF);
            match marker {
                0xc0..=0xc2 => return Self::of_frame(&segment, marker == 0xc2),
                // DHT and DAC.
                0xc4 | 0xcc => (),
                0xc3 | 0xc5..=0xcf => bail!(
                    "it is a lossless, hierarchical or arithmetic-coded JPEG: expected a baseline or progressive one"
                ),
                0xda => bail!("its frame header is missing"),
                _ => (),
            }
            last = 0;
        }
    }

    /// Reads the frame header (T.81, B.2.2).
    fn of_frame(segment: &[u8], progressive: bool) -> Result<Self> {
        let &[precision, high, low, wide, narrow, components, ..] = segment else { bail!(CUT_OFF) };
        ensure!(precision == 8, "it is a JPEG with {precision} bits per channel: expected 8");
        let size = (u16::from_be_bytes([wide, narrow]), u16::from_be_bytes([high, low]));
        ensure!(matches!(components, 1 | 3 | 4), "it has {components} components: expected 1, 3 or 4");
        Ok(Self { size, colour: components > 1, channels: components.into(), progressive })
    }

    fn pixels(&self) -> u64 {
        u64::from(self.size.0) * u64::from(self.size.1)
    }

    /// The factor by which to divide width and height: the smallest that leaves at most [`FULL_SIZE_PIXELS`], or 8. It
    /// does not depend on the free memory: a file has the same pixels on every machine.
    pub fn reduction(&self) -> u16 {
        let fits = |by: &u16| self.pixels() / u64::from(by * by) <= FULL_SIZE_PIXELS;
        [1, 2, 4].into_iter().find(fits).unwrap_or(8)
    }

    /// Bytes needed for decoding: the planes, the image made from them, and the coefficients of all scans, which a
    /// progressive JPEG and one with several scans keep until the end.
    pub fn bytes(&self, reduction: u16) -> u64 {
        let by = u64::from(reduction);
        let coefficients = self.pixels() * if self.progressive { 2 } else { 1 };
        self.channels * (2 * self.pixels() / (by * by) + coefficients)
    }

    /// Decodes a complete file with this header, at 1 / `reduction` of its width and height. Fails if data is missing.
    /// Also returns the EXIF entry.
    pub fn decode(&self, bytes: &[u8], reduction: u16) -> Result<(DynamicImage, Option<Vec<u8>>)> {
        let (exif, ends) = Scans::complete(bytes)?;
        // The decoder insists on the end marker. Half of it may be there.
        let ended = || [bytes.strip_suffix(&[0xff]).unwrap_or(bytes), &[0xff, 0xd9]].concat();
        let bytes = if ends { Cow::Borrowed(bytes) } else { Cow::Owned(ended()) };
        let format = match self.channels {
            1 => PixelFormat::Grayscale,
            3 => PixelFormat::Rgb,
            _ => PixelFormat::Cmyk,
        };
        let limits = DecodeLimits { max_width: MAX_SIDE, max_height: MAX_SIDE, ..DecodeLimits::default() };
        let decoder = Decoder::new_with_limits(&bytes, limits)?;
        let decoder = decoder.with_output_format(format).with_scale(ScalingFactor::try_new(1, reduction.into())?);
        let decoded = decoder.decode_image().context("its data is damaged or missing")?;
        let (width, height) = (u32::try_from(decoded.width)?, u32::try_from(decoded.height)?);
        let image = match format {
            PixelFormat::Grayscale => GrayImage::from_raw(width, height, decoded.data).map(DynamicImage::ImageLuma8),
            PixelFormat::Rgb => RgbImage::from_raw(width, height, decoded.data).map(DynamicImage::ImageRgb8),
            _ => RgbImage::from_raw(width, height, rgb(decoded.data)).map(DynamicImage::ImageRgb8),
        };
        Ok((image.context("its decoded size differs from its header")?, exif.map(<[u8]>::to_vec)))
    }
}

/// Most columns or rows: the most that a header can state.
const MAX_SIDE: usize = 65_535;

/// CMYK to RGB, in place, as Pillow does it. JPEG stores how much light each ink lets through: 255 is no ink.
fn rgb(mut pixels: Vec<u8>) -> Vec<u8> {
    // A product of two shares of 255, rounded.
    let product = |one: u8, other: u8| {
        let product = u32::from(one) * u32::from(other) + 128;
        (((product >> 8) + product) >> 8) as u8
    };
    let count = pixels.len() / 4;
    for index in 0..count {
        let black = pixels[4 * index + 3];
        for channel in 0..3 {
            let ink = 255 - pixels[4 * index + channel];
            pixels[3 * index + channel] = black - product(ink, black);
        }
    }
    pixels.truncate(3 * count);
    pixels
}

const CUT_OFF: &str = "the JPEG data ends early: is the file truncated?";

/// Returns the next marker and what follows it. Skips the bytes before it, as every decoder does.
fn next_marker(mut rest: &[u8]) -> Option<(u8, &[u8])> {
    loop {
        rest = &rest[rest.iter().position(|&byte| byte == 0xff)?..];
        match rest {
            [0xff, 0, after @ ..] => rest = after,
            [0xff, 0xff, ..] => rest = &rest[1..],
            [0xff, marker, after @ ..] => return Some((*marker, after)),
            _ => return None,
        }
    }
}

/// What has been stored of an image so far, from its frame and scan headers.
#[derive(Default)]
struct Scans {
    progressive: bool,
    components: Vec<Component>,
    count: usize,
}

struct Component {
    identifier: u8,
    /// For each of the 64 coefficients the number of bits still missing; `None` before its first scan.
    missing_bits: [Option<u8>; 64],
}

impl Scans {
    /// Walks through the file up to its end marker, which may be missing. Fails if scans are missing or too many.
    /// Returns the EXIF entry, which may lie anywhere before the end, and whether there is an end marker.
    fn complete(bytes: &[u8]) -> Result<(Option<&[u8]>, bool)> {
        let mut rest = bytes.get(2..).unwrap_or_default();
        let (mut scans, mut exif, mut ends) = (Self::default(), None, false);
        while let Some((marker, after)) = next_marker(rest) {
            rest = after;
            if marker == 0xd9 {
                ends = true;
                break;
            }
            if (0xd0..=0xd8).contains(&marker) || marker == 0x01 {
                continue;
            }
            let length = rest.first_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
            let Some((segment, after)) = rest.split_at_checked(length) else { bail!(CUT_OFF) };
            rest = after;
            let segment = segment.get(2..).unwrap_or_default();
            match marker {
                // APP1 (Exif 2.3, section 4.7.2).
                0xe1 if segment.starts_with(b"Exif\0") && exif.is_none() => exif = segment.get(6..),
                // Start of frame; these three are DHT, JPG and DAC.
                0xc0..=0xcf if ![0xc4, 0xc8, 0xcc].contains(&marker) => scans.frame(segment, marker == 0xc2)?,
                0xda => scans.scan(segment)?,
                _ => (),
            }
        }
        let complete = |component: &Component| component.missing_bits.iter().all(|&bits| bits == Some(0));
        ensure!(!scans.components.is_empty() && scans.components.iter().all(complete), CUT_OFF);
        Ok((exif, ends))
    }

    /// Reads the frame header (T.81, B.2.2).
    fn frame(&mut self, segment: &[u8], progressive: bool) -> Result<()> {
        let [_, _, _, _, _, _, components @ ..] = segment else { bail!(CUT_OFF) };
        self.progressive = progressive;
        let component = |entry: &[u8]| Component { identifier: entry[0], missing_bits: [None; 64] };
        self.components = components.chunks_exact(3).map(component).collect();
        Ok(())
    }

    /// Reads a scan header (B.2.3).
    fn scan(&mut self, segment: &[u8]) -> Result<()> {
        self.count += 1;
        ensure!(
            self.count <= MAX_SCANS,
            "it has too many scans: expected at most {MAX_SCANS}; save it as a baseline JPEG or as PNG"
        );
        let Some((&count, parameters)) = segment.split_first() else { bail!(CUT_OFF) };
        let Some((selectors, &[from, to, approximation])) = parameters.split_at_checked(2 * usize::from(count)) else {
            bail!("its scan header is damaged");
        };
        for selector in selectors.chunks_exact(2) {
            let Some(component) = self.components.iter_mut().find(|component| component.identifier == selector[0])
            else {
                bail!("its scan header names a component that the frame does not have");
            };
            if self.progressive {
                for bits in component.missing_bits.iter_mut().take(usize::from(to) + 1).skip(from.into()) {
                    *bits = Some(approximation & 15);
                }
            } else {
                // A baseline scan holds all coefficients. libjpeg ignores these bytes too; some programs write zeros.
                component.missing_bits.fill(Some(0));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 40×40 px in four coloured squares, with 2x2 chroma subsampling: one scan per component, and progressive
    /// (libjpeg's cjpeg with `-sample 2x2`, and `-scans` or `-progressive`).
    const FILES: [&[u8]; 2] = [include_bytes!("scan-per-component.jpg"), include_bytes!("progressive.jpg")];

    const CMYK: [([u8; 4], [u8; 3]); 4] = [
        ([255, 255, 255, 255], [255, 255, 255]),
        ([10, 200, 90, 255], [10, 200, 90]),
        ([77, 130, 251, 100], [30, 51, 98]),
        ([0, 128, 255, 3], [0, 2, 3]),
    ];

    fn decode(bytes: &[u8]) -> Result<RgbImage> {
        let header = Header::read(bytes)?;
        header.decode(bytes, 1).map(|(image, _)| image.into_rgb8())
    }

    /// Start and end of each scan's data.
    fn scans(bytes: &[u8]) -> Vec<(usize, usize)> {
        let marker = |from: usize, wanted: &dyn Fn(u8) -> bool| {
            (from..bytes.len() - 1).find(|&at| bytes[at] == 0xff && wanted(bytes[at + 1]))
        };
        let (mut found, mut at) = (Vec::new(), 0);
        while let Some(scan) = marker(at, &|marker| marker == 0xda) {
            let start = scan + 2 + usize::from(u16::from_be_bytes([bytes[scan + 2], bytes[scan + 3]]));
            let end = marker(start, &|marker| marker != 0).unwrap();
            found.push((start, end));
            at = end;
        }
        found
    }

    #[test]
    fn components_in_scans_of_their_own_are_read_right() {
        for file in FILES {
            let image = decode(file).unwrap();
            // The colours drawn; libjpeg decodes them within 2.
            for (x, y, colour) in
                [(8, 8, [220, 30, 30]), (32, 8, [30, 180, 40]), (8, 32, [40, 60, 200]), (32, 32, [240, 230, 60])]
            {
                let found = image.get_pixel(x, y).0;
                assert!(
                    found.iter().zip(colour).all(|(found, level)| found.abs_diff(level) <= 4),
                    "{found:?} {colour:?}"
                );
            }
        }
    }

    /// FNV-1a of `Image.open(file).tobytes()` in Pillow 13.0.0, which uses libjpeg-turbo.
    #[test]
    fn every_byte_is_libjpegs() {
        for (file, expected) in FILES.into_iter().zip([0x929e_7aaa_9255_6ba4_u64, 0x929e_7aaa_9255_6ba4]) {
            let hash =
                decode(file).unwrap().into_raw().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
                });
            assert_eq!(hash, expected);
        }
    }

    /// From Pillow 13.0.0: `Image.new("CMYK", (1, 1), (255 - c, 255 - m, 255 - y, 255 - k)).convert("RGB")`.
    #[test]
    fn inks_become_colours_as_in_pillow() {
        for (stored, expected) in CMYK {
            assert_eq!(rgb(stored.to_vec()), expected, "{stored:?}");
        }
    }

    #[test]
    fn a_scan_that_lost_its_end_is_refused_although_the_end_marker_is_there() {
        for file in FILES {
            for (number, (start, end)) in scans(file).into_iter().enumerate() {
                for kept in [0, (end - start) / 2] {
                    let lost = [&file[..start + kept], &file[end..]].concat();
                    assert!(decode(&lost).is_err(), "scan {number}: {kept} of {} bytes", end - start);
                }
                let rest_lost = [&file[..end], &[0xff, 0xd9]].concat();
                assert_eq!(decode(&rest_lost).is_err(), end + 2 < file.len(), "scans after {number}");
            }
        }
    }

    #[test]
    fn the_end_marker_may_be_missing_and_anything_may_follow_it() {
        for file in FILES {
            let image = decode(file).unwrap();
            assert_eq!(decode(&file[..file.len() - 2]).unwrap(), image);
            assert_eq!(decode(&file[..file.len() - 1]).unwrap(), image);
            assert_eq!(decode(&[file, b"what some cameras append", file].concat()).unwrap(), image);
        }
    }

    #[test]
    fn what_the_decoder_does_not_read_is_refused_by_the_header() {
        let frame =
            FILES[0].windows(2).position(|pair| pair[0] == 0xff && (pair[1] == 0xc0 || pair[1] == 0xc1)).unwrap();
        // Lossless, hierarchical and arithmetic coding, and 12 bits.
        for (at, byte) in [(1, 0xc3), (1, 0xc5), (1, 0xc9), (1, 0xca), (4, 12)] {
            let mut other = FILES[0].to_vec();
            other[frame + at] = byte;
            assert!(Header::read(&other[..]).is_err(), "{byte:x}");
        }
    }

    #[test]
    fn files_that_would_take_endless_time_are_refused() {
        let (start, end) = *scans(FILES[1]).last().unwrap();
        let header = FILES[1][..start].windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
        let repeated = [&FILES[1][..end], &FILES[1][header..end].repeat(MAX_SCANS)[..], &FILES[1][end..]].concat();
        let message = decode(&repeated).unwrap_err().to_string();
        assert!(message.contains("too many scans: expected at most 100"), "{message}");
    }

    #[test]
    fn huge_images_are_decoded_at_a_part_of_their_size() {
        let header = |width, height| Header { size: (width, height), colour: true, channels: 3, progressive: false };
        for (width, height, expected) in [(6000, 4000, 1), (8000, 6000, 2), (14_000, 14_000, 4), (65_000, 65_000, 8)] {
            assert_eq!(header(width, height).reduction(), expected, "{width}x{height}");
        }
        let header = Header::read(FILES[0]).unwrap();
        let half = header.decode(FILES[0], 2).unwrap().0.into_rgb8();
        assert_eq!(half.dimensions(), (20, 20));
        assert!(half.get_pixel(4, 16).0.iter().zip([40, 60, 200]).all(|(found, level)| found.abs_diff(level) <= 6));
    }
}
