//! The attributes of a feature file's root.
//!
//! Texts have a fixed length, padded with zeros: HDF5 keeps texts of variable length in the one part of a file that
//! has no checksum, where a changed byte can make the library itself loop for ever.

use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use ddae_base::text::excerpt;
use hdf5::file::File;
use hdf5::types::FixedUnicode;
use serde_json::Value;

use super::error::reason;
use super::text::LONGEST;
use super::{FeatureError, FeatureKey, Layout, text};

/// What makes a file a feature file.
pub(super) const FORMAT: &str = "ddae-features";
const VERSION: i64 = 1;
/// Attributes of the format itself. One of the job's with such a name stands in the JSON object only.
const RESERVED: [&str; 11] = [
    "format",
    "format_version",
    "views",
    "total",
    "first_row",
    "rows",
    "dtype",
    "compression",
    "keys",
    "attributes",
    "shards",
];

/// Everything the root says.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) layout: Layout,
    /// Which rows of the job are in the file; all of them in a joined one.
    pub(super) rows: Range<usize>,
    /// The files beside it that hold the features of a virtual file; otherwise empty.
    pub(super) shards: Vec<String>,
}

impl Header {
    pub(super) fn write(&self, file: &File) -> hdf5::Result<()> {
        let layout = &self.layout;
        let number = |name: &str, value: usize| {
            let value = i64::try_from(value).map_err(|_| too_large(name))?;
            file.new_attr::<i64>().create(name)?.write_scalar(&value)
        };
        let text = |name: &str, value: &str| write_text(file, name, value);
        let keys: Vec<_> = layout.keys.iter().map(|(key, width)| (key.to_string(), width)).collect();
        let keys = serde_json::json!(keys).to_string();
        let provenance = layout.provenance.attributes();
        let attributes = serde_json::json!(provenance).to_string();
        let shards = serde_json::json!(self.shards).to_string();
        text("format", FORMAT)?;
        file.new_attr::<i64>().create("format_version")?.write_scalar(&VERSION)?;
        number("views", layout.views)?;
        number("total", layout.total)?;
        number("first_row", self.rows.start)?;
        number("rows", self.rows.len())?;
        text("dtype", &layout.dtype.to_string())?;
        text("compression", &layout.compression.to_string())?;
        text("keys", &keys)?;
        text("attributes", &attributes)?;
        text("shards", &shards)?;
        for (name, value) in provenance.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str())) {
            match value {
                Value::String(value) => text(name, value)?,
                Value::Bool(value) => file.new_attr::<bool>().create(name.as_str())?.write_scalar(value)?,
                Value::Number(value) => {
                    if let Some(value) = value.as_i64() {
                        file.new_attr::<i64>().create(name.as_str())?.write_scalar(&value)?;
                    } else if let Some(value) = value.as_u64() {
                        file.new_attr::<u64>().create(name.as_str())?.write_scalar(&value)?;
                    } else if let Some(value) = value.as_f64() {
                        file.new_attr::<f64>().create(name.as_str())?.write_scalar(&value)?;
                    }
                }
                // Lists and objects have no simple counterpart: they are in the JSON object.
                Value::Null | Value::Array(_) | Value::Object(_) => {}
            }
        }
        Ok(())
    }

    /// Reads the root of `file` and checks that it makes sense.
    pub(super) fn read(file: &File, path: &Path) -> Result<Self, FeatureError> {
        let foreign = |reason: String| FeatureError::Foreign { path: path.to_path_buf(), reason };
        let damaged = |reason: String| FeatureError::Damaged { path: path.to_path_buf(), reason };
        let text =
            |name: &str| text::attribute(file, name).map_err(|e| format!("attribute {name}: {}", reason(&e)));
        let number = |name: &str| {
            let value = file.attr(name).and_then(|attribute| attribute.read_scalar::<i64>());
            let value = value.map_err(|e| format!("attribute {name}: {}", reason(&e)))?;
            usize::try_from(value).map_err(|_| format!("attribute {name} is {value}"))
        };
        let names = file.attr_names().map_err(FeatureError::damaged(path))?;
        if !names.iter().any(|name| name == "format") {
            return Err(foreign("an HDF5 file without the attributes of one".to_string()));
        }
        let format = text("format").map_err(foreign)?;
        if format != FORMAT {
            return Err(foreign(format!("its format is {format:?}")));
        }
        let version = number("format_version").map_err(damaged)?;
        if version != VERSION as usize {
            return Err(foreign(format!("its format version is {version}, this program reads {VERSION}")));
        }
        let read = || -> Result<Self, String> {
            let (keys, attributes, shards) = (text("keys")?, text("attributes")?, text("shards")?);
            let json = |error: serde_json::Error| error.to_string();
            let keys: Vec<(String, usize)> = serde_json::from_str(&keys).map_err(json)?;
            let keys = keys.into_iter().map(|(key, width)| Ok((FeatureKey::from_str(&key)?, width)));
            let message = |error: FeatureError| error.to_string();
            let layout = Layout {
                keys: keys.collect::<Result<_, FeatureError>>().map_err(message)?,
                views: number("views")?,
                total: number("total")?,
                dtype: text("dtype")?.parse().map_err(message)?,
                compression: text("compression")?.parse().map_err(message)?,
                provenance: serde_json::from_str(&attributes).map_err(json)?,
            };
            layout.check().map_err(message)?;
            let first = number("first_row")?;
            let end = first.checked_add(number("rows")?).filter(|&end| first < end && end <= layout.total);
            let end = end.ok_or("its rows are not those of the job")?;
            Ok(Self { layout, rows: first..end, shards: serde_json::from_str(&shards).map_err(json)? })
        };
        let header = read().map_err(damaged)?;
        match header.shards.iter().find(|shard| !lies_beside(shard)) {
            Some(shard) => {
                let reason = format!("its shard is '{}'", excerpt(shard, 100));
                Err(FeatureError::Outside { path: path.to_path_buf(), reason })
            }
            None => Ok(header),
        }
    }
}

/// Whether a shard's name is that of a file in the same folder.
pub(super) fn lies_beside(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|own| own == name)
}

fn write_text(file: &File, name: &str, value: &str) -> hdf5::Result<()> {
    fn write<const N: usize>(file: &File, name: &str, value: &str) -> hdf5::Result<()> {
        let value =
            FixedUnicode::<N>::from_str(value).map_err(|error| hdf5::Error::from(error.to_string()))?;
        file.new_attr::<FixedUnicode<N>>().create(name)?.write_scalar(&value)
    }
    match value.len() {
        0..=16 => write::<16>(file, name, value),
        17..=256 => write::<256>(file, name, value),
        257..=4_096 => write::<4_096>(file, name, value),
        4_097..=LONGEST => write::<LONGEST>(file, name, value),
        bytes => {
            Err(hdf5::Error::from(format!("attribute {name} has {bytes} bytes, {LONGEST} are possible")))
        }
    }
}

fn too_large(name: &str) -> hdf5::Error {
    hdf5::Error::from(format!("{name} is too large"))
}
