//! An HDF5 file that appears under its name when it is complete.

use std::fs;
use std::path::{Path, PathBuf};

use ddae_base::files::{PartialFile, folder};
use ddae_base::lock::Lock;
use half::f16;
use hdf5::file::{File, LibraryVersion};
use hdf5::{Dataset, H5Type, Selection};
use ndarray::{ArrayView, Dimension};

use super::{Compression, FeatureError, FeatureType, Layout, text};

/// Bytes of a chunk, about: small enough that reading a few rows is cheap and that one chunk of every dataset and
/// view fits in memory, large enough that HDF5's cost per chunk does not show.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// Slots of HDF5's chunk cache, a prime well above the number of chunks that are open at a time.
const CACHE_SLOTS: usize = 4_099;

/// A file being written under a temporary name. Dropped before [`Unfinished::finish`] it disappears.
///
/// HDF5 2.2.0 crashes when it closes a dataset or a file that it could not write to the disk. So nothing is closed here
/// before it was flushed, and after an error nothing is closed at all: the memory (a few MiB) is given up.
pub(super) struct Unfinished {
    // Removed before the lock is let go.
    place: PartialFile,
    _lock: Option<Lock>,
    /// `None` after an error, and once closed.
    open: Option<Handles>,
}

/// What is open, in the order in which it has to be closed.
struct Handles {
    datasets: Vec<Dataset>,
    file: File,
}

impl Unfinished {
    /// Locks the file, creates its folder if there is none, and begins it.
    pub(super) fn create(path: &Path) -> Result<Self, FeatureError> {
        let folder = folder(path);
        fs::create_dir_all(folder).map_err(FeatureError::io(folder))?;
        let lock = Lock::output(path)?;
        let place = PartialFile::under(&lock)?;
        Self::begin(place, Some(lock))
    }

    /// Begins the file that the caller has locked.
    pub(super) fn under(lock: &Lock) -> Result<Self, FeatureError> {
        Self::begin(PartialFile::under(lock)?, None)
    }

    fn begin(place: PartialFile, lock: Option<Lock>) -> Result<Self, FeatureError> {
        // HDF5 1.10's format has checksums on all of the file's own structures. Without times of creation the same job
        // gives the same file.
        let file = File::with_options()
            .with_fcpl(|creation| creation.obj_track_times(false))
            .with_fapl(|access| access.libver_bounds(LibraryVersion::V110, LibraryVersion::V110))
            .create(place.partial())
            .map_err(FeatureError::write(place.path()))?;
        Ok(Self { place, _lock: lock, open: Some(Handles { datasets: Vec::new(), file }) })
    }

    /// The name the file will have.
    pub(super) fn path(&self) -> &Path {
        self.place.path()
    }

    /// Does something with what is open, and never closes it if that fails.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Handles) -> hdf5::Result<T>) -> Result<T, FeatureError> {
        let Some(open) = &mut self.open else {
            let reason = "an earlier attempt failed".to_string();
            return Err(FeatureError::Write { path: self.path().to_path_buf(), reason });
        };
        work(open).map_err(|error| {
            std::mem::forget(self.open.take());
            FeatureError::write(self.place.path())(error)
        })
    }

    /// Does something with the HDF5 file.
    pub(super) fn with_file(
        &mut self,
        work: impl FnOnce(&File) -> hdf5::Result<()>,
    ) -> Result<(), FeatureError> {
        self.attempt(|open| work(&open.file))
    }

    /// Keeps the dataset that `create` makes open until the end. Returns its number.
    fn add_dataset(
        &mut self,
        create: impl FnOnce(&File) -> hdf5::Result<Dataset>,
    ) -> Result<usize, FeatureError> {
        self.attempt(|open| {
            open.datasets.push(create(&open.file)?);
            Ok(open.datasets.len() - 1)
        })
    }

    /// Creates a feature dataset of `layout`, `width` wide, for `rows` rows. Returns its number.
    pub(super) fn add_features(
        &mut self,
        name: &str,
        width: usize,
        rows: usize,
        layout: &Layout,
    ) -> Result<usize, FeatureError> {
        let chunk_rows = chunk_rows(width, layout.dtype).min(rows);
        // All views of the rows being written stay in memory, until their chunks are full.
        let cache = layout.views * chunk_rows * width * layout.dtype.bytes();
        self.add_dataset(|file| {
            let builder = match layout.dtype {
                FeatureType::F32 => file.new_dataset::<f32>(),
                FeatureType::F16 => file.new_dataset::<f16>(),
            };
            let builder = builder.chunk((1, chunk_rows, width)).chunk_cache(CACHE_SLOTS, cache, 1.0);
            let builder = match layout.compression {
                Compression::Off => builder,
                Compression::Lzf => builder.shuffle().lzf(),
                Compression::Zlib => builder.shuffle().deflate(1),
            };
            builder.fletcher32().shape((layout.views, rows, width)).create(name)
        })
    }

    /// Creates a dataset of one number per row. Returns its number.
    pub(super) fn add_column<T: H5Type>(&mut self, name: &str, rows: usize) -> Result<usize, FeatureError> {
        let chunk = rows.min(CHUNK_BYTES / size_of::<T>());
        self.add_dataset(|file| file.new_dataset::<T>().chunk(chunk).fletcher32().shape(rows).create(name))
    }

    /// Creates a dataset of one text per row, each of at most `longest` bytes. Returns its number.
    pub(super) fn add_texts(
        &mut self,
        name: &str,
        rows: usize,
        longest: usize,
    ) -> Result<usize, FeatureError> {
        self.add_dataset(|file| text::create(file, name, rows, longest))
    }

    /// Writes `texts` to the rows from `first` on of the dataset with the number `dataset`.
    pub(super) fn write_texts(
        &mut self,
        dataset: usize,
        first: usize,
        texts: &[String],
    ) -> Result<(), FeatureError> {
        self.attempt(|open| text::write(&open.datasets[dataset], first, texts))
    }

    /// What `look` finds in the bytes that are in the file so far, which is small yet.
    pub(super) fn flushed_head<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Result<T, FeatureError> {
        self.flush()?;
        let bytes = fs::read(self.place.partial()).map_err(FeatureError::io(self.path()))?;
        Ok(look(&bytes))
    }

    /// Writes `values` to the part `selection` of the dataset with the number `dataset`.
    pub(super) fn write<T: H5Type, D: Dimension>(
        &mut self,
        dataset: usize,
        values: ArrayView<'_, T, D>,
        selection: impl TryInto<Selection, Error = hdf5::Error>,
    ) -> Result<(), FeatureError> {
        self.attempt(|open| open.datasets[dataset].write_slice(values, selection))
    }

    fn flush(&mut self) -> Result<(), FeatureError> {
        self.attempt(|open| {
            open.datasets.iter().try_for_each(|dataset| dataset.flush())?;
            open.file.flush()
        })
    }

    /// Brings everything to the disk and gives the file its name.
    pub(super) fn finish(mut self) -> Result<PathBuf, FeatureError> {
        self.flush()?;
        self.open = None;
        self.place.finish_here()?;
        Ok(self.path().to_path_buf())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Where this fails, what is open was given up; where it succeeds, it can be closed.
        let _ = self.flush();
        self.open = None;
        // After an error the file stays open, and with it its space on the disk taken, also when it is removed.
        self.place.empty();
    }
}

/// Rows of a chunk of features `width` wide.
pub(super) fn chunk_rows(width: usize, dtype: FeatureType) -> usize {
    (CHUNK_BYTES / width.saturating_mul(dtype.bytes())).max(1)
}
