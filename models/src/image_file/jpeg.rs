//! JPEG: damaged files are refused, and huge ones are decoded at reduced size.
//!
//! Where a scan ends too early, the decoder continues with zeros, and its result does not show it. So each scan is
//! given to the decoder with [`FILLER`] behind it: bits that no Huffman code contains (ITU-T T.81, C.2). A complete
//! scan never reads them. A scan that has lost data does, and the decoder fails.

use anyhow::{Context, Result, bail, ensure};
use image::{DynamicImage, GrayImage, RgbImage};
use jpeg_decoder::{CodingProcess, Decoder, PixelFormat};
use std::io::{Cursor, ErrorKind, Read};

/// 48 one-bits: more than a symbol and its value can take, but few enough that the decoder, which reads 57 bits ahead,
/// still sees a restart marker behind them.
const FILLER: [u8; 12] = [0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0];

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
    /// Reads up to the first scan. Fails for files that the decoder cannot read: lossless, or more than 8 bits.
    pub fn read(source: impl Read) -> Result<Self> {
        let mut decoder = Decoder::new(source);
        decoder.read_info()?;
        let info = decoder.info().context("it has no frame header")?;
        let (colour, channels) = match info.pixel_format {
            PixelFormat::L8 => (false, 1),
            PixelFormat::RGB24 => (true, 3),
            PixelFormat::CMYK32 => (true, 4),
            PixelFormat::L16 => bail!("it is a JPEG with more than 8 bits per channel: expected 8"),
        };
        ensure!(
            info.coding_process != CodingProcess::Lossless,
            "it is a lossless JPEG: expected a baseline or progressive one"
        );
        Ok(Self {
            size: (info.width, info.height),
            colour,
            channels,
            progressive: info.coding_process == CodingProcess::DctProgressive,
        })
    }

    fn pixels(&self) -> u64 {
        u64::from(self.size.0) * u64::from(self.size.1)
    }

    /// The factor by which to divide width and height: the smallest that leaves at most [`FULL_SIZE_PIXELS`] and fits
    /// into `memory` bytes. 8 if none does.
    pub fn reduction(&self, memory: u64) -> u16 {
        let least = [1, 2, 4].into_iter().find(|&by| self.pixels() / (by * by) <= FULL_SIZE_PIXELS).unwrap_or(8);
        let fits = |by: &u64| self.bytes(*by as u16) <= memory;
        [1, 2, 4, 8].into_iter().filter(|&by| by >= least).find(fits).unwrap_or(8) as u16
    }

    /// Bytes needed for decoding: the planes, the image made from them, and the coefficients. A progressive JPEG keeps
    /// all coefficients until the end; other JPEGs keep them only while their blocks wait for a thread. There may be a
    /// restart marker and [`FILLER`] for every block of 64 coefficients.
    pub fn bytes(&self, reduction: u16) -> u64 {
        let by = u64::from(reduction);
        let coefficients = self.pixels() * if self.progressive { 2 } else { 1 };
        self.channels * (2 * self.pixels() / (by * by) + coefficients + self.pixels() / 4)
    }

    /// Decodes a complete file with this header, at 1 / `reduction` of its width and height. Fails if data is missing.
    /// Also returns the EXIF entry.
    pub fn decode(&self, bytes: &[u8], reduction: u16) -> Result<(DynamicImage, Option<Vec<u8>>)> {
        let (width, height) = self.size;
        let Guarded { copy, exif } = Guarded::read(bytes)?;
        let mut decoder = Decoder::new(Cursor::new(copy));
        let (width, height) = decoder.scale(width.div_ceil(reduction), height.div_ceil(reduction))?;
        let decoded = decoder.decode().map_err(|error| match error {
            // The file is in memory: what fails is starting a thread.
            jpeg_decoder::Error::Io(error) if error.kind() != ErrorKind::UnexpectedEof => {
                anyhow::Error::new(error).context("it cannot be decoded now")
            }
            damage => anyhow::Error::new(damage).context("its data is damaged or missing"),
        })?;
        let format = decoder.info().context("it has no frame header")?.pixel_format;
        let (width, height) = (u32::from(width), u32::from(height));
        let image = match format {
            PixelFormat::L8 => GrayImage::from_raw(width, height, decoded).map(DynamicImage::ImageLuma8),
            PixelFormat::RGB24 => RgbImage::from_raw(width, height, decoded).map(DynamicImage::ImageRgb8),
            PixelFormat::CMYK32 => RgbImage::from_raw(width, height, rgb(decoded)).map(DynamicImage::ImageRgb8),
            PixelFormat::L16 => None,
        };
        Ok((image.context("its decoded size differs from its header")?, exif.map(<[u8]>::to_vec)))
    }
}

/// CMYK to RGB, in place.
fn rgb(mut pixels: Vec<u8>) -> Vec<u8> {
    let count = pixels.len() / 4;
    for index in 0..count {
        let light = 255 - u32::from(pixels[4 * index + 3]);
        for channel in 0..3 {
            let paper = 255 - u32::from(pixels[4 * index + channel]);
            pixels[3 * index + channel] = ((paper * light + 127) / 255) as u8;
        }
    }
    pixels.truncate(3 * count);
    pixels
}

