//! Features in other formats than HDF5, made from a whole feature file.
//!
//! | format | is | module |
//! | --- | --- | --- |
//! | npy | a folder with an array for each dataset, labels, indices, and texts | `npy` |
//! | parquet | a table with a row for each image and view | `parquet` |
//! | safetensors | one file of tensors | `safetensors` |
//!
//! All of them hold what the feature file says of itself as JSON ([`description`]), by which what was made of the same
//! file is known again. They are written in blocks and appear under their names when they are whole.

mod npy;
mod out;
mod parquet;
mod safetensors;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use ddae_store::{FeatureFile, Layout, merged_path};
use serde_json::{Value, json};

use crate::error::InferError;

/// The entry of a file's metadata that holds its [`description`].
pub const DESCRIPTION: &str = "ddae.features";

/// What is said of an output with features of another job.
const OTHER_FEATURES: &str = "holds other features: choose another output, or give --overwrite";

/// Bytes of features that are in memory at a time.
const BLOCK_BYTES: usize = 4 << 20;
/// Paths that are in memory at a time.
const PATH_ROWS: usize = 4096;

/// A format of files of features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// HDF5, which jobs write and probes read.
    #[default]
    H5,
    /// numpy's arrays, in a folder.
    Npy,
    /// Parquet.
    Parquet,
    /// safetensors.
    Safetensors,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 4] = [Format::H5, Format::Npy, Format::Parquet, Format::Safetensors];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::H5 => "h5",
            Format::Npy => "npy",
            Format::Parquet => "parquet",
            Format::Safetensors => "safetensors",
        }
    }

    /// What is written for the job or the feature file `prefix` (with or without `.h5` or `.hdf5`): `PREFIX.parquet`, or of
    /// npy the folder `PREFIX`.
    pub fn path(self, prefix: &Path) -> PathBuf {
        let is_hdf5 = prefix.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("hdf5"));
        let file = if is_hdf5 { prefix.with_extension("h5") } else { merged_path(prefix) };
        match self {
            Format::H5 => merged_path(prefix),
            Format::Npy => file.with_extension(""),
            Format::Parquet | Format::Safetensors => file.with_extension(self.name()),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        let found = Format::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| "wanted is h5, npy, parquet or safetensors".to_string())
    }
}

/// Writes all of `file` to `out` in `format`. Returns whether it had to: what was made of the same file is left as it is
/// unless `overwrite`.
///
/// # Errors
/// When something else stands at `out` and is not to be overwritten; when `format` has no place for something; when the
/// feature file is damaged, the disk is full, or `stop` was set. Nothing is left half-written.
pub fn convert(
    file: &FeatureFile,
    format: Format,
    out: &Path,
    overwrite: bool,
    stop: &AtomicBool,
) -> Result<bool, InferError> {
    let description = description(file);
    let wrong = |message: &str| InferError::Output { path: out.to_path_buf(), message: message.to_string() };
    if is_same(file.path(), out) {
        return Err(wrong("is the feature file itself: choose another output"));
    }
    let found = check_output(format, out, overwrite)?;
    if let Some(found) = found.filter(|_| !overwrite) {
        return match found == description {
            true => Ok(false),
            false => Err(wrong(OTHER_FEATURES)),
        };
    }
    let source = Source { file, description: &description, stop };
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(InferError::io("create", folder))?;
    }
    match format {
        Format::H5 => Err(InferError::Argument("a feature file is in HDF5 already".to_string())),
        Format::Npy => npy::write(&source, out),
        Format::Parquet => parquet::write(&source, out),
        Format::Safetensors => safetensors::write(&source, out),
    }?;
    Ok(true)
}

