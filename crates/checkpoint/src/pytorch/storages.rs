//! Storages: the runs of elements that tensors look at, referred to by keys.

use std::collections::HashMap;

use super::super::element::ElementType;
use super::super::stored::Storage;
use ddae_pickle::{Program, Value};

/// Where the bytes of a storage are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first byte in the file.
    pub start: usize,
    /// Number of bytes, all inside the file.
    pub bytes: usize,
}

/// The storages of a file by key.
pub type Extents = HashMap<String, Extent>;

/// A pickled reference to a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// Its key.
    pub key: &'a str,
    /// The type of its elements.
    pub element: ElementType,
    /// Their number.
    pub length: usize,
    /// The part of it that is meant: first element and length. Only PyTorch before 0.4 writes these.
    part: Option<(usize, usize)>,
}

/// The element type of a storage class.
fn element_of(class: &str) -> Option<ElementType> {
    Some(match class.strip_prefix("torch.")?.strip_suffix("Storage")? {
        "Double" => ElementType::F64,
        "Float" => ElementType::F32,
        "Half" => ElementType::F16,
        "BFloat16" => ElementType::BF16,
        "Long" => ElementType::I64,
        "Int" => ElementType::I32,
        "Short" => ElementType::I16,
        "Char" => ElementType::I8,
        "Byte" => ElementType::U8,
        "Bool" => ElementType::Bool,
        _ => return None,
    })
}

/// Reads a reference: `("storage", class, key, device, length)`, and in the older format a part or `None`.
///
/// # Errors
/// When it is something else.
pub fn reference<'a>(program: &Program<'a>, pickled: Value) -> Result<Reference<'a>, String> {
    let parts = program.tuple(pickled).unwrap_or_default();
    let (&[kind, class, key, _device, Value::Int(length)]
    | &[kind, class, key, _device, Value::Int(length), _]) = parts
    else {
        return Err("refers to something outside its pickle that is no storage".to_string());
    };
    let element = program.global(class).and_then(element_of);
    let (Some("storage"), Some(element), Some(key), Ok(length)) =
        (program.text(kind), element, program.text(key), usize::try_from(length))
    else {
        return Err("refers to a storage in a way that torch.save does not".to_string());
    };
    let part = match parts.get(5) {
        None | Some(Value::None) => None,
        Some(&part) => match program.tuple(part) {
            Some(&[_key, Value::Int(first), Value::Int(count)]) => {
                usize::try_from(first).ok().zip(usize::try_from(count).ok())
            }
            _ => None,
        }
        .map(Some)
        .ok_or_else(|| {
            format!("refers to a part of the storage '{key}' in a way that torch.save does not")
        })?,
    };
    Ok(Reference { key, element, length, part })
}

impl Reference<'_> {
    /// The storage in the file.
    ///
    /// # Errors
    /// When it is not there, or shorter than the reference says.
    pub fn resolve(&self, extents: &Extents) -> Result<Storage, String> {
        let Reference { key, element, length, part } = *self;
        let extent = extents.get(key).ok_or_else(|| format!("does not hold its storage '{key}'"))?;
        let size = element.size().unwrap_or(1);
        if length.checked_mul(size).is_none_or(|bytes| bytes > extent.bytes) {
            let bytes = extent.bytes;
            return Err(format!(
                "holds {bytes} bytes of its storage '{key}', which is of {length} values of {element}"
            ));
        }
        let (first, length) = match part {
            None => (0, length),
            Some((first, count)) if first.checked_add(count).is_some_and(|end| end <= length) => {
                (first, count)
            }
            Some((first, count)) => {
                return Err(format!(
                    "refers to {count} values from {first} of its storage '{key}' of {length}"
                ));
            }
        };
        Ok(Storage { element, start: extent.start + first * size, length })
    }
}
