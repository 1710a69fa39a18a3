//! Features that others computed, in the files in which they keep them.
//!
//! | module | subject |
//! | --- | --- |
//! | `npy`, `npz` | NumPy's arrays and archives of them |
//! | `safetensors`, `hdf5` | tensors and datasets |
//! | `text`, `parquet` | tables with a row for each sample |
//! | `table` | which columns of a table are features, and which is the label |
//! | `shape` | what the shape of an array means |
//! | `numbers` | stored numbers, and what becomes of them in float32 |
//! | `matrix` | rows of features, where they lie or in memory |
//! | [`labels`] | numbers and texts as classes |
//! | `converted` | what our own feature files were converted to, which is refused |
//!
//! A file is what its content says, whatever its name. Nothing in it is run, and memory is taken for what is there, not
//! for what a header promises.

mod converted;
mod hdf5;
pub(crate) mod labels;
mod matrix;
mod npy;
mod npz;
mod numbers;
mod parquet;
mod safetensors;
mod shape;
mod table;
mod text;

use std::fs::File;
use std::io::{Read, Seek};
use std::ops::Range;
use std::path::Path;

use ddae_base::text::excerpt;
use ddae_store::foreign::is_hdf5;
use ndarray::Array2;

use self::labels::RawLabels;
use self::matrix::Matrix;
use self::table::Table;
use super::place::Place;
use super::{Input, feature_set};
use crate::error::{ProbeError, Result};

/// What came of reading a part of a file, or what is wrong with it in words that do not name the file.
type Opened<T> = std::result::Result<T, String>;

/// What features and labels are usually called.
const FEATURES: [&str; 8] =
    ["features", "feature", "feats", "x", "embeddings", "embedding", "emb", "image_embeddings"];
const LABELS: [&str; 6] = ["labels", "label", "y", "targets", "target", "class"];

/// Arrays that a message lists.
const LISTED: usize = 12;

/// What is said of features that nobody describes.
pub(crate) const UNKNOWN_MAKING: &str = "nothing says how these features were made";

/// A file with named arrays, or a single one without a name.
trait Arrays {
    /// The arrays by name; none where there is a single one without a name.
    fn list(&self) -> Vec<ArrayInfo>;

    /// Opens an array as features `[N, D]`.
    fn matrix(&mut self, name: &str, flatten: bool) -> Opened<Matrix>;

    /// Reads an array as labels.
    fn labels(&mut self, name: &str) -> Opened<RawLabels>;
}

/// An array of a file.
#[derive(Clone, Debug)]
struct ArrayInfo {
    name: String,
    /// Unknown of what leads elsewhere, or cannot be read.
    shape: Option<Vec<usize>>,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Npy,
    Npz,
    Safetensors,
    Hdf5,
    Parquet,
    Text,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Npy => "NumPy array (.npy)",
            Self::Npz => "NumPy archive (.npz)",
            Self::Safetensors => "safetensors",
            Self::Hdf5 => "HDF5, of another program",
            Self::Parquet => "parquet table",
            Self::Text => "table of text",
        }
    }
}

/// Features of one file that nothing describes, with their labels.
pub(crate) struct Foreign {
    /// The name of the array, where it has one.
    pub(crate) name: Option<String>,
    /// What kind of file it is.
    pub(crate) format: &'static str,
    /// Where it has any, and they were wanted.
    pub(crate) labels: Option<RawLabels>,
    /// What the reader should know of how it was read.
    pub(crate) notes: Vec<String>,
    matrix: Matrix,
}

impl Foreign {
    pub(crate) fn rows(&self) -> usize {
        self.matrix.rows
    }

    pub(crate) fn dim(&self) -> usize {
        self.matrix.dim
    }

    /// How features are stored.
    pub(crate) fn stored_as(&self) -> &'static str {
        self.matrix.stored_as
    }

    /// What becomes of them.
    pub(crate) fn read_as(&self) -> &'static str {
        self.matrix.read_as
    }

    /// Rows of features; numbers may be NaN or infinite.
    pub(crate) fn read(&self, rows: Range<usize>) -> Opened<Array2<f32>> {
        self.matrix.read(rows)
    }
}

/// An error about `path` in the words of `reason`.
fn wrong(path: &Path, reason: impl Into<String>) -> ProbeError {
    ProbeError::File { path: path.to_path_buf(), reason: reason.into() }
}

/// Opens a regular file and says how long it is.
fn regular(path: &Path) -> Result<(File, u64)> {
    let open = || {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(std::io::Error::other("it is a folder; the file with the features is wanted"));
        }
        if !metadata.is_file() {
            return Err(std::io::Error::other("it is no regular file, which is wanted here"));
        }
        Ok((file, metadata.len()))
    };
    open().map_err(|error| wrong(path, error.to_string()))
}

