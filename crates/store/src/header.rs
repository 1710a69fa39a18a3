//! What the root of a feature file says: its layout, and where its features come from.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use ddae_base::text::excerpt;
use hdf5::file::File;
use serde_json::{Map, Value, json};

use super::attributes::{self, Attributes};
use super::error::reason;
use super::file::Unfinished;
use super::stored;
use super::{FeatureError, FeatureKey, Layout, heap, text, version1};

/// What makes a file a feature file.
pub(super) const FORMAT: &str = "ddae-features";
/// The format that is written; the first one is read as well.
pub(super) const VERSION: u64 = 2;
/// Attributes of the format itself. One of the job's with such a name is stored with [`OF_JOB`] before it.
const RESERVED: [&str; 16] = [
    "format",
    "format_version",
    "views",
    "total",
    "first_row",
    "rows",
    "dtype",
    "compression",
    "keys",
    "widths",
    "attributes",
    "shards",
    "classes",
    "class_count",
    attributes::JSON,
    TEXTS,
];
const OF_JOB: &str = "job.";
/// The places and checksums of the texts ([`heap`]).
const TEXTS: &str = "text_checksums";
/// More texts than any root has.
const MOST_TEXTS: usize = 1 << 16;

/// Everything the root says.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) layout: Layout,
    /// Which rows of the job are in the file; all of them in a joined one.
    pub(super) rows: Range<usize>,
    /// The files beside it that hold the features of a virtual file; otherwise empty.
    pub(super) shards: Vec<String>,
    /// The format's version.
    pub(super) version: u64,
}

impl Header {
    pub(super) fn new(layout: Layout, rows: Range<usize>, shards: Vec<String>) -> Self {
        Self { layout, rows, shards, version: VERSION }
    }

    /// Writes it as the first thing of a file.
    pub(super) fn begin(&self, target: &mut Unfinished) -> Result<(), FeatureError> {
        target.with_file(|file| self.write(file))?;
        let texts = target.flushed_head(heap::texts)?;
        if let Some([.., size, _]) = texts.iter().find(|[.., size, _]| *size > heap::LONGEST) {
            let reason = format!("an attribute of {size} bytes; {} are possible", heap::LONGEST);
            return Err(FeatureError::Layout(reason));
        }
        target.with_file(|file| {
            let texts = ndarray::Array2::from(texts);
            file.new_attr_builder().with_data(&texts).create(TEXTS).map(drop)
        })?;
        let classes = self.layout.provenance.classes.as_deref().unwrap_or_default();
        if !classes.is_empty() {
            let longest = classes.iter().map(String::len).max().unwrap_or(0);
            let dataset = target.add_texts("classes", classes.len(), longest)?;
            target.write_texts(dataset, 0, classes)?;
        }
        Ok(())
    }

    fn write(&self, file: &File) -> hdf5::Result<()> {
        let layout = &self.layout;
        let mut attributes = Attributes::new(file);
        let mut provenance = layout.provenance.attributes();
        if let Some(classes) = &layout.provenance.classes {
            // Their names are a dataset.
            provenance.remove("classes");
            attributes.write("class_count", &json!(classes.len()))?;
        }
        let keys: Vec<_> = layout.keys.iter().map(|(key, _)| key.to_string()).collect();
        let widths: Vec<_> = layout.keys.iter().map(|(_, width)| width).collect();
        let names: Vec<_> = provenance.keys().map(|name| stored_name(name)).collect();
        for (name, value) in [
            ("format", json!(FORMAT)),
            ("format_version", json!(VERSION)),
            ("views", json!(layout.views)),
            ("total", json!(layout.total)),
            ("first_row", json!(self.rows.start)),
            ("rows", json!(self.rows.len())),
            ("dtype", json!(layout.dtype.to_string())),
            ("compression", json!(layout.compression.to_string())),
            ("keys", json!(keys)),
            ("widths", json!(widths)),
            ("attributes", json!(names)),
        ] {
            attributes.write(name, &value)?;
        }
        if !self.shards.is_empty() {
            attributes.write("shards", &json!(self.shards))?;
        }
        for (name, value) in &provenance {
            attributes.write(&stored_name(name), value)?;
        }
        attributes.finish()
    }

    /// Reads the root of `file` and checks that it makes sense.
    pub(super) fn read(file: &File, path: &Path) -> Result<Self, FeatureError> {
        let foreign = |reason: String| FeatureError::Foreign { path: path.to_path_buf(), reason };
        let names = file.attr_names().map_err(FeatureError::damaged(path))?;
        if !names.iter().any(|name| name == "format") {
            return Err(foreign("an HDF5 file without the attributes of one".to_string()));
        }
        // A number, so that nothing of variable length is read before it is known to be harmless.
        let version = file.attr("format_version").and_then(|version| version.read_scalar::<i64>());
        let header = match version {
            Ok(2) => Self::read_checked(file, path, &names)?,
            Ok(1) => version1::read(file, path)?,
            Ok(other) => {
                return Err(foreign(format!(
                    "its format version is {other}, this program reads 1 and {VERSION}"
                )));
            }
            Err(error) => {
                version1::check_format(file, path).map_err(foreign)?;
                let reason = format!("attribute format_version: {}", reason(&error));
                return Err(FeatureError::Damaged { path: path.to_path_buf(), reason });
            }
        };
        match header.shards.iter().find(|shard| !lies_beside(shard)) {
            Some(shard) => {
                let reason = format!("its shard is '{}'", excerpt(shard, 100));
                Err(FeatureError::Outside { path: path.to_path_buf(), reason })
            }
            None => Ok(header),
        }
    }

