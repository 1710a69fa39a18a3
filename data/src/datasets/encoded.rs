//! Images in PNG and JPEG files, decoded when they are read.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use super::DataError;
use super::source::Source;
use crate::{interleave, resize};

/// A longer file is not a training image.
const MOST_BYTES: u64 = 256 << 20;
/// A wider or higher image is refused before it is decoded.
const MOST_PIXELS_A_SIDE: u32 = 16_384;
const EXPECTED: &str = "a whole PNG or JPEG image";

/// A list of image files that are brought to one shape as they are read.
pub(crate) struct Encoded {
    pub files: Arc<[PathBuf]>,
    pub shape: [usize; 3],
}

impl Source for Encoded {
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn read(&self, index: usize, out: &mut [u8]) -> Result<(), DataError> {
        let path = &self.files[index];
        let image = decode(path)?;
        let [channels, height, width] = self.shape;
        let (levels, shape) = planes(image, channels).map_err(|()| {
            DataError::format(
                path,
                "it is a colour image",
                "a grey one, like the others of this data set (make it grey, or use a network for 3 channels)",
            )
        })?;
        if shape == self.shape {
            out.copy_from_slice(&levels);
        } else {
            out.copy_from_slice(&resize::cover(&levels, shape, height, width));
        }
        Ok(())
    }

    fn stored(&self, index: usize) -> Result<Vec<u8>, DataError> {
        read(&self.files[index])
    }

    fn file(&self, index: usize) -> Option<Result<Vec<u8>, DataError>> {
        let path = &self.files[index];
        let entry = std::fs::metadata(path).map_err(DataError::io("read", path)).map(|info| {
            let mut entry = path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
            entry.extend(info.len().to_le_bytes());
            entry
        });
        Some(entry)
    }

    fn decoded_to(&self, shape: [usize; 3]) -> Option<Arc<dyn Source>> {
        let files = Arc::clone(&self.files);
        Some(Arc::new(Encoded { files, shape }))
    }
}

/// The shape, [C, H, W] with C = 1 or 3, that an image file would decode to.
pub(crate) fn native_shape(path: &Path) -> Result<[usize; 3], DataError> {
    let image = decode(path)?;
    let channels = if image.color().has_color() { 3 } else { 1 };
    Ok([channels, image.height() as usize, image.width() as usize])
}

/// The bytes of a file that is no longer than images are.
fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    Ok(bytes)
}

fn decode(path: &Path) -> Result<DynamicImage, DataError> {
    let wrong = |found: String| DataError::format(path, found, EXPECTED);
    let bytes = read(path)?;
    if bytes.is_empty() {
        return Err(wrong("the file is empty".into()));
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(wrong(format!("it is longer than {} MiB", MOST_BYTES >> 20)));
    }
    let format = image::guess_format(&bytes)
        .ok()
        .filter(|format| matches!(format, ImageFormat::Png | ImageFormat::Jpeg))
        .ok_or_else(|| wrong("it is neither PNG nor JPEG".into()))?;
    if format == ImageFormat::Jpeg && !reaches_end_of_image(&bytes) {
        return Err(wrong("the JPEG ends too early".into()));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_PIXELS_A_SIDE);
    limits.max_image_height = Some(MOST_PIXELS_A_SIDE);
    let mut reader = ImageReader::with_format(Cursor::new(&bytes), format);
    reader.limits(limits);
    reader.decode().map_err(|error| wrong(format!("it cannot be decoded ({})", one_line(&error))))
}

fn one_line(error: &dyn std::error::Error) -> String {
    error.to_string().replace('\n', " ")
}

/// Whether a JPEG's segments go on until its end marker. The decoder would fill what is missing with grey.
fn reaches_end_of_image(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END_OF_IMAGE: u8 = 0xd9;
    let mut at = 2;
    let mut in_scan = false;
    while let Some(&[first, marker]) = bytes.get(at..at + 2) {
        match (first, marker) {
            (0xff, END_OF_IMAGE) => return true,
            // Fill bytes, stuffed zeros, restart markers and the like carry no length.
            (0xff, 0xff) => at += 1,
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, _) => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else {
                    return false;
                };
                at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
                in_scan = marker == START_OF_SCAN;
            }
            _ if in_scan => at += 1,
            _ => return false,
        }
    }
    false
}

/// A decoded image as planes; an error when it has colour and one channel is asked for.
fn planes(image: DynamicImage, channels: usize) -> Result<(Vec<u8>, [usize; 3]), ()> {
    let (height, width) = (image.height() as usize, image.width() as usize);
    if channels == 1 {
        if image.color().has_color() {
            return Err(());
        }
        return Ok((image.into_luma8().into_raw(), [1, height, width]));
    }
    Ok((interleave::planes(image.into_rgb8().as_raw(), 3), [3, height, width]))
}
