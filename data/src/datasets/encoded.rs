//! Images in files of their own format, decoded when they are read.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::DataError;
use super::source::{Adapted, Source};
use crate::decode::{self, MOST_BYTES, Reading};

/// The encoded images of a source, by number, from any thread.
pub(crate) trait Items: Send + Sync {
    /// What messages call image `index`: its path, or the file that it lies in with its name there.
    fn path(&self, index: usize) -> PathBuf;

    /// What tells image `index` from the others of its source: its path below the source's folder, or its name in the
    /// archive.
    fn key(&self, index: usize) -> String;

    /// The bytes of image `index`, at most [`MOST_BYTES`] and one.
    fn bytes(&self, index: usize) -> Result<Vec<u8>, DataError>;

    /// What tells the file of image `index` from another without reading it: its name and size.
    fn stamp(&self, index: usize) -> Result<Vec<u8>, DataError>;
}

/// Files of one image each.
pub(crate) struct Files {
    /// What keys begin below; where there is none, keys are the paths as they were given.
    pub root: Option<PathBuf>,
    pub paths: Vec<PathBuf>,
}

impl Items for Files {
    fn path(&self, index: usize) -> PathBuf {
        self.paths[index].clone()
    }

    fn key(&self, index: usize) -> String {
        let path = &self.paths[index];
        let below = self.root.as_ref().and_then(|root| path.strip_prefix(root).ok());
        below.unwrap_or(path).to_string_lossy().into_owned()
    }

    fn bytes(&self, index: usize) -> Result<Vec<u8>, DataError> {
        read(&self.paths[index])
    }

    fn stamp(&self, index: usize) -> Result<Vec<u8>, DataError> {
        stamp(&self.paths[index])
    }
}

/// Name and size of a file.
pub(crate) fn stamp(path: &Path) -> Result<Vec<u8>, DataError> {
    let info = std::fs::metadata(path).map_err(DataError::io("read", path))?;
    let mut stamp = path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
    stamp.extend(info.len().to_le_bytes());
    Ok(stamp)
}

/// The shape that images of a source are read in: height and width of the first image, and three channels if any of the
/// images `firsts` (the first of each class) has colour.
///
/// Images whose headers cannot be read are passed over, since what is wrong with them is said when they are read. Where those
/// of all `firsts` cannot, the first of the `count` images that can is taken.
///
/// # Errors
/// When no header can be read: what is wrong with the first.
pub(crate) fn common_shape(
    items: &dyn Items,
    count: usize,
    firsts: &[usize],
    reading: &Reading,
) -> Result<[usize; 3], DataError> {
    let native = |index: usize| decode::native_shape(&items.bytes(index)?, &items.path(index), reading);
    let (mut shape, mut wrong): (Option<[usize; 3]>, _) = (None, None);
    for &index in firsts {
        let [channels, height, width] = match native(index) {
            Ok(shape) => shape,
            Err(error) => {
                wrong.get_or_insert(error);
                continue;
            }
        };
        let [most, height, width] = shape.unwrap_or([channels, height, width]);
        shape = Some([most.max(channels), height, width]);
        if most.max(channels) == 3 {
            break;
        }
    }
    let shape = shape.or_else(|| (0..count).find_map(|index| native(index).ok()));
    let none = || DataError::Argument("there are no images".to_string());
    shape.ok_or_else(|| wrong.unwrap_or_else(none))
}

/// Encoded images that are brought to one shape as they are read.
pub(crate) struct Encoded {
    pub items: Arc<dyn Items>,
    /// Number of images.
    pub count: usize,
    pub shape: [usize; 3],
    pub reading: Reading,
}

/// Images that are looked at for the one whose shape all are read in.
const MOST_LOOKED_AT: usize = 4096;

impl Source for Encoded {
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn read(&self, index: usize, out: &mut [u8]) -> Result<(), DataError> {
        let bytes = self.items.bytes(index)?;
        decode::levels(&bytes, &self.items.path(index), self.shape, &self.reading, out)
    }

    fn stored(&self, index: usize) -> Result<Vec<u8>, DataError> {
        self.items.bytes(index)
    }

