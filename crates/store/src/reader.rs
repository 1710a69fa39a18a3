//! Reading feature files.

use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use ddae_base::files::folder;
use ddae_base::memory;
use half::f16;
use hdf5::Dataset;
use hdf5::file::File;
use hdf5::types::{FloatSize, IntSize, TypeDescriptor};
use ndarray::{Array2, s};
use serde_json::{Map, Value};

use super::error::{is_lock, reason};
use super::file::chunk_rows;
use super::header::Header;
use super::provenance::{Difference, Pairing, Provenance};
use super::stored;
use super::{FeatureError, FeatureKey, FeatureType, Layout, text};

/// The first bytes of an HDF5 file.
const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// The dataset of the rows' paths.
pub(super) const PATHS: &str = "paths";

/// The dataset of what draws for the rows' images are keyed by.
pub(super) const IMAGE_KEYS: &str = "image_keys";

/// From this many bytes on, what is read at a time is compared with the memory.
const MUCH: u64 = 64 << 20;

/// How often, and how long each time, a reader waits for a lock before the file counts as in use: a quarter of a second.
const LOCK_WAITS: u32 = 25;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// A feature file, open for reading: a single shard, or a joined file (copied or virtual).
///
/// Opening reads and checks what describes the file, not the features; those are read, and their checksums checked,
/// as they are asked for, so memory is what [`FeatureFile::read`] returns and about 64 KiB.
///
/// Of a virtual file, features are read from its shards, one open at a time, and not through HDF5: HDF5 reads a missing
/// shard as zeros.
#[derive(Debug)]
pub struct FeatureFile {
    path: PathBuf,
    file: File,
    header: Header,
    keys: Vec<FeatureKey>,
    /// Of a virtual file: its shards and which rows they hold, in order.
    shards: Vec<(PathBuf, Range<usize>)>,
}

