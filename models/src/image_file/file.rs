//! Image files: the supported formats and their decoding.

use super::memory::{Budget, Share};
use super::{jpeg, metadata};
use crate::files::name;
use anyhow::{Context, Result, anyhow, bail, ensure};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, GrayAlphaImage, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader};
use image::{RgbImage, RgbaImage};
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

/// Default limit on the pixels of an image: about what the largest cameras record.
pub const MAX_PIXELS: u64 = 200_000_000;

/// Most bytes of an image file, and of a decoded image. A JPEG's decoded size is limited by the memory budget instead.
const MAX_BYTES: u64 = 1 << 30;

/// The supported formats. They display as a list of their names.
pub const FORMATS: Formats = Formats(&[
    ("PNG", ImageFormat::Png),
    ("JPEG", ImageFormat::Jpeg),
    #[cfg(feature = "webp")]
    ("WebP", ImageFormat::WebP),
    #[cfg(feature = "bmp")]
    ("BMP", ImageFormat::Bmp),
    ("PNM", ImageFormat::Pnm),
]);

/// Image formats with their names.
pub struct Formats(&'static [(&'static str, ImageFormat)]);

impl Formats {
    fn contains(&self, format: ImageFormat) -> bool {
        self.0.iter().any(|(_, known)| *known == format)
    }
}

impl fmt::Display for Formats {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|(name, _)| *name).collect();
        f.write_str(&names.join(", "))
    }
}

/// Whether a file's extension is that of one of the [`FORMATS`].
#[must_use]
pub fn has_image_ending(path: &Path) -> bool {
    path.extension().and_then(ImageFormat::from_extension).is_some_and(|format| FORMATS.contains(format))
}

/// An image in memory: upright, 8 bits per channel.
pub(super) struct Decoded {
    pub image: DynamicImage,
    /// By which factor its width and height were reduced.
    pub reduction: u16,
    /// The memory reserved for the image, returned to the budget on drop.
    pub share: Share<'static>,
}

/// Limits on reading an image: the most pixels it may have, and the number of rows it will be resized to.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub max_pixels: u64,
    pub rows: usize,
}

/// Files of up to this many bytes are read before their header is parsed.
const SMALL: u64 = 1 << 20;

/// Decodes an image file. The format is detected by content, not by extension.
pub(super) fn open(path: &Path, limits: Limits) -> Result<Decoded> {
    let cannot_read = || format!("cannot read {}", name(path));
    let not_an_image = || format!("{} is not an image that can be read", name(path));
    let mut file = File::open(path).with_context(cannot_read)?;
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    if length <= SMALL {
        let bytes = bytes(file, length as usize + 1).with_context(cannot_read)?;
        return decode(&bytes, limits).with_context(not_an_image);
    }
    // A large file is reserved in the memory budget before it is read.
    ensure!(length <= MAX_BYTES, "{}: it is larger than {MAX_BYTES} bytes", not_an_image());
    let header = Header::read(BufReader::new(&file), length, limits.max_pixels).with_context(not_an_image)?;
    let (share, reduction) = header.memory(length, limits.rows).with_context(not_an_image)?;
    file.rewind().with_context(cannot_read)?;
    let bytes = bytes(file, length as usize + 1).with_context(cannot_read)?;
    let image = header.decode(&bytes, reduction).with_context(not_an_image)?;
    Ok(Decoded { image, reduction, share })
}

/// What an image file's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageForm {
    /// Width in pixels, before any rotation that the camera asks for.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Whether it stores colours.
    pub in_colour: bool,
}

/// Reads an image file's header. The image is not decoded.
pub fn form(path: &Path) -> Result<ImageForm> {
    let file = File::open(path).with_context(|| format!("cannot open {}", name(path)))?;
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let header = Header::read(BufReader::new(file), length, u64::MAX);
    let header = header.with_context(|| format!("{} is not an image that can be read", name(path)))?;
    Ok(ImageForm { width: header.size.0, height: header.size.1, in_colour: header.is_in_colour() })
}

/// Reads a file or a pipe to its end and reserves `expected` bytes. Fails above [`MAX_BYTES`].
pub(super) fn bytes(source: impl Read, expected: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve(expected)?;
    source.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= MAX_BYTES, "it is larger than {MAX_BYTES} bytes");
    Ok(bytes)
}