/// A JPEG as the decoder gets it.
struct Guarded<'a> {
    copy: Vec<u8>,
    /// The EXIF entry, which may lie anywhere before the end.
    exif: Option<&'a [u8]>,
}

impl<'a> Guarded<'a> {
    /// Copies the file up to its end marker (which may be missing), with [`FILLER`] behind every scan and restart
    /// interval. Fails if data is missing, or for the layouts that the decoder gets wrong.
    fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut rest = bytes.get(2..).unwrap_or_default();
        let mut copy = Vec::new();
        copy.try_reserve(bytes.len() + bytes.len() / 8)?;
        copy.extend_from_slice(&bytes[..bytes.len() - rest.len()]);
        let (mut scans, mut exif) = (Scans::default(), None);
        while let Some((marker, after)) = next_marker(rest) {
            if marker == 0xd9 {
                break;
            }
            copy.extend([0xff, marker]);
            rest = after;
            if (0xd0..=0xd8).contains(&marker) || marker == 0x01 {
                continue;
            }
            let length = rest.first_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
            let Some((segment, after)) = rest.split_at_checked(length) else { bail!(CUT_OFF) };
            copy.extend_from_slice(segment);
            rest = after;
            let segment = segment.get(2..).unwrap_or_default();
            match marker {
                // APP1 (Exif 2.3, section 4.7.2).
                0xe1 if segment.starts_with(b"Exif\0") && exif.is_none() => exif = segment.get(6..),
                // Start of frame; these three are DHT, JPG and DAC.
                0xc0..=0xcf if ![0xc4, 0xc8, 0xcc].contains(&marker) => scans.frame(segment, marker == 0xc2)?,
                0xda => {
                    let scan = scans.scan(segment)?;
                    rest = entropy_coded(rest, &mut copy, &scan)?;
                }
                _ => (),
            }
        }
        scans.end()?;
        copy.extend([0xff, 0xd9]);
        Ok(Self { copy, exif })
    }
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

/// Copies a scan's data, including its restart markers, up to the next other marker. Returns the rest. Fails if there
/// are fewer bits than the scan needs, or more restart intervals than it has blocks.
fn entropy_coded<'a>(mut rest: &'a [u8], copy: &mut Vec<u8>, scan: &Scan) -> Result<&'a [u8]> {
    let (mut bytes, mut intervals) = (0, 0);
    loop {
        intervals += 1;
        ensure!(intervals <= scan.blocks, "its data is damaged: a scan has more restart markers than blocks");
        let end = rest.windows(2).position(|pair| pair[0] == 0xff && pair[1] != 0);
        // A final 0xff is half of a marker.
        let end = end.unwrap_or(rest.len() - usize::from(rest.last() == Some(&0xff)));
        copy.extend_from_slice(&rest[..end]);
        bytes += end;
        copy.extend(FILLER);
        rest = &rest[end..];
        match next_marker(rest) {
            Some((restart @ 0xd0..=0xd7, after)) => {
                copy.extend([0xff, restart]);
                rest = after;
            }
            _ => break,
        }
    }
    ensure!(8 * bytes as u64 >= scan.bits_needed, CUT_OFF);
    Ok(rest)
}

/// What has been stored of an image so far, from its frame and scan headers.
#[derive(Default)]
struct Scans {
    size: (u64, u64),
    progressive: bool,
    components: Vec<Component>,
    count: usize,
}

/// What the header of one scan says about its data.
struct Scan {
    blocks: u64,
    /// The data has at least this many bits.
    bits_needed: u64,
}

struct Component {
    identifier: u8,
    /// Blocks per unit (MCU), across and down.
    sampling: (u8, u8),
    /// For each of the 64 coefficients the number of bits still missing; `None` before its first scan.
    missing_bits: [Option<u8>; 64],
}

impl Scans {
    /// Reads the frame header (T.81, B.2.2).
    fn frame(&mut self, segment: &[u8], progressive: bool) -> Result<()> {
        let [_, high, low, wide, narrow, _, components @ ..] = segment else { bail!(CUT_OFF) };
        self.size = (u16::from_be_bytes([*wide, *narrow]).into(), u16::from_be_bytes([*high, *low]).into());
        self.progressive = progressive;
        let component = |entry: &[u8]| Component {
            identifier: entry[0],
            sampling: (entry[1] >> 4, entry[1] & 15),
            missing_bits: [None; 64],
        };
        self.components = components.chunks_exact(3).map(component).collect();
        Ok(())
    }

