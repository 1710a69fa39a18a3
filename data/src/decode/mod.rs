//! Images from the bytes of their files: formats, sizes, colours (`docs/images.md` states the rules).
//!
//! | file | subject |
//! | --- | --- |
//! | `kind.rs` | what a file is, by its first bytes |
//! | `limits.rs` | how large an image may be |
//! | `formats.rs` | every format that is read: header and pixels |
//! | `jpeg/`, `gif.rs`, `pnm.rs` | formats of which no crate gives PIL's pixels |
//! | `picture.rs` | a decoded image, and its conversions to grey and RGB |
//! | `reading.rs` | how images are brought to one shape: what commands and callers choose |

mod formats;
mod gif;
mod jpeg;
mod kind;
mod limits;
mod picture;
mod pnm;
mod reading;

use std::path::Path;

pub use kind::{BYTES_TO_TELL, ENDINGS, FORMATS, Kind, kind_of};
pub(crate) use limits::MOST_BYTES;
pub use reading::{Colour, Reading, ReadingOptions};

use crate::datasets::{DataError, Shape};
use crate::interleave;
use limits::Bound;
use picture::{Picture, Pixels};

/// The shape, [C, H, W] with C = 1 or 3, that `bytes` would decode to: what its header says. Messages call them `path`.
pub(crate) fn native_shape(bytes: &[u8], path: &Path, reading: &Reading) -> Result<[usize; 3], DataError> {
    let header = formats::header(bytes, path, Bound::from_environment()?)?;
    let channels = reading.colour.channels(if header.has_colour { 3 } else { 1 });
    let [height, width] = header.size;
    Ok(match (reading.orient || header.is_turned) && header.orientation >= 5 {
        true => [channels, width, height],
        false => [channels, height, width],
    })
}

/// Decodes `bytes` to `shape` = [C, H, W]. Messages call them `path`.
pub(crate) fn levels(
    bytes: &[u8],
    path: &Path,
    shape: [usize; 3],
    reading: &Reading,
    out: &mut [u8],
) -> Result<(), DataError> {
    let bound = Bound::from_environment()?;
    let header = formats::header(bytes, path, bound)?;
    let [channels, height, width] = shape;
    if header.has_colour && channels == 1 && reading.colour != Colour::Grey {
        return Err(DataError::format(
            path,
            "it is a colour image",
            "a grey one, like the others of this data set; --colour grey makes all grey, and --colour rgb all RGB",
        ));
    }
    let picture = formats::decode(bytes, path, bound)?;
    // What is asked to be grey is so in three equal channels, too.
    let decoded = if reading.colour == Colour::Grey { 1 } else { channels };
    let mut native = [decoded, picture.height, picture.width];
    let mut levels = picture.planes(decoded);
    if (reading.orient || header.is_turned) && header.orientation > 1 {
        let (turned, [height, width]) = picture::upright(&levels, native, header.orientation);
        (levels, native) = (turned, [decoded, height, width]);
    }
    let Some(levels) = reading.resized(&levels, native, [height, width]) else {
        return Err(DataError::format(
            path,
            format!("it is of {}", Shape(native)),
            format!("{}, like the others: --resize none brings no image to another size", Shape(shape)),
        ));
    };
    replicate(&levels, out);
    Ok(())
}

/// Brings levels of [C, H, W] = `from` to `shape` as an image that has been decoded. An error says what `reading` refuses.
pub(crate) fn converted(
    levels: &[u8],
    from: [usize; 3],
    shape: [usize; 3],
    reading: &Reading,
    out: &mut [u8],
) -> Result<(), String> {
    let [channels, height, width] = from;
    let grey: Vec<u8>;
    let (levels, native) = match (channels, reading.colour) {
        (3, Colour::Grey) => {
            let pixels = Pixels::Rgb(interleave::pixels(levels, 3));
            grey = Picture { width, height, pixels }.planes(1);
            (&grey[..], [1, height, width])
        }
        _ => (levels, from),
    };
    let resized = reading.resized(levels, native, [shape[1], shape[2]]).ok_or_else(|| {
        format!("it is of {}, and --resize none brings no image to {}", Shape(from), Shape(shape))
    })?;
    replicate(&resized, out);
    Ok(())
}

/// One plane as often as it is wanted, or as many planes as there are.
fn replicate(levels: &[u8], out: &mut [u8]) {
    out.chunks_exact_mut(levels.len()).for_each(|planes| planes.copy_from_slice(levels));
}
