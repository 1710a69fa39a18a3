//! Datasets of texts: UTF-8 of a fixed length, padded with zeros, packed.
//!
//! HDF5 keeps texts of variable length where no checksum covers them. These lie in chunks like all other columns, and the
//! padding takes next to no space once it is packed.

use std::ops::Range;

use hdf5::file::File;
use hdf5::types::{FixedUnicode, TypeDescriptor};
use hdf5::{Dataset, Error, Result};
use ndarray::{ArrayView, s};

use super::file::CHUNK_BYTES;

/// The longest text, in bytes.
pub(super) const LONGEST: usize = 65_536;
/// Bytes of texts, with their padding, that are converted at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// Runs `work` with the first of the lengths in which there is room for `bytes`.
macro_rules! with_length {
    ($bytes:expr, $length:ident => $work:expr) => {
        with_length!($bytes, $length => $work, 16 32 64 128 256 512 1024 2048 4096 8192 16384 32768 65536)
    };
    ($bytes:expr, $length:ident => $work:expr, $($size:literal)*) => {{
        let bytes: usize = $bytes;
        $(if bytes <= $size {
            const $length: usize = $size;
            $work
        } else)* {
            Err(hdf5::Error::from(format!("a text has {bytes} bytes, and 65536 are possible")))
        }
    }};
}

pub(super) use with_length;

/// Creates a dataset of `rows` texts of at most `longest` bytes.
pub(super) fn create(file: &File, name: &str, rows: usize, longest: usize) -> Result<Dataset> {
    fn create<const N: usize>(file: &File, name: &str, rows: usize) -> Result<Dataset> {
        let chunk = rows.min((CHUNK_BYTES / N).max(1));
        let builder = file.new_dataset::<FixedUnicode<N>>().chunk(chunk).deflate(1).fletcher32();
        builder.shape(rows).create(name)
    }
    with_length!(longest, N => create::<N>(file, name, rows))
}

/// Writes `texts` to the rows from `first` on.
pub(super) fn write(dataset: &Dataset, first: usize, texts: &[String]) -> Result<()> {
    fn write<const N: usize>(dataset: &Dataset, mut first: usize, texts: &[String]) -> Result<()> {
        for block in texts.chunks((BLOCK_BYTES / N).max(1)) {
            let fixed = |text: &String| match text.parse::<FixedUnicode<N>>() {
                Ok(fixed) if !text.contains('\0') => Ok(fixed),
                Ok(_) => Err(Error::from(format!("a zero ends a text, and is in the middle of {text:?}"))),
                Err(error) => Err(Error::from(format!("{text:?}: {error}"))),
            };
            let values = block.iter().map(fixed).collect::<Result<Vec<_>>>()?;
            dataset.write_slice(ArrayView::from(&values), s![first..first + values.len()])?;
            first += values.len();
        }
        Ok(())
    }
    with_length!(dataset.dtype()?.size(), N => write::<N>(dataset, first, texts))
}

/// The texts of `rows`.
pub(super) fn read(dataset: &Dataset, rows: Range<usize>) -> Result<Vec<String>> {
    fn read<const N: usize>(dataset: &Dataset, rows: Range<usize>) -> Result<Vec<String>> {
        let mut texts = Vec::with_capacity(rows.len());
        for begin in rows.clone().step_by((BLOCK_BYTES / N).max(1)) {
            let end = rows.end.min(begin + (BLOCK_BYTES / N).max(1));
            for text in dataset.read_slice_1d::<FixedUnicode<N>, _>(s![begin..end])? {
                // Another program may have written anything.
                let text = std::str::from_utf8(text.as_bytes()).map_err(|_| Error::from("not UTF-8"))?;
                texts.push(text.to_string());
            }
        }
        Ok(texts)
    }
    with_length!(dataset.dtype()?.size(), N => read::<N>(dataset, rows))
}

/// Whether a dataset of this type is one of texts, of no more than the possible length.
pub(super) fn is_text(dtype: &TypeDescriptor) -> bool {
    matches!(dtype, TypeDescriptor::FixedUnicode(size) | TypeDescriptor::FixedAscii(size) if *size <= LONGEST)
}
