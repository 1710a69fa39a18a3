//! Every format that is read: what its header says, and its pixels as PIL gives them.

use std::io::Cursor;
use std::path::Path;

use ddae_base::text::joined;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::kind::{FORMATS, Kind, kind_of};
use super::limits::{Bound, MOST_BYTES};
use super::picture::{Picture, Pixels};
use super::{gif, jpeg, pnm};
use crate::datasets::DataError;

/// What a header says of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Height and width, as they are stored.
    pub size: [usize; 2],
    pub has_colour: bool,
    /// The Exif orientation, 1 to 8; 1 where the file says none.
    pub orientation: u8,
    /// Whether PIL turns it upright unasked, as it does TIFF alone when it loads it.
    pub is_turned: bool,
}

fn expected() -> String {
    format!("a whole image ({FORMATS})")
}

/// What the bytes of an image are, or why they are none.
fn kind(bytes: &[u8], path: &Path) -> Result<Kind, DataError> {
    let wrong = |found: String| Err(DataError::format(path, found, expected()));
    if bytes.len() as u64 > MOST_BYTES {
        return wrong(format!("it is longer than {} MiB", MOST_BYTES >> 20));
    }
    match kind_of(bytes) {
        Kind::Empty => wrong("the file is empty".into()),
        Kind::Unknown => wrong("it is no image that is known".into()),
        kind if kind.is_read() => Ok(kind),
        kind => wrong(format!("it is {kind}, which is not read")),
    }
}

/// Reads the header of an image and holds its size to what is decoded.
pub(super) fn header(bytes: &[u8], path: &Path, bound: Bound) -> Result<Header, DataError> {
    let kind = kind(bytes, path)?;
    let header = header_of(kind, bytes, bound).map_err(|found| DataError::format(path, found, expected()))?;
    let header = Header { is_turned: kind == Kind::Tiff, ..header };
    bound.check(path, header.size)?;
    Ok(header)
}

fn header_of(kind: Kind, bytes: &[u8], bound: Bound) -> Result<Header, String> {
    let upright =
        |size: [usize; 2], has_colour: bool| Header { size, has_colour, orientation: 1, is_turned: false };
    match kind {
        Kind::Jpeg => {
            let header = jpeg::header(bytes)?;
            let exif = header.exif.and_then(|range| Orientation::from_exif_chunk(&bytes[range]));
            Ok(Header {
                orientation: exif.map_or(1, Orientation::to_exif),
                ..upright([header.height, header.width], header.components > 1)
            })
        }
        Kind::Gif => gif::header(bytes, bound.bytes()).map(|(size, colour)| upright(size, colour)),
        Kind::Pnm => {
            pnm::header(bytes).map(|header| upright([header.height, header.width], header.has_colour()))
        }
        _ => {
            let mut decoder = decoder(kind, bytes, bound)?;
            let (width, height) = decoder.dimensions();
            let orientation = decoder.orientation().map_or(1, Orientation::to_exif);
            let size = [height as usize, width as usize];
            Ok(Header { orientation, ..upright(size, decoder.color_type().has_color()) })
        }
    }
}

/// Decodes an image whose header has been read.
pub(super) fn decode(bytes: &[u8], path: &Path, bound: Bound) -> Result<Picture, DataError> {
    pixels_of(kind(bytes, path)?, bytes, bound).map_err(|found| DataError::format(path, found, expected()))
}

fn pixels_of(kind: Kind, bytes: &[u8], bound: Bound) -> Result<Picture, String> {
    match kind {
        Kind::Jpeg => jpeg::decode(bytes, bound.pixels),
        Kind::Gif => gif::decode(bytes, bound.bytes()),
        Kind::Pnm => pnm::decode(bytes),
        _ => {
            let mut image =
                DynamicImage::from_decoder(decoder(kind, bytes, bound)?).map_err(|e| broken(&e))?;
            if let (Kind::Bmp, DynamicImage::ImageRgb8(image)) = (kind, &mut image) {
                as_pil_scales(bytes, image);
            }
            // PIL has no mode of grey of 16 bits with alpha: beside a transparent level it is grey of 16 bits, with a channel
            // of alpha it keeps the upper bytes.
            let transparent_grey = kind == Kind::Png && bytes.get(24..26) == Some(&[16, 0]);
            picture(image, transparent_grey)
        }
    }
}

/// Bitmaps of 16 bits have 5 or 6 for a level, which the decoder scales to 8 by rounding and PIL by cutting off.
fn as_pil_scales(bytes: &[u8], image: &mut image::RgbImage) {
    let word = |at: usize| {
        bytes.get(at..at + 4).and_then(|word| word.first_chunk()).map(|&word| u32::from_le_bytes(word))
    };
    if bytes.get(28..30) != Some(&[16, 0]) || word(14).is_none_or(|header| header < 40) {
        return;
    }
    // Compression 3 says which bits are whose; green has six of 0x07e0.
    let green_bits = if word(30) == Some(3) && word(58) == Some(0x7e0) { 6 } else { 5 };
    for pixel in image.pixels_mut() {
        for (level, bits) in pixel.0.iter_mut().zip([5, green_bits, 5]) {
            let short = u16::from(*level >> (8 - bits));
            *level = (short * 255 / ((1 << bits) - 1)) as u8;
        }
    }
}

fn broken(error: &image::ImageError) -> String {
    format!("it cannot be decoded ({})", joined(error))
}

fn decoder(kind: Kind, bytes: &[u8], bound: Bound) -> Result<impl ImageDecoder, String> {
    let format = match kind {
        Kind::Png => ImageFormat::Png,
        Kind::WebP => ImageFormat::WebP,
        Kind::Bmp => ImageFormat::Bmp,
        _ => ImageFormat::Tiff,
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(bound.limits());
    reader.into_decoder().map_err(|error| broken(&error))
}

/// The upper byte, which is what PIL keeps of 16 bits of colour.
fn upper(levels: &[u16]) -> impl Iterator<Item = u8> {
    levels.iter().map(|level| (level >> 8) as u8)
}

fn picture(image: DynamicImage, transparent_grey: bool) -> Result<Picture, String> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let three =
        |levels: &[u8]| levels.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
    let pixels = match image {
        DynamicImage::ImageLuma8(image) => Pixels::Grey(image.into_raw()),
        DynamicImage::ImageLumaA8(image) => Pixels::Grey(image.as_raw().iter().copied().step_by(2).collect()),
        DynamicImage::ImageRgb8(image) => Pixels::Rgb(image.into_raw()),
        DynamicImage::ImageRgba8(image) => Pixels::Rgb(three(image.as_raw())),
        DynamicImage::ImageLuma16(image) => Pixels::Grey16(image.into_raw()),
        DynamicImage::ImageLumaA16(image) if transparent_grey => {
            Pixels::Grey16(image.as_raw().iter().copied().step_by(2).collect())
        }
        DynamicImage::ImageLumaA16(image) => Pixels::Grey(upper(image.as_raw()).step_by(2).collect()),
        DynamicImage::ImageRgb16(image) => Pixels::Rgb(upper(image.as_raw()).collect()),
        DynamicImage::ImageRgba16(image) => Pixels::Rgb(three(&upper(image.as_raw()).collect::<Vec<_>>())),
        _ => {
            return Err(
                "its levels are floating-point numbers, which are not read: save it with 8 bits".into()
            );
        }
    };
    Ok(Picture { width, height, pixels })
}
