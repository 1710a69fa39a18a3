//! HDF5 files that others wrote: a matrix and its labels in any of them.
//!
//! What is promised of feature files holds of what is read here (`stored`): it lies in the file itself, whole,
//! unpacked by no plug-in, and memory is that of what is asked for. Links are named and not followed.

use std::collections::VecDeque;
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::f16;
use hdf5::datatype::ByteOrder;
use hdf5::file::File;
use hdf5::filters::Filter;
use hdf5::types::{FixedAscii, FixedUnicode, FloatSize, IntSize, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Dataset, H5Type, Hyperslab, IndexType, IterationOrder, LinkType, SliceOrIndex};
use ndarray::{ArrayD, IxDyn};

use super::FeatureFile;
use super::error::reason;
use super::heap;
use super::reader::waited_for;
use super::stored::{self, Flaw};
use super::text::with_length;

/// The first bytes of an HDF5 file, or of what follows a block of the user's.
const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// Where an HDF5 file may begin: behind a block that belongs to the user (MATLAB's is of 512 bytes).
const BEGINNINGS: [usize; 4] = [0, 512, 1024, 2048];

/// Names that are listed of a file, and how deep in groups: groups may contain each other.
const MOST_NAMES: usize = 1_000;
const DEEPEST: usize = 12;

/// Links that are looked at on the way: a group that holds itself a few times over has a name for each of its paths.
const MOST_LINKS: usize = 10 * MOST_NAMES;

/// Chunks are read whole; a larger one is read only where it is a single row.
const LARGEST_CHUNK: usize = 16 << 20;

/// The longest text of a fixed length that a label can be.
const LONGEST_LABEL: usize = 1_024;

/// Bytes of texts that are in memory at a time as HDF5 gives them: a chunk, so that none is unpacked over and over.
const TEXT_BYTES: usize = LARGEST_CHUNK;

/// What is wrong with a file that others wrote, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = path.display())]
pub struct ForeignError {
    /// The file.
    pub path: PathBuf,
    /// What was found and what is wanted.
    pub reason: String,
}

/// Whether the first bytes of a file (2056 of them say it for sure) are those of an HDF5 file.
pub fn is_hdf5(start: &[u8]) -> bool {
    BEGINNINGS.iter().any(|&at| start.get(at..).is_some_and(|rest| rest.starts_with(&SIGNATURE)))
}

/// An HDF5 file of any origin, open for reading.
#[derive(Debug)]
pub struct ForeignFile {
    path: PathBuf,
    file: File,
    length: u64,
}

/// A dataset, or what leads elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the file, with a slash before it.
    pub name: String,
    /// Its shape; none for a link, which is not followed.
    pub shape: Option<Vec<usize>>,
}

/// What a dataset holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Numbers, or truth values, which count as 0 and 1: HDF5's type in this project's words (`f16`, `i64`, `bool`).
    Numbers(&'static str),
    /// Texts.
    Texts,
}

/// Rows of numbers, row after row, in float32 unless they need float64 to be known exactly.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// Exact for stored f16 and f32, and integers up to 16 bits; others are rounded to the nearest.
    F32(Vec<f32>),
    /// As stored.
    F64(Vec<f64>),
}

/// The values of a dataset of one number or text each.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Integers and truth values.
    Integers(Vec<i64>),
    /// Other numbers.
    Floats(Vec<f64>),
    /// Texts.
    Texts(Vec<String>),
}

impl ForeignFile {
    /// Opens `path`, which begins as an HDF5 file does.
    ///
    /// # Errors
    /// When it cannot be opened, or is damaged.
    pub fn open(path: &Path) -> Result<Self, ForeignError> {
        let wrong = |reason: String| ForeignError { path: path.to_path_buf(), reason };
        let length = fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        let mut start = Vec::new();
        let begun = fs::File::open(path).and_then(|file| file.take(2056).read_to_end(&mut start));
        begun.map_err(|error| wrong(error.to_string()))?;
        if !is_hdf5(&start) {
            return Err(wrong("it is not an HDF5 file".to_string()));
        }
        let file = waited_for(|| File::open(path)).map_err(|error| {
            wrong(format!("the HDF5 file cannot be opened; it is damaged or in use: {}", reason(&error)))
        })?;
        Ok(Self { path: path.to_path_buf(), file, length })
    }