/// What a file is, by its content.
///
/// # Errors
/// When it cannot be read, or is nothing that holds features.
pub(crate) fn format_of(path: &Path) -> Result<Format> {
    const WANTED: &str =
        "features are read from HDF5, .npy, .npz, safetensors, parquet and tables of text (CSV)";
    if path.is_dir() {
        converted::check_folder(path).map_err(|reason| wrong(path, reason))?;
    }
    let (file, length) = regular(path)?;
    let mut start = Vec::new();
    file.take(4096).read_to_end(&mut start).map_err(|error| wrong(path, error.to_string()))?;
    let refuse = |what: &str| Err(wrong(path, format!("it is {what}; {WANTED}")));
    if start.is_empty() {
        return Err(wrong(path, format!("it is empty; {WANTED}")));
    }
    let is_text = || {
        let text = std::str::from_utf8(&start).or_else(|error| match error.error_len() {
            // The last character may go on behind what was read.
            None => std::str::from_utf8(&start[..error.valid_up_to()]),
            Some(_) => Err(error),
        });
        text.is_ok_and(|text| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')))
    };
    match start.as_slice() {
        start if is_hdf5(start) => Ok(Format::Hdf5),
        start if start.starts_with(npy::MAGIC) => Ok(Format::Npy),
        start if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") => Ok(Format::Npz),
        start if start.starts_with(parquet::MAGIC) => Ok(Format::Parquet),
        start if safetensors::begins(start, length) => Ok(Format::Safetensors),
        start if start.starts_with(b"ARROW1") => {
            refuse("an Arrow (Feather) file: write it as parquet, with DataFrame.to_parquet")
        }
        [0x80, 2..=5, ..] => {
            refuse("a Python pickle, which is not run: save its arrays with np.savez, or as safetensors")
        }
        start => match (ddae_base::kind_of(start), is_text()) {
            // Text may begin as pictures do (a column called BMI), but not as markup or the pointer of another file.
            (Some(kind), true)
                if start.starts_with(b"<") || start.starts_with(b"{") || start.starts_with(b"version ") =>
            {
                refuse(kind)
            }
            (_, true) => Ok(Format::Text),
            (Some(kind), false) => refuse(kind),
            (None, false) => refuse("nothing that is known here"),
        },
    }
}

/// The arrays of a file that is no table.
fn arrays(path: &Path, format: Format) -> Result<Box<dyn Arrays>> {
    let (file, length) = regular(path)?;
    let opened: Opened<Box<dyn Arrays>> = match format {
        Format::Npy => npy::Npy::open(file, length).map(|arrays| Box::new(arrays) as _),
        Format::Npz => npz::Npz::open(file).map(|arrays| Box::new(arrays) as _),
        Format::Safetensors => safetensors::Tensors::open(file, length).map(|arrays| Box::new(arrays) as _),
        _ => hdf5::Datasets::open(path).map(|arrays| Box::new(arrays) as _),
    };
    opened.map_err(|reason| wrong(path, reason))
}

/// Opens features that are no feature file of ours. `with_labels` says whether labels are wanted, and so whether a file
/// without is refused.
///
/// # Errors
/// When the file cannot be read, or it is not said which of its numbers are features and labels.
pub(crate) fn open(input: &Input, place: &Place, format: Format, with_labels: bool) -> Result<Foreign> {
    let is_table = matches!(format, Format::Parquet | Format::Text);
    if input.label_column.is_some() && !is_table && input.labels.is_none() {
        return Err(ProbeError::Usage(format!(
            "--label-column names a column of a table, and {} is none ({}): write FILE:FEATURES,LABELS for its arrays",
            place.file.display(),
            format.name()
        )));
    }
    if format == Format::Npy {
        converted::check_folder(&place.file).map_err(|reason| wrong(&place.file, reason))?;
    }
    let mut foreign = match is_table {
        true => open_table(input, place, format, with_labels)?,
        false => open_arrays(input, place, arrays(&place.file, format)?, format, with_labels)?,
    };
    if let Some(path) = input.labels.filter(|_| with_labels) {
        foreign.labels = Some(read_labels(path, input.label_column)?);
    }
    if let Some(labels) = &foreign.labels
        && labels.len() != foreign.rows()
    {
        let (rows, count) = (foreign.rows(), labels.len());
        let from = input.labels.map_or_else(String::new, |path| format!(" of {}", path.display()));
        return Err(wrong(
            &place.file,
            format!(
                "it has {rows} rows of features, and there are {count} labels{from}: one for each row is wanted"
            ),
        ));
    }
    Ok(foreign)
}

fn open_arrays(
    input: &Input,
    place: &Place,
    mut arrays: Box<dyn Arrays>,
    format: Format,
    with_labels: bool,
) -> Result<Foreign> {
    let path = &place.file;
    let list = arrays.list();
    let in_array = |name: &str, reason: String| match name {
        "" => wrong(path, reason),
        // Of datasets the reason says it.
        _ if format == Format::Hdf5 => wrong(path, reason),
        name => wrong(path, format!("{}: {reason}", excerpt(name, 60))),
    };
    if list.is_empty() && format == Format::Npy {
        if let Some(name) = place.features.as_ref().or(place.labels.as_ref()) {
            let reason = format!("it is a single array and has none called '{}'", excerpt(name, 60));
            return Err(wrong(path, reason));
        }
        let matrix = arrays.matrix("", input.flatten).map_err(|reason| in_array("", reason))?;
        if with_labels && input.labels.is_none() {
            let option = input.labels_option;
            return Err(wrong(
                path,
                format!("it holds features alone; give their labels with {option} FILE"),
            ));
        }
        return Ok(foreign(None, format, None, matrix));
    }
    let features = pick(&list, place.features.as_deref(), &FEATURES, "features", "FILE:FEATURES");
    let features = features.map_err(|reason| wrong(path, reason))?;
    let matrix = arrays.matrix(&features, input.flatten).map_err(|reason| in_array(&features, reason))?;
    let labels = match with_labels && input.labels.is_none() {
        true => {
            let usage = format!("FILE:{features},LABELS, or give {} FILE", input.labels_option);
            let name = pick(&list, place.labels.as_deref(), &LABELS, "labels", &usage);
            let name = name.map_err(|reason| wrong(path, reason))?;
            Some(arrays.labels(&name).map_err(|reason| in_array(&name, reason))?)
        }
        false => None,
    };
    let shape = list.iter().find(|array| array.name == features).and_then(|array| array.shape.clone());
    let mut found = foreign(Some(features), format, labels, matrix);
    if let Some(shape) = shape.filter(|shape| shape.len() > 2) {
        let row = &shape[1..];
        found.notes.push(format!("{place}: rows of {row:?} are flattened to {} features", found.dim()));
    }
    Ok(found)
}

fn foreign(name: Option<String>, format: Format, labels: Option<RawLabels>, matrix: Matrix) -> Foreign {
    Foreign { name, format: format.name(), labels, notes: Vec::new(), matrix }
}

fn open_table(input: &Input, place: &Place, format: Format, with_labels: bool) -> Result<Foreign> {
    let path = &place.file;
    let (file, _) = regular(path)?;
    // With a file of labels, --label-column is about that one.
    let column = input.label_column.filter(|_| input.labels.is_none());
    let named = place.labels.as_deref().or(column);
    let opened: Opened<Box<dyn Table>> = match format {
        Format::Parquet => parquet::Parquet::open(file).map(|table| Box::new(table) as _),
        _ => text::TextTable::open(file, named, text::Purpose::Features).map(|table| Box::new(table) as _),
    };
    let read = || {
        let mut table = opened?;
        let label = table::label_column(table.as_ref(), named)?;
        let (matrix, left_out) = table::features(table.as_mut(), place.features.as_deref(), label)?;
        let labels = match (label, with_labels && input.labels.is_none()) {
            (Some(label), true) => Some(table.labels(label)?),
            (None, true) if table.has_names() => {
                return Err(format!(
                    "no column has a usual name of labels ({}); name it with --label-column: it has {}",
                    LABELS.join(", "),
                    table::listed(table.as_ref(), |_| true)
                ));
            }
            (None, true) => {
                return Err(format!(
                    "its first line holds no names of columns; give the number of the label's, from 0 on, with \
                     --label-column (the last of {} is -1), or a file of labels with {}",
                    table.columns().len(),
                    input.labels_option
                ));
            }
            (_, false) => None,
        };
        let mut found = foreign(place.features.clone(), format, labels, matrix);
        found.notes.extend(left_out.map(|left_out| format!("{place}: {left_out}")));
        let columns = table.columns();
        let is_numbered = table::are_numbered(columns.iter().map(|column| column.name.as_str()));
        if !table.has_names() {
            found
                .notes
                .push(format!("{place}: its first line holds no names of columns and counts as a row"));
        } else if format == Format::Text && is_numbered {
            found.notes.push(format!(
                "{place}: its first line numbers the columns up to {} and counts as their names, not as a row",
                columns.last().map_or("", |column| column.name.as_str())
            ));
        }
        Ok(found)
    };
    read().map_err(|reason| wrong(path, reason))
}

/// Reads labels from a file of their own: an array, a table with a label column, or a list with one label a line.
///
/// # Errors
/// When it cannot be read, or it is not said which of its values are the labels.
pub(crate) fn read_labels(path: &Path, column: Option<&str>) -> Result<RawLabels> {
    let place = Place::parse(path);
    let path = &place.file;
    let format = format_of(path)?;
    let named = place.labels.as_deref().or(place.features.as_deref()).or(column);
    let read = || match format {
        Format::Parquet | Format::Text => {
            let (mut file, _) = regular(path).map_err(|error| error.to_string())?;
            file.rewind().map_err(|error| error.to_string())?;
            let (mut table, only): (Box<dyn Table>, _) = match format {
                Format::Parquet => (Box::new(parquet::Parquet::open(file)?), None),
                _ => {
                    let table = text::TextTable::open(file, named, text::Purpose::Labels)?;
                    let only = table.only_column();
                    (Box::new(table), only)
                }
            };
            let label = match only.filter(|_| named.is_none()) {
                Some(only) => only,
                None => table::label_column(table.as_ref(), named)?.ok_or_else(|| {
                    let columns = table::listed(table.as_ref(), |_| true);
                    format!("it is not said which column holds the labels; name one with --label-column: it has {columns}")
                })?,
            };
            table.labels(label)
        }
        _ => {
            let mut arrays = arrays(path, format).map_err(|error| error.to_string())?;
            let list = arrays.list();
            let name = match format {
                Format::Npy if named.is_some() => {
                    let named = excerpt(named.unwrap_or_default(), 60);
                    return Err(format!("it is a single array, without an array or column called '{named}'"));
                }
                Format::Npy => String::new(),
                _ => pick(&list, named, &LABELS, "labels", "FILE:NAME")?,
            };
            arrays.labels(&name)
        }
    };
    read().map_err(|reason| wrong(path, reason))
}

/// Whether a name is one of the usual ones.
fn is_usual(name: &str, usual: &[&str]) -> bool {
    usual.contains(&name.trim().to_lowercase().as_str())
}

/// The array that is meant: the named one, or the only one with a usual name; of several in groups, the one at the top.
fn pick(list: &[ArrayInfo], named: Option<&str>, usual: &[&str], what: &str, usage: &str) -> Opened<String> {
    let plain = |name: &str| name.trim_matches('/').to_string();
    let holds = || {
        let shown: Vec<String> = list.iter().take(LISTED).map(describe).collect();
        let more = list.len().saturating_sub(LISTED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        match shown.is_empty() {
            true => "it holds no arrays".to_string(),
            false => format!("it holds {}{more}", shown.join(", ")),
        }
    };
    if let Some(named) = named {
        let found = list.iter().find(|array| plain(&array.name) == plain(named));
        // Of a file with very many, not all are listed.
        return match found {
            Some(array) => Ok(array.name.clone()),
            None => Err(format!("there is no array '{}'; {}", excerpt(named, 60), holds())),
        };
    }
    let last = |array: &&ArrayInfo| is_usual(array.name.rsplit('/').next().unwrap_or(""), usual);
    let found: Vec<&ArrayInfo> = list.iter().filter(last).collect();
    let top: Vec<&ArrayInfo> =
        found.iter().copied().filter(|array| !plain(&array.name).contains('/')).collect();
    match (top.as_slice(), found.as_slice()) {
        ([one], _) | ([], [one]) => Ok(one.name.clone()),
        ([], []) => Err(format!(
            "no array has a usual name of {what} ({}); {}: name them as in {usage}",
            usual.join(", "),
            holds()
        )),
        (top, found) => {
            let several = if top.is_empty() { found } else { top };
            let names: Vec<String> =
                several.iter().take(LISTED).map(|array| excerpt(&array.name, 60)).collect();
            Err(format!("several arrays could be the {what} ({}): name one as in {usage}", names.join(", ")))
        }
    }
}

fn describe(array: &ArrayInfo) -> String {
    let name = excerpt(&array.name, 60);
    match &array.shape {
        Some(shape) => format!("{name} {shape:?}"),
        None => name,
    }
}

/// What a table of features is called where its file has no name for it.
pub(crate) fn feature_name(first: &Foreign, second: Option<&Foreign>) -> feature_set::FeatureSet {
    let name = match second {
        Some(second) if second.name != first.name => None,
        _ => first.name.clone(),
    };
    feature_set::FeatureSet::Matrix(name.unwrap_or_else(|| "features".to_string()))
}
