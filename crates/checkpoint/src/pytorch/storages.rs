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
    /// Its class, which names the type of its elements.
    pub class: &'a str,
    /// The type of its elements.
    pub element: ElementType,
    /// Their number.
    pub length: usize,
    /// The part of it that is meant: first element and length. Only PyTorch before 0.4 writes these.
    part: Option<(usize, usize)>,
}

/// The element type of a storage class. A storage of no type is counted in bytes.
fn element_of(class: &str) -> Option<ElementType> {
    let name =
        ["torch.cuda.", "torch.storage.", "torch."].iter().find_map(|module| class.strip_prefix(module))?;
    Some(match name.strip_suffix("Storage")? {
        "Double" => ElementType::F64,
        "Float" => ElementType::F32,
        "Half" => ElementType::F16,
        "BFloat16" => ElementType::BF16,
        "Long" => ElementType::I64,
        "Int" => ElementType::I32,
        "Short" => ElementType::I16,
        "Char" => ElementType::I8,
        "Byte" | "Untyped" => ElementType::U8,
        "Bool" => ElementType::Bool,
        _ => ElementType::Other("another type"),
    })
}

/// Bytes of an element of a storage whose tensors are not read: complex and quantized ones.
fn unread_size(class: &str) -> Option<usize> {
    Some(match class {
        "torch.ComplexDoubleStorage" => 16,
        "torch.ComplexFloatStorage" => 8,
        "torch.QInt32Storage" => 4,
        "torch.QInt8Storage" | "torch.QUInt8Storage" | "torch.QUInt4x2Storage" | "torch.QUInt2x4Storage" => 1,
        _ => return None,
    })
}

/// The type of elements that PyTorch calls so: `torch.float8_e4m3fn`.
fn element_of_dtype(name: &str) -> ElementType {
    match name {
        "torch.float8_e4m3fn" => ElementType::F8E4M3,
        "torch.float8_e5m2" => ElementType::F8E5M2,
        "torch.float8_e4m3fnuz" => ElementType::F8E4M3FNUZ,
        "torch.float8_e5m2fnuz" => ElementType::F8E5M2FNUZ,
        "torch.float64" => ElementType::F64,
        "torch.float32" => ElementType::F32,
        "torch.float16" => ElementType::F16,
        "torch.bfloat16" => ElementType::BF16,
        "torch.int64" => ElementType::I64,
        "torch.int32" => ElementType::I32,
        "torch.int16" => ElementType::I16,
        "torch.int8" => ElementType::I8,
        "torch.uint8" => ElementType::U8,
        "torch.bool" => ElementType::Bool,
        _ => ElementType::Other("another type"),
    }
}

/// Reads a reference: `("storage", class, key, device, length)`, and in the older format a part or `None`.
///
/// # Errors
/// When it is something else.
pub fn reference<'p>(program: &'p Program<'_>, pickled: Value) -> Result<Reference<'p>, String> {
    let parts = program.tuple(pickled).unwrap_or_default();
    let (&[kind, class, key, _device, Value::Int(length)]
    | &[kind, class, key, _device, Value::Int(length), _]) = parts
    else {
        return Err("refers to something outside its pickle that is no storage".to_string());
    };
    let class = program.global(class).and_then(|class| Some((class, element_of(class)?)));
    let (Some("storage"), Some((class, element)), Some(key), Ok(length)) =
        (program.text(kind), class, program.text(key), usize::try_from(length))
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
    Ok(Reference { key, class, element, length, part })
}

/// Whether what is referred to is said to be a storage.
pub fn is_storage(program: &Program<'_>, pickled: Value) -> bool {
    let kind = program.tuple(pickled).and_then(|parts| parts.first());
    kind.and_then(|&kind| program.text(kind)) == Some("storage")
}

/// What is referred to, in words.
pub fn described_reference(program: &Program<'_>, pickled: Value) -> String {
    match reference(program, pickled) {
        Ok(storage) => format!("a storage of {} values of {}", storage.length, storage.element),
        Err(_) => "a reference to something outside the pickle".to_string(),
    }
}

impl<'a> Reference<'a> {
    /// The same bytes as elements of another type, of a storage that has none itself.
    pub fn of_dtype(self, dtype: &str) -> Reference<'a> {
        let element = element_of_dtype(dtype);
        match (self.element, element.size(), self.part) {
            (ElementType::U8, Some(size), None) => Reference { element, length: self.length / size, ..self },
            _ => Reference { element: ElementType::Other("another type"), ..self },
        }
    }

    /// Bytes of an element, if they are known.
    pub fn element_size(&self) -> Option<usize> {
        self.element.size().or_else(|| unread_size(self.class))
    }

    /// The storage in the file.
    ///
    /// # Errors
    /// When it is not there, or shorter than the reference says.
    pub fn resolve(&self, extents: &Extents) -> Result<Storage, String> {
        let Reference { key, element, length, part, .. } = *self;
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
