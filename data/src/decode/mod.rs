//! Images from the bytes of their files.

use std::ffi::OsStr;
use std::io::Cursor;
use std::path::Path;

use ddae_base::text::joined;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::datasets::DataError;
use crate::{interleave, resize};

/// A longer file is not a training image.
pub(crate) const MOST_BYTES: u64 = 256 << 20;
/// Million pixels of an image, unless [`LIMIT`] says otherwise: more than a training image has. Decoding takes up to 14
/// bytes for each, in every thread that reads images.
const MOST_MEGAPIXELS: u32 = 50;
/// The environment variable that raises the limit.
const LIMIT: &str = "DDAE_MAX_MEGAPIXELS";
/// Bytes of a pixel while it is decoded, at most: four channels of 16 bits.
const BYTES_OF_PIXEL: u64 = 8;
/// What a file may hold beside its pixels: profiles, texts.
const BYTES_BESIDE: u64 = 16 << 20;
const EXPECTED: &str = "a whole PNG or JPEG image";

/// How image files become levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {}

/// The shape, [C, H, W] with C = 1 or 3, that `bytes` would decode to. Messages call them `path`.
pub(crate) fn native_shape(bytes: &[u8], path: &Path, _reading: &Reading) -> Result<[usize; 3], DataError> {
    let image = decode(bytes, path)?;
    let channels = if image.color().has_color() { 3 } else { 1 };
    Ok([channels, image.height() as usize, image.width() as usize])
}

/// Decodes `bytes` to `shape` = [C, H, W]. Messages call them `path`.
pub(crate) fn levels(
    bytes: &[u8],
    path: &Path,
    shape: [usize; 3],
    _reading: &Reading,
    out: &mut [u8],
) -> Result<(), DataError> {
    let image = decode(bytes, path)?;
    let [channels, height, width] = shape;
    let (levels, native) = planes(image, channels).map_err(|()| {
        DataError::format(
            path,
            "it is a colour image",
            "a grey one, like the others of this data set (make it grey, or use a network for 3 channels)",
        )
    })?;
    if native == shape {
        out.copy_from_slice(&levels);
    } else {
        out.copy_from_slice(&resize::cover(&levels, native, height, width));
    }
    Ok(())
}

fn decode(bytes: &[u8], path: &Path) -> Result<DynamicImage, DataError> {
    let wrong = |found: String| DataError::format(path, found, EXPECTED);
    if bytes.is_empty() {
        return Err(wrong("the file is empty".into()));
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(wrong(format!("it is longer than {} MiB", MOST_BYTES >> 20)));
    }
    let format = image::guess_format(bytes)
        .ok()
        .filter(|format| matches!(format, ImageFormat::Png | ImageFormat::Jpeg))
        .ok_or_else(|| wrong("it is neither PNG nor JPEG".into()))?;
    if format == ImageFormat::Jpeg && !reaches_end_of_image(bytes) {
        return Err(wrong("the JPEG ends too early".into()));
    }
    let broken = |error: image::ImageError| wrong(format!("it cannot be decoded ({})", joined(&error)));
    let most = most_pixels(std::env::var_os(LIMIT).as_deref())?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(most.saturating_mul(BYTES_OF_PIXEL).saturating_add(BYTES_BESIDE));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    // What the header says is known before a pixel is decoded.
    let decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > most {
        let (most, megapixels) = (most / MILLION, pixels.div_ceil(MILLION));
        let found = format!(
            "it has {width}x{height} pixels, and images of more than {most} megapixels are not decoded"
        );
        let expected = format!("a smaller image, or the environment variable {LIMIT}={megapixels}");
        return Err(DataError::format(path, found, expected));
    }
    DynamicImage::from_decoder(decoder).map_err(broken)
}

const MILLION: u64 = 1_000_000;

/// Pixels of the largest image that is decoded, as the environment variable says.
fn most_pixels(variable: Option<&OsStr>) -> Result<u64, DataError> {
    let Some(text) = variable.filter(|text| !text.is_empty()) else {
        return Ok(u64::from(MOST_MEGAPIXELS) * MILLION);
    };
    let megapixels = text.to_str().and_then(|text| text.parse::<u32>().ok()).filter(|&number| number > 0);
    megapixels.map(|number| u64::from(number) * MILLION).ok_or_else(|| {
        let text = ddae_base::text::excerpt(text.to_string_lossy(), 40);
        DataError::Argument(format!("{LIMIT} is '{text}'; a whole number of megapixels is wanted, as in 50"))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read_from_the_environment() {
        let most = |text: &str| most_pixels(Some(OsStr::new(text)));
        assert_eq!(most_pixels(None).ok(), Some(50_000_000));
        assert_eq!((most("").ok(), most("177").ok()), (Some(50_000_000), Some(177_000_000)));
        for text in ["0", "-1", "many", "1.5"] {
            let error = most(text).expect_err(text).to_string();
            assert!(
                error.starts_with(&format!("DDAE_MAX_MEGAPIXELS is '{text}'; a whole number")),
                "{error}"
            );
        }
    }
}
