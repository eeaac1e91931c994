//! TensorBoard event files: the run's scalars, written during training. View them with `tensorboard --logdir runs`.
//!
//! An event file is a sequence of records (TensorFlow's `TFRecord` framing, `tensorflow/core/lib/io/record_writer.cc`),
//! each holding a protocol-buffer message `Event`. Records are only appended, each in one write, so a run that is
//! killed leaves at most one truncated record at the end, which readers skip. A resumed run starts its own file in the
//! same folder and tells readers to discard the steps that it repeats.

use crate::run::Epoch;
use crate::trainer::{StepReport, TrainingObserver};
use anyhow::{Context, Result, bail};
use prost::Message;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Version of the event format. Readers of this version look for [`SESSION_START`] where a run was resumed.
const FILE_VERSION: &str = "brain.Event:2";

/// `SessionLog.SessionStatus.START`.
const SESSION_START: i32 = 1;

/// Maximum number of event files started in the same second.
const MOST_FILES: usize = 1000;

/// An event, with only those three cases of the oneof `what` that are written here. The tag numbers of this and the
/// following messages are from `tensorboard/compat/proto/event.proto` and `summary.proto` in
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

/// `Summary.Value`, with only the scalar case of its oneof `value`.
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
    /// `None` after a failed write.
    file: Option<File>,
    path: PathBuf,
    /// Start time of the steps since the last report.
    since: Instant,
    /// Steps done at the last report.
    step: i64,
}

impl TensorBoard {
    /// Creates a new event file in `folder` for a run that has taken `steps_done` steps. Errors if the file cannot be
    /// written.
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

    /// Path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends an event as one record, stamped with the current time.
    fn write(&mut self, mut event: Event) -> std::io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        event.wall_time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        file.write_all(&record(&event.encode_to_vec()))
    }

    /// Appends scalars; `None` values are left out. If a write fails, for example on a full disk, it prints a note and
    /// stops writing the file; the run continues.
    fn scalars<const N: usize>(&mut self, step: i64, scalars: [(&str, Option<f64>); N]) {
        let value =
            |(tag, value): (&str, Option<f64>)| Some(Value { tag: tag.to_owned(), simple_value: Some(value? as f32) });
        let summary = Summary { value: scalars.into_iter().filter_map(value).collect() };
        if let Err(error) = self.write(Event { step, summary: Some(summary), ..Event::default() }) {
            self.file = None;
            let _ = writeln!(
                std::io::stderr(),
                "note: cannot write {}: {error}. The run continues without it",
                self.path.display()
            );
        }
    }
}

impl TrainingObserver for TensorBoard {
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
        // Evaluation does not count as training time.
        self.since = Instant::now();
    }
}

/// Frames data as a record, all numbers little-endian (`record_writer.cc`): u64 length, u32 masked CRC of the length,
/// the data, u32 masked CRC of the data.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length).to_le_bytes(), data, &masked_crc(data).to_le_bytes()].concat()
}

/// CRC-32C, rotated and offset because the CRC of data that contains its own CRC is problematic (`crc32c.h`, `Mask`).
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Creates a new file: `name`, or `name.2`, … if a run was resumed within the same second.
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
    bail!("{} contains too many event files named {name}", folder.display())
}

/// The hostname, without characters that are unsafe in a file name.
pub(crate) fn host() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    let name: String =
        told.unwrap_or_default().chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The standard check value: the CRC-32C of "123456789". RFC 3720 specifies the polynomial; the catalogue of
    /// Williams's CRC model lists the value as CRC-32/ISCSI.
    #[test]
    fn the_checksum_is_crc_32c() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    /// Calculated by hand from the check value: ((crc >> 15) | (crc << 17)) is `0x2507_c60d`; adding `0xa282_ead8`
    /// gives `0xc78a_b0e5`.
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
