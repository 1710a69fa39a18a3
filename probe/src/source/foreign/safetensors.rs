//! Tensors of a safetensors file, read where they lie.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::converted::{DESCRIPTION, refuse};
use super::labels::RawLabels;
use super::matrix::{Matrix, read_bytes};
use super::numbers::Element;
use super::{ArrayInfo, Arrays, Opened, shape};

/// Bytes of the number that a file begins with: how long its description is.
const LENGTH: usize = 8;

/// The longest description that the format allows.
const LONGEST: u64 = 100_000_000;

/// Whether a file of `length` bytes that begins with `start` may be one.
pub(super) fn begins(start: &[u8], length: u64) -> bool {
    let Some(&[a, b, c, d, e, f, g, h, brace]) = start.get(..9).and_then(|start| start.as_array::<9>())
    else {
        return false;
    };
    let header = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    brace == b'{' && header >= 2 && header <= length.saturating_sub(LENGTH as u64)
}

/// A safetensors file.
pub(super) struct Tensors {
    file: File,
    metadata: Metadata,
    /// Where the numbers begin.
    begin: u64,
}

impl Tensors {
    pub(super) fn open(mut file: File, length: u64) -> Opened<Self> {
        let damaged = |what: &dyn std::fmt::Display| {
            let what = ddae_base::text::excerpt(what, 120);
            format!("it is no safetensors file, or it was cut off ({what})")
        };
        let mut header = [0; LENGTH];
        file.read_exact(&mut header).map_err(|error| damaged(&error))?;
        let header = u64::from_le_bytes(header);
        if header > LONGEST.min(length.saturating_sub(LENGTH as u64)) {
            return Err(damaged(&format_args!("its description is said to have {header} bytes")));
        }
        let text = read_bytes(&mut file, header)?;
        // Reading checks that tensors lie one behind the other, each as long as its shape says.
        let metadata: Metadata = serde_json::from_slice(&text).map_err(|error| damaged(&error))?;
        if metadata.metadata().as_ref().is_some_and(|said| said.contains_key(DESCRIPTION)) {
            return refuse();
        }
        let begin = LENGTH as u64 + header;
        let end = metadata.data_len() as u64;
        let held = length - begin;
        if end != held {
            return Err(damaged(&format_args!("its tensors take {end} bytes, and there are {held}")));
        }
        Ok(Self { file, metadata, begin })
    }

    fn find(&self, name: &str) -> Opened<(&TensorInfo, Element)> {
        let info = self.metadata.info(name).ok_or("there is no such tensor")?;
        let element = match info.dtype {
            Dtype::BOOL => Element::Bool,
            Dtype::F16 => Element::F16,
            Dtype::BF16 => Element::Bf16,
            Dtype::F32 => Element::F32,
            Dtype::F64 => Element::F64,
            Dtype::I8 => Element::I8,
            Dtype::I16 => Element::I16,
            Dtype::I32 => Element::I32,
            Dtype::I64 => Element::I64,
            Dtype::U8 => Element::U8,
            Dtype::U16 => Element::U16,
            Dtype::U32 => Element::U32,
            Dtype::U64 => Element::U64,
            other => return Err(format!("its numbers are of the type {other:?}; save them as float32")),
        };
        Ok((info, element))
    }
}

impl Arrays for Tensors {
    fn list(&self) -> Vec<ArrayInfo> {
        let info = |(name, info): (String, &TensorInfo)| ArrayInfo { name, shape: Some(info.shape.clone()) };
        let mut list: Vec<ArrayInfo> = self.metadata.tensors().into_iter().map(info).collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    fn matrix(&mut self, name: &str, flatten: bool) -> Opened<Matrix> {
        let (info, element) = self.find(name)?;
        let (rows, dim) = shape::table(&info.shape, flatten)?;
        let offset = self.begin + info.data_offsets.0 as u64;
        let file = self.file.try_clone().map_err(|error| error.to_string())?;
        Ok(Matrix::stored(file, offset, rows, dim, element, false))
    }

    fn labels(&mut self, name: &str) -> Opened<RawLabels> {
        let (info, element) = self.find(name)?;
        let rows = shape::column(&info.shape)?;
        let mut bytes = vec![0; rows * element.bytes()];
        let place = self.begin + info.data_offsets.0 as u64;
        self.file.read_exact_at(&mut bytes, place).map_err(|error| error.to_string())?;
        element.labels(&bytes, false)
    }
}
