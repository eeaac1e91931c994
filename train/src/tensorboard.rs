//! Event files for TensorBoard: the run's scalars as it goes, for `tensorboard --logdir runs`.
//!
//! An event file is a row of records (TensorFlow's `TFRecord` framing, `tensorflow/core/lib/io/record_writer.cc`), each
//! a protocol-buffer message `Event`. Records are only ever added, and each is written at once, so that a run that is
//! killed leaves at worst half a record at the end, which readers skip. A resumed run starts a file of its own in the
//! same folder and tells readers to forget the steps it takes again.

use crate::run::Epoch;
use crate::trainer::{Observer, StepReport};
use anyhow::{Context, Result, bail};
use prost::Message;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The version of the event format: readers of it look for [`SESSION_START`] where a run goes on.
const FILE_VERSION: &str = "brain.Event:2";

/// `SessionLog.SessionStatus.START`.
const SESSION_START: i32 = 1;

/// Most files that start in the same second.
const MOST_FILES: usize = 1000;

/// Something that happened. Of the one-of `what` only the three cases that are written here. Tag numbers, of this and
/// of the messages below, from `tensorboard/compat/proto/event.proto` and `summary.proto` of
/// <https://github.com/tensorflow/tensorboard>.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    /// Training steps done.
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

/// `Summary.Value`, of whose one-of `value` only scalars are written here.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// A run's event file.
pub struct TensorBoard {
    /// None once it could not be written.
    file: Option<File>,
    path: PathBuf,
    /// When the steps since the last report began.
    since: Instant,
    /// Steps done at the last report.
    step: i64,
}

impl TensorBoard {
    /// Starts a new file in `folder`, for a run with so many steps behind it.
    pub fn create(folder: &Path, steps_done: u64) -> Result<Self> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let name = format!("events.out.tfevents.{seconds:010}.{}", host());
        let (path, file) = new_file(folder, &name)?;
        let step = i64::try_from(steps_done)?;
        let mut board = Self { file: Some(file), path, since: Instant::now(), step };
        let version = Event { file_version: Some(FILE_VERSION.to_owned()), ..Event::default() };
        let start =
            Event { step: step + 1, session_log: Some(SessionLog { status: SESSION_START }), ..Event::default() };
        for event in [version, start] {
            board.write(event).with_context(|| format!("cannot write {}", board.path.display()))?;
        }
        Ok(board)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an event as one record, with the present time.
    fn write(&mut self, mut event: Event) -> std::io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        event.wall_time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        file.write_all(&record(&event.encode_to_vec()))
    }

    /// Adds scalars. A disk that is full ends the file, not the run, which says so.
    fn scalars<const N: usize>(&mut self, step: i64, scalars: [(&str, Option<f64>); N]) {
        let value =
            |(tag, value): (&str, Option<f64>)| Some(Value { tag: tag.to_owned(), simple_value: Some(value? as f32) });
        let summary = Summary { value: scalars.into_iter().filter_map(value).collect() };
        if let Err(error) = self.write(Event { step, summary: Some(summary), ..Event::default() }) {
            self.file = None;
            let _ = writeln!(
                std::io::stderr(),
                "note: cannot write {}: {error}. The run goes on without it",
                self.path.display()
            );
        }
    }
}

impl Observer for TensorBoard {
    fn steps(&mut self, report: &StepReport) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        self.step = ((report.epoch - 1) * report.steps + report.step) as i64;
        let speed = (seconds > 0.0).then(|| report.images as f64 / seconds);
        self.scalars(
            self.step,
            [
                ("loss/train", Some(report.loss)),
                ("learning_rate", Some(report.learning_rate)),
                ("images_per_second", speed),
            ],
        );
    }

    fn epoch(&mut self, epoch: &Epoch, _: usize, _: f64) {
        self.scalars(
            self.step,
            [
                ("loss/held-out", epoch.held_out_loss),
                ("accuracy/held-out", epoch.held_out_accuracy),
                ("loss/test", Some(epoch.test_loss)),
                ("accuracy/test", Some(epoch.test_accuracy)),
            ],
        );
        // The tests of the epoch are no training time.
        self.since = Instant::now();
    }
}

/// A record: the data between its length and checksums, all little-endian (`record_writer.cc`):
/// u64 length, u32 masked CRC of the length, the data, u32 masked CRC of the data.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length).to_le_bytes(), data, &masked_crc(data).to_le_bytes()].concat()
}

/// CRC-32C, turned and shifted so that data which holds its own checksum is not trivial (`crc32c.h`, `Mask`).
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Makes a file that was not there: `name`, or `name.2`, … where a run was resumed within the second.
fn new_file(folder: &Path, name: &str) -> Result<(PathBuf, File)> {
    let numbered = (2..=MOST_FILES).map(|number| format!("{name}.{number}"));
    for name in std::iter::once(name.to_owned()).chain(numbered) {
        let path = folder.join(name);
        match File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot write {}", path.display())),
        }
    }
    bail!("{} holds too many event files named {name}", folder.display())
}

/// This machine's name, as far as it can be part of a file's.
pub(crate) fn host() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    let name: String =
        told.unwrap_or_default().chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of CRC-32C, that of "123456789" (RFC 3720 calls for the polynomial; the catalogue of Williams's
    /// model lists the value as CRC-32/ISCSI).
    #[test]
    fn the_checksum_is_crc_32c() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    /// By hand, from the check value: ((crc >> 15) | (crc << 17)) is `0x2507_c60d`; plus `0xa282_ead8` it is
    /// `0xc78a_b0e5`.
    #[test]
    fn a_record_frames_its_data() {
        let bytes = record(b"123456789");
        assert_eq!(bytes.len(), 8 + 4 + 9 + 4);
        assert_eq!(bytes[..8], [9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[12..21], *b"123456789");
        assert_eq!(bytes[21..], 0xc78a_b0e5_u32.to_le_bytes());
        assert_eq!(bytes[8..12], masked_crc(&bytes[..8]).to_le_bytes());
    }

    /// Field 1 double 1.5, field 2 varint 3, field 5 message { field 1 message { field 1 "a", field 2 float 0.5 } }.
    #[test]
    fn events_are_encoded_as_their_protocol_says() {
        let value = Value { tag: "a".into(), simple_value: Some(0.5) };
        let summary = Some(Summary { value: vec![value] });
        let event = Event { wall_time: 1.5, step: 3, summary, ..Event::default() };
        let expected = [
            &[0x09][..],
            &1.5_f64.to_le_bytes(),
            &[0x10, 3, 0x2a, 10, 0x0a, 8, 0x0a, 1, b'a', 0x15],
            &0.5_f32.to_le_bytes(),
        ];
        assert_eq!(event.encode_to_vec(), expected.concat());
    }

    #[test]
    fn a_second_file_in_the_same_second_has_a_name_that_sorts_after_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let (first, _) = new_file(folder.path(), "events").unwrap();
        let (second, _) = new_file(folder.path(), "events").unwrap();
        assert!(second > first && second.exists(), "{} and {}", first.display(), second.display());
        let message = format!("{:#}", TensorBoard::create(&folder.path().join("none"), 0).err().unwrap());
        assert!(message.contains("none/events.out.tfevents."), "{message}");
    }
}
