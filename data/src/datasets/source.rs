//! Where a split's images come from.

use std::borrow::Cow;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::DataError;
use crate::decode::Reading;

/// Images that can be read by number, from any thread.
pub(crate) trait Source: Send + Sync {
    /// Shape of every image, [C, H, W].
    fn shape(&self) -> [usize; 3];

    /// Reads image `index` into `out` as C planes of H x W levels. The caller has checked `index` and `out.len()`.
    fn read(&self, index: usize, out: &mut [u8]) -> Result<(), DataError>;

    /// Image `index` as it is stored: its levels, or the bytes of its file.
    fn stored(&self, index: usize) -> Result<Vec<u8>, DataError> {
        let mut levels = vec![0; self.shape().iter().product()];
        self.read(index, &mut levels)?;
        Ok(levels)
    }

    /// Name and size of the file of image `index`, where it has one of its own.
    fn file(&self, _index: usize) -> Option<Result<Vec<u8>, DataError>> {
        None
    }

    /// What tells image `index` from the others of its source, for people: a path, or a name in an archive. Images without
    /// names have none.
    fn key(&self, _index: usize) -> Option<String> {
        None
    }

    /// The same images decoded straight to another shape, where the source can do that.
    fn decoded_to(&self, _shape: [usize; 3]) -> Option<Arc<dyn Source>> {
        None
    }

    /// The same images decoded by other choices, where they lie in files that are decoded.
    fn decoded_as(&self, _reading: &Reading) -> Option<Arc<dyn Source>> {
        None
    }

    /// How its images become levels, where there is a choice.
    fn reading(&self) -> Option<&Reading> {
        None
    }

    /// Height and width that image `index` says it has, where it lies in a file of its own; nothing is decoded.
    fn stored_size(&self, _index: usize) -> Option<Result<[usize; 2], DataError>> {
        None
    }
}

/// Images in memory, one after the other.
pub(crate) struct Planes {
    pub shape: [usize; 3],
    pub levels: Cow<'static, [u8]>,
}

impl Source for Planes {
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn read(&self, index: usize, out: &mut [u8]) -> Result<(), DataError> {
        let start = index * out.len();
        out.copy_from_slice(&self.levels[start..start + out.len()]);
        Ok(())
    }
}

/// One file of equally long records, each holding one image's planes.
pub(crate) struct RecordFile {
    path: PathBuf,
    records: Bytes,
    /// Where the first image begins.
    offset: u64,
    /// From one image to the next.
    stride: u64,
    count: usize,
}

/// Where the bytes of records are.
enum Bytes {
    File(File),
    Memory(Vec<u8>),
}

impl RecordFile {
    pub fn open(path: &Path, offset: u64, stride: u64, count: usize) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io("open", path))?;
        Ok(RecordFile { path: path.to_path_buf(), records: Bytes::File(file), offset, stride, count })
    }

    /// The records of a file that do not lie in it as they are.
    pub fn in_memory(path: &Path, levels: Vec<u8>, stride: u64, count: usize) -> Self {
        RecordFile { path: path.to_path_buf(), records: Bytes::Memory(levels), offset: 0, stride, count }
    }

    fn read_at(&self, out: &mut [u8], at: u64) -> std::io::Result<()> {
        match &self.records {
            Bytes::File(file) => file.read_exact_at(out, at),
            Bytes::Memory(levels) => {
                let bytes = levels.get(at as usize..).and_then(|rest| rest.get(..out.len()));
                out.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

/// Images in uncompressed files, read where they lie.
///
/// Positioned reads rather than a memory map: they leave caching to the system just as well, and a file that is
/// truncated or taken away while in use gives an error that names it instead of killing the process.
pub(crate) struct Records {
    pub shape: [usize; 3],
    pub files: Vec<RecordFile>,
}

impl Source for Records {
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn read(&self, index: usize, out: &mut [u8]) -> Result<(), DataError> {
        let mut within = index;
        for part in &self.files {
            if within < part.count {
                let at = part.offset + within as u64 * part.stride;
                return part.read_at(out, at).map_err(|error| match error.kind() {
                    ErrorKind::UnexpectedEof => DataError::format(
                        &part.path,
                        format!("it ends within image {within}"),
                        "it not to change while it is in use",
                    ),
                    _ => DataError::io("read", &part.path)(error),
                });
            }
            within -= part.count;
        }
        Err(DataError::Argument(format!("image {index} is beyond the last record")))
    }
}

/// Grey images replicated to three channels, or padded with zeros around a centred image, or both.
pub(crate) struct Adapted {
    pub inner: Arc<dyn Source>,
    pub shape: [usize; 3],
}

impl Source for Adapted {
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn key(&self, index: usize) -> Option<String> {
        self.inner.key(index)
    }

    fn reading(&self) -> Option<&Reading> {
        self.inner.reading()
    }

    fn read(&self, index: usize, out: &mut [u8]) -> Result<(), DataError> {
        let [inner_channels, inner_height, inner_width] = self.inner.shape();
        let [_, height, width] = self.shape;
        let mut levels = vec![0; inner_channels * inner_height * inner_width];
        self.inner.read(index, &mut levels)?;
        let (top, left) = ((height - inner_height) / 2, (width - inner_width) / 2);
        out.fill(0);
        for (channel, plane) in out.chunks_exact_mut(height * width).enumerate() {
            // A single inner channel serves every outer one.
            let inner = &levels[(channel % inner_channels) * inner_height * inner_width..]
                [..inner_height * inner_width];
            for (row, levels) in inner.chunks_exact(inner_width).enumerate() {
                let start = (top + row) * width + left;
                plane[start..start + inner_width].copy_from_slice(levels);
            }
        }
        Ok(())
    }
}
