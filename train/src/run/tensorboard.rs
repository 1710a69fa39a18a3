//! What TensorBoard shows of a run: scalars, sheets of images, and the configuration.
//!
//! An event file is a sequence of TFRecords, each a protobuf message `Event`. The crates for it are unmaintained, and the
//! part needed here is small.
//!
//! Sources: tensorflow/core/lib/io/record_writer.h (framing); tensorflow/core/util/event.proto and, in
//! tensorflow/core/framework, summary.proto, tensor.proto, tensor_shape.proto and types.proto (field numbers);
//! tensorboard/plugins/text/metadata.py (how texts are told).

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
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
    #[prost(message, optional, tag = "8")]
    tensor: Option<TextTensor>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

/// `Summary.Image`.
#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// 1 for grey, 3 for RGB.
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded_image_string: Vec<u8>,
}

/// `TensorProto`, of strings.
#[derive(Clone, PartialEq, Message)]
struct TextTensor {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    tensor_shape: Option<Dimensions>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    string_val: Vec<Vec<u8>>,
}

/// `TensorShapeProto`.
#[derive(Clone, PartialEq, Message)]
struct Dimensions {
    #[prost(message, repeated, tag = "2")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, tag = "1")]
    size: i64,
}

/// `SummaryMetadata`.
#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin_data: Option<PluginData>,
    #[prost(int32, tag = "4")]
    data_class: i32,
}

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(string, tag = "1")]
    plugin_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `SessionLog::START`: TensorBoard drops what earlier files say about this step and later ones.
const START: i32 = 1;
/// `DT_STRING`.
const STRING: i32 = 7;
/// `DATA_CLASS_TENSOR`.
const TENSOR: i32 = 2;

/// An event file, open for writing.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a new file in `folder`, for a run that stands after `step`: what earlier files there say about later steps is
    /// void.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create(folder: &Path, step: u64) -> Result<EventFile, TrainError> {
        fs::create_dir_all(folder).map_err(TrainError::io(folder))?;
        // TensorBoard reads the files of a folder in the order of their names.
        let name = format!("events.out.tfevents.{:.6}.{}.ddae", now(), std::process::id());
        let path = folder.join(name);
        let file = File::create_new(&path).map_err(TrainError::io(&path))?;
        let mut events = EventFile { path, file };
        let version = Some("brain.Event:2".to_string());
        events.write(Event { wall_time: now(), file_version: version, ..Event::default() })?;
        let session_log = Some(SessionLog { status: START });
        let step = step as i64 + 1;
        events.write(Event { wall_time: now(), step, session_log, ..Event::default() })?;
        Ok(events)
    }

    /// Adds named values at a step; those that are not finite are left out.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<(), TrainError> {
        let value = values.iter().filter(|(_, value)| value.is_finite()).map(|(tag, value)| Value {
            tag: (*tag).to_string(),
            simple_value: Some(*value as f32),
            ..Value::default()
        });
        self.summary(step, value.collect())
    }

    /// Adds a PNG file of 8-bit grey or RGB pixels, as it is.
    ///
    /// # Errors
    /// When the file cannot be read or is another, and when the system refuses.
    pub fn image(&mut self, step: u64, tag: &str, png: &Path) -> Result<(), TrainError> {
        let bytes = fs::read(png).map_err(TrainError::io(png))?;
        let image = png_image(bytes).ok_or_else(|| TrainError::Folder {
            path: png.to_path_buf(),
            message: "is no PNG file of grey or RGB pixels, so that TensorBoard cannot show it".to_string(),
        })?;
        self.summary(step, vec![Value { tag: tag.to_string(), image: Some(image), ..Value::default() }])
    }

    /// Adds a text, which is shown as it is.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn text(&mut self, step: u64, tag: &str, text: &str) -> Result<(), TrainError> {
        // What TensorBoard reads as Markdown is code where it is indented.
        let code: String = text.lines().map(|line| format!("    {line}\n")).collect();
        let tensor = TextTensor {
            dtype: STRING,
            tensor_shape: Some(Dimensions { dim: vec![Dimension { size: 1 }] }),
            string_val: vec![code.into_bytes()],
        };
        let plugin_data = Some(PluginData { plugin_name: "text".to_string() });
        let metadata = Metadata { plugin_data, data_class: TENSOR };
        let (tensor, metadata) = (Some(tensor), Some(metadata));
        self.summary(step, vec![Value { tag: tag.to_string(), tensor, metadata, ..Value::default() }])
    }

    fn summary(&mut self, step: u64, value: Vec<Value>) -> Result<(), TrainError> {
        let summary = Some(Summary { value });
        self.write(Event { wall_time: now(), step: step as i64, summary, ..Event::default() })
    }

    fn write(&mut self, event: Event) -> Result<(), TrainError> {
        // One write per record, so that a reader never sees half of one for long.
        self.file.write_all(&record(&event.encode_to_vec())).map_err(TrainError::io(&self.path))
    }
}

