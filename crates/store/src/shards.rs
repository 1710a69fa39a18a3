//! The files of a job: their names, their rows, and which of them are still missing.

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::header::VERSION;
use super::{FeatureError, FeatureFile, Layout};

/// `prefix` without an `.h5` at its end, so that `-o train` and `-o train.h5` mean the same files.
fn stem(prefix: &Path) -> OsString {
    let whole = prefix.as_os_str();
    match (prefix.extension(), prefix.file_stem()) {
        (Some(extension), Some(stem)) if extension == "h5" => prefix.with_file_name(stem).into_os_string(),
        _ => whole.to_os_string(),
    }
}

/// The file of shard `shard` (counted from 0) of `of`: `prefix.0003-of-0010.h5`.
pub fn shard_path(prefix: impl AsRef<Path>, shard: usize, of: usize) -> PathBuf {
    let mut path = stem(prefix.as_ref());
    path.push(format!(".{shard:04}-of-{of:04}.h5"));
    PathBuf::from(path)
}

/// The file of all shards joined: `prefix.h5`.
pub fn merged_path(prefix: impl AsRef<Path>) -> PathBuf {
    let mut path = stem(prefix.as_ref());
    path.push(".h5");
    PathBuf::from(path)
}

/// The rows of shard `shard` of `of` in a job of `total` rows: contiguous, and as equal as whole numbers allow. Empty
/// when there is no such shard.
pub fn shard_rows(total: usize, shard: usize, of: usize) -> Range<usize> {
    if shard >= of {
        return total..total;
    }
    // In 128 bits the product cannot overflow.
    let bound = |shard: usize| (total as u128 * shard as u128 / of as u128) as usize;
    bound(shard)..bound(shard + 1)
}

/// Refuses numbers of shards that leave a shard without rows, and shards that do not exist.
pub(super) fn check_shards(layout: &Layout, shard: usize, of: usize) -> Result<(), FeatureError> {
    let total = layout.total;
    if of == 0 || of > total {
        return Err(FeatureError::Layout(format!("{total} rows in {of} shards; give 1 to {total} shards")));
    }
    if shard >= of {
        return Err(FeatureError::Layout(format!(
            "shard {shard} of {of}: shards count from 0 to {}",
            of - 1
        )));
    }
    Ok(())
}

/// Which shards of a job do not exist yet, in order; the job goes on with them.
///
/// # Errors
/// When an existing shard is damaged or belongs to another job (the error names the layout's field or the attribute
/// that differs first), or is of another version's format, with rows that do not say what this version's do.
pub fn missing_shards(
    prefix: impl AsRef<Path>,
    of: usize,
    layout: &Layout,
) -> Result<Vec<usize>, FeatureError> {
    layout.check()?;
    check_shards(layout, 0, of)?;
    let mut missing = Vec::new();
    for shard in 0..of {
        let path = shard_path(&prefix, shard, of);
        if exists(&path)? {
            let file = FeatureFile::open(&path)?;
            file.check_shard(shard, of, layout)?;
            file.check_version(VERSION)?;
        } else {
            missing.push(shard);
        }
    }
    Ok(missing)
}

pub(super) fn exists(path: &Path) -> Result<bool, FeatureError> {
    path.try_exists().map_err(FeatureError::io(path))
}