    /// Whether it says of itself that it is one of this project's feature files.
    pub fn is_feature_file(&self) -> bool {
        // By numbers: texts of variable length are read only where they are known to be harmless.
        ["format_version", "views", "total", "first_row"]
            .iter()
            .all(|name| self.file.attr(name).and_then(|attribute| attribute.read_scalar::<i64>()).is_ok())
    }

    /// Every dataset and link of the file, by name in alphabetical order; of very many, the first.
    pub fn entries(&self) -> Vec<Entry> {
        entries(&self.file)
    }

    /// Opens the dataset `name` and checks that it lies in the file, whole.
    ///
    /// # Errors
    /// When there is none, it is a link or leads to another file, or it is stored in a way that is not read.
    pub fn dataset(&self, name: &str) -> Result<ForeignDataset, ForeignError> {
        let wrong = |reason: String| ForeignError { path: self.path.clone(), reason };
        let flawed = |flaw: Flaw| match flaw {
            Flaw::Outside(reason) => wrong(format!(
                "{reason}; what lies elsewhere is not read: copy the numbers into one file first"
            )),
            Flaw::Damaged(reason) => wrong(reason),
        };
        let plain = name.trim_matches('/');
        let dataset = stored::dataset(&self.file, plain).map_err(flawed)?;
        check_packing(&dataset, plain).map_err(wrong)?;
        stored::check(&dataset, plain, self.length).map_err(flawed)?;
        let content = content_of(&dataset).map_err(|found| {
            wrong(format!("{name} holds {found}; wanted are numbers, or texts as labels"))
        })?;
        Ok(ForeignDataset { path: self.path.clone(), name: name.to_string(), dataset, content })
    }
}

/// A dataset of a file that others wrote.
#[derive(Debug)]
pub struct ForeignDataset {
    path: PathBuf,
    name: String,
    dataset: Dataset,
    content: Content,
}

impl ForeignDataset {
    /// Its shape.
    pub fn shape(&self) -> Vec<usize> {
        self.dataset.shape()
    }

    /// What it holds.
    pub fn content(&self) -> Content {
        self.content
    }

    fn wrong(&self, reason: impl std::fmt::Display) -> ForeignError {
        ForeignError { path: self.path.clone(), reason: format!("{}: {reason}", self.name) }
    }

    /// Reads `rows` along the first axis, with everything that is behind it.
    ///
    /// # Errors
    /// When it holds no numbers, or the stored bytes cannot be read or are damaged.
    pub fn rows(&self, rows: Range<usize>) -> Result<Rows, ForeignError> {
        macro_rules! exact {
            ($type:ty, $read:expr) => {
                Rows::F32(self.read::<$type>(rows)?.into_iter().map($read).collect())
            };
        }
        Ok(match self.content {
            Content::Numbers("f32") => Rows::F32(self.read::<f32>(rows)?),
            Content::Numbers("f64") => Rows::F64(self.read::<f64>(rows)?),
            Content::Numbers("f16") => exact!(f16, f16::to_f32),
            Content::Numbers("bool") => exact!(bool, |value| f32::from(u8::from(value))),
            Content::Numbers("i8") => exact!(i8, f32::from),
            Content::Numbers("u8") => exact!(u8, f32::from),
            Content::Numbers("i16") => exact!(i16, f32::from),
            Content::Numbers("u16") => exact!(u16, f32::from),
            Content::Numbers("i32") => exact!(i32, |value| value as f32),
            Content::Numbers("u32") => exact!(u32, |value| value as f32),
            Content::Numbers("i64") => exact!(i64, |value| value as f32),
            Content::Numbers("u64") => exact!(u64, |value| value as f32),
            Content::Numbers(_) | Content::Texts => return Err(self.wrong("holds no numbers")),
        })
    }

    fn read<T: H5Type>(&self, rows: Range<usize>) -> Result<Vec<T>, ForeignError> {
        let shape = self.dataset.shape();
        let slices = shape.iter().enumerate().map(|(axis, &length)| match axis {
            0 => SliceOrIndex::from(rows.clone()),
            _ => SliceOrIndex::from(0..length),
        });
        let slices = Hyperslab::from(slices.collect::<Vec<_>>());
        let read: hdf5::Result<ArrayD<T>> = self.dataset.read_slice::<T, _, IxDyn>(slices);
        let (values, _) = read.map_err(|error| self.wrong(reason(&error)))?.into_raw_vec_and_offset();
        Ok(values)
    }

