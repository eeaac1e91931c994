//! Reads a stream of images, one file after the other, as cameras and `ffmpeg -f image2pipe` write it.
//!
//! [`Frames`] finds where each JPEG or PNG file begins and ends by its own structure, so anything may stand between them,
//! such as the headers of an HTTP camera (`multipart/x-mixed-replace`). [`Queue`] keeps frames between the thread that
//! reads and the model.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Most bytes of one frame. A longer one ends there, and cannot be decoded.
pub const MOST_BYTES: usize = 64 << 20;

/// How many bytes are read at a time: the usual size of a pipe.
const PIECE: usize = 64 << 10;

/// Most bytes of frames that wait in a [`Queue`].
const MOST_WAITING: usize = 64 << 20;

const JPEG: &[u8] = b"\xff\xd8\xff";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// One image of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number in the stream, from 1.
    pub number: u64,
    /// The image file. Cut off or damaged files are kept, for the decoder to say what is wrong.
    pub bytes: Vec<u8>,
}

/// The images of a stream.
pub struct Frames<R> {
    source: R,
    number: u64,
    /// What was read; from `start` on, it is not yet part of a frame.
    buffer: Vec<u8>,
    start: usize,
}

/// How far a file goes.
#[derive(Debug, PartialEq, Eq)]
enum Extent {
    /// It has this many bytes. If its sender was interrupted, the next file begins there.
    Complete(usize),
    /// What is at this place cannot be part of it.
    Damaged(usize),
    /// It goes on behind the bytes that are there.
    Open,
}

impl<R: Read> Frames<R> {
    /// The images in what `source` returns.
    pub fn new(source: R) -> Self {
        Self { source, number: 0, buffer: Vec::new(), start: 0 }
    }

    /// The next image. `None` at the end of the stream.
    fn frame(&mut self) -> io::Result<Option<Frame>> {
        while !is_start(self.rest()) {
            let rest = self.rest();
            let skipped = (0..rest.len()).find(|&place| may_start(&rest[place..])).unwrap_or(rest.len());
            self.start += skipped;
            if !is_start(self.rest()) && !self.read()? {
                return Ok(None);
            }
        }
        let mut walk = Walk::new(self.rest());
        let length = loop {
            match walk.extent(self.rest()) {
                Extent::Complete(length) => break length,
                Extent::Damaged(place) => break walk.next_start(&self.rest()[..place]),
                Extent::Open if self.rest().len() > MOST_BYTES || !self.read()? => break walk.next_start(self.rest()),
                Extent::Open => {}
            }
        };
        self.number += 1;
        let bytes = self.rest()[..length].to_vec();
        self.start += length;
        Ok(Some(Frame { number: self.number, bytes }))
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads more into the buffer. Returns false at the end of the stream.
    fn read(&mut self) -> io::Result<bool> {
        self.buffer.drain(..mem::take(&mut self.start));
        let length = self.buffer.len();
        self.buffer.resize(length + PIECE, 0);
        loop {
            match self.source.read(&mut self.buffer[length..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.truncate(length);
                    return Err(error);
                }
                Ok(read) => {
                    self.buffer.truncate(length + read);
                    return Ok(read > 0);
                }
            }
        }
    }
}

/// Whether a file begins here.
fn is_start(bytes: &[u8]) -> bool {
    bytes.starts_with(JPEG) || bytes.starts_with(PNG)
}

/// Whether a file begins here, or could with further bytes.
fn may_start(bytes: &[u8]) -> bool {
    [JPEG, PNG].iter().any(|start| bytes.starts_with(&start[..start.len().min(bytes.len())]))
}

/// A walk through a file.
struct Walk {
    step: Step,
    /// Where the segment or chunk before this place began. If the file is damaged, its length may be wrong.
    last: usize,
}

/// The place that a walk has reached.
#[derive(Clone, Copy)]
enum Step {
    /// At a marker of a JPEG file (ITU-T T.81, annex B).
    Jpeg(usize),
    /// In the data after a start of scan, up to the next marker.
    Scan(usize),
    /// At a chunk of a PNG file.
    Png(usize),
}

impl Walk {
    fn new(file: &[u8]) -> Self {
        Self { step: if file.starts_with(PNG) { Step::Png(PNG.len()) } else { Step::Jpeg(2) }, last: 0 }
    }

    /// Goes on as far as the bytes reach.
    fn extent(&mut self, bytes: &[u8]) -> Extent {
        loop {
            let next = match self.step {
                Step::Jpeg(place) => Step::segment(place, bytes),
                Step::Scan(place) => Step::data(place, bytes),
                Step::Png(place) => Step::chunk(place, bytes),
            };
            let next = match next {
                Ok(next) => next,
                Err(extent) => return extent,
            };
            if let Step::Jpeg(place) | Step::Png(place) = self.step {
                self.last = place;
            }
            self.step = next;
        }
    }

