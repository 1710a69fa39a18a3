//! Images in files of their own format, decoded when they are read.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::ImageReader;

use super::DataError;
use super::source::Source;
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
pub(crate) fn common_shape(
    items: &dyn Items,
    firsts: &[usize],
    reading: &Reading,
) -> Result<[usize; 3], DataError> {
    let mut shape: Option<[usize; 3]> = None;
    for &index in firsts {
        let [channels, height, width] =
            decode::native_shape(&items.bytes(index)?, &items.path(index), reading)?;
        let [most, height, width] = shape.unwrap_or([channels, height, width]);
        shape = Some([most.max(channels), height, width]);
        if most.max(channels) == 3 {
            break;
        }
    }
    shape.ok_or_else(|| DataError::Argument("there are no images".to_string()))
}

/// Encoded images that are brought to one shape as they are read.
pub(crate) struct Encoded {
    pub items: Arc<dyn Items>,
    pub shape: [usize; 3],
    pub reading: Reading,
}

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

    fn stored_size(&self, index: usize) -> Option<Result<[usize; 2], DataError>> {
        let size = || -> Result<[usize; 2], DataError> {
            let bytes = self.items.bytes(index)?;
            let reader = ImageReader::new(Cursor::new(&bytes)).with_guessed_format();
            let path = self.items.path(index);
            let size = reader.map_err(image::ImageError::from).and_then(ImageReader::into_dimensions);
            let (width, height) = size.map_err(|error| {
                let found = format!("its size cannot be read ({})", ddae_base::text::joined(error));
                DataError::format(&path, found, "a whole image")
            })?;
            Ok([height as usize, width as usize])
        };
        Some(size())
    }

    fn decoded_to(&self, shape: [usize; 3]) -> Option<Arc<dyn Source>> {
        let (items, reading) = (Arc::clone(&self.items), self.reading.clone());
        Some(Arc::new(Encoded { items, shape, reading }))
    }
}

/// The bytes of a file, as many as an image has at most.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    Ok(bytes)
}