/// Decodes an image in memory and turns it upright. Cameras store the sensor's orientation and put the rotation into
/// EXIF.
pub(super) fn decode(bytes: &[u8], limits: Limits) -> Result<Decoded> {
    let length = bytes.len() as u64;
    let header = Header::read(Cursor::new(bytes), length, limits.max_pixels)?;
    let (share, reduction) = header.memory(length, limits.rows)?;
    Ok(Decoded { image: header.decode(bytes, reduction)?, reduction, share })
}

/// The contents of an image's header.
struct Header {
    size: (u32, u32),
    kind: Kind,
}

enum Kind {
    Jpeg(jpeg::Header),
    /// Decoded by the crate `image`: format, colour type, and decoded size in bytes.
    Other(ImageFormat, ColorType, u64),
}

impl Header {
    /// Reads the header of a file of `length` bytes. Fails if the image has too many pixels or would take too much
    /// memory.
    fn read(mut source: impl BufRead + Seek, length: u64, max_pixels: u64) -> Result<Self> {
        let width = png_width(&mut source)?;
        let reader = ImageReader::new(source).with_guessed_format()?;
        let (size, kind) = match reader.format() {
            None => bail!("unknown format: expected one that this program reads ({FORMATS})"),
            Some(ImageFormat::Jpeg) => {
                let header = jpeg::Header::read(reader.into_inner())?;
                let (width, height) = header.size;
                ((width.into(), height.into()), Kind::Jpeg(header))
            }
            Some(format) if !FORMATS.contains(format) => {
                bail!("it is a {format:?} image: this program was built to read {FORMATS}")
            }
            Some(format) => {
                let _share = Budget::of_process().take(metadata::memory(format, length))?;
                let decoder = decoder(reader, width)?;
                (decoder.dimensions(), Kind::Other(format, decoder.color_type(), decoder.total_bytes()))
            }
        };
        let (width, height) = size;
        let pixels = u64::from(width) * u64::from(height);
        ensure!(pixels > 0, "it has {width}x{height} pixels: expected at least one");
        ensure!(pixels <= max_pixels, "it has {width}x{height} = {pixels} pixels: expected at most {max_pixels}");
        if let Kind::Other(_, _, bytes) = kind {
            ensure!(bytes <= MAX_BYTES, "it would need {bytes} bytes of memory: expected at most {MAX_BYTES}");
        }
        Ok(Self { size, kind })
    }

    fn is_in_colour(&self) -> bool {
        match &self.kind {
            Kind::Jpeg(header) => header.colour,
            Kind::Other(_, colour, _) => colour.has_color(),
        }
    }

    /// Waits until the budget has room to read a file of `file` bytes, decode it and resize it to `rows` rows. Returns
    /// the share of the budget, and the factor (1, 2, 4 or 8) by which the image is reduced while decoding.
    fn memory(&self, file: u64, rows: usize) -> Result<(Share<'static>, u16)> {
        let pixels = u64::from(self.size.0) * u64::from(self.size.1);
        // A quarter turn copies the image; whether there is one is only known when the file is in memory. Resizing
        // makes an intermediate image of `rows` rows with four floats per pixel.
        let after = |reduction: u64, channels: u64| {
            let copy = channels * pixels / (reduction * reduction);
            // The card says how many rows, so they can be any number.
            copy.max((16 * u64::from(self.size.0.max(self.size.1)) / reduction).saturating_mul(rows as u64))
        };
        let (bytes, reduction) = match &self.kind {
            Kind::Jpeg(header) => {
                let reduction = header.reduction();
                // The decoder reads from a copy of a file without an end marker.
                (after(reduction.into(), 3).saturating_add(header.bytes(reduction) + 2 * file), reduction)
            }
            Kind::Other(format, colour, bytes) => {
                // An EXIF entry may be as long as the file, and is copied to be read.
                let working = match format {
                    ImageFormat::WebP => 8 * pixels + file,
                    ImageFormat::Png => 2 * file + metadata::memory(*format, file),
                    ImageFormat::Pnm => *bytes,
                    _ => 0,
                };
                (after(1, colour.channel_count().into()).saturating_add(file + bytes + working), 1)
            }
        };
        Ok((Budget::of_process().take(bytes)?, reduction))
    }

