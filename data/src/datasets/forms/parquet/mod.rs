//! Parquet files as Hugging Face's hub keeps data sets of images: a column of encoded images (a struct of `bytes` and
//! `path`, or bytes) and one of labels, with the names of the classes in the file's metadata.
//!
//! The headers of all pages are read once; an image is then found in its page, which is read and decoded by itself. The
//! pages that were used last stay decoded.

mod cache;
mod column;
mod header;
mod schema;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

use ddae_base::memory;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::classes::{Given, Words};
use super::folder::of_names;
use super::found::{Found, Part};
use super::tar::OpenFiles;
use crate::datasets::DataError;
use crate::datasets::encoded::Items;
use crate::datasets::split_names::numbered;
use crate::decode::MOST_BYTES;
use cache::{Cache, Images};
use column::{Chunk, DataPage, Values};
use schema::Columns;

const EXPECTED: &str = "a whole parquet file";
/// Bytes of decoded pages that are kept.
const USUAL_CACHE: u64 = 64 << 20;
/// Bytes that a page counts for in the cache at least.
const LEAST_WEIGHT: u64 = 64 << 10;
/// Bytes of the description at a file's end.
const MOST_DESCRIPTION: u64 = 256 << 20;

/// The images of parquet files below `root`.
pub(super) fn read(root: &Path, files: Vec<PathBuf>) -> Result<Found, DataError> {
    let count = files.len();
    let mut first: Option<Columns> = None;
    let mut parts = Vec::new();
    for (name, paths) in of_names(root, files)? {
        check_all_there(&name, &paths)?;
        parts.push(part(root, &name, paths, &mut first)?);
    }
    let Some(columns) = first else {
        return Err(DataError::format(root, "it has no parquet files", super::WANTED));
    };
    let mut notes = Vec::new();
    if !columns.other_labels.is_empty() {
        let others = columns.other_labels.join(", ");
        notes.push(match &columns.label_name {
            Some(label) => format!("labels are those of the column {label}; {others} is left out"),
            None => {
                format!("it has the label columns {others}, and none is taken, since none is called label")
            }
        });
    }
    if let Some(unread) = &columns.unread_label {
        notes.push(format!("its column {unread} is not taken for labels, which are integers or text"));
    }
    let files = if count == 1 { "a parquet file".to_string() } else { format!("{count} parquet files") };
    let labels =
        columns.label_name.as_ref().map_or_else(String::new, |label| format!(", labels of '{label}'"));
    let what = format!("{files} (images of '{}'{labels})", columns.image_name);
    Ok(Found { what, notes, classes: columns.classes, ..Found::of(parts, root) })
}

/// Refuses some of the files of a split that say how many there are: a download that was not finished.
fn check_all_there(name: &str, paths: &[PathBuf]) -> Result<(), DataError> {
    let stem = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let Some(first) = paths.first() else { return Ok(()) };
    let first_stem = stem(first);
    let Some((base, _, of)) = numbered(&first_stem) else { return Ok(()) };
    let mut numbers: Vec<usize> = Vec::with_capacity(paths.len());
    for path in paths {
        let stem = stem(path);
        let Some((_, number, others)) = numbered(&stem) else { continue };
        let wanted = format!("one file for each number to {of:05}");
        if others != of {
            let found = format!("split {name} has files of {of} and of {others}");
            return Err(DataError::format(path, found, wanted));
        }
        if numbers.contains(&number) {
            let found = format!("split {name} has two files with the number {number:05}");
            return Err(DataError::format(path, found, wanted));
        }
        numbers.push(number);
    }
    // A single file may be wanted by itself.
    if numbers.len() < 2 && of > 1 && paths.len() == 1 {
        return Ok(());
    }
    if let Some(missing) = (0..of.min(1 << 20)).find(|number| !numbers.contains(number)) {
        let found = format!("split {name} has {} of {of} files", numbers.len());
        let folder = first.parent().unwrap_or(Path::new(""));
        let file = if base.is_empty() { String::new() } else { format!("{base}-") };
        return Err(DataError::format(folder, found, format!("{file}{missing:05}-of-{of:05}.parquet too")));
    }
    Ok(())
}