    /// Where the next file begins, if this one broke off and the next was taken for a part of it; otherwise the end of
    /// the bytes.
    fn next_start(&self, bytes: &[u8]) -> usize {
        (self.last.max(2)..bytes.len()).find(|&place| is_start(&bytes[place..])).unwrap_or(bytes.len())
    }
}

impl Step {
    /// A thumbnail lies within a segment, whose length is known, so its markers are not seen.
    fn segment(place: usize, bytes: &[u8]) -> Result<Self, Extent> {
        let &[first, marker, ref rest @ ..] = bytes.get(place..).unwrap_or_default() else { return Err(Extent::Open) };
        match (first, marker) {
            // Any number of bytes 255 may precede a marker.
            (0xff, 0xff) => Ok(Self::Jpeg(place + 1)),
            (0xff, 0xd8) => Err(Extent::Complete(place)),
            (0xff, 0xd9) => Err(Extent::Complete(place + 2)),
            (0xff, 0x01 | 0xd0..=0xd7) => Ok(Self::Jpeg(place + 2)),
            (0xff, 0x02..) => {
                let length = rest.first_chunk().ok_or(Extent::Open)?;
                let next = place + 2 + usize::from(u16::from_be_bytes(*length)).max(2);
                Ok(if marker == 0xda { Self::Scan(next) } else { Self::Jpeg(next) })
            }
            _ => Err(Extent::Damaged(place)),
        }
    }

    /// In data, a byte 255 is followed by 0, and restart markers may come.
    fn data(place: usize, bytes: &[u8]) -> Result<Self, Extent> {
        let found = bytes.get(place..).and_then(|rest| memchr::memchr(0xff, rest)).ok_or(Extent::Open)?;
        match bytes.get(place + found + 1) {
            None => Err(Extent::Open),
            Some(0x00 | 0xd0..=0xd7) => Ok(Self::Scan(place + found + 2)),
            Some(_) => Ok(Self::Jpeg(place + found)),
        }
    }

    /// A length, a type, the data and a checksum.
    fn chunk(place: usize, bytes: &[u8]) -> Result<Self, Extent> {
        let &[a, b, c, d, ref rest @ ..] = bytes.get(place..).unwrap_or_default() else { return Err(Extent::Open) };
        let kind: &[u8; 4] = rest.first_chunk().ok_or(Extent::Open)?;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let next = place + 12 + length;
        if !kind.iter().all(u8::is_ascii_alphabetic) || length > MOST_BYTES {
            return Err(Extent::Damaged(place));
        }
        match kind {
            b"IEND" if bytes.len() >= next => Err(Extent::Complete(next)),
            b"IEND" => Err(Extent::Open),
            _ => Ok(Self::Png(next)),
        }
    }
}

impl<R: Read> Iterator for Frames<R> {
    type Item = io::Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        self.frame().transpose()
    }
}

/// Frames between the thread that reads a stream and the model. Bounded in number and bytes.
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    most: usize,
    drops: bool,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Frame>,
    dropped: u64,
    ended: bool,
}