    fn decode(&self, bytes: &[u8], reduction: u16) -> Result<DynamicImage> {
        if let (Kind::Other(ImageFormat::WebP, ..), Some(length)) =
            (&self.kind, bytes.get(4..).and_then(<[u8]>::first_chunk))
        {
            // The decoder does not notice missing data, so compare with the length in the RIFF header.
            let told = u64::from(u32::from_le_bytes(*length)) + 8;
            ensure!(bytes.len() as u64 >= told, "it has {} bytes of {told}: is the file truncated?", bytes.len());
        }
        let (mut image, exif) = match &self.kind {
            Kind::Jpeg(header) => header.decode(bytes, reduction)?,
            Kind::Other(format, ..) => {
                let bytes = with_end(*format, bytes)?;
                let reader = ImageReader::new(Cursor::new(&bytes)).with_guessed_format()?;
                (eight_bits(decoder(reader, self.size.0)?)?, metadata::exif_chunk(*format, &bytes).map(<[u8]>::to_vec))
            }
        };
        // An invalid EXIF entry does not make the image unreadable.
        image.apply_orientation(exif.and_then(metadata::orientation).unwrap_or(Orientation::NoTransforms));
        Ok(image)
    }
}

/// The width in pixels if the file is a PNG, otherwise 0. Rewinds `source`.
fn png_width(source: &mut (impl Read + Seek)) -> Result<u32> {
    let mut start = Vec::new();
    source.by_ref().take(24).read_to_end(&mut start)?;
    source.rewind()?;
    let width = start.get(16..).and_then(<[u8]>::first_chunk).filter(|_| start.starts_with(b"\x89PNG"));
    Ok(width.map_or(0, |width| u32::from_be_bytes(*width)))
}

/// The decoder of an image which, if it is a PNG, is `width` pixels wide.
fn decoder<'a>(mut reader: ImageReader<impl BufRead + Seek + 'a>, width: u32) -> Result<impl ImageDecoder + 'a> {
    let mut limits = image::Limits::default();
    // For PNG this limits the metadata and one row of pixels.
    limits.max_alloc = Some(match reader.format() {
        Some(ImageFormat::Png) => metadata::MAX_BYTES + 8 * u64::from(width),
        _ => MAX_BYTES,
    });
    let is_png = reader.format() == Some(ImageFormat::Png);
    reader.limits(limits);
    reader.into_decoder().map_err(|error| match error {
        ImageError::Limits(_) if is_png => anyhow!(
            "its metadata (such as EXIF, text or a colour profile) has more than {} MB: save the image without it",
            metadata::MAX_BYTES / 1_000_000
        ),
        error => error.into(),
    })
}

/// The file, with the end marker of a PNG (chunk `IEND`) if that is missing: whether it is complete is decided by its
/// data.
fn with_end(format: ImageFormat, bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    const END: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";
    if format != ImageFormat::Png || memchr::memmem::rfind(bytes, &END[4..8]).is_some() {
        return Ok(bytes.into());
    }
    let mut complete = Vec::new();
    complete.try_reserve_exact(bytes.len() + END.len())?;
    complete.extend_from_slice(bytes);
    complete.extend_from_slice(END);
    Ok(complete.into())
}

