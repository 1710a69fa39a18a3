//! Rows of features of a file, in float32: read where they lie, or in memory.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use ddae_base::memory;
use ddae_store::foreign::{ForeignDataset, Rows};
use ndarray::{Array2, s};

use super::numbers::{Element, narrowed, too_large};

/// Bytes that are read and converted at a time.
const BLOCK: usize = 1 << 20;

/// From this many bytes on, what is read is compared with the memory.
const MUCH: u64 = 64 << 20;

/// A table of features.
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) dim: usize,
    /// How the numbers are stored, and what becomes of them, in words.
    pub(crate) stored_as: &'static str,
    pub(crate) read_as: &'static str,
    values: Values,
}

enum Values {
    /// Row after row in a file, from a place on.
    Stored { file: File, offset: u64, element: Element, is_big_endian: bool },
    /// In memory.
    Memory(Array2<f32>),
    /// In a dataset.
    Hdf5(ForeignDataset),
}

impl Matrix {
    /// Rows that lie in `file` from `offset` on; the caller has checked that all of them are there.
    pub(crate) fn stored(
        file: File,
        offset: u64,
        rows: usize,
        dim: usize,
        element: Element,
        is_big_endian: bool,
    ) -> Self {
        let values = Values::Stored { file, offset, element, is_big_endian };
        Self { rows, dim, stored_as: element.name(), read_as: element.reading(), values }
    }

    /// Rows in memory.
    pub(crate) fn in_memory(values: Array2<f32>, stored_as: &'static str, read_as: &'static str) -> Self {
        let (rows, dim) = values.dim();
        Self { rows, dim, stored_as, read_as, values: Values::Memory(values) }
    }

    /// Rows of a dataset.
    pub(crate) fn of_dataset(dataset: ForeignDataset, rows: usize, dim: usize, element: Element) -> Self {
        let (stored_as, read_as) = (element.name(), element.reading());
        Self { rows, dim, stored_as, read_as, values: Values::Hdf5(dataset) }
    }

    /// Reads rows `[rows.len(), D]`, which must be there.
    ///
    /// # Errors
    /// When they cannot be read, or a number is too large for float32. A number may be NaN or infinite.
    pub(crate) fn read(&self, rows: Range<usize>) -> Result<Array2<f32>, String> {
        let first = rows.start;
        let shape = (rows.len(), self.dim);
        let locate = |(position, value): (usize, f64)| {
            too_large(first + position / self.dim, position % self.dim, value)
        };
        let values = match &self.values {
            Values::Memory(values) => return Ok(values.slice(s![rows, ..]).to_owned()),
            Values::Stored { file, offset, element, is_big_endian } => {
                let row = self.dim * element.bytes();
                check_memory(shape, row as u64 * rows.len() as u64)?;
                let mut bytes = vec![0; rows.len() * row];
                let place = offset + (first as u64) * row as u64;
                file.read_exact_at(&mut bytes, place).map_err(|error| error.to_string())?;
                let mut values = Vec::with_capacity(rows.len() * self.dim);
                element.read(&bytes, *is_big_endian, &mut values).map_err(locate)?;
                values
            }
            Values::Hdf5(dataset) => {
                let numbers = (rows.len() as u64).saturating_mul(self.dim as u64);
                check_memory(shape, numbers.saturating_mul(8))?;
                match dataset.rows(rows).map_err(|error| error.reason)? {
                    Rows::F32(values) => values,
                    Rows::F64(wide) => {
                        let narrow =
                            |(position, value)| narrowed(value).ok_or_else(|| locate((position, value)));
                        wide.into_iter().enumerate().map(narrow).collect::<Result<_, _>>()?
                    }
                }
            }
        };
        Array2::from_shape_vec(shape, values).map_err(|error| error.to_string())
    }
}

/// Refuses what does not fit into the memory.
pub(super) fn check_memory((rows, dim): (usize, usize), bytes: u64) -> Result<(), String> {
    if bytes < MUCH {
        return Ok(());
    }
    let what = format!("a table of {rows} x {dim} features");
    let advice = "give fewer rows, or a format that is read where it lies (.npy, safetensors, HDF5)";
    memory::check(what, bytes, advice).map_err(|error| error.to_string())
}

/// Reads `bytes` bytes; memory is that of what is there, and no more than that of what is promised.
pub(super) fn read_bytes(source: &mut dyn Read, bytes: u64) -> Result<Vec<u8>, String> {
    if bytes >= MUCH {
        memory::check("its labels", bytes, "give fewer rows").map_err(|error| error.to_string())?;
    }
    let mut read = Vec::new();
    source.take(bytes).read_to_end(&mut read).map_err(|error| format!("it cannot be read: {error}"))?;
    match read.len() as u64 {
        length if length == bytes => Ok(read),
        length => Err(format!("it ends after {length} of {bytes} bytes")),
    }
}

/// Reads a whole table, `[rows, dim]` or, in Fortran's order, column after column, a block at a time.
pub(super) fn read_all(
    source: &mut dyn Read,
    rows: usize,
    dim: usize,
    element: Element,
    is_big_endian: bool,
    is_fortran: bool,
) -> Result<Matrix, String> {
    let count = rows.checked_mul(dim).ok_or("its shape is larger than any memory")?;
    check_memory((rows, dim), count as u64 * 4)?;
    let mut values = Vec::new();
    let block = BLOCK / element.bytes();
    while values.len() < count {
        let wanted = block.min(count - values.len());
        let first = values.len();
        let bytes = read_bytes(source, (wanted * element.bytes()) as u64)?;
        element.read(&bytes, is_big_endian, &mut values).map_err(|(position, value)| {
            let position = first + position;
            match is_fortran {
                false => too_large(position / dim, position % dim, value),
                true => too_large(position % rows, position / rows, value),
            }
        })?;
    }
    let shape = if is_fortran { (dim, rows) } else { (rows, dim) };
    let values = Array2::from_shape_vec(shape, values).map_err(|error| error.to_string())?;
    let values = if is_fortran { values.reversed_axes().as_standard_layout().into_owned() } else { values };
    Ok(Matrix::in_memory(values, element.name(), element.reading()))
}