impl FeatureFile {
    /// Opens `path` and checks that everything its attributes promise is there; of a virtual file, its shards too.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FeatureError> {
        let mut file = Self::open_one(path.as_ref())?;
        file.check_datasets()?;
        let mut next = 0;
        for shard in &file.header.shards {
            let path = folder(&file.path).join(shard);
            let damaged = |reason: String| FeatureError::Damaged { path: file.path.clone(), reason };
            let shard = Self::open_one(&path).map_err(|error| match error {
                FeatureError::Io { path, source } => {
                    damaged(format!("its shard {}: {source}", path.display()))
                }
                other => other,
            })?;
            shard.check_datasets()?;
            shard.check_job(&file.header.layout)?;
            if shard.rows().start != next || !shard.header.shards.is_empty() {
                let rows = format!("{:?}", shard.rows());
                shard.refuse(Some(Difference::new("range of rows", format!("{next}.."), rows)))?;
            }
            next = shard.rows().end;
            file.shards.push((path, shard.rows()));
        }
        if !file.shards.is_empty() && next != file.len() {
            let reason = format!("its shards end at row {next} of {}", file.len());
            return Err(FeatureError::Damaged { path: file.path, reason });
        }
        Ok(file)
    }

    /// Opens one HDF5 file and reads what its root says.
    fn open_one(path: &Path) -> Result<Self, FeatureError> {
        check_signature(path)?;
        let file = waited_for(|| File::open(path)).map_err(FeatureError::damaged(path))?;
        let header = Header::read(&file, path)?;
        let keys = header.layout.keys.iter().map(|(key, _)| key.clone()).collect();
        Ok(Self { path: path.to_path_buf(), file, header, keys, shards: Vec::new() })
    }

    fn check_datasets(&self) -> Result<(), FeatureError> {
        let Layout { keys, views, dtype, .. } = &self.header.layout;
        let float = match dtype {
            FeatureType::F32 => FloatSize::U4,
            FeatureType::F16 => FloatSize::U2,
        };
        let length = fs::metadata(&self.path).map_err(FeatureError::io(&self.path))?.len();
        let mut stored = 0u64;
        // A virtual file's features are checked in its shards.
        for (key, width) in keys.iter().filter(|_| self.header.shards.is_empty()) {
            let shape = [*views, self.len(), *width];
            let dtype = TypeDescriptor::Float(float);
            stored = stored.saturating_add(self.check_dataset(&key.dataset(), &shape, &dtype, length)?);
        }
        let columns = [
            ("labels", TypeDescriptor::Integer(IntSize::U8)),
            ("indices", TypeDescriptor::Unsigned(IntSize::U8)),
        ];
        for (name, dtype) in columns {
            stored = stored.saturating_add(self.check_dataset(name, &[self.len()], &dtype, length)?);
        }
        for name in [PATHS, IMAGE_KEYS].into_iter().filter(|name| self.file.link_exists(name)) {
            let dataset = stored::texts(&self.file, name, self.len(), length);
            stored = stored.saturating_add(dataset.map_err(|flaw| flaw.of(&self.path))?.storage_size());
        }
        if stored > length {
            let reason = format!("its datasets take {stored} bytes of a file of {length}");
            return Err(FeatureError::Damaged { path: self.path.clone(), reason });
        }
        Ok(())
    }

    /// The bytes that a dataset takes in the file of `length` bytes.
    fn check_dataset(
        &self,
        name: &str,
        shape: &[usize],
        dtype: &TypeDescriptor,
        length: u64,
    ) -> Result<u64, FeatureError> {
        let damaged = |reason: String| FeatureError::Damaged { path: self.path.clone(), reason };
        let dataset = self.dataset(name)?;
        let found = dataset.shape();
        if found != shape {
            return Err(damaged(format!("{name} has shape {found:?} instead of {shape:?}")));
        }
        let found = dataset.dtype().and_then(|dtype| dtype.to_descriptor());
        match found {
            Ok(found) if found == *dtype => {}
            Ok(found) => return Err(damaged(format!("{name} has type {found} instead of {dtype}"))),
            Err(error) => return Err(damaged(format!("{name}: {}", reason(&error)))),
        }
        stored::check(&dataset, name, length).map_err(|flaw| flaw.of(&self.path))
    }

    fn dataset(&self, name: &str) -> Result<Dataset, FeatureError> {
        stored::dataset(&self.file, name).map_err(|flaw| flaw.of(&self.path))
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The datasets, in the order in which the job listed them.
    pub fn keys(&self) -> &[FeatureKey] {
        &self.keys
    }

    /// Views of each image.
    pub fn views(&self) -> usize {
        self.header.layout.views
    }

    /// Whether the features are in shards that this file refers to ([`super::MergeMode::Virtual`]).
    pub fn is_virtual(&self) -> bool {
        !self.shards.is_empty()
    }

    /// Rows (images) in this file.
    pub fn len(&self) -> usize {
        self.header.rows.len()
    }

    /// Whether there are no rows; never so in a file that could be opened.
    pub fn is_empty(&self) -> bool {
        self.header.rows.is_empty()
    }

    /// Which rows of the job this file holds: all of them, or those of a shard.
    pub fn rows(&self) -> Range<usize> {
        self.header.rows.clone()
    }

    /// How features are stored.
    pub fn dtype(&self) -> FeatureType {
        self.header.layout.dtype
    }

    /// Keys, views, rows of the whole job, storage and attributes.
    pub fn layout(&self) -> &Layout {
        &self.header.layout
    }

    /// Where the features come from.
    pub fn provenance(&self) -> &Provenance {
        &self.header.layout.provenance
    }

    /// The same by the attributes' names.
    pub fn attributes(&self) -> Map<String, Value> {
        self.provenance().attributes()
    }

    /// The number of features of `key` (D).
    pub fn dim(&self, key: &FeatureKey) -> Result<usize, FeatureError> {
        let found = self.header.layout.find(key).map(|(_, width)| width);
        found.ok_or_else(|| FeatureError::UnknownKey {
            path: self.path.clone(),
            key: key.clone(),
            known: self.header.layout.known(),
        })
    }

    /// The shape of a row of `key` that is a map or a latent, `[D, H, W]`, or tokens, `[T, D]`, in this order; `None` where it is
    /// pooled, or the file does not say it.
    pub fn map_shape(&self, key: &FeatureKey) -> Option<Vec<usize>> {
        let provenance = self.provenance();
        let place = provenance.taps.as_ref()?.iter().position(|tap| *tap == key.tap)?;
        let shape = provenance.tap_shapes.as_ref()?.as_ref()?.get(place)?;
        let sides: Vec<usize> = shape.split('x').map(str::parse).collect::<Result<_, _>>().ok()?;
        let count = sides.iter().try_fold(1usize, |count, &side| count.checked_mul(side))?;
        (sides.len() > 1 && self.dim(key).is_ok_and(|dim| dim == count)).then_some(sides)
    }

    /// The label of every row.
    pub fn labels(&self) -> Result<Vec<i64>, FeatureError> {
        self.column("labels")
    }

    /// Which image of the split every row is.
    pub fn indices(&self) -> Result<Vec<u64>, FeatureError> {
        self.column("indices")
    }

    /// Whether the file says which image each row is of ([`FeatureFile::paths`]). Files of format version 1 do not.
    pub fn has_paths(&self) -> bool {
        self.file.link_exists(PATHS)
    }

    /// What tells the images of `rows` (counted from the file's first) from others of their data set: their paths below
    /// its folder, names in an archive, or numbers.
    ///
    /// # Errors
    /// When the file has no paths or not these rows, or is damaged.
    pub fn paths(&self, rows: Range<usize>) -> Result<Vec<String>, FeatureError> {
        self.texts(PATHS, rows)
    }

    /// Whether the file says what draws for each row's image are keyed by ([`FeatureFile::image_keys`]): one of latents
    /// does.
    pub fn has_image_keys(&self) -> bool {
        self.file.link_exists(IMAGE_KEYS)
    }

    /// What draws for the images of `rows` (counted from the file's first) are keyed by, in hexadecimal digits.
    ///
    /// # Errors
    /// When the file does not say it or does not have these rows, or is damaged.
    pub fn image_keys(&self, rows: Range<usize>) -> Result<Vec<String>, FeatureError> {
        self.texts(IMAGE_KEYS, rows)
    }

    /// Rows of a dataset of texts.
    pub(super) fn texts(&self, name: &str, rows: Range<usize>) -> Result<Vec<String>, FeatureError> {
        if rows.start > rows.end || rows.end > self.len() || !self.file.link_exists(name) {
            let missing = format!("it has no {}: rows", name.replace('_', " "));
            let what = if self.file.link_exists(name) { "rows" } else { missing.as_str() };
            let what = format!("{what} {rows:?} of {}", self.len());
            return Err(FeatureError::Range { path: self.path.clone(), what });
        }
        let dataset = self.dataset(name)?;
        check_memory(&self.path, name, rows.len(), size_of::<String>())?;
        text::read(&dataset, rows).map_err(|error| self.unreadable(name, &error))
    }

    /// Bytes of the longest text that the file's dataset `name` has room for; `None` without that dataset.
    pub(super) fn text_bytes(&self, name: &str) -> Result<Option<usize>, FeatureError> {
        if !self.file.link_exists(name) {
            return Ok(None);
        }
        self.dataset(name)?.dtype().map(|dtype| Some(dtype.size())).map_err(FeatureError::damaged(&self.path))
    }

    /// The version of the file's format.
    pub fn version(&self) -> u64 {
        self.header.version
    }

    fn column<T: hdf5::H5Type>(&self, name: &str) -> Result<Vec<T>, FeatureError> {
        check_memory(&self.path, name, self.len(), size_of::<T>())?;
        self.dataset(name)?.read_raw().map_err(|error| self.unreadable(name, &error))
    }

    /// The features of `view` for `rows` (counted from the file's first), as [rows, D] in f32 whatever is stored.
    ///
    /// # Errors
    /// For a key, view or rows that the file does not have; when the stored bytes are not those that were written.
    pub fn read(
        &self,
        key: &FeatureKey,
        view: usize,
        rows: Range<usize>,
    ) -> Result<Array2<f32>, FeatureError> {
        match self.dtype() {
            FeatureType::F32 => self.read_as::<f32>(key, view, rows),
            // HDF5's own conversion takes ten times as long.
            FeatureType::F16 => Ok(self.read_as::<f16>(key, view, rows)?.mapv(f16::to_f32)),
        }
    }

    /// As [`FeatureFile::read`], in the type that is stored.
    pub(super) fn read_as<T: hdf5::H5Type>(
        &self,
        key: &FeatureKey,
        view: usize,
        rows: Range<usize>,
    ) -> Result<Array2<T>, FeatureError> {
        let range = |what: String| FeatureError::Range { path: self.path.clone(), what };
        if view >= self.views() {
            return Err(range(format!("view {view} of {} (counted from 0)", self.views())));
        }
        if rows.start > rows.end || rows.end > self.len() {
            return Err(range(format!("rows {rows:?} of {}", self.len())));
        }
        let width = self.dim(key)?;
        check_memory(&self.path, &key.dataset(), rows.len().saturating_mul(width), size_of::<T>())?;
        if self.shards.is_empty() {
            return self.read_own(key, view, rows);
        }
        let mut features = Vec::with_capacity(rows.len() * width);
        for (path, shard_rows) in &self.shards {
            let wanted = rows.start.max(shard_rows.start)..rows.end.min(shard_rows.end);
            if !wanted.is_empty() {
                let first = shard_rows.start;
                let shard = Self::open_one(path)?;
                let block: Array2<T> = shard.read_own(key, view, wanted.start - first..wanted.end - first)?;
                features.extend(block);
            }
        }
        let shape = (rows.len(), width);
        Array2::from_shape_vec(shape, features).map_err(|_| FeatureError::Damaged {
            path: self.path.clone(),
            reason: format!("its shards do not have all of rows {rows:?}"),
        })
    }

    /// Reads from this file's own dataset.
    fn read_own<T: hdf5::H5Type>(
        &self,
        key: &FeatureKey,
        view: usize,
        rows: Range<usize>,
    ) -> Result<Array2<T>, FeatureError> {
        let name = key.dataset();
        let read = self.dataset(&name)?.read_slice_2d(s![view, rows, ..]);
        read.map_err(|error| self.unreadable(&name, &error))
    }

    fn unreadable(&self, name: &str, error: &hdf5::Error) -> FeatureError {
        let reason = format!("{name}: {}", reason(error));
        FeatureError::Damaged { path: self.path.clone(), reason }
    }

    /// Rows of a block of `key` that takes about `bytes`, a multiple of the file's chunks.
    pub(super) fn block_rows(&self, key: &FeatureKey, bytes: usize) -> Result<usize, FeatureError> {
        let (width, dtype) = (self.dim(key)?, self.dtype());
        let chunk = chunk_rows(width, dtype);
        Ok((bytes / (chunk * width * dtype.bytes())).max(1) * chunk)
    }

    /// Refuses a file of another job than that of `layout`.
    ///
    /// # Errors
    /// [`FeatureError::OtherJob`] names the property that differs first.
    pub fn check_job(&self, layout: &Layout) -> Result<(), FeatureError> {
        self.refuse(layout.difference(&self.header.layout, Pairing::Job))
    }

    /// Refuses a file that is not shard `shard` of `of` of a job with `layout`.
    ///
    /// # Errors
    /// With the name of the first difference.
    pub fn check_shard(&self, shard: usize, of: usize, layout: &Layout) -> Result<(), FeatureError> {
        self.check_job(layout)?;
        let (rows, found) = (super::shard_rows(layout.total, shard, of), &self.header.rows);
        let difference = Difference::new("range of rows", format!("{rows:?}"), format!("{found:?}"));
        self.refuse((*found != rows).then_some(difference))
    }

    /// Refuses a shard of another version's format, whose rows do not say what this version's do: it is not one of a job
    /// of this version, whatever else agrees.
    pub(super) fn check_version(&self, wanted: u64) -> Result<(), FeatureError> {
        let difference = Difference::new("format version", wanted, self.version());
        self.refuse((self.version() != wanted).then_some(difference))
    }

    /// The same for shards that are to be joined: they are of one version, and all have paths or none, and keys of images.
    pub(super) fn check_alike(&self, first: &Self) -> Result<(), FeatureError> {
        self.check_version(first.version())?;
        for (name, property, some) in
            [(PATHS, "paths of rows", "paths"), (IMAGE_KEYS, "keys of images", "keys")]
        {
            let word = |file: &Self| if file.file.link_exists(name) { some } else { "none" };
            let [here, there] = [self, first].map(word);
            self.refuse((here != there).then(|| Difference::new(property, there, here)))?;
        }
        Ok(())
    }

    fn refuse(&self, difference: Option<Difference>) -> Result<(), FeatureError> {
        let path = self.path.clone();
        difference.map_or(Ok(()), |difference| Err(FeatureError::OtherJob { path, difference }))
    }
}