/// Decodes an image of 8 or 16 bits per channel to 8 bits, without a copy.
fn eight_bits(decoder: impl ImageDecoder) -> Result<DynamicImage> {
    let ((width, height), colour) = (decoder.dimensions(), decoder.color_type());
    let mut pixels = Vec::new();
    let length = usize::try_from(decoder.total_bytes())?;
    pixels.try_reserve_exact(length)?;
    pixels.resize(length, 0);
    decoder.read_image(&mut pixels)?;
    if colour.bytes_per_pixel() == 2 * colour.channel_count() {
        for index in 0..length / 2 {
            let level = u16::from_ne_bytes([pixels[2 * index], pixels[2 * index + 1]]);
            pixels[index] = ((u32::from(level) + 128) / 257) as u8;
        }
        pixels.truncate(length / 2);
    }
    let image = match colour {
        ColorType::L8 | ColorType::L16 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
        ColorType::La8 | ColorType::La16 => {
            GrayAlphaImage::from_raw(width, height, pixels).map(DynamicImage::ImageLumaA8)
        }
        ColorType::Rgb8 | ColorType::Rgb16 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
        ColorType::Rgba8 | ColorType::Rgba16 => {
            RgbaImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgba8)
        }
        other => bail!("its colour type is {other:?}: expected 8 or 16 bits per channel"),
    };
    image.context("its decoded size differs from its header")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use image::{GrayImage, Luma, RgbImage};

    fn read(bytes: &[u8]) -> Result<DynamicImage> {
        decode(bytes, Limits { max_pixels: MAX_PIXELS, rows: 28 }).map(|decoded| decoded.image)
    }

    #[test]
    fn an_image_that_breaks_off_is_refused() {
        let mut noise = Fingerprint::default();
        let image = GrayImage::from_fn(100, 100, |x, _| {
            noise = noise.and(&x.to_le_bytes());
            Luma([noise.spread() as u8])
        });
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let mut whole = Cursor::new(Vec::new());
            image.write_to(&mut whole, format).unwrap();
            let whole = whole.into_inner();
            read(&whole).unwrap();
            for length in [3, 20, 200, whole.len() / 2, whole.len() - 100] {
                assert!(read(&whole[..length]).is_err(), "{format:?}, {length} of {} bytes", whole.len());
            }
            read(&[&whole, &b"what some cameras append"[..]].concat()).unwrap();
        }
        // Without its end marker, all data of a PNG is there.
        let mut whole = Cursor::new(Vec::new());
        image.write_to(&mut whole, ImageFormat::Png).unwrap();
        let whole = whole.into_inner();
        assert_eq!(read(&whole[..whole.len() - 12]).unwrap(), image.into());
    }

    #[test]
    fn the_header_says_whether_an_image_has_colour() {
        let folder = tempfile::tempdir().unwrap();
        let (grey, colour) = (folder.path().join("grey.jpg"), folder.path().join("colour.png"));
        GrayImage::new(4, 4).save(&grey).unwrap();
        RgbImage::new(4, 4).save(&colour).unwrap();
        assert_eq!((form(&grey).unwrap().in_colour, form(&colour).unwrap().in_colour), (false, true));
        assert!(form(&folder.path().join("missing.png")).is_err());
    }

    /// Written by the crate `image`, which has a writer for every format that it reads here.
    #[test]
    fn every_format_is_known_by_its_ending_and_read_by_its_content() {
        let image = RgbImage::from_fn(40, 24, |x, _| image::Rgb([if x < 16 { 250 } else { 5 }; 3]));
        for &(name, format) in FORMATS.0 {
            for ending in format.extensions_str() {
                assert!(has_image_ending(Path::new(&format!("a.{}", ending.to_uppercase()))), "{name}: {ending}");
            }
            let mut file = Cursor::new(Vec::new());
            image.write_to(&mut file, format).unwrap();
            let found = read(&file.into_inner()).unwrap().to_rgb8();
            assert_eq!(found.dimensions(), (40, 24), "{name}");
            assert!(found.get_pixel(2, 20)[1] > 240 && found.get_pixel(38, 3)[1] < 15, "{name}");
        }
    }

    #[test]
    fn other_files_are_no_images_by_their_ending() {
        for name in ["a.txt", "b", ".png", "c.xcf", "d.png.part"] {
            assert!(!has_image_ending(Path::new(name)), "{name}");
        }
    }

    /// PNM, BMP and other formats allow a size of 0, and no decoder objects.
    #[test]
    fn an_image_without_pixels_is_refused() {
        for bytes in [&b"P5 0 3 255\n"[..], b"P6 3 0 255\n"] {
            let message = format!("{:#}", read(bytes).unwrap_err());
            assert!(message.contains("expected at least one"), "{message}");
        }
    }

    #[test]
    fn text_is_not_an_image() {
        let message = format!("{:#}", read(b"hello, I am a text file").unwrap_err());
        assert!(message.contains("unknown format"), "{message}");
    }
}
