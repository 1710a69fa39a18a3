//! Scalars for TensorBoard.
//!
//! An event file is a sequence of TFRecords, each a protobuf message `Event`. The crates for it are unmaintained, and the
//! part needed here is small.
//!
//! Sources: tensorflow/core/lib/io/record_writer.h (framing), tensorflow/core/util/event.proto and
//! tensorflow/core/framework/summary.proto (field numbers).

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::TrainError;

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
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

/// `SessionLog::START`: TensorBoard drops what earlier files say about this step and later ones.
const START: i32 = 1;

/// An event file, open for writing.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a new file in `folder`. What earlier files there say about steps from `first_step` on is void.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create(folder: &Path, first_step: u64) -> Result<EventFile, TrainError> {
        fs::create_dir_all(folder).map_err(TrainError::io(folder))?;
        // TensorBoard reads the files of a folder in the order of their names.
        let name = format!("events.out.tfevents.{:.6}.{}.ddae", now(), std::process::id());
        let path = folder.join(name);
        let file = File::create_new(&path).map_err(TrainError::io(&path))?;
        let mut events = EventFile { path, file };
        let version = Some("brain.Event:2".to_string());
        events.write(Event { wall_time: now(), file_version: version, ..Event::default() })?;
        let session_log = Some(SessionLog { status: START });
        let step = first_step as i64;
        events.write(Event { wall_time: now(), step, session_log, ..Event::default() })?;
        Ok(events)
    }

    /// Adds named values at a step; those that are not finite are left out.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<(), TrainError> {
        let value = values
            .iter()
            .filter(|(_, value)| value.is_finite())
            .map(|(tag, value)| Value { tag: (*tag).to_string(), simple_value: Some(*value as f32) })
            .collect();
        let summary = Some(Summary { value });
        self.write(Event { wall_time: now(), step: step as i64, summary, ..Event::default() })
    }

    fn write(&mut self, event: Event) -> Result<(), TrainError> {
        // One write per record, so that a reader never sees half of one for long.
        self.file.write_all(&record(&event.encode_to_vec())).map_err(TrainError::io(&self.path))
    }
}

/// A TFRecord: length, checksum of the length, data, checksum of the data.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked_checksum(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_checksum(data).to_le_bytes());
    record
}

/// CRC-32C, rotated and shifted so that a checksum of data with checksums in it stays useful.
fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_framed_as_tensorflow_does() {
        // The record that TensorFlow's own writer makes of the version event at time 0:
        // tf.io.TFRecordWriter(f).write(b"\x1a\x0dbrain.Event:2")
        let event = Event { file_version: Some("brain.Event:2".to_string()), ..Event::default() };
        let data = event.encode_to_vec();
        assert_eq!(data, b"\x1a\x0dbrain.Event:2");
        let record = record(&data);
        assert_eq!(record[..8], [15, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(record[12..27], data);
        assert_eq!(record.len(), 31);
    }

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        // RFC 3720, B.4: 32 bytes of zeros have the CRC-32C aa36918a (as stored: 8a9136aa).
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        let rotated = 0x8a91_36aa_u32.rotate_right(15);
        assert_eq!(masked_checksum(&[0; 32]), rotated.wrapping_add(0xa282_ead8));
    }

    #[test]
    fn a_file_reads_back_as_its_events() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut events = EventFile::create(folder.path(), 7).expect("created");
        events.scalars(8, &[("loss", 0.5), ("broken", f64::NAN)]).expect("written");
        let bytes = fs::read(&events.path).expect("the file");
        let mut rest = &bytes[..];
        let mut read = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().expect("8 bytes")) as usize;
            let data = &rest[12..12 + length];
            assert_eq!(rest[12 + length..16 + length], masked_checksum(data).to_le_bytes());
            read.push(Event::decode(data).expect("an event"));
            rest = &rest[16 + length..];
        }
        assert_eq!(read.len(), 3);
        assert_eq!((read[1].step, read[1].session_log.clone()), (7, Some(SessionLog { status: START })));
        let values = &read[2].summary.as_ref().expect("a summary").value;
        assert_eq!(values, &[Value { tag: "loss".to_string(), simple_value: Some(0.5) }]);
    }
}
