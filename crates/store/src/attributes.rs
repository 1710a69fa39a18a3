//! Values as attributes of a file's root, and back.
//!
//! | value | attribute |
//! | --- | --- |
//! | text | UTF-8 of variable length |
//! | whole number, other number, truth value | i64 (u64 where it is too large), f64, h5py's bool |
//! | null | without a value (a null dataspace; `h5py.Empty`) |
//! | list of texts or of whole numbers | the same in one dimension |
//! | what else there is, and lists of more than 256 | its JSON as a text; the attribute `json` lists the names |

use hdf5::file::File;
use hdf5::types::{FloatSize, IntSize, TypeDescriptor, VarLenUnicode};
use hdf5::{Attribute, Error, Extents, H5Type, Result};
use serde_json::{Value, json};

/// The names of those whose text is JSON.
pub(super) const JSON: &str = "json";
/// Longer lists are JSON: HDF5 has no checksum for an attribute of more than 4 KiB, and the texts have one of ours.
const MOST: usize = 256;
/// The longest list that is read.
const MOST_READ: usize = 1 << 16;

/// Writes attributes; [`Attributes::finish`] comes last.
pub(super) struct Attributes<'f> {
    file: &'f File,
    json: Vec<String>,
}

impl<'f> Attributes<'f> {
    pub(super) fn new(file: &'f File) -> Self {
        Self { file, json: Vec::new() }
    }

    pub(super) fn write(&mut self, name: &str, value: &Value) -> Result<()> {
        let is_plain = |text: &str| !text.contains('\0');
        match value {
            Value::Null => {
                let empty = self.file.new_attr_builder().empty::<f64>().shape(Extents::Null);
                return empty.create(name).map(drop);
            }
            Value::Bool(value) => return self.scalar(name, value),
            Value::Number(number) => {
                if let Some(value) = number.as_i64() {
                    return self.scalar(name, &value);
                } else if let Some(value) = number.as_u64() {
                    return self.scalar(name, &value);
                } else if let Some(value) = number.as_f64() {
                    return self.scalar(name, &value);
                }
            }
            Value::String(value) if is_plain(value) => return self.text(name, value),
            Value::Array(values) if (1..=MOST).contains(&values.len()) => {
                let texts: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
                if let Some(texts) = texts.filter(|texts| texts.iter().all(|text| is_plain(text))) {
                    return self.texts(name, &texts);
                }
                let numbers: Option<Vec<i64>> = values.iter().map(Value::as_i64).collect();
                if let Some(numbers) = numbers {
                    return self.file.new_attr_builder().with_data(&numbers).create(name).map(drop);
                }
            }
            _ => {}
        }
        self.json.push(name.to_string());
        self.text(name, &value.to_string())
    }

    /// Writes which of them are JSON.
    pub(super) fn finish(self) -> Result<()> {
        let names: Vec<&str> = self.json.iter().map(String::as_str).collect();
        if names.is_empty() { Ok(()) } else { self.texts(JSON, &names) }
    }

    fn scalar<T: H5Type>(&self, name: &str, value: &T) -> Result<()> {
        self.file.new_attr::<T>().create(name)?.write_scalar(value)
    }

    fn text(&self, name: &str, text: &str) -> Result<()> {
        self.scalar(name, &variable(text)?)
    }

    fn texts(&self, name: &str, texts: &[&str]) -> Result<()> {
        let texts = texts.iter().map(|text| variable(text)).collect::<Result<Vec<_>>>()?;
        self.file.new_attr_builder().with_data(&texts).create(name).map(drop)
    }
}

fn variable(text: &str) -> Result<VarLenUnicode> {
    text.parse().map_err(|error: hdf5::types::StringError| Error::from(error.to_string()))
}

/// The names of the attributes whose text is JSON.
pub(super) fn json_names(file: &File, names: &[String]) -> Result<Vec<String>> {
    if !names.iter().any(|name| name == JSON) {
        return Ok(Vec::new());
    }
    let value = read(file, JSON, &[])?;
    serde_json::from_value(value).map_err(|error| Error::from(error.to_string()))
}

/// Reads the attribute `name`, one of `json` or not.
pub(super) fn read(file: &File, name: &str, json: &[String]) -> Result<Value> {
    let attribute = file.attr(name)?;
    let found = attribute.space()?.extents()?;
    if found == Extents::Null {
        return Ok(Value::Null);
    }
    let (dtype, is_scalar) = (attribute.dtype()?.to_descriptor()?, attribute.is_scalar());
    if !is_scalar && (attribute.ndim() != 1 || attribute.size() > MOST_READ) {
        return Err(Error::from(format!("a list of {found}")));
    }
    let value = match dtype {
        TypeDescriptor::VarLenUnicode | TypeDescriptor::VarLenAscii => values(&attribute, text)?,
        TypeDescriptor::Integer(IntSize::U8) => values(&attribute, |value: &i64| Ok(json!(value)))?,
        TypeDescriptor::Unsigned(IntSize::U8) => values(&attribute, |value: &u64| Ok(json!(value)))?,
        TypeDescriptor::Float(FloatSize::U8) => values(&attribute, |value: &f64| Ok(json!(value)))?,
        TypeDescriptor::Boolean => values(&attribute, |value: &bool| Ok(json!(value)))?,
        other => return Err(Error::from(format!("of type {other}"))),
    };
    match (value, is_scalar) {
        (Value::Array(values), true) => {
            let value = values.into_iter().next().unwrap_or_default();
            let parsed = match &value {
                Value::String(text) if json.iter().any(|one| one == name) => serde_json::from_str(text),
                _ => return Ok(value),
            };
            parsed.map_err(|error| Error::from(error.to_string()))
        }
        (value, _) => Ok(value),
    }
}

fn values<T: H5Type>(attribute: &Attribute, value: impl Fn(&T) -> Result<Value>) -> Result<Value> {
    attribute.read_raw::<T>()?.iter().map(value).collect::<Result<Vec<_>>>().map(Value::Array)
}

fn text(text: &VarLenUnicode) -> Result<Value> {
    // Another program may have written anything.
    let text = std::str::from_utf8(text.as_bytes()).map_err(|_| Error::from("not UTF-8"))?;
    Ok(json!(text))
}