/// A split of files.
fn part(
    root: &Path,
    name: &str,
    paths: Vec<PathBuf>,
    first: &mut Option<Columns>,
) -> Result<Part, DataError> {
    let mut rows = Rows {
        files: Vec::new(),
        chunks: Vec::new(),
        pages: Vec::new(),
        count: 0,
        open: OpenFiles::default(),
        cache: Cache::new(USUAL_CACHE),
    };
    let (mut texts, mut numbers) = (Words::default(), Vec::new());
    let mut is_labelled = false;
    for path in paths {
        let file = File::open(&path).map_err(DataError::io("open", &path))?;
        let description = description(&file, &path)?;
        let columns = schema::columns(&path, description.file_metadata())?;
        let known = first.get_or_insert_with(|| columns.clone());
        if (&known.image_name, &known.label_name) != (&columns.image_name, &columns.label_name) {
            let of = |columns: &Columns| {
                format!("{} and {}", columns.image_name, columns.label_name.as_deref().unwrap_or("no label"))
            };
            let found = format!("its columns are {}", of(&columns));
            return Err(DataError::format(&path, found, format!("{}, as in the first file", of(known))));
        }
        if known.classes != columns.classes {
            return Err(DataError::format(&path, "it names other classes", "those of the first file"));
        }
        is_labelled |= columns.label.is_some();
        rows.add(root, &path, &file, &description, &columns)?;
        if let Some(label) = columns.label {
            labels(&path, &file, &description, label, &mut texts, &mut numbers)?;
        }
    }
    if rows.count == 0 {
        let path = rows.files.first().map_or(root, |file| file.path.as_path());
        return Err(DataError::format(path, "it has no rows", "a row for each image"));
    }
    rows.settle_cache()?;
    let given = match (is_labelled, numbers.is_empty()) {
        (false, _) => Given::None,
        (true, false) if texts.of.is_empty() => Given::Numbers(numbers),
        (true, true) => Given::Text(texts),
        (true, false) => {
            return Err(DataError::format(
                root,
                "labels are numbers in some files and text in others",
                "labels of one kind",
            ));
        }
    };
    let count = rows.count as usize;
    Ok(Part { name: name.to_string(), items: Arc::new(rows), count, labels: given })
}

/// What a file says of itself at its end.
fn description(file: &File, path: &Path) -> Result<ParquetMetaData, DataError> {
    let wrong = |found: &str| DataError::format(path, found, EXPECTED);
    let length = file.metadata().map_err(DataError::io("read", path))?.len();
    let mut tail = [0; 8];
    let at = length.checked_sub(12).ok_or_else(|| wrong("it is too short"))? + 4;
    file.read_exact_at(&mut tail, at).map_err(DataError::io("read", path))?;
    let size = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    match &tail[4..] {
        b"PAR1" => {}
        b"PARE" => return Err(DataError::format(path, "it is encrypted", "parquet that is not")),
        _ => return Err(wrong("its end is not that of a parquet file; it seems to be cut short")),
    }
    if size > length - 12 || size > MOST_DESCRIPTION {
        return Err(wrong(&format!("it promises {size} bytes of description, and has {length} in all")));
    }
    match ddae_base::contained(|| ParquetMetaDataReader::new().parse_and_finish(file)) {
        Some(Ok(description)) => Ok(description),
        Some(Err(error)) => {
            Err(wrong(&format!("its description cannot be read ({})", ddae_base::text::joined(error))))
        }
        None => Err(wrong("its description cannot be read")),
    }
}

/// Rows of a row group.
fn rows_of(path: &Path, group: &parquet::file::metadata::RowGroupMetaData) -> Result<u64, DataError> {
    u64::try_from(group.num_rows())
        .map_err(|_| DataError::format(path, "a row group has fewer than 0 rows", EXPECTED))
}

/// Reads a column of labels; rows without one say nothing.
fn labels(
    path: &Path,
    file: &File,
    description: &ParquetMetaData,
    column: usize,
    texts: &mut Words,
    numbers: &mut Vec<i64>,
) -> Result<(), DataError> {
    for group in description.row_groups() {
        let Some(meta) = group.columns().get(column) else {
            return Err(DataError::format(path, "a row group has fewer columns than the file", EXPECTED));
        };
        let chunk = Chunk::index(file, path, meta, rows_of(path, group)?)?;
        for page in &chunk.pages {
            match chunk.decode(file, path, page)? {
                Values::Integers(values) => {
                    numbers.extend(values.into_iter().map(|value| value.unwrap_or(-1)))
                }
                Values::Bytes(values) => {
                    for value in values {
                        let text = value.as_ref().map_or(Ok(""), |value| std::str::from_utf8(value.data()));
                        texts.push(text.map_err(|_| {
                            DataError::format(path, "a label is not in UTF-8", "text in UTF-8")
                        })?);
                    }
                }
            }
        }
    }
    Ok(())
}

/// A file of rows.
struct RowFile {
    path: PathBuf,
    /// Its path below the source.
    below: String,
    /// Its first row in the split.
    first: u64,
    length: u64,
}

