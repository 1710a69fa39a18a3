//! The root of files of format version 1, which are read and no longer written.
//!
//! Their attributes are texts of a fixed length and numbers; all that made the features is one JSON object, `attributes`.
//! They hold no paths, and their class names are in that object.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use hdf5::file::File;

use super::error::reason;
use super::header::{self, FORMAT, Header};
use super::{FeatureError, FeatureKey, Layout, attribute_text, heap};

/// The texts among the attributes of the root.
const TEXTS: [&str; 6] = ["format", "dtype", "compression", "keys", "attributes", "shards"];

/// Refuses a file that says it is of another kind, or whose texts the library may not come to an end of.
pub(super) fn check_format(file: &File, path: &Path) -> Result<(), String> {
    // Once for all of them: the whole file is looked through.
    if TEXTS.iter().any(|name| attribute_text::is_variable(file, name)) {
        fs::File::open(path).and_then(|file| heap::check_all(&file)).map_err(|error| error.to_string())??;
    }
    let format = text(file, "format")?;
    if format == FORMAT { Ok(()) } else { Err(format!("its format is {format:?}")) }
}

/// Reads the root of `file`.
pub(super) fn read(file: &File, path: &Path) -> Result<Header, FeatureError> {
    check_format(file, path).map_err(|reason| FeatureError::Foreign { path: path.to_path_buf(), reason })?;
    let number = |name: &str| {
        let value = file.attr(name).and_then(|attribute| attribute.read_scalar::<i64>());
        let value = value.map_err(|e| format!("attribute {name}: {}", reason(&e)))?;
        usize::try_from(value).map_err(|_| format!("attribute {name} is {value}"))
    };
    let read = || -> Result<Header, String> {
        let text = |name: &str| text(file, name);
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
        let rows = header::rows(&layout, number("first_row")?, number("rows")?)?;
        Ok(Header { layout, rows, shards: serde_json::from_str(&shards).map_err(json)?, version: 1 })
    };
    read().map_err(|reason| FeatureError::Damaged { path: path.to_path_buf(), reason })
}

fn text(file: &File, name: &str) -> Result<String, String> {
    attribute_text::attribute(file, name).map_err(|error| format!("attribute {name}: {}", reason(&error)))
}