    fn file(&self, index: usize) -> Option<Result<Vec<u8>, DataError>> {
        Some(self.items.stamp(index))
    }

    fn key(&self, index: usize) -> Option<String> {
        Some(self.items.key(index))
    }

    fn decoded_to(&self, shape: [usize; 3]) -> Option<Arc<dyn Source>> {
        let (items, reading) = (Arc::clone(&self.items), self.reading.clone());
        Some(Arc::new(Encoded { items, count: self.count, shape, reading }))
    }

    fn decoded_as(&self, reading: &Reading) -> Option<Arc<dyn Source>> {
        let [channels, mut height, mut width] = self.shape;
        let channels = reading.colour.channels(channels);
        // A shape that was taken from an image follows it when that is turned.
        if reading.orient != self.reading.orient {
            let shapes = |index: usize| {
                let (bytes, path) = (self.items.bytes(index)?, self.items.path(index));
                let of = |reading| decode::native_shape(&bytes, &path, reading);
                Ok::<_, DataError>((of(&self.reading)?, of(reading)?))
            };
            // One of the first, unless those are broken, or the shape is not taken from an image at all.
            let mut known = (0..self.count.min(MOST_LOOKED_AT)).filter_map(|index| shapes(index).ok());
            let own = known.find(|([_, h, w], _)| [*h, *w] == [height, width]);
            if let Some((_, turned)) = own {
                [_, height, width] = turned;
            }
        }
        let items = Arc::clone(&self.items);
        let shape = [channels, height, width];
        Some(Arc::new(Encoded { items, count: self.count, shape, reading: reading.clone() }))
    }

    fn reading(&self) -> Option<&Reading> {
        Some(&self.reading)
    }

    fn stored_size(&self, index: usize) -> Option<Result<[usize; 2], DataError>> {
        let bytes = match self.items.bytes(index) {
            Ok(bytes) => bytes,
            Err(error) => return Some(Err(error)),
        };
        let shape = decode::native_shape(&bytes, &self.items.path(index), &self.reading);
        Some(shape.map(|[_, height, width]| [height, width]))
    }
}

/// Images that are stored as levels, made grey or RGB and brought to another size because that was asked for.
pub(crate) struct Converted {
    pub inner: Arc<dyn Source>,
    pub shape: [usize; 3],
    pub reading: Reading,
}

impl Source for Converted {
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn read(&self, index: usize, out: &mut [u8]) -> Result<(), DataError> {
        let native = self.inner.shape();
        let mut levels = vec![0; native.iter().product()];
        self.inner.read(index, &mut levels)?;
        decode::converted(&levels, native, self.shape, &self.reading, out)
            .map_err(|found| DataError::Argument(format!("image {index}: {found}")))
    }

    fn stored(&self, index: usize) -> Result<Vec<u8>, DataError> {
        self.inner.stored(index)
    }

    fn key(&self, index: usize) -> Option<String> {
        self.inner.key(index)
    }

    fn decoded_to(&self, shape: [usize; 3]) -> Option<Arc<dyn Source>> {
        // Without a rule that was asked for, levels of a published data set are not resized; MNIST's are padded.
        if self.reading.resize.is_none() {
            let is_padded = self.inner.shape() == [1, 28, 28] && shape[1..] == [32, 32];
            let same = Converted {
                inner: Arc::clone(&self.inner),
                shape: self.shape,
                reading: self.reading.clone(),
            };
            return is_padded.then(|| Arc::new(Adapted { inner: Arc::new(same), shape }) as Arc<dyn Source>);
        }
        let (inner, reading) = (Arc::clone(&self.inner), self.reading.clone());
        Some(Arc::new(Converted { inner, shape, reading }))
    }

    fn decoded_as(&self, reading: &Reading) -> Option<Arc<dyn Source>> {
        let [_, height, width] = self.shape;
        let shape = [reading.colour.channels(self.inner.shape()[0]), height, width];
        Some(Arc::new(Converted { shape, reading: reading.clone(), inner: Arc::clone(&self.inner) }))
    }

    fn reading(&self) -> Option<&Reading> {
        Some(&self.reading)
    }
}

/// The bytes of a file, as many as an image has at most.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    Ok(bytes)
}