/// A page of images.
struct Page {
    /// Its first row in the split.
    first: u64,
    file: u32,
    chunk: u32,
    data: DataPage,
}

/// Images in rows of parquet files.
struct Rows {
    files: Vec<RowFile>,
    chunks: Vec<Chunk>,
    pages: Vec<Page>,
    count: u64,
    open: OpenFiles,
    cache: Cache,
}

impl Rows {
    /// Adds the rows of a file.
    fn add(
        &mut self,
        root: &Path,
        path: &Path,
        file: &File,
        description: &ParquetMetaData,
        columns: &Columns,
    ) -> Result<(), DataError> {
        let number = self.files.len() as u32;
        let length = file.metadata().map_err(DataError::io("read", path))?.len();
        let below = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        self.files.push(RowFile { path: path.to_path_buf(), below, first: self.count, length });
        let mut total = self.count;
        for group in description.row_groups() {
            total = total.saturating_add(rows_of(path, group)?);
        }
        // Labels, as numbers and as they are read.
        memory::check(format!("the labels of {total} images"), total.saturating_mul(24), "give fewer files")?;
        for group in description.row_groups() {
            let rows = rows_of(path, group)?;
            let Some(meta) = group.columns().get(columns.image) else {
                return Err(DataError::format(path, "a row group has fewer columns than the file", EXPECTED));
            };
            let mut chunk = Chunk::index(file, path, meta, rows)?;
            let at = self.chunks.len() as u32;
            for data in std::mem::take(&mut chunk.pages) {
                self.pages.push(Page { first: self.count, file: number, chunk: at, data });
                self.count += u64::from(data.rows);
            }
            self.chunks.push(chunk);
        }
        Ok(())
    }

    /// Makes room for the pages that threads read at a time, each its own and the next.
    fn settle_cache(&mut self) -> Result<(), DataError> {
        let largest = self.pages.iter().map(|page| page.data.weight).max().unwrap_or(0);
        let threads = available_parallelism().map_or(1, |count| count.get() as u64);
        let budget = largest.saturating_mul(2 * threads).max(USUAL_CACHE);
        if budget > USUAL_CACHE {
            let mib = largest >> 20;
            let what = format!("pages of {mib} MiB, two for each of {threads} threads");
            memory::check(what, budget, "write the parquet files with smaller pages (data_page_size)")?;
        }
        self.cache = Cache::new(budget);
        Ok(())
    }

    fn file_of(&self, row: u64) -> &RowFile {
        &self.files[self.files.partition_point(|file| file.first <= row) - 1]
    }

    fn page(&self, number: usize) -> Result<Arc<Images>, DataError> {
        let page = &self.pages[number];
        let path = &self.files[page.file as usize].path;
        let decode = || {
            let file = self.open.get(page.file, path)?;
            match self.chunks[page.chunk as usize].decode(&file, path, &page.data)? {
                Values::Bytes(images) => Ok(images),
                Values::Integers(_) => Err(DataError::format(path, "its images are numbers", EXPECTED)),
            }
        };
        // Small pages count for more, so that few enough are kept to be looked through.
        self.cache.page(number, page.data.weight.max(LEAST_WEIGHT), decode)
    }
}

impl Items for Rows {
    fn path(&self, index: usize) -> PathBuf {
        let file = self.file_of(index as u64);
        file.path.join(format!("{}", index as u64 - file.first))
    }

    fn key(&self, index: usize) -> String {
        let file = self.file_of(index as u64);
        format!("{}/{}", file.below, index as u64 - file.first)
    }

    fn bytes(&self, index: usize) -> Result<Vec<u8>, DataError> {
        let row = index as u64;
        let number = self.pages.partition_point(|page| page.first <= row) - 1;
        let page = self.page(number)?;
        let within = (row - self.pages[number].first) as usize;
        match page.get(within).and_then(Option::as_ref) {
            Some(image) if image.len() as u64 <= MOST_BYTES => Ok(image.data().to_vec()),
            Some(image) => {
                let found = format!("its image has {} bytes", image.len());
                Err(DataError::format(&self.path(index), found, "images of at most 256 MiB"))
            }
            None => Err(DataError::format(
                &self.path(index),
                "the row has no bytes of an image",
                "the image itself in the file, not the path of one",
            )),
        }
    }

    fn stamp(&self, index: usize) -> Result<Vec<u8>, DataError> {
        let mut stamp = self.key(index).into_bytes();
        stamp.extend(self.file_of(index as u64).length.to_le_bytes());
        Ok(stamp)
    }
}