    /// Reads a scan header (B.2.3).
    fn scan(&mut self, segment: &[u8]) -> Result<Scan> {
        self.count += 1;
        ensure!(
            self.count <= MAX_SCANS,
            "it has too many scans: expected at most {MAX_SCANS}; save it as a baseline JPEG or as PNG"
        );
        let Some((&count, parameters)) = segment.split_first() else { bail!(CUT_OFF) };
        let Some((selectors, &[from, to, approximation])) = parameters.split_at_checked(2 * usize::from(count)) else {
            bail!("its scan header is damaged");
        };
        let most = self
            .components
            .iter()
            .fold((1, 1), |most, component| (component.sampling.0.max(most.0), component.sampling.1.max(most.1)));
        let (wide, high) = self.size;
        let mut blocks = 0;
        for selector in selectors.chunks_exact(2) {
            let Some(component) = self.components.iter_mut().find(|component| component.identifier == selector[0])
            else {
                bail!("its scan header names a component that the frame does not have");
            };
            let across = extent(wide, component.sampling.0, most.0);
            let down = extent(high, component.sampling.1, most.1);
            // A scan of one component has no padding blocks. The decoder gets this right for a component of full size
            // or with one block per unit; for any other it expects the padding.
            ensure!(
                count > 1 || (across.is_read && down.is_read),
                "its components are sampled {}x{} and {}x{} and stored one by one, which this program cannot read: \
                 save it as a baseline JPEG or as PNG",
                most.0,
                most.1,
                component.sampling.0,
                component.sampling.1,
            );
            blocks += across.blocks * down.blocks;
            for bits in component.missing_bits.iter_mut().take(usize::from(to) + 1).skip(from.into()) {
                *bits = Some(if self.progressive { approximation & 15 } else { 0 });
            }
        }
        // A scan that refines the DC coefficients stores one bit per block and no codes, so the filler does not make it
        // fail.
        let bits_needed = if self.progressive && from == 0 && approximation >> 4 > 0 { blocks } else { 0 };
        Ok(Scan { blocks, bits_needed })
    }

    /// Fails if a scan is missing.
    fn end(&self) -> Result<()> {
        let complete = |component: &Component| component.missing_bits.iter().all(|&bits| bits == Some(0));
        let complete = !self.components.is_empty() && self.components.iter().all(complete);
        ensure!(complete, CUT_OFF);
        Ok(())
    }
}

/// The size of a component along one axis.
struct Extent {
    /// Blocks in a scan of this component alone.
    blocks: u64,
    /// Whether the decoder expects this number of blocks.
    is_read: bool,
}

/// For a component of `sampling` blocks per unit, in an image of `pixels` pixels with at most `most` blocks per unit.
fn extent(pixels: u64, sampling: u8, most: u8) -> Extent {
    let (sampling, most) = (u64::from(sampling), u64::from(most));
    let blocks = (pixels * sampling).div_ceil(most).div_ceil(8);
    let padded = pixels.div_ceil(8 * most) * sampling;
    Extent { blocks, is_read: sampling == most || blocks == padded }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 40×40 px in four coloured squares, with 2x2 chroma subsampling: one scan per component, and progressive
    /// (libjpeg's cjpeg with `-sample 2x2`, and `-scans` or `-progressive`).
    const FILES: [&[u8]; 2] = [include_bytes!("scan-per-component.jpg"), include_bytes!("progressive.jpg")];

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
        // Sampling 4x1 and 2x1: the decoder would expect other blocks in the second component's scan.
        let mut other = FILES[0].to_vec();
        (other[frame + 11], other[frame + 14]) = (0x41, 0x21);
        let message = decode(&other).unwrap_err().to_string();
        assert!(message.contains("sampled 4x1 and 2x1"), "{message}");
    }

    #[test]
    fn files_that_would_take_endless_time_or_memory_are_refused() {
        let (_, end) = scans(FILES[0])[0];
        let restarts = [&FILES[0][..end], &[0xff, 0xd0].repeat(1000)[..], &FILES[0][end..]].concat();
        let message = decode(&restarts).unwrap_err().to_string();
        assert!(message.contains("more restart markers than blocks"), "{message}");
        let (start, end) = *scans(FILES[1]).last().unwrap();
        let header = FILES[1][..start].windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
        let repeated = [&FILES[1][..end], &FILES[1][header..end].repeat(MAX_SCANS)[..], &FILES[1][end..]].concat();
        let message = decode(&repeated).unwrap_err().to_string();
        assert!(message.contains("too many scans: expected at most 100"), "{message}");
    }

    #[test]
    fn huge_images_are_decoded_at_a_part_of_their_size() {
        let header = |width, height| Header { size: (width, height), colour: true, channels: 3, progressive: false };
        for (width, height, memory, expected) in [
            (6000, 4000, u64::MAX, 1),
            (8000, 6000, u64::MAX, 2),
            (14_000, 14_000, u64::MAX, 4),
            (6000, 4000, 200_000_000, 2),
            (6000, 4000, 1000, 8),
        ] {
            assert_eq!(header(width, height).reduction(memory), expected, "{width}x{height}");
        }
        let header = Header::read(FILES[0]).unwrap();
        let half = header.decode(FILES[0], 2).unwrap().0.into_rgb8();
        assert_eq!(half.dimensions(), (20, 20));
        assert!(half.get_pixel(4, 16).0.iter().zip([40, 60, 200]).all(|(found, level)| found.abs_diff(level) <= 6));
    }
}
