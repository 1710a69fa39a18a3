//! One file of tensors: `t11/out_6` `[views, N, D]`, `labels`, `indices`, and the paths as UTF-8 one after the other, with
//! where each begins.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ddae_store::FeatureType;
use serde_json::{Map, Value, json};

use super::npy::bytes;
use super::out::{Out, write_whole};
use super::{DESCRIPTION, PATH_ROWS, Source};
use crate::error::InferError;

/// The longest header that a reader accepts.
const LONGEST: u64 = 100_000_000;

/// The header, and then what it promises.
pub(super) fn write(source: &Source<'_>, out: &Path) -> Result<(), InferError> {
    let file = source.file;
    let mut header = Map::new();
    let metadata = json!({ "format": "ddae-features", DESCRIPTION: source.description.to_string() });
    header.insert("__metadata__".to_string(), metadata);
    let mut end = 0u64;
    let mut promise = |name: String, dtype: &str, size: u64, shape: &[usize]| {
        let begin = end;
        end += size * shape.iter().map(|&side| side as u64).product::<u64>();
        header.insert(name, json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] }));
    };
    // Those of the widest numbers first, so that all are aligned.
    promise("labels".to_string(), "I64", 8, &[file.len()]);
    promise("indices".to_string(), "U64", 8, &[file.len()]);
    let mut path_bytes = 0;
    if file.has_paths() {
        for rows in source.blocks(PATH_ROWS) {
            path_bytes += file.paths(rows?)?.iter().map(String::len).sum::<usize>();
        }
        promise("paths.offsets".to_string(), "I64", 8, &[file.len() + 1]);
    }
    let (dtype, size) = match file.dtype() {
        FeatureType::F32 => ("F32", 4),
        FeatureType::F16 => ("F16", 2),
    };
    for (key, width) in &file.layout().keys {
        promise(key.to_string(), dtype, size, &[file.views(), file.len(), *width]);
    }
    if file.has_paths() {
        promise("paths.bytes".to_string(), "U8", 1, &[path_bytes]);
    }
    let mut header = Value::Object(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    if header.len() as u64 > LONGEST {
        let message =
            format!("a header of {} bytes is more than readers of safetensors accept", header.len());
        return Err(InferError::Output { path: out.to_path_buf(), message });
    }
    write_whole(out, |out| fill(source, &header, out))
}

fn fill(source: &Source<'_>, header: &str, out: &mut Out<'_>) -> Result<(), InferError> {
    let file = source.file;
    out.write(&(header.len() as u64).to_le_bytes())?;
    out.write(header.as_bytes())?;
    file.labels()?.iter().try_for_each(|label| out.write(&label.to_le_bytes()))?;
    file.indices()?.iter().try_for_each(|index| out.write(&index.to_le_bytes()))?;
    if file.has_paths() {
        let mut end = 0i64;
        out.write(&end.to_le_bytes())?;
        for rows in source.blocks(PATH_ROWS) {
            for path in file.paths(rows?)? {
                end += path.len() as i64;
                out.write(&end.to_le_bytes())?;
            }
        }
    }
    for (key, width) in &file.layout().keys {
        for view in 0..file.views() {
            for rows in source.blocks(source.block_rows(*width)) {
                out.write(&bytes(file.read(key, view, rows?)?.iter(), file.dtype()))?;
            }
        }
    }
    if file.has_paths() {
        for rows in source.blocks(PATH_ROWS) {
            for path in file.paths(rows?)? {
                out.write(path.as_bytes())?;
            }
        }
    }
    Ok(())
}

/// What the file at `path` was made of, if it is one of these.
pub(super) fn made_of(path: &Path) -> Option<Value> {
    let mut file = File::open(path).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST.min(file.metadata().ok()?.len()) {
        return None;
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    serde_json::from_str(header["__metadata__"][DESCRIPTION].as_str()?).ok()
}