    /// The same of a file of this version.
    fn read_checked(file: &File, path: &Path, names: &[String]) -> Result<Self, FeatureError> {
        let damaged = |reason: String| FeatureError::Damaged { path: path.to_path_buf(), reason };
        check_texts(file, path)?;
        let json = attributes::json_names(file, names)
            .map_err(|error| damaged(format!("attribute {}: {}", attributes::JSON, reason(&error))))?;
        let value = |name: &str| {
            attributes::read(file, name, &json)
                .map_err(|error| format!("attribute {name}: {}", reason(&error)))
        };
        let format = value("format").unwrap_or_default();
        if format != FORMAT {
            let reason = format!("its format is {}", excerpt(format.to_string(), 100));
            return Err(FeatureError::Foreign { path: path.to_path_buf(), reason });
        }
        let classes = match names.iter().any(|name| name == "class_count") {
            true => {
                Some(class_names(file, path, value("class_count").and_then(as_number).map_err(damaged)?)?)
            }
            false => None,
        };
        let read = || -> Result<Self, String> {
            let number = |name: &str| {
                let number = as_number(value(name)?);
                number.map_err(|found| format!("attribute {name} is {found}"))
            };
            let text = |name: &str| match value(name)? {
                Value::String(text) => Ok(text),
                other => Err(format!("attribute {name} is {other}")),
            };
            let list = |name: &str| match value(name)? {
                Value::Array(values) => Ok(values),
                other => Err(format!("attribute {name} is {other}")),
            };
            let texts = |name: &str| {
                let text = |value: Value| value.as_str().map(str::to_string);
                let texts: Option<Vec<String>> = list(name)?.into_iter().map(text).collect();
                texts.ok_or_else(|| format!("attribute {name} is no list of texts"))
            };
            let message = |error: FeatureError| error.to_string();
            let keys = texts("keys")?.into_iter().map(|key| FeatureKey::from_str(&key));
            let keys = keys.collect::<Result<Vec<_>, _>>().map_err(message)?;
            let widths = list("widths")?.into_iter().map(as_number).collect::<Result<Vec<_>, _>>()?;
            if keys.len() != widths.len() {
                return Err(format!("{} datasets have {} widths", keys.len(), widths.len()));
            }
            let mut provenance = Map::new();
            for name in texts("attributes")? {
                provenance.insert(name.strip_prefix(OF_JOB).unwrap_or(&name).to_string(), value(&name)?);
            }
            if let Some(classes) = &classes {
                provenance.insert("classes".to_string(), json!(classes));
            }
            let layout = Layout {
                keys: keys.into_iter().zip(widths).collect(),
                views: number("views")?,
                total: number("total")?,
                dtype: text("dtype")?.parse().map_err(message)?,
                compression: text("compression")?.parse().map_err(message)?,
                provenance: serde_json::from_value(provenance.into()).map_err(|error| error.to_string())?,
            };
            layout.check().map_err(message)?;
            let rows = rows(&layout, number("first_row")?, number("rows")?)?;
            let has_shards = names.iter().any(|name| name == "shards");
            Ok(Self::new(layout, rows, if has_shards { texts("shards")? } else { Vec::new() }))
        };
        read().map_err(damaged)
    }
}

/// The rows that a file says it has, if its job has them.
pub(super) fn rows(layout: &Layout, first: usize, count: usize) -> Result<Range<usize>, String> {
    let end = first.checked_add(count).filter(|&end| first < end && end <= layout.total);
    end.map(|end| first..end).ok_or_else(|| "its rows are not those of the job".to_string())
}

/// The attribute that holds the job's attribute `name`.
fn stored_name(name: &str) -> String {
    let is_taken = RESERVED.contains(&name) || name.starts_with(OF_JOB);
    if is_taken { format!("{OF_JOB}{name}") } else { name.to_string() }
}

fn as_number(value: Value) -> Result<usize, String> {
    value.as_u64().and_then(|number| usize::try_from(number).ok()).ok_or_else(|| value.to_string())
}

/// Finds the texts of variable length to be what was written.
fn check_texts(file: &File, path: &Path) -> Result<(), FeatureError> {
    let damaged = |reason: String| FeatureError::Damaged { path: path.to_path_buf(), reason };
    let read = || {
        let attribute = file.attr(TEXTS)?;
        match attribute.shape().as_slice() {
            [rows, 4] if *rows <= MOST_TEXTS => attribute.read_raw::<u64>(),
            shape => Err(hdf5::Error::from(format!("shape {shape:?}"))),
        }
    };
    let texts = read().map_err(|error| damaged(format!("attribute {TEXTS}: {}", reason(&error))))?;
    let (texts, _) = texts.as_chunks::<4>();
    let checked = fs::File::open(path).and_then(|file| heap::check(&file, texts));
    checked.map_err(FeatureError::io(path))?.map_err(damaged)
}

/// Reads the names of `count` classes.
fn class_names(file: &File, path: &Path, count: usize) -> Result<Vec<String>, FeatureError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let length = fs::metadata(path).map_err(FeatureError::io(path))?.len();
    let dataset = stored::texts(file, "classes", count, length).map_err(|flaw| flaw.of(path))?;
    super::reader::check_memory(path, "classes", count, dataset.dtype().map_or(0, |dtype| dtype.size()))?;
    text::read(&dataset, 0..count).map_err(|error| FeatureError::Damaged {
        path: path.to_path_buf(),
        reason: format!("classes: {}", reason(&error)),
    })
}

/// Whether a shard's name is that of a file in the same folder.
pub(super) fn lies_beside(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|own| own == name)
}