/// Refuses to read more numbers than there is memory for.
pub(super) fn check_memory(path: &Path, name: &str, numbers: usize, size: usize) -> Result<(), FeatureError> {
    let bytes = (numbers as u64).saturating_mul(size as u64);
    if bytes < MUCH {
        return Ok(());
    }
    let what = format!("reading {numbers} numbers of {name}");
    memory::check(what, bytes, "take another machine, or a feature file of fewer images")
        .map_err(|source| FeatureError::Memory { path: path.to_path_buf(), source })
}

/// Opens a file that may be locked for a moment: HDF5 does not wait for locks, and a lock outlives its writer for as long
/// as a process that was started meanwhile holds a copy of the open file.
pub(super) fn waited_for(open: impl Fn() -> hdf5::Result<File>) -> hdf5::Result<File> {
    let mut waits = LOCK_WAITS;
    loop {
        match open() {
            Err(error) if waits > 0 && is_lock(&error) => {
                waits -= 1;
                thread::sleep(LOCK_WAIT);
            }
            result => return result,
        }
    }
}

/// Refuses what is not HDF5 at all, in plainer words than the library's.
fn check_signature(path: &Path) -> Result<(), FeatureError> {
    let mut start = Vec::new();
    let opened = fs::File::open(path).and_then(|file| file.take(8).read_to_end(&mut start));
    opened.map_err(FeatureError::io(path))?;
    let foreign =
        |reason: &str| FeatureError::Foreign { path: path.to_path_buf(), reason: reason.to_string() };
    match start.as_slice() {
        [] => Err(foreign("it is empty")),
        start if start == SIGNATURE => Ok(()),
        _ => Err(foreign("it is not an HDF5 file")),
    }
}
