//! Safetensors files, and the index of checkpoints in several files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, SafeTensors};
use serde::Deserialize;

use super::contents::{Contents, Fault};
use super::element::ElementType;
use super::stored::StoredTensor;

/// Reads the header of a safetensors file.
///
/// # Errors
/// When it is no complete one.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, Fault> {
    let incomplete = |e| {
        format!("is not a complete safetensors file ({e}); copy it here again, or take another checkpoint")
    };
    // Checks that the tensors fill the file without gaps, each as large as its shape and type say.
    drop(SafeTensors::deserialize(bytes).map_err(incomplete)?);
    let (length, header): (usize, Metadata) = SafeTensors::read_metadata(bytes).map_err(incomplete)?;
    let data = size_of::<u64>() + length;
    let tensors = header.tensors().into_iter().map(|(name, info)| {
        let (start, end) = info.data_offsets;
        StoredTensor::dense(name, element_of(info.dtype), &info.shape, data + start..data + end)
    });
    let tensors = tensors.collect();
    let metadata = header.metadata().clone().unwrap_or_default();
    Ok(Contents { tensors, metadata, ..Contents::default() })
}

/// The name that this crate has for a type.
pub(super) fn element_of(dtype: Dtype) -> ElementType {
    match dtype {
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::BF16,
        Dtype::F32 => ElementType::F32,
        Dtype::F64 => ElementType::F64,
        Dtype::I8 => ElementType::I8,
        Dtype::I16 => ElementType::I16,
        Dtype::I32 => ElementType::I32,
        Dtype::I64 => ElementType::I64,
        Dtype::U8 => ElementType::U8,
        Dtype::BOOL => ElementType::Bool,
        Dtype::U16 => ElementType::Other("u16"),
        Dtype::U32 => ElementType::Other("u32"),
        Dtype::U64 => ElementType::Other("u64"),
        Dtype::C64 => ElementType::Other("c64"),
        Dtype::F8_E4M3 => ElementType::F8E4M3,
        Dtype::F8_E5M2 => ElementType::F8E5M2,
        _ => ElementType::Other("another type"),
    }
}

/// The index of a checkpoint in several files (`model.safetensors.index.json`).
#[derive(Debug, Deserialize)]
pub(super) struct Index {
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    /// When it is none, or names files outside its own folder.
    pub fn read(bytes: &[u8]) -> Result<Index, Fault> {
        let foreign = |e| format!("is no index of a sharded checkpoint ({e}): a 'weight_map' is wanted");
        // Some editors begin a file with a mark of its encoding.
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let index: Index = serde_json::from_slice(bytes).map_err(foreign)?;
        for file in index.weight_map.values() {
            if Path::new(file).file_name() != Some(OsStr::new(file)) {
                let message =
                    format!("names the file '{}': its parts must lie beside it", file.escape_debug());
                return Err(message.into());
            }
        }
        Ok(index)
    }

    /// The files, each once, with their tensors.
    pub fn files(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut files = BTreeMap::<&str, Vec<&str>>::new();
        for (tensor, file) in &self.weight_map {
            files.entry(file).or_default().push(tensor);
        }
        files
    }
}