    /// All values, one for each row: the dataset has one axis, or axes of length 1 behind the first.
    ///
    /// # Errors
    /// When they cannot be read, a text is not UTF-8, or an unsigned number is beyond i64.
    pub fn column(&self) -> Result<Column, ForeignError> {
        let all = 0..self.shape().first().copied().unwrap_or(0);
        Ok(match self.content {
            Content::Numbers("f16" | "f32" | "f64") => Column::Floats(self.read::<f64>(all)?),
            Content::Numbers("bool") => {
                Column::Integers(self.read::<bool>(all)?.into_iter().map(i64::from).collect())
            }
            Content::Numbers("u64") => {
                let whole = self.read::<u64>(all)?.into_iter().map(|value| {
                    i64::try_from(value).map_err(|_| self.wrong(format!("{value} is too large for a label")))
                });
                Column::Integers(whole.collect::<Result<_, _>>()?)
            }
            Content::Numbers(_) => Column::Integers(self.read::<i64>(all)?),
            Content::Texts => Column::Texts(self.texts(all)?),
        })
    }

    fn texts(&self, rows: Range<usize>) -> Result<Vec<String>, ForeignError> {
        let descriptor = self.dataset.dtype().and_then(|dtype| dtype.to_descriptor());
        let too_long = |error: hdf5::Error| self.wrong(reason(&error));
        match descriptor.map_err(|error| self.wrong(reason(&error)))? {
            TypeDescriptor::FixedAscii(length) => {
                with_length!(length, N => Ok(self.texts_of(rows, FixedAscii::<N>::as_bytes)))
                    .map_err(too_long)?
            }
            TypeDescriptor::FixedUnicode(length) => {
                with_length!(length, N => Ok(self.texts_of(rows, FixedUnicode::<N>::as_bytes)))
                    .map_err(too_long)?
            }
            kind => {
                // HDF5 keeps them where no checksum covers them, and could read for ever.
                let checked = fs::File::open(&self.path).and_then(|file| heap::check_all(&file));
                checked.map_err(|error| self.wrong(error))?.map_err(|reason| {
                    self.wrong(format!("{reason}; the file is damaged, or h5repack can write it anew"))
                })?;
                match kind {
                    TypeDescriptor::VarLenAscii => self.texts_of(rows, VarLenAscii::as_bytes),
                    _ => self.texts_of(rows, VarLenUnicode::as_bytes),
                }
            }
        }
    }

    /// Texts by way of `T`, in blocks: as texts of a fixed length most of them are padding.
    fn texts_of<T: H5Type>(
        &self,
        rows: Range<usize>,
        bytes: impl Fn(&T) -> &[u8],
    ) -> Result<Vec<String>, ForeignError> {
        let step = (TEXT_BYTES / size_of::<T>()).max(1);
        let mut texts = Vec::new();
        for begin in rows.clone().step_by(step) {
            for value in self.read::<T>(begin..rows.end.min(begin + step))? {
                let text = std::str::from_utf8(bytes(&value));
                texts.push(text.map_err(|_| self.wrong("a label is not text in UTF-8"))?.to_string());
            }
        }
        Ok(texts)
    }
}

/// What a dataset holds, or what it holds instead.
fn content_of(dataset: &Dataset) -> Result<Content, String> {
    let dtype = dataset.dtype().map_err(|error| reason(&error))?;
    let found = dtype.to_descriptor().map_err(|error| reason(&error))?;
    Ok(Content::Numbers(match &found {
        // Other floats of two bytes (bfloat16) are not told apart by their size.
        TypeDescriptor::Float(FloatSize::U2)
            if dtype.byte_order() == ByteOrder::LittleEndian && !dtype.is::<f16>() =>
        {
            return Err("floats of two bytes that are no float16".to_string());
        }
        TypeDescriptor::Float(FloatSize::U2) => "f16",
        TypeDescriptor::Float(FloatSize::U4) => "f32",
        TypeDescriptor::Float(FloatSize::U8) => "f64",
        TypeDescriptor::Integer(IntSize::U1) => "i8",
        TypeDescriptor::Integer(IntSize::U2) => "i16",
        TypeDescriptor::Integer(IntSize::U4) => "i32",
        TypeDescriptor::Integer(IntSize::U8) => "i64",
        TypeDescriptor::Unsigned(IntSize::U1) => "u8",
        TypeDescriptor::Unsigned(IntSize::U2) => "u16",
        TypeDescriptor::Unsigned(IntSize::U4) => "u32",
        TypeDescriptor::Unsigned(IntSize::U8) => "u64",
        TypeDescriptor::Boolean => "bool",
        TypeDescriptor::FixedAscii(length) | TypeDescriptor::FixedUnicode(length)
            if *length > LONGEST_LABEL =>
        {
            return Err(format!("texts of {length} bytes, {LONGEST_LABEL} are possible"));
        }
        TypeDescriptor::FixedAscii(_)
        | TypeDescriptor::FixedUnicode(_)
        | TypeDescriptor::VarLenAscii
        | TypeDescriptor::VarLenUnicode => return Ok(Content::Texts),
        TypeDescriptor::Compound(_) => return Err("a table of records (a compound type)".to_string()),
        other => return Err(ddae_base::text::excerpt(other, 80)),
    }))
}