impl Queue {
    /// A queue in which all frames wait for the model, at most `most`.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), most, drops: false }
    }

    /// A queue in which only the latest frame waits; an older one is dropped.
    #[must_use]
    pub fn latest() -> Self {
        Self { drops: true, ..Self::new(1) }
    }

    /// Adds a frame. Waits for room, or drops the frame that waits.
    pub fn add(&self, frame: Frame) {
        let mut state = self.lock();
        while !self.drops && self.is_full(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if self.drops {
            state.dropped += state.waiting.len() as u64;
            state.waiting.clear();
        }
        state.waiting.push_back(frame);
        self.changed.notify_all();
    }

    /// Says that no more frames come.
    pub fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits for frames and takes all that wait. Empty at the end of the stream.
    pub fn take(&self) -> Vec<Frame> {
        let mut state = self.lock();
        while state.waiting.is_empty() && !state.ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.changed.notify_all();
        state.waiting.drain(..).collect()
    }

    /// How many frames were dropped.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn is_full(&self, state: &State) -> bool {
        let bytes: usize = state.waiting.iter().map(|frame| frame.bytes.len()).sum();
        state.waiting.len() >= self.most || bytes >= MOST_WAITING
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageFormat, RgbImage};
    use std::io::Cursor;

    fn file(format: ImageFormat, level: u8) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let image = RgbImage::from_fn(40, 30, |x, y| image::Rgb([level, (x * 6) as u8, (y * 8) as u8]));
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// A source that returns at most this many bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let most = into.len().min(self.1);
            self.0.read(&mut into[..most])
        }
    }

    /// The frames of a stream that arrives in pieces of this many bytes.
    fn frames(stream: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let frames = Frames::new(Slow(stream, piece)).collect::<io::Result<Vec<_>>>().unwrap();
        assert!(frames.iter().map(|frame| frame.number).eq(1..=frames.len() as u64));
        frames.into_iter().map(|frame| frame.bytes).collect()
    }

    /// A JPEG file with another one in an application segment, as cameras store thumbnails.
    fn with_thumbnail() -> Vec<u8> {
        let (file, thumbnail) = (file(ImageFormat::Jpeg, 9), file(ImageFormat::Jpeg, 90));
        let length = (thumbnail.len() as u16 + 2).to_be_bytes();
        [&file[..2], b"\xff\xe1", &length, &thumbnail, &file[2..]].concat()
    }

    #[test]
    fn files_come_out_as_they_went_in_whatever_stands_between_them() {
        let files =
            [file(ImageFormat::Jpeg, 0), file(ImageFormat::Png, 100), with_thumbnail(), file(ImageFormat::Png, 5)];
        for between in
            [&b""[..], b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n", b"\xff\xd8\x89PN\xff\xff", &[0; 7_000]]
        {
            let stream: Vec<u8> = files.iter().flat_map(|file| [between, file].concat()).collect();
            for piece in [1, 7, 4096, 1 << 20] {
                assert!(frames(&[&stream, between].concat(), piece) == files, "{} bytes between", between.len());
            }
        }
    }

    #[test]
    fn a_file_that_breaks_off_does_not_take_the_next_with_it() {
        let (jpeg, png) = (file(ImageFormat::Jpeg, 7), file(ImageFormat::Png, 7));
        // In its data, in its tables, and between two of them.
        for missing in [50, jpeg.len() / 2, jpeg.len() - 20] {
            let half = &jpeg[..jpeg.len() - missing];
            assert!(frames(&[half, &jpeg, &jpeg].concat(), 64) == [half, &jpeg, &jpeg], "{missing} bytes missing");
            assert!(frames(&[half, &png, &jpeg].concat(), 64).ends_with(&[png.clone(), jpeg.clone()]) || missing == 50);
            assert_eq!(frames(&[&jpeg, half].concat(), 64), [&jpeg[..], half]);
        }
        assert_eq!(frames(&[&png, &png[..png.len() - 3]].concat(), 64), [&png[..], &png[..png.len() - 3]]);
        // A PNG whose chunk has a length of gigabytes.
        let damaged = [&png[..PNG.len()], b"\xff\xff\xff\xffIDAT"].concat();
        assert_eq!(frames(&[&damaged, &png[..]].concat(), 64), [PNG, &png]);
        // Lengths that reach beyond the end of the stream.
        let cut = [&png[..PNG.len() + 25], b"\x03\x00\x00\x00IDAT"].concat();
        assert_eq!(frames(&[&cut, &png[..], &jpeg].concat(), 64), [&cut[..], &png, &jpeg]);
        let thumbnail = with_thumbnail();
        assert_eq!(frames(&thumbnail[..thumbnail.len() - 60], 64), [&thumbnail[..thumbnail.len() - 60]]);
    }

    /// One wrong length must not make each of the frames after it as slow as all of them.
    #[test]
    fn many_frames_behind_a_wrong_length_are_found_quickly() {
        let png = file(ImageFormat::Png, 7);
        let cut = [&png[..PNG.len() + 25], b"\x03\x20\x00\x00IDAT"].concat();
        let count = 40_000_000 / png.len();
        let began = std::time::Instant::now();
        assert_eq!(frames(&[cut, png.repeat(count)].concat(), 1 << 20).len(), count + 1);
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }

    #[test]
    fn other_bytes_contain_no_frames() {
        assert!(frames(b"", 10).is_empty());
        assert!(frames(&vec![0xff; 100_000], 1000).is_empty());
        assert!(frames(&b"\x89PNG\r\n\x1a".repeat(100), 10).is_empty());
    }

    #[test]
    fn a_full_queue_waits_or_drops() {
        let frame = |number| Frame { number, bytes: Vec::new() };
        let numbers = |frames: Vec<Frame>| frames.iter().map(|frame| frame.number).collect::<Vec<_>>();
        let latest = Queue::latest();
        (1..=5).for_each(|number| latest.add(frame(number)));
        assert_eq!((numbers(latest.take()), latest.dropped()), (vec![5], 4));
        latest.end();
        assert!(latest.take().is_empty());

        let all = Queue::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (1..=50).for_each(|number| all.add(frame(number)));
                all.end();
            });
            let mut found = Vec::new();
            loop {
                let taken = numbers(all.take());
                if taken.is_empty() {
                    break;
                }
                assert!(taken.len() <= 2);
                found.extend(taken);
            }
            assert!(found.into_iter().eq(1..=50));
        });
        assert_eq!(all.dropped(), 0);
    }
}
