//! What a file really holds of what it promises: datasets that lie in the file itself, whole.
//!
//! HDF5 follows links, external storage and virtual datasets to other files, gives zeros for chunks that were never
//! written, and takes as much memory as a shape promises. A feature file is one file that holds all of its numbers.

use std::path::Path;

use hdf5::dataset::Layout as Storage;
use hdf5::file::File;
use hdf5::filters::Filter;
use hdf5::{Dataset, Group, IndexType, IterationOrder, LinkType};

use super::FeatureError;
use super::error::reason;
use super::text;

/// What is wrong with a dataset, in words that begin with its name.
#[derive(Debug)]
pub(super) enum Flaw {
    /// It leads out of the file.
    Outside(String),
    /// It is not all there, or not stored as this project stores datasets.
    Damaged(String),
}

impl Flaw {
    /// The error for a file.
    pub(super) fn of(self, path: &Path) -> FeatureError {
        let path = path.to_path_buf();
        match self {
            Flaw::Outside(reason) => FeatureError::Outside { path, reason },
            Flaw::Damaged(reason) => FeatureError::Damaged { path, reason },
        }
    }
}

/// A larger chunk is none of a feature file, unless it is a single row: chunks are read whole.
const LARGEST_CHUNK: usize = 16 << 20;

/// Opens the dataset `name` of `file`, in which it must lie itself.
///
/// # Errors
/// [`Flaw`].
pub(super) fn dataset(file: &File, name: &str) -> Result<Dataset, Flaw> {
    let missing = |error: hdf5::Error| Flaw::Damaged(format!("dataset {name}: {}", reason(&error)));
    let none = || Flaw::Damaged(format!("dataset {name}: there is none"));
    let mut parts = name.split('/').peekable();
    let mut group: Option<Group> = None;
    while let Some(part) = parts.next() {
        let parent: &Group = group.as_ref().unwrap_or(file);
        let link = parent.find_link(IndexType::Name, IterationOrder::Native, |found, info| {
            Ok((found == part).then_some(info.link_type))
        });
        let what = match link.map_err(missing)? {
            Some(LinkType::Hard) => None,
            Some(LinkType::Soft) => Some("a soft link"),
            Some(LinkType::External) => Some("an external link, to another file"),
            None => return Err(none()),
        };
        if let Some(what) = what {
            return Err(Flaw::Outside(format!("{name}: '{part}' is {what}")));
        }
        if parts.peek().is_none() {
            return parent.dataset(part).map_err(missing);
        }
        group = Some(parent.group(part).map_err(missing)?);
    }
    Err(none())
}

/// Opens the dataset `name` of `rows` texts, which must lie in `file` of `length` bytes as this project stores texts.
///
/// # Errors
/// [`Flaw`].
pub(super) fn texts(file: &File, name: &str, rows: usize, length: u64) -> Result<Dataset, Flaw> {
    let dataset = dataset(file, name)?;
    let found = dataset.shape();
    if found != [rows] {
        return Err(Flaw::Damaged(format!("{name} has shape {found:?} instead of [{rows}]")));
    }
    match dataset.dtype().and_then(|dtype| dtype.to_descriptor()) {
        Ok(dtype) if text::is_text(&dtype) => {}
        Ok(dtype) => return Err(Flaw::Damaged(format!("{name} has type {dtype} instead of texts"))),
        Err(error) => return Err(Flaw::Damaged(format!("{name}: {}", reason(&error)))),
    }
    check(&dataset, name, length)?;
    Ok(dataset)
}

/// Refuses a dataset that does not lie in its file of `length` bytes as this project stores it, whole. Returns the bytes
/// that it takes there.
///
/// # Errors
/// [`Flaw`].
pub(super) fn check(dataset: &Dataset, name: &str, length: u64) -> Result<u64, Flaw> {
    let wrong = |error: hdf5::Error| Flaw::Damaged(format!("{name}: {}", reason(&error)));
    let creation = dataset.dcpl().map_err(wrong)?;
    let external = creation.get_external().map_err(wrong)?;
    if let Some(file) = external.first() {
        let other = ddae_base::text::excerpt(&file.name, 100);
        return Err(Flaw::Outside(format!("{name} lies in another file ('{other}')")));
    }
    match creation.get_layout().map_err(wrong)? {
        Storage::Virtual => {
            return Err(Flaw::Outside(format!("{name} is a view of other files (a virtual dataset)")));
        }
        Storage::Chunked => check_chunks(dataset, name)?,
        Storage::Contiguous if dataset.offset().is_none() => {
            return Err(Flaw::Damaged(format!("{name} was never written")));
        }
        _ => {}
    }
    let stored = dataset.storage_size();
    if stored > length {
        return Err(Flaw::Damaged(format!("{name} takes {stored} bytes of a file of {length}")));
    }
    Ok(stored)
}

/// Every chunk is there, none is larger than it has to be, and each is packed as this project packs chunks.
fn check_chunks(dataset: &Dataset, name: &str) -> Result<(), Flaw> {
    let damaged = |reason: String| Err(Flaw::Damaged(reason));
    let mut filters = dataset.filters();
    if let Some(filter) = filters.iter().find(|filter| !is_ours(filter)) {
        return damaged(format!("{name} is packed by a filter that no feature file has ({filter:?})"));
    }
    // Each of them once: two compressions in a row unpack to a million times their size.
    let packing = |filter: &Filter| matches!(filter, Filter::Deflate(_) | Filter::LZF);
    filters.retain(packing);
    if filters.len() > 1 {
        return damaged(format!("{name} is compressed {} times over", filters.len()));
    }
    let (shape, chunk) = (dataset.shape(), dataset.chunk().unwrap_or_default());
    let size = dataset.dtype().map_or(8, |dtype| dtype.size());
    let bytes = |sides: &[usize]| sides.iter().fold(size, |bytes, &side| bytes.saturating_mul(side));
    // A chunk may reach beyond a small dataset, and is read whole all the same.
    let row = bytes(shape.last().map_or(&[], std::slice::from_ref));
    if chunk.len() != shape.len() || bytes(&chunk) > LARGEST_CHUNK.max(row) {
        return damaged(format!("{name} has chunks of {chunk:?}"));
    }
    let wanted = shape.iter().zip(&chunk).map(|(&side, &chunk)| side.div_ceil(chunk.max(1)) as u64);
    let wanted = wanted.fold(1, u64::saturating_mul);
    let found = dataset.num_chunks().unwrap_or(0) as u64;
    if found != wanted {
        return damaged(format!("{name} promises {wanted} chunks and has {found}"));
    }
    Ok(())
}

fn is_ours(filter: &Filter) -> bool {
    matches!(filter, Filter::Deflate(_) | Filter::LZF | Filter::Shuffle | Filter::Fletcher32)
}