/// Refuses an output before a job, for what would be refused after it: something else that stands at `out`, or features
/// that cannot be those of `layout`.
///
/// # Errors
/// What stands there.
pub fn check(format: Format, out: &Path, overwrite: bool, layout: &Layout) -> Result<(), InferError> {
    let Some(found) = check_output(format, out, overwrite)?.filter(|_| !overwrite) else {
        return Ok(());
    };
    let wanted = [
        ("datasets", datasets(layout)),
        ("views", json!(layout.views)),
        ("total", json!(layout.total)),
        ("dtype", json!(layout.dtype.to_string())),
    ];
    match wanted.iter().all(|(name, wanted)| found[name] == *wanted) {
        true => Ok(()),
        false => Err(InferError::Output { path: out.to_path_buf(), message: OTHER_FEATURES.to_string() }),
    }
}

/// What the features at `out` say of themselves, where there are some.
///
/// # Errors
/// When something else stands there that is not replaced.
fn check_output(format: Format, out: &Path, overwrite: bool) -> Result<Option<Value>, InferError> {
    let Ok(there) = out.symlink_metadata() else {
        return Ok(None);
    };
    let found = match format {
        Format::H5 => None,
        Format::Npy => npy::made_of(out),
        Format::Parquet => parquet::made_of(out),
        Format::Safetensors => safetensors::made_of(out),
    };
    let wrong = |message: &str| InferError::Output { path: out.to_path_buf(), message: message.to_string() };
    // Nothing is put in the place of a folder but a folder of features.
    let stays = match format {
        Format::Npy => found.is_none() || there.is_symlink(),
        _ => there.is_dir(),
    };
    match overwrite {
        true if stays && format == Format::Npy => {
            Err(wrong("is something else than a folder of features: choose another output"))
        }
        true if stays => Err(wrong("is a folder: choose another output")),
        false if found.is_none() => {
            Err(wrong("is something else: choose another output, or give --overwrite"))
        }
        _ => Ok(found),
    }
}

/// Whether both names are of one file.
fn is_same(file: &Path, out: &Path) -> bool {
    matches!((file.canonicalize(), out.canonicalize()), (Ok(file), Ok(out)) if file == out)
}

fn datasets(layout: &Layout) -> Value {
    layout.keys.iter().map(|(key, width)| json!({ "name": key.to_string(), "width": width })).collect()
}

/// What a feature file says of itself.
pub fn description(file: &FeatureFile) -> Value {
    let layout = file.layout();
    let mut provenance = file.attributes();
    let classes = provenance.remove("classes").unwrap_or_default();
    json!({
        "format": "ddae-features",
        "format_version": file.version(),
        "datasets": datasets(layout),
        "views": layout.views,
        "rows": file.len(),
        "first_row": file.rows().start,
        "total": layout.total,
        "dtype": layout.dtype.to_string(),
        "classes": classes,
        "provenance": provenance,
    })
}

/// What is written.
struct Source<'s> {
    file: &'s FeatureFile,
    description: &'s Value,
    stop: &'s AtomicBool,
}

impl Source<'_> {
    /// The file's rows in blocks of `step`, until the caller asks to stop.
    fn blocks(&self, step: usize) -> impl Iterator<Item = Result<Range<usize>, InferError>> + '_ {
        let (rows, step) = (self.file.len(), step.max(1));
        (0..rows).step_by(step).map(move |begin| match self.stop.load(Ordering::Relaxed) {
            true => Err(InferError::Interrupted),
            false => Ok(begin..rows.min(begin + step)),
        })
    }

    /// Rows of a block of features of `width`.
    fn block_rows(&self, width: usize) -> usize {
        (BLOCK_BYTES / (4 * width)).max(1)
    }

    /// The paths of `rows`, where the file has them.
    fn paths(&self, rows: Range<usize>) -> Result<Option<Vec<String>>, InferError> {
        Ok(if self.file.has_paths() { Some(self.file.paths(rows)?) } else { None })
    }

    /// Name of the class of each label, where it has one.
    fn classes(&self) -> &[String] {
        self.file.provenance().classes.as_deref().unwrap_or_default()
    }
}

/// Name of the class of `label`.
fn class_name(classes: &[String], label: i64) -> Option<&str> {
    usize::try_from(label).ok().and_then(|label| classes.get(label)).map(String::as_str)
}