/// Refuses what HDF5 could read only with a plug-in, or only in pieces that are too large, in the words of its owner.
fn check_packing(dataset: &Dataset, name: &str) -> Result<(), String> {
    let foreign = |filter: &Filter| {
        !matches!(filter, Filter::Deflate(_) | Filter::LZF | Filter::Shuffle | Filter::Fletcher32)
    };
    if let Some(filter) = dataset.filters().iter().find(|filter| foreign(filter)) {
        let filter = ddae_base::text::excerpt(format_args!("{filter:?}"), 60);
        return Err(format!("{name} is packed by {filter}; store it with gzip or lzf, or as it is"));
    }
    let size = dataset.dtype().map_or(8, |dtype| dtype.size());
    let bytes = |sides: &[usize]| sides.iter().fold(size, |bytes, &side| bytes.saturating_mul(side));
    let row = bytes(dataset.shape().get(1..).unwrap_or(&[]));
    if let Some(chunk) = dataset.chunk().filter(|chunk| bytes(chunk) > LARGEST_CHUNK.max(row)) {
        return Err(format!(
            "{name} is stored in chunks of {chunk:?}, {} bytes each, and at most {LARGEST_CHUNK} are read at a time; \
             store it in smaller chunks, or without",
            bytes(&chunk)
        ));
    }
    Ok(())
}

/// The datasets and links of `file`; of very many, those that are the least deep in groups.
fn entries(file: &File) -> Vec<Entry> {
    let (mut found, mut looked_at) = (Vec::new(), 0);
    let Ok(root) = file.group("/") else { return found };
    let mut groups = VecDeque::from([(String::new(), root, 0)]);
    'groups: while let Some((path, group, depth)) = groups.pop_front() {
        let mut names = Vec::new();
        // What cannot be listed has no names.
        let _ = group.find_link(IndexType::Name, IterationOrder::Increasing, |name, info| {
            names.push((name.to_string(), info.link_type));
            Ok((names.len() >= MOST_NAMES).then_some(()))
        });
        for (name, link) in names {
            looked_at += 1;
            if found.len() >= MOST_NAMES || looked_at > MOST_LINKS {
                break 'groups;
            }
            let path = format!("{path}/{name}");
            if link != LinkType::Hard {
                found.push(Entry { name: path, shape: None });
            } else if let Ok(dataset) = group.dataset(&name) {
                found.push(Entry { name: path, shape: Some(dataset.shape()) });
            } else if depth < DEEPEST
                && groups.len() < MOST_NAMES
                && let Ok(group) = group.group(&name)
            {
                groups.push_back((path, group, depth + 1));
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

impl FeatureFile {
    /// The datasets and links in the file that this version knows nothing of: others added them later. They are not
    /// read.
    pub fn added(&self) -> Vec<String> {
        let own = |name: &str| {
            let name = name.trim_start_matches('/');
            KNOWN.contains(&name)
                || name.strip_prefix("feature_").is_some_and(|width| width.parse::<usize>().is_ok())
                || self.keys().iter().any(|key| key.dataset() == name)
        };
        entries(self.file()).into_iter().map(|entry| entry.name).filter(|name| !own(name)).collect()
    }
}

/// What a feature file has beside its features: columns, class names and the names of dimensions.
const KNOWN: [&str; 9] =
    ["labels", "indices", "paths", "image_keys", "classes", "view", "row", "class", "feature"];