/// A PNG file with what its header says (PNG specification, section 11.2.2); none where that is not 8-bit grey or RGB.
fn png_image(bytes: Vec<u8>) -> Option<Image> {
    let header = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")?.get(..10)?;
    let side = |at: usize| Some(i32::from_be_bytes(header[at..at + 4].try_into().ok()?));
    let (width, height) = (side(0)?, side(4)?);
    let colorspace = match header[8..10] {
        [8, 0] => 1,
        [8, 2] => 3,
        _ => return None,
    };
    Some(Image { height, width, colorspace, encoded_image_string: bytes })
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

    /// The events of a file, read record by record with their checksums.
    fn events(path: &Path) -> Vec<Event> {
        let bytes = fs::read(path).expect("the file");
        let mut rest = &bytes[..];
        let mut read = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().expect("8 bytes")) as usize;
            assert_eq!(rest[8..12], masked_checksum(&rest[..8]).to_le_bytes());
            let data = &rest[12..12 + length];
            assert_eq!(rest[12 + length..16 + length], masked_checksum(data).to_le_bytes());
            read.push(Event::decode(data).expect("an event"));
            rest = &rest[16 + length..];
        }
        read
    }

    #[test]
    fn a_file_reads_back_as_its_events() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = EventFile::create(folder.path(), 7).expect("created");
        file.scalars(8, &[("loss", 0.5), ("broken", f64::NAN)]).expect("written");
        let read = events(&file.path);
        assert_eq!(read.len(), 3);
        assert_eq!((read[1].step, read[1].session_log.clone()), (8, Some(SessionLog { status: START })));
        let values = &read[2].summary.as_ref().expect("a summary").value;
        let wanted = Value { tag: "loss".to_string(), simple_value: Some(0.5), ..Value::default() };
        assert_eq!(values, &[wanted]);
    }

    #[test]
    fn images_and_texts_are_what_tensorboard_takes_for_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = EventFile::create(&folder.path().join("events"), 0).expect("created");
        let png = folder.path().join("sheet.png");
        for (shape, colorspace) in [([1, 2, 3], 1), ([3, 2, 3], 3)] {
            let levels = vec![0.5; shape.iter().product()];
            ddae_data::sheet::write_png_image(&png, &levels, shape).expect("a sheet");
            file.image(4, "samples", &png).expect("written");
            let last = events(&file.path).pop().expect("an event");
            let value = last.summary.expect("a summary").value.pop().expect("a value");
            let image = value.image.expect("an image");
            assert_eq!((last.step, &*value.tag), (4, "samples"));
            assert_eq!((image.width, image.height, image.colorspace), (3, 2, colorspace));
            assert_eq!(image.encoded_image_string, fs::read(&png).expect("the sheet"));
        }
        fs::write(&png, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0").expect("written");
        let error = file.image(4, "samples", &png).expect_err("half a header").to_string();
        assert!(error.ends_with(
            "sheet.png: is no PNG file of grey or RGB pixels, so that TensorBoard cannot show it"
        ));

        file.text(0, "configuration", "a: 1\nb: [2]\n").expect("written");
        let last = events(&file.path).pop().expect("an event");
        let value = last.summary.expect("a summary").value.pop().expect("a value");
        let plugin = value.metadata.and_then(|metadata| metadata.plugin_data).expect("a plugin");
        assert_eq!(plugin.plugin_name, "text");
        assert_eq!(value.tensor.expect("a tensor").string_val, [b"    a: 1\n    b: [2]\n"]);
    }
}
